"use strict";

/** The temperature of each layer of a hierarchy, and new noise for the layers below the top. */
class Layers {
  constructor(state, program, home) {
    Object.assign(this, { state, program });
    const below = program.sites.filter((site) => site.below);
    this.rows = below.map((site) => this.row(site));
    home.append(...this.rows.map(({ row }) => row));
  }

  row({ name }) {
    const value = element("output", {});
    const input = element("input", {
      type: "range", min: 0, max: 1.5, step: 0.01, "aria-label": `Temperature of ${name}`,
      "data-layer": name,
      oninput: () => this.state.change({
        temperatures: { ...this.state.temperatures, [name]: Number(input.value) },
      }),
    });
    const redraw = element("button", {
      type: "button", title: `Draw new noise for ${name}`, onclick: () => this.redraw(name),
    }, "Draw");
    const row = element("div", { class: "slider layer" },
      element("label", {}, name), element("span", { class: "track" }, input), value, redraw);
    return { name, input, value, row };
  }

  redraw(name) {
    const { from, to } = this.program.sites.find((site) => site.name === name);
    const z = this.state.z.slice();
    for (let i = from; i < to; i++) z[i] = normal();
    this.state.stopGlide();
    this.state.change({ z });
  }

  update(changed) {
    if (!changed.has("temperatures")) return;
    for (const { name, input, value } of this.rows) {
      input.value = this.state.temperatures[name];
      value.textContent = written(this.state.temperatures[name]);
    }
  }
}

/** The card of the layers, where there are some below the top. */
function makeLayers(state, program) {
  if (program.sites.some((site) => site.below)) return [new Layers(state, program, at("layers"))];
  at("layers-card").remove();
  return [];
}
