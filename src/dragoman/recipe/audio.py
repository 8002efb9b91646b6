"""The table that describes what an encoder hears, and how many of its frames come of how much speech.

Shapes: F frames of features (samples, of a waveform), S encoder frames.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from dragoman.recipe.strict import StrictModel

ENCODER_FRAMES_PER_S = 50
"""Of every encoder that there is a table for: Whisper, HuBERT, wav2vec 2.0, w2v-BERT 2.0."""
_STRIDE, _REACH = 320, 400
"""Samples at 16 kHz between the frames of HuBERT and wav2vec 2.0, and samples that each is made of."""


class LogMelConfig(StrictModel):
    """Whisper's log-mel: its bins, its window, and whether clips are padded to it (as Whisper and the papers do) or
    trimmed to the speech."""

    kind: Literal["log-mel"] = "log-mel"
    mel_bins: Literal[80, 128]
    window_s: float = Field(default=30.0, gt=0.0)
    padding: Literal["window", "trimmed"] = "window"
    silence_s: float = Field(default=0.0, ge=0.0)
    """Behind a trimmed clip: Whisper listens for the end of the speech."""

    @property
    def window_frames(self) -> int:
        """S of the longest clip."""
        return round(self.window_s * 2 * ENCODER_FRAMES_PER_S) // 2

    def encoder_frames(self, num_features: int) -> int:
        """S of F mel frames, 100 a second."""
        return (num_features + 1) // 2


class WaveformConfig(StrictModel):
    """The samples themselves, for HuBERT and wav2vec 2.0; `normalise`: to a mean of 0 and a variance of 1, as
    `do_normalize` of the encoder's preprocessor_config.json says. `window_s` is the longest clip."""

    kind: Literal["waveform"]
    normalise: bool
    window_s: float = Field(default=30.0, gt=0.0)
    padding: Literal["trimmed"] = "trimmed"

    @property
    def window_frames(self) -> int:
        """S of the longest clip."""
        return self.encoder_frames(round(self.window_s * _STRIDE * ENCODER_FRAMES_PER_S))

    def encoder_frames(self, num_features: int) -> int:
        """S of F samples, which are 400 at least."""
        return (num_features - _REACH) // _STRIDE + 1


class FbankConfig(StrictModel):
    """Kaldi's filter banks, 80 bins of two neighbouring frames side by side, for w2v-BERT 2.0. `window_s` is the
    longest clip."""

    kind: Literal["fbank"]
    window_s: float = Field(default=30.0, gt=0.0)
    padding: Literal["trimmed"] = "trimmed"

    @property
    def window_frames(self) -> int:
        """S of the longest clip."""
        return int(self.window_s * ENCODER_FRAMES_PER_S)

    def encoder_frames(self, num_features: int) -> int:
        """S of F pairs of frames."""
        return num_features


def _kind(table: Any) -> str:
    """Recipes that were written when there was no other kind do not say it."""
    found = table.get("kind", "log-mel") if isinstance(table, dict) else getattr(table, "kind", "log-mel")
    return str(found)


AudioConfig = Annotated[
    Annotated[LogMelConfig, Tag("log-mel")]
    | Annotated[WaveformConfig, Tag("waveform")]
    | Annotated[FbankConfig, Tag("fbank")],
    Discriminator(_kind),
]
