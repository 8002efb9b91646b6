"""Metrics against hand-computed values and against direct calls of the libraries."""

from __future__ import annotations

from importlib.metadata import version

import jiwer
import pytest
import sacrebleu

from dragoman.errors import DataError
from dragoman.evaluation.metrics import BLEU, CER, METRICS, WER, ChrF, Metric
from dragoman.languages import LANGUAGES

EVERY = pytest.mark.parametrize("kind", METRICS.values(), ids=METRICS)


@EVERY
def test_perfect_and_hopeless(kind: type[Metric]) -> None:
    texts = ["The cat sat on the mat today.", "A dog barked at the old grey postman."]
    metric = kind("eng")
    best, worst = metric.score(texts, texts), metric.score(["", ""], texts)
    expected = (0.0, 100.0) if metric.side == "transcript" else (100.0, 0.0)
    assert (best, worst) == pytest.approx(expected)


@EVERY
def test_the_signature_is_known_before_and_stays(kind: type[Metric]) -> None:
    metric = kind("deu")
    before = metric.signature
    metric.score(["ein Haus"], ["ein Haus"])
    assert metric.signature == before
    package = "jiwer" if metric.side == "transcript" else "sacrebleu"
    assert version(package) in before
    assert "\n" not in before


@EVERY
def test_nothing_to_compare(kind: type[Metric]) -> None:
    with pytest.raises(DataError):
        kind("deu").score([], [])
    with pytest.raises(ValueError, match="2 hypotheses for 1 references"):
        kind("deu").score(["a", "b"], ["a"])


def test_every_language_has_one_error_rate_and_both_translation_metrics() -> None:
    for language in LANGUAGES.values():
        suited = [name for name, kind in METRICS.items() if kind.suits(language)]
        assert suited == ["CER" if language.uses_cer else "WER", "BLEU", "chrF"]


def test_signatures() -> None:
    norm = f"case:lower|norm:whisper-basic|whisper-normalizer:{version('whisper-normalizer')}|jiwer:{version('jiwer')}"
    sacre = version("sacrebleu")
    assert WER("eng").signature == f"WER|{norm}"
    assert CER("jpn").signature == f"CER|space:no|{norm}"
    assert BLEU("deu").signature == f"BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacre}"
    assert BLEU("tha").signature == f"BLEU|nrefs:1|case:mixed|eff:no|tok:char|smooth:exp|version:{sacre}"
    assert ChrF("deu").signature == f"chrF2|nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{sacre}"


def test_wer_by_hand() -> None:
    # Six reference words; "cat" -> "hat", "down" missing, "now" added: three edits. Case and marks are no errors.
    references = ["The cat sat down.", "Good evening!"]
    assert WER("eng").score(["the hat sat", "good evening now"], references) == pytest.approx(100 * 3 / 6)
    assert WER("eng").score(["THE CAT, SAT DOWN", "(noise) good evening"], references) == 0.0
    assert WER("eng").score(["a b c"], ["x"]) == pytest.approx(300.0)


def test_wer_is_pooled_not_averaged() -> None:
    # One of one and none of nine: 10 %, not the mean 50 %.
    assert WER("eng").score(["no", "a b c d e f g h i"], ["yes", "a b c d e f g h i"]) == pytest.approx(10.0)


def test_wer_equals_jiwer_on_normal_text() -> None:
    references, hypotheses = ["ein haus am see", "zwei boote"], ["ein haus im see dort", "boote"]
    assert WER("deu").score(hypotheses, references) == pytest.approx(100 * jiwer.wer(references, hypotheses))


def test_cer_by_hand() -> None:
    # Seven characters without the marks, one replaced; spaces and marks in the hypothesis are no errors.
    assert CER("jpn").score(["今日 は 良い天木"], ["今日は、良い天気。"]) == pytest.approx(100 / 7)
    assert CER("jpn").score(["今日は良い天気"], ["今日は、良い天気。"]) == 0.0
    assert CER("cmn").score(["天木"], ["天气"]) == pytest.approx(100 * jiwer.cer("天气", "天木"))


@pytest.mark.parametrize(("kind", "code"), [(WER, "eng"), (CER, "cmn")])
def test_references_without_words_are_an_error(kind: type[Metric], code: str) -> None:
    with pytest.raises(DataError, match="check the transcripts"):
        kind(code).score(["a"], ["..."])


def test_bleu_by_hand() -> None:
    # Precisions 5/6, 3/5, 1/4 and, smoothed as sacreBLEU's "exp" does, 1/(2*3) for the four-grams; no brevity.
    expected = 100 * (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** 0.25
    assert BLEU("eng").score(["the cat sat on a mat"], ["the cat sat in a mat"]) == pytest.approx(expected)


@pytest.mark.parametrize(("code", "tokenizer"), [("deu", "13a"), ("cmn", "char"), ("kor", "char"), ("lao", "13a")])
def test_bleu_equals_sacrebleu(code: str, tokenizer: str) -> None:
    hypotheses = ["Das ist ein kleiner Test, nicht wahr?", "今天天气很好。"]
    references = ["Dies ist ein kleiner Test, nicht?", "今天的天气好。"]
    direct = sacrebleu.corpus_bleu(hypotheses, [references], tokenize=tokenizer).score
    assert BLEU(code).score(hypotheses, references) == direct


def test_chrf_equals_sacrebleu_and_sees_case() -> None:
    hypotheses, references = ["Ein kleines Haus", ""], ["Ein kleines haus", "Ja"]
    assert ChrF("deu").score(hypotheses, references) == sacrebleu.corpus_chrf(hypotheses, [references]).score
    assert ChrF("deu").score(["JA"], ["ja"]) == 0.0
