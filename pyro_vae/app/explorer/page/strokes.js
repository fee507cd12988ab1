"use strict";

/** From strokes on a canvas to a datum as the program knows them. */

/**
 * What data of a program have in common: how long the longer side of what is drawn on them is,
 * where its centre of mass lies, as shares of the picture, and whether they are black and white.
 * Of MNIST these are 20 of 28 pixels and the middle, by which its authors made it.
 */
function customsOf(data, program) {
  const inks = data.map((x) => inkOf(x, program)).filter((ink) => ink.mass > 0);
  const mean = (of) => inks.reduce((sum, ink) => sum + of(ink), 0) / Math.max(1, inks.length);
  const [low, high] = program.levels;
  return {
    longest: inks.length ? mean((ink) => ink.longest) : 0.7,
    centre: inks.length ? [0, 1].map((i) => mean((ink) => ink.centre[i])) : [0.5, 0.5],
    isBinary: data.every((x) => x.every((value) => value === low || value === high)),
  };
}

/** The box, centre and mass of what is drawn on a picture, as shares of its width and height. */
function inkOf(x, program) {
  const [, height, width] = sizes(program);
  const [low, high] = program.levels;
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  let [mass, right, down] = [0, 0, 0];
  for (let i = 0; i < width * height; i++) {
    const ink = (x[i] - low) / (high - low);
    const [column, row] = [i % width, Math.floor(i / width)];
    mass += ink;
    right += ink * (column + 0.5);
    down += ink * (row + 0.5);
    if (ink < 0.3) continue;
    box[0] = Math.min(box[0], column);
    box[1] = Math.min(box[1], row);
    box[2] = Math.max(box[2], column + 1);
    box[3] = Math.max(box[3], row + 1);
  }
  const sides = [(box[2] - box[0]) / width, (box[3] - box[1]) / height];
  return { mass, box, longest: Math.max(...sides, 0), centre: [right / mass / width, down / mass / height] };
}

/** A drawing as a datum: as large as data are, smoothed, with its centre of mass where theirs is. */
function asDatum(sheet, program, { longest, centre, isBinary }) {
  const [, height, width] = sizes(program);
  const [low, high] = program.levels;
  const square = { ...program, x_shape: [FINE, FINE], levels: [0, 255], kind: "picture" };
  const ink = inkOf(greys(sheet), square);
  const factor = longest / Math.max(ink.longest, 0.05); // of the side of a picture, for FINE dots
  const small = new OffscreenCanvas(width, height);
  const context = small.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "black";
  context.fillRect(0, 0, width, height);
  const shrunk = halved(sheet, factor * width);
  context.imageSmoothingQuality = "high";
  const [left, top] = [0, 1].map((i) => centre[i] - factor * ink.centre[i]);
  context.drawImage(shrunk, left * width, top * height, factor * width, factor * height);
  return greys(small).map((grey) => {
    const share = grey / 255;
    return low + (high - low) * (isBinary ? Number(share > 0.5) : share);
  });
}

/** A canvas halved until it is less than twice as wide as it shall be: so no dot is skipped. */
function halved(canvas, width) {
  if (canvas.width < 2 * width || canvas.width < 4) return canvas;
  const half = new OffscreenCanvas(canvas.width / 2, canvas.height / 2);
  const context = half.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(canvas, 0, 0, half.width, half.height);
  return halved(half, width);
}

/** The grey levels of a canvas, 0 to 255, row by row. */
function greys(canvas) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return Float32Array.from({ length: data.length / 4 }, (_, i) => data[4 * i]);
}
