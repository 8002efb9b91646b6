"""The verbs. Thin: what takes long to import is imported inside the commands, so that help comes at once.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 2 something that the user can mend (one sentence
says what), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from dragoman.cli import convert, fetch, models
from dragoman.cli.console import listen, say
from dragoman.cli.data import check, prepare, shard
from dragoman.cli.evaluation import compare, evaluate, report
from dragoman.cli.training import encode, finetune, train
from dragoman.cli.translation import live, translate
from dragoman.errors import DragomanError

app = typer.Typer(
    name="dragoman",
    help="Speech in one language, text in many.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("translate")(translate.translate)
app.command("live")(live.live)
app.command("evaluate")(evaluate.evaluate)
app.command("score")(evaluate.score)
app.command("compare")(compare.compare)
app.command("report")(report.report)
app.add_typer(prepare.app, name="prepare")
app.command("check")(check.check)
app.command("shard")(shard.shard)
app.command("models")(models.models)
app.command("fetch")(fetch.fetch)
app.command("bases")(train.bases)
app.command("encode")(encode.encode)
app.command("train")(train.train)
app.command("finetune")(finetune.finetune)
app.command("convert")(convert.convert)


def _version(wanted: bool) -> None:
    if wanted:
        from dragoman import __version__

        typer.echo(f"dragoman {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Speech in one language, text in many."""


def main() -> None:
    """Run the command line and exit with its code; a user's mistake is one line, never a traceback."""
    listen()
    code = _closed(_run())
    sys.exit(code)


def _run() -> int:
    try:
        app(prog_name="dragoman")
    except SystemExit as exit:
        return _code(exit)
    except DragomanError as error:
        say(str(error))
        return 2
    except BrokenPipeError:
        return 1
    except OSError as error:
        say(_sentence(error))
        return 2
    except KeyboardInterrupt:
        return _interrupted()
    return 0


def _code(exit: SystemExit) -> int:
    code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    return _interrupted() if code == 130 else code


_RESUMES = ("fetch", "prepare", "shard", "bases", "encode", "train", "finetune", "evaluate")


def _interrupted() -> int:
    resumes = sys.argv[1:2] in [[verb] for verb in _RESUMES]
    say(f"interrupted; {'the same command goes on from here' if resumes else 'what is written is complete'}.")
    return 130


def _closed(code: int) -> int:
    """Flush stdout; when it cannot take more, say why (a closed pipe is nobody's mistake) and drop the rest."""
    try:
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        code = code or 1
    except OSError as error:
        if code == 0:
            say(f"standard output: {_sentence(error)}")
        code = code or 2
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _sentence(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{os.fsdecode(error.filename)}: {reason}." if isinstance(error.filename, str | bytes) else f"{reason}."
