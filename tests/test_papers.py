"""The papers' tables in docs/papers: every command there would start, and every published recipe has a table."""

from __future__ import annotations

import re
import shlex
import subprocess
from contextlib import chdir
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import published
import pytest
import small_studies
import typer

from dragoman.catalogue import EXTERNAL_SYSTEMS, OTHER_CHECKPOINTS, PUBLISHED_MODELS
from dragoman.cli import app
from dragoman.evaluation.metrics import METRICS, ScoringPair, choose
from dragoman.inference.options import TranslateOptions
from dragoman.model.hub import RELEASES
from dragoman.recipe import load_recipe, names
from dragoman.text.languages import find

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in sorted((DOCS / "papers").glob("*.md"))}
ALL = "\n".join(PAGES.values())


def studies(given: list[str]) -> None:
    """Beside a run of `small`, which its arguments are read with."""
    run = Path(given[given.index("--run") + 1])
    with TemporaryDirectory() as folder, chdir(folder):
        run.mkdir(parents=True)
        (run / "recipe.json").write_text(load_recipe("small").model_dump_json(), encoding="utf-8")
        small_studies.arguments(given)


PYTHON = {"benchmarks/published.py": published.arguments, "runs/small_studies.py": studies}


def blocks(page: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", PAGES[page], flags=re.MULTILINE | re.DOTALL)


def spans(page: str) -> list[str]:
    """Commands within the text; `dragoman models` and the like are mentions."""
    text = re.sub(r"^```.*?^```", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"`((?:dragoman|python|run|score) [^`]+)`", text)
    return [command for command in found if not re.fullmatch(r"dragoman \w+", command)]


def called(script: str, *programs: str) -> list[list[str]]:
    """What a script would call of these programs, which do nothing but print MODEL."""
    record = """{ printf '%s\\037' "${FUNCNAME[0]}" "$@"; printf '\\036'; } >> calls; echo MODEL"""
    stubs = "".join(f"{name}() {{ {record}; }}\n" for name in programs)
    with TemporaryDirectory() as folder:
        code = ["bash", "-euo", "pipefail", "-c", stubs + script]
        done = subprocess.run(code, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        calls = (Path(folder) / "calls").read_text(encoding="utf-8")
    return [call.split("\037")[:-1] for call in calls.split("\036")[:-1]]


def parsed(argv: list[str]) -> tuple[str, dict[str, Any]]:
    """The verb and what the command line makes of the rest. Raises as it does on what is unknown or lacking."""
    command, context, name, rest = typer.main.get_command(app), None, argv[0], argv[1:]
    while hasattr(command, "commands"):
        context = command.make_context(name, list(rest), parent=context)
        name, command, rest = command.resolve_command(context, rest)
    return name, command.make_context(name, rest, parent=context).params


@cache
def commands(page: str) -> list[tuple[str, dict[str, Any]]]:
    """Of Dragoman: all that the page's blocks and rows come to."""
    found = []
    for argv in called("\n".join(blocks(page) + spans(page)), "dragoman", "python"):
        try:
            if argv[0] == "python":
                PYTHON[argv[1]](argv[2:])
            else:
                found.append(parsed(argv))
        except (Exception, SystemExit) as error:
            raise AssertionError(f"{shlex.join(argv)}: {error}") from error
    return found


def of(page: str, verb: str) -> list[dict[str, Any]]:
    return [given for name, given in commands(page) if name == verb]


def prepared(page: str) -> set[Path]:
    """The training manifests."""
    corpora = ("fleurs", "common_voice", "covost2")
    return {given["out"] / f"{name}.jsonl" for name, given in commands(page) if name in corpora}


@pytest.mark.parametrize("page", PAGES)
def test_what_is_trained_is_a_recipe_whose_data_are_prepared(page: str) -> None:
    trained = of(page, "train")
    assert trained
    for given in trained:
        recipe = load_recipe(given["recipe"])
        wanted = {given["data"] / f"{source.name}.jsonl" for stage in recipe.stages for source in stage.data}
        assert recipe.name in names() and wanted <= prepared(page), recipe.name


@pytest.mark.parametrize("page", PAGES)
def test_what_is_scored_is_there(page: str) -> None:
    """Manifest, targets, metrics, system; the model was released, is another size of it, or is made on the page."""
    recipes = {given["recipe"]: load_recipe(given["recipe"]).stages for given in of(page, "train")}
    made = {"MODEL", *(f"{given['out']}/model" for given in of(page, "finetune"))}
    made |= {f"out/{name}/{len(stages)}-{stages[-1].name}/model" for name, stages in recipes.items()}
    scored = of(page, "evaluate")
    assert len(scored) > 15
    for given in scored:
        system, model = given["system"], given["model"]
        assert given["manifest"].parent / given["manifest"].name.replace(".test", "") in prepared(page), given
        assert system is None or system in EXTERNAL_SYSTEMS, given
        assert TranslateOptions.parse(given["to"]) and choose(given["metric"])
        other = system == "speech2text" and re.fullmatch(r"facebook/s2t-small-covost2-[a-z]{2}-en-st", model or "-")
        known = model in made | set(RELEASES) or (system, model) in OTHER_CHECKPOINTS or (system and model is None)
        assert known or other, given


@pytest.mark.parametrize("page", PAGES)
def test_no_two_runs_are_written_to_one_folder(page: str) -> None:
    runs: dict[Path, dict[str, Any]] = {}
    for given in of(page, "evaluate"):
        assert runs.setdefault(given["out"], given) == given
    for given in of(page, "report"):
        assert set(given["runs"]) <= runs.keys()


def test_sentences_have_the_scores_that_stand_behind_them() -> None:
    tables = "\n".join(block for block in blocks("llm-srt") if re.search(r"^sentence ", block, flags=re.MULTILINE))
    expected = re.findall(r"^sentence .*# ([\d. ]+)$", tables, flags=re.MULTILINE)
    calls = called(tables, "sentence")
    assert len(calls) == len(expected) == 11
    for (_, direction, reference, output, *flags), scores in zip(calls, expected, strict=True):
        _, given = parsed(["dragoman", "score", "--direction", direction, *flags])
        language = find(direction.split("-")[1])
        found = [METRICS[name](language).score([ScoringPair(output, reference)]) for name in given["metric"]]
        assert " ".join(f"{score:.1f}" for score in found) == scores


def test_flags_are_flags() -> None:
    flags, verbs = {f"--{name}" for name in vars(published.arguments([]))}, [typer.main.get_command(app)]
    while verbs:
        verb = verbs.pop()
        verbs += getattr(verb, "commands", {}).values()
        flags |= {flag for option in verb.params for flag in option.opts}
    prose = re.sub(r"^```.*?^```", "", ALL, flags=re.MULTILINE | re.DOTALL)
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z_]*(?![\w-])", prose))
    assert len(used) > 8 and used <= flags


@pytest.mark.parametrize("name", [*PUBLISHED_MODELS, *(model.strip("+") for _, model in OTHER_CHECKPOINTS)])
def test_every_published_model_has_its_row(name: str) -> None:
    assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", ALL)


@pytest.mark.parametrize("page", PAGES)
def test_links_of_the_papers_pages_lead_somewhere(page: str) -> None:
    local = [link for link in re.findall(r"\]\(([^)#]+)", PAGES[page]) if "://" not in link]
    assert local and [link for link in local if not (DOCS / "papers" / link).exists()] == []
