"use strict";

/**
 * Grids of a function of z, computed in a worker, or in this thread where there can be none.
 * A slot holds one grid at a time: a plane of the page is a slot.
 */
class Grids {
  /**
   * @param {Program[]} programs
   * @param {Object[]} descriptions Of the programs, for the worker to make its own from.
   * @param {ArrayBuffer} weights
   */
  constructor(programs, descriptions, weights) {
    this.programs = programs;
    this.slots = new Map();
    this.number = 0;
    this.worker = Grids.start();
    if (!this.worker) return;
    this.worker.onmessage = ({ data }) => this.receive(data);
    this.worker.postMessage({ programs: descriptions, weights });
  }

  /** A worker made of the sources of this very page; null where a browser allows none. */
  static start() {
    const names = ["engine", "program", "grid", "worker"];
    const sources = names.map((name) => document.getElementById(`source-${name}`).textContent);
    try {
      const blob = new Blob([sources.join("\n")], { type: "text/javascript" });
      return new Worker(URL.createObjectURL(blob));
    } catch {
      return null;
    }
  }

  /**
   * Computes a grid, unless the slot holds it already.
   *
   * @param {number} slot
   * @param {string} key Tells grids apart.
   * @param {function(): GridTask} task
   * @param {function(Grid)} show Is called as it grows.
   * @returns {Grid} What there is of it: {task, values, done, total}.
   */
  ask(slot, key, task, show) {
    const present = this.slots.get(slot);
    if (present && present.key === key) return present;
    const asked = task();
    const total = asked.across.length * asked.up.length;
    const grid = { key, task: asked, values: null, done: 0, total, show, number: ++this.number };
    this.slots.set(slot, grid);
    if (this.worker) this.worker.postMessage({ number: grid.number, slot, task: asked });
    else this.computeHere(slot, grid);
    return grid;
  }

  /** Ends what a slot computes. */
  drop(slot) {
    if (!this.slots.delete(slot) || !this.worker) return;
    this.worker.postMessage({ number: ++this.number, slot });
  }

  computeHere(slot, grid) {
    overGrid(this.programs[grid.task.program], grid.task, (at, values) => {
      if (this.slots.get(slot) !== grid) return false;
      this.receive({ number: grid.number, slot, at, values });
      return true;
    });
  }

  receive({ number, slot, at, values, error }) {
    const grid = this.slots.get(slot);
    if (!grid || grid.number !== number) return;
    if (error) {
      grid.error = error;
    } else {
      const isPicture = grid.task.kind === "pictures";
      const size = isPicture ? this.programs[grid.task.program].numPixels : 1;
      if (!grid.values) grid.values = new Float32Array(grid.total * size);
      grid.values.set(values, at * size);
      grid.done = at + values.length / size;
    }
    grid.show(grid);
  }
}
