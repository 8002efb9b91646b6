"""A Translator for each client, which does its work in batches with the others'."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dragoman.data.features import FRAMES_PER_SECOND, Features, LogMel
from dragoman.inference.decoding.decoder import DecodedSpeech, DecodeRequest
from dragoman.inference.decoding.whisper_decoder import WhisperDecoder
from dragoman.inference.language_id import LanguageIdentifier, WhisperLanguageIdentifier
from dragoman.inference.options import TranslateOptions
from dragoman.inference.recordings import Speech
from dragoman.inference.translator import Translator
from dragoman.recipe import ENCODER_FRAMES_PER_S, AudioConfig
from dragoman.server.backend.batching import DECODE, BatchScheduler, BatchWorker, ClientLane, Kind, outcome
from dragoman.server.metrics import ServerMetrics


class LocalModel(BatchWorker):
    """The model of this process; does the work of a batch."""

    def __init__(self, translator: Translator) -> None:
        self._decoder, self._whisper = translator.decoder, translator.language_whisper

    def __call__(self, kind: Kind, payloads: Sequence[Any]) -> Sequence[Any]:
        if kind == DECODE:
            return self._decoder(payloads)
        name, given = kind
        if name == "likelihoods":
            assert isinstance(given, int)
            return self._decoder.likelihoods(payloads, given)
        assert self._whisper is not None and isinstance(given, tuple)
        return list(self._whisper.language_scores(payloads, given).cpu().numpy())

    def close(self) -> None:
        """It ends with its process."""


class LaneDecoder:
    """The Decoder as one client sees it."""

    def __init__(self, lane: ClientLane, beams: int, is_cascade: bool, audio: AudioConfig) -> None:
        self.beams, self.is_cascade, self._lane, self._audio = beams, is_cascade, lane, audio

    def __call__(self, requests: Sequence[DecodeRequest]) -> list[DecodedSpeech]:
        return list(self.each(requests))

    def each(self, requests: Sequence[DecodeRequest]) -> Iterator[DecodedSpeech]:
        """In order, each as soon as it is there."""
        return map(outcome, self._lane.submit(DECODE, requests, self._seconds(requests)))

    def likelihoods(self, requests: Sequence[DecodeRequest], beams: int) -> list[float]:
        """As Decoder's."""
        kind = ("likelihoods", beams)
        return [outcome(one) for one in self._lane.submit(kind, requests, self._seconds(requests))]

    def _seconds(self, requests: Sequence[DecodeRequest]) -> list[float]:
        return [self._audio.encoder_frames(one.features.shape[1]) / ENCODER_FRAMES_PER_S for one in requests]


class LaneWhisper:
    """The WhisperDecoder as one client sees it that asks for languages."""

    def __init__(self, lane: ClientLane) -> None:
        self._lane = lane

    def language_scores(self, mels: Sequence[Features], languages: Sequence[str]) -> Tensor:
        """As WhisperDecoder's."""
        kind = ("languages", tuple(languages))
        seconds = [mel.shape[1] / FRAMES_PER_SECOND for mel in mels]
        found = [outcome(one) for one in self._lane.submit(kind, mels, seconds)]
        return torch.from_numpy(np.stack(found))


@dataclass(frozen=True)
class ModelFacts:
    """What clients' translators need to know of the model's decoder and of how it tells languages."""

    beams: int
    is_cascade: bool
    tells_by_whisper: bool
    language_temperature: float

    @classmethod
    def of(cls, translator: Translator) -> ModelFacts:
        """Those of a model that is here."""
        identifier = translator.identifier
        temperature = identifier.temperature if isinstance(identifier, LanguageIdentifier) else 1.0
        decoder, by_whisper = translator.decoder, isinstance(identifier, WhisperLanguageIdentifier)
        return cls(decoder.beams, decoder.is_cascade, by_whisper, temperature)


@dataclass(frozen=True)
class _WhisperFeatures:
    """Of a WhisperDecoder what makes its mels."""

    features: LogMel

    @classmethod
    def of(cls, whisper: WhisperDecoder | None) -> _WhisperFeatures | None:
        return None if whisper is None else cls(whisper.features)


class WeightlessTranslator(Translator):
    """All that a Translator is but its weights, which are in another process: recipe, features, options."""

    def __init__(self, seen: Mapping[str, Any]) -> None:
        vars(self).update(seen)

    @staticmethod
    def seen(translator: Translator) -> dict[str, Any]:
        """What can be sent to another process."""
        heavy = ("model", "decoder", "identifier", "whisper", "language_whisper")
        facts = {name: value for name, value in vars(translator).items() if name not in heavy}
        whisper, language_whisper = map(_WhisperFeatures.of, (translator.whisper, translator.language_whisper))
        return {**facts, "whisper": whisper, "language_whisper": language_whisper}


class ClientTranslator(WeightlessTranslator):
    """The model's Translator as one client sees it: what it decodes waits in a lane; `sources` may be fewer, and the
    VAD's parameters the client's own. Raises DragomanError."""

    def __init__(
        self,
        translator: Translator,
        facts: ModelFacts,
        lane: ClientLane,
        vad_parameters: Mapping[str, float] | None = None,
        sources: Sequence[str] = (),
    ) -> None:
        super().__init__(vars(translator))
        self._lane_decoder = LaneDecoder(lane, facts.beams, facts.is_cascade, translator.recipe.audio)
        self.decoder = self._lane_decoder
        heard = sources or translator.sources
        if facts.tells_by_whisper:
            self.identifier = WhisperLanguageIdentifier(LaneWhisper(lane), heard, self.batch_size)
        else:
            self.identifier = LanguageIdentifier(self.decoder, heard, self.batch_size, facts.language_temperature)
        self.vad = translator.vad.varied(vad_parameters or {}, self.name)

    def _decode_speech(self, speech: Sequence[Speech], options: TranslateOptions) -> Iterator[DecodedSpeech]:
        return self._lane_decoder.each([self.request(part, options) for part in speech])


class ModelServer:
    """One model for all clients; its batches are shared out among `workers`."""

    def __init__(
        self, translator: Translator, facts: ModelFacts, workers: Sequence[BatchWorker], metrics: ServerMetrics
    ) -> None:
        self.translator, self.workers, self._facts = translator, workers, facts
        self.scheduler = BatchScheduler(workers, translator.batch_size, metrics)

    def client(
        self, vad_parameters: Mapping[str, float] | None = None, sources: Sequence[str] = ()
    ) -> tuple[ClientTranslator, ClientLane]:
        """For one request, whose lane is to be closed after it. Raises DragomanError."""
        lane = self.scheduler.lane()
        return ClientTranslator(self.translator, self._facts, lane, vad_parameters, sources), lane

    @property
    def is_alive(self) -> bool:
        """Whether one of its workers could do a batch now."""
        return any(worker.is_alive for worker in self.workers)

    def end(self) -> None:
        """What waits is dropped, the workers are closed."""
        self.scheduler.end()
        for worker in self.workers:
            worker.close()


OpenModel = Callable[[ServerMetrics], ModelServer]
"""Reads a model, which takes a while. Raises DragomanError."""
