"use strict";

/** What may lie behind the point of a plane; each draws itself on a plane's context. */

const BUDGET_MS = { prior: 500, posterior: 6000, pictures: 3000 };
const MOST_CELLS = { prior: 81, posterior: 61, pictures: 24 };
const SMALLEST_PICTURE = 34; // CSS pixels across
const LONGEST_TEXT = 20; // letters, of a longer one that are shown on the plane

class Backgrounds {
  /**
   * @param {State} state
   * @param {Program[]} programs
   * @param {Grids} grids
   * @param {Posteriors} posteriors
   * @param {{labels: number[]|null, classes: number}} page
   */
  constructor(state, programs, grids, posteriors, page) {
    Object.assign(this, { state, programs, grids, posteriors, page });
    this.costs = new Map();
  }

  draw(plane) {
    plane.progress.hidden = true;
    const { background } = this.state;
    if (background === "data") this.grids.drop(plane.slot);
    if (background === "prior") this.drawPrior(plane);
    else if (background === "data") this.drawMeans(plane);
    else if (background === "pictures" && plane.program.texts) this.drawTexts(plane);
    else if (background === "pictures") this.drawPictures(plane);
    else this.drawDatum(plane);
  }

  drawPrior(plane) {
    if (!plane.program.hasPrior) {
      this.say(plane, "it has no prior: p(z) is the same everywhere");
      return;
    }
    this.drawDensity(plane, this.grid(plane, "prior"), "prior");
  }

  drawDensity(plane, grid, name) {
    if (!grid.done) return;
    shade(plane.context, grid, plane.width, channels(`${name}-rgb`));
    if (grid.done < grid.total) return;
    contours(plane.context, grid, plane.width, `rgb(${colour(`${name}-rgb`)})`);
  }

  drawMeans(plane) {
    const { means } = plane.program;
    const { labels, classes } = this.page;
    const [first, second] = this.state.axes;
    const size = plane.program.planeSize;
    const radius = plane.width > 300 ? 2.6 : 1.8;
    plane.context.globalAlpha = 0.8;
    for (let i = 0; i * size < means.length; i++) {
      const label = labels ? labels[i] : null;
      if (this.state.label !== null && label !== this.state.label) continue;
      const at = plane.toPixels([means[i * size + first], means[i * size + second]]);
      plane.context.fillStyle = labels ? labelColour(label, classes) : colour("point");
      plane.context.beginPath();
      plane.context.arc(...at, radius, 0, 2 * Math.PI);
      plane.context.fill();
    }
    plane.context.globalAlpha = 1;
  }

  drawPictures(plane) {
    const grid = this.grid(plane, "pictures");
    const { program } = plane;
    const across = grid.task.across.length;
    const [, height, width] = sizes(program);
    const cell = plane.width / across;
    const factor = (cell - 1) / Math.max(width, height); // of a CSS pixel, between two pictures
    const small = new OffscreenCanvas(width, height);
    plane.context.fillStyle = colour("gap");
    plane.context.fillRect(0, 0, plane.width, plane.width);
    plane.context.imageSmoothingEnabled = factor < 1;
    plane.context.imageSmoothingQuality = "high";
    for (let i = 0; i < grid.done; i++) {
      const x = grid.values.subarray(i * program.numPixels, (i + 1) * program.numPixels);
      small.getContext("2d").putImageData(pixels(x, program), 0, 0);
      const [column, row] = [i % across, Math.floor(i / across)];
      plane.context.drawImage(
        small, (column + 0.5) * cell - (factor * width) / 2,
        (row + 0.5) * cell - (factor * height) / 2, factor * width, factor * height,
      );
    }
  }

  /** Some of the texts where they were written, as many as can be read. */
  drawTexts(plane) {
    const { context, width, program } = plane;
    const { low, high, count, written: all } = program.texts;
    const longest = Math.min(LONGEST_TEXT, Math.max(...all.map((text) => text.length)));
    const columns = Math.max(1, Math.min(count, Math.floor(width / (longest * 7 + 6))));
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    context.textAlign = "center";
    context.fillStyle = colour("muted");
    const value = (i, axis) => low[axis] + (i * (high[axis] - low[axis])) / (count - 1);
    for (let row = 1; row < count; row += 2) {
      for (let place = 0; place < columns; place++) {
        const column = Math.round(((place + 0.5) * count) / columns - 0.5);
        const text = all[row * count + column];
        const shown = text.length > longest ? `${text.slice(0, longest - 1)}…` : text;
        const [x, y] = plane.toPixels([value(column, 0), value(row, 1)]);
        context.fillText(shown, x, y + 4);
      }
    }
  }

  drawDatum(plane) {
    if (plane.program.hasLogJoint) {
      this.drawDensity(plane, this.grid(plane, "posterior"), "posterior");
    }
    const q = this.posteriors.of(plane.slot);
    const mean = this.state.axes.map((number) => q.mean[number]);
    plane.context.strokeStyle = plane.context.fillStyle = colour("guide");
    if (q.deviation) {
      const unit = plane.width / (2 * this.state.view.half);
      const radii = this.state.axes.map((number) => q.deviation[number] * unit);
      for (const times of [1, 2]) {
        plane.context.lineWidth = 2;
        plane.context.beginPath();
        const [across, up] = radii;
        plane.context.ellipse(
          ...plane.toPixels(mean), times * across, times * up, 0, 0, 2 * Math.PI,
        );
        plane.context.stroke();
      }
    }
    for (const z of q.cloud) {
      plane.context.beginPath();
      plane.context.arc(
        ...plane.toPixels(this.state.axes.map((number) => z[number])), 2, 0, 2 * Math.PI,
      );
      plane.context.fill();
    }
    drawDot(plane.context, plane.toPixels(mean), 5, colour("guide"));
  }

  /** The grid of a plane as far as it is computed; the one before it until it begins. */
  grid(plane, kind) {
    const count = this.count(plane, kind);
    const { axes, view } = this.state;
    const given = this.given(plane, kind);
    const rest = plane.program.size > 2
      ? this.state.z.map((value, i) => (axes.includes(i) ? 0 : value)) : [];
    const key = JSON.stringify([kind, count, axes, view, [...rest], given.key]);
    const task = () => ({
      kind, program: plane.slot, z: this.state.z, axes, ...plane.cells(count), given,
    });
    const grid = this.grids.ask(plane.slot, key, task, () => plane.draw());
    if (grid.error) this.say(plane, grid.error);
    else if (grid.done < grid.total && kind !== "prior") this.tell(plane, grid, kind);
    return grid;
  }

  given(plane, kind) {
    const { y, temperatures, datum } = this.state;
    const of = { y, temperatures, key: [y, temperatures] };
    return kind === "posterior" ? { ...of, x: datum.x, key: [...of.key, datum.name] } : of;
  }

  /** So many cells across that all are computed in a few seconds. */
  count(plane, kind) {
    const most = kind === "pictures"
      ? Math.min(MOST_CELLS.pictures, Math.floor(plane.width / SMALLEST_PICTURE))
      : MOST_CELLS[kind];
    const affordable = Math.floor(Math.sqrt(BUDGET_MS[kind] / this.cost(plane, kind)));
    return Math.max(7, Math.min(most, affordable));
  }

  /** Milliseconds that one point takes, by the quickest of a few. */
  cost(plane, kind) {
    const key = `${plane.slot} ${kind}`;
    if (!this.costs.has(key)) {
      let least = Infinity;
      for (let i = 0; i < 4 && (i < 1 || least < 40); i++) {
        const begin = performance.now();
        AT_POINT[kind](plane.program, this.state.z, this.given(plane, kind));
        least = Math.min(least, performance.now() - begin);
      }
      this.costs.set(key, Math.max(0.02, least));
    }
    return this.costs.get(key);
  }

  tell(plane, grid, kind) {
    const words = { posterior: "true posterior", pictures: "pictures" }[kind];
    this.say(plane, `${words}: ${Math.floor((100 * grid.done) / grid.total)} %`);
  }

  say(plane, words) {
    plane.progress.hidden = false;
    plane.progress.textContent = words;
  }
}
