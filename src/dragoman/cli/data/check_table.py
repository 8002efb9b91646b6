"""A report of `dragoman check` on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dragoman.cli.console import printable
from dragoman.data.check import Report
from dragoman.data.check.rules import RULES
from dragoman.data.check.texts import scripts
from dragoman.text.langid import KNOWN
from dragoman.text.languages import LANGUAGES

_BAR = 40
_SHOWN_DIRECTIONS = 6


def print_report(report: Report, decoded: bool) -> None:
    """Manifests, languages, directions, durations, and one table of what to do."""
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(_manifests(report))
    console.print(_languages(report))
    console.print(Text(_directions(report)))
    for sentence in _unjudged(report):
        console.print(Text(sentence))
    console.print(_durations(report, decoded))
    if report.found:
        console.print(_findings(report))
    else:
        console.print("Nothing is wrong.")


def _manifests(report: Report) -> Table:
    table = _table("manifest", "is for", ">utterances", ">hours")
    for manifest in report.manifests:
        use = "validation or test" if manifest.is_held_out else "training"
        table.add_row(_text(manifest.path), use, f"{manifest.utterances:,}", f"{manifest.hours:.2f}")
    return table


def _languages(report: Report) -> Table:
    table = _table("language", ">utterances", ">hours", ">different texts", ">targets")
    for share in sorted(report.languages, key=lambda share: -share.utterances):
        name = f"{share.code} {LANGUAGES[share.code].name}"
        table.add_row(name, f"{share.utterances:,}", f"{share.hours:.2f}", f"{share.texts:,}", str(share.targets))
    return table


def _unjudged(report: Report) -> Iterator[str]:
    """What cannot be found in texts of languages of which nothing is known."""
    spoken = {share.code for share in report.languages}
    codes = sorted(spoken | {code for direction in report.directions for code in direction.split("-")})
    for what, known in (("script", scripts), ("language", KNOWN.__contains__)):
        if names := [LANGUAGES[code].name for code in codes if not known(code)]:
            yield f"The {what} of {', '.join(names)} is not known here, so texts in another are not found."


def _directions(report: Report) -> str:
    ranked = sorted(report.directions.items(), key=lambda item: (-item[1], item[0]))
    if not ranked:
        return "No directions: no utterance has a translation.\n"
    shown = [f"{direction} {count:,}" for direction, count in ranked]
    if len(shown) > 2 * _SHOWN_DIRECTIONS:
        shown = [*shown[:_SHOWN_DIRECTIONS], "…", *shown[-_SHOWN_DIRECTIONS:]]
    return f"Directions: {len(ranked):,}; utterances in each: {', '.join(shown)}\n"


def _durations(report: Report, decoded: bool) -> Table:
    table = _table(">seconds", "clips", ">")
    table.title = "Durations, " + ("measured" if decoded else "as the manifests say")
    table.title_justify = "left"
    most = max((clips for _, clips in report.durations), default=1)
    start = 0.0
    for end, clips in report.durations:
        bar = "█" * round(_BAR * clips / most) or ("▏" if clips else "")
        table.add_row(f"{start:g} - {end:g}", bar.ljust(_BAR), f"{clips:,}")
        start = end
    if report.unknown_durations:
        table.add_row("unknown", "", f"{report.unknown_durations:,}")
    return table


def _findings(report: Report) -> Table:
    table = _table("", ">rows", "what", "for example", "what to do")
    for kind, group, found in report.lines():
        severity, first = RULES[kind].severity, found.places[0]
        where = f"{report.manifests[first.manifest].path.name}:{first.line}"
        example = ", ".join(filter(None, (f"{where} {first.id or ''}".strip(), "" if group else first.detail)))
        style = "bold red" if severity == "error" else "yellow"
        what = f"{RULES[kind].what}: {group}" if group else RULES[kind].what
        table.add_row(Text(severity, style), f"{found.count:,}", _text(what), _text(example), _text(RULES[kind].do))
    return table


def _table(*columns: str) -> Table:
    """A name that begins with `>` is that of a column of numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    return table


def _text(value: object) -> Text:
    """As it is, whatever a terminal or rich would make of it."""
    return Text(printable(str(value)))
