"use strict";
/**
 * The instructions of a graph on typed arrays; each maker gets an instruction and its buffers once
 * and returns a function without arguments that runs it. Tensors are flat and row-major.
 *
 * @typedef {{data: (Float32Array|Float64Array|Int32Array), shape: number[]}} Tensor
 */
const Kernels = (() => {
  const size = (shape) => shape.reduce((product, n) => product * n, 1);

  /** By how many numbers each index moves in a flat tensor. */
  function stridesOf(shape) {
    const strides = new Array(shape.length);
    let step = 1;
    for (let d = shape.length - 1; d >= 0; d--) {
      strides[d] = step;
      step *= shape[d];
    }
    return strides;
  }

  /** The strides by which a tensor is read as one of a larger shape, 0 where it is repeated. */
  function broadcastStrides(shape, larger) {
    const own = stridesOf(shape);
    const missing = larger.length - shape.length;
    return larger.map((_, d) => (d < missing || shape[d - missing] === 1 ? 0 : own[d - missing]));
  }

  /** Drops dimensions of size 1 and joins those that all tensors pass through without a gap. */
  function joined(shape, ...strides) {
    const sizes = [];
    const steps = strides.map(() => []);
    for (let d = 0; d < shape.length; d++) {
      if (shape[d] === 1) continue;
      const last = sizes.length - 1;
      const fits = last >= 0 && strides.every((s, i) => steps[i][last] === s[d] * shape[d]);
      if (fits) {
        sizes[last] *= shape[d];
        strides.forEach((s, i) => (steps[i][last] = s[d]));
      } else {
        sizes.push(shape[d]);
        strides.forEach((s, i) => steps[i].push(s[d]));
      }
    }
    return { sizes, steps };
  }

  /** Calls row(start, ...places) for each innermost row of a shape walked with strides. */
  function eachRow(sizes, steps, offsets, row) {
    const rank = sizes.length;
    const inner = rank ? sizes[rank - 1] : 1;
    const rows = size(sizes) / inner;
    const index = new Array(rank).fill(0);
    const places = offsets.slice();
    for (let r = 0; r < rows; r++) {
      row(r * inner, places);
      for (let d = rank - 2; d >= 0; d--) {
        for (let i = 0; i < places.length; i++) places[i] += steps[i][d];
        if (++index[d] < sizes[d]) break;
        for (let i = 0; i < places.length; i++) places[i] -= steps[i][d] * sizes[d];
        index[d] = 0;
      }
    }
  }

  /** log Gamma by Lanczos' approximation, exact to 1e-14. */
  const LANCZOS = [
    676.5203681218851, -1259.1392167224028, 771.3234287776531, -176.6150291621406,
    12.507343278686905, -0.13857109526572012, 9.984369578019572e-6, 1.5056327351493116e-7,
  ];
  function lgamma(x) {
    if (x < 0.5) return Math.log(Math.PI / Math.abs(Math.sin(Math.PI * x))) - lgamma(1 - x);
    const y = x - 1;
    let sum = 0.9999999999998099;
    for (let i = 0; i < LANCZOS.length; i++) sum += LANCZOS[i] / (y + i + 1);
    const t = y + LANCZOS.length - 0.5;
    return 0.5 * Math.log(2 * Math.PI) + (y + 0.5) * Math.log(t) - t + Math.log(sum);
  }

  /** The error function: its series near 0, and beyond it a continued fraction of erfc. */
  function erf(x) {
    const a = Math.abs(x);
    if (a > 2) return Math.sign(x) * (1 - erfcTail(a));
    let term = x;
    let sum = x;
    for (let n = 1; n < 60 && Math.abs(term) > 1e-17; n++) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  function erfcTail(a) {
    if (a > 27) return 0;
    let fraction = 0;
    for (let k = 60; k > 0; k--) fraction = k / 2 / (a + fraction);
    return Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + fraction);
  }
  const erfc = (x) => (x > 2 ? erfcTail(x) : 1 - erf(x));

  const roundEven = (x) => {
    const r = Math.round(x);
    return r - x === 0.5 && r % 2 !== 0 ? r - 1 : r;
  };
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const MAPS = {
    copy: (x) => x,
    abs: Math.abs, neg: (x) => -x, exp: Math.exp, expm1: Math.expm1, log: Math.log,
    log1p: Math.log1p, log2: Math.log2, sqrt: Math.sqrt, rsqrt: (x) => 1 / Math.sqrt(x),
    sin: Math.sin, cos: Math.cos, tan: Math.tan, tanh: Math.tanh, sinh: Math.sinh,
    cosh: Math.cosh, asinh: Math.asinh, atan: Math.atan, sign: Math.sign, floor: Math.floor,
    ceil: Math.ceil, trunc: Math.trunc, round: roundEven, reciprocal: (x) => 1 / x,
    relu: (x) => (x > 0 ? x : x === x ? 0 : x), erf, erfc, lgamma, sigmoid,
    silu: (x) => x * sigmoid(x),
    gelu: (x) => (x * erfc(-x * Math.SQRT1_2)) / 2,
    gelu_tanh: (x) =>
      0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x))),
    isnan: (x) => +(x !== x), isinf: (x) => +(Math.abs(x) === Infinity),
    logical_not: (x) => +!x,
    leaky_relu: (x, slope) => (x > 0 ? x : slope * x),
    elu: (x, alpha, scale, slope) => (x > 0 ? scale * x : scale * alpha * Math.expm1(x * slope)),
    softplus: (x, beta, threshold) =>
      beta * x > threshold ? x : Math.log1p(Math.exp(beta * x)) / beta,
  };
  const ZIPS = {
    add: (a, b) => a + b, sub: (a, b) => a - b, mul: (a, b) => a * b, div: (a, b) => a / b,
    pow: Math.pow, atan2: Math.atan2, maximum: Math.max, minimum: Math.min,
    remainder: (a, b) => a - b * Math.floor(a / b), fmod: (a, b) => a % b,
    eq: (a, b) => +(a === b), ne: (a, b) => +(a !== b), lt: (a, b) => +(a < b),
    le: (a, b) => +(a <= b), gt: (a, b) => +(a > b), ge: (a, b) => +(a >= b),
    and: (a, b) => +(!!a && !!b), or: (a, b) => +(!!a || !!b),
  };

  function map(step, out, x) {
    const f = MAPS[step.fn];
    const [p, q, r] = step.p || [];
    const from = x.data;
    const to = out.data;
    if (step.fn === "relu") {
      return () => {
        for (let i = 0; i < to.length; i++) to[i] = from[i] < 0 ? 0 : from[i];
      };
    }
    return () => {
      for (let i = 0; i < to.length; i++) to[i] = f(from[i], p, q, r);
    };
  }

  /** Rows of the commonest operations, in loops of their own that the compiler can inline. */
  const ROWS = {
    add: (to, at, n, a, i, s, b, j, t) => {
      for (let k = 0; k < n; k++) to[at + k] = a[i + k * s] + b[j + k * t];
    },
    sub: (to, at, n, a, i, s, b, j, t) => {
      for (let k = 0; k < n; k++) to[at + k] = a[i + k * s] - b[j + k * t];
    },
    mul: (to, at, n, a, i, s, b, j, t) => {
      for (let k = 0; k < n; k++) to[at + k] = a[i + k * s] * b[j + k * t];
    },
  };

  function zip(step, out, a, b) {
    const f = ZIPS[step.fn];
    const general = (to, at, n, x, i, s, y, j, t) => {
      for (let k = 0; k < n; k++) to[at + k] = f(x[i + k * s], y[j + k * t]);
    };
    const row = ROWS[step.fn] || general;
    const { sizes, steps } = joined(
      out.shape, stridesOf(out.shape),
      broadcastStrides(a.shape, out.shape), broadcastStrides(b.shape, out.shape),
    );
    const rank = sizes.length;
    const n = rank ? sizes[rank - 1] : 1;
    const [s, t] = rank ? [steps[1][rank - 1], steps[2][rank - 1]] : [0, 0];
    const run = (start, [i, j]) => row(out.data, start, n, a.data, i, s, b.data, j, t);
    return () => eachRow(sizes, steps.slice(1), [0, 0], run);
  }

  function where(step, out, c, a, b) {
    const { sizes, steps } = joined(
      out.shape, stridesOf(out.shape), ...[c, a, b].map((v) => broadcastStrides(v.shape, out.shape)),
    );
    const rank = sizes.length;
    const n = rank ? sizes[rank - 1] : 1;
    const [r, s, t] = rank ? steps.slice(1).map((each) => each[rank - 1]) : [0, 0, 0];
    const run = (start, [h, i, j]) => {
      for (let k = 0; k < n; k++) {
        out.data[start + k] = c.data[h + k * r] ? a.data[i + k * s] : b.data[j + k * t];
      }
    };
    return () => eachRow(sizes, steps.slice(1), [0, 0, 0], run);
  }

  function strided(step, out, x) {
    const { sizes, steps } = joined(out.shape, stridesOf(out.shape), step.strides);
    const rank = sizes.length;
    const n = rank ? sizes[rank - 1] : 1;
    const s = rank ? steps[1][rank - 1] : 0;
    const from = x.data;
    const to = out.data;
    const run = (start, [i]) => {
      for (let k = 0; k < n; k++) to[start + k] = from[i + k * s];
    };
    return () => eachRow(sizes, [steps[1]], [step.offset], run);
  }

  /** (..., M, K) times (..., K, N): rows of the second are added up, four at a time. */
  function matmul(step, out, a, b) {
    const [m, k] = a.shape.slice(-2);
    const n = b.shape[b.shape.length - 1];
    const products = a.data.length / (m * k);
    const sums = new Float64Array(n);
    return () => {
      for (let p = 0; p < products; p++) {
        for (let i = 0; i < m; i++) {
          rowTimes(sums, a.data, (p * m + i) * k, k, b.data, p * k * n, n);
          out.data.set(sums, (p * m + i) * n);
        }
      }
    };
  }

  /** sums[j] = sum_i x[at + i] w[start + i n + j] */
  function rowTimes(sums, x, at, k, w, start, n) {
    sums.fill(0);
    let i = 0;
    for (; i + 3 < k; i += 4) {
      const [x0, x1, x2, x3] = [x[at + i], x[at + i + 1], x[at + i + 2], x[at + i + 3]];
      if (x0 === 0 && x1 === 0 && x2 === 0 && x3 === 0) continue;
      const [w0, w1] = [start + i * n, start + (i + 1) * n];
      const [w2, w3] = [start + (i + 2) * n, start + (i + 3) * n];
      for (let j = 0; j < n; j++) {
        sums[j] += x0 * w[w0 + j] + x1 * w[w1 + j] + x2 * w[w2 + j] + x3 * w[w3 + j];
      }
    }
    for (; i < k; i++) {
      const xi = x[at + i];
      const wi = start + i * n;
      for (let j = 0; j < n; j++) sums[j] += xi * w[wi + j];
    }
  }

  const FOLDS = {
    sum: [0, (s, x) => s + x], mean: [0, (s, x) => s + x], prod: [1, (s, x) => s * x],
    max: [-Infinity, Math.max], min: [Infinity, Math.min],
    any: [0, (s, x) => +(!!s || !!x)], all: [1, (s, x) => +(!!s && !!x)],
  };

  function reduce(step, out, x) {
    const n = step.size;
    const from = x.data;
    const to = out.data;
    if (step.fn.startsWith("arg")) return argument(step, out, x);
    const [first, fold] = FOLDS[step.fn];
    const divisor = step.fn === "mean" ? n : 1;
    return () => {
      for (let i = 0; i < to.length; i++) {
        let value = first;
        for (let j = i * n; j < (i + 1) * n; j++) value = fold(value, from[j]);
        to[i] = value / divisor;
      }
    };
  }

  function argument(step, out, x) {
    const n = step.size;
    const sign = step.fn === "argmax" ? 1 : -1;
    return () => {
      for (let i = 0; i < out.data.length; i++) {
        let best = 0;
        for (let j = 1; j < n; j++) {
          if (sign * x.data[i * n + j] > sign * x.data[i * n + best]) best = j;
        }
        out.data[i] = best;
      }
    };
  }

  function scan(step, out, x) {
    const n = x.shape[x.shape.length - 1] || 1;
    const fold = FOLDS[step.fn][1];
    return () => {
      for (let i = 0; i < out.data.length; i++) {
        out.data[i] = i % n === 0 ? x.data[i] : fold(out.data[i - 1], x.data[i]);
      }
    };
  }

  function cat(step, out, ...values) {
    const inner = size(out.shape.slice(step.dim + 1));
    const outer = size(out.shape.slice(0, step.dim));
    const widths = values.map((value) => value.shape[step.dim] * inner);
    return () => {
      let at = 0;
      for (let o = 0; o < outer; o++) {
        values.forEach((value, v) => {
          out.data.set(value.data.subarray(o * widths[v], (o + 1) * widths[v]), at);
          at += widths[v];
        });
      }
    };
  }

  function pad(step, out, x) {
    const [from, to] = [stridesOf(x.shape), stridesOf(out.shape)];
    // Of each dimension, the places that are inside of both.
    const first = step.before.map((b) => Math.max(-b, 0));
    const sizes = x.shape.map((n, d) => Math.min(n, out.shape[d] - step.before[d]) - first[d]);
    const [read, write] = [from, to].map((steps, side) =>
      steps.reduce((sum, s, d) => sum + s * (first[d] + (side ? step.before[d] : 0)), 0));
    const n = sizes[sizes.length - 1];
    const run = (_, [i, j]) => {
      for (let k = 0; k < n; k++) out.data[j + k] = x.data[i + k];
    };
    return () => {
      out.data.fill(Number(step.value));
      if (sizes.every((each) => each > 0)) eachRow(sizes, [from, to], [read, write], run);
    };
  }

  function take(step, out, x, index) {
    const { size: rows, inner } = step;
    const outer = x.data.length / (rows * inner);
    const places = index.data;
    return () => {
      let at = 0;
      for (let o = 0; o < outer; o++) {
        for (let j = 0; j < places.length; j++) {
          const place = places[j] < 0 ? places[j] + rows : places[j];
          const start = (o * rows + place) * inner;
          for (let k = 0; k < inner; k++) out.data[at++] = x.data[start + k];
        }
      }
    };
  }

  function put(step, out, x, index, values) {
    return () => {
      out.data.set(x.data);
      for (let j = 0; j < index.data.length; j++) {
        const before = step.accumulate ? out.data[index.data[j]] : 0;
        out.data[index.data[j]] = before + values.data[j];
      }
    };
  }

  function pool(step, out, x) {
    const [h, w] = x.shape.slice(-2);
    const [outH, outW] = out.shape.slice(-2);
    const isMax = step.fn === "max";
    const count = step.kernel[0] * step.kernel[1];
    return () => {
      for (let o = 0; o < out.data.length; o++) {
        const [col, row] = [o % outW, Math.floor(o / outW) % outH];
        const plane = Math.floor(o / (outW * outH)) * h * w;
        let value = isMax ? -Infinity : 0;
        for (let i = 0; i < step.kernel[0]; i++) {
          const y = row * step.stride[0] - step.padding[0] + i;
          for (let j = 0; j < step.kernel[1]; j++) {
            const c = col * step.stride[1] - step.padding[1] + j;
            if (y < 0 || y >= h || c < 0 || c >= w) continue;
            const pixel = x.data[plane + y * w + c];
            value = isMax ? Math.max(value, pixel) : value + pixel;
          }
        }
        out.data[o] = isMax ? value : value / count;
      }
    };
  }

  return { map, zip, where, strided, matmul, reduce, scan, cat, pad, take, put, pool };
})();
