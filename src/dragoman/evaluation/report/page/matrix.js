// Sources down, targets across, relatives side by side. Arrow keys move, Enter chooses.
let cells = null;

function colour(share) {
  const stops = data.colours,
    at = Math.max(0, Math.min(1, share)) * (stops.length - 1),
    i = Math.min(stops.length - 2, Math.floor(at));
  return stops[i].map((channel, c) => Math.round(channel + (stops[i + 1][c] - channel) * (at - i)));
}
const css = (rgb) => `rgb(${rgb.join(" ")})`;
const isLight = ([red, green, blue]) => 0.299 * red + 0.587 * green + 0.114 * blue > 140;

function drawMatrix() {
  const found = Object.entries(values(run(), chosen.metric)).filter(([direction]) => direction.includes("-"));
  if (!found.length) return fill("matrix");
  const rows = inOrder(new Set(found.map(([d]) => d.split("-")[0]))),
    columns = inOrder(new Set(found.map(([d]) => d.split("-")[1])));
  const low = Math.min(...found.map(([, v]) => v)),
    high = Math.max(...found.map(([, v]) => v));
  const share = (v) => {
    const s = high > low ? (v - low) / (high - low) : 0.5;
    return lower(chosen.metric) ? 1 - s : s;
  };
  const few = columns.length <= FEW && rows.length <= FEW;
  const left = few ? 96 : 34,
    top = few ? 30 : 34,
    right = few ? 0 : 92;
  const wide = few
    ? Math.max(46, Math.min(110, (room() - left) / columns.length))
    : Math.max(11, Math.min(16, (room() - left - right) / columns.length));
  const high_ = few ? 44 : wide;
  const svg = make("svg", {
    width: left + wide * columns.length + right,
    height: top + high_ * rows.length + 2,
    role: "img",
    tabindex: 0,
    "aria-label": `${chosen.metric} of ${found.length} directions; the table below holds the same numbers`,
    onpointerleave: untip,
    onkeydown: moveInMatrix,
  });
  rows.forEach((code, y) => svg.append(label(few ? name(code) : code, left - 6, top + high_ * (y + 0.5), few, "end")));
  columns.forEach((code, x) =>
    svg.append(
      few
        ? label(columns.length > 8 ? code : name(code), left + wide * (x + 0.5), top - 14, true, "middle")
        : upright(code, left + wide * (x + 0.5), top - 5),
    ),
  );
  cells = { svg, rows, columns, left, top, wide, high: high_, marks: make("g") };
  for (const [direction, v] of found) svg.append(...cell(direction, v, colour(share(v)), few));
  if (!few) svg.append(...familyMarks(rows, columns));
  svg.append(cells.marks);
  fill(
    "matrix",
    make("h2", {}, "Every direction"),
    make(
      "p",
      { class: "lead" },
      `${chosen.metric} of ${whole(found.length)} ${found.length === 1 ? "direction" : "directions"}: sources down, ` +
        `targets across${few ? "" : ", ordered by family"}.${run().samples.length ? " Choose a cell to see its samples." : ""}`,
    ),
    legend(low, high),
    make("div", { class: "scroll" }, svg),
  );
  markMatrix();
}

function cell(direction, v, rgb, few) {
  const [x, y] = corner(direction),
    gap = few ? 2 : wideGap();
  const box = make("rect", {
    x,
    y,
    width: cells.wide - gap,
    height: cells.high - gap,
    rx: few ? 3 : 0,
    fill: css(rgb),
    "data-d": direction,
    onpointermove: (event) => tip(event, spoken(direction), about(direction)),
    onclick: () => choose(direction),
  });
  box.style.cursor = "pointer";
  if (!few) return [box];
  const text = make(
    "text",
    { x: x + cells.wide / 2 - 1, y: y + cells.high / 2 + 4, "text-anchor": "middle", "font-size": 13 },
    show(v),
  );
  text.style.fill = isLight(rgb) ? "#111" : "#fff";
  text.style.pointerEvents = "none";
  return [box, text];
}
const wideGap = () => (cells.wide > 12 ? 0.5 : 0);

function corner(direction) {
  const [source, target] = direction.split("-");
  return [cells.left + cells.wide * cells.columns.indexOf(target), cells.top + cells.high * cells.rows.indexOf(source)];
}

function label(text, x, y, few, anchor) {
  return make("text", { x, y: y + (few ? 4 : 3.5), "text-anchor": anchor, "font-size": few ? 13 : 9.5 }, text);
}
function upright(text, x, y) {
  return make("text", { transform: `translate(${x + 3.5} ${y}) rotate(-90)`, "font-size": 9.5 }, text);
}

function familyMarks(rows, columns) {
  const marks = [],
    { left, top, wide, high } = cells;
  const ends = (codes) =>
    data.families
      .map(([family, members]) => [family, codes.filter((code) => members.includes(code)).length])
      .filter(([, size]) => size);
  const line = (x1, y1, x2, y2) => {
    const l = make("line", { x1, y1, x2, y2, "stroke-width": 1.5 });
    l.style.stroke = "var(--panel)";
    l.style.pointerEvents = "none";
    return l;
  };
  let at = 0;
  for (const [family, size] of ends(rows)) {
    marks.push(
      make(
        "text",
        {
          x: left + wide * columns.length + 6,
          y: top + high * (at + size / 2) + 3.5,
          "font-size": 10.5,
          class: "soft",
        },
        family,
      ),
    );
    at += size;
    if (at < rows.length) marks.push(line(left, top + high * at, left + wide * columns.length, top + high * at));
  }
  at = 0;
  for (const [, size] of ends(columns)) {
    at += size;
    if (at < columns.length) marks.push(line(left + wide * at, top, left + wide * at, top + high * rows.length));
  }
  return marks;
}

function legend(low, high) {
  const strip = make("i");
  strip.style.background = `linear-gradient(90deg, ${data.colours.map(css).join(", ")})`;
  const [worst, best] = lower(chosen.metric) ? [high, low] : [low, high];
  return make(
    "div",
    { class: "legend" },
    make("span", {}, show(worst)),
    strip,
    make("span", {}, show(best)),
    make(
      "span",
      {},
      `${chosen.metric}, ${data.neutral.includes(chosen.metric) ? "lowest to highest" : "worst to best"}`,
    ),
  );
}

function markMatrix() {
  if (!cells) return;
  cells.marks.replaceChildren();
  if (!chosen.direction || !cells.svg.querySelector(`[data-d="${chosen.direction}"]`)) return;
  const [x, y] = corner(chosen.direction);
  for (const kind of ["ring", "on"])
    cells.marks.append(make("rect", { x: x - 1, y: y - 1, width: cells.wide, height: cells.high, rx: 2, class: kind }));
}

let cursor = null;
function moveInMatrix(event) {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (event.key === "Enter" && cursor) return choose(cursor);
  if (event.key === "Escape") return untip();
  if (!step) return;
  event.preventDefault();
  let [x, y] = cursor
    ? [cells.columns.indexOf(cursor.split("-")[1]), cells.rows.indexOf(cursor.split("-")[0])]
    : [-1, 0];
  for (let tries = cells.columns.length + cells.rows.length; tries; tries--) {
    x = (x + step[0] + cells.columns.length) % cells.columns.length;
    y = (y + step[1] + cells.rows.length) % cells.rows.length;
    const box = cells.svg.querySelector(`[data-d="${cells.rows[y]}-${cells.columns[x]}"]`);
    if (box) {
      cursor = box.dataset.d;
      return tip({ target: box }, spoken(cursor), about(cursor));
    }
  }
}
