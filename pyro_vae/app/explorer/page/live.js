"use strict";

const IDLE_MS = 120; // after which z counts as still, and the log densities at it are computed

/** The live pictures, the datum that is chosen, and the log densities at the point. */
class Live {
  constructor(state, programs) {
    Object.assign(this, { state, programs });
    this.views = programs.map((program) => new DatumView(program, `What ${program.name} draws`));
    this.given = new DatumView(programs[0], "The datum that is chosen");
    this.views.forEach((view, i) => at("live").append(element("figure", {}, view.element,
      element("figcaption", {}, programs.length > 1 ? programs[i].name : meanOf(programs[0])))));
    at("given").append(this.given.element);
  }

  update(changed) {
    const { state, programs } = this;
    if (["z", "y", "temperatures"].some((name) => changed.has(name))) {
      this.views.forEach((view, i) => view.show(programs[i].decode(state.z, state)));
    }
    if (changed.has("datum")) {
      this.given.show(state.datum.x);
      const label = state.datum.label === null ? "" : `, label ${state.datum.label}`;
      at("given-words").textContent = `${state.datum.name}${label}`;
    }
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.tell(), IDLE_MS);
  }

  tell() {
    const { state, programs: [program] } = this;
    if (program.hasPrior) {
      at("log-prior").textContent = `log p(z) = ${written(program.logPrior(state.z, state))} nats`;
    }
    if (program.hasLogJoint) {
      const { joint, prior } = program.logJoint(state.datum.x, state.z, state);
      at("log-likelihood").textContent = `log p(x | z) = ${written(joint - prior)}`;
    }
  }
}

function meanOf(program) {
  return program.kind === "text" ? "written at the nearest point of a grid" : "E[x | z]";
}
