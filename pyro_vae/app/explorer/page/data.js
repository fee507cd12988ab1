"use strict";

/** The data of the page in a row: a click chooses one, and sends z to the mean of its q(z | x). */
class DataStrip {
  /**
   * @param {State} state
   * @param {Program[]} programs
   * @param {{x: (Float32Array|string), label: (number|null), index: number}[]} data
   * @param {Posteriors} posteriors
   * @param {HTMLElement} home
   */
  constructor(state, programs, data, posteriors, home) {
    Object.assign(this, { state, programs, data, posteriors });
    this.buttons = data.map((datum) => this.button(datum));
    home.append(...this.buttons);
  }

  button(datum) {
    const view = new DatumView(this.programs[0], `Datum ${datum.index}`);
    view.show(datum.x);
    const label = datum.label === null ? "" : `, label ${datum.label}`;
    return element("button", {
      type: "button", class: "datum-button", title: `Datum ${datum.index}${label}`,
      "data-index": datum.index, onclick: () => chooseDatum(this.state, this.posteriors, datum),
    }, view.element);
  }

  update(changed) {
    if (!changed.has("datum")) return;
    this.buttons.forEach((button, i) =>
      button.setAttribute("aria-pressed", String(this.state.datum.index === i)));
  }
}

/** Turns to a datum: its label for a program that is given one, and z at the mean of its q. */
function chooseDatum(state, posteriors, datum) {
  const y = state.y === null || datum.label === null ? state.y : datum.label;
  state.change({ datum, y });
  toDatum(state, posteriors);
}

/** Sends z to the mean of q(z | x) of the datum that is chosen, and the view where q is. */
function toDatum(state, posteriors) {
  const q = posteriors.of(0);
  state.glide({ z: q.mean, view: viewFor(state, q) });
}

/** The part of the plane that shows a background best: q and its surroundings, or all data. */
function viewFor(state, q) {
  if (state.background !== "datum" || !q.deviation || state.isBeside) return state.whole;
  const widest = Math.max(...state.axes.map((number) => q.deviation[number]));
  const half = Math.min(state.whole.half, 6 * widest);
  return { half, centre: state.axes.map((number) => q.mean[number]) };
}
