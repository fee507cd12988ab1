"use strict";

/**
 * What the reader has chosen, and who is told of changes: each view once a frame, so that a drag
 * costs one decoding a frame however many events it makes.
 */
class State {
  /** @param {Object} values What is chosen at first; see main.js. */
  constructor(values) {
    Object.assign(this, values);
    this.views = [];
    this.changed = new Set();
  }

  /** Has a view told of changes: `view(changed)` gets the set of the names of what changed. */
  listen(view) {
    this.views.push(view);
  }

  /** Chooses anew, and has all views told at the next frame. */
  change(values) {
    Object.assign(this, values);
    if (!this.changed.size) requestAnimationFrame(() => this.tell());
    for (const name of Object.keys(values)) this.changed.add(name);
  }

  tell() {
    const changed = this.changed;
    this.changed = new Set();
    for (const view of this.views) view(changed);
  }

  /** Moves one number of z. */
  move(number, value) {
    const z = this.z.slice();
    z[number] = value;
    this.stopGlide();
    this.change({ z });
  }

  stopGlide() {
    this.glides = (this.glides || 0) + 1;
  }

  /**
   * Lets z, and perhaps the part of the plane that is seen, go where they shall be in a third of
   * a second, or at once for readers who asked for less motion.
   *
   * @param {{z?: Float32Array, view?: {centre: number[], half: number}}} goal
   */
  glide(goal) {
    this.stopGlide();
    const [glide, begin] = [this.glides, performance.now()];
    const from = { z: this.z, view: this.view };
    const step = (now) => {
      if (glide !== this.glides) return;
      const part = prefersStillness() ? 1 : Math.min(1, Math.max(0, (now - begin) / 350));
      const eased = 1 - (1 - part) ** 3;
      const values = {};
      if (goal.z) values.z = part < 1 ? between(from.z, goal.z, eased) : goal.z.slice();
      if (goal.view) values.view = part < 1 ? viewBetween(from.view, goal.view, eased) : goal.view;
      this.change(values);
      if (part < 1) requestAnimationFrame(step);
    };
    step(begin + (prefersStillness() ? 350 : 0));
  }
}

function prefersStillness() {
  return window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** The point at a share of the straight way from one z to another. */
function between(from, to, share) {
  return from.map((value, i) => value + share * (to[i] - value));
}

function viewBetween(from, to, share) {
  const half = from.half * (to.half / from.half) ** share;
  // the centre moves as the width does, so that what is looked at stays where it is
  const way = from.half === to.half ? share : (from.half - half) / (from.half - to.half);
  return { half, centre: from.centre.map((value, i) => value + way * (to.centre[i] - value)) };
}
