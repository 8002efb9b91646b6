"""From what people type to codes, once, at the edge."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from dragoman.errors import LanguageError
from dragoman.text.languages.sets import SETS
from dragoman.text.languages.table import LANGUAGES, TABLE_NAMES, Language, other_languages

# What may follow a language in a locale: script, region, or both (zh-Hant-TW, eng_Latn, es_419).
_LOCALE = re.compile(r"([a-z]{2,3})(-[a-z]{4})?(-([a-z]{2}|[0-9]{3}))?")
_LONGEST_CODE = 3


def find(name: str) -> Language:
    """The language that a person means by `deu`, `de`, `ger`, `German`, `de-DE` or `de_de`, in any case.

    Raises LanguageError with the nearest names.
    """
    wanted = name.strip().lower().replace("_", "-")
    locale = _LOCALE.fullmatch(wanted)
    found = _called(wanted) or (locale and _called(locale[1]))
    if not found:
        raise LanguageError(f"Unknown language {name!r}{_advice(wanted)}")
    return found


def expand(names: str | Iterable[str]) -> tuple[str, ...]:
    """Codes of languages and sets, each possibly several with commas: `["deu,fr", "mcat-28"]`.

    The order is kept and repeats are removed. Raises LanguageError for an unknown name.
    """
    joined = names if isinstance(names, str) else ",".join(names)
    if not joined.strip():
        return ()
    return tuple(dict.fromkeys(code for name in joined.split(",") for code in _codes(name)))


def known_source(name: str, known: Collection[str], who: str) -> str:
    """The code of a language that `who` hears, given by code or name. Raises LanguageError."""
    return _among(name, known, f"{who} does not hear")


def asked_targets(names: str | Iterable[str]) -> tuple[str, ...] | None:
    """The codes of the targets that a person names, see `expand`: () for "none", a transcript and no more, and None for
    "all", every language that is written. Raises LanguageError, also when nothing is named."""
    joined = names if isinstance(names, str) else ",".join(names)
    asked = {name.strip().lower() for name in joined.split(",")}
    if "none" in asked and len(asked) > 1:
        raise LanguageError("none says that nothing is to be translated; leave it out, or all other targets.")
    if "none" in asked:
        return ()
    if "all" in asked:
        return None
    codes = expand(joined)
    if not codes:
        raise LanguageError("No target language is given; name at least one, as in --to deu.")
    return codes


def known_targets(
    codes: Sequence[str] | None, known: Collection[str], who: str, source: str | None = None
) -> tuple[str, ...]:
    """These targets, all of which `who` writes; None is every one but `source`, the code of what is spoken.

    Raises LanguageError for one that is not among them, or the source itself.
    """
    if codes is None:
        if known is LANGUAGES:
            raise LanguageError(f"{who} may be asked for any language; name the targets instead of all.")
        return tuple(code for code in known if code != source)
    if source in codes:
        raise LanguageError(f"Source and target are both {source!r}; name a target that differs from the speech.")
    return tuple(_among(code, known, f"{who} does not write") for code in codes)


def _among(name: str, known: Collection[str], complaint: str) -> str:
    code = find(name).code
    if code not in known:
        spoken = ", ".join(f"{c} ({LANGUAGES[c].name})" for c in known)
        raise LanguageError(f"{complaint} {LANGUAGES[code].name}; choose among {spoken}.")
    return code


def _codes(name: str) -> tuple[str, ...]:
    wanted = name.strip().lower()
    if wanted in SETS:
        return SETS[wanted]
    try:
        return (find(name).code,)
    except LanguageError:
        advice = _advice(wanted, SETS)
        raise LanguageError(f"Unknown language or set of languages {name.strip()!r}{advice}") from None


def _called(name: str) -> Language | None:
    """What the 102 are called comes first."""
    return TABLE_NAMES.get(name) or other_languages().names.get(name)


def _advice(wanted: str, sets: Iterable[str] = ()) -> str:
    import difflib  # only needed to explain a mistake

    names = other_languages().names | TABLE_NAMES
    alike = [name for name in names if (len(name) > _LONGEST_CODE) == (len(wanted) > _LONGEST_CODE)]
    close = [name for name in alike if name.startswith(f"{wanted} (")]  # one name, several languages
    close = close or difflib.get_close_matches(wanted, [*alike, *sets], n=3, cutoff=0.6)
    if close:
        shown = [name if name in SETS else f"{names[name].code} ({names[name].name})" for name in close]
        return f"; did you mean {' or '.join(dict.fromkeys(shown))}?"
    return "; use an ISO 639-3 code such as deu, or a name such as German."
