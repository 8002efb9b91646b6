"""A run keeps the commits of the bases that it began with; what it noted of itself may be damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy import recipe, stage
from transformers import Qwen2Config, WhisperConfig

from dragoman.errors import DragomanError
from dragoman.model.build import pinned
from dragoman.training.monitoring.runlog import truncate_rows
from dragoman.training.run_folder import as_recorded, remember_data, remember_recipe, remember_settings

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


DAMAGED = [b"", b'{"a": ', b"[]", b"null", b"\xff\xfe\x00{", b"\0" * 4096, b"[" * 100_000]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_record_is_named_and_nothing_is_gone_on_with(content: bytes, tmp_path: Path) -> None:
    chosen, manifest = recipe(stages=[stage("asr")]), tmp_path / "train.jsonl"
    remember_recipe(chosen, tmp_path)
    remember_data({manifest: "1"}, tmp_path)
    remember_settings(tmp_path, {"seed": 1})
    (tmp_path / "1-asr" / "checkpoints").mkdir(parents=True)
    for name in ("recipe.json", "data.json", "settings.json"):
        (tmp_path / name).write_bytes(content)
    calls = (
        ("recipe", lambda: as_recorded(chosen, tmp_path)),
        ("recipe", lambda: remember_recipe(chosen, tmp_path)),
        ("data", lambda: remember_data({manifest: "1"}, tmp_path)),
        ("settings", lambda: remember_settings(tmp_path, {"seed": 1})),
    )
    for name, call in calls:
        with pytest.raises(DragomanError, match=rf"{name}\.json: (is damaged|: Input should be)"):
            call()


def test_of_a_damaged_log_the_rows_stay(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    good, odd = b'{"step": 1, "loss": 2.0}', [b"\xff\xfe\0\0", b"5", b'{"loss": 1.0}']
    rows = [good, *odd, b'{"step": 2}', b'{"step": 3}', b'{"st']
    path.write_bytes(b"\n".join(rows))
    truncate_rows(path, 2)
    assert path.read_bytes() == b'{"step": 1, "loss": 2.0}\n{"step": 2}\n'
