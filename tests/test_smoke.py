"""The whole road, from written sentences to scored translations: data, bases, three stages, a translator, scores.

The models learn a dozen sentences by heart, so they must give back every one of them; a label shifted by one, a wrong
splice or a prompt that differs between training and use would not.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from smoke_corpus import write_noise, write_tatoeba

from dragoman.data.corpora import tatoeba
from dragoman.data.synthesis import RecordingShard, record_shard
from dragoman.evaluation.generate import generate
from dragoman.evaluation.score import ALL, score
from dragoman.inference.translator import Translator
from dragoman.pretraining.build import build_bases
from dragoman.recipe import load_recipe
from dragoman.records import read_hypotheses, read_manifest
from dragoman.training.curriculum import train_curriculum
from dragoman.training.options import TrainOptions

pytest.importorskip("espeakng_loader", reason="Speaking needs espeak-ng: pip install 'dragoman[synthesis]'.")
pytestmark = pytest.mark.slow


def alone(shards: list[RecordingShard], noise_root: Path, seed: int, workers: int) -> list[RecordingShard]:
    """`synthesis.record` in this process."""
    return [shard if shard.folder.exists() else record_shard(shard, noise_root, seed) for shard in shards]


@pytest.fixture
def one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_the_whole_road(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tatoeba, "record", alone)
    recipe, data, bases = load_recipe("smoke"), tmp_path / "data", tmp_path / "bases"
    assert recipe.bases is not None
    root, noise = write_tatoeba(tmp_path / "tatoeba"), write_noise(tmp_path / "noise")
    tatoeba.prepare(root, noise, data, recipe.bases.corpus, workers=1)
    build_bases(recipe, data, bases)
    model = train_curriculum(recipe, data, tmp_path / "run", TrainOptions(workers=0), bases=bases)
    assert model == tmp_path / "run" / "3-srt" / "model"

    translator = Translator.from_pretrained(model)
    utterances = read_manifest(data / "train.jsonl")
    assert len(utterances) == 20
    generate(utterances, recipe.targets, translator, tmp_path / "hypotheses.jsonl", batch_size=8)
    hypotheses = read_hypotheses(tmp_path / "hypotheses.jsonl")
    assert len(hypotheses) == 20
    for hypothesis in hypotheses:
        assert hypothesis.transcript == hypothesis.reference_transcript
        assert hypothesis.translation == hypothesis.reference
        tags = f"<|{hypothesis.source}|><|{hypothesis.target}|>"
        assert hypothesis.raw == hypothesis.transcript + tags + hypothesis.translation
    scores = {row.metric: row.value for row in score(hypotheses) if row.direction == ALL}
    assert scores["BLEU"] == pytest.approx(100.0) and scores["WER"] == 0.0

    heard = utterances[0]
    (target,) = heard.translations
    result = translator.translate(heard.audio, to=target, language=heard.language)
    assert (result.transcript, result.translations) == (heard.text, heard.translations)
