"""COMET against the scores of its own package (comet_reference.py), on checkpoints in that package's layout."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from comet_reference import SCORES, TRIPLES, VARIANTS, write_checkpoint

from dragoman.errors import DataError, ModelError
from dragoman.evaluation.comet.checkpoint import check_checkpoint, read_checkpoint
from dragoman.evaluation.comet.metric import Comet, comet_metric
from dragoman.evaluation.comet.network import sparsemax
from dragoman.evaluation.metrics import ScoringPair
from dragoman.text.languages import LANGUAGES

PACKAGE = json.loads(SCORES.read_text(encoding="utf-8"))
SOURCES, HYPOTHESES, REFERENCES = zip(*TRIPLES, strict=True)
PAIRS = [ScoringPair(hypothesis=h, reference=r, source=s) for s, h, r in TRIPLES]
COMMIT = "2760a223ac957f30acfb18c8aa649b01cf1d75f2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    return write_checkpoint(tmp_path_factory.mktemp("comet") / "tiny-comet", "wmt22")


@pytest.fixture(scope="module")
def comet(folder: Path) -> Comet:
    return Comet.load(folder, "cpu")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_packages_scores(variant: str, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "comet", variant) / "checkpoints" / "model.ckpt"
    scores = Comet.load(path, "cpu").predict(SOURCES, HYPOTHESES, REFERENCES)
    assert scores == pytest.approx(PACKAGE[variant], abs=1e-4)


def test_the_packages_scores_tell_the_variants_apart() -> None:
    assert VARIANTS.keys() == PACKAGE.keys() - {"unbabel-comet", "torch", "transformers", "tokenizers"}
    unlike = [PACKAGE[variant] for variant in VARIANTS if variant != "frozen"]  # training's keys change nothing
    assert PACKAGE["frozen"] == PACKAGE["wmt22"]
    gaps = [max(abs(a - b) for a, b in zip(x, y, strict=True)) for i, x in enumerate(unlike) for y in unlike[:i]]
    assert min(gaps) > 0.01


def test_batch_equals_one_by_one(comet: Comet) -> None:
    heard: list[tuple[int, int]] = []
    alone = [comet.predict([s], [h], [r])[0] for s, h, r in TRIPLES]
    batched = comet.predict(SOURCES, HYPOTHESES, REFERENCES, 4, lambda done, total: heard.append((done, total)))
    assert batched == pytest.approx(alone, abs=1e-5)
    assert heard == [(4, 10), (8, 10), (10, 10)]
    assert comet.predict([], [], []) == []
    with pytest.raises(ValueError):
        comet.predict(["a"], ["b"], [])


def test_what_is_cut_is_said(comet: Comet, caplog: pytest.LogCaptureFixture) -> None:
    assert comet.max_tokens == 510
    with caplog.at_level(logging.WARNING, "dragoman"):
        comet.predict(SOURCES, HYPOTHESES, REFERENCES)
        comet.predict(["a"], ["b"], ["c"])
    assert caplog.messages == ["COMET reads only the first 510 tokens of a text; longer texts: 1."]


@pytest.mark.parametrize("variant", ["wmt22", "wmt20"])
def test_half_precision_is_near(variant: str, tmp_path: Path) -> None:
    half = Comet(read_checkpoint(write_checkpoint(tmp_path / "comet", variant), torch.device("cpu"), torch.float16))
    assert half.precision == "fp16"
    assert half.predict(SOURCES, HYPOTHESES, REFERENCES) == pytest.approx(PACKAGE[variant], abs=5e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator")
def test_on_the_accelerator(folder: Path) -> None:
    comet = Comet.load(folder)
    assert comet.precision == "fp16"
    assert comet.predict(SOURCES, HYPOTHESES, REFERENCES) == pytest.approx(PACKAGE["wmt22"], abs=5e-3)


def test_sparsemax_by_hand() -> None:
    assert sparsemax(torch.tensor([1.0, 0.5, -2.0])).tolist() == [0.75, 0.25, 0.0]
    assert sparsemax(torch.tensor([0.0, 3.0])).tolist() == [0.0, 1.0]
    assert sparsemax(torch.full((4,), 7.0)).tolist() == [0.25] * 4


def test_the_metric(folder: Path, comet: Comet) -> None:
    kind = comet_metric(folder, device="cpu", batch_size=3)
    metric = kind(LANGUAGES["deu"])
    expected = 100 * sum(PACKAGE["wmt22"]) / len(PAIRS)
    assert metric.score(PAIRS) == pytest.approx(expected, abs=1e-2)
    packages = "|".join(f"{name}:{version(name)}" for name in ("torch", "transformers", "tokenizers"))
    assert metric.signature == (
        f"COMET|model:tiny-comet|revision:{comet.origin.revision}|encoder:encoder|precision:fp32"
        f"|source:reference-transcript|scale:100|{packages}"
    )
    assert comet.origin.revision.startswith("sha256-")
    with pytest.raises(DataError, match="nothing to score"):
        metric.score([])
    with pytest.raises(DataError, match="reference transcript"):
        metric.score([ScoringPair(hypothesis="a", reference="b", source="")])


def test_from_the_hubs_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("Unbabel/wmt22-comet-da", "xlm-roberta-large"):
        with pytest.raises(ModelError, match=f"'{name}' cannot be downloaded .* check name and network"):
            Comet.load(name)
        cached = tmp_path / f"models--{name.replace('/', '--')}"
        (cached / "refs").mkdir(parents=True)
        (cached / "refs" / "main").write_text(COMMIT)
        shutil.copytree(folder if "/" in name else folder / "encoder", cached / "snapshots" / COMMIT)
    path = tmp_path / "models--Unbabel--wmt22-comet-da" / "snapshots" / COMMIT
    _change(path, lambda stored: stored["hyper_parameters"].update(pretrained_model="xlm-roberta-large"))
    comet = Comet.load("Unbabel/wmt22-comet-da", "cpu")
    assert comet.origin.name == "Unbabel/wmt22-comet-da"
    assert (comet.origin.revision, comet.origin.encoder) == (COMMIT, f"xlm-roberta-large@{COMMIT}")
    assert comet.predict(SOURCES, HYPOTHESES, REFERENCES) == pytest.approx(PACKAGE["wmt22"], abs=1e-4)


def test_classes_in_the_state_of_a_training_are_never_made(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, copied := tmp_path / "comet")
    kind = type("EarlyStopping", (), {"__module__": "pytorch_lightning.callbacks", "wait": 3})
    with monkeypatch.context() as there:  # Lightning 1 kept a callback's state under its class
        for name in ("pytorch_lightning", "pytorch_lightning.callbacks"):
            there.setitem(sys.modules, name, ModuleType(name))
        sys.modules["pytorch_lightning.callbacks"].EarlyStopping = kind  # type: ignore[attr-defined]
        _change(copied, lambda stored: stored.update(callbacks={kind: {"best": kind(), "path": Path("a")}}))
    scores = Comet.load(copied, "cpu").predict(SOURCES, HYPOTHESES, REFERENCES)
    assert scores == pytest.approx(PACKAGE["wmt22"], abs=1e-4)


class _Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_something_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, copied := tmp_path / "comet")
    _change(copied, lambda stored: stored.update(callbacks=_Harm(tmp_path / "harm")))
    with pytest.raises(ModelError, match=r"would run posix\.mkdir"):
        Comet.load(copied)
    assert not (tmp_path / "harm").exists()


WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "unknown key": (lambda s: s["hyper_parameters"].update(heads=2), "hyper-parameter 'heads'"),
    "unknown pool": (lambda s: s["hyper_parameters"].update(pool="median"), "hyper-parameter 'pool'"),
    "encoder": (lambda s: s["hyper_parameters"].update(encoder_model="BERT"), "hyper-parameter 'encoder_model'"),
    "activation": (lambda s: s["hyper_parameters"].update(activations="Swish"), "activation 'Swish' is unknown"),
    "layer": (lambda s: s["hyper_parameters"].update(layer=4), "'layer' is 4; the encoder has 0 to 3"),
    "missing": (lambda s: s["state_dict"].pop("estimator.ff.6.bias"), "'estimator.ff.6.bias' is missing"),
    "left over": (lambda s: s["state_dict"].update(bias=torch.ones(1)), "'bias' is unknown"),
    "shape": (lambda s: s["hyper_parameters"].update(hidden_sizes=[24, 13]), "settings ask for"),
    "no tensor": (lambda s: s["state_dict"].update({"layerwise_attention.gamma": 1.0}), "gamma is float"),
    "no weights": (lambda s: s.pop("state_dict"), "has no state_dict"),
    "no network": (lambda s: s["hyper_parameters"].update(pretrained_model="./gone"), "no file or folder './gone'"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_checkpoint_is_one_sentence(wrong: str, folder: Path, tmp_path: Path) -> None:
    change, sentence = WRONG[wrong]
    shutil.copytree(folder, copied := tmp_path / "comet")
    _change(copied, change)
    with pytest.raises(ModelError, match=sentence):
        check_checkpoint(copied)
    with pytest.raises(ModelError, match=sentence):
        Comet.load(copied)


def test_a_score_that_is_no_number(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, copied := tmp_path / "comet")
    _change(copied, lambda stored: stored["state_dict"]["estimator.ff.6.bias"].fill_(float("nan")))
    with pytest.raises(ModelError, match="not a number"):
        Comet.load(copied, "cpu").predict(["a"], ["b"], ["c"])


def test_a_foreign_tokenizer(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, copied := tmp_path / "comet")
    _change(copied, lambda stored: stored["hyper_parameters"].update(pretrained_model=str(copied / "encoder")))
    config = json.loads((copied / "encoder" / "config.json").read_text())
    (copied / "encoder" / "config.json").write_text(json.dumps({**config, "vocab_size": 100}))
    with pytest.raises(ModelError, match="not the tokenizer"):
        Comet.load(copied)


@pytest.mark.parametrize("kind", ["unified_metric", "xcomet_metric", "referenceless_regression_metric"])
def test_other_kinds_are_named(kind: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, copied := tmp_path / "comet")
    (copied / "hparams.yaml").write_text(yaml.safe_dump({"class_identifier": kind}))
    with pytest.raises(ModelError, match=f"is a '{kind}'"):
        Comet.load(copied)


@pytest.mark.parametrize("file", ["hparams.yaml", "checkpoints/model.ckpt", "encoder/tokenizer.json"])
def test_missing_and_damaged_files_are_named(file: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, copied := tmp_path / "comet")
    _change(copied, lambda stored: stored["hyper_parameters"].update(pretrained_model=str(copied / "encoder")))
    (copied / file).write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ModelError, match=Path(file).name):
        Comet.load(copied)
    (copied / file).unlink()
    with pytest.raises(ModelError, match=f"holds no .*{Path(file).name}"):
        Comet.load(copied)


def _change(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "checkpoints" / "model.ckpt"
    stored = torch.load(path, weights_only=True)
    change(stored)
    torch.save(stored, path)
