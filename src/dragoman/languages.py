"""The one table of languages: codes, names, corpus names, scoring rules, and the published sets.

The key everywhere in Dragoman is the ISO 639-3 code as FLEURS and MCAT use it. Where ISO offers a
macrolanguage and a member (`zho`/`cmn`, `nor`/`nob`, `aze`/`azj`), the other one is an alias. People may
also type a name or a 639-1 code; `find` and `expand` turn that into codes once, at the edge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dragoman.errors import LanguageError

# LLM-SRT scores these with one token per character (PUBLISHED_SYSTEMS.md, section 5).
_CHARACTER_BLEU = frozenset({"cmn", "jpn", "kor", "tha", "yue"})
# The same five, and three more that put no space between words, for which a word error rate means nothing
# (PEERS.md, evaluation conventions). Korean has spaces; it stays to be comparable with the papers.
_CHARACTER_ERRORS = _CHARACTER_BLEU | frozenset({"khm", "lao", "mya"})
_UNSPACED = _CHARACTER_ERRORS - {"kor"}
# Brahmic scripts write most vowels as combining marks; Arabic and Hebrew ones seldom write theirs.
_VOWEL_SIGNS = frozenset(
    ["asm", "ben", "guj", "hin", "kan", "khm", "lao", "mal", "mya", "npi", "pan", "tam", "tel", "tha"]
)
# Standards of one language, which a short text does not tell apart.
_LOOK_ALIKES = (frozenset({"bos", "hrv", "srp"}), frozenset({"ind", "msa"}))


@dataclass(frozen=True, slots=True)
class Language:
    """One language; two are equal when all their fields are."""

    code: str
    """ISO 639-3."""
    iso1: str | None
    """ISO 639-1; none for Cantonese."""
    name: str
    """In English."""
    fleurs: str
    """Name of the FLEURS configuration."""
    aliases: tuple[str, ...] = ()
    """Further lower-case codes and names that people type."""

    @property
    def bleu_tokenizer(self) -> str:
        """SacreBLEU's tokenizer when this is the target."""
        return "char" if self.code in _CHARACTER_BLEU else "13a"

    @property
    def uses_cer(self) -> bool:
        """Whether transcripts are scored by characters (CER) rather than by words (WER)."""
        return self.code in _CHARACTER_ERRORS

    @property
    def uses_spaces(self) -> bool:
        """Whether sentences are joined with a space."""
        return self.code not in _UNSPACED

    @property
    def writes_vowel_signs(self) -> bool:
        """Whether words hold combining marks that a normaliser must keep."""
        return self.code in _VOWEL_SIGNS

    @property
    def looks_like(self) -> frozenset[str]:
        """The codes of the languages that a short text cannot tell from this one, itself included."""
        return next((group for group in _LOOK_ALIKES if self.code in group), frozenset({self.code}))


_TABLE = (
    Language("afr", "af", "Afrikaans", "af_za"),
    Language("amh", "am", "Amharic", "am_et"),
    Language("ara", "ar", "Arabic", "ar_eg", ("arb", "arz", "modern standard arabic")),
    Language("asm", "as", "Assamese", "as_in"),
    Language("azj", "az", "Azerbaijani", "az_az", ("aze", "azeri", "north azerbaijani")),
    Language("bel", "be", "Belarusian", "be_by"),
    Language("ben", "bn", "Bengali", "bn_in", ("bangla",)),
    Language("bos", "bs", "Bosnian", "bs_ba"),
    Language("bul", "bg", "Bulgarian", "bg_bg"),
    Language("cat", "ca", "Catalan", "ca_es", ("valencian",)),
    Language("ces", "cs", "Czech", "cs_cz", ("cze",)),
    Language("cmn", "zh", "Chinese", "cmn_hans_cn", ("zho", "chi", "mandarin", "mandarin chinese")),
    Language("cym", "cy", "Welsh", "cy_gb", ("wel",)),
    Language("dan", "da", "Danish", "da_dk"),
    Language("deu", "de", "German", "de_de", ("ger",)),
    Language("ell", "el", "Greek", "el_gr", ("gre", "modern greek")),
    Language("eng", "en", "English", "en_us"),
    Language("est", "et", "Estonian", "et_ee", ("ekk",)),
    Language("fas", "fa", "Persian", "fa_ir", ("per", "pes", "farsi")),
    Language("fin", "fi", "Finnish", "fi_fi"),
    Language("fra", "fr", "French", "fr_fr", ("fre",)),
    Language("glg", "gl", "Galician", "gl_es"),
    Language("guj", "gu", "Gujarati", "gu_in"),
    Language("heb", "he", "Hebrew", "he_il", ("iw",)),
    Language("hin", "hi", "Hindi", "hi_in"),
    Language("hrv", "hr", "Croatian", "hr_hr"),
    Language("hun", "hu", "Hungarian", "hu_hu"),
    Language("hye", "hy", "Armenian", "hy_am", ("arm",)),
    Language("ind", "id", "Indonesian", "id_id", ("in", "bahasa indonesia")),
    Language("isl", "is", "Icelandic", "is_is", ("ice",)),
    Language("ita", "it", "Italian", "it_it"),
    Language("jav", "jv", "Javanese", "jv_id", ("jw",)),
    Language("jpn", "ja", "Japanese", "ja_jp"),
    Language("kan", "kn", "Kannada", "kn_in"),
    Language("kat", "ka", "Georgian", "ka_ge", ("geo",)),
    Language("kaz", "kk", "Kazakh", "kk_kz"),
    Language("khm", "km", "Khmer", "km_kh", ("cambodian",)),
    Language("kir", "ky", "Kyrgyz", "ky_kg", ("kirghiz",)),
    Language("kor", "ko", "Korean", "ko_kr"),
    Language("lao", "lo", "Lao", "lo_la", ("laotian",)),
    Language("lav", "lv", "Latvian", "lv_lv", ("lvs",)),
    Language("lit", "lt", "Lithuanian", "lt_lt"),
    Language("mal", "ml", "Malayalam", "ml_in"),
    Language("mkd", "mk", "Macedonian", "mk_mk", ("mac",)),
    Language("msa", "ms", "Malay", "ms_my", ("may", "zsm", "zlm", "bahasa melayu")),
    Language("mya", "my", "Burmese", "my_mm", ("bur", "myanmar")),
    Language("nld", "nl", "Dutch", "nl_nl", ("dut", "flemish")),
    Language("nob", "nb", "Norwegian", "nb_no", ("no", "nor", "bokmål", "bokmal", "norwegian bokmål")),
    Language("npi", "ne", "Nepali", "ne_np", ("nep",)),
    Language("pan", "pa", "Punjabi", "pa_in", ("panjabi",)),
    Language("pol", "pl", "Polish", "pl_pl"),
    Language("por", "pt", "Portuguese", "pt_br"),
    Language("ron", "ro", "Romanian", "ro_ro", ("rum", "mo", "moldavian", "moldovan")),
    Language("rus", "ru", "Russian", "ru_ru"),
    Language("slk", "sk", "Slovak", "sk_sk", ("slo",)),
    Language("slv", "sl", "Slovenian", "sl_si", ("slovene",)),
    Language("spa", "es", "Spanish", "es_419", ("castilian",)),
    Language("srp", "sr", "Serbian", "sr_rs"),
    Language("swe", "sv", "Swedish", "sv_se"),
    Language("swh", "sw", "Swahili", "sw_ke", ("swa", "kiswahili")),
    Language("tam", "ta", "Tamil", "ta_in"),
    Language("tel", "te", "Telugu", "te_in"),
    Language("tgl", "tl", "Tagalog", "fil_ph", ("fil", "filipino")),
    Language("tha", "th", "Thai", "th_th"),
    Language("tur", "tr", "Turkish", "tr_tr"),
    Language("ukr", "uk", "Ukrainian", "uk_ua"),
    Language("urd", "ur", "Urdu", "ur_pk"),
    Language("uzb", "uz", "Uzbek", "uz_uz", ("uzn",)),
    Language("vie", "vi", "Vietnamese", "vi_vn"),
    Language("yue", None, "Cantonese", "yue_hant_hk", ("zh-hk", "zh-yue", "cantonese chinese")),
)

LANGUAGES: dict[str, Language] = {language.code: language for language in _TABLE}
"""By ISO 639-3 code, in the order of the codes."""


def _codes_in(row: str) -> tuple[str, ...]:
    return tuple(row.split())


_MCAT_28 = _codes_in(
    "ara ben ces cmn deu eng fas fra heb hin ind ita jpn khm kor lao msa mya nld pol por rus spa tgl tha tur urd vie"
)
# MCAT grows from 28 over 44 to 70 languages, "from high-resource to low-resource", and does not name the 44. Ours: the
# 28 and, of the other 42, the 16 of which Whisper heard most in training (Radford et al. 2022, appendix E: more than 60
# hours each), for it is Whisper's encoder that listens.
_MCAT_44 = tuple(sorted([*_MCAT_28, *_codes_in("bul cat cym dan ell fin hrv hun lav lit nob ron slk swe tam ukr")]))

SETS: dict[str, tuple[str, ...]] = {
    "mcat-2": _codes_in("eng cmn"),
    "mcat-28": _MCAT_28,
    "mcat-44": _MCAT_44,
    "mcat-70": tuple(LANGUAGES),
    "llm-srt-15": _codes_in("cmn deu eng fra ind ita jpn kor nld por rus spa tha vie yue"),
    "mcat-9-sources": _codes_in("ara cmn eng ind jpn kor tha tur vie"),
    "llm-srt-6-sources": _codes_in("cmn deu eng fra jpn rus"),
    "llm-srt-13": _codes_in("cmn deu eng fra ind ita jpn kor nld por rus spa vie"),
}
"""The sets of the papers, mcat-44 chosen by us. LLM-SRT's 12 targets are llm-srt-13 without the source language."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "Germanic": _codes_in("eng deu nld afr dan nob swe isl"),
    "Romance": _codes_in("fra ita spa por cat glg ron"),
    "Celtic": _codes_in("cym"),
    "Slavic": _codes_in("rus ukr bel pol ces slk slv hrv bos srp mkd bul"),
    "Baltic": _codes_in("lit lav"),
    "Greek": _codes_in("ell"),
    "Armenian": _codes_in("hye"),
    "Iranian": _codes_in("fas"),
    "Indo-Aryan": _codes_in("hin urd pan guj ben asm npi"),
    "Dravidian": _codes_in("tam tel kan mal"),
    "Kartvelian": _codes_in("kat"),
    "Uralic": _codes_in("fin est hun"),
    "Turkic": _codes_in("tur azj kaz kir uzb"),
    "Afro-Asiatic": _codes_in("ara heb amh"),
    "Niger-Congo": _codes_in("swh"),
    "Austronesian": _codes_in("ind msa jav tgl"),
    "Austroasiatic": _codes_in("vie khm"),
    "Kra-Dai": _codes_in("tha lao"),
    "Sino-Tibetan": _codes_in("cmn yue mya"),
    "Koreanic": _codes_in("kor"),
    "Japonic": _codes_in("jpn"),
}
"""Every language once, relatives side by side: the order of matrices. The first nine are branches of Indo-European; the
families are Glottolog's. MCAT groups its languages by family (Table V, V-B1) but our copy does not hold its list."""


def _names(language: Language) -> Iterable[str]:
    return filter(None, (language.code, language.iso1, language.name.lower(), *language.aliases))


_BY_NAME = {name: language for language in _TABLE for name in _names(language)}
# What may follow a language in a locale: script, region, or both (zh-Hant-TW, eng_Latn, es_419).
_LOCALE = re.compile(r"([a-z]{2,3})(-[a-z]{4})?(-([a-z]{2}|[0-9]{3}))?")


def is_code(code: str) -> bool:
    """Whether `code` is a key of the table; names and other codes are not, see `find`."""
    return code in LANGUAGES


def find(name: str) -> Language:
    """The language that a person means by `deu`, `de`, `ger`, `German`, `de-DE` or `de_de`, in any case.

    Raises LanguageError with the nearest names.
    """
    wanted = _plain(name)
    if wanted in _BY_NAME:
        return _BY_NAME[wanted]
    locale = _LOCALE.fullmatch(wanted)
    if locale and locale[1] in _BY_NAME:
        return _BY_NAME[locale[1]]
    raise LanguageError(f"Unknown language {name!r}{_advice(wanted, list(_BY_NAME))}")


def expand(names: str | Iterable[str]) -> tuple[str, ...]:
    """Codes of languages and sets, each possibly several with commas: `["deu,fr", "mcat-28"]`.

    The order is kept and repeats are removed. Raises LanguageError for an unknown name.
    """
    joined = names if isinstance(names, str) else ",".join(names)
    if not joined.strip():
        return ()
    return tuple(dict.fromkeys(code for name in joined.split(",") for code in _codes(name)))


def known_source(name: str, known: Sequence[str], who: str) -> str:
    """The code of a language that `who` hears, given by code or name. Raises LanguageError."""
    return _among(name, known, f"{who} does not hear")


def known_targets(
    names: str | Sequence[str], known: Sequence[str], who: str, source: str | None = None
) -> tuple[str, ...]:
    """The codes of languages that `who` writes, given by codes, names or sets; "all" means every one but `source`, the
    code of what is spoken.

    Raises LanguageError for one that is unknown, not among them, or the source itself, and when there is none.
    """
    joined = names if isinstance(names, str) else ",".join(names)
    if "all" in (name.strip().lower() for name in joined.split(",")):
        return tuple(code for code in known if code != source)
    codes = [_among(code, known, f"{who} does not write") for code in expand(joined)]
    if not codes:
        raise LanguageError("No target language is given; name at least one.")
    if source in codes:
        raise LanguageError(f"Source and target are both {source!r}; name a target that differs from the speech.")
    return tuple(codes)


def _among(name: str, known: Sequence[str], complaint: str) -> str:
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
        advice = _advice(wanted, [*_BY_NAME, *SETS])
        raise LanguageError(f"Unknown language or set of languages {name.strip()!r}{advice}") from None


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-")


def _advice(wanted: str, known: list[str]) -> str:
    import difflib  # only needed to explain a mistake

    close = [_shown(name) for name in difflib.get_close_matches(wanted, known, n=3, cutoff=0.6)]
    if close:
        return f"; did you mean {' or '.join(dict.fromkeys(close))}?"
    return f"; use one of the {len(LANGUAGES)} codes such as deu, or a name such as German."


def _shown(name: str) -> str:
    return name if name in SETS else f"{_BY_NAME[name].code} ({_BY_NAME[name].name})"
