// Segments of a recording and what can be done to them; nothing here changes a segment, all give new ones.

export const TRANSCRIPT = 'transcript';

/** Of an event or of a stored segment: what the page and `/v1/subtitles` need. Times in seconds. */
export function segmentFrom(event) {
  return {
    start: event.start,
    end: event.end,
    language: event.language ?? null,
    language_confidence: event.language_confidence ?? null,
    text: event.text ?? '',
    translations: event.translations ?? {},
    confidence: event.confidence ?? {},
    low_confidence: event.low_confidence ?? {},
    truncated: event.truncated ?? [],
    looped: event.looped ?? [],
    off_target: event.off_target ?? [],
    missed: event.missed ?? {},
    checked: event.checked ?? [],
  };
}

/** Where the text of a column stands: a segment that is spoken in a target language is its own translation. */
function place(segment, column) {
  return column === segment.language ? TRANSCRIPT : column;
}

export function textOf(segment, column) {
  const name = place(segment, column);
  return name === TRANSCRIPT ? segment.text : (segment.translations[name] ?? '');
}

/** Why a text is doubted, as a sentence; empty where it is not, or where somebody has looked at it. */
export function doubtOf(segment, column) {
  const name = place(segment, column);
  if (segment.checked.includes(name)) return '';
  if (segment.looped.includes(name)) return 'It repeated itself and was cut.';
  if (segment.truncated.includes(name)) return 'It was cut before its end.';
  if (segment.off_target.includes(name)) return 'It may be in another language.';
  if (segment.missed[name]?.length) return `The glossary asks for ${segment.missed[name].join(', ')}.`;
  return segment.low_confidence[name] ? 'The model is not sure of it.' : '';
}

/** With a text that somebody wrote or left as it is: it is no longer doubted. */
export function withText(segment, column, text) {
  const name = place(segment, column);
  const changed =
    name === TRANSCRIPT ? { text } : { translations: { ...segment.translations, [name]: text } };
  return { ...segment, ...changed, checked: [...new Set([...segment.checked, name])] };
}

export function merged(first, second) {
  const codes = Object.keys({ ...first.translations, ...second.translations });
  const both = (key) => [...new Set([...first[key], ...second[key]])];
  const least = {};
  for (const name of Object.keys({ ...first.confidence, ...second.confidence })) {
    least[name] = Math.min(first.confidence[name] ?? 1, second.confidence[name] ?? 1);
  }
  const low = { ...first.low_confidence };
  for (const [name, value] of Object.entries(second.low_confidence)) low[name] = low[name] || value;
  return {
    ...first,
    end: second.end,
    text: joined(first.text, second.text),
    translations: Object.fromEntries(codes.map((code) => [code, joined(textOf(first, code), textOf(second, code))])),
    confidence: least,
    low_confidence: low,
    truncated: both('truncated'),
    looped: both('looped'),
    off_target: both('off_target'),
    missed: { ...first.missed, ...second.missed },
    checked: first.checked.filter((name) => second.checked.includes(name)),
  };
}

/**
 * Two segments of one. The text of `column` is divided at `caret`, by default near its middle; the other texts and the
 * time at the same share of their length, texts between words and rather after a full stop or a comma.
 */
export function split(segment, column = TRANSCRIPT, caret = null) {
  const divided = textOf(segment, column) ? column : firstColumn(segment);
  const text = textOf(segment, divided);
  const at = caret ?? nearestBreak(text, 0.5, segment.language);
  const share = text ? Math.min(0.95, Math.max(0.05, at / text.length)) : 0.5;
  const halves = (name) => {
    const whole = textOf(segment, name);
    const cut = place(segment, name) === place(segment, divided) ? at : nearestBreak(whole, share, name);
    return [whole.slice(0, cut).trim(), whole.slice(cut).trim()];
  };
  const middle = round(segment.start + share * (segment.end - segment.start));
  const codes = Object.keys(segment.translations);
  const parts = [0, 1].map((half) => ({
    ...segment,
    text: halves(TRANSCRIPT)[half],
    translations: Object.fromEntries(codes.map((code) => [code, halves(code)[half]])),
  }));
  return [
    { ...parts[0], end: middle },
    { ...parts[1], start: middle },
  ];
}

function firstColumn(segment) {
  return Object.keys(segment.translations).find((code) => segment.translations[code]) ?? TRANSCRIPT;
}

/** The position between two words that is nearest to a share of the text; what ends a sentence draws it near. */
function nearestBreak(text, share, code) {
  let best = text.length;
  let least = Infinity;
  for (const { index, isWordLike } of words(text, code)) {
    if (!index || !isWordLike) continue;
    const before = text.slice(0, index).trimEnd().at(-1);
    const bonus = /[.!?…。！？؟।]/.test(before) ? 0.25 : /[,;:、，；،]/.test(before) ? 0.12 : 0;
    const cost = Math.abs(index / text.length - share) - bonus;
    if (cost < least) [least, best] = [cost, index];
  }
  return best;
}

function words(text, code) {
  let locale;
  try {
    [locale] = Intl.getCanonicalLocales(code ?? 'und');
  } catch {
    locale = 'und'; // `transcript`, or a code that is none
  }
  return new Intl.Segmenter(locale, { granularity: 'word' }).segment(text);
}

const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}。、]$/u;

export function joined(first, second) {
  if (!first || !second) return first || second;
  return first + (UNSPACED.test(first) ? '' : ' ') + second;
}

function round(seconds) {
  return Math.round(seconds * 1000) / 1000;
}

/** What is spoken longest; null where nothing is known yet. */
export function spokenLanguage(segments) {
  const seconds = new Map();
  for (const { language, start, end } of segments) {
    if (language) seconds.set(language, (seconds.get(language) ?? 0) + end - start);
  }
  return [...seconds].sort((a, b) => b[1] - a[1])[0]?.[0] ?? null;
}

/** The segment that is heard at a time, or the last one before it; -1 before the first. */
export function indexAt(segments, seconds) {
  let [low, high] = [0, segments.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (segments[middle].start <= seconds + 0.001) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
