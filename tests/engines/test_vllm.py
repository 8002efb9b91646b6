"""vLLM writes what we write, token by token. Run in an environment that has vLLM (docs/vllm.md); skipped elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from exported import RECIPES, write_model
from toy import write_corpus

from dragoman import Translator
from dragoman.model.bases.fetch import is_fetched
from dragoman.records import Hypothesis, Utterance, read_manifest

pytest.importorskip("vllm", reason="vLLM is not installed here: it wants an environment of its own, see docs/vllm.md")
from dragoman.engines.vllm.translator import VllmTranslator

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parents[2] / "examples" / "manifest.jsonl"
# A CPU's memory is small and compiling takes longer than these models.
OPTIONS = {"enforce_eager": True, "kv_cache_memory_bytes": 2**28, "max_num_seqs": 16}


@contextmanager
def by_vllm(model: str | Path, **options: Any) -> Iterator[VllmTranslator]:
    """One engine at a time: its processes end with the block."""
    translator = VllmTranslator.from_pretrained(model, compute_type="float32", engine_options=OPTIONS, **options)
    try:
        yield translator
    finally:
        translator.decoder.engine.close()


def said(hypotheses: list[Hypothesis]) -> list[tuple[str, str, str, str, bool]]:
    return [(row.id, row.target, row.transcript or "", row.raw or "", row.truncated) for row in hypotheses]


@pytest.mark.parametrize("name", RECIPES)
def test_random_models_write_the_same(name: str, tmp_path: Path) -> None:
    """Qwen2 behind trimmed clips, Gemma2 behind whole windows, a lead and scaled audio; LoRA in both parts."""
    model = write_model(tmp_path, name)
    write_corpus(tmp_path / "data")
    utterances = read_manifest(tmp_path / "data" / "train.jsonl")
    targets = ["eng", "deu", "fra"]
    ours = Translator.from_pretrained(model, device="cpu", beam_size=1)(utterances, targets)
    with by_vllm(model) as translator:
        assert said(translator(utterances, targets)) == said(ours)
    assert len({row.raw for row in ours}) >= 6  # one for each direction at least


def test_the_built_in_model_writes_the_same() -> None:
    utterances = read_manifest(EXAMPLES)
    ours = Translator.from_pretrained("tiny", device="cpu", beam_size=1)(utterances, ["eng", "deu", "nld"])
    with by_vllm("tiny") as translator:
        assert said(translator(utterances, ["eng", "deu", "nld"])) == said(ours)


@pytest.mark.base_model
@pytest.mark.parametrize("roads", [{}, {"transcript_by": "adapter", "translate_from": "speech"}], ids=["own", "speech"])
def test_small_writes_the_same(roads: dict[str, Any]) -> None:
    if missing := [name for name in ("whisper-base", "gemma-3-270m") if not is_fetched(name)]:
        pytest.skip(f"{missing[0]} is not here; run `dragoman fetch {missing[0]}`")
    utterances: list[Utterance] = read_manifest(EXAMPLES)
    known = Translator.from_pretrained("small", device="cpu", beam_size=1, **roads)
    heard = [utterance for utterance in utterances if utterance.language in known.sources]
    targets = known.targets[:4]
    ours = known(heard, targets)
    with by_vllm("small", **roads) as translator:
        assert said(translator(heard, targets)) == said(ours)
