"use strict";

/** A slider for each number of z, those of the highest rate first, the silent ones folded away. */

const SILENT = 0.05; // nats: a number of a lower rate tells data apart hardly or not
const SHOWN = 12; // sliders that are unfolded
const MOST = 200; // sliders that are made at all

class Sliders {
  /**
   * @param {State} state
   * @param {Program} program
   * @param {Posteriors} posteriors
   * @param {HTMLElement} home
   */
  constructor(state, program, posteriors, home) {
    Object.assign(this, { state, program, posteriors });
    const order = byRate(program);
    const loud = order.filter((i) => !isSilent(program, i));
    const silent = order.filter((i) => isSilent(program, i));
    this.highest = Math.max(...(program.rates || [1]));
    this.rows = [];
    const longest = Math.max(...order.slice(0, MOST).map((i) => program.label(i).length));
    home.style.setProperty("--name", `${Math.max(2, 0.6 * longest)}em`);
    home.classList.toggle("bare", !program.rates);
    at("sliders-words").textContent = wordsOfSliders(program);
    home.append(...loud.slice(0, SHOWN).map((i) => this.row(i)));
    this.fold(home, loud.slice(SHOWN), (count) => `${count} more`);
    this.fold(home, silent, (count) => count === 1
      ? `1 silent number: below ${SILENT} nats, the data hardly move it`
      : `${count} silent numbers: below ${SILENT} nats each, the data hardly move them`);
  }

  fold(home, numbers, words) {
    if (!numbers.length) return;
    const room = Math.max(0, MOST - this.rows.length);
    const summary = element("summary", {}, words(numbers.length));
    const details = element("details", {}, summary);
    details.append(...numbers.slice(0, room).map((i) => this.row(i)));
    if (numbers.length > room) {
      details.append(element("p", { class: "why" },
        `${numbers.length - room} of them have no slider; Random and the data move these too.`));
    }
    home.append(details);
  }

  row(number) {
    const { program } = this;
    const reach = program.reach[number];
    const input = element("input", {
      type: "range", min: -reach, max: reach, step: reach / 500, "data-number": number,
      "aria-label": program.label(number),
      oninput: () => this.state.move(number, Number(input.value)),
      ondblclick: () => this.state.move(number, program.origin[number]),
    });
    const value = element("output", {});
    const band = element("i", { class: "band", "aria-hidden": "true" });
    const rate = program.rates ? program.rates[number] : null;
    const row = element("div", { class: "slider" },
      element("label", {}, program.label(number)),
      this.rateBar(rate), element("span", { class: "track" }, band, input), value);
    this.rows.push({ number, reach, input, value, band });
    return row;
  }

  rateBar(rate) {
    if (rate === null) return "";
    const bar = element("i", {});
    bar.style.width = `${(100 * Math.max(0, rate)) / this.highest}%`;
    return element("span", { class: "rate", title: `rate ${rate.toFixed(2)} nats` }, bar);
  }

  update(changed) {
    const moved = changed.has("z");
    if (!moved && !changed.has("datum") && !changed.has("y")) return;
    const q = this.posteriors.of(0);
    for (const { number, reach, input, value, band } of this.rows) {
      const at = this.state.z[number];
      if (Number(input.value) !== at) input.value = at;
      value.textContent = written(at);
      const deviation = q.deviation ? q.deviation[number] : 0;
      const share = (x) => Math.min(100, Math.max(0, (50 * (x + reach)) / reach));
      const [low, high] = [q.mean[number] - deviation, q.mean[number] + deviation].map(share);
      band.style.left = `${low}%`;
      band.style.width = `${high - low}%`;
    }
  }
}

function wordsOfSliders(program) {
  const rates = program.rates ? "Bar: how many nats a number tells of a datum, its rate. " : "";
  const guide = program.run.encode ? "Band: q(z | x) of the datum. " : "";
  const below = program.sites.some((site) => site.below)
    ? "Numbers of layers below the top are standard deviations off their mean. " : "";
  return `${rates}${guide}${below}A double click sets a number back.`;
}

/**
 * The numbers of z, those of the highest rate first; where they have no rates of their own, those
 * first by whose posterior means the data differ most.
 */
function byRate(program) {
  const numbers = Array.from({ length: program.size }, (_, i) => i);
  if (program.size <= 2) return numbers;
  const told = program.rates || numbers.map((i) => variance(program, i));
  return numbers.sort((a, b) => told[b] - told[a]);
}

/** The variance of the posterior means of a number; of the layers below the top none is known. */
function variance({ means, planeSize }, number) {
  if (number >= planeSize) return 0;
  const values = means.filter((_, i) => i % planeSize === number);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
}

function isSilent(program, number) {
  return Boolean(program.rates) && program.rates[number] < SILENT;
}
