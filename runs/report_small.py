"""The tables of docs/small.md: how `small` hears and translates people it was never taught by.

    python runs/report_small.py small --speech DATA/speech-dev --noise DATA/noise --out out/small-report

Speech is translated in three ways: (a) the adapter hears and one pass writes transcript and translation, (b) Whisper's
own decoder writes the transcript and the LLM translates that text, (c) it translates that text with the speech beside
it; above them stands the translation of the true transcripts. Interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from small_dev import (
    Evaluator,
    common_voice,
    parallel_texts,
    put_between_markers,
    readings,
    shown,
    stories,
    table,
    written,
)
from small_recordings import long_recording, nothing_said

from dragoman.evaluation.compare import Comparison, compare
from dragoman.evaluation.intervals import Estimate, estimates
from dragoman.evaluation.runs import Run
from dragoman.model.folder import stored_recipe
from dragoman.model.load import model_folder
from dragoman.recipe import Recipe, TranscriptBy, TranslateFrom
from dragoman.records import Hypothesis, Utterance
from dragoman.text.languages import LANGUAGES

CEILING = "text, the true transcript"


@dataclass(frozen=True)
class Way:
    """Who writes the transcript, and what is translated."""

    name: str
    transcript_by: TranscriptBy
    translate_from: TranslateFrom

    @property
    def flags(self) -> tuple[str, ...]:
        return ("--transcript_by", self.transcript_by, "--translate_from", self.translate_from)

    def is_default(self, recipe: Recipe) -> bool:
        return (self.transcript_by, self.translate_from) == (
            recipe.decoding.transcript_by,
            recipe.decoding.translate_from,
        )


ADAPTER = Way("(a) the adapter hears, one pass", "adapter", "speech")
CASCADE = Way("(b) Whisper's transcript, translated as text", "whisper", "transcript")
BOTH = Way("(c) Whisper's transcript, translated with the speech", "whisper", "speech")
WAYS = (ADAPTER, CASCADE, BOTH)


@dataclass(frozen=True)
class Report:
    """What is measured of one model."""

    evaluate: Evaluator
    recipe: Recipe
    beams: Sequence[int]
    limit: int | None

    def manifest(self, name: str, rows: Sequence[Utterance]) -> Path:
        return written(self.evaluate.out / "manifests" / f"{name}.jsonl", rows[: self.limit])

    def translations(self, speech: Path) -> str:
        """The three ways and their ceiling on storybooks, by direction and number of beams."""
        manifest = self.manifest("stories", stories(speech, self.recipe.sources, self.recipe.targets))
        head = ("direction", "", "", "chrF", "BLEU", "word errors", "chrF against (b)", "of the text's chrF, %")
        rows: list[tuple[str, ...]] = []
        for beams in self.beams:
            flags = ("--to", "all", "--beam_size", str(beams))
            text = self.evaluate(f"stories-text-{beams}", manifest, *flags, "--text")
            found = {way: self.evaluate(f"stories-{way.name[1]}-{beams}", manifest, *flags, *way.flags) for way in WAYS}
            rows += self._three_ways(beams, text, found)
        return table(head, rows)

    def _three_ways(
        self, beams: int, text: Sequence[Hypothesis], found: dict[Way, list[Hypothesis]]
    ) -> list[tuple[str, ...]]:
        ceiling = {metric: estimates(text, metric) for metric in ("chrF", "BLEU")}
        scores = {way: {m: estimates(rows, m) for m in ("chrF", "BLEU", "WER")} for way, rows in found.items()}
        runs = {way: Run(way.name, rows) for way, rows in found.items()}
        tested = compare([runs[CASCADE], runs[ADAPTER], runs[BOTH]], ["chrF"])
        lines: list[tuple[str, ...]] = []
        for direction, whole in ceiling["chrF"].items():
            place = (f"{direction} ({whole.count})", search(beams))
            lines.append((*place, CEILING, shown(whole), shown(ceiling["BLEU"][direction]), "0", "", ""))
            for way, own in scores.items():
                name = f"**{way.name}**" if way.is_default(self.recipe) else way.name
                errors = own["WER"].get(direction.partition("-")[0])
                against = [one for one in tested if (one.system, one.direction) == (way.name, direction)]
                chrf = own["chrF"][direction]
                cells = (shown(chrf), shown(own["BLEU"][direction]), shown(errors), *map(_difference, against))
                lines.append((*place, name, *cells, *[""] * (not against), shown(chrf / whole, times=100)))
        return lines

    def transcripts(self, speech: Path) -> str:
        """Word errors of the adapter's transcripts and of Whisper's own decoder."""
        sets = {
            "Common Voice": common_voice(speech, self.recipe.sources),
            "other readings": readings(speech, self.recipe.sources),
        }
        roads = [(by, beams) for beams in self.beams for by in ("adapter", "whisper")]
        names = {"adapter": "adapter", "whisper": "Whisper's decoder"}
        head = [
            "",
            "language",
            *(f"{names[by]}, {search(beams)}" for by, beams in roads),
            f"adapter / decoder, {search(self.beams[0])}",
        ]
        rows: list[list[str]] = []
        for name, utterances in sets.items():
            manifest = self.manifest(name.lower().replace(" ", "-"), utterances)
            found: dict[tuple[str, int], dict[str, Estimate]] = {}
            for by, beams in roads:
                flags = ("--to", "none", "--beam_size", str(beams), "--transcript_by", by)
                found[by, beams] = estimates(self.evaluate(f"{manifest.stem}-{by}-{beams}", manifest, *flags), "WER")
            for language, own in found[roads[0]].items():
                ratio = own / found["whisper", self.beams[0]][language]
                errors = (shown(found[road].get(language)) for road in roads)
                rows.append([name, f"{language} ({own.count})", *errors, f"{ratio.value:.2f}"])
        return table(head, rows)

    def texts(self, speech: Path) -> str:
        """The LLM alone: texts into English and out of it."""
        manifest = self.manifest("texts", parallel_texts(speech, self.recipe.sources, self.recipe.targets))
        found = [
            self.evaluate(f"texts-{beams}", manifest, "--to", "all", "--text", "--beam_size", str(beams))
            for beams in self.beams
        ]
        scores = [(estimates(rows, "chrF"), estimates(rows, "BLEU")) for rows in found]
        head = ["direction", *(f"{metric}, {search(beams)}" for beams in self.beams for metric in ("chrF", "BLEU"))]
        return table(
            head,
            (
                [f"{direction} ({own.count})", *(shown(score[direction]) for pair in scores for score in pair)]
                for direction, own in scores[0][0].items()
            ),
        )

    def speechless(self, noise: Path) -> str:
        """How many recordings without speech have any text."""
        roads = {way.name: way.flags for way in (ADAPTER, CASCADE)}
        where = self.evaluate.out / "nothing"
        counted = nothing_said(self.evaluate.model, noise, where, roads, self.evaluate.threads)
        return table(("what is heard", "recordings", *(f"with text: {name}" for name in roads)), counted)

    def two_hours(self, speech: Path, hours: float) -> str:
        """A recording of hours, made of the stories and Common Voice's clips in their language."""
        rows = stories(speech, self.recipe.sources, self.recipe.targets)
        language = rows[0].language
        rows += [row for row in common_voice(speech, [language]) if row.language == language]
        target = next(code for code in self.recipe.targets if code != language)
        measured = long_recording(
            self.evaluate.model, rows, hours, target, self.evaluate.out / "long", self.evaluate.threads
        )
        return table(("a long recording", LANGUAGES[language].name), measured.items())


def search(beams: int) -> str:
    """As tables say it."""
    return "greedy" if beams == 1 else f"{beams} beams"


def _difference(one: Comparison) -> str:
    """By how much, and how likely by chance."""
    star = "*" if one.significant else ""
    return f"{one.value - one.baseline_value:+.1f}{star} (p {one.p_bootstrap:.3f})"


def report(model: str, options: argparse.Namespace) -> str:
    """All tables of one model, under headings."""
    folder = model_folder(model)
    evaluate = Evaluator(model, options.out / folder.name, options.threads)
    own = Report(evaluate, stored_recipe(folder), options.beams, options.limit)
    parts = [
        (
            "Storybooks read aloud, translated in three ways. In bold the model's default; * p < 0.05 by paired"
            " bootstrap and approximate randomisation; in brackets 95 % intervals.",
            own.translations(options.speech),
        ),
        ("Word errors of transcripts.", own.transcripts(options.speech)),
        ("The LLM alone: the stories as texts.", own.texts(options.speech)),
    ]
    if options.noise is not None:
        parts.append(("Recordings in which nothing is said.", own.speechless(options.noise)))
    if options.two_hours:
        parts.append(("", own.two_hours(options.speech, options.two_hours)))
    return "\n".join(f"{says}\n\n{rows}" if says else rows for says, rows in parts)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", metavar="MODEL", nargs="+", help="a model folder or a built-in model")
    parser.add_argument("--speech", type=Path, required=True, help="held-out human speech: speech-dev")
    parser.add_argument("--noise", type=Path, help="backgrounds: noise; without it nothing of the kind is tried")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    parser.add_argument(
        "--two_hours", type=float, nargs="?", const=2.0, metavar="HOURS", help="also a recording so long"
    )
    parser.add_argument("--limit", type=int, help="only the first rows of each set, to try the command")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--into", type=Path, help="a page with <!-- report_small --> and <!-- /report_small -->")
    return parser.parse_args(given)


def main() -> None:
    options = arguments()
    found = [(model, report(model, options)) for model in options.models]
    text = "\n".join(f"### {Path(model).name}\n\n{rows}" if len(found) > 1 else rows for model, rows in found)
    (options.out / "report.md").write_text(text, encoding="utf-8")
    if options.into is not None:
        put_between_markers(options.into, "report_small", text)
    print(text)


if __name__ == "__main__":
    main()
