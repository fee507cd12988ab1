"use strict";

/** A canvas's 2-D context whose unit is a CSS pixel, with as many dots as the screen has. */
function crisp(canvas, width, height) {
  const density = window.devicePixelRatio || 1;
  const [across, down] = [Math.round(width * density), Math.round(height * density)];
  if (canvas.width !== across || canvas.height !== down) {
    canvas.width = across;
    canvas.height = down;
  }
  const context = canvas.getContext("2d");
  context.setTransform(density, 0, 0, density, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** A colour of style.css, light or dark as the reader has it. */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** The channels (0 to 255) of a colour that is written "r, g, b" in style.css. */
function channels(name) {
  return colour(name).split(",").map(Number);
}

// petroff10, which the colour-blind can tell apart, too, and the house's figures use
const LABEL_COLOURS = [
  "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6",
  "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
];

/** The colour of a class; of more than ten, around the circle of hues. */
function labelColour(label, classes) {
  if (label === null || label < 0) return colour("muted");
  if (classes <= LABEL_COLOURS.length) return LABEL_COLOURS[label];
  return `hsl(${(360 * label) / classes}, 65%, 50%)`;
}

/** An element with attributes and children; `on...` are listeners. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** A number with two decimals and a true minus sign. */
function written(value, decimals = 2) {
  const text = value.toFixed(decimals);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "\u2212");
}

/** Buttons of which one is chosen, as radio buttons are: arrow keys move between them. */
function segments(group, options, chosen, choose) {
  const buttons = options.map(([value, words, title]) =>
    element("button", {
      type: "button", role: "radio", "data-value": value, title: title || null,
      onclick: () => choose(value),
    }, words));
  const show = (value) => buttons.forEach((button, i) => {
    const on = options[i][0] === value;
    button.setAttribute("aria-checked", String(on));
    button.tabIndex = on ? 0 : -1;
  });
  group.setAttribute("role", "radiogroup");
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const at = buttons.indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    const next = buttons[(at + step + buttons.length) % buttons.length];
    next.focus();
    next.click();
  });
  group.replaceChildren(...buttons);
  show(chosen);
  return show;
}
