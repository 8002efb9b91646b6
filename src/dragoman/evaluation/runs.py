"""The folder of a run: hypotheses.jsonl, and run.json, which says what the system is and how fast it was here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dragoman.errors import DataError
from dragoman.evaluation.readers import Given, read
from dragoman.files import whole_file
from dragoman.records import Hypothesis, read_hypotheses

HYPOTHESES = "hypotheses.jsonl"
_ACCOUNT = "run.json"


class Account(BaseModel):
    """What it took. An interrupted run is timed from where it went on, so the seconds are those of `hypotheses`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    model: str
    parameters: int = Field(gt=0)
    """Of every part that worked, the frozen ones included."""
    hypotheses: int = Field(gt=0)
    """Written in these seconds, by one process."""
    seconds: float = Field(gt=0.0, allow_inf_nan=False)
    """From the first recording read to the last hypothesis written, without loading the model."""
    hardware: str

    @property
    def speed(self) -> float:
        """Hypotheses per second."""
        return self.hypotheses / self.seconds


@dataclass(frozen=True)
class Run:
    """A system's hypotheses under the name the user gave them, and what is known of it."""

    name: str
    hypotheses: list[Hypothesis]
    account: Account | None = None


def read_run(path: Path) -> Run:
    """A folder that `dragoman evaluate` wrote, or a file in any format that brings its references and languages.
    Raises DataError, ManifestError."""
    if not path.is_dir():
        return Run(str(path), read(Given(path)).rows)
    written = path / HYPOTHESES
    if not written.exists():
        unfinished = any(path.glob(f"{HYPOTHESES}.part*"))
        raise DataError(
            f"{path}: {'is not finished; start its `dragoman evaluate` again' if unfinished else 'is no run'}:"
            f" there is no {HYPOTHESES}."
        )
    return Run(str(path), read_hypotheses(written), _read_account(path / _ACCOUNT))


def write_account(folder: Path, account: Account) -> None:
    """Beside the hypotheses. Raises OutputError."""
    with whole_file(folder / _ACCOUNT) as file:
        file.write(account.model_dump_json(indent=1) + "\n")


def _read_account(path: Path) -> Account | None:
    if not path.exists():
        return None
    try:
        return Account.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "file"
        raise DataError(f"{path}: {field}: {first['msg']}; mend it, or delete it.") from error
