"use strict";

/** Puts the page together: what is chosen at first, all views, and the buttons between them. */

const at = (id) => document.getElementById(id);

async function main() {
  const { page, weights } = await readContent();
  const programs = page.programs.map((description) => new Program(description, weights));
  const state = firstState(page, programs);
  const posteriors = new Posteriors(state, programs);
  const grids = new Grids(programs, page.programs, weights);
  const backgrounds = new Backgrounds(state, programs, grids, posteriors, page);
  const path = new Path(state, programs, page.data, posteriors, at("path"));
  showHead(page, programs);
  const views = [
    new Live(state, programs),
    new Sliders(state, programs[0], posteriors, at("sliders")),
    new DataStrip(state, programs, page.data, posteriors, at("data")),
    path,
    ...makePlanes(state, programs, backgrounds, path, posteriors),
    ...makeLegend(state, page),
    ...makeChoice(state, programs[0]),
    ...makeAxes(state, programs[0]),
    ...makeDrawing(state, programs, page, posteriors),
    ...makeLayers(state, programs[0]),
  ];
  for (const view of views) state.listen((changed) => view.update(changed));
  makeButtons(state, programs[0], posteriors);
  followScreen(state);
  window.explorer = hook(state, programs);
  state.change({ ...state.initial, z: posteriors.of(0).mean });
}

function firstState(page, programs) {
  const [program] = programs;
  const axes = byRate(program).filter((i) => i < program.planeSize).slice(0, 2);
  const whole = wholeView(programs, axes);
  const other = page.data.findIndex(({ label }) => label !== page.data[0].label);
  const initial = {
    z: program.origin.slice(),
    y: program.choice ? page.data[0].label ?? 0 : null, // the class that the program is given
    datum: page.data[0],
    background: page.background,
    axes, // the numbers of z that the plane shows
    view: whole, // the part of it that is seen
    whole,
    temperatures: Object.fromEntries(program.sites.map(({ name }) => [name, 1])),
    label: null, // the one class whose dots are shown; null for all
    path: { from: 0, to: Math.max(1, other), share: 0, isRound: false, isSeen: false },
  };
  return new State({ ...initial, initial, isBeside: programs.length > 1 });
}

/** The view of the plane of two numbers that holds nearly all data and the prior. */
function wholeView(programs, axes) {
  if (programs[0].view) return programs[0].view;
  const reach = programs.flatMap((program) => axes.map((i) => program.reach[i]));
  return { centre: [0, 0], half: Math.max(...reach) };
}

function showHead(page, programs) {
  document.title = `${page.title} – latent explorer`;
  at("runs").replaceChildren(...programs.map((program) => element("p", {},
    element("code", {}, program.text), " on ", element("code", {}, program.data_text),
    program.bound ? element("span", { class: "bound" }, program.bound) : "")));
  const [thing, does] = programs[0].kind === "text"
    ? ["text", "read what the decoder writes"] : ["picture", "watch the decoder draw it"];
  at("lead").textContent = `Every point z of this space is a ${thing}. Drag the point, and ${does}.`;
  if (programs.length > 1) at("left").append(at("path-card")); // two films need more room
  document.body.dataset.programs = programs.length;
  document.body.dataset.kind = programs[0].kind;
}

function makeButtons(state, program, posteriors) {
  const on = (id, act) => at(id) && at(id).addEventListener("click", act);
  on("reset", () => state.glide({ z: program.origin, view: state.whole }));
  on("random", () => state.glide({ z: program.draw(state.y), view: state.whole }));
  on("to-datum", () => toDatum(state, posteriors));
  on("copy", () => copy(textOf(state.z, program)));
  on("zoom-in", () => zoom(state, 2 / 3));
  on("zoom-out", () => zoom(state, 3 / 2));
  on("zoom-all", () => state.glide({ view: state.whole }));
}

/** The latents as Python reads them. */
function textOf(z, program) {
  const parts = program.sites.map(({ name, from, to }) =>
    `${name} = [${[...z.slice(from, to)].map((value) => Number(value.toFixed(4))).join(", ")}]`);
  return parts.join("\n");
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // some browsers give a page from a disk no clipboard
    const area = element("textarea", {}, text);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  at("copy").textContent = "Copied";
  setTimeout(() => (at("copy").textContent = "Copy z"), 1200);
}

/** Draws anew in other colours, and at other densities of the screen. */
function followScreen(state) {
  const again = () => state.change({ background: state.background, label: state.label });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  window.addEventListener("resize", again);
}

/** What may be asked of the page from outside, such as by a test or a lesson. */
function hook(state, programs) {
  const given = (y) => ({ y: y ?? state.y, temperatures: state.temperatures });
  return {
    decode: (z, y, slot = 0) => programs[slot].decode(Float32Array.from(z), given(y)),
    encode: (x, y, slot = 0) => programs[slot].encode(Float32Array.from(x), given(y)),
    logJoint: (x, z, y, slot = 0) =>
      programs[slot].logJoint(Float32Array.from(x), Float32Array.from(z), given(y)),
    programs,
    drawn: () => ({ x: [...state.datum.x] }),
    state: () => ({
      z: [...state.z], y: state.y, datum: state.datum.name, background: state.background,
      axes: state.axes, view: state.view, path: state.path, temperatures: state.temperatures,
    }),
  };
}

main();
