"""Whisper's own decoder, beside the adapter that hears through the same encoder.

Shapes: U utterances, M mel bins, F mel frames, S encoder frames, E encoder width, T text tokens.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import EncoderDecoderCache, GenerationConfig, GenerationMixin, WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from dragoman.data.batching import pad_features
from dragoman.data.features import FRAMES_PER_SECOND, Features, LogMel
from dragoman.errors import ModelError
from dragoman.inference.decoding.constraints import DecodeStats
from dragoman.inference.decoding.generate import GeneratedText
from dragoman.inference.decoding.greedy import search_greedily
from dragoman.inference.decoding.search import EndsAt, SearchLimits, WrittenRow
from dragoman.model.bases import find_encoder
from dragoman.model.bases.loading import load_pretrained, load_tokenizer
from dragoman.model.encoder import MelEncoder
from dragoman.recipe import Recipe
from dragoman.text.languages import find
from dragoman.text.repetition import has_loop

_PROMPT = 4
"""Tokens before the text: start, language, task, no timestamps; they share the decoder's positions with it."""
_MOST_TOKENS = 220
"""Of a transcript: what people say in 30 s is shorter, and a loop ends there."""
_MOST_FRAMES = 12_800
"""Mel frames of a batch with its padding, on a CPU: 16 clips of 8 s. Each two take 12 kB of keys and values."""
_NO_SPEECH, _DOUBTED = 0.6, -1.0
"""Nothing is said where that is likelier than the first, to Whisper, and the mean log-probability of what it writes is
below the second; both are openai-whisper's."""
_LOOK_EVERY = 8
"""Tokens from one look for loops to the next."""


class WhisperDecoder:
    """Transcribes as Whisper was trained to: given language and task by tokens (Radford et al. 2022, section 2.3).

    `features` makes its mels: a trimmed clip and 4 s of silence behind it. With less, it often repeats what is said in
    a short clip; with the whole window it costs several times as much. A transcript does not depend on its batch.
    """

    def __init__(self, whisper: WhisperForConditionalGeneration, tokenizer: Any) -> None:
        self.whisper, self.tokenizer = whisper.eval(), tokenizer
        self.encoder = MelEncoder(whisper.get_encoder(), "trimmed")
        window_s = self.encoder.window_frames / FRAMES_PER_SECOND
        self.features = LogMel(self.encoder.mel_bins, window_s, padded=False, silence_s=4.0)
        known = getattr(whisper.generation_config, "lang_to_id", None)
        if not known:
            raise ModelError("This Whisper hears English only; its decoder cannot transcribe other languages.")
        self.languages = {find(token.strip("<|>")).code: number for token, number in known.items()}

    @classmethod
    def load(cls, recipe: Recipe, device: torch.device, dtype: torch.dtype) -> WhisperDecoder:
        """The whole of the Whisper whose encoder a recipe names. Raises ModelError."""
        if recipe.encoder.name == "base" or recipe.audio.kind != "log-mel":
            raise ModelError(f"{recipe.name}: its encoder has no decoder of its own; leave transcript_by as adapter.")
        place = find_encoder(recipe.encoder, None)
        kind = WhisperForConditionalGeneration
        whisper = load_pretrained(kind, place.weights, what="Whisper", revision=place.revision, dtype=dtype)
        return cls(whisper.to(device), load_tokenizer(place.weights, place.revision))

    @torch.inference_mode()
    def __call__(self, mels: Sequence[Features], languages: Sequence[str], beams: int) -> list[GeneratedText]:
        """mel (M, F) each and the language spoken in it -> what is said. What loops or runs to the limit is heard again
        in the whole window, as Whisper was trained, and greedily where beams do so there too."""
        shorter = [mel.shape[1] < self.encoder.window_frames for mel in mels]
        outputs: list[GeneratedText] = []
        for part in self._parts(mels):
            outputs += self._transcripts(mels[part], languages[part], beams, _loops_of(shorter[part]))
        for search in dict.fromkeys((beams, 1)):
            again_better = [shorter[at] or search < beams for at in range(len(outputs))]
            looped = [
                at for at, one in enumerate(outputs) if again_better[at] and (one.truncated or has_loop(one.text))
            ]
            windows = [self._in_window(mels[at]) for at in looped]
            again = self._transcripts(windows, [languages[at] for at in looped], search) if looped else []
            for at, output in zip(looped, again, strict=True):
                outputs[at] = output
        return outputs

    def _parts(self, mels: Sequence[Features]) -> Iterator[slice]:
        """All at once; on a CPU, whose memory other programs want too, as many as are not too long together."""
        start, most = 0, _MOST_FRAMES if self.whisper.device.type == "cpu" else sys.maxsize
        for end in range(1, len(mels)):
            if (end + 1 - start) * max(mel.shape[1] for mel in mels[start : end + 1]) > most:
                yield slice(start, end)
                start = end
        yield slice(start, len(mels))

    def _in_window(self, mel: Features) -> Features:
        """mel (M, F) -> (M, the window's F): silence behind it, as its own last frames are."""
        missing = self.encoder.window_frames - mel.shape[1]
        return np.pad(mel, ((0, 0), (0, missing)), constant_values=float(mel.min()))

    def _transcripts(
        self, mels: Sequence[Features], languages: Sequence[str], beams: int, ends: EndsAt | None = None
    ) -> list[GeneratedText]:
        frames, valid = self._hear(mels)
        prompts = self._prompts(languages).to(frames.device)
        known = self.whisper.generation_config
        limits = SearchLimits(known.eos_token_id, known.pad_token_id, self._most_tokens)
        model = _WhisperStepModel(self.whisper, frames, valid, prompts)
        if beams == 1:
            with _attending(self.whisper, lambda: model.valid):
                rows = search_greedily(model, limits, self._suppressed, ends)
            return [
                self._output([known.eos_token_id] if _is_silence(silence, row) else row.ids)
                for silence, row in zip(model.no_speech, rows, strict=True)
            ]
        outputs = [self._output(ids) for ids in self._search_with_beams(frames, valid, prompts, beams)]
        with _attending(self.whisper, lambda: valid):
            model.start()
        for at, silence in enumerate(model.no_speech):
            if silence > _NO_SPEECH:  # how likely its text is, is known of a greedy one
                (greedy,) = self._transcripts([mels[at]], [languages[at]], 1)
                outputs[at] = outputs[at] if greedy.text else greedy
        return outputs

    @torch.inference_mode()
    def language_scores(self, mels: Sequence[Features], languages: Sequence[str]) -> Tensor:
        """mel (M, F) each -> (U, L) log-probabilities of the languages, by the first token that it writes."""
        frames, valid = self._hear(mels)
        start = torch.full((len(mels), 1), self.whisper.generation_config.decoder_start_token_id, device=frames.device)
        with _attending(self.whisper, lambda: valid):
            logits = _WhisperStepModel(self.whisper, frames, valid, start).start()
        return logits[:, [self.languages[code] for code in languages]].log_softmax(-1)

    def _hear(self, mels: Sequence[Features]) -> tuple[Tensor, Tensor]:
        """mel (M, F) each -> frames (U, S, E), and which of them are its own (U, S)."""
        weights = next(self.whisper.parameters())
        mel, num_frames = pad_features(mels)
        frames, lengths = self.encoder(mel.to(weights.device, weights.dtype), num_frames.to(weights.device))
        return frames, torch.arange(frames.shape[1], device=lengths.device) < lengths[:, None]

    def _search_with_beams(self, frames: Tensor, valid: Tensor, prompts: Tensor, beams: int) -> list[list[int]]:
        repeated = valid.repeat_interleave(beams, 0)
        with _attending(self.whisper, lambda: repeated):
            found = GenerationMixin.generate(
                self.whisper,
                encoder_outputs=BaseModelOutput(last_hidden_state=frames),
                decoder_input_ids=prompts,
                decoder_attention_mask=torch.ones_like(prompts),
                generation_config=self._generation_config(beams),
            )
        rows: list[list[int]] = found[:, prompts.shape[1] :].tolist()
        return rows

    def _suppressed(self, ids: Tensor, logits: Tensor, rows: Sequence[int]) -> Tensor:
        """Without what Whisper never writes, or not as its first token."""
        known = self.whisper.generation_config
        logits[:, known.suppress_tokens or []] = -torch.inf
        if not ids.shape[1]:
            logits[:, known.begin_suppress_tokens or []] = -torch.inf
        return logits

    @property
    def _most_tokens(self) -> int:
        return min(_MOST_TOKENS, int(self.whisper.config.max_target_positions) - _PROMPT)

    def _prompts(self, languages: Sequence[str]) -> Tensor:
        """(U, 4): start, language, task, no timestamps."""
        known = self.whisper.generation_config
        task, plain = known.task_to_id["transcribe"], known.no_timestamps_token_id
        return torch.tensor([[known.decoder_start_token_id, self.languages[code], task, plain] for code in languages])

    def _generation_config(self, beams: int) -> GenerationConfig:
        known = self.whisper.generation_config
        return GenerationConfig(
            do_sample=False,
            num_beams=beams,
            max_new_tokens=self._most_tokens,
            suppress_tokens=known.suppress_tokens,
            begin_suppress_tokens=known.begin_suppress_tokens,
            eos_token_id=known.eos_token_id,
            pad_token_id=known.pad_token_id,
            decoder_start_token_id=known.decoder_start_token_id,
        )

    def _output(self, ids: list[int]) -> GeneratedText:
        end = self.whisper.generation_config.eos_token_id
        written = ids[: ids.index(end)] if end in ids else ids
        text = self.tokenizer.decode(written, skip_special_tokens=True)
        return GeneratedText(text.strip(), end not in ids, DecodeStats(0.0, 1, False, ()))


def _is_silence(no_speech: float, row: WrittenRow) -> bool:
    """Whether what was written is made up where nothing is said."""
    return no_speech > _NO_SPEECH and sum(row.log_probs) < _DOUBTED * len(row.log_probs)


def _loops_of(shorter: Sequence[bool]) -> EndsAt:
    """Ends rows that loop, of clips that are shorter than the window: others are not heard again, and people may say a
    thing four times."""

    def ends(ids: Tensor, rows: Sequence[int]) -> list[int]:
        return [at for at in _looping(ids) if shorter[rows[at]]]

    return ends


def _looping(ids: Tensor) -> list[int]:
    """Which rows of ids (B, T) end in one to sixteen tokens said four times over, twelve tokens at least."""
    size = ids.shape[1]
    if size % _LOOK_EVERY:
        return []
    found = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    for period in range(1, min(16, size // 4) + 1):
        span = max(4 * period, 12)
        if span <= size:
            end = ids[:, -span:]
            found |= (end[:, period:] == end[:, :-period]).all(1)
    rows: list[int] = found.nonzero()[:, 0].tolist()
    return rows


class _WhisperStepModel:
    """Its decoder after prompts (U, T): what it hears are frames (U, S, E), of which `valid` (U, S) are its own."""

    def __init__(
        self, whisper: WhisperForConditionalGeneration, frames: Tensor, valid: Tensor, prompts: Tensor
    ) -> None:
        self.whisper, self.frames, self.valid, self.prompts = whisper, frames, valid, prompts
        self.cache: EncoderDecoderCache | None = None
        self.no_speech: list[float] = []
        """Once it has started: how likely it is, to Whisper, that nothing is said in each."""

    def start(self) -> Tensor:
        hidden = self._hidden(self.prompts)
        silence = self.whisper.generation_config.no_timestamps_token_id - 1  # as transformers finds it
        self.no_speech = self._logits(hidden[:, 0]).softmax(-1)[:, silence].tolist()
        return self._logits(hidden[:, -1])

    def step(self, tokens: Tensor) -> Tensor:
        return self._logits(self._hidden(tokens[:, None])[:, -1])

    def keep(self, rows: Tensor) -> None:
        self.frames, self.valid = self.frames[rows], self.valid[rows]
        if self.cache is not None:
            self.cache.batch_select_indices(rows)

    def _hidden(self, ids: Tensor) -> Tensor:
        found = self.whisper.model.decoder(
            input_ids=ids, encoder_hidden_states=self.frames, past_key_values=self.cache, use_cache=True
        )
        self.cache = found.past_key_values
        hidden: Tensor = found.last_hidden_state
        return hidden

    def _logits(self, hidden: Tensor) -> Tensor:
        """(U, E) -> (U, V)."""
        logits: Tensor = self.whisper.proj_out(hidden.contiguous()).float()
        return logits


@contextmanager
def _attending(whisper: WhisperForConditionalGeneration, valid: Callable[[], Tensor]) -> Iterator[None]:
    """Let the decoder see each row's own frames alone, `valid` (U, S): transformers' Whisper knows no padding there."""

    def masked(layer: Any, args: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**options, "encoder_attention_mask": valid()[:, None, None]}

    hooks = [layer.register_forward_pre_hook(masked, with_kwargs=True) for layer in whisper.model.decoder.layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
