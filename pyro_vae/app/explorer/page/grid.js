"use strict";

/**
 * A function of z over a grid of points, here and in a worker.
 *
 * @typedef {Object} GridTask
 * @property {string} kind "prior", "posterior" or "pictures".
 * @property {number} program Which of the programs.
 * @property {Float32Array} z The point whose other numbers all points of the grid have.
 * @property {number[]} axes The two numbers of z that vary, across and up.
 * @property {number[]} across The values of the first, from left to right.
 * @property {number[]} up The values of the second, from top to bottom.
 * @property {Object} given What else the program is given: x, y, temperatures and noise.
 */

const CHUNK_MS = 40; // so long a chunk keeps the thread

/** What a program has at one point of a grid: a number, or the numbers of a picture. */
const AT_POINT = {
  prior: (program, z, given) => [program.logPrior(z, given)],
  posterior: (program, z, given) => [program.logJoint(given.x, z, given).joint],
  pictures: (program, z, given) => program.decode(z, given),
};

/**
 * Goes over the points of a task row by row, in chunks between which the thread is free.
 *
 * @param {Program} program
 * @param {GridTask} task
 * @param {function(number, Float32Array): boolean} emit Gets the place of the first point of a
 *   chunk and the values of all its points; returns whether to go on.
 */
async function overGrid(program, task, emit) {
  const total = task.across.length * task.up.length;
  const z = task.z.slice();
  let [at, chunk, begin] = [0, [], performance.now()];
  for (let i = 0; i < total; i++) {
    z[task.axes[0]] = task.across[i % task.across.length];
    z[task.axes[1]] = task.up[Math.floor(i / task.across.length)];
    chunk.push(Float32Array.from(AT_POINT[task.kind](program, z, task.given)));
    if (i + 1 < total && performance.now() - begin < CHUNK_MS) continue;
    const values = new Float32Array(chunk.length * chunk[0].length);
    chunk.forEach((each, k) => values.set(each, k * each.length));
    if (!emit(at, values)) return;
    await new Promise((resume) => setTimeout(resume));
    [at, chunk, begin] = [i + 1, [], performance.now()];
  }
}
