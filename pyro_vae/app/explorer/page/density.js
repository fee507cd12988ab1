"use strict";

/** Draws densities over the plane: shades, and lines that hold half and 95 % of the mass. */

const SHARES = [0.5, 0.95];

/**
 * Shades a density that is known on a grid.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Grid} grid With log densities, up to a constant, of which the first `done` are known.
 * @param {number} width Of the square that the grid spans, in CSS pixels.
 * @param {number[]} rgb The colour.
 */
function shade(context, grid, width, rgb) {
  const [columns, rows] = [grid.task.across.length, grid.task.up.length];
  const image = new ImageData(columns, rows);
  const highest = greatest(grid);
  for (let i = 0; i < grid.done; i++) {
    // the square root lets the foot of a density be seen beside its top
    const share = Math.sqrt(Math.exp(grid.values[i] - highest));
    image.data.set([...rgb, 170 * share], 4 * i);
  }
  const small = new OffscreenCanvas(columns, rows);
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, width, width);
}

/** Draws the lines around the least regions that hold half and 95 % of the mass in view. */
function contours(context, grid, width, style) {
  context.strokeStyle = style;
  for (const [i, level] of levelsHolding(grid, SHARES).entries()) {
    context.lineWidth = i ? 1 : 1.5;
    context.setLineDash(i ? [4, 3] : []);
    context.stroke(levelLine(grid, level, width));
  }
  context.setLineDash([]);
}

function greatest(grid) {
  let highest = -Infinity;
  for (let i = 0; i < grid.done; i++) highest = Math.max(highest, grid.values[i]);
  return highest;
}

/** The log densities above which shares of the mass lie. */
function levelsHolding(grid, shares) {
  const sorted = Float64Array.from(grid.values).sort().reverse();
  const masses = sorted.map((value) => Math.exp(value - sorted[0]));
  const total = masses.reduce((sum, mass) => sum + mass, 0);
  return shares.map((share) => {
    let [i, sum] = [0, masses[0]];
    while (sum < share * total) sum += masses[++i];
    return sorted[i];
  });
}

/** The line on which a grid has a level (marching squares), as a path over a square. */
function levelLine(grid, level, width) {
  const [columns, rows] = [grid.task.across.length, grid.task.up.length];
  const path = new Path2D();
  const place = (index, count) => ((index + 0.5) * width) / count;
  for (let row = 0; row + 1 < rows; row++) {
    for (let column = 0; column + 1 < columns; column++) {
      const corners = [[0, 0], [1, 0], [1, 1], [0, 1]].map(([right, down]) => [
        column + right, row + down, grid.values[(row + down) * columns + column + right] - level,
      ]);
      const ends = crossings(corners);
      for (let i = 0; i + 1 < ends.length; i += 2) {
        path.moveTo(place(ends[i][0], columns), place(ends[i][1], rows));
        path.lineTo(place(ends[i + 1][0], columns), place(ends[i + 1][1], rows));
      }
    }
  }
  return path;
}

/** Where the sides of a cell cross zero, given [column, row, value] of its corners in a circle. */
function crossings(corners) {
  const found = [];
  corners.forEach(([x, y, value], i) => {
    const [nextX, nextY, next] = corners[(i + 1) % 4];
    if (value > 0 === next > 0) return;
    const part = value / (value - next);
    found.push([x + part * (nextX - x), y + part * (nextY - y)]);
  });
  return found;
}
