// The summary, the table of directions, the bar at the top, the foot.
let sorting = { column: 0, down: false };

function grid(header, rows, numbers) {
  const line = (tag, row) =>
    make("tr", {}, ...row.map((text, i) => make(tag, { class: numbers(i) ? "number" : null }, text)));
  return make(
    "div",
    { class: "scroll" },
    make("table", {}, make("thead", {}, line("th", header)), make("tbody", {}, ...rows.map((row) => line("td", row)))),
  );
}

function drawSummary() {
  const every = [...new Set(data.runs.flatMap((r) => r.metrics))],
    isCount = (m) => data.runs.some((r) => r.counts.includes(m));
  const metrics = [...every.filter((m) => !isCount(m)), ...every.filter(isCount)];
  const cell = (which, metric) => {
    const list = Object.values(values(which, metric));
    if (!list.length) return "";
    return which.counts.includes(metric) ? whole(list.reduce((a, b) => a + b, 0)) : show(mean(list), 2);
  };
  const anyHypotheses = data.runs.some((r) => r.hypotheses); // a published table has none
  const rows = data.runs.map((r) => [
    make("span", {}, r.name, make("small", {}, r.system)),
    ...metrics.map((m) => cell(r, m)),
    whole(r.directions),
    ...(anyHypotheses ? [r.hypotheses ? whole(r.hypotheses) : ""] : []),
  ]);
  fill(
    "summary",
    make("h2", {}, "In short"),
    make(
      "p",
      { class: "lead" },
      "Means over directions, each counting once (error rates over source languages); counts of outputs are sums.",
    ),
    grid(["run", ...metrics, "directions", ...(anyHypotheses ? ["hypotheses"] : [])], rows, (i) => i > 0),
    ...extra(
      "averages",
      "Over the papers' sets",
      "Sources x targets, without pairs of one language; only sets of which every direction is there.",
    ),
    ...extra("bins", "Directions per range of COMET", null),
  );
}

function extra(key, title, words) {
  const found = data[key];
  if (!found.rows.length) return [];
  return [
    make("h3", { class: "gap" }, title),
    words ? make("p", { class: "soft" }, words) : null,
    grid(found.header, found.rows, (i) => found.numbers[i]),
  ];
}

function tableColumns() {
  const own = run().metrics.map((metric) => ({
    title: metric,
    of: (d) => value(run(), metric, d),
    digits: run().counts.includes(metric) ? 0 : 2,
  }));
  const others = data.runs.filter((other) => other !== run() && Object.keys(values(other, chosen.metric)).length);
  return [
    { title: "source", of: (d) => name(d.split("-")[0]) },
    { title: "target", of: (d) => name(d.split("-")[1] ?? "") },
    ...own,
    ...others.map((other) => ({
      title: `${other.name} ${chosen.metric}`,
      of: (d) => values(other, chosen.metric)[d],
      digits: 2,
    })),
    ...(Object.keys(run().sizes).length ? [{ title: "hypotheses", of: (d) => run().sizes[d], digits: 0 }] : []),
  ];
}

function drawTable() {
  const every = [...new Set(run().metrics.flatMap((metric) => Object.keys(values(run(), metric))))];
  const pairs = every.filter((d) => d.includes("-"));
  const directions = pairs.length ? pairs : every; // a run that only transcribes has languages
  if (!directions.length) return fill("table");
  const columns = tableColumns(),
    head = make("tr"),
    body = make("tbody");
  const rows = new Map(
    directions.map((d) => [
      d,
      make(
        "tr",
        { "data-direction": d, onclick: () => choose(d) },
        ...columns.map((column, i) =>
          i
            ? make("td", { class: i > 1 ? "number" : null }, i > 1 ? show(column.of(d), column.digits) : column.of(d))
            : make(
                "td",
                {},
                make("button", { type: "button", class: "plain", title: "Show its samples" }, column.of(d)),
              ),
        ),
      ),
    ]),
  );
  fill(
    "table",
    make("h2", {}, "Numbers"),
    make(
      "p",
      { class: "lead" },
      "Choose a heading to sort by it, a row to see its samples. WER and CER are those of the source language.",
    ),
    make("div", { class: "scroll tall" }, make("table", {}, make("thead", {}, head), body)),
  );
  sortTable(columns, rows, head, body);
  markTable();
}

// The rows move; none is made anew. Those without a value come last either way.
function sortTable(columns, rows, head, body) {
  if (!columns[sorting.column]) sorting = { column: 0, down: false };
  const by = columns[sorting.column],
    sign = sorting.down ? -1 : 1;
  const ranks = new Map([...rows.keys()].map((d) => [d, by.of(d)]));
  const order = [...rows.keys()].sort((a, b) => {
    const [x, y] = [ranks.get(a), ranks.get(b)];
    if (x === y || x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    return x < y ? -sign : sign;
  });
  body.replaceChildren(...order.map((d) => rows.get(d)));
  head.replaceChildren(
    ...columns.map((column, i) =>
      make(
        "th",
        {
          class: i > 1 ? "number" : null,
          "aria-sort": column === by ? (sorting.down ? "descending" : "ascending") : null,
        },
        make(
          "button",
          {
            type: "button",
            onclick: () => {
              sorting = { column: i, down: sorting.column === i ? !sorting.down : i > 1 };
              sortTable(columns, rows, head, body);
            },
          },
          column.title + (column === by ? (sorting.down ? " ↓" : " ↑") : ""),
        ),
      ),
    ),
  );
}

function markTable() {
  for (const row of document.querySelectorAll("tr[data-direction]"))
    row.classList.toggle("on", row.dataset.direction === chosen.direction);
}

function drawBar() {
  const metrics = run().metrics.filter((metric) => run().translation.includes(metric));
  fill(
    "bar",
    make(
      "div",
      {},
      data.runs.length > 1
        ? select(
            "Run",
            data.runs.map((r, i) => [String(i), r.name]),
            String(chosen.run),
            (i) => {
              chosen.run = +i;
              drawAll();
            },
          )
        : null,
      metrics.length
        ? select(
            "Metric",
            metrics.map((m) => [m, m]),
            chosen.metric,
            (m) => {
              chosen.metric = m;
              drawAll();
            },
          )
        : null,
      chosen.direction
        ? make(
            "span",
            { class: "chosen" },
            make("strong", {}, spoken(chosen.direction)),
            run().samples.length ? make("a", { href: "#samples" }, "samples") : null,
            make("button", { type: "button", onclick: () => choose(chosen.direction) }, "Clear"),
          )
        : null,
    ),
  );
}

function drawFooter() {
  fill(
    "footer",
    make(
      "details",
      {},
      make("summary", {}, "Signatures: what it takes to compute these numbers again"),
      ...data.runs.flatMap((r) => [
        make("p", {}, r.name + (r.system ? `: ${r.system}` : "")),
        ...r.signatures.map((s) => make("code", {}, s)),
      ]),
    ),
    make(
      "p",
      { class: "gap" },
      `Made by dragoman ${data.version}. One file: it asks no network for anything. The same figures and tables for ` +
        "a paper are in the folders figures and tables beside it.",
    ),
  );
}
