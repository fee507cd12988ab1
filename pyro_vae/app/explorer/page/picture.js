"use strict";

/**
 * Shows a datum: a picture, a text, or bars for a row of numbers. Each view is an element with a
 * method `show(x)`, where x is a Float32Array (row-major), or a string.
 */
class DatumView {
  /**
   * @param {{x_shape: number[], levels: number[], kind: string}} program
   * @param {string} words What the view is of, for those who do not see it.
   */
  constructor(program, words) {
    this.program = program;
    if (program.kind === "text") {
      this.element = element("p", { class: "text", "aria-label": words });
    } else {
      this.element = element("canvas", { class: "datum", role: "img", "aria-label": words });
      const [, height, width] = sizes(program);
      this.element.style.aspectRatio = `${width} / ${height}`;
      if (program.kind !== "numbers") {
        this.element.width = width;
        this.element.height = height;
      }
    }
  }

  show(x) {
    this.x = x;
    if (this.program.kind === "text") this.element.textContent = x === "" ? "(empty)" : x;
    else if (this.program.kind === "numbers") this.showBars(x);
    else this.element.getContext("2d").putImageData(pixels(x, this.program), 0, 0);
  }

  showBars(x) {
    const [width, height] = [this.element.clientWidth || 240, this.element.clientHeight || 160];
    const context = crisp(this.element, width, height);
    const [low, high] = this.program.levels;
    const place = (value) => height - ((value - low) / (high - low)) * height;
    const zero = place(Math.max(low, Math.min(high, 0)));
    context.fillStyle = colour("accent");
    x.forEach((value, i) => {
      const top = place(value);
      context.fillRect(
        ((i + 0.15) * width) / x.length, Math.min(top, zero),
        (0.7 * width) / x.length, Math.max(1, Math.abs(zero - top)),
      );
    });
  }
}

/** Channels, height and width of a datum as it is drawn. */
function sizes({ x_shape: shape, kind }) {
  if (kind === "numbers") return [1, 2, 3];
  return shape.length === 3 ? shape : [1, ...shape];
}

const shownPixels = new Map(); // by size: an ImageData is made once and filled again

/** The pixels of a picture, three channels as red, green and blue, else the first as grey. */
function pixels(x, program) {
  const [channelCount, height, width] = sizes(program);
  const [low, high] = program.levels;
  const key = `${width}x${height}`;
  if (!shownPixels.has(key)) shownPixels.set(key, new ImageData(width, height));
  const image = shownPixels.get(key);
  const area = width * height;
  const planes = channelCount === 3 ? [0, area, 2 * area] : [0, 0, 0];
  const scale = 255 / (high - low);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = (x[planes[c] + i] - low) * scale;
    image.data[4 * i + 3] = 255;
  }
  return image;
}
