"""The languages against the published tables and ISO 639-3, and every way of naming one."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from dragoman.errors import LanguageError
from dragoman.text.languages import (
    FAMILIES,
    LANGUAGES,
    SETS,
    Language,
    asked_targets,
    expand,
    find,
    is_code,
    known_targets,
)
from dragoman.text.scripts import between_sentences, is_spaced, with_script

# DRAGOMAN_ANCHORS: the folder with the published languages-70.tsv, beside the repository in our workplace.
ANCHORS = Path(os.environ.get("DRAGOMAN_ANCHORS", Path(__file__).parents[3] / "shared" / "anchors"))
FLEURS = {code: LANGUAGES[code] for code in SETS["fleurs-102"]}
EVERY = pytest.mark.parametrize("language", FLEURS.values(), ids=FLEURS)


OURS = {"mcat-2", "mcat-44", "fleurs-102"}  # two steps of MCAT's language expansion, of which the paper gives the sizes
# Those of google/fleurs that are not MCAT's (`_FLEURS_LANG` of its loading script, fleurs.py).
FURTHER_CONFIGS = (
    "ast_es ceb_ph ckb_iq ff_sn ga_ie ha_ng ig_ng kam_ke kea_cv lb_lu lg_ug ln_cd luo_ke mi_nz mn_mn mr_in mt_mt "
    "nso_za ny_mw oc_fr om_et or_in ps_af sd_in sn_zw so_so tg_tj umb_ao wo_sn xh_za yo_ng zu_za"
)


@pytest.fixture(scope="module")
def published() -> list[dict[str, str]]:
    path = ANCHORS / "languages-70.tsv"
    if not path.exists():
        pytest.skip(f"{path} is not here; set DRAGOMAN_ANCHORS to the folder that holds it.")
    with open(path, encoding="utf-8", newline="") as rows:
        return list(csv.DictReader(rows, delimiter="\t"))


def test_table_equals_the_published_one(published: list[dict[str, str]]) -> None:
    table = [LANGUAGES[code] for code in SETS["mcat-70"]]
    ours = [(language.code, language.name, language.fleurs) for language in table]
    assert ours == [(row["code"], row["name"], row["fleurs_config"]) for row in published]


def test_the_rest_is_fleurs() -> None:
    rest = [LANGUAGES[code] for code in SETS["fleurs-102"] if code not in SETS["mcat-70"]]
    assert sorted(language.fleurs for language in rest) == FURTHER_CONFIGS.split()
    assert all(language.fleurs.partition("_")[0] == (language.iso1 or language.code) for language in rest)
    assert list(FLEURS) == sorted(FLEURS) and all(language.fleurs for language in FLEURS.values())


def test_every_code_of_iso_639_3_is_known() -> None:
    """By itself, by its two letters and, unless these are the code of another, by its name."""
    assert len(LANGUAGES) > 7_800 and list(LANGUAGES) == sorted(LANGUAGES) and SETS["fleurs-102"] == tuple(FLEURS)
    for code, language in LANGUAGES.items():
        assert code == language.code and is_code(code) and find(code) is language
        assert language.iso1 is None or find(language.iso1) is language
        assert find(language.name) is language or len(language.name) <= 3
        assert code in FLEURS or language.fleurs is None
    assert {"epo", "lat", "que", "quy", "ase", "arz"} < set(LANGUAGES)
    assert not {"all", "mis", "mul", "und", "zxx", "qaa", "zho", "ger", "ccq"} & set(LANGUAGES)


def test_sets_equal_the_published_ones(published: list[dict[str, str]]) -> None:
    theirs: dict[str, list[str]] = {}
    for row in published:
        for name in row["sets"].split():
            theirs.setdefault(name, []).append(row["code"])
    assert {name: list(codes) for name, codes in SETS.items() if name not in OURS} == theirs


def test_sizes() -> None:
    assert {name: len(codes) for name, codes in SETS.items()} == {
        "mcat-2": 2,
        "mcat-28": 28,
        "mcat-44": 44,
        "mcat-70": 70,
        "llm-srt-15": 15,
        "mcat-9-sources": 9,
        "llm-srt-6-sources": 6,
        "llm-srt-13": 13,
        "fleurs-102": 102,
    }
    assert all(set(codes) <= set(FLEURS) for codes in SETS.values())
    growing = [set(SETS[name]) for name in ("mcat-2", "mcat-28", "mcat-44", "mcat-70", "fleurs-102")]
    assert all(small < large for small, large in pairwise(growing))
    assert list(SETS["mcat-44"]) == sorted(SETS["mcat-44"])


def test_every_language_is_in_one_family() -> None:
    assert sorted(code for family in FAMILIES.values() for code in family) == sorted(FLEURS)


def test_no_name_means_two_languages() -> None:
    names: Counter[str] = Counter()
    for language in FLEURS.values():
        names.update({language.code, language.iso1 or language.code, language.name.lower(), *language.aliases})
    assert [name for name, uses in names.items() if uses > 1] == []


@EVERY
def test_every_way_of_naming(language: Language) -> None:
    ways = [language.code, language.iso1 or language.code, language.name, language.fleurs or "", *language.aliases]
    for way in ways:
        for spelling in (way, way.upper(), f" {way} ", way.replace("_", "-")):
            assert find(spelling) is language, spelling


@EVERY
def test_only_the_code_is_a_code(language: Language) -> None:
    assert is_code(language.code)
    assert not is_code(language.name)
    assert language.iso1 is None or (len(language.iso1) == 2 and not is_code(language.iso1))


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("de-DE", "deu"),
        ("de_de", "deu"),
        ("eng_Latn", "eng"),
        ("zh-Hant-TW", "cmn"),
        ("zh-HK", "yue"),
        ("zho", "cmn"),
        ("Mandarin", "cmn"),
        ("fre", "fra"),
        ("dut", "nld"),
        ("Farsi", "fas"),
        ("fil", "tgl"),
        ("no", "nob"),
        ("ms", "msa"),
        ("iw", "heb"),
        ("arb", "ara"),
        ("arz", "arz"),
        ("nn", "nno"),
        ("qu", "que"),
        ("quy_Latn", "quy"),
        ("quy-PE", "quy"),
        ("Ayacucho Quechua", "quy"),
        ("alb", "sqi"),
        ("uyghur", "uig"),
        ("Yue Chinese", "yue"),
        ("Lo-Toga", "lht"),
    ],
)
def test_names_by_hand(typed: str, code: str) -> None:
    assert find(typed).code == code


def test_unknown_names_are_told_the_nearest() -> None:
    with pytest.raises(LanguageError, match=r"^Unknown language 'Germn'; did you mean deu \(German\)"):
        find("Germn")
    with pytest.raises(LanguageError, match=r"did you mean mcat-28"):
        expand(["mcat28"])
    with pytest.raises(LanguageError, match=r"did you mean que \(Quechua\)"):
        find("Quechu")
    with pytest.raises(LanguageError, match=r"'Kara'; did you mean kah \(Kara \(Central African Republic\)\) or leu"):
        find("Kara")  # four languages, and which one nobody guesses
    with pytest.raises(LanguageError, match=r"use an ISO 639-3 code such as deu"):
        find("xyzzy plugh")


@pytest.mark.parametrize("wrong", ["", "de-nonsense", "deutsch-DE", "german-DE", "de--de", "x" * 1000])
def test_wrong_names(wrong: str) -> None:
    with pytest.raises(LanguageError):
        find(wrong)


def test_expand() -> None:
    assert expand(["deu,fra,cmn"]) == ("deu", "fra", "cmn")
    assert expand("German, fr ,zh") == ("deu", "fra", "cmn")
    assert expand(["jpn", "llm-srt-6-sources", "ja"]) == ("jpn", "cmn", "deu", "eng", "fra", "rus")
    assert expand(["fleurs-102"]) == tuple(FLEURS)
    assert expand("quy,Shan,mcat-2") == ("quy", "shn", "eng", "cmn")
    assert expand([]) == expand("") == ()
    with pytest.raises(LanguageError):
        expand("deu,,fra")


def test_scoring_rules() -> None:
    languages = FLEURS.values()
    assert {x.code for x in languages if x.bleu_tokenizer == "char"} == {"cmn", "jpn", "kor", "tha", "yue"}
    assert {x.bleu_tokenizer for x in languages} == {"char", "13a"}
    assert {x.code for x in languages if x.uses_cer} == {"cmn", "jpn", "kor", "tha", "yue", "lao", "mya", "khm"}
    assert all(
        x.code in x.looks_like and all(LANGUAGES[y].looks_like == x.looks_like for y in x.looks_like) for x in languages
    )
    assert sorted(x.code for x in languages if len(x.looks_like) > 1) == ["ara", "bos", "hrv", "ind", "msa", "srp"]
    marked = {x.code for x in languages if x.writes_vowel_signs}
    assert marked == set("asm ben guj hin kan mal mar npi ory pan tam tel tha lao mya khm yor".split())  # noqa: SIM905


@pytest.mark.parametrize(
    ("code", "text", "rules"),
    [
        ("quy", "Allinllachu kachkanki, wawqiy?", ("13a", False, False)),
        ("uig", "ياخشىمۇسىز، ئەھۋالىڭىز قانداق؟", ("13a", False, False)),
        ("san", "नमस्ते, भवान् कथम् अस्ति?", ("13a", False, True)),
        ("fon", "É nyɔ́ ɖésú, mɛ̌ ɖè wɛ̀?", ("13a", False, True)),
        ("wuu", "侬好，阿拉用iPhone打电话。", ("char", True, False)),
        ("bod", "བོད་སྐད་ཤེས་ཀྱི་ཡོད།", ("char", True, True)),
        ("shn", "မႂ်ႇသုင်ၶႃႈ", ("char", True, True)),
        ("kor", "안녕하세요", ("char", True, False)),
        ("khm", "Latin letters for once", ("13a", True, True)),
    ],
)
def test_beyond_the_102_the_references_tell_how_a_language_is_scored(
    code: str, text: str, rules: tuple[str, bool, bool]
) -> None:
    found = with_script(LANGUAGES[code], [text])
    assert (found.bleu_tokenizer, found.uses_cer, found.writes_vowel_signs) == rules


@pytest.mark.parametrize(
    ("text", "spaced"),
    [
        ("", True),
        ("42", True),
        ("one two", True),
        ("안녕하세요", True),
        ("他说", False),
        ("用iPhone打", False),
        ("I met 王小明 today", True),
        ("สวัสดี", False),
        ("かな", False),
        ("བོད་སྐད་", False),
        ("ꦗꦮ", False),
    ],
)
def test_a_text_tells_whether_its_words_stand_apart(text: str, spaced: bool) -> None:
    assert is_spaced(text) == spaced


def test_all_targets_of_what_may_be_asked_for_anything_must_be_named() -> None:
    assert known_targets(asked_targets("all"), ["quy", "spa"], "it", "spa") == ("quy",)
    with pytest.raises(LanguageError, match="it may be asked for any language; name the targets instead of all"):
        known_targets(None, LANGUAGES, "it")


def test_what_people_name_as_targets_is_codes_from_then_on() -> None:
    assert asked_targets(["German, fr", "deu"]) == ("deu", "fra") and asked_targets(" None ") == ()
    with pytest.raises(LanguageError, match="none says that nothing is to be translated"):
        asked_targets(["deu", "none"])
    for nothing in ("", [], " "):
        with pytest.raises(LanguageError, match="No target language is given"):
            asked_targets(nothing)


def test_importing_it_brings_in_no_other_package() -> None:
    code = (
        "import sys, dragoman.text.languages;"
        "print(*{'torch', 'pydantic', 'transformers', 'numpy', 'difflib', 'iso639'} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == ""


@pytest.mark.parametrize(
    ("text", "between"),
    [
        ("Selamat pagi.", " "),
        ("早上好。", ""),
        ("おはよう。", ""),
        ("안녕하세요.", " "),
        ("สวัสดี", " "),
        ("សួស្តី។", " "),
        ("ABC中文字幕", ""),
    ],
)
def test_sentences_are_parted_as_they_are_written(text: str, between: str) -> None:
    assert between_sentences(text) == between
