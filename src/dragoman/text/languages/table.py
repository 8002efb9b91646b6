"""The 102 languages of FLEURS as we know them, and all others of ISO 639-3 as the package python-iso639 does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

# LLM-SRT scores these with one token per character.
_CHARACTER_BLEU = frozenset({"cmn", "jpn", "kor", "tha", "yue"})
# The same five, and three more that put no space between words, for which a word error rate means nothing.
# Korean has spaces; it stays to be comparable with the papers.
_CHARACTER_ERRORS = _CHARACTER_BLEU | frozenset({"khm", "lao", "mya"})
_UNSPACED = _CHARACTER_ERRORS - {"kor"}
# Brahmic scripts write most vowels as combining marks; Arabic and Hebrew ones seldom write theirs. Yoruba's tones stand
# on letters with a dot below, which have no single character (ọ̀).
_VOWEL_SIGNS = frozenset(
    "asm ben guj hin kan khm lao mal mar mya npi ory pan tam tel tha yor".split()  # noqa: SIM905
)
# Standards of one language, which a short text does not tell apart.
_LOOK_ALIKES = (frozenset({"bos", "hrv", "srp"}), frozenset({"ind", "msa"}), frozenset({"ara", "ary", "arz"}))


@dataclass(frozen=True, slots=True)
class Language:
    """One language; two are equal when all their fields are."""

    code: str
    """ISO 639-3."""
    iso1: str | None
    """ISO 639-1; most have none."""
    name: str
    """In English."""
    fleurs: str | None = None
    """Name of the FLEURS configuration; only the 102 have one."""
    aliases: tuple[str, ...] = ()
    """Further lower-case codes and names that people type."""
    is_unspaced: bool = False
    has_marks: bool = False
    """How a language beyond the 102 is written, once its texts have shown it (`scripts.with_script`)."""

    @property
    def bleu_tokenizer(self) -> str:
        """SacreBLEU's tokenizer when this is the target."""
        return "char" if self.code in _CHARACTER_BLEU or self.is_unspaced else "13a"

    @property
    def uses_cer(self) -> bool:
        """Whether transcripts are scored by characters (CER) rather than by words (WER)."""
        return self.code in _CHARACTER_ERRORS or self.is_unspaced

    @property
    def uses_spaces(self) -> bool:
        """Whether words stand apart."""
        return self.code not in _UNSPACED and not self.is_unspaced

    @property
    def writes_vowel_signs(self) -> bool:
        """Whether words hold combining marks that a normaliser must keep."""
        return self.code in _VOWEL_SIGNS or self.has_marks

    @property
    def looks_like(self) -> frozenset[str]:
        """The codes of the languages that a short text cannot tell from this one, itself included."""
        return next((group for group in _LOOK_ALIKES if self.code in group), frozenset({self.code}))


_TABLE = (
    Language("afr", "af", "Afrikaans", "af_za"),
    Language("amh", "am", "Amharic", "am_et"),
    Language("ara", "ar", "Arabic", "ar_eg", ("arb", "modern standard arabic")),
    Language("asm", "as", "Assamese", "as_in"),
    Language("ast", None, "Asturian", "ast_es", ("bable",)),
    Language("azj", "az", "Azerbaijani", "az_az", ("aze", "azeri", "north azerbaijani")),
    Language("bel", "be", "Belarusian", "be_by"),
    Language("ben", "bn", "Bengali", "bn_in", ("bangla",)),
    Language("bos", "bs", "Bosnian", "bs_ba"),
    Language("bul", "bg", "Bulgarian", "bg_bg"),
    Language("cat", "ca", "Catalan", "ca_es", ("valencian",)),
    Language("ceb", None, "Cebuano", "ceb_ph", ("bisaya",)),
    Language("ces", "cs", "Czech", "cs_cz", ("cze",)),
    Language("ckb", None, "Sorani Kurdish", "ckb_iq", ("sorani", "central kurdish")),
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
    Language("ful", "ff", "Fula", "ff_sn", ("fuc", "fulah", "fulani", "fulfulde", "pulaar")),
    Language("gle", "ga", "Irish", "ga_ie"),
    Language("glg", "gl", "Galician", "gl_es"),
    Language("guj", "gu", "Gujarati", "gu_in"),
    Language("hau", "ha", "Hausa", "ha_ng"),
    Language("heb", "he", "Hebrew", "he_il", ("iw",)),
    Language("hin", "hi", "Hindi", "hi_in"),
    Language("hrv", "hr", "Croatian", "hr_hr"),
    Language("hun", "hu", "Hungarian", "hu_hu"),
    Language("hye", "hy", "Armenian", "hy_am", ("arm",)),
    Language("ibo", "ig", "Igbo", "ig_ng"),
    Language("ind", "id", "Indonesian", "id_id", ("in", "bahasa indonesia")),
    Language("isl", "is", "Icelandic", "is_is", ("ice",)),
    Language("ita", "it", "Italian", "it_it"),
    Language("jav", "jv", "Javanese", "jv_id", ("jw",)),
    Language("jpn", "ja", "Japanese", "ja_jp"),
    Language("kam", None, "Kamba", "kam_ke", ("kikamba",)),
    Language("kan", "kn", "Kannada", "kn_in"),
    Language("kat", "ka", "Georgian", "ka_ge", ("geo",)),
    Language("kaz", "kk", "Kazakh", "kk_kz"),
    Language("kea", None, "Kabuverdianu", "kea_cv", ("cape verdean creole",)),
    Language("khm", "km", "Khmer", "km_kh", ("cambodian",)),
    Language("kir", "ky", "Kyrgyz", "ky_kg", ("kirghiz",)),
    Language("kor", "ko", "Korean", "ko_kr"),
    Language("lao", "lo", "Lao", "lo_la", ("laotian",)),
    Language("lav", "lv", "Latvian", "lv_lv", ("lvs",)),
    Language("lin", "ln", "Lingala", "ln_cd"),
    Language("lit", "lt", "Lithuanian", "lt_lt"),
    Language("ltz", "lb", "Luxembourgish", "lb_lu"),
    Language("lug", "lg", "Ganda", "lg_ug", ("luganda",)),
    Language("luo", None, "Luo", "luo_ke", ("dholuo",)),
    Language("mal", "ml", "Malayalam", "ml_in"),
    Language("mar", "mr", "Marathi", "mr_in"),
    Language("mkd", "mk", "Macedonian", "mk_mk", ("mac",)),
    Language("mlt", "mt", "Maltese", "mt_mt"),
    Language("mon", "mn", "Mongolian", "mn_mn", ("khk", "halh mongolian")),
    Language("mri", "mi", "Maori", "mi_nz", ("mao", "māori")),
    Language("msa", "ms", "Malay", "ms_my", ("may", "zsm", "zlm", "bahasa melayu")),
    Language("mya", "my", "Burmese", "my_mm", ("bur", "myanmar")),
    Language("nld", "nl", "Dutch", "nl_nl", ("dut", "flemish")),
    Language("nob", "nb", "Norwegian", "nb_no", ("no", "nor", "bokmål", "bokmal", "norwegian bokmål")),
    Language("npi", "ne", "Nepali", "ne_np", ("nep",)),
    Language("nso", None, "Northern Sotho", "nso_za", ("sepedi", "pedi")),
    Language("nya", "ny", "Nyanja", "ny_mw", ("chichewa", "chewa")),
    Language("oci", "oc", "Occitan", "oc_fr"),
    Language("orm", "om", "Oromo", "om_et", ("gaz", "afaan oromo")),
    Language("ory", "or", "Odia", "or_in", ("ori", "oriya")),
    Language("pan", "pa", "Punjabi", "pa_in", ("panjabi",)),
    Language("pol", "pl", "Polish", "pl_pl"),
    Language("por", "pt", "Portuguese", "pt_br"),
    Language("pus", "ps", "Pashto", "ps_af", ("pbt", "pushto")),
    Language("ron", "ro", "Romanian", "ro_ro", ("rum", "mo", "moldavian", "moldovan")),
    Language("rus", "ru", "Russian", "ru_ru"),
    Language("slk", "sk", "Slovak", "sk_sk", ("slo",)),
    Language("slv", "sl", "Slovenian", "sl_si", ("slovene",)),
    Language("sna", "sn", "Shona", "sn_zw", ("chishona",)),
    Language("snd", "sd", "Sindhi", "sd_in"),
    Language("som", "so", "Somali", "so_so"),
    Language("spa", "es", "Spanish", "es_419", ("castilian",)),
    Language("srp", "sr", "Serbian", "sr_rs"),
    Language("swe", "sv", "Swedish", "sv_se"),
    Language("swh", "sw", "Swahili", "sw_ke", ("swa", "kiswahili")),
    Language("tam", "ta", "Tamil", "ta_in"),
    Language("tel", "te", "Telugu", "te_in"),
    Language("tgk", "tg", "Tajik", "tg_tj"),
    Language("tgl", "tl", "Tagalog", "fil_ph", ("fil", "filipino")),
    Language("tha", "th", "Thai", "th_th"),
    Language("tur", "tr", "Turkish", "tr_tr"),
    Language("ukr", "uk", "Ukrainian", "uk_ua"),
    Language("umb", None, "Umbundu", "umb_ao"),
    Language("urd", "ur", "Urdu", "ur_pk"),
    Language("uzb", "uz", "Uzbek", "uz_uz", ("uzn",)),
    Language("vie", "vi", "Vietnamese", "vi_vn"),
    Language("wol", "wo", "Wolof", "wo_sn"),
    Language("xho", "xh", "Xhosa", "xh_za", ("isixhosa",)),
    Language("yor", "yo", "Yoruba", "yo_ng", ("yorùbá",)),
    Language("yue", None, "Cantonese", "yue_hant_hk", ("zh-hk", "zh-yue", "cantonese chinese")),
    Language("zul", "zu", "Zulu", "zu_za", ("isizulu",)),
)

FLEURS: dict[str, Language] = {language.code: language for language in _TABLE}


class _Languages(Mapping[str, Language]):
    """The 102 at once, the others when one of them is asked for."""

    def __getitem__(self, code: str) -> Language:
        return FLEURS.get(code) or other_languages().codes[code]

    def __contains__(self, code: object) -> bool:
        return code in FLEURS or code in other_languages().codes

    def __iter__(self) -> Iterator[str]:
        return iter(sorted([*FLEURS, *other_languages().codes]))

    def __len__(self) -> int:
        return len(FLEURS) + len(other_languages().codes)


LANGUAGES: Mapping[str, Language] = _Languages()
"""By ISO 639-3 code, in the order of the codes: macrolanguages too, and those that nobody grows up with any more. Not
the four codes for no language or several, nor Allar's, `all`, which means every language here."""


def is_code(code: str) -> bool:
    """Whether `code` is a key of LANGUAGES; names and other codes are not, see `find`."""
    return code in LANGUAGES


class OtherLanguages(NamedTuple):
    codes: dict[str, Language]
    """The languages that are not among the 102."""
    names: dict[str, Language]
    """What ISO 639 calls any language, in lower case: codes and English names."""


@cache
def other_languages() -> OtherLanguages:
    """ISO 639-3. A name that two languages share means neither, except where it is the first name of one; a code is the
    code of a language before it is the name of another."""
    import iso639  # it takes a third of a second, and few ask for it

    every = [one for one in iso639.ALL_LANGUAGES if one.status == "A" and one.scope != "S" and one.part3 != "all"]
    codes: dict[str, Language] = {}
    others: list[tuple[str, Language]] = []
    for one in sorted(every, key=lambda one: one.part3):
        aliases = {other.print.lower() for other in one.other_names or ()} | ({one.part2b} if one.part2b else set())
        language = TABLE_NAMES.get(one.part3)
        if language is None:
            language = codes[one.part3] = Language(one.part3, one.part1, one.name, aliases=tuple(sorted(aliases)))
        others += [(name, language) for name in {one.name.lower(), *aliases}]
    uses = Counter(name for name, _ in others)
    names = {name: language for name, language in others if uses[name] == 1}
    names |= {language.name.lower(): language for language in codes.values()}
    names |= {language.iso1: language for language in codes.values() if language.iso1}
    names |= codes
    return OtherLanguages(codes, names)


TABLE_NAMES = {
    name: language
    for language in _TABLE
    for name in (language.code, language.iso1, language.name.lower(), *language.aliases)
    if name
}
"""What people call the 102, in lower case."""
