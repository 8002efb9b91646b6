"""Recordings in, transcripts and translations out, as our Translator does, with vLLM to write them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import torch
from huggingface_hub import cached_assets_path
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # of its __init__, but not of __all__

from dragoman.data.features import speech_features
from dragoman.engines.vllm.config import DragomanConfig
from dragoman.engines.vllm.decoder import VllmDecoder
from dragoman.engines.vllm.export import export_vllm
from dragoman.errors import ModelError
from dragoman.files import digest_of_weights
from dragoman.inference.decoding.decoder import DecodedSpeech
from dragoman.inference.decoding.whisper_decoder import WhisperDecoder
from dragoman.inference.options import LoadKeywords, LoadOptions, TranslateOptions
from dragoman.inference.recordings import Speech
from dragoman.inference.translator import Translator
from dragoman.model.load import model_folder
from dragoman.recipe import Recipe
from dragoman.vad import vad_options_for
from dragoman.version import __version__

_log = logging.getLogger(__name__)


class VllmTranslator(Translator):
    """A Translator whose texts vLLM writes, greedily. It takes no phrases, and detects languages where Whisper's own
    decoder writes the transcripts."""

    def __init__(
        self,
        exported: Path,
        options: LoadOptions | None = None,
        *,
        engine_options: Mapping[str, Any] | None = None,
        **more: Unpack[LoadKeywords],
    ) -> None:
        options = options or LoadOptions(**more)
        check_load_options(options)
        self.recipe = recipe = DragomanConfig.from_pretrained(exported).parsed_recipe()
        self.features = speech_features(recipe.audio)
        self.name, self.batch_size, self.window_s = recipe.name, options.batch_size, recipe.audio.window_s
        self.whisper = self.language_whisper = _whisper(recipe, options)
        self.decoder: VllmDecoder = VllmDecoder(
            exported, engine_options or {}, self.whisper, options.translate_from or recipe.decoding.translate_from
        )
        self.is_cascade = self.decoder.is_cascade
        self.writes_transcripts = recipe.writes_transcripts
        self.identifies_language, self.supports_phrases = self.whisper is not None, False
        self.smt_transcript = self.calibration = None
        self.vad = vad_options_for(recipe)
        _tell_differences(recipe, self.whisper)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        options: LoadOptions | None = None,
        *,
        engine_options: Mapping[str, Any] | None = None,
        **more: Unpack[LoadKeywords],
    ) -> VllmTranslator:
        """A model as Translator.from_pretrained takes it, exported once into the cache; see `export_vllm` for the
        `compute_type`. `engine_options` are those of vllm.LLM. Raises ModelError, also for what vLLM does not do
        here: beams, a choice of device, n-grams instead of the guard against loops, the task smt."""
        options = options or LoadOptions(**more)
        check_load_options(options)
        return cls(_exported(model_folder(name), options.compute_type), options, engine_options=engine_options)

    def _decode_speech(self, speech: Sequence[Speech], options: TranslateOptions) -> list[DecodedSpeech]:
        """All at once: vLLM makes its own batches."""
        return self.decoder(self.requests(speech, options))


def check_load_options(options: LoadOptions) -> None:
    """Raise ModelError for what vLLM does not do here."""
    if options.beam_size not in (None, 1):
        raise ModelError("vLLM is greedy here; leave --beam_size or --engine out.")
    if options.smt_transcript is not None:
        raise ModelError("vLLM does not know the task smt here; leave --task or --engine out.")
    for name in ("device", "no_repeat_ngram_size"):
        if getattr(options, name) is not None:
            raise ModelError(
                f"--{name} is not for vLLM, which chooses its device and stops loops itself; leave it out."
            )


def _whisper(recipe: Recipe, options: LoadOptions) -> WhisperDecoder | None:
    """Its own decoder, where that writes the transcripts."""
    if (options.transcript_by or recipe.decoding.transcript_by) != "whisper":
        return None
    return WhisperDecoder.load(recipe, torch.device("cuda" if torch.cuda.is_available() else "cpu"), torch.float32)


def _tell_differences(recipe: Recipe, whisper: WhisperDecoder | None) -> None:
    if whisper is None and recipe.decoding.ctc_weight:
        _log.warning("%s: with vLLM the LLM transcribes alone, without CTC (decoding.ctc_weight).", recipe.name)
    if recipe.prompt.joint_answer:
        message = "%s: with vLLM translations are written behind their tags, not in one piece with them."
        _log.warning(message, recipe.name)


def _exported(folder: Path, compute_type: str) -> Path:
    """In the hub's cache for what is made of models; who comes second waits for the first."""
    made = f"{digest_of_weights(folder)}-{compute_type}"
    out = cached_assets_path("dragoman", namespace="vllm", subfolder=__version__) / made
    with WeakFileLock(f"{out}.lock"):
        return out if out.is_dir() else export_vllm(folder, out, compute_type)
