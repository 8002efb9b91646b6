"""Decoded speech -> what is handed out: a recording's segments, an utterance's hypotheses."""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.inference.decoding.decoder import DecodedSpeech, Translation
from dragoman.inference.result import Segment, joined
from dragoman.model.calibration import Calibration
from dragoman.records import Hypothesis, Utterance
from dragoman.text.langid import is_other
from dragoman.vad import SpeechSegment

DetectedLanguage = tuple[str, float | None]
"""A language, and how likely it is that; None where it was given."""


def says_something(decoded: DecodedSpeech) -> bool:
    return bool(decoded.transcript) or any(found.text for found in decoded.translations.values())


def to_segment(
    part: SpeechSegment, detected: DetectedLanguage, decoded: DecodedSpeech, calibration: Calibration | None
) -> Segment:
    """Speech in the language `detected`, with how likely that is, as it was decoded."""
    language, confidence = detected
    outputs: dict[str, DecodedSpeech | Translation] = {"transcript": decoded, **decoded.translations}
    return Segment(
        part.speech_start_s,
        part.speech_end_s,
        language,
        decoded.transcript,
        {code: translation.text for code, translation in decoded.translations.items()},
        decoded.score,
        truncated=tuple(name for name, output in outputs.items() if output.truncated),
        looped=tuple(name for name, output in outputs.items() if output.looped),
        off_target=tuple(code for code, found in decoded.translations.items() if is_other(found.text, code)),
        missed={code: found.missed for code, found in decoded.translations.items() if found.missed},
        scores={code: found.score for code, found in decoded.translations.items() if found.score is not None},
        language_confidence=confidence,
        calibration=calibration,
    )


def to_hypothesis(utterance: Utterance, code: str, parts: Sequence[DecodedSpeech]) -> Hypothesis:
    """An utterance's parts, decoded, put together again."""
    translations = [part.translations[code] for part in parts if code != utterance.language]
    return Hypothesis(
        id=utterance.id,
        source=utterance.language,
        target=code,
        start_s=utterance.start_s,
        end_s=None if utterance.duration_s is None else utterance.start_s + utterance.duration_s,
        transcript=joined(part.transcript for part in parts),
        translation=joined(translation.text for translation in translations),
        raw="\n".join(translation.raw for translation in translations),
        truncated=any(part.truncated for part in parts) or any(translation.truncated for translation in translations),
    )
