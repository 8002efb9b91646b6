"""`dragoman evaluate` and `dragoman score`: hypotheses, then numbers."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dragoman.cli.console import hush, say
from dragoman.cli.evaluation.evaluated_system import chosen
from dragoman.cli.options import (
    Batch,
    Beams,
    By,
    Checkpoint,
    Compute,
    Device,
    From,
    How,
    Ngrams,
    Other,
    Threads,
    To,
    Wanted,
)
from dragoman.cli.progress import progress_bar
from dragoman.errors import DataError
from dragoman.files import held, whole_file

if TYPE_CHECKING:
    from dragoman.cli.evaluation.evaluated_system import Candidate
    from dragoman.evaluation.generate import Summary
    from dragoman.evaluation.metrics import Metric, Score
    from dragoman.evaluation.score import Counts
    from dragoman.records import Hypothesis, Utterance

Workers = Annotated[int | None, typer.Option(min=1, help="Processes that score; all cores by default.")]
Metrics = Annotated[
    list[str] | None, typer.Option("--metric", help="A metric by name, such as spBLEU; repeat it for more.")
]

Report = Annotated[Path | None, typer.Option(help="Also write what `dragoman report` writes, to this folder.")]
Comet = Annotated[
    str | None,
    typer.Option(help="Also COMET, by this checkpoint: Unbabel/wmt22-comet-da, another name on the hub, a folder."),
]


def evaluate(
    manifest: Annotated[Path, typer.Argument(help="Utterances with references, as JSON lines.")],
    to: To,
    out: Annotated[Path, typer.Option(help="Where hypotheses.jsonl and scores.json are written.")],
    model: Checkpoint = None,
    system: Other = None,
    beam_size: Beams = None,
    batch_size: Batch = 16,
    device: Device = None,
    compute_type: Compute = "auto",
    threads: Threads = None,
    transcript_by: By = None,
    translate_from: From = None,
    no_repeat_ngram_size: Ngrams = None,
    workers: Workers = None,
    metric: Metrics = None,
    comet: Comet = None,
    text: Annotated[bool, typer.Option("--text", help="Translate the reference transcripts, without speech.")] = False,
    report: Report = None,
) -> None:
    """Translate a manifest (--to none: transcribe it) and score that. An interrupted run goes on where it stopped.

    Started by torchrun, its processes share the work: torchrun --nproc_per_node 2 -m dragoman evaluate …
    """
    wanted = Wanted.read(to, None)
    from dragoman.records import read_hypotheses, read_manifest

    utterances = read_manifest(manifest)
    from dragoman.cli.devices import launched, own_device
    from dragoman.evaluation.runs import HYPOTHESES

    metrics = _metrics(metric)
    _check_afterwards(wanted, metrics if metric else {}, report, comet)
    rank, _ = launched()
    road = (transcript_by, translate_from, no_repeat_ngram_size)
    how = How(beam_size, batch_size, own_device(device), compute_type, threads, *road)
    with held(out, f".dragoman-lock{rank or ''}"):
        if not _generated(utterances, chosen(system, model, text, utterances, wanted, how), out, how):
            return  # the process that joined the parts goes on
        metrics |= _comet(comet)  # not before: each process would load one
        _give(out, _scored(read_hypotheses(out / HYPOTHESES), metric or (), metrics, None, workers))
    _write_report(report, out, utterances)


def _give(out: Path, scores: Sequence[Score]) -> None:
    """Scores as a file and as a table."""
    from dragoman.evaluation.score import to_json

    with whole_file(out / "scores.json") as file:
        file.write(to_json(scores))
    _print_table(scores)


def _generated(utterances: Sequence[Utterance], works: Candidate, out: Path, how: How) -> bool:
    """Write the hypotheses; tells whether they are all there, and this process is the one to go on with them."""
    from dragoman.cli.devices import launched
    from dragoman.evaluation.generate import generate
    from dragoman.evaluation.runs import HYPOTHESES, write_account

    rank, processes = launched()
    started = time.monotonic()
    with progress_bar("translating", shown=rank == 0) as progress:
        done = generate(
            utterances,
            works.targets,
            works.translate,
            out / HYPOTHESES,
            sources=works.sources,
            batch_size=how.batch_size,
            system=works.name,
            on_progress=progress,
            rank=rank,
            processes=processes,
        )
    if not done.joined:
        return False
    if done.total > done.kept:
        write_account(out, works.account(done.total - done.kept, time.monotonic() - started))
    _say_left_out(done, len(utterances), works)
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
    metric: Metrics = None,
    comet: Comet = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, with signatures and in full precision.")] = False,
    workers: Workers = None,
) -> None:
    """Score hypotheses against their references."""
    if (hypotheses and hyp) or not (given := hypotheses or hyp):
        raise DataError("Name one file of hypotheses, by itself or with --hyp; - is standard input.")
    from dragoman.evaluation.readers import Given, read
    from dragoman.evaluation.score import to_json

    metrics = _metrics(metric) | _comet(comet)
    found = read(Given(given, ref, src, direction))
    scores = _scored(found.rows, metric or (), metrics, found.counts, workers)
    if json:
        typer.echo(to_json(scores), nl=False)
    else:
        _print_table(scores)


def _say_left_out(done: Summary, utterances: int, works: Candidate) -> None:
    if done.unheard:
        become = "references and no more" if works.targets else "left out"
        of = f"{done.unheard} of {utterances} utterances"
        say(f"{of} are {become}: {works.model} does not hear their languages.")
    if done.without_reference:
        what = "translations" if works.targets else "utterances"
        say(f"{done.without_reference} {what} are left out: the manifest has no reference for them.")


def _metrics(names: Sequence[str] | None) -> dict[str, type[Metric]]:
    from dragoman.evaluation.metrics import choose

    return choose(names or ())


def _comet(checkpoint: str | None) -> dict[str, type[Metric]]:
    if checkpoint is None:
        return {}
    from dragoman.evaluation.comet.metric import comet_metric

    hush()
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


def _check_afterwards(wanted: Wanted, asked: dict[str, type[Metric]], report: Path | None, comet: str | None) -> None:
    """What is needed only when all is translated, but may be mistyped or pointless."""
    translated = ["COMET"] if comet else [name for name, metric in asked.items() if metric.side == "translation"]
    if wanted.only_transcripts and translated:
        raise DataError(f"{translated[0]} is of translations; leave it out, or name a target instead of none.")
    if report is not None:
        from dragoman.evaluation.report.write import check_folder

        check_folder(report)
    if comet is not None:
        from dragoman.evaluation.comet.checkpoint import check_checkpoint

        hush()
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
            say(f"{name} is left out: it suits none of these directions, or there is nothing on its side to score.")


def _print_table(scores: Sequence[Score]) -> None:
    from rich.console import Console

    from dragoman.evaluation.score import table

    grid = table(scores)
    signatures, grid.caption = grid.caption, None
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(grid)
    console.print(signatures, soft_wrap=True, markup=False, highlight=False)  # whole, to be copied
