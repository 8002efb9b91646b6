"""What one text says of itself: is it text, in the script and the language that it claims, and how much of it.

Bounds of the rate of speech: nobody says more than 10 syllables a second (the fastest of 170 readers in 17 languages
said 9.1: Coupé, Oh, Dediu and Pellegrino 2019, Science Advances 5, eaaw2594), nor less than one in four
seconds, pauses counted. How many characters write a syllable depends on the script; ours are generous.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache

import regex

from dragoman.data.check.rules import Finding
from dragoman.text.langid import KNOWN, identify
from dragoman.text.languages import LANGUAGES
from dragoman.text.scripts import is_spaced

MOST_SYLLABLES_PER_S = 10.0
FEWEST_SYLLABLES_PER_S = 0.25

_CHARACTERS_PER_SYLLABLE = {  # letters, vowel signs and digits
    "Han": 1.2, "Hangul": 1.2, "Hiragana": 1.2, "Katakana": 1.2, "Ethiopic": 1.5, "Arabic": 2.5, "Hebrew": 2.5,
    "Thai": 4.0, "Lao": 4.0, "Khmer": 4.0, "Myanmar": 4.0,
}  # fmt: skip
_OTHERWISE = 3.5

# The scripts in which each of the 102 is written today (Unicode CLDR, supplemental data); Latin where none is named.
_SCRIPTS = {
    "amh": "Ethiopic", "ara": "Arabic", "asm": "Bengali", "azj": "Latin Cyrillic", "bel": "Cyrillic", "ben": "Bengali",
    "bos": "Latin Cyrillic", "bul": "Cyrillic", "ckb": "Arabic", "cmn": "Han", "ell": "Greek", "fas": "Arabic",
    "ful": "Latin Adlam", "guj": "Gujarati", "hau": "Latin Arabic", "heb": "Hebrew", "hin": "Devanagari",
    "hye": "Armenian", "jpn": "Han Hiragana Katakana", "kan": "Kannada", "kat": "Georgian", "kaz": "Cyrillic Latin",
    "khm": "Khmer", "kir": "Cyrillic", "kor": "Hangul Han", "lao": "Lao", "mal": "Malayalam", "mar": "Devanagari",
    "mkd": "Cyrillic", "mon": "Cyrillic Mongolian", "msa": "Latin Arabic", "mya": "Myanmar", "npi": "Devanagari",
    "ory": "Oriya", "pan": "Gurmukhi", "pus": "Arabic", "rus": "Cyrillic", "snd": "Arabic Devanagari",
    "srp": "Cyrillic Latin", "tam": "Tamil", "tel": "Telugu", "tgk": "Cyrillic", "tha": "Thai", "ukr": "Cyrillic",
    "urd": "Arabic", "uzb": "Latin Cyrillic", "wol": "Latin Arabic", "yue": "Han",
}  # fmt: skip

# Not those that some languages need inside words or between them: zero-width space and joiners, direction marks.
_CONTROL = regex.compile(r"(?V1)[[\p{Cc}\p{Cs}\p{Co}\uFFFD]--[\t\n\r]]")
_INVISIBLE = regex.compile(r"(?V1)[[\p{Cf}\p{Zl}\p{Zp}\t\n\r]--[\u200B-\u200F]]")
_LETTER = regex.compile(r"\p{L}")
_SPOKEN = regex.compile(r"[\p{L}\p{M}\p{N}]")
_UNSPOKEN = regex.compile(r"[^\p{L}\p{M}\p{N}]+")

# Fewer letters tell a language too seldom; half as many where a character is a syllable or a word.
_LETTERS_TO_IDENTIFY = 12
# Of 5,871 right texts so long, in 32 languages, these two flag none; of those under a wrong language, 94 in 100.
_SURE = 0.5
_UNLIKELIER = 10.0
# Below this a text recurs by itself (greetings, digits, commands).
_WORDS_TO_LEAK = 3
_CHARACTERS_TO_LEAK = 6


def problems(field: str, text: str, code: str) -> Iterator[Finding]:
    """What is wrong with a text that claims to be in `code`; `field` says where it stands in the row."""
    if bad := _CONTROL.search(text):
        yield Finding("control", f"{field}: U+{ord(bad[0]):04X}")
    if bad := _INVISIBLE.search(text):
        yield Finding("invisible", f"{field}: U+{ord(bad[0]):04X}")
    if problem := _foreign(text, code):
        yield Finding(problem.kind, f"{field}: {problem.detail}")


@lru_cache(maxsize=20_000)  # a sentence is often read by several people
def _foreign(text: str, code: str) -> Finding | None:
    letters = len(_LETTER.findall(text))
    name = LANGUAGES[code].name
    if scripts(code) and 2 * len(_foreign_letter(code).findall(text)) > letters:
        return Finding("script", f"{name} is written in {' or '.join(scripts(code))}")
    if code not in KNOWN or letters < _LETTERS_TO_IDENTIFY * (0.5 if is_dense(code) else 1):
        return None
    likely = identify(text)
    best, probability = next(iter(likely.items()))
    if probability <= _SURE or probability < _UNLIKELIER * likely.get(code, 0.0):
        return None
    looks = LANGUAGES[best].name if best in LANGUAGES else "no language"
    return Finding("language", f"said to be {name}, seems to be {looks}")


def scripts(code: str) -> list[str]:
    """The scripts of a language, by Unicode's names; none where they are not known, beyond the 102."""
    return _SCRIPTS.get(code, "Latin" if LANGUAGES[code].fleurs else "").split()


def is_dense(code: str) -> bool:
    """Whether a character of the language is a syllable or a word."""
    return _lengths(code)[1] < 2


def rate_bounds(code: str) -> tuple[float, float]:
    """The fewest and most characters a second that can be speech in this language; in any script, where its own is not
    known."""
    fewest, most = _lengths(code)
    return FEWEST_SYLLABLES_PER_S * fewest, MOST_SYLLABLES_PER_S * most


def _lengths(code: str) -> tuple[float, float]:
    """How few and how many characters write a syllable."""
    if not scripts(code):
        return min(_CHARACTERS_PER_SYLLABLE.values()), max(_CHARACTERS_PER_SYLLABLE.values())
    lengths = [_CHARACTERS_PER_SYLLABLE.get(script, _OTHERWISE) for script in scripts(code)]
    return max(lengths), max(lengths)


def spoken_characters(text: str) -> int:
    """Letters, vowel signs and digits: what takes time to say."""
    return len(_SPOKEN.findall(text))


def text_key(text: str, code: str) -> tuple[int, bool]:
    """A number that texts of one language share when they differ in case, punctuation, spaces or width alone, and
    whether the text is long enough for that to be no accident; the number is 0 when nothing is left."""
    words = _UNSPOKEN.split(unicodedata.normalize("NFKC", text).casefold())
    joined = "".join(words)
    is_long = sum(map(bool, words)) >= _WORDS_TO_LEAK if is_spaced(text) else len(joined) >= _CHARACTERS_TO_LEAK
    return (key(code, joined) if joined else 0), is_long


def key(*parts: str) -> int:
    """64 bits of a hash, never 0. Among 10 million keys two agree by accident once in 370,000 corpora."""
    digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


@cache
def _foreign_letter(code: str) -> regex.Pattern[str]:
    own = "".join(rf"\p{{Script={script}}}" for script in [*scripts(code), "Common", "Inherited"])
    return regex.compile(rf"(?V1)[\p{{L}}--[{own}]]")
