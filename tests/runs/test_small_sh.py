"""runs/small.sh fits together, as far as can be seen without its hours: each step reads what an earlier one wrote, the
recipe's manifests are all written, and every command line is understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import report_small
import typer

from dragoman.cli import app
from dragoman.recipe import load_recipe

SCRIPT = Path(report_small.__file__).with_name("small.sh").read_text(encoding="utf-8")
COMMANDS = [
    words for line in SCRIPT.replace("\\\n", " ").splitlines() if (words := shlex.split(line.strip(), comments=True))
]
SMALL = load_recipe("small")
MANIFESTS = {source.name for stage in SMALL.stages for source in stage.data}


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def reads(words: list[str]) -> list[str]:
    """The manifests of the script's own that a command names to read."""
    match words:
        case ["cp", path, *_] | ["python", "runs/self_translate.py", _, path, *_]:
            return [path]
        case ["python", "runs/speak_text.py" | "runs/vary_speed.py", path, *_]:
            return [path]
    return []


def writes(words: list[str]) -> list[str]:
    """The manifests for training that a command leaves."""
    match words:
        case ["$dragoman", "prepare", corpus, *_]:
            named = {"sentences": None, "voices": "--engine", "joined": "--name"}[corpus]
            return [f"{option(words, '--out')}/{option(words, named) if named else 'text'}.jsonl"]
        case ["cp", _, path]:
            return [path]
        case ["python", "runs/self_translate.py", _, _, path, *_]:
            return [path, *([option(words, "--turned")] if "--turned" in words else [])]
        case ["python", "runs/speak_text.py", path, folder, *_]:
            return [f"{folder}/{Path(path).stem}-pico.jsonl"]
        case ["python", "runs/vary_speed.py", path, folder, *_]:
            return [f"{folder}/{Path(path).stem}-varied.jsonl"]
    return []


def test_each_step_reads_what_an_earlier_one_wrote_and_the_recipe_too() -> None:
    there: set[str] = set()
    for words in COMMANDS:
        assert {*reads(words)} <= there, words
        if words[:2] in (["$dragoman", "encode"], ["$dragoman", "train"]):
            assert SMALL.llm.vocabulary is not None
            assert {f"$data/{name}.jsonl" for name in MANIFESTS | {*SMALL.llm.vocabulary.texts}} <= there
        there |= {*writes(words)}
    assert len({Path(name).name for name in MANIFESTS}) == len(MANIFESTS)  # frames are stored by it


def test_what_ships_is_the_last_stage_s_model_and_is_what_is_reported() -> None:
    (train,) = [words for words in COMMANDS if words[:2] == ["$dragoman", "train"]]
    (ship,) = [words for words in COMMANDS if words[1:2] == ["runs/ship.py"]]
    (report,) = [words for words in COMMANDS if words[1:2] == ["runs/report_small.py"]]
    last = f"{len(SMALL.stages)}-{SMALL.stages[-1].name}"
    assert ship[2] == f"{option(train, '--out')}/{last}/model"
    assert report_small.arguments(report[2:]).models == [ship[3]]


def test_the_command_line_understands_every_command() -> None:
    found = re.findall(r"\$dragoman ([^)\n]*)", SCRIPT.replace("\\\n", " "))
    assert len(found) >= 9
    for line in found:
        words = shlex.split(line)
        command = typer.main.get_command(app)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context(None, words)  # a wrong flag, or one that is missing, is a UsageError
