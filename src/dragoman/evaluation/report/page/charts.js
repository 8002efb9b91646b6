// Bars per source and per target (smallest first, other runs as ticks), and scatters with their correlation.
const TICKS = ["#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]; // Okabe and Ito's, distinct to colour-blind eyes too
const ends = { from: "", into: "" };

function grouped(which, end, only) {
  const groups = new Map();
  for (const [direction, v] of Object.entries(values(which, chosen.metric))) {
    const codes = direction.split("-");
    if (codes.length < 2 || (only && codes[1 - end] !== only)) continue;
    groups.set(codes[end], [...(groups.get(codes[end]) || []), v]);
  }
  return new Map([...groups].map(([code, list]) => [code, mean(list)]));
}

function drawBars() {
  const directions = Object.keys(values(run(), chosen.metric)).filter((d) => d.includes("-"));
  if (!directions.length) return fill("bars");
  const codes = (end) => inOrder(new Set(directions.map((d) => d.split("-")[end])));
  if (!codes(1).includes(ends.from)) ends.from = "";
  if (!codes(0).includes(ends.into)) ends.into = "";
  const others = data.runs
    .map((other, i) => [other, TICKS[i % TICKS.length]])
    .filter(([other]) => other !== run() && Object.keys(values(other, chosen.metric)).length);
  const few = Math.max(codes(0).length, codes(1).length) <= FEW;
  const panel = (end, key, title, all) =>
    make(
      "div",
      {},
      make("h3", {}, title),
      make(
        "div",
        { class: "controls" },
        select(
          end ? "from" : "into",
          [["", all], ...codes(1 - end).map((code) => [code, name(code)])],
          ends[key],
          (code) => {
            ends[key] = code;
            drawBars();
          },
        ),
      ),
      make(
        "div",
        { class: "scroll" },
        barChart(
          grouped(run(), end, ends[key]),
          others.map(([other, tint]) => [other.name, grouped(other, end, ends[key]), tint]),
          few,
        ),
      ),
    );
  fill(
    "bars",
    make("h2", {}, "By language"),
    make("p", { class: "lead" }, `Mean ${chosen.metric} over directions, smallest first.`),
    others.length
      ? make(
          "div",
          { class: "legend" },
          make("span", {}, make("b", { class: "own" }), " " + run().name),
          ...others.map(([other, tint]) => {
            const b = make("b");
            b.style.background = tint;
            return make("span", {}, b, " " + other.name);
          }),
        )
      : null,
    make(
      "div",
      { class: few ? "side" : "stack" },
      panel(0, "from", "From each source", "every target"),
      panel(1, "into", "Into each target", "every source"),
    ),
  );
}

function barChart(groups, others, few) {
  const sorted = [...groups].sort((a, b) => a[1] - b[1]),
    left = 36,
    height = 200,
    bottom = few ? 24 : 34;
  const wide = few && innerWidth > 900 ? room() / 2 - 12 : room();
  const step = Math.max(13, Math.min(72, (wide - left) / sorted.length));
  const rivals = others.flatMap(([, list]) => sorted.map(([code]) => list.get(code) ?? 0));
  const top = Math.max(...sorted.map(([, v]) => v), ...rivals) || 1;
  const y = (v) => 14 + (height - 14) * (1 - v / top);
  const svg = make("svg", {
    width: left + step * sorted.length,
    height: height + bottom,
    role: "img",
    "aria-label": `bars of ${chosen.metric}`,
    onpointerleave: untip,
  });
  for (const tick of niceTicks(0, top))
    svg.append(
      make("line", { x1: left, x2: left + step * sorted.length, y1: y(tick), y2: y(tick), class: "axis" }),
      make("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end", "font-size": 11, class: "soft" }, String(tick)),
    );
  sorted.forEach(([code, v], i) => {
    const x = left + step * i,
      inner = Math.min(step * 0.76, 44),
      edge = x + (step - inner) / 2;
    const rival = others.map(([label, list]) => [label, show(list.get(code), 2)]).filter(([, text]) => text);
    const bar = make("rect", {
      x: edge,
      y: y(v),
      width: inner,
      height: Math.max(0.5, height - y(v)),
      rx: 1.5,
      onpointermove: (event) => tip(event, name(code), [[run().name, show(v, 2)], ...rival]),
    });
    bar.style.fill = "var(--bar)";
    svg.append(
      bar,
      few
        ? make("text", { x: x + step / 2, y: height + 16, "text-anchor": "middle", "font-size": 12 }, code)
        : upright(code, x + step / 2, height + 26),
    );
    if (few && !others.length)
      svg.append(make("text", { x: x + step / 2, y: y(v) - 4, "text-anchor": "middle", "font-size": 12 }, show(v)));
    for (const [, list, tint] of others)
      if (list.has(code))
        svg.append(make("rect", { x: edge - 1, y: y(list.get(code)) - 1.5, width: inner + 2, height: 3, fill: tint }));
  });
  return svg;
}

function drawScatters() {
  const plots = run().scatters.filter((plot) => plot.metric === chosen.metric);
  if (!plots.length) return fill("scatters");
  fill(
    "scatters",
    make("h2", {}, "What goes with what"),
    make(
      "p",
      { class: "lead" },
      "One point a direction, with Pearson's r. Text is the language model alone on the true transcripts: " +
        "the ceiling of what speech can reach.",
    ),
    make(
      "div",
      { class: "side" },
      ...plots.map((plot) =>
        make(
          "div",
          {},
          make(
            "h3",
            {},
            plot.r === null
              ? `${whole(plot.points.length)} directions`
              : `r = ${plot.r.toFixed(2)}, ${whole(plot.points.length)} directions`,
          ),
          make("div", { class: "scroll" }, scatterChart(plot)),
        ),
      ),
    ),
  );
}

function scatterChart(plot) {
  const size = Math.min(420, room()),
    left = 48,
    bottom = 44,
    top = 8;
  const span = (list) => {
    const low = Math.min(...list),
      high = Math.max(...list),
      air = (high - low || 1) * 0.08;
    return [low - air, high + air];
  };
  const xs = plot.points.map((p) => p[1]),
    ys = plot.points.map((p) => p[2]);
  const [x0, x1] = span(plot.same ? [...xs, ...ys] : xs),
    [y0, y1] = span(plot.same ? [...xs, ...ys] : ys);
  const x = (v) => left + ((size - left - 8) * (v - x0)) / (x1 - x0),
    y = (v) => top + (size - top - bottom) * (1 - (v - y0) / (y1 - y0));
  const svg = make("svg", {
    width: size,
    height: size,
    role: "img",
    "aria-label": `${plot.up} against ${plot.across}`,
    onpointerleave: untip,
  });
  for (const tick of niceTicks(x0, x1))
    svg.append(
      make("line", { x1: x(tick), x2: x(tick), y1: top, y2: size - bottom, class: "axis" }),
      make(
        "text",
        { x: x(tick), y: size - bottom + 16, "text-anchor": "middle", "font-size": 11, class: "soft" },
        String(tick),
      ),
    );
  for (const tick of niceTicks(y0, y1))
    svg.append(
      make("line", { x1: left, x2: size - 8, y1: y(tick), y2: y(tick), class: "axis" }),
      make("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end", "font-size": 11, class: "soft" }, String(tick)),
    );
  if (plot.same) {
    const line = make("line", { x1: x(x0), y1: y(y0), x2: x(x1), y2: y(y1), "stroke-dasharray": "4 4" });
    line.style.stroke = "var(--soft)";
    svg.append(line);
  }
  for (const [direction, across, up] of plot.points) {
    const dot = make("circle", {
      cx: x(across),
      cy: y(up),
      r: plot.points.length > 200 ? 2.5 : 5,
      "fill-opacity": plot.points.length > 200 ? 0.5 : 0.85,
      onpointermove: (event) =>
        tip(event, spoken(direction), [
          [plot.across, show(across, 2)],
          [plot.up, show(up, 2)],
        ]),
      onclick: () => choose(direction),
    });
    dot.style.fill = "var(--bar)";
    dot.style.cursor = "pointer";
    svg.append(dot);
  }
  svg.append(
    make("text", { x: left + (size - left) / 2, y: size - 8, "text-anchor": "middle", "font-size": 12 }, plot.across),
    make(
      "text",
      { transform: `translate(12 ${(size - bottom) / 2}) rotate(-90)`, "text-anchor": "middle", "font-size": 12 },
      plot.up,
    ),
  );
  return svg;
}
