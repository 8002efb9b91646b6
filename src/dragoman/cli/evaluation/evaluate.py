"""`dragoman evaluate` and `dragoman score`: hypotheses, then numbers."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dragoman.cli.console import say, silence_libraries
from dragoman.cli.evaluation.evaluated_system import SmtFlags, SystemFlags, choose_system
from dragoman.cli.flags import with_flags
from dragoman.cli.options import BatchedLoadFlags, ToOption, read_targets
from dragoman.cli.progress import progress_bar
from dragoman.errors import DataError
from dragoman.files import atomic_file, held

if TYPE_CHECKING:
    from dragoman.cli.evaluation.evaluated_system import EvaluatedSystem
    from dragoman.evaluation.generate import GenerationSummary
    from dragoman.evaluation.metrics import Metric, Score
    from dragoman.evaluation.score import Counts
    from dragoman.inference.options import TranslateOptions
    from dragoman.records import Hypothesis, Utterance

WorkersOption = Annotated[int | None, typer.Option(min=1, help="Processes that score; all cores by default.")]
MetricsOption = Annotated[
    list[str] | None, typer.Option("--metric", help="A metric by name, such as spBLEU; repeat it for more.")
]

ReportOption = Annotated[Path | None, typer.Option(help="Also write what `dragoman report` writes, to this folder.")]
CometOption = Annotated[
    str | None,
    typer.Option(help="Also COMET, with this checkpoint: Unbabel/wmt22-comet-da, another name on the hub, a folder."),
]


@with_flags
def evaluate(
    manifest: Annotated[Path, typer.Argument(help="Utterances with references, as JSON lines.")],
    to: ToOption,
    out: Annotated[Path, typer.Option(help="Where hypotheses.jsonl and scores.json are written.")],
    flags: BatchedLoadFlags,
    smt: SmtFlags,
    chosen: SystemFlags,
    workers: WorkersOption = None,
    metric: MetricsOption = None,
    comet: CometOption = None,
    report: ReportOption = None,
) -> None:
    """Translate a manifest (--to none: transcribe it) and score that. An interrupted run goes on where it stopped.

    Started by torchrun, its processes share the work: torchrun --nproc_per_node 2 -m dragoman evaluate …
    """
    options, smt_transcript = read_targets(to), smt.read(flags.translate_from)
    from dragoman.records import read_hypotheses, read_manifest

    utterances = read_manifest(manifest)
    from dragoman.cli.devices import launched, own_device
    from dragoman.evaluation.runs import HYPOTHESES

    metrics = _metrics(metric)
    _check_afterwards(options, metrics if metric else {}, report, comet)
    rank, _ = launched()
    load = replace(flags.read(), device=own_device(flags.device), smt_transcript=smt_transcript)
    with held(out, f".dragoman-lock{rank or ''}"):
        evaluated = choose_system(chosen, utterances, options, load, flags.threads)
        if not _generated(utterances, evaluated, out, load.batch_size):
            return  # the process that joined the parts goes on
        metrics |= _comet(comet)  # not before: each process would load one
        _give(out, _scored(read_hypotheses(out / HYPOTHESES), metric or (), metrics, None, workers))
    _write_report(report, out, utterances)


def _give(out: Path, scores: Sequence[Score]) -> None:
    """Scores as a file and as a table."""
    from dragoman.evaluation.score import to_json

    with atomic_file(out / "scores.json") as file:
        file.write(to_json(scores))
    _print_table(scores)


def _generated(utterances: Sequence[Utterance], evaluated: EvaluatedSystem, out: Path, batch_size: int) -> bool:
    """Write the hypotheses; tells whether they are all there, and this process is the one to go on with them."""
    from dragoman.cli.devices import launched
    from dragoman.evaluation.generate import generate
    from dragoman.evaluation.runs import HYPOTHESES, write_run_stats

    rank, processes = launched()
    started = time.monotonic()
    with progress_bar("translating", shown=rank == 0) as progress:
        done = generate(
            utterances,
            evaluated.targets,
            evaluated.translate,
            out / HYPOTHESES,
            sources=evaluated.sources,
            batch_size=batch_size,
            system=evaluated.name,
            on_progress=progress,
            rank=rank,
            processes=processes,
        )
    if not done.joined:
        return False
    if done.total > done.kept:
        write_run_stats(out, evaluated.run_stats(done.total - done.kept, time.monotonic() - started))
    _say_left_out(done, len(utterances), evaluated)
    return True


def score(
    hypotheses: Annotated[
        Path | None,
        typer.Argument(help="Hypotheses: JSON lines or TSV that bring their references, or plain lines; - is stdin."),
    ] = None,
    hyp: Annotated[Path | None, typer.Option(help="The same, as an option.")] = None,
    ref: Annotated[Path | None, typer.Option(help="References of plain lines, one a line.")] = None,
    src: Annotated[Path | None, typer.Option(help="Source sentences of plain lines, one a line.")] = None,
    direction: Annotated[
        str | None, typer.Option(help="Languages of TSV and plain lines: eng-deu, or eng for transcripts.")
    ] = None,
    metric: MetricsOption = None,
    comet: CometOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, with signatures and in full precision.")] = False,
    workers: WorkersOption = None,
) -> None:
    """Score hypotheses against their references."""
    if (hypotheses and hyp) or not (given := hypotheses or hyp):
        raise DataError("Name one file of hypotheses, by itself or with --hyp; - is standard input.")
    from dragoman.evaluation.readers import InputSpec, read
    from dragoman.evaluation.score import to_json

    metrics = _metrics(metric) | _comet(comet)
    found = read(InputSpec(given, ref, src, direction))
    scores = _scored(found.rows, metric or (), metrics, found.counts, workers)
    if json:
        typer.echo(to_json(scores), nl=False)
    else:
        _print_table(scores)


def _say_left_out(done: GenerationSummary, utterances: int, evaluated: EvaluatedSystem) -> None:
    if done.unheard:
        become = "references and no more" if evaluated.targets else "left out"
        of = f"{done.unheard} of {utterances} utterances"
        say(f"{of} are {become}: {evaluated.model} does not hear their languages.")
    if done.without_reference:
        what = "translations" if evaluated.targets else "utterances"
        say(f"{done.without_reference} {what} are left out: the manifest has no reference for them.")


def _metrics(names: Sequence[str] | None) -> dict[str, type[Metric]]:
    from dragoman.evaluation.metrics import choose

    return choose(names or ())


def _comet(checkpoint: str | None) -> dict[str, type[Metric]]:
    if checkpoint is None:
        return {}
    from dragoman.evaluation.comet.metric import comet_metric

    silence_libraries()
    return {"COMET": comet_metric(checkpoint)}


def _scored(
    rows: Sequence[Hypothesis],
    asked: Sequence[str],
    metrics: dict[str, type[Metric]],
    counts: Counts | None,
    workers: int | None,
) -> list[Score]:
    from dragoman.evaluation.score import score
    from dragoman.parallel import cores

    with progress_bar("scoring") as progress:
        scores = score(rows, metrics, counts, workers or cores(), progress)
    _say_unsuited(asked, metrics, scores)
    return scores


def _check_afterwards(
    options: TranslateOptions, asked: dict[str, type[Metric]], report: Path | None, comet: str | None
) -> None:
    """What is needed only when all is translated, but may be mistyped or pointless."""
    translated = ["COMET"] if comet else [name for name, metric in asked.items() if metric.side == "translation"]
    if options.only_transcripts and translated:
        raise DataError(f"{translated[0]} is of translations; leave it out, or name a target instead of none.")
    if report is not None:
        from dragoman.evaluation.report.write import check_folder

        check_folder(report)
    if comet is not None:
        from dragoman.evaluation.comet.checkpoint import check_checkpoint

        silence_libraries()
        check_checkpoint(comet)


def _write_report(folder: Path | None, run: Path, utterances: Sequence[Utterance]) -> None:
    if folder is None:
        return
    from dragoman.evaluation.report.write import write_report
    from dragoman.evaluation.runs import read_runs

    page, *_ = write_report(read_runs([run]), folder, utterances)
    say(f"The report is {page}.")


def _say_unsuited(asked: Sequence[str], metrics: Iterable[str], scores: Sequence[Score]) -> None:
    """A metric that was asked for and has no score suits none of the languages; nobody should look for it in vain."""
    scored = {score.metric for score in scores}
    for name in metrics if asked else ():
        if name not in scored:
            say(f"{name} is left out: it suits none of these directions, or there is nothing for it to score.")


def _print_table(scores: Sequence[Score]) -> None:
    from rich.console import Console

    from dragoman.evaluation.score import table

    grid = table(scores)
    signatures, grid.caption = grid.caption, None
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(grid)
    console.print(signatures, soft_wrap=True, markup=False, highlight=False)  # whole, to be copied
