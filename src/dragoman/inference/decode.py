"""Speech -> transcript and translations, many targets in one pass: encoder and adapter run once an utterance, the
transcript is written once, and every target goes on from the audio's and the transcript's shared beginning.

Shapes: U utterances, B rows (one a target), A audio tokens, T text tokens, D LLM width.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import DynamicCache, GenerationConfig

from dragoman.data.batching import IGNORED, Mel, Row, pad_ids, pad_mels, pad_rows
from dragoman.data.examples import TextEncoder
from dragoman.data.tasks import TASKS, Item, Tags, Task, escape, said
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
    """`raw` is the model's whole output, in the SRT format unless it translates directly; `truncated`: it was stopped
    by max_new_tokens."""

    text: str
    raw: str
    truncated: bool


@dataclass(frozen=True)
class Decoded:
    """`score` is the mean log-probability of the transcript's tokens, end included, to the LLM; `ctc_score` the CTC
    log-likelihood of the transcript under the audio tokens alone, per token (0 where they were not taught by CTC)."""

    transcript: str
    translations: dict[str, Translation]
    truncated: bool
    score: float
    ctc_score: float


@dataclass(frozen=True)
class _Output:
    text: str
    truncated: bool


@dataclass(frozen=True)
class _Heard:
    """Audio tokens (U, A, D), their valid counts (U,), the LLM's keys and values after them, and which of the U each
    request hears: requests that share a mel share all this."""

    audio: Tensor
    num_audio: Tensor
    cache: DynamicCache
    heard_by: list[int]


class Decoder:
    """`beams` 1 is greedy. Rows are decoded `max_rows` at a time."""

    def __init__(self, loaded: LoadedModel, beams: int, max_new_tokens: int, max_rows: int = 64) -> None:
        self.recipe, self.model, self.tokenizer = loaded.recipe, loaded.model.eval(), loaded.tokenizer
        self.max_rows = max(1, max_rows)
        self.beams = beams
        self.tags = Tags.of(loaded.recipe.prompt)
        self.text = TextEncoder(loaded.tokenizer, goes_on=bool(loaded.recipe.prompt.before_audio))
        self.device = next(loaded.model.parameters()).device
        # The checkpoint's own generation settings (sampling, penalties) are not ours: everything is said here.
        self.generation = GenerationConfig(
            do_sample=False,
            num_beams=beams,
            max_new_tokens=max_new_tokens,
            eos_token_id=loaded.tokenizer.eos_token_id,
            pad_token_id=loaded.tokenizer.pad_token_id,
        )

    @torch.inference_mode()
    def __call__(self, requests: Sequence[Request]) -> list[Decoded]:
        """Decode a batch of utterances, each into all its targets; the result does not depend on the batch."""
        heard = self._hear(requests)
        transcripts = self._transcribe(requests, heard)
        scores = self._scores(requests, heard, transcripts)
        ctc_scores = self._ctc_scores(heard, transcripts)
        wanted = [(number, code) for number, request in enumerate(requests) for code in request.targets]
        # an empty transcript is silence: there is nothing to translate
        spoken = [
            (number, code) for number, code in wanted if transcripts[number].text or not self.recipe.writes_speech
        ]
        rows = [self._asked(requests[number].source, code, transcripts[number].text) for number, code in spoken]
        outputs = dict(zip(spoken, self._generate(heard, [n for n, _ in spoken], rows), strict=True))
        return [
            Decoded(
                transcript.text,
                {
                    code: self._translation(request.source, code, transcript, outputs.get((number, code)))
                    for code in request.targets
                },
                transcript.truncated,
                scores[number],
                ctc_scores[number],
            )
            for number, (request, transcript) in enumerate(zip(requests, transcripts, strict=True))
        ]

    def _hear(self, requests: Sequence[Request]) -> _Heard:
        unique = {id(request.mel): request.mel for request in requests}
        numbers = {key: number for number, key in enumerate(unique)}
        mel, num_frames = pad_mels(list(unique.values()))
        audio, num_audio = self.model.hear(mel.to(self.device), num_frames.to(self.device))
        nothing = torch.zeros((len(unique), 0), dtype=torch.long, device=self.device)
        everyone = torch.arange(len(unique), device=self.device)
        rows, mask, position_ids = splice(audio, num_audio, embed(self.model.llm, nothing), nothing, everyone)
        cache = DynamicCache(config=self.model.llm.config)
        self.model.llm(
            inputs_embeds=rows,
            attention_mask=mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return _Heard(audio, num_audio, cache, [numbers[id(request.mel)] for request in requests])

    def _transcribe(self, requests: Sequence[Request], heard: _Heard) -> list[_Output]:
        """By the ASR prompt; by the SRT prompt of the first target where the model's last stage had forgotten ASR; not
        at all where it knew neither."""
        if not self.recipe.writes_speech:
            return [_Output("", False)] * len(requests)
        items = [self._item(request) for request in requests]
        task = self._transcriber
        rows = [Row(self.text.prompt(task.prompt(item, self.tags))) for item in items]
        outputs = self._generate(heard, range(len(requests)), rows)
        return [
            _Output(self._transcript(task, output.text, item), output.truncated)
            for output, item in zip(outputs, items, strict=True)
        ]

    @property
    def _transcriber(self) -> Task:
        return TASKS["asr" if self.recipe.transcribes else "srt"]

    def _item(self, request: Request, transcript: str = "") -> Item:
        others = (*request.targets, *(code for code in self.recipe.targets if code != request.source), request.source)
        return Item(request.source, others[0], transcript)

    def _transcript(self, task: Task, output: str, item: Item) -> str:
        """What a task's output says was said; all up to the tags where it does not keep the SRT format."""
        parsed = task.parse(output, item, self.tags).transcript
        text = said(output.partition(self.tags(item.source, item.target))[0]) if parsed is None else parsed
        return text.strip()

    def _scores(self, requests: Sequence[Request], heard: _Heard, transcripts: Sequence[_Output]) -> list[float]:
        """Mean log-probability of each transcript's tokens and of what ends it, after the prompt it was written for; 0
        where none is written."""
        if not self.recipe.writes_speech:
            return [0.0] * len(requests)
        rows = []
        for request, transcript in zip(requests, transcripts, strict=True):
            item = self._item(request, transcript.text)
            prompt, answer = self._transcriber.prompt(item, self.tags), self._transcriber.answer(item, self.tags)
            ids = self.text.answer(answer) if self.recipe.transcribes else self.text.plain(answer)
            rows.append(Row(self.text.prompt(prompt), ids))
        text = pad_rows(rows, self.tokenizer.pad_token_id).to(self.device)
        of = torch.tensor(heard.heard_by, device=self.device)
        embeddings, mask, position_ids = splice(
            heard.audio, heard.num_audio, embed(self.model.llm, text.input_ids), text.attention_mask, of
        )
        cache = _shared(heard.cache)
        cache.batch_select_indices(of)
        audio = heard.audio.shape[1]
        logits = self.model.llm(
            inputs_embeds=embeddings[:, audio:],
            attention_mask=mask,
            position_ids=position_ids[:, audio:],
            past_key_values=cache,
        ).logits
        entropy = nn.functional.cross_entropy(
            logits[:, :-1].transpose(1, 2).float(), text.labels[:, 1:], ignore_index=IGNORED, reduction="none"
        )
        return (-entropy.sum(1) / (text.labels[:, 1:] != IGNORED).sum(1)).tolist()

    def _ctc_scores(self, heard: _Heard, transcripts: Sequence[_Output]) -> list[float]:
        if not self.recipe.aligned_by_ctc:
            return [0.0] * len(transcripts)
        ids, lengths = pad_ids([self.text.plain(escape(transcript.text)) for transcript in transcripts])
        of = torch.tensor(heard.heard_by, device=self.device)
        losses = self.model.ctc_loss(
            heard.audio[of], heard.num_audio[of], ids.to(self.device), lengths.to(self.device), reduction="none"
        )
        return (-losses / (lengths.to(self.device) + 1)).tolist()

    def _asked(self, source: str, target: str, transcript: str) -> Row:
        """What the translation is written after: the SRT prompt with the transcript already there, or the ST prompt."""
        if self.recipe.translates_directly:
            return Row(self.text.prompt(TASKS["st"].prompt(Item(source, target), self.tags)))
        prompt = self.text.prompt(TASKS["srt"].prompt(Item(source, target), self.tags))
        return Row((*prompt, *self.text.plain(escape(transcript) + self.tags(source, target))))

    def _translation(self, source: str, target: str, transcript: _Output, output: _Output | None) -> Translation:
        if output is None:
            return Translation("", "", transcript.truncated)
        written = "" if self.recipe.translates_directly else escape(transcript.text) + self.tags(source, target)
        raw = written + output.text.strip()
        parsed = TASKS["smt"].parse(output.text, Item(source, target), self.tags)
        return Translation((parsed.translation or "").strip(), raw, output.truncated)

    def _generate(self, heard: _Heard, request_of: Sequence[int], rows: Sequence[Row]) -> list[_Output]:
        outputs: list[_Output] = []
        size = max(1, self.max_rows // self.beams)
        for start in range(0, len(rows), size):
            chunk = slice(start, start + size)
            outputs += self._generate_chunk(heard, [heard.heard_by[n] for n in request_of[chunk]], rows[chunk])
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
        return [self._output(ids) for ids in found.tolist()]

    def _output(self, ids: list[int]) -> _Output:
        end = self.tokenizer.eos_token_id
        written = ids[: ids.index(end)] if end in ids else ids
        return _Output(self.tokenizer.decode(written), end not in ids)


def _shared(cache: DynamicCache) -> DynamicCache:
    """A cache that grows by itself from the same tensors: they are replaced when it grows, never written into."""
    grown = copy.copy(cache)
    grown.layers = [copy.copy(layer) for layer in cache.layers]
    return grown
