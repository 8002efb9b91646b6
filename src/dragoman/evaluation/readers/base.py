"""What a person names to be scored, and what a reader makes of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dragoman.errors import DataError
from dragoman.evaluation.score import Counts
from dragoman.records import Hypothesis
from dragoman.text.csv_rows import encoding_of
from dragoman.text.languages import find

STDIN = Path("-")

Lines = Iterator[tuple[int, str]]  # numbered from 1, without line ends


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a person names: where the hypotheses are (`-` is standard input), and what they do not say themselves."""

    hypotheses: Path
    references: Path | None = None
    sources: Path | None = None
    direction: str | None = None
    """`eng-deu`, or `eng` for transcripts; languages as `find` takes them."""

    def languages(self) -> tuple[str, str]:
        """Source and target. Raises DataError where the direction is missing, LanguageError where it is unknown."""
        if self.direction is None:
            raise DataError(
                f"{self.hypotheses}: does not say its languages; give them to `dragoman score` with --direction,"
                " such as eng-deu."
            )
        source, dash, target = self.direction.partition("-")
        return find(source).code, find(target if dash else source).code


@dataclass(frozen=True, slots=True)
class ReadHypotheses:
    """Hypotheses, and what the format lets one count about them."""

    rows: list[Hypothesis]
    counts: Counts


def read_lines(path: Path) -> Lines:
    """Only a line feed ends a line, as for sacreBLEU: other separators may stand in a sentence."""
    stdin = path == STDIN
    try:
        opened = sys.stdin.fileno() if stdin else path
        encoding = "utf-8-sig" if stdin else encoding_of(path)
        with open(opened, encoding=encoding, newline="\n", closefd=not stdin) as file:
            for number, line in enumerate(file, 1):
                yield number, line.removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
    except UnicodeError as error:
        raise DataError(f"{path}: is not UTF-8 text; save it in UTF-8.") from error
