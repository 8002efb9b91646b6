"""Speech -> transcript and translations, many targets in one pass: encoder and adapter run once an utterance, the
transcript is written once, and every target goes on from the audio's and the transcript's shared beginning.

Shapes: U utterances, B rows (one a target), A audio tokens, T text tokens, D LLM width.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig

from dragoman.data.batching import Mel, Row, pad_mels, pad_rows
from dragoman.data.examples import TextEncoder
from dragoman.data.tasks import TASKS, Item, Tags, escape
from dragoman.model.checkpoint import LoadedModel
from dragoman.model.llm import embed
from dragoman.model.splice import splice


@dataclass(frozen=True)
class Request:
    """One utterance, mel (M, F), its language, and the languages wanted."""

    mel: Mel
    source: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Translation:
    """`raw` is the model's whole output in the SRT format; `truncated`: it was stopped by max_new_tokens."""

    text: str
    raw: str
    truncated: bool


@dataclass(frozen=True)
class Decoded:
    """`score` is the mean log-probability of the transcript's tokens, end included."""

    transcript: str
    translations: dict[str, Translation]
    truncated: bool
    score: float


@dataclass(frozen=True)
class _Output:
    text: str
    truncated: bool
    score: float


@dataclass(frozen=True)
class _Heard:
    """Audio tokens (U, A, D), their valid counts (U,), and the LLM's keys and values after them."""

    audio: Tensor
    num_audio: Tensor
    cache: DynamicCache


class Decoder:
    """`beams` 1 is greedy. Rows are decoded `max_rows` at a time."""

    def __init__(self, loaded: LoadedModel, beams: int, max_new_tokens: int, max_rows: int = 64) -> None:
        self.recipe, self.model, self.tokenizer = loaded.recipe, loaded.model.eval(), loaded.tokenizer
        self.max_rows = max(1, max_rows)
        self.beams = beams
        self.tags = Tags(loaded.recipe.prompt.tags)
        self.text = TextEncoder(loaded.tokenizer)
        self.device = next(loaded.model.parameters()).device
        # The checkpoint's own generation settings (sampling, penalties) are not ours: everything is said here.
        self.generation = GenerationConfig(
            do_sample=False,
            num_beams=beams,
            max_new_tokens=max_new_tokens,
            eos_token_id=loaded.tokenizer.eos_token_id,
            pad_token_id=loaded.tokenizer.pad_token_id,
            return_dict_in_generate=True,
            output_scores=True,
        )

    @torch.inference_mode()
    def __call__(self, requests: Sequence[Request]) -> list[Decoded]:
        """Decode a batch of utterances, each into all its targets; the result does not depend on the batch."""
        heard = self._hear(requests)
        transcripts = self._transcribe(requests, heard)
        wanted = [(number, code) for number, request in enumerate(requests) for code in request.targets]
        # an empty transcript is silence: there is nothing to translate
        spoken = [(number, code) for number, code in wanted if transcripts[number].text]
        rows = [self._forced(requests[number].source, code, transcripts[number].text) for number, code in spoken]
        outputs = dict(zip(spoken, self._generate(heard, [n for n, _ in spoken], rows), strict=True))
        return [
            Decoded(
                said.text,
                {
                    code: self._translation(request.source, code, said, outputs.get((number, code)))
                    for code in request.targets
                },
                said.truncated,
                said.score,
            )
            for number, (request, said) in enumerate(zip(requests, transcripts, strict=True))
        ]

    def _hear(self, requests: Sequence[Request]) -> _Heard:
        mel, num_frames = pad_mels([request.mel for request in requests])
        audio, num_audio = self.model.hear(mel.to(self.device), num_frames.to(self.device))
        nothing = torch.zeros((len(requests), 0), dtype=torch.long, device=self.device)
        rows, mask, position_ids = splice(
            audio, num_audio, embed(self.model.llm, nothing), nothing, torch.arange(len(requests), device=self.device)
        )
        cache = DynamicCache(config=self.model.llm.config)
        self.model.llm(
            inputs_embeds=rows, attention_mask=mask, position_ids=position_ids, past_key_values=cache, use_cache=True
        )
        return _Heard(audio, num_audio, cache)

    def _transcribe(self, requests: Sequence[Request], heard: _Heard) -> list[_Output]:
        """By the ASR prompt; by the SRT prompt of the first target where the model's last stage had forgotten ASR."""
        items = [Item(request.source, (request.targets or (request.source,))[0]) for request in requests]
        task = TASKS["asr" if self.recipe.transcribes else "srt"]
        rows = [Row(self.text.prompt(task.prompt(item, self.tags))) for item in items]
        outputs = self._generate(heard, range(len(requests)), rows)
        parsed = [task.parse(output.text, item, self.tags) for output, item in zip(outputs, items, strict=True)]
        return [
            _Output((said.transcript or "").strip(), output.truncated, output.score)
            for said, output in zip(parsed, outputs, strict=True)
        ]

    def _forced(self, source: str, target: str, transcript: str) -> Row:
        """The SRT prompt with the transcript already written: what is left to write is the translation."""
        prompt = self.text.prompt(TASKS["srt"].prompt(Item(source, target), self.tags))
        return Row((*prompt, *self.text.plain(escape(transcript) + self.tags(source, target))))

    def _translation(self, source: str, target: str, said: _Output, output: _Output | None) -> Translation:
        if output is None:
            return Translation("", "", said.truncated)
        raw = escape(said.text) + self.tags(source, target) + output.text.strip()
        parsed = TASKS["smt"].parse(output.text, Item(source, target), self.tags)
        return Translation((parsed.translation or "").strip(), raw, output.truncated)

    def _generate(self, heard: _Heard, utterance_of: Sequence[int], rows: Sequence[Row]) -> list[_Output]:
        outputs: list[_Output] = []
        for start in range(0, len(rows), self.max_rows):
            chunk = slice(start, start + self.max_rows)
            outputs += self._generate_chunk(heard, list(utterance_of[chunk]), rows[chunk])
        return outputs

    def _generate_chunk(self, heard: _Heard, utterance_of: list[int], rows: Sequence[Row]) -> list[_Output]:
        of = torch.tensor(utterance_of, device=self.device)
        text = pad_rows(rows, self.tokenizer.pad_token_id, "left").to(self.device)
        embeddings, mask, _ = splice(
            heard.audio, heard.num_audio, embed(self.model.llm, text.input_ids), text.attention_mask, of
        )
        cache = _shared(heard.cache)
        cache.batch_select_indices(of.repeat_interleave(self.beams))
        found = self.model.llm.generate(
            inputs_embeds=embeddings, attention_mask=mask, past_key_values=cache, generation_config=self.generation
        )
        scores = self.model.llm.compute_transition_scores(
            found.sequences, found.scores, getattr(found, "beam_indices", None), normalize_logits=True
        )
        return [self._output(ids, row) for ids, row in zip(found.sequences.tolist(), scores, strict=True)]

    def _output(self, ids: list[int], scores: Tensor) -> _Output:
        end = self.tokenizer.eos_token_id
        size = ids.index(end) if end in ids else len(ids)
        written = min(size + 1, len(scores))
        text = self.tokenizer.decode([n for n in ids[:size] if n != self.tokenizer.pad_token_id])
        return _Output(text, end not in ids, float(scores[:written].mean()) if written else 0.0)


def _shared(cache: DynamicCache) -> DynamicCache:
    """A cache that grows by itself from the same tensors: they are replaced when it grows, never written into."""
    grown = copy.copy(cache)
    grown.layers = [copy.copy(layer) for layer in cache.layers]
    return grown
