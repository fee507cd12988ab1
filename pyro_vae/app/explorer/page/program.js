"use strict";

const CLOUD = 150; // draws that show a q(z | x) of any shape

/**
 * A trained program as the page uses it. Its latents are one row of numbers: those of the top
 * latent as they are, and of each latent below how many standard deviations of p(z_l | above) it
 * is off its mean, so that a layer below follows the layer above when that is moved.
 */
class Program {
  /**
   * @param {Object} description As contents.py writes it.
   * @param {ArrayBuffer} weights Those of all functions of the page.
   */
  constructor(description, weights) {
    Object.assign(this, description);
    this.run = {};
    for (const [name, graph] of Object.entries(description.functions)) {
      this.run[name] = Engine.load(graph, weights);
    }
    let offset = 0;
    const latents = [...description.latents].sort((a, b) => a.below - b.below);
    this.sites = latents.map((site) => {
      const size = site.shape.reduce((product, length) => product * length, 1);
      offset += size;
      return { ...site, size, from: offset - size, to: offset };
    });
    this.size = offset;
    this.planeSize = this.sites.reduce((sum, { size, below }) => sum + (below ? 0 : size), 0);
    this.rates = this.joined("rates");
    this.reach = this.joined("reach");
    this.origin = this.joined("origin");
    this.numPixels = description.x_shape.reduce((product, length) => product * length, 1);
    this.hasPrior = "log_prior" in this.run;
    this.hasLogJoint = "log_joint" in this.run;
  }

  /** What all sites have of a kind, in one row; null where one has none. */
  joined(kind) {
    if (this.sites.some((site) => !site[kind])) return null;
    return Float32Array.from(this.sites.flatMap((site) => site[kind]));
  }

  /** The name of a number, such as z with an index below it. */
  label(number) {
    const site = this.sites.find(({ to }) => number < to);
    const inside = number - site.from;
    if (site.shape.length > 1) return `${site.name}[${placeIn(site.shape, inside).join(", ")}]`;
    if (this.sites.length > 1 || !/^[a-z]+$/.test(site.name)) return `${site.name}[${inside}]`;
    return site.name + [...String(inside + 1)].map((digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]).join("");
  }

  /**
   * E[x | z], or the text of the nearest point that was decoded when the page was made.
   *
   * @param {Float32Array} z
   * @param {{y: ?number, temperatures: ?Object<string, number>}} given
   * @returns {Float32Array|string}
   */
  decode(z, given) {
    if (this.texts) return this.nearestText(z);
    return this.run.decode(this.placed(z, given)).picture;
  }

  placed(z, given) {
    const inputs = this.labels(given);
    for (const { name, from, to, below, keeps } of this.sites) {
      const part = Float32Array.from(z.slice(from, to));
      inputs[below ? `noise_${name}` : name] = part;
      if (keeps) inputs[`keep_${name}`] = Float32Array.of(1);
      if (!below) continue;
      const temperature = given.temperatures ? given.temperatures[name] : 1;
      inputs[`temperature_${name}`] = Float32Array.of(temperature);
    }
    return inputs;
  }

  /** A draw from the prior: one of those that the page holds; noise for the layers below. */
  draw(y) {
    const z = Float32Array.from({ length: this.size }, normal);
    const { planeSize: size } = this;
    const count = this.draws.length / size;
    const classes = this.choice && this.choice.name === "y" ? this.choice.classes : 1;
    const each = count / classes;
    const row = Math.floor(Math.random() * each) + (classes > 1 ? y * each : 0);
    z.set(this.draws.subarray(row * size, (row + 1) * size));
    return z;
  }

  /** The label, as the functions take it. */
  labels({ y }) {
    if (!this.choice || y === null || y === undefined) return {};
    const { name, classes, oneHot } = this.choice;
    if (!oneHot) return { [name]: Float32Array.of(y) };
    return { [name]: Float32Array.from({ length: classes }, (_, i) => Number(i === y)) };
  }

  /**
   * Where the guide puts a datum: the row of numbers at the mean of q(z | x), and the standard
   * deviations of those of the top latent; null where q knows none, as a flow, of which there are
   * draws, or an autoencoder's point.
   */
  encode(x, given) {
    const found = this.run.encode({ x, ...this.labels(given) });
    const mean = new Float32Array(this.size);
    const deviation = new Float32Array(this.size);
    for (const { name, from, to, below } of this.sites) {
      if (below) continue;
      mean.set(found[`mean_${name}`] || found[name], from);
      if (found[`sd_${name}`]) deviation.set(found[`sd_${name}`], from);
      else deviation.fill(NaN, from, to);
    }
    this.addNoise(mean, found, given);
    const isKnown = deviation.some((value) => value > 0) && !deviation.some(Number.isNaN);
    return isKnown
      ? { mean, deviation, cloud: [] }
      : { mean, deviation: null, cloud: this.cloud(x, given) };
  }

  /** Draws of q(z | x) at the top, for a q without standard deviations; none of a single point. */
  cloud(x, given) {
    const top = this.sites.filter(({ below, name }) =>
      !below && `noise_${name}` in this.run.encode.inputs);
    return Array.from({ length: top.length ? CLOUD : 0 }, () => {
      const inputs = { x, ...this.labels(given) };
      for (const { name, size } of top) {
        inputs[`noise_${name}`] = Float32Array.from({ length: size }, normal);
      }
      const found = this.run.encode(inputs);
      const z = new Float32Array(this.size);
      for (const { name, from } of top) z.set(found[name], from);
      return z;
    });
  }

  /** By how much the latents below the top are off their means, where a datum has them. */
  addNoise(numbers, found, given) {
    const below = this.sites.filter((site) => site.below);
    if (!below.length) return;
    const inputs = this.placed(numbers, given);
    for (const { name } of below) {
      inputs[name] = Float32Array.from(found[name]);
      inputs[`keep_${name}`] = Float32Array.of(1);
    }
    const placed = this.run.decode(inputs);
    for (const { name, from } of below) numbers.set(placed[`noise_${name}`], from);
  }

  /** log p(x, z) and log p(z), in nats. */
  logJoint(x, z, given) {
    const found = this.run.log_joint({ x, ...this.values(z), ...this.labels(given) });
    return { joint: found.log_p[0], prior: found.log_pz[0] };
  }

  logPrior(z, given) {
    return this.run.log_prior({ ...this.values(z), ...this.labels(given) }).log_pz[0];
  }

  values(z) {
    return Object.fromEntries(this.sites.map(({ name, from, to }) =>
      [name, Float32Array.from(z.slice(from, to))]));
  }

  /** The text at the nearest point of the grid on which some were written. */
  nearestText(z) {
    const { low, high, count, written: all } = this.texts;
    const [column, row] = [0, 1].map((i) => {
      const place = ((z[i] - low[i]) / (high[i] - low[i])) * (count - 1);
      return Math.min(count - 1, Math.max(0, Math.round(place)));
    });
    return all[row * count + column];
  }
}

/** A draw from N(0, 1), by Box and Muller. */
function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

/** The indices of a place in an array of a shape, row-major. */
function placeIn(shape, place) {
  return shape.map((length, i) => {
    const after = shape.slice(i + 1).reduce((product, size) => product * size, 1);
    return Math.floor(place / after) % length;
  });
}
