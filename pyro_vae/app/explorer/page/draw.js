"use strict";

/** A canvas to draw one's own datum on, by mouse and touch, and what programs make of it. */

const FINE = 280; // dots across the canvas that is drawn on

class Drawing {
  /**
   * @param {Program} program
   * @param {Object[]} data The page's data, whose size and place drawings are given.
   * @param {function(Float32Array)} use Gets each drawing.
   * @param {HTMLElement} home
   */
  constructor(program, data, use, home) {
    Object.assign(this, { program, use, home });
    const [, height, width] = sizes(program);
    // as thick as strokes of MNIST, and over a pixel of smaller pictures, in which it would vanish
    this.lineWidth = FINE * Math.max(1 / 12, 1.3 / Math.min(width, height));
    this.custom = customsOf(data.map(({ x }) => x), program);
    this.sheet = element("canvas", { class: "sheet", width: FINE, height: FINE,
      "aria-label": "Draw here, with the mouse or a finger" });
    this.clear();
    this.listenToPointer();
    home.append(this.sheet);
  }

  clear() {
    const context = this.sheet.getContext("2d");
    context.fillStyle = "black";
    context.fillRect(0, 0, FINE, FINE);
    this.setEmpty(true);
  }

  setEmpty(isEmpty) {
    this.isEmpty = isEmpty;
    this.home.classList.toggle("empty", isEmpty);
  }

  listenToPointer() {
    const { sheet } = this;
    const place = (event) => {
      const box = sheet.getBoundingClientRect();
      return [
        ((event.clientX - box.left) * FINE) / box.width,
        ((event.clientY - box.top) * FINE) / box.height,
      ];
    };
    sheet.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      sheet.setPointerCapture(event.pointerId);
      this.stroke(place(event), place(event));
      this.last = place(event);
    });
    sheet.addEventListener("pointermove", (event) => {
      if (!sheet.hasPointerCapture(event.pointerId)) return;
      this.stroke(this.last, place(event));
      this.last = place(event);
    });
    sheet.addEventListener("pointerup", () => this.hand());
    sheet.addEventListener("pointercancel", () => this.hand());
  }

  stroke(from, to) {
    const context = this.sheet.getContext("2d");
    context.strokeStyle = "white";
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = this.lineWidth;
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
    this.setEmpty(false);
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.hand();
    });
  }

  hand() {
    if (!this.isEmpty) this.use(asDatum(this.sheet, this.program, this.custom));
  }
}

function makeDrawing(state, programs, page, posteriors) {
  if (!page.can_draw) {
    at("draw-card").remove();
    return [];
  }
  const [program] = programs;
  const seen = new DatumView(program, "The drawing as the program sees it");
  const again = programs.map((each) => new DatumView(each, `Its reconstruction by ${each.name}`));
  let count = 0;
  const drawing = new Drawing(program, page.data, (x) => {
    state.stopGlide();
    state.change({ datum: { x, label: null, index: null, name: `your drawing ${++count}` } });
    const q = posteriors.of(0);
    state.change({ z: q.mean, view: viewFor(state, q) });
  }, at("draw"));
  const figure = (view, words) =>
    element("figure", {}, view.element, element("figcaption", {}, words));
  at("drawn").append(figure(seen, "as the program sees it"), ...again.map((view, i) =>
    figure(view, programs.length > 1 ? `by ${programs[i].name}` : "its reconstruction")));
  at("clear").addEventListener("click", () => drawing.clear());
  return [{
    update(changed) {
      if (!changed.has("datum") && !changed.has("y")) return;
      seen.show(state.datum.x);
      again.forEach((view, slot) =>
        view.show(programs[slot].decode(posteriors.of(slot).mean, state)));
    },
  }];
}
