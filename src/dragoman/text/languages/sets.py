"""Sets of languages: the papers' own, and families."""

from __future__ import annotations

from dragoman.text.languages.table import FLEURS


def _codes_in(row: str) -> tuple[str, ...]:
    return tuple(row.split())


_MCAT_28 = _codes_in(
    "ara ben ces cmn deu eng fas fra heb hin ind ita jpn khm kor lao msa mya nld pol por rus spa tgl tha tur urd vie"
)
# MCAT grows from 28 over 44 to 70 languages, "from high-resource to low-resource", and does not name the 44. Ours: the
# 28 and, of the other 42, the 16 of which Whisper heard most in training (Radford et al. 2022, appendix E: more than 60
# hours each; the figure was not at hand to check it again), for it is Whisper's encoder that listens.
_MCAT_44 = tuple(sorted([*_MCAT_28, *_codes_in("bul cat cym dan ell fin hrv hun lav lit nob ron slk swe tam ukr")]))

# In FLEURS and not in MCAT.
_BEYOND_MCAT = _codes_in(
    "ast ceb ckb ful gle hau ibo kam kea lin ltz lug luo mar mlt mon mri nso nya oci orm ory pus sna snd som tgk umb "
    "wol xho yor zul"
)

SETS: dict[str, tuple[str, ...]] = {
    "mcat-2": _codes_in("eng cmn"),
    "mcat-28": _MCAT_28,
    "mcat-44": _MCAT_44,
    "mcat-70": tuple(code for code in FLEURS if code not in _BEYOND_MCAT),
    "llm-srt-15": _codes_in("cmn deu eng fra ind ita jpn kor nld por rus spa tha vie yue"),
    "mcat-9-sources": _codes_in("ara cmn eng ind jpn kor tha tur vie"),
    "llm-srt-6-sources": _codes_in("cmn deu eng fra jpn rus"),
    "llm-srt-13": _codes_in("cmn deu eng fra ind ita jpn kor nld por rus spa vie"),
    "fleurs-102": tuple(FLEURS),
}
"""The sets of the papers, mcat-44 chosen by us; and all of FLEURS.
LLM-SRT's 12 targets are llm-srt-13 without the source language."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "Germanic": _codes_in("eng deu ltz nld afr dan nob swe isl"),
    "Romance": _codes_in("fra oci ita spa ast por glg kea cat ron"),
    "Celtic": _codes_in("cym gle"),
    "Slavic": _codes_in("rus ukr bel pol ces slk slv hrv bos srp mkd bul"),
    "Baltic": _codes_in("lit lav"),
    "Greek": _codes_in("ell"),
    "Armenian": _codes_in("hye"),
    "Iranian": _codes_in("fas tgk ckb pus"),
    "Indo-Aryan": _codes_in("hin urd pan snd guj mar ben asm ory npi"),
    "Dravidian": _codes_in("tam tel kan mal"),
    "Kartvelian": _codes_in("kat"),
    "Uralic": _codes_in("fin est hun"),
    "Turkic": _codes_in("tur azj kaz kir uzb"),
    "Mongolic-Khitan": _codes_in("mon"),
    "Afro-Asiatic": _codes_in("ara mlt heb amh orm som hau"),
    "Nilotic": _codes_in("luo"),
    "Atlantic-Congo": _codes_in("ful wol yor ibo lin lug kam swh nya sna umb nso xho zul"),
    "Austronesian": _codes_in("ind msa jav tgl ceb mri"),
    "Austroasiatic": _codes_in("vie khm"),
    "Tai-Kadai": _codes_in("tha lao"),
    "Sino-Tibetan": _codes_in("cmn yue mya"),
    "Koreanic": _codes_in("kor"),
    "Japonic": _codes_in("jpn"),
}
"""Each of the 102 once, relatives side by side: the order of matrices. The first nine are branches of Indo-European.
The families are Glottolog's. MCAT groups its languages by family (Table V, V-B1), but our copy does not hold its
list."""
