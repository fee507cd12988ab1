"use strict";

/** The class that a program is given, what the plane shows, and the legend of the data. */

const BACKGROUNDS = [
  ["pictures", "Decoded"],
  ["data", "Data"],
  ["prior", "Prior"],
  ["datum", "One datum"],
];

function makePlanes(state, programs, backgrounds, path, posteriors) {
  if (programs[0].planeSize < 2) {
    at("plane-card").remove();
    document.body.dataset.plane = "none";
    return [];
  }
  const planes = programs.map((program, slot) => new Plane(slot, program, state,
    (plane) => backgrounds.draw(plane), (share) => path.at(slot, share)));
  planes.forEach((plane, i) => at("planes").append(programs.length > 1
    ? element("figure", {}, plane.element, element("figcaption", {}, programs[i].name))
    : plane.element));
  const show = segments(at("backgrounds"), BACKGROUNDS.filter(([name]) => can(name, programs)),
    state.background, (background) => {
      state.change({ background });
      if (background === "datum") toDatum(state, posteriors);
      else state.glide({ view: state.whole });
    });
  const words = {
    update(changed) {
      if (!changed.has("background")) return;
      show(state.background);
      at("background-words").textContent = wordsOf(state.background, programs);
      at("legend").hidden = state.background !== "data";
    },
  };
  return [...planes, words];
}

/** Whether programs have what a background shows. */
function can(background, programs) {
  return {
    pictures: true,
    data: true,
    prior: programs.some(({ hasPrior }) => hasPrior),
    datum: programs.every(({ run }) => "encode" in run),
  }[background];
}

/** One line on each background. */
function wordsOf(background, programs) {
  const rest = programs[0].size > 2 ? ", the other numbers of z as they are" : "";
  const truth = programs.some(({ hasLogJoint }) => hasLogJoint)
    ? `Shaded: its true posterior p(z | x), computed on a grid${rest}. ` : "";
  return {
    pictures: programs[0].words || `What the decoder draws at each place of a grid${rest}.`,
    data: "Each dot is where the guide puts one of the data that training did not see: the mean "
      + "of q(z | x).",
    prior: `Shaded: the prior p(z)${rest}; the lines hold 50 % and 95 % of it.`,
    datum: `${truth}${wordsOfGuide(programs)}`,
  }[background];
}

function wordsOfGuide(programs) {
  const known = programs.some(({ run }) => Object.keys(run.encode?.outputs ?? {}).some((name) =>
    name.startsWith("sd_")));
  return known
    ? "Rings: the guide’s q(z | x), at one and two standard deviations."
    : "Dots: draws of the guide’s q(z | x).";
}

/** The choice of the two numbers that the plane shows. */
function makeAxes(state, program) {
  if (program.planeSize < 2) return [];
  const hint = "Drag the point, or move it with the arrow keys.";
  if (program.planeSize <= 2) {
    at("axes").append(hint);
    return [];
  }
  const numbers = byRate(program).filter((i) => i < program.planeSize).slice(0, 100);
  const choose = (axis, number) => {
    const axes = state.axes.slice();
    if (axes[1 - axis] === number) axes[1 - axis] = axes[axis];
    axes[axis] = number;
    const whole = wholeView([program], axes);
    state.change({ axes, whole, view: whole });
  };
  const selects = [0, 1].map((axis) => element("select", {
    "aria-label": axis ? "The number that goes up" : "The number that goes across",
    onchange: (event) => choose(axis, Number(event.target.value)),
  }, ...numbers.map((i) => element("option", { value: i }, program.label(i)))));
  at("axes").append(selects[0], " across, ", selects[1], ` up. ${hint}`);
  return [{
    update(changed) {
      if (changed.has("axes")) selects.forEach((select, i) => (select.value = state.axes[i]));
    },
  }];
}

/** The class that the program is given, or has as a latent. */
function makeChoice(state, { choice }) {
  if (!choice) {
    at("choice-row").remove();
    return [];
  }
  at("choice-words").textContent = choice.words;
  const options = Array.from({ length: choice.classes }, (_, i) => [i, String(i)]);
  const show = segments(at("choice"), options, state.y, (y) => state.change({ y }));
  return [{ update: (changed) => changed.has("y") && show(state.y) }];
}

/** The colours of the labels; a click shows the dots of one label alone, or again of all. */
function makeLegend(state, page) {
  if (!at("legend")) return []; // a latent of one number has no plane
  const labels = [...new Set(page.labels || [])].filter((label) => label >= 0);
  labels.sort((a, b) => a - b);
  const chips = labels.map((label) => {
    const dot = element("i", {});
    dot.style.background = labelColour(label, page.classes);
    return element("button", {
      type: "button", title: `Show label ${label} alone`,
      onclick: () => state.change({ label: state.label === label ? null : label }),
    }, dot, String(label));
  });
  at("legend").append(...chips);
  return [{
    update(changed) {
      if (!changed.has("label")) return;
      chips.forEach((chip, i) => {
        chip.setAttribute("aria-pressed", String(state.label === labels[i]));
        chip.classList.toggle("faint", state.label !== null && state.label !== labels[i]);
      });
    },
  }];
}
