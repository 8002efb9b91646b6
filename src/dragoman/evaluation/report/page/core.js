"use strict";
// The page's data, what is chosen, and how elements are made. Text goes in as text, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const chosen = { run: 0, metric: null, direction: null };
const SVG = "http://www.w3.org/2000/svg";
const FEW = 15; // up to this many languages, cells and bars are large and hold their numbers

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "rect", "text", "line", "circle"].includes(tag);
  const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function fill(id, ...children) {
  document.getElementById(id).replaceChildren(...children.filter(Boolean));
}

function select(label, options, value, onchange) {
  const box = make("select", { onchange: (event) => onchange(event.target.value), "aria-label": label });
  for (const [key, text] of options) box.append(make("option", { value: key, selected: key === value }, text));
  return make("label", {}, make("span", {}, label), box);
}

const run = () => data.runs[chosen.run];
const values = (which, metric) => which.scores[metric] || {};
const name = (code) => data.names[code] || code;
const spoken = (direction) => direction.split("-").map(name).join(" → ");
const show = (value, digits = 1) => (value === undefined || value === null ? "" : value.toFixed(digits));
const whole = (count) => count.toLocaleString("en");
const mean = (list) => list.reduce((sum, value) => sum + value, 0) / list.length;
const lower = (metric) => data.lower.includes(metric);
const inOrder = (codes) => data.order.filter((code) => codes.has(code));
// The room inside a section: main without its own padding and the section's.
const room = () => Math.max(240, document.querySelector("main").clientWidth - (innerWidth > 700 ? 98 : 54));

// The error rate of the source language stands for a direction that has none of its own.
function value(which, metric, direction) {
  const found = values(which, metric);
  return found[direction] ?? found[direction.split("-")[0]];
}

function tip(event, title, pairs) {
  const box = document.getElementById("tip");
  const list = make("dl");
  for (const [key, text] of pairs) list.append(make("dt", {}, key), make("dd", {}, text));
  box.replaceChildren(make("strong", {}, title), list);
  box.hidden = false;
  const place =
    event.clientX === undefined ? event.target.getBoundingClientRect() : { left: event.clientX, top: event.clientY };
  const { offsetWidth, offsetHeight } = box;
  box.style.left = Math.max(4, Math.min(place.left + 14, innerWidth - offsetWidth - 4)) + "px";
  box.style.top = (place.top + offsetHeight + 20 > innerHeight ? place.top - offsetHeight - 10 : place.top + 14) + "px";
}
function untip() {
  document.getElementById("tip").hidden = true;
}

function about(direction) {
  return run()
    .metrics.map((metric) => [metric, value(run(), metric, direction)])
    .filter(([, number]) => number !== undefined)
    .map(([metric, number]) => [metric, run().counts.includes(metric) ? whole(number) : show(number, 2)])
    .concat(run().sizes[direction] ? [["hypotheses", whole(run().sizes[direction])]] : []);
}

// Choosing a direction again lets go of it.
function choose(direction) {
  pick(chosen.direction === direction ? null : direction);
}
function pick(direction) {
  chosen.direction = direction;
  drawBar();
  markMatrix();
  markTable();
  drawSamples();
}

function niceTicks(low, high, count = 5) {
  const span = high - low || 1,
    power = 10 ** Math.floor(Math.log10(span / count));
  const step = power * [1, 2, 5, 10].find((factor) => span / (power * factor) <= count);
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + 1e-9; tick += step) ticks.push(+tick.toFixed(10));
  return ticks;
}
