"""What can be wrong with a manifest: how bad it is, what it is, what to do.

An error makes training stop, teaches what is false, or makes scores mean less than they say; `--skip_bad` leaves its
rows out. A warning is worth a look: a person decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Rule:
    severity: Severity
    what: str
    do: str


RULES = {
    "row": Rule("error", "row that is not an utterance", "correct the row (fields: records.py, Utterance)"),
    "repeated-id": Rule("error", "id used twice in one manifest", "rename one"),
    "audio-missing": Rule("error", "no audio for the text", "put the file there, or correct the path"),
    "audio-broken": Rule("error", "audio that cannot be decoded", "get the file again"),
    "audio-damaged": Rule("error", "audio of which a part is lost", "get the file again"),
    "audio-empty": Rule("error", "clip of length zero", "get the file again, or correct start_s"),
    "audio-silent": Rule("warning", "audio that is nothing but zeros", "listen; leave the row out"),
    "duration": Rule("warning", "duration_s is not the audio's", "measure again; is a file cut off?"),
    "too-long": Rule("error", "training clip longer than the model hears", "cut it, or set max_duration_s"),
    "left-out": Rule(
        "warning", "clip that the recipe leaves out of training", "none; cut it to max_duration_s, if it is wanted"
    ),
    "long": Rule(
        "warning",
        "clip longer than the model hears",
        "none: it is translated in parts, but not used to validate training",
    ),
    "no-text": Rule("error", "neither transcript nor translation", "write one, or leave the row out"),
    "empty-text": Rule(
        "warning", "transcript or translation is empty", "write it; the row is of no use to asr, smt and srt"
    ),
    "control": Rule("error", "control characters, or bytes that are not text", "clean the text"),
    "invisible": Rule("warning", "tabs, line ends or invisible marks in a text", "clean the text"),
    "script": Rule("warning", "text in a script that its language does not use", "correct language or text"),
    "language": Rule("warning", "text seems to be in another language", "read it; correct language or text"),
    "much-text": Rule("warning", "more text than can be said in the time", "listen: is audio missing?"),
    "little-text": Rule("warning", "less text than the audio has time for", "listen: is text missing?"),
    "leak-audio": Rule("error", "training audio that is held out too", "take it out of training"),
    "leak-sentence": Rule("error", "training sentence (`sentence`) that is held out too", "take it out of training"),
    "leak-text": Rule("error", "training text that is held out too", "take it out of training"),
    "leak-short": Rule(
        "warning", "short training text that is held out too", "decide whether it is a common phrase or the test itself"
    ),
    "sentence-clash": Rule(
        "warning", "`sentence` names another text in training", "rename one: they are not translations of each other"
    ),
    "overlap": Rule("warning", "utterance in two held-out splits", "choose no model on what it is tested on"),
    "same-audio": Rule("warning", "audio that is there twice", "leave one out"),
}

EXAMPLES = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with one row of a manifest."""

    kind: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RowLocation:
    """A row with a finding: the number of the manifest, the line in it, and the id if the row has one."""

    manifest: int
    line: int
    id: str | None
    detail: str


@dataclass(slots=True)
class RuleFindings:
    """All rows with findings of one kind. Of warnings only the first `EXAMPLES` are kept; all are counted."""

    count: int = 0
    places: list[RowLocation] = field(default_factory=list)
