"""Metrics against hand-computed values and against direct calls of the libraries."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unicodedata import normalize

import jiwer
import pytest
import sacrebleu
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.tokenizers import tokenizer_spm

from dragoman.errors import DataError, MissingExtraError
from dragoman.evaluation.metrics import DEFAULT, METRICS, Metric, ScoringPair, choose, overlap
from dragoman.text.langid import KNOWN, language_of
from dragoman.text.languages import LANGUAGES, SETS
from dragoman.text.mixing import segments

needs_korean = pytest.mark.skipif(
    find_spec("mecab_ko") is None, reason="MeCab-ko is absent: pip install 'dragoman[korean]'"
)
EVERY = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_korean if name == "BLEU-ko-mecab" else ()) for name in METRICS]
)
TEXTS = ["The cat sat on the mat today.", "A dog barked at the old grey postman."]
# Perfect outputs, then empty ones.
BOUNDS = {"off-target": (0.0, 0.0), "mixing": (0.0, 0.0), "repetition": (0.0, 0.0)}
SACRE = version("sacrebleu")


def score(name: str, language: str, hypotheses: Sequence[str], references: Sequence[str]) -> float:
    return METRICS[name](LANGUAGES[language]).score(
        [ScoringPair(*texts) for texts in zip(hypotheses, references, strict=True)]
    )


def suited(kind: type[Metric]) -> str:
    return next(code for code in SETS["fleurs-102"] if kind.suits(LANGUAGES[code]))


@pytest.fixture(autouse=True)
def flores200(pieces: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small SentencePiece model where sacreBLEU looks for that of FLORES-200."""
    for module in (overlap, tokenizer_spm):
        monkeypatch.setattr(module, "SACREBLEU_DIR", str(pieces.parents[1]))
    return pieces


@pytest.fixture(scope="session")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sacrebleu") / "models" / "flores200sacrebleuspm"
    path.parent.mkdir()
    with open(path, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXTS * 20), model_writer=file, vocab_size=40, hard_vocab_limit=False, minloglevel=2
        )
    return path


# -------------------------------------------------------------------------------------------------- all of them


@EVERY
def test_perfect_and_empty(name: str) -> None:
    kind = METRICS[name]
    errors = kind.side == "transcript"
    best, worst = score(name, suited(kind), TEXTS, TEXTS), score(name, suited(kind), ["", ""], TEXTS)
    assert (best, worst) == pytest.approx(BOUNDS.get(name, (0.0, 100.0) if errors else (100.0, 0.0)))


@EVERY
def test_the_signature_is_known_before_and_stays(name: str) -> None:
    metric = METRICS[name](LANGUAGES[suited(METRICS[name])])
    before = metric.signature
    metric.score([ScoringPair("ein Haus", "ein Haus")])
    assert metric.signature == before
    called = {"chrF": "chrF2", "chrF++": "chrF2++"}.get(name, name)
    assert before.startswith(f"{called}|") and "\n" not in before


@EVERY
def test_nothing_to_compare(name: str) -> None:
    with pytest.raises(DataError):
        METRICS[name](LANGUAGES[suited(METRICS[name])]).score([])


def test_no_two_metrics_share_a_signature() -> None:
    kinds = [kind for name, kind in METRICS.items() if name != "BLEU-ko-mecab"]
    assert len({kind(LANGUAGES["eng"]).signature.partition("|")[0] for kind in kinds}) == len(kinds)


def test_every_language_has_one_error_rate_and_the_same_metrics_of_translation() -> None:
    for language in map(LANGUAGES.__getitem__, SETS["fleurs-102"]):
        rates = [name for name in ("WER", "CER") if METRICS[name].suits(language)]
        assert rates == ["CER" if language.uses_cer else "WER"]
        marked = [name for name in ("WER-marks", "CER-marks") if METRICS[name].suits(language)]
        assert marked == ([f"{rates[0]}-marks"] if language.writes_vowel_signs else [])
        others = [name for name in DEFAULT if METRICS[name].side == "translation" and METRICS[name].suits(language)]
        assert len(others) == 6 - (language.code not in KNOWN)


def test_choosing() -> None:
    assert list(choose()) == list(DEFAULT)
    assert list(choose(["spbleu", "WER"])) == ["spBLEU", "WER"]
    with pytest.raises(DataError, match="'BLUE'; did you mean BLEU"):
        choose(["BLUE"])
    with pytest.raises(DataError, match=r"'\?'; use WER, .*, repetition"):
        choose(["?"])


def test_signatures() -> None:
    packages = f"whisper-normalizer:{version('whisper-normalizer')}|jiwer:{version('jiwer')}"
    expected = {
        ("WER", "eng"): f"case:lower|norm:whisper-basic|{packages}",
        ("WER-marks", "hin"): f"case:lower|norm:whisper-basic-marks|{packages}",
        ("WER-english", "eng"): f"case:lower|norm:whisper-english|{packages}",
        ("CER", "jpn"): f"space:no|case:lower|norm:whisper-basic|{packages}",
        ("CER-marks", "tha"): f"space:no|case:lower|norm:whisper-basic-marks|{packages}",
        ("BLEU", "deu"): f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{SACRE}",
        ("BLEU", "tha"): f"nrefs:1|case:mixed|eff:no|tok:char|smooth:exp|version:{SACRE}",
        ("BLEU-char", "deu"): f"nrefs:1|case:mixed|eff:no|tok:char|smooth:exp|version:{SACRE}",
        ("BLEU-13a", "tha"): f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{SACRE}",
        ("BLEU-lower", "jpn"): f"nrefs:1|case:lc|eff:no|tok:char|smooth:exp|version:{SACRE}",
        ("BLEU-zh", "cmn"): f"nrefs:1|case:mixed|eff:no|tok:zh|smooth:exp|version:{SACRE}",
        ("off-target", "deu"): f"id:py3langid|languages:70|version:{version('py3langid')}",
        ("off-target", "zul"): f"id:py3langid|languages:91|version:{version('py3langid')}",
        ("mixing", "jpn"): f"id:py3langid|segment:clause+script|version:{version('py3langid')}",
        ("length", "deu"): "unit:character|space:no",
        ("repetition", "deu"): "unit:character|piece:5-200|times:4|case:lower",
    }
    found = {(name, code): METRICS[name](LANGUAGES[code]).signature for name, code in expected}
    assert found == {(name, code): f"{name}|{settings}" for (name, code), settings in expected.items()}
    assert (
        METRICS["chrF"](LANGUAGES["deu"]).signature
        == f"chrF2|nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{SACRE}"
    )
    assert (
        METRICS["chrF++"](LANGUAGES["deu"]).signature
        == f"chrF2++|nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:{SACRE}"
    )


# -------------------------------------------------------------------------------------------------- error rates


def test_wer_by_hand() -> None:
    # Six reference words; "cat" -> "hat", "down" missing, "now" added: three edits. Case and marks are no errors.
    references = ["The cat sat down.", "Good evening!"]
    assert score("WER", "eng", ["the hat sat", "good evening now"], references) == pytest.approx(100 * 3 / 6)
    assert score("WER", "eng", ["THE CAT, SAT DOWN", "(noise) good evening"], references) == 0.0
    assert score("WER", "eng", ["a b c"], ["x"]) == pytest.approx(300.0)


def test_wer_is_pooled_not_averaged() -> None:
    # One of one and none of nine: 10 %, not the mean 50 %.
    assert score("WER", "eng", ["no", "a b c d e f g h i"], ["yes", "a b c d e f g h i"]) == pytest.approx(10.0)


def test_wer_equals_jiwer_on_normal_text() -> None:
    references, hypotheses = ["ein haus am see", "zwei boote"], ["ein haus im see dort", "boote"]
    assert score("WER", "deu", hypotheses, references) == pytest.approx(100 * jiwer.wer(references, hypotheses))


def test_wer_breaks_hindi_at_its_vowel_signs_and_wer_marks_does_not() -> None:
    reference = "मैं घर जाता हूँ।"  # four words: I go home
    # She says it: one vowel sign differs. WER sees म घर ज त ह on both sides.
    assert score("WER", "hin", ["मैं घर जाती हूँ"], [reference]) == 0.0
    assert score("WER-marks", "hin", ["मैं घर जाती हूँ"], [reference]) == pytest.approx(25.0)
    # Without the verb: one word of four, or two pieces of five.
    assert score("WER", "hin", ["मैं घर हूँ"], [reference]) == pytest.approx(40.0)
    assert score("WER-marks", "hin", ["मैं घर हूँ"], [reference]) == pytest.approx(25.0)
    assert score("WER-marks", "tam", ["நான் வீட்டில்"], ["நான் வீட்டில் இருக்கிறேன்"]) == pytest.approx(100 / 3)


def test_cer_marks_sees_the_vowels_of_thai_and_burmese() -> None:
    assert score("CER", "tha", ["ดิ"], ["ดี"]) == 0.0
    assert score("CER-marks", "tha", ["ดิ"], ["ดี"]) == pytest.approx(50.0)
    assert score("CER", "mya", ["ကု"], ["ကိ"]) == 0.0
    assert score("CER-marks", "mya", ["ကု"], ["ကိ"]) == pytest.approx(50.0)


def test_wer_english_reads_numbers_and_contractions() -> None:
    assert score("WER-english", "eng", ["I am 25, colour!"], ["I'm twenty-five, color."]) == 0.0
    assert score("WER", "eng", ["I am 25, colour!"], ["I'm twenty-five, color."]) > 0.0


def test_cer_by_hand() -> None:
    # Seven characters without the marks, one replaced; spaces and marks in the hypothesis are no errors.
    assert score("CER", "jpn", ["今日 は 良い天木"], ["今日は、良い天気。"]) == pytest.approx(100 / 7)
    assert score("CER", "jpn", ["今日は良い天気"], ["今日は、良い天気。"]) == 0.0
    assert score("CER", "cmn", ["天木"], ["天气"]) == pytest.approx(100 * jiwer.cer("天气", "天木"))


@pytest.mark.parametrize("name", ["WER", "CER", "length"])
def test_references_without_text_are_an_error(name: str) -> None:
    with pytest.raises(DataError, match="check the"):
        score(name, "eng", ["a"], [" " if name == "length" else "..."])


# -------------------------------------------------------------------------------------------------- overlap


def test_bleu_by_hand() -> None:
    # Precisions 5/6, 3/5, 1/4 and, smoothed as sacreBLEU's "exp" does, 1/(2*3) for the four-grams; no brevity.
    expected = 100 * (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** 0.25
    assert score("BLEU", "eng", ["the cat sat on a mat"], ["the cat sat in a mat"]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "code", "settings"),
    [
        ("BLEU", "deu", {"tokenize": "13a"}),
        ("BLEU", "cmn", {"tokenize": "char"}),
        ("BLEU", "kor", {"tokenize": "char"}),
        ("BLEU", "lao", {"tokenize": "13a"}),
        ("BLEU-char", "deu", {"tokenize": "char"}),
        ("BLEU-13a", "cmn", {"tokenize": "13a"}),
        ("BLEU-zh", "cmn", {"tokenize": "zh"}),
        ("BLEU-ja-mecab", "jpn", {"tokenize": "ja-mecab"}),
        pytest.param("BLEU-ko-mecab", "kor", {"tokenize": "ko-mecab"}, marks=needs_korean),
        ("BLEU-lower", "deu", {"tokenize": "13a", "lowercase": True}),
        ("BLEU-lower", "jpn", {"tokenize": "char", "lowercase": True}),
        ("spBLEU", "deu", {"tokenize": "flores200"}),
    ],
)
def test_bleu_equals_sacrebleu(name: str, code: str, settings: dict[str, str | bool]) -> None:
    hypotheses = [
        "Das ist ein kleiner test, nicht wahr?",
        "今天天气很好。",
        "東京は今日も雨です。",
        "나는 학교에 간다.",
    ]
    references = ["Dies ist ein kleiner Test, nicht?", "今天的天气好。", "東京は今日は雨だ。", "나는 학교에 갔다."]
    direct = sacrebleu.corpus_bleu(hypotheses, [references], **settings).score
    assert 0 < direct < 100
    assert score(name, code, hypotheses, references) == direct


@pytest.mark.parametrize(("name", "words"), [("chrF", 0), ("chrF++", 2)])
def test_chrf_equals_sacrebleu_and_sees_case(name: str, words: int) -> None:
    hypotheses, references = ["Ein kleines Haus", ""], ["Ein kleines haus", "Ja"]
    direct = sacrebleu.corpus_chrf(hypotheses, [references], word_order=words).score
    assert score(name, "deu", hypotheses, references) == direct
    assert score(name, "deu", ["JA"], ["ja"]) == 0.0


def test_spbleu_names_its_model_and_refuses_what_is_none(flores200: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "|tok:flores200|" in METRICS["spBLEU"](LANGUAGES["deu"]).signature
    assert METRICS["spBLEU"](LANGUAGES["deu"]).signature.rpartition("|model:sha256-")[2].isalnum()
    other = flores200.parents[1] / "other"
    (other / "models").mkdir(parents=True)
    (other / "models" / flores200.name).write_text("<html>")
    for module in (overlap, tokenizer_spm):
        monkeypatch.setattr(module, "SACREBLEU_DIR", str(other))
    with pytest.raises(DataError, match="is not a SentencePiece model"):
        METRICS["spBLEU"](LANGUAGES["deu"])


def test_spbleu_without_model_and_network_says_what_to_do(tmp_path: Path) -> None:
    code = (
        "from dragoman.errors import DataError; from dragoman.evaluation.metrics import METRICS\n"
        "from dragoman.text.languages import LANGUAGES\n"
        "try: METRICS['spBLEU'](LANGUAGES['deu'])\n"
        "except DataError as error: print(error)"
    )
    nowhere = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https", "HTTP", "HTTPS")}
    environment = {**os.environ, **nowhere, "SACREBLEU": str(tmp_path), "no_proxy": "", "NO_PROXY": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.count("\n") == 1 and str(tmp_path / "models" / "flores200sacrebleuspm") in done.stdout, done
    assert not list(tmp_path.rglob("*spm"))


@pytest.mark.skipif(find_spec("mecab_ko") is not None, reason="MeCab-ko is here.")
def test_korean_words_need_their_analyser() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'dragoman\[korean\]'"):
        METRICS["BLEU-ko-mecab"](LANGUAGES["kor"])


# -------------------------------------------------------------------------------------------------- behaviour


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("deu", "Das ist ein sehr schönes Haus am See."),
        ("nob", "Jeg vet ikke hva jeg skal gjøre i morgen."),
        ("cmn", "我不知道明天该做什么。"),
        ("yue", "我唔知聽日要做乜嘢。"),
        ("mya", "မနက်ဖြန် ဘာလုပ်ရမလဲ မသိဘူး။"),
        ("asm", "মই কাইলৈ কি কৰিম নাজানো।"),
        ("npi", "मलाई भोलि के गर्ने थाहा छैन।"),
    ],
)
def test_languages_by_hand(code: str, text: str) -> None:
    assert language_of(text, KNOWN) == code


def test_off_target_by_hand() -> None:
    reference = "C'est une très belle maison au bord du lac."
    outputs = ["Das ist ein sehr schönes Haus am See.", "Une belle maison près du lac.", "42!", ""]
    assert score("off-target", "fra", outputs, [reference] * 4) == 25.0
    assert score("off-target", "deu", outputs[:1], ["Ein Haus."]) == 0.0


def test_look_alikes_and_what_the_reference_says_too_are_on_target() -> None:
    croatian, malay = "Ne znam što ću sutra raditi kod kuće.", "Saya tidak tahu apa yang hendak dibuat esok."
    assert score("off-target", "srp", [croatian], ["Не знам шта да радим."]) == 0.0
    assert score("off-target", "ind", [malay], ["Saya tidak tahu harus berbuat apa."]) == 0.0
    assert score("off-target", "slv", [croatian], ["Ne vem, kaj bom jutri počel doma."]) == 100.0
    assert score("off-target", "fra", ["The Rolling Stones"], ["The Rolling Stones"]) == 0.0


# LLM-SRT (arXiv 2409.19510), Table 9: its Chinese sentence about the Three Kingdoms, in Japanese.
KINGDOMS = (
    "三国志は、古代中国の歴史の中で最も血なまぐさい時代の1つでした。"
    "西安の大宮殿の最高位を狙う争いの中で何千人もが戦士しました。"
)


@pytest.mark.parametrize(
    ("text", "by_characters", "by_words"),
    [
        (
            "三国は中国の歴史で最も血なましい時代の一つです。"
            "何千人もの人が、西安の豪華宮殿の権力を得るために死んでいます。",
            27.9, 12.5,
        ),
        (
            "三国時代は中国の歴史上で最も血なまぐさい時代の一つで、"
            "西安の豪華な宮殿で最高の権力を争うために、数万人が死にました。",
            34.9, 16.5,
        ),
        (
            "三国時代は、中国の歴史の中で最も血なまぐさい時代の1つで、"
            "西安の豪華な宮殿の支配権を巡って何千人もの人々が死にました。",
            49.3, 40.4,
        ),
    ],
    ids=["Qwen2-Audio", "LLM-SRT-3B", "LLM-SRT-32B"],
)  # fmt: skip
def test_both_tokenizers_of_the_papers_case_study(text: str, by_characters: float, by_words: float) -> None:
    """Table 9 gives BLEU of single sentences by two tokenizers; ours are the same to the digit."""
    found = [round(score(name, "jpn", [text], [KINGDOMS]), 1) for name in ("BLEU-char", "BLEU-ja-mecab")]
    assert found == [by_characters, by_words]


# LLM-SRT, Table 17: its two sentences, reference first; SeamlessM4T-V2's, LLM-SRT-3B's and -32B's, with their BLEU. In
# the paper's text all commas are ASCII; BLEU tells that those of the reference and of LLM-SRT were Chinese.
GAMES = (
    "This will allow players to control actions and movements in video games by moving the device through the air.",
    (
        "It allows players to control the movement and operation of electronic games"
        " through mobile devices in the air.",
        14.0,
    ),
    (
        "It allows players to control the actions and operations of an electronic game"
        " by moving the device in the air.",
        23.2,
    ),
    ("It allows players to control actions and operations in electronic games by moving the device in the air.", 43.0),
)  # fmt: skip
CAVE = (
    "事实上，即使知道它的存在，也不容易找到。一旦进入洞穴，就完全与世隔绝了。",
    ("事实上,即使有人知道它存在,也很难找到它.一旦进入洞穴,", 22.7),
    ("事实上，即使知道它存在，要找到它也是很困难的。一旦进入洞穴，就是完全的隔离。", 49.3),
    ("事实上，即使知道它的存在，也很难找到。一旦进入洞穴，就完全与世隔绝了。", 86.8),
)


@pytest.mark.parametrize(("language", "case"), [("eng", GAMES), ("cmn", CAVE)])
def test_bleu_of_the_papers_other_case_study(language: str, case: tuple[Any, ...]) -> None:
    reference, *outputs = case
    assert [round(score("BLEU", language, [text], [reference]), 1) for text, _ in outputs] == [
        bleu for _, bleu in outputs
    ]


# LLM-SRT, Table 16: Japanese that goes over into English, beside its reference and an output that does not.
MARIA = "地が薄いため、近い方には海が多くなることがあります。溶岩が浮上しやすくなっていました。"
MIXED = (
    "近には可能にマリアがあるかもしれませんbecause the crustははがより薄いからマagmaが表面に上りやすかったlavaです。"
)
PURE = "近にはもっとマリアがある可能性があります。地が薄いためです。溶岩が表面に上りやすかったからです。"


def test_the_papers_language_mixing_is_counted() -> None:
    assert score("BLEU", "jpn", [MIXED], [MARIA]) == pytest.approx(2.9, abs=0.05)
    assert score("mixing", "jpn", [MIXED, PURE, MARIA, ""], [MARIA] * 4) == 25.0
    assert score("off-target", "jpn", [MIXED, PURE], [MARIA] * 2) == 0.0  # as a whole both are Japanese
    cantonese = "溶岩が表面に上りやすかったです、我唔知聽日要做乜嘢。"
    assert score("mixing", "jpn", [cantonese], [MARIA]) == 100.0
    assert score("mixing", "yue", ["我唔知聽日要做乜嘢。"], ["我唔知聽日要做乜嘢。"]) == 0.0


def test_what_the_reference_holds_too_is_no_mixing() -> None:
    title = "彼女は「The Cat Sleeps on the Table」を読んでいます。"
    assert score("mixing", "jpn", [title], [title]) == 0.0
    assert score("mixing", "jpn", [title], ["彼女は本を読んでいます。"]) == 100.0
    assert score("mixing", "jpn", ["彼女はiPhoneとAndroidを持っています。"], ["彼女は電話を二つ持っています。"]) == 0.0


@settings(max_examples=50)
@given(st.text("aбが東 ,.'e\u0301", max_size=30))
def test_no_letter_is_lost_between_segments(text: str) -> None:
    parts = list(segments(text))
    assert [s for part in parts for s in part if s.isalpha()] == [s for s in normalize("NFKC", text) if s.isalpha()]
    assert all(any(map(str.isalpha, part)) for part in parts)


def test_length_by_hand() -> None:
    assert score("length", "deu", ["ab c", "d"], ["abcd ef", "g h"]) == 50.0


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("I do not know I do not know I do not know I do not know", True),
        ("Well, I do not know, I do not know, I do not know.", False),  # three times
        ("Ha ha ha ha! That is very, very, very good.", False),
        ("ha " * 8, True),
        ("謝謝大家" * 4, False),
        ("謝謝大家" * 8, True),
        ("Das Haus, das Haus,  DAS Haus,\ndas Haus, und", True),
        ("1000000000000000", False),
    ],
)
def test_loops_by_hand(text: str, loops: bool) -> None:
    assert score("repetition", "deu", [text, "Ja."], ["Nein.", "Ja."]) == (50.0 if loops else 0.0)
    assert score("repetition", "deu", [text], [text]) == 0.0


TEXT = st.text("abcdeñ東, ", max_size=60)


@given(TEXT.map(lambda text: " ".join(text.split())).filter(lambda text: len(text) >= 5), TEXT)
def test_whatever_stands_four_times_in_a_row_is_a_loop(piece: str, around: str) -> None:
    assert score("repetition", "deu", [f"{around} {' '.join([piece] * 4)} {around}"], ["-"]) == 100.0
