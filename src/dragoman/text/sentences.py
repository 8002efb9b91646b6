"""Where the sentences of a text end. No torch.

Marks like `!`, `?` and `。` end one. A full stop may as well belong to an abbreviation: sentencex (Wikimedia,
https://github.com/wikimedia/sentencex, MIT) has lists of them for many languages, LanguageTool has rules for thirty
(run by choppa, https://github.com/lang-uk/choppa, MIT). No list holds all, so a word that is written like an
abbreviation is taken for one too. In doubt the sentence goes on: a cue that holds two of them reads better than one
that begins with half a name.
"""

from __future__ import annotations

import functools
import unicodedata

import choppa
import regex
import sentencex

from dragoman.text.languages import LANGUAGES
from dragoman.text.scripts import UNSPACED

_MARKS = r"[.!?…。．！？｡؟۔।॥።፧។៕။։]"
CLOSING = r"(?:[\p{Pe}\p{Pf}\"'”’»«]|[“‘](?!\w))"
ENDS_WITH_MARK = regex.compile(rf"{_MARKS}{CLOSING}*$")
_END = regex.compile(
    rf"(?P<mark>{_MARKS}+|(?<=\p{{Greek}})[;\u037e])(?P<closing>{CLOSING}*(?:\s»(?!\S))?)"  # « Oui. »
)
_QUOTE = regex.compile(r"[\"'”’“‘»«」』]")
_WORD_ENDS = regex.compile(rf"\s|$|(?!\p{{N}}){UNSPACED}")
_NEXT = regex.compile(r"[\p{L}\p{N}]")
_SURROGATE = regex.compile(r"\p{Cs}")
_MAY_CLOSE = regex.compile(r"\b(?:etc|no)\.(?=\s+\P{N})", regex.IGNORECASE)
"""What closes a sentence in many languages though it is listed: `etc.`, and the answer `No.`"""

_LONGEST = 30  # of what is looked at before a full stop
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}.'’ʼ·-]+$")
_PARTS = regex.compile(r"[.·-]|(?<=\p{L})['’ʼ](?=\p{L}{2})")
_STOP_WITHIN = regex.compile(r"(?<![\p{L}\p{N}])(?:(?:\p{L}{1,4}\.-?)+\p{L}{1,4}|\p{L}\.\s\p{L})$")
"""`p.m.`, `Ph.D.`, `av. J.-C.`, `z. B.`"""
_INITIAL = regex.compile(r"(?V1)[\p{Lu}\p{Lo}--[\p{Hangul}\p{Han}\p{Hiragana}\p{Katakana}]]\p{M}*")
ONLY_ABBREVIATES = r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}\p{Ethiopic}]"
"""Before a full stop: scripts whose sentences end with a space or with marks of their own."""
_OWN_STOP = regex.compile(r"[۔।॥]")
"""Where a text uses its script's own stop, the European one abbreviates; some languages of the script use only that."""
_CONSONANT = r"[[\p{Latin}\p{Cyrillic}\p{Greek}]--[aeiouyæœøıаеёиоуыэюяіїєөүұәαεηιουω]]"
_CONSONANTS = regex.compile(rf"(?V1){_CONSONANT}+")
_CUT_SHORT = regex.compile(rf"(?V1)\p{{L}}{{0,5}}{_CONSONANT}|[\p{{L}}\p{{M}}]{{1,3}}")
_SYLLABIC = regex.compile(r"[rlрл]\p{L}")
_SYLLABIC_LANGUAGES = frozenset({"bos", "ces", "hrv", "mkd", "slk", "slv", "srp"})
"""`vrt`, `vlk` are words there."""
_ROMANCE = frozenset({"ast", "cat", "fra", "glg", "ita", "oci", "por", "ron", "spa"})
_NO_ONSET = regex.compile(
    r"(?!(?:[bcdfgkptvw][rlw]|[cdgkprstwz]h|gn|kn|ps|pn|pt|ct|ll|ts|tz|dj|tch|mn|cz|kv|s\p{L})|\p{L}*['’])"
    r"[bcdfghjklmnpqrstvwxzñ][bcdfgjklmnpqrstvwxzñç]\p{L}{0,3}"
)
"""`Mme`, `Dpto`, `Ltda`: no word of Romance languages begins so (of 1.2 million of theirs in Tatoeba, 20)."""
_NO_CODA = regex.compile(r"\p{L}*(?:[bcdfkptxzß]|sch)[lmnrw]")
_NO_SUCH_CODA = _ROMANCE | {"afr", "deu", "eng", "ltz", "nld"}
"""`exkl`, `vertr`, `durchschn`: no word of theirs ends so."""
_LETTERS_AT_END = {
    "ell": "αεηιουωνςάέήίόύώϊϋΐΰσρξψ",
    "fin": "aeiouyäönrstlk",
    "ita": "aeiouàèéìòùlnrdstmyk",
    "por": "aeiouáâãàéêíóôõúlmnrszx",
    "spa": "aeiouáéíóúdjlnrsxyzt",
}
"""Letters that words end in there: `λεωφ`, `esim`, `milj`, `núm` are cut short."""
_ALSO = {
    "ell": "αγ καθ κος κκ λεωφ οδ πρβλ",
    "eng": "atty conn esq inf insp mme mlle penn sig supt thur thurs tue tues wash wed",
    "deu": "fam",
    "fra": "cie cit éd gén me op sté ste",
    "hun": "főszerk id ifj özv szerk ún",
    "nld": "burg secr",
    "por": "apto cia profa",
    "ron": "ex jud dna",
    "rus": "напр",
    "spa": "cía profa",
    "tur": "alb av cad doç mah öğr örn sok tğm yrd",
}
"""Those found in none of the lists."""
_ORDINAL = regex.compile(r"\d{1,2}")
_NOUNS_ARE_CAPITAL = frozenset({"deu", "ltz"})
"""Elsewhere no capital follows an ordinal (`3. Mai`)."""


def sentence_ends(text: str, code: str) -> frozenset[int]:
    """Where the sentences of a text in one language end, in code points: behind the mark and the quotes it closes.

    The end of the text is among them if it has a mark.
    """
    found = [end for end in _END.finditer(text) if _may_end(text, end)]
    stops = [end for end in found if _is_bare_stop(text, end)]
    known = _by_library(text, code) if stops else frozenset()
    no_ends = {
        end.end()
        for end in stops
        if (end.end() not in known and not end["closing"]) or _is_abbreviated(text, end, code)
    }
    return frozenset(end.end() for end in found) - no_ends


def _may_end(text: str, end: regex.Match[str]) -> bool:
    after = _NEXT.search(text, end.end())
    if after and after[0].islower():
        return False
    return end["mark"] != "." or bool(_WORD_ENDS.match(text, end.end()))


def _is_bare_stop(text: str, end: regex.Match[str]) -> bool:
    """A full stop that no quote follows, but more text."""
    return end["mark"] == "." and not _QUOTE.search(end["closing"]) and bool(_NEXT.search(text, end.end()))


def _by_library(text: str, code: str) -> frozenset[int]:
    """The ends as sentencex sees them; a language that it has no list for it takes for another or for English."""
    language = LANGUAGES.get(code)
    whole = _SURROGATE.sub("\ufffd", text)  # it wants UTF-8, which has no lone surrogates
    found = sentencex.get_sentence_boundaries((language and language.iso1) or code, whole)
    ends = {one["start_index"] + len(one["text"].rstrip()) for one in found}
    if language and language.iso1 and _has_rules(language.iso1):
        ends &= _by_rules(whole, language.iso1)
    return frozenset(ends | {end.end() for end in _MAY_CLOSE.finditer(text)})


@functools.cache
def _rules() -> choppa.SrxDocument:
    return choppa.SrxDocument(ruleset=choppa.DEFAULT_SRX_RULESET)


@functools.cache
def _has_rules(iso1: str) -> bool:
    """Whether LanguageTool has rules for a language of this ISO 639-1 code; it would divide no other text."""
    of_all = {rules.name for rules in _rules().get_language_rule_list("_two")}
    return any(
        rules.name not in of_all | {"ByTwoLineBreaks"} for rules in _rules().get_language_rule_list(f"{iso1}_two")
    )


def _by_rules(text: str, iso1: str) -> set[int]:
    ends, at = set(), 0
    for sentence in choppa.SrxTextIterator(_rules(), f"{iso1}_two", text):
        ends.add(at + len(sentence.rstrip()))
        at += len(sentence)
    return ends


def _is_abbreviated(text: str, end: regex.Match[str], code: str) -> bool:
    """Whether the word before a full stop is written like an abbreviation, or like an ordinal."""
    before = unicodedata.normalize("NFC", text[max(0, end.start() - _LONGEST) : end.start()])
    word = _WORD.search(before)
    last = _PARTS.split(word[0])[-1] if word else ""
    if regex.match(ONLY_ABBREVIATES, last) or (_OWN_STOP.search(text) and last and not last.isascii()):
        return True
    if _ORDINAL.fullmatch(last):
        return code in _NOUNS_ARE_CAPITAL
    if _NEXT.search(text, end.end())[0].isdigit() and _CUT_SHORT.fullmatch(last.lower()):
        return True
    return bool(_STOP_WITHIN.search(before) or _INITIAL.fullmatch(last)) or _is_no_word(last, code)


def _is_no_word(word: str, code: str) -> bool:
    """Whether no word of the language can look so; one of capitals alone is another thing, which is written without a
    stop (`DVD`)."""
    plain = word.lower()
    if (len(word) > 2 and word.isupper()) or plain == "etc":
        return False
    return (
        _has_no_vowel(word, code)
        or plain in _ALSO.get(code, "").split()
        or (code in _ROMANCE and bool(_NO_ONSET.fullmatch(plain)))
        or (code in _NO_SUCH_CODA and bool(_NO_CODA.fullmatch(plain)))
        or (
            code in _LETTERS_AT_END
            and len(plain) < 6
            and plain[-1:].isalpha()
            and plain[-1] not in _LETTERS_AT_END[code]
        )
    )


def _has_no_vowel(word: str, code: str) -> bool:
    """`Mr`, `млн`."""
    plain = "".join(sign for sign in unicodedata.normalize("NFD", word.lower()) if not unicodedata.combining(sign))
    if code in _SYLLABIC_LANGUAGES and _SYLLABIC.search(plain):
        return False
    return bool(_CONSONANTS.fullmatch(plain))
