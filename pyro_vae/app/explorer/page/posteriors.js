"use strict";

/** Where the guides put data, each encoded once. */
class Posteriors {
  constructor(state, programs) {
    Object.assign(this, { state, programs, known: new Map() });
  }

  /** q(z | x) of the datum that is chosen, under the label that is. */
  of(slot) {
    return this.find(slot, this.state.datum, this.state.y);
  }

  /** q(z | x) of a datum under its own label. */
  ofDatum(slot, datum) {
    return this.find(slot, datum, datum.label ?? this.state.y);
  }

  /** @returns {{mean: Float32Array, deviation: Float32Array|null, cloud: Float32Array[]}} */
  find(slot, datum, y) {
    const key = JSON.stringify([slot, datum.name, y]);
    if (!this.known.has(key)) {
      if (this.known.size > 500) this.known.clear();
      this.known.set(key, this.computed(this.programs[slot], datum, y));
    }
    return this.known.get(key);
  }

  computed(program, datum, y) {
    if (program.run.encode) return program.encode(datum.x, { y });
    const mean = program.origin.slice();
    const { planeSize: size } = program;
    mean.set(program.means.subarray(datum.index * size, (datum.index + 1) * size));
    return { mean, deviation: null, cloud: [] };
  }
}
