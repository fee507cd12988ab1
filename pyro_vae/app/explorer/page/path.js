"use strict";

/** The way between two data in latent space: a film of it, and a scrubber. */

const FRAMES = 9;
const TURN_MS = 4000; // so long the play button takes from one end to the other

class Path {
  /**
   * @param {State} state Its `path` is {from, to, share, isRound}, with indices of data.
   * @param {Program[]} programs
   * @param {Object[]} data As of DataStrip.
   * @param {Posteriors} posteriors
   * @param {HTMLElement} home
   */
  constructor(state, programs, data, posteriors, home) {
    Object.assign(this, { state, programs, data, posteriors });
    this.ends = ["from", "to"].map((name) => this.end(name));
    this.films = programs.map((program) => new Film(program, (share) => this.scrub(share)));
    this.scrubber = element("input", {
      type: "range", min: 0, max: 1, step: 0.002, value: 0, "aria-label": "Place on the way",
      oninput: () => this.scrub(Number(this.scrubber.value)),
    });
    this.play = element("button", {
      type: "button", class: "round", "aria-label": "Play", onclick: () => this.toggle(),
    }, "\u25b6");
    const kinds = element("div", { class: "segments", "aria-label": "Kind of way" });
    this.showKind = segments(kinds, [["straight", "Straight"], ["round", "Spherical"]],
      "straight", (kind) => this.choose({ isRound: kind === "round" }));
    home.append(
      element("div", { class: "ends" }, this.ends[0].button,
        element("div", { class: "films" }, ...this.films.map((film) => film.element)),
        this.ends[1].button),
      element("div", { class: "row" }, this.play, this.scrubber, kinds),
    );
  }

  end(name) {
    const words = name === "from" ? "A" : "B";
    const view = new DatumView(this.programs[0], `The datum ${words}`);
    const button = element("button", {
      type: "button", class: "end", title: `Put the chosen datum here, as ${words}`,
      onclick: () => {
        if (this.state.datum.index !== null) this.choose({ [name]: this.state.datum.index });
      },
    }, view.element, element("b", {}, words));
    return { button, view };
  }

  choose(values) {
    this.state.change({ path: { ...this.state.path, ...values, isSeen: true } });
  }

  scrub(share) {
    this.state.stopGlide();
    this.choose({ share });
    this.state.change({ z: this.at(0, share) });
  }

  /** The two ends of the way in a program's space. */
  between(slot) {
    const { from, to } = this.state.path;
    return [from, to].map((i) => this.posteriors.ofDatum(slot, this.data[i]).mean);
  }

  at(slot, share) {
    const [from, to] = this.between(slot);
    return this.state.path.isRound ? around(from, to, share) : between(from, to, share);
  }

  toggle() {
    this.playing = !this.playing;
    this.play.textContent = this.playing ? "\u275a\u275a" : "\u25b6";
    this.play.setAttribute("aria-label", this.playing ? "Pause" : "Play");
    let last = performance.now();
    const step = (now) => {
      if (!this.playing) return;
      this.phase = ((this.phase || 0) + (now - last) / TURN_MS) % 2;
      last = now;
      this.scrub(1 - Math.abs(1 - this.phase)); // there and back
      requestAnimationFrame(step);
    };
    if (this.playing) requestAnimationFrame(step);
  }

  update(changed) {
    const { path, y } = this.state;
    if (changed.has("path")) {
      this.scrubber.value = path.share;
      this.showKind(path.isRound ? "round" : "straight");
    }
    const key = JSON.stringify([path.from, path.to, path.isRound, y,
      this.state.temperatures]);
    if (key === this.key) return;
    this.key = key;
    this.ends.forEach(({ view }, i) => view.show(this.data[[path.from, path.to][i]].x));
    this.films.forEach((film, slot) => film.show((share) => this.at(slot, share), this.state));
  }
}

/** Some pictures along a way, side by side. */
class Film {
  constructor(program, scrub) {
    const shares = Array.from({ length: FRAMES }, (_, i) => i / (FRAMES - 1));
    this.program = program;
    this.frames = shares.map((share) => {
      const view = new DatumView(program, `The way at ${Math.round(100 * share)} %`);
      view.element.addEventListener("click", () => scrub(share));
      return { share, view };
    });
    this.element = element("div", { class: "film", title: program.name },
      ...this.frames.map(({ view }) => view.element));
  }

  show(at, state) {
    for (const { share, view } of this.frames) view.show(this.program.decode(at(share), state));
  }
}

/**
 * The point at a share of the way between two points that turns around the origin: directions
 * turn evenly and lengths change evenly (Shoemake, 1985; of latents: White, 2016,
 * https://arxiv.org/abs/1609.04468).
 */
function around(from, to, share) {
  const [a, b] = [length(from), length(to)];
  if (!a || !b) return between(from, to, share);
  const cosine = from.reduce((sum, value, i) => sum + (value * to[i]) / (a * b), 0);
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  if (angle < 1e-4 || Math.PI - angle < 1e-4) return between(from, to, share);
  const [p, q] = [1 - share, share].map((part) => Math.sin(part * angle) / Math.sin(angle));
  const long = a + share * (b - a);
  return from.map((value, i) => long * ((p * value) / a + (q * to[i]) / b));
}

function length(z) {
  return Math.sqrt(z.reduce((sum, value) => sum + value * value, 0));
}

/** Draws the way on a plane, once the reader has turned to it. */
function drawPath(context, plane) {
  const { path, axes } = plane.state;
  if (!path.isSeen) return;
  const points = Array.from({ length: 41 }, (_, i) => {
    const z = plane.way(i / 40);
    return plane.toPixels(axes.map((number) => z[number]));
  });
  context.beginPath();
  points.forEach((point, i) => (i ? context.lineTo(...point) : context.moveTo(...point)));
  context.lineWidth = 4;
  context.strokeStyle = "rgba(255, 255, 255, 0.7)";
  context.stroke();
  context.lineWidth = 2;
  context.strokeStyle = colour("ink");
  context.stroke();
  for (const [i, name] of [[0, "A"], [40, "B"]]) {
    drawDot(context, points[i], 9, colour("ink"));
    context.font = `bold 9px ${getComputedStyle(document.body).fontFamily}`;
    context.textAlign = "center";
    context.fillStyle = colour("card");
    context.fillText(name, points[i][0], points[i][1] + 3.3);
  }
}
