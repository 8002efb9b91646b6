"""What a model's confidence is worth: fitted on clips that it was not taught (benchmarks/confidence.py), and kept as
calibration.json in its folder. A model that is trained further is another one, and has none. No torch."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from dragoman.errors import ModelError
from dragoman.files import atomic_file
from dragoman.recipe.strict import StrictModel

NAME = "calibration.json"


class Calibration(StrictModel):
    """What is less confident than `low_transcript` or `low_translation` is rather wrong than right; a language that is
    less likely than `low_language` is doubted. `language_temperature` makes probabilities of the languages'
    log-likelihoods a token. `about` says what they were fitted on."""

    about: str
    low_transcript: float = Field(gt=0.0, lt=1.0)
    low_translation: float = Field(gt=0.0, lt=1.0)
    low_language: float = Field(gt=0.0, lt=1.0)
    language_temperature: float = Field(gt=0.0, allow_inf_nan=False)

    def save(self, folder: Path) -> None:
        """Into a model's folder. Raises OutputError."""
        with atomic_file(folder / NAME) as file:
            file.write(self.model_dump_json(indent=2) + "\n")


def read_calibration(folder: Path) -> Calibration | None:
    """That of the model in a folder; None: it is not calibrated. Raises ModelError."""
    try:
        return Calibration.model_validate_json((folder / NAME).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise ModelError(f"{folder / NAME}: {where}: {first['msg']}; fix it, or delete it.") from error
