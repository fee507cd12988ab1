"use strict";
/**
 * Convolutions of maps (N, C, H, W) or (N, C, W), without an im2col.
 *
 * The input is copied once into planes with room for the padding. Each output plane is then a sum
 * of "sources": planes read from some place on, each times one weight. As all planes have rows of
 * one length, a whole plane is one long loop; what it computes between the rows is thrown away. A
 * strided convolution reads every s-th row and column, which the copy parts into planes of their
 * own; a transposed one writes every s-th row and column, in s * s phases.
 */
const Convolutions = (() => {
  /** @returns {{n: number, c: number, h: number, w: number}} */
  function sides(shape) {
    const [n, c] = shape;
    const [h, w] = shape.length === 3 ? [1, shape[2]] : shape.slice(2);
    return { n, c, h, w };
  }

  /**
   * The phases of an output, each with the places of its taps in a channel's planes.
   *
   * @typedef {{at: number, kernel: number}} Tap
   * @typedef {{rows: number, columns: number, row: number, column: number, taps: Tap[]}} Phase
   * @typedef {{phases: Phase[], stride: number[], margin: number[], parted: number[],
   *   rows: number, columns: number}} Plan
   */

  /** @returns {Plan} */
  function forwardPlan(step, to, kh, kw) {
    const [[sy, sx], [dy, dx]] = [step.stride, step.dilation];
    const rows = to.h + Math.floor(((kh - 1) * dy) / sy);
    const columns = to.w + Math.floor(((kw - 1) * dx) / sx);
    const taps = [];
    for (let i = 0; i < kh; i++) {
      for (let j = 0; j < kw; j++) {
        const plane = ((i * dy) % sy) * sx + ((j * dx) % sx);
        const row = plane * rows + Math.floor((i * dy) / sy);
        taps.push({ at: row * columns + Math.floor((j * dx) / sx), kernel: i * kw + j });
      }
    }
    const phases = [{ rows: to.h, columns: to.w, row: 0, column: 0, taps }];
    return { phases, stride: [1, 1], margin: step.padding, parted: step.stride, rows, columns };
  }

  /** For one side, of each phase: how many places, and which tap reads how far from them. */
  function phasesOf(length, kernel, stride, padding, dilation) {
    return Array.from({ length: Math.min(stride, length) }, (_, phase) => {
      const reads = [];
      for (let k = 0; k < kernel; k++) {
        const shift = (phase + padding - k * dilation) / stride;
        if (Number.isInteger(shift)) reads.push({ k, shift });
      }
      return { phase, count: Math.ceil((length - phase) / stride), reads };
    });
  }

  /** @returns {Plan} */
  function transposedPlan(step, from, to, kh, kw) {
    const [lines, posts] = [[to.h, kh], [to.w, kw]].map(([length, kernel], side) =>
      phasesOf(length, kernel, step.stride[side], step.padding[side], step.dilation[side]));
    const lowest = (all) => Math.min(0, ...all.flatMap((p) => p.reads.map((r) => r.shift)));
    const highest = (all, least) =>
      Math.max(least, ...all.flatMap((p) => p.reads.map((r) => r.shift + p.count)));
    const margin = [-lowest(lines), -lowest(posts)];
    const rows = margin[0] + highest(lines, from.h);
    const columns = margin[1] + highest(posts, from.w);
    const phases = lines.flatMap((line) => posts.map((post) => ({
      rows: line.count,
      columns: post.count,
      row: line.phase,
      column: post.phase,
      taps: line.reads.flatMap((r) => post.reads.map((c) => ({
        at: (r.shift + margin[0]) * columns + c.shift + margin[1],
        kernel: r.k * kw + c.k,
      }))),
    })));
    return { phases, stride: step.stride, margin, parted: [1, 1], rows, columns };
  }

  /** Copies the maps of one datum into their planes, with zeros around them. */
  function spread(data, start, from, planes, plan) {
    const { parted: [sy, sx], margin: [top, left], rows, columns } = plan;
    let at = 0;
    for (let c = 0; c < from.c; c++) {
      const map = start + c * from.h * from.w;
      for (let phase = 0; phase < sy * sx; phase++) {
        const [y0, x0] = [Math.floor(phase / sx) - top, (phase % sx) - left];
        for (let r = 0; r < rows; r++, at += columns) {
          const y = r * sy + y0;
          if (y < 0 || y >= from.h) continue; // stays zero
          const row = map + y * from.w;
          const first = Math.max(0, Math.ceil(-x0 / sx));
          const end = Math.min(columns, Math.ceil((from.w - x0) / sx));
          for (let q = first; q < end; q++) planes[at + q] = data[row + q * sx + x0];
        }
      }
    }
  }

  /**
   * one[k] += w[0] from[base + places[0] + k] + w[1] from[base + places[1] + k] + ..., and so for
   * two and v. Four sources at a time and two sums, so that each number that is read serves twice.
   */
  function addToTwo(one, two, n, from, base, places, w, v) {
    for (let s = 0; s < places.length; s += 4) {
      const w0 = w[s];
      const w1 = w[s + 1];
      const w2 = w[s + 2];
      const w3 = w[s + 3];
      const v0 = v[s];
      const v1 = v[s + 1];
      const v2 = v[s + 2];
      const v3 = v[s + 3];
      let p0 = base + places[s];
      let p1 = base + places[s + 1];
      let p2 = base + places[s + 2];
      let p3 = base + places[s + 3];
      for (let k = 0; k < n; k++) {
        const a = from[p0++];
        const b = from[p1++];
        const c = from[p2++];
        const d = from[p3++];
        one[k] += w0 * a + w1 * b + (w2 * c + w3 * d);
        two[k] += v0 * a + v1 * b + (v2 * c + v3 * d);
      }
    }
  }

  /** As `addToTwo` for one sum alone. */
  function addToOne(one, n, from, base, places, w) {
    for (let s = 0; s < places.length; s += 4) {
      const w0 = w[s];
      const w1 = w[s + 1];
      const w2 = w[s + 2];
      const w3 = w[s + 3];
      let p0 = base + places[s];
      let p1 = base + places[s + 1];
      let p2 = base + places[s + 2];
      let p3 = base + places[s + 3];
      for (let k = 0; k < n; k++) {
        one[k] += w0 * from[p0++] + w1 * from[p1++] + (w2 * from[p2++] + w3 * from[p3++]);
      }
    }
  }

  /** The places of a phase's sources, a multiple of four: those that fill up have weight zero. */
  function placesOf(phase, channels, plane) {
    const places = [];
    for (let i = 0; i < channels; i++) {
      for (const tap of phase.taps) places.push(i * plane + tap.at);
    }
    while (places.length % 4) places.push(0);
    return Int32Array.from(places);
  }

  /** The weights of a phase's sources for each output channel. */
  function weightsOf(phase, channels, outputs, length, weightAt) {
    return Array.from({ length: outputs }, (_, o) => {
      const packed = new Float64Array(length);
      let at = 0;
      for (let i = 0; i < channels; i++) {
        for (const tap of phase.taps) packed[at++] = weightAt(o, i, tap.kernel);
      }
      return packed;
    });
  }

  function write(sum, to, start, phase, plan, out) {
    const [sy, sx] = plan.stride;
    for (let y = 0; y < phase.rows; y++) {
      const row = start + (y * sy + phase.row) * to.w + phase.column;
      const from = y * plan.columns;
      for (let x = 0; x < phase.columns; x++) out[row + x * sx] = sum[from + x];
    }
  }

  function conv(step, out, x, weight, bias) {
    const [from, to] = [sides(x.shape), sides(out.shape)];
    const { h: kh, w: kw } = sides(weight.shape);
    const plan = step.transposed
      ? transposedPlan(step, from, to, kh, kw)
      : forwardPlan(step, to, kh, kw);
    const [channels, outputs] = [from.c / step.groups, to.c / step.groups];
    const plane = plan.parted[0] * plan.parted[1] * plan.rows * plan.columns;
    // One row more, which the last sources of a phase may read between its rows.
    const planes = new Float64Array(from.c * plane + plan.columns);
    const weightAt = (o, i, k) => {
      const group = Math.floor(o / outputs);
      const row = step.transposed
        ? (group * channels + i) * outputs + (o % outputs)
        : o * channels + i;
      return weight.data[row * kh * kw + k];
    };
    const works = plan.phases.map((phase) => {
      const places = placesOf(phase, channels, plane);
      const weights = weightsOf(phase, channels, to.c, places.length, weightAt);
      const n = (phase.rows - 1) * plan.columns + phase.columns;
      return { phase, places, weights, n };
    });
    const most = Math.max(...works.map((work) => work.n));
    const [one, two] = [new Float64Array(most), new Float64Array(most)];
    const first = (o) => (bias ? bias.data[o] : 0);

    const runPhase = ({ phase, places, weights, n }, start) => {
      for (let o = 0; o < to.c; ) {
        const group = Math.floor(o / outputs);
        const base = group * channels * plane;
        const isPair = o + 1 < to.c && Math.floor((o + 1) / outputs) === group;
        one.fill(first(o), 0, n);
        if (isPair) {
          two.fill(first(o + 1), 0, n);
          addToTwo(one, two, n, planes, base, places, weights[o], weights[o + 1]);
          write(two, to, start + (o + 1) * to.h * to.w, phase, plan, out.data);
        } else {
          addToOne(one, n, planes, base, places, weights[o]);
        }
        write(one, to, start + o * to.h * to.w, phase, plan, out.data);
        o += isPair ? 2 : 1;
      }
    };
    return () => {
      for (let d = 0; d < from.n; d++) {
        spread(x.data, d * from.c * from.h * from.w, from, planes, plan);
        for (const work of works) runPhase(work, d * to.c * to.h * to.w);
      }
    };
  }

  return { conv };
})();
