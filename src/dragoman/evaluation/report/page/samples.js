// The sample browser: a choice of hypotheses, worst first.
const browsing = { order: "chrf", words: "", shown: 20 };
const PAGE = 20;

function drawSamples(keep) {
  const all = run().samples;
  if (!all.length) return fill("samples");
  if (!keep) browsing.shown = PAGE;
  const orders = [
    ["chrf", "worst translation", all.some((s) => s.source !== s.target)],
    ["errors", "worst transcript", all.some((s) => s.errors !== null)],
    ["best", "best translation", all.some((s) => s.source !== s.target)],
  ].filter(([, , sorts]) => sorts);
  if (orders.length && !orders.some(([order]) => order === browsing.order)) browsing.order = orders[0][0];
  const found = all.filter((s) => (!chosen.direction || direction(s) === chosen.direction) && matches(s));
  const worst = { chrf: (s) => s.chrf ?? 101, errors: (s) => -(s.errors ?? -1), best: (s) => -(s.chrf ?? -1) }[
    browsing.order
  ];
  found.sort((a, b) => worst(a) - worst(b));
  const known = (run().known ??= byName(new Set(all.map(direction)))).slice();
  if (chosen.direction && !known.includes(chosen.direction)) known.unshift(chosen.direction);
  const search = make("input", {
    type: "search",
    id: "search",
    value: browsing.words,
    placeholder: "word",
    oninput: (event) => {
      browsing.words = event.target.value;
      drawSamples();
      const box = document.getElementById("search");
      box.focus();
      box.setSelectionRange(box.value.length, box.value.length);
    },
  });
  fill(
    "samples",
    make("h2", {}, "Samples"),
    make("p", { class: "lead" }, run().choice),
    key(all),
    make(
      "div",
      { class: "controls" },
      select("Direction", [["", "every direction"], ...known.map((d) => [d, spoken(d)])], chosen.direction || "", (d) =>
        pick(d || null),
      ),
      select("First", orders, browsing.order, (order) => {
        browsing.order = order;
        drawSamples();
      }),
      make("label", {}, make("span", {}, "Search"), search),
    ),
    make(
      "p",
      { class: "soft" },
      found.length
        ? `${whole(found.length)} of the ${whole(all.length)} in this page`
        : "None of this choice in this page.",
    ),
    ...found.slice(0, browsing.shown).map(sample),
    found.length > browsing.shown
      ? make(
          "button",
          {
            type: "button",
            onclick: () => {
              browsing.shown += PAGE;
              drawSamples(true);
            },
          },
          `Show ${Math.min(PAGE, found.length - browsing.shown)} more`,
        )
      : null,
  );
}

// As scores name it: where nothing is translated, by the language that is spoken.
const direction = (s) => (s.source === s.target ? s.source : `${s.source}-${s.target}`);
function byName(directions) {
  const { compare } = new Intl.Collator("en");
  return [...directions]
    .map((d) => [spoken(d), d])
    .sort((a, b) => compare(a[0], b[0]))
    .map(([, d]) => d);
}
const plain = (pieces) => pieces.map((piece) => (typeof piece === "string" ? piece : piece[0])).join("");

function matches(s) {
  const words = browsing.words.toLowerCase();
  return (
    !words ||
    [s.id, plain(s.said), plain(s.heard), s.translation, s.reference || ""].some((text) =>
      text.toLowerCase().includes(words),
    )
  );
}

function key(all) {
  if (!all.some((s) => s.errors)) return null;
  return make(
    "div",
    { class: "legend" },
    "Transcripts:",
    make("mark", { class: "s" }, "another word"),
    make("mark", { class: "d" }, "not heard"),
    make("mark", { class: "i" }, "not said"),
  );
}

function sample(s) {
  const sound = data.audio[s.id];
  return make(
    "article",
    { class: "sample" },
    make(
      "header",
      {},
      make("strong", {}, spoken(direction(s))),
      s.errors === null ? null : make("span", {}, `${s.unit} errors ${show(s.errors, 0)} %`),
      s.chrf === null ? null : make("span", {}, `chrF ${show(s.chrf, 0)}`),
      s.truncated ? make("span", { class: "cut" }, "truncated") : null,
      make("code", {}, s.id),
      sound ? make("audio", { controls: true, preload: "none", src: sound }) : null,
    ),
    make(
      "div",
      { class: "side" },
      make("dl", { class: "texts" }, ...text("said", s.said, s.source), ...text("transcript", s.heard, s.source)),
      s.source === s.target
        ? ""
        : make(
            "dl",
            { class: "texts" },
            ...text("reference", [s.reference || ""], s.target),
            ...text("translation", [s.translation], s.target),
          ),
    ),
  );
}

function text(title, pieces, language) {
  const content = pieces.map((piece) =>
    typeof piece === "string" ? piece : make("mark", { class: piece[1] }, piece[0]),
  );
  return [
    make("dt", {}, title),
    plain(pieces)
      ? make("dd", { lang: language, dir: "auto" }, ...content)
      : make("dd", { class: "nothing" }, "nothing"),
  ];
}
