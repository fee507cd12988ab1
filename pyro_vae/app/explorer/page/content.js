"use strict";

/** Reads what the page holds: its description, and numbers that are written as bytes in base64. */

async function readContent() {
  const page = JSON.parse(document.getElementById("content").textContent);
  const weights = await Engine.unpack(document.getElementById("weights").textContent);
  page.data = readData(page.data, page.programs[0]);
  for (const program of page.programs) {
    program.means = numbers(program.means);
    program.draws = numbers(program.draws);
  }
  return { page, weights };
}

function bytes(text) {
  const binary = atob(text);
  const found = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) found[i] = binary.charCodeAt(i);
  return found;
}

/** Numbers that are stored as bytes k, standing for low + step * k, or as float32. */
function numbers({ stored, base64, low, step }) {
  const found = bytes(base64);
  if (stored === "f32") return new Float32Array(found.buffer);
  return Float32Array.from(found, (k) => low + step * k);
}

/** The data one by one: {x, label, index, name}. */
function readData({ x, texts, labels }, { x_shape: shape }) {
  const size = shape.reduce((product, length) => product * length, 1);
  const all = texts ? null : numbers(x);
  const count = texts ? texts.length : all.length / size;
  return Array.from({ length: count }, (_, index) => ({
    x: texts ? texts[index] : all.slice(index * size, (index + 1) * size),
    label: labels ? labels[index] : null,
    index,
    name: `datum ${index}`,
  }));
}
