"""A Translator for each client, which does its work in batches with the others'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dragoman.data.batching import Mel
from dragoman.inference.decoding.decoder import DecodedSpeech, DecodeRequest
from dragoman.inference.language_id import LanguageIdentifier, WhisperLanguageIdentifier
from dragoman.inference.recordings import Speech, TranslateOptions
from dragoman.inference.translator import Translator
from dragoman.server.backend.batching import BatchScheduler, ClientLane, Kind, outcome

FRAMES_PER_S = 100
_DECODE: Kind = ("decode",)


class LocalModel:
    """The model of this process; does the work of a batch."""

    def __init__(self, translator: Translator) -> None:
        self._decoder, self._whisper = translator.decoder, translator.whisper

    def __call__(self, kind: Kind, payloads: Sequence[Any]) -> Sequence[Any]:
        if kind == _DECODE:
            return self._decoder(payloads)
        name, given = kind
        if name == "likelihoods":
            assert isinstance(given, int)
            return self._decoder.likelihoods(payloads, given)
        assert self._whisper is not None and isinstance(given, tuple)
        return list(self._whisper.language_scores(payloads, given))


class LaneDecoder:
    """The Decoder as one client sees it."""

    def __init__(self, lane: ClientLane, beams: int) -> None:
        self.beams, self._lane = beams, lane

    def __call__(self, requests: Sequence[DecodeRequest]) -> list[DecodedSpeech]:
        return list(self.each(requests))

    def each(self, requests: Sequence[DecodeRequest]) -> Iterator[DecodedSpeech]:
        """In order, each as soon as it is there."""
        return map(outcome, self._lane.submit(_DECODE, requests, [_seconds(one.mel) for one in requests]))

    def likelihoods(self, requests: Sequence[DecodeRequest], beams: int) -> list[float]:
        """As Decoder's."""
        kind = ("likelihoods", beams)
        return [outcome(one) for one in self._lane.submit(kind, requests, [_seconds(one.mel) for one in requests])]


class LaneWhisper:
    """The WhisperDecoder as one client sees it that asks for languages."""

    def __init__(self, lane: ClientLane) -> None:
        self._lane = lane

    def language_scores(self, mels: Sequence[Mel], languages: Sequence[str]) -> Tensor:
        """As WhisperDecoder's."""
        kind = ("languages", tuple(languages))
        return torch.stack([outcome(one) for one in self._lane.submit(kind, mels, [_seconds(mel) for mel in mels])])


class ClientTranslator(Translator):
    """All that the model's Translator is, but what it decodes waits in a lane; `sources` may be fewer, and the VAD's
    parameters the client's own. Raises DragomanError."""

    def __init__(
        self,
        translator: Translator,
        lane: ClientLane,
        vad_parameters: Mapping[str, float] | None = None,
        sources: Sequence[str] = (),
    ) -> None:
        vars(self).update(vars(translator))
        self._lane_decoder = LaneDecoder(lane, translator.decoder.beams)
        self.decoder = self._lane_decoder
        heard, identifier = sources or translator.sources, translator.identifier
        if isinstance(identifier, LanguageIdentifier):
            self.identifier = LanguageIdentifier(self.decoder, heard, self.batch_size, identifier.temperature)
        else:
            self.identifier = WhisperLanguageIdentifier(LaneWhisper(lane), heard, self.batch_size)
        self.vad = translator.vad.varied(vad_parameters or {}, self.name)

    def _decode_speech(self, speech: Sequence[Speech], options: TranslateOptions) -> Iterator[DecodedSpeech]:
        return self._lane_decoder.each([self.request(part, options) for part in speech])


class ModelServer:
    """One model, or several replicas of it, for all clients."""

    def __init__(self, translator: Translator, scheduler: BatchScheduler) -> None:
        self.translator, self.scheduler = translator, scheduler

    def client(
        self, vad_parameters: Mapping[str, float] | None = None, sources: Sequence[str] = ()
    ) -> tuple[ClientTranslator, ClientLane]:
        """For one request, whose lane is to be closed after it. Raises DragomanError."""
        lane = self.scheduler.lane()
        return ClientTranslator(self.translator, lane, vad_parameters, sources), lane


def _seconds(mel: Mel) -> float:
    return mel.shape[1] / FRAMES_PER_S
