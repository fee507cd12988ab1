"use strict";

/**
 * The plane of two numbers of z: its point is dragged by mouse and touch and moved by keys, and
 * what lies behind it is one of the backgrounds.
 */
class Plane {
  /**
   * @param {number} slot Which of the programs the plane is of.
   * @param {Program} program
   * @param {State} state
   * @param {function(Plane)} background Draws what lies behind the point.
   * @param {function(number): Float32Array} way The point at a share of the way between two data.
   */
  constructor(slot, program, state, background, way) {
    Object.assign(this, { slot, program, state, background, way });
    this.behind = element("canvas", { "aria-hidden": "true" });
    this.front = element("canvas", {
      tabindex: "0", role: "application", class: "front",
      "aria-label": `The latent space of ${program.name}: arrow keys move the point`,
    });
    this.progress = element("p", { class: "progress", hidden: true });
    this.square = element("div", { class: "square" }, this.behind, this.front, this.progress);
    this.scale = element("canvas", { class: "scale", "aria-hidden": "true" });
    this.element = element("div", { class: "plane" }, this.scale, this.square);
    this.listenToPointer();
    this.front.addEventListener("keydown", (event) => this.key(event));
    this.front.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    new ResizeObserver(() => this.draw()).observe(this.square);
  }

  get width() {
    return this.square.clientWidth;
  }

  /** From two numbers to pixels, which go down. */
  toPixels([u, v]) {
    const { centre, half } = this.state.view;
    const unit = this.width / (2 * half);
    return [(u - centre[0] + half) * unit, (centre[1] + half - v) * unit];
  }

  toNumbers([x, y]) {
    const { centre, half } = this.state.view;
    const unit = (2 * half) / this.width;
    return [centre[0] - half + x * unit, centre[1] + half - y * unit];
  }

  /** Values of the two numbers at the middles of so many columns and rows of cells. */
  cells(count) {
    const { centre, half } = this.state.view;
    const middles = Array.from({ length: count }, (_, i) => ((2 * i + 1) / count - 1) * half);
    return { across: middles.map((m) => centre[0] + m), up: middles.map((m) => centre[1] - m) };
  }

  listenToPointer() {
    const follow = (event) => {
      const box = this.front.getBoundingClientRect();
      this.moveTo(this.toNumbers([event.clientX - box.left, event.clientY - box.top]));
    };
    this.front.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      this.front.setPointerCapture(event.pointerId);
      this.front.classList.add("dragging");
      follow(event);
    });
    this.front.addEventListener("pointermove", (event) => {
      if (this.front.hasPointerCapture(event.pointerId)) follow(event);
    });
    const end = () => this.front.classList.remove("dragging");
    this.front.addEventListener("pointerup", end);
    this.front.addEventListener("pointercancel", end);
  }

  /** Puts the point where two numbers are, within what can be seen. */
  moveTo(numbers) {
    const { axes, view } = this.state;
    const z = this.state.z.slice();
    axes.forEach((number, i) => {
      const [low, high] = [view.centre[i] - view.half, view.centre[i] + view.half];
      z[number] = Math.min(high, Math.max(low, numbers[i]));
    });
    this.state.stopGlide();
    this.state.change({ z });
  }

  key(event) {
    const directions = {
      ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1],
    };
    const direction = directions[event.key];
    if (direction) {
      const step = this.state.view.half * (event.shiftKey ? 0.1 : 0.02);
      this.moveTo(this.state.axes.map((number, i) => this.state.z[number] + step * direction[i]));
    } else if (event.key === "+" || event.key === "-") {
      zoom(this.state, event.key === "+" ? 2 / 3 : 3 / 2);
    } else {
      return;
    }
    event.preventDefault();
  }

  /** Zooms where the wheel is turned with Ctrl, as which a pinch on a trackpad arrives, too. */
  wheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const view = zoomed(this.state, Math.exp(event.deltaY / 200));
    this.state.change({ view });
  }

  update(changed) {
    const [x, y] = this.toPixels(this.state.axes.map((number) => this.state.z[number]));
    const margin = 1; // of a pixel, for rounding
    const isOutside = Math.min(x, y) < -margin || Math.max(x, y) > this.width + margin;
    if (isOutside && changed.has("z")) this.follow();
    const others = [...changed].filter((name) => name !== "z" && name !== "path");
    if (others.length || this.program.size > 2) this.drawBehind();
    this.drawFront();
  }

  /** Moves what is seen so that the point is. */
  follow() {
    const { axes, view, z } = this.state;
    const centre = axes.map((number, i) =>
      Math.min(z[number] + 0.9 * view.half, Math.max(z[number] - 0.9 * view.half, view.centre[i])));
    this.state.change({ view: { ...view, centre } });
  }

  draw() {
    if (!this.width) return;
    this.drawBehind();
    this.drawFront();
  }

  drawBehind() {
    if (!this.width) return;
    this.context = crisp(this.behind, this.width, this.width);
    this.background(this);
    this.drawScale();
  }

  /** The numbers along both sides, and lines where they are. */
  drawScale() {
    const { centre, half } = this.state.view;
    const { clientWidth: width, clientHeight: height } = this.element;
    const context = crisp(this.scale, width, height);
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    context.fillStyle = colour("muted");
    const step = niceStep(half);
    const [across, up] = this.state.axes.map((number) => this.program.label(number));
    this.named = this.width - context.measureText(`${across} →`).width - 12;
    for (const axis of [0, 1]) {
      const first = Math.ceil((centre[axis] - half) / step) * step;
      for (let at = first; at < centre[axis] + half; at += step) this.drawTick(context, axis, at);
    }
    context.fillStyle = colour("ink");
    context.textAlign = "right";
    context.fillText(`${across} →`, width, height - 5);
    context.textAlign = "left";
    context.fillText(`${up} ↑`, 0, 10);
  }

  drawTick(context, axis, at) {
    const { centre } = this.state.view;
    const where = this.toPixels(axis ? [centre[0], at] : [at, centre[1]])[axis];
    this.context.strokeStyle = colour(Math.abs(at) < 1e-9 ? "zero" : "grid");
    this.context.beginPath();
    this.context.moveTo(...(axis ? [0, where] : [where, 0]));
    this.context.lineTo(...(axis ? [this.width, where] : [where, this.width]));
    if (this.state.background !== "pictures") this.context.stroke();
    if (axis ? where < 8 : where > this.named) return; // where the axis has its name
    context.textAlign = axis ? "right" : "center";
    const text = String(Number(at.toPrecision(3))).replace("-", "−");
    const { offsetLeft: left, offsetTop: top } = this.square;
    context.fillText(text, ...(axis ? [left - 5, top + where + 4] : [left + where, top + this.width + 15]));
  }

  drawFront() {
    if (!this.width) return;
    const context = crisp(this.front, this.width, this.width);
    drawPath(context, this);
    const [x, y] = this.toPixels(this.state.axes.map((number) => this.state.z[number]));
    context.lineWidth = 1;
    context.strokeStyle = colour("cross");
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, this.width);
    context.moveTo(0, y);
    context.lineTo(this.width, y);
    context.stroke();
    drawDot(context, [x, y], 8, colour("accent"));
  }
}

/** A dot with a white rim, which can be seen on anything. */
function drawDot(context, [x, y], radius, style) {
  context.save();
  context.shadowColor = "rgba(0, 0, 0, 0.45)";
  context.shadowBlur = 5;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = "white";
  context.fill();
  context.restore();
  context.beginPath();
  context.arc(x, y, radius - 2.5, 0, 2 * Math.PI);
  context.fillStyle = style;
  context.fill();
}

/** 1, 2 or 5 times a power of ten, so that some eight lines lie in a view. */
function niceStep(half) {
  const rough = half / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].find((times) => times * power >= rough) * power;
}

/** The view after zooming around the point. */
function zoomed({ axes, view, z, whole }, factor) {
  const half = Math.min(4 * whole.half, Math.max(whole.half / 500, view.half * factor));
  const centre = view.centre.map((c, i) => z[axes[i]] + (c - z[axes[i]]) * (half / view.half));
  return { centre, half };
}

function zoom(state, factor) {
  state.glide({ view: zoomed(state, factor) });
}
