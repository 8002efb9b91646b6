"""The verbs. Thin: what takes long to import is imported inside the commands, so that help comes at once.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 2 something that the user can fix (one sentence
says what), 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dragoman.cli import convert, export, fetch, models, serve
from dragoman.cli.console import log_to_stderr, say
from dragoman.cli.data import check, prepare, shard
from dragoman.cli.evaluation import compare, evaluate, report
from dragoman.cli.training import encode, finetune, train
from dragoman.cli.translation import live, translate
from dragoman.errors import MORE_FILES, TOO_MANY_FILES, DragomanError, first_line


class _Verbs(TyperGroup):
    """Typer takes the end of a file for a wish to abort."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EOFError as error:
            raise DragomanError(f"A file that was read ends too early ({first_line(error)}); get it again.") from error


app = typer.Typer(
    cls=_Verbs,
    name="dragoman",
    help="Speech in one language, text in many.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"token_normalize_func": lambda name: name.replace("-", "_")},  # --skip-bad is --skip_bad too
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("translate")(translate.translate)
app.command("live")(live.live)
app.command("serve")(serve.serve)
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
app.add_typer(export.app, name="export")


def _version(wanted: bool) -> None:
    if wanted:
        from dragoman.version import __version__

        typer.echo(f"dragoman {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Speech in one language, text in many."""


def main() -> None:
    """Run the command line and exit with its code; a user's mistake is one line, never a traceback."""
    _open_streams()
    log_to_stderr()
    code = _closed(_run())
    sys.exit(code)


def _run() -> int:
    try:
        app(prog_name="dragoman")
    except SystemExit as exit:
        return _code(exit)
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        # whoever could not open a file for want of numbers may have taken it for missing or damaged
        cause = next(_too_many_files(error), error)
        if not isinstance(cause, DragomanError | OSError):
            raise
        say(_sentence(_of_stdout(cause)) if isinstance(cause, OSError) else str(cause))
        return 2
    return 0


def _of_stdout(error: OSError) -> OSError:
    """Named, where it was raised by what prints: that writes nothing else."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if error.filename is None and frames[-1].f_globals["__name__"].partition(".")[0] in ("click", "rich", "typer"):
        error.filename = "standard output"
    return error


def _open_streams() -> None:
    """Where a standard stream is closed, the next file would get its number, and what is written to the stream would
    go there. Writing to a closed stdout stays an error; stderr is written to nothing."""
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)  # it gets the lowest number that is free
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def _too_many_files(error: BaseException | None) -> Iterator[OSError]:
    """Errors of this kind among the causes of another."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in TOO_MANY_FILES:
            yield error
        error = error.__cause__ or error.__context__


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
            error.filename = "standard output"
            say(_sentence(error))
        code = code or 2
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _sentence(error: OSError) -> str:
    reason, name = error.strerror or first_line(error), error.filename
    if error.errno in TOO_MANY_FILES:
        reason += f"; {MORE_FILES}"
    elif error.errno == errno.EBADF:  # see _open_streams
        reason, name = "it is closed; open it, or send it to a file", name or "standard output"
    return f"{os.fsdecode(name)}: {reason}." if isinstance(name, str | bytes) else f"{reason}."
