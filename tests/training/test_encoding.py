"""Training on stored frames is training: the same losses, with an encoder that is never run."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy import LORA, MLP, Q_FORMER, STACKED, recipe, stage, write_bases, write_corpus

from dragoman.data.frames import FrameStore
from dragoman.errors import DataError, OutputError, RecipeError
from dragoman.files import only_run
from dragoman.model.encoder import MelEncoder
from dragoman.recipe import Recipe
from dragoman.training import encoding
from dragoman.training.curriculum import train_curriculum
from dragoman.training.encoding import encode
from dragoman.training.options import TrainOptions


def plan(precision: str = "fp32", padding: str = "trimmed", adapter: dict[str, Any] = STACKED) -> Recipe:
    stages = [
        stage("asr", ctc_weight=0.2, schedule={"precision": precision}),
        stage("srt", targets=2, data=[{"name": "train", "sources": ["deu", "fra"]}], schedule={"precision": precision}),
        stage("mt", trains=["llm_lora"], schedule={"precision": precision, "steps": 1}),
    ]
    audio = {"mel_bins": 80, "window_s": 2.0, "padding": padding}
    return recipe(audio=audio, adapter=adapter, llm={"name": "base", "lora": LORA}, stages=stages)


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_MOST", 5)


def stored(chosen: Recipe, folder: Path, name: str = "frames", **options: Any) -> Path:
    options = {"batch_size": 3, "workers": 0, **options}
    encode(chosen, folder / "data", folder / name, bases=folder / "bases", **options)
    return folder / name


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def logged(out: Path) -> list[float]:
    """The losses of every step and of validation."""
    text = "".join((out / stage / "metrics.jsonl").read_text(encoding="utf-8") for stage in ("1-asr", "2-srt"))
    rows = [json.loads(line) for line in text.splitlines()]
    return [row.get("loss", row.get("valid/loss")) for row in rows]


@pytest.mark.parametrize(
    ("precision", "padding", "adapter", "tolerance"),
    [
        ("fp32", "trimmed", STACKED, 1e-6),
        ("bf16", "trimmed", MLP, 1e-4),  # in bf16 a clip's frames depend a little on what it is padded to
        ("bf16", "window", Q_FORMER, 1e-7),
    ],
)
def test_losses_are_those_of_a_run_that_hears(
    precision: str,
    padding: str,
    adapter: dict[str, Any],
    tolerance: float,
    prepared: Callable[[Recipe], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = plan(precision, padding, adapter)
    folder = prepared(chosen)
    write_corpus(folder / "data", "valid")
    run = {"data": folder / "data", "bases": folder / "bases"}
    train_curriculum(chosen, out=folder / "heard", options=TrainOptions(workers=0), **run)
    features = stored(chosen, folder)
    for audio in (folder / "data").glob("*.flac"):
        audio.unlink()
    monkeypatch.setattr(MelEncoder, "forward", None)  # neither audio nor encoder is needed any more
    train_curriculum(chosen, out=folder / "read", options=TrainOptions(workers=0, features=features), **run)
    heard, read = logged(folder / "heard"), logged(folder / "read")
    assert len(heard) == 10 and read == pytest.approx(heard, rel=tolerance)


def test_files_do_not_depend_on_processes_and_workers(prepared: Callable[[Recipe], Path]) -> None:
    chosen = plan()
    folder = prepared(chosen)
    one = files(stored(chosen, folder))
    assert sorted(one) == ["train/000000.frames", "train/000001.frames", "train/000002.frames", "train/rows"]
    said = '{"mel_bins": 80, "window_s": 2.0, "padding": "trimmed", "silence_s": 0.0}'
    assert FrameStore(folder / "frames" / "train").made_with["audio setting"] == said  # as stores of old have it
    for rank in (1, 0):
        stored(chosen, folder, "two", rank=rank, processes=2, workers=1)
    assert files(folder / "two") == one


def killed_after(renamed: int, folder: Path) -> Callable[[Any, Any], None]:
    """An `os.replace` that ends its process in the place of one more file of `folder`."""
    rename, places = os.replace, iter(range(renamed))

    def replace(source: Any, target: Any) -> None:
        if folder in Path(target).parents and next(places, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)

    return replace


def test_killed_at_the_worst_moment_it_goes_on(
    prepared: Callable[[Recipe], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between writing a file and giving it its name: the first file of all, then some in the middle."""
    chosen = plan()
    folder = prepared(chosen)
    monkeypatch.setattr(encoding, "_MOST", 1)
    whole = files(stored(chosen, folder))
    for renamed in (0, 3, 5):
        child = os.fork()
        if child == 0:
            os.replace = killed_after(renamed, folder / "killed")
            stored(chosen, folder, "killed")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
    there = {path: path.stat().st_mtime_ns for path in (folder / "killed").rglob("*.frames")}
    assert len(there) == 7 and len(files(folder / "killed")) == 2 + 7 + 1  # rows and a lock, frames, what was not named
    assert files(stored(chosen, folder, "killed")) == whole
    assert all(path.stat().st_mtime_ns == time for path, time in there.items())


def test_what_does_not_fit_is_told_before_a_step(prepared: Callable[[Recipe], Path]) -> None:
    chosen = plan()
    folder = prepared(chosen)
    features = stored(chosen, folder)

    def train(recipe: Recipe, bases: Path = folder / "bases") -> None:
        options = TrainOptions(workers=0, features=features)
        train_curriculum(recipe, folder / "data", folder / "run", options, bases=bases)

    with pytest.raises(DataError, match="its frames were made with another encoder"):
        train(chosen, write_bases(folder / "others", chosen, seed=1))
    write_corpus(folder / "data", "valid")
    with pytest.raises(DataError, match="frames/valid: holds no frames; make them with `dragoman encode`"):
        train(chosen)
    manifest = folder / "data" / "train.jsonl"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("no", "nay"), encoding="utf-8")
    (folder / "run" / "data.json").unlink()
    with pytest.raises(DataError, match="its frames were made with another manifest"):
        train(chosen)
    assert not list((folder / "run").rglob("metrics.jsonl"))


def test_frames_that_change_are_not_stored(tmp_path: Path) -> None:
    lora = recipe(encoder={"name": "base", "lora": LORA}, stages=[stage("asr", trains=["encoder_lora"])])
    with pytest.raises(RecipeError, match=r"'toy' has a LoRA in its encoder.*without --features"):
        encode(lora, tmp_path, tmp_path)
    augmented = recipe(stages=[stage("asr", augment={"speed": 0.1})])
    with pytest.raises(RecipeError, match=r"stage asr: augments speech.*without --features"):
        train_curriculum(augmented, tmp_path, tmp_path, TrainOptions(features=tmp_path))
    with pytest.raises(RecipeError, match="no stage that hears: there is nothing to encode"):
        encode(recipe(), tmp_path, tmp_path)


def test_frames_are_written_by_one_run_alone(prepared: Callable[[Recipe], Path]) -> None:
    folder = prepared(plan())
    with only_run(folder / "frames"), pytest.raises(OutputError, match="frames: another run is writing there"):
        stored(plan(), folder)
    assert list(stored(plan(), folder).rglob("*.frames"))


@pytest.mark.parametrize("padding", ["trimmed", "window"])
def test_a_disk_without_room_is_told_before_anything_is_encoded(
    padding: str, prepared: Callable[[Recipe], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = plan(padding=padding)
    folder = prepared(chosen)
    whole = sum(len(content) for path, content in files(stored(chosen, folder)).items() if path.endswith(".frames"))
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=int(whole * 0.95)))
    with pytest.raises(OutputError, match=r"small: the frames that are missing take about .* GB are free; make room"):
        stored(chosen, folder, "small")
    assert not list((folder / "small").rglob("*.frames"))
    stored(chosen, folder)  # is whole, and needs nothing more
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=whole))
    assert files(stored(chosen, folder, "small")) == files(folder / "frames")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    manifest = folder / "data" / "train.jsonl"
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    del rows[0]["duration_s"]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert list(stored(chosen, folder, "unknown").rglob("*.frames"))
