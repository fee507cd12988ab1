"use strict";
/**
 * A graph that `pyro-vae` exported, as a function of named arrays.
 *
 *     const f = Engine.load(description, weights);      // weights: an ArrayBuffer
 *     const { picture } = f({ z: new Float32Array([0.5, -1]) });
 *     f.inputs.z.shape                                  // [1, 2]
 *
 * What f returns are copies. Inputs with a default may be left out.
 */
const Engine = (() => {
  const ARRAYS = { f32: Float32Array, f64: Float64Array, i32: Int32Array };
  const MAKERS = { ...Kernels, ...Convolutions };
  const size = (shape) => shape.reduce((product, n) => product * n, 1);

  /** Numbers whose three upper bytes are stored, in three rows: all first bytes, and so on. */
  function fromThreeBytes(bytes, count) {
    const bits = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      bits[i] = (bytes[i] << 24) | (bytes[count + i] << 16) | (bytes[2 * count + i] << 8);
    }
    return new Float32Array(bits.buffer);
  }

  function constantData(value, weights) {
    if ("number" in value) return ARRAYS[value.type].of(Number(value.number));
    const count = size(value.shape);
    if (value.stored !== "f24") return new ARRAYS[value.stored](weights, value.at, count);
    return fromThreeBytes(new Uint8Array(weights, value.at, 3 * count), count);
  }

  /** The buffers of all values; a view shares that of what it is a view of. */
  function buffers(description, weights) {
    const shared = new Map(
      description.tape.filter((step) => step.op === "view").map((step) => [step.out, step.in[0]]),
    );
    const tensors = [];
    const tensor = (i) => {
      if (!tensors[i]) {
        const value = description.values[i];
        let data;
        if (shared.has(i)) data = tensor(shared.get(i)).data;
        else if ("number" in value || "at" in value) data = constantData(value, weights);
        else data = new ARRAYS[value.type](size(value.shape));
        tensors[i] = { data, shape: value.shape };
      }
      return tensors[i];
    };
    description.values.forEach((_, i) => tensor(i));
    return tensors;
  }

  function named(places, tensors) {
    return Object.fromEntries(
      Object.entries(places).map(([name, i]) => [name, { shape: tensors[i].shape }]),
    );
  }

  function fill(data, name, given, defaults) {
    if (given === undefined && name in defaults) {
      data.fill(defaults[name]);
    } else if (given === undefined || given.length !== data.length) {
      const found = given === undefined ? "is missing" : `has ${given.length} numbers`;
      throw new Error(`the input ${name} ${found}, but must have ${data.length}`);
    } else {
      data.set(given);
    }
  }

  /**
   * @param {object} description What `Graph.description` wrote.
   * @param {ArrayBuffer} weights
   */
  function load(description, weights) {
    const tensors = buffers(description, weights);
    const steps = description.tape
      .filter((step) => step.op !== "view")
      .map((step) => {
        if (!(step.op in MAKERS)) throw new Error(`the instruction ${step.op} is unknown`);
        const inputs = step.in.map((i) => tensors[i]);
        return MAKERS[step.op](step, tensors[step.out], ...inputs);
      });
    const { inputs, outputs, defaults } = description;
    const run = (given) => {
      for (const name in inputs) fill(tensors[inputs[name]].data, name, given[name], defaults);
      for (const step of steps) step();
      const found = {};
      for (const name in outputs) found[name] = Float32Array.from(tensors[outputs[name]].data);
      return found;
    };
    return Object.assign(run, { inputs: named(inputs, tensors), outputs: named(outputs, tensors) });
  }

  /**
   * The weights of a page, which are compressed and written in base64.
   *
   * @param {string} text
   * @returns {Promise<ArrayBuffer>}
   */
  function unpack(text) {
    const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).arrayBuffer();
  }

  return { load, unpack };
})();
