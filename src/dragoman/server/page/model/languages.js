// Names of languages and their BCP 47 tags, by ISO 639-3 code; the server says which there are.

const known = new Map();

export function learn(languages) {
  for (const language of languages) known.set(language.code, language);
}

export function nameOf(code) {
  return known.get(code)?.name ?? code;
}

/** What the attribute `lang` wants: `de`, not `deu`, so that voices and spelling checkers know it. */
export function tagOf(code) {
  if (!code) return undefined;
  const short = known.get(code)?.iso1;
  if (short) return short;
  try {
    return Intl.getCanonicalLocales(code)[0];
  } catch {
    return undefined;
  }
}

const LEFTWARDS = new Set(['Arab', 'Hebr', 'Thaa', 'Syrc', 'Nkoo', 'Adlm', 'Rohg']);

/** In which direction it is written: where a cell begins, even while it is empty. */
export function directionOf(code) {
  const tag = tagOf(code);
  return tag && LEFTWARDS.has(new Intl.Locale(tag).maximize().script) ? 'rtl' : 'ltr';
}

export function byName(languages) {
  return [...languages].sort((a, b) => a.name.localeCompare(b.name, 'en'));
}
