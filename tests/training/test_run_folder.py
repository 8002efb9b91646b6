"""A run keeps the commits of the bases that it began with."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy import recipe, stage
from transformers import Qwen2Config, WhisperConfig

from dragoman.model.build import pinned
from dragoman.training.run_folder import as_recorded, remember_recipe

OLD, NEW = "0" * 39 + "1", "0" * 39 + "2"


def push(cache: Path, name: str, commit: str) -> None:
    """A commit of a base on the hub, as its cache holds it: nothing but the config."""
    repository = cache / f"models--{name.replace('/', '--')}"
    config = WhisperConfig() if "whisper" in name else Qwen2Config()
    config.save_pretrained(repository / "snapshots" / commit)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit)


def test_the_commit_that_is_loaded_is_recorded_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub, out = tmp_path / "hub", tmp_path / "run"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    named = recipe(encoder={"name": "x/whisper"}, llm={"name": "x/llm"}, stages=[stage("asr")])
    for name in ("x/whisper", "x/llm"):
        push(hub, name, OLD)
    chosen = pinned(as_recorded(named, out))
    assert (chosen.encoder.revision, chosen.llm.revision) == (OLD, OLD)
    remember_recipe(chosen, out)
    push(hub, "x/llm", NEW)
    assert pinned(as_recorded(named, out)) == chosen
    assert pinned(as_recorded(named, tmp_path / "another")).llm.revision == NEW
    asked = recipe(encoder={"name": "x/whisper"}, llm={"name": "x/llm", "revision": "v1"})
    assert pinned(as_recorded(asked, out)).llm.revision == "v1"
    assert pinned(own := recipe()) == own  # bases of our making have none
