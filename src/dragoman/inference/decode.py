"""Speech -> transcript and translations, many targets in one pass: encoder and adapter run once an utterance, the
transcript is written once, and every target goes on from the audio's and the transcript's shared beginning.

Shapes: U utterances, B rows (one a target), A audio tokens, T text tokens, D LLM width.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from transformers import DynamicCache, GenerationConfig, LogitsProcessorList

from dragoman.data.batching import IGNORED, Mel, Row, pad_ids, pad_mels, pad_rows
from dragoman.data.examples import TextEncoder
from dragoman.data.tasks import TASKS, Item, Tags, Task, escape, said
from dragoman.inference.glossary import Glossary
from dragoman.inference.phrases import Phrases, occurs
from dragoman.inference.steering import Steering, Told, Wish
from dragoman.model.checkpoint import LoadedModel
from dragoman.model.llm import embed
from dragoman.model.splice import splice

HOTWORD_BIAS = 2.0
"""What is added to the LLM's scores of the tokens of a hotword, in nats; docs/translating.md has what it does."""
_PLACES = 4
"""So many places are tried for a term of the glossary."""


@dataclass(frozen=True)
class Request:
    """One utterance, mel (M, F), its language, and the languages wanted; words that may be said, and terms with their
    translations."""

    mel: Mel
    source: str
    targets: tuple[str, ...]
    hotwords: tuple[str, ...] = ()
    glossary: Glossary | None = None


@dataclass(frozen=True)
class Translation:
    """`raw` is the model's whole output, in the SRT format unless it translates directly; `truncated`: it was stopped
    by max_new_tokens; `looped`: it was held from a loop. `score` is the mean log-probability of its tokens, end
    included, where it is told. `missed`: translations of the glossary that are not in it."""

    text: str
    raw: str
    truncated: bool
    score: float | None = field(default=None, compare=False)  # two are the same that say the same
    looped: bool = False
    missed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decoded:
    """`score` is the mean log-probability of the transcript's tokens, end included, to the LLM; `ctc_score` the CTC
    log-likelihood of the transcript under the audio tokens alone, per token (0 where they were not taught by CTC)."""

    transcript: str
    translations: dict[str, Translation]
    truncated: bool
    score: float | None = None
    ctc_score: float = 0.0
    looped: bool = False


@dataclass(frozen=True)
class _Output:
    text: str
    truncated: bool
    told: Told
    missed: tuple[str, ...] = ()


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
        terms = [self._terms(requests[number], code, transcripts[number].text) for number, code in spoken]
        outputs = dict(zip(spoken, self._translate(heard, spoken, rows, terms), strict=True))
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
                transcript.told.looped,
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
            return [_Output("", False, Told(0.0, 1, False, ()))] * len(requests)
        items = [self._item(request) for request in requests]
        task = self._transcriber
        rows = [Row(self.text.prompt(task.prompt(item, self.tags))) for item in items]
        wishes = [
            [self._wish(request.hotwords, request.source, HOTWORD_BIAS)] if request.hotwords else []
            for request in requests
        ]
        outputs = self._generate(heard, range(len(requests)), rows, wishes)
        return [
            replace(output, text=self._transcript(task, output.text, item))
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

    def _terms(self, request: Request, target: str, transcript: str) -> tuple[str, ...]:
        return () if request.glossary is None else request.glossary.wanted(request.source, target, transcript)

    def _wish(self, phrases: tuple[str, ...], code: str, bias: float = 0.0) -> Wish:
        return Wish(Phrases(map(escape, phrases), code, self.text.plain), bias)

    def _translate(
        self,
        heard: _Heard,
        spoken: Sequence[tuple[int, str]],
        rows: Sequence[Row],
        terms: Sequence[tuple[str, ...]],
    ) -> list[_Output]:
        """A term that a translation lacks is put in at one place after the other, those where its beginning loses least
        against what stands there; what is likeliest as a whole is kept. A further term can only come behind."""
        numbers, codes = [number for number, _ in spoken], [code for _, code in spoken]
        wishes = [[self._wish((term,), code) for term in asked] for asked, code in zip(terms, codes, strict=True)]
        found = self._generate(heard, numbers, rows, wishes)
        for _ in range(max(map(len, terms), default=0)):
            tries = [
                (at, tried)
                for at, output in enumerate(found)
                for lacking in _missed(terms[at], output.text, codes[at])
                for tried in _placed(wishes[at], terms[at].index(lacking), output)
            ]
            again = self._generate(
                heard, [numbers[at] for at, _ in tries], [rows[at] for at, _ in tries], [tried for _, tried in tries]
            )
            best: dict[int, tuple[tuple[int, float], int]] = {}
            for number, ((at, _), output) in enumerate(zip(tries, again, strict=True)):
                rank = (-len(_missed(terms[at], output.text, codes[at])), output.told.log_prob)
                if not output.truncated and not output.told.looped:
                    best[at] = max(best.get(at, (rank, number)), (rank, number))
            for at, (rank, number) in best.items():
                if -rank[0] < len(_missed(terms[at], found[at].text, codes[at])):
                    found[at], wishes[at] = again[number], tries[number][1]
        return [
            replace(output, missed=_missed(asked, output.text, code))
            for output, asked, code in zip(found, terms, codes, strict=True)
        ]

    def _translation(self, source: str, target: str, transcript: _Output, output: _Output | None) -> Translation:
        if output is None:
            return Translation("", "", transcript.truncated)
        written = "" if self.recipe.translates_directly else escape(transcript.text) + self.tags(source, target)
        raw = written + output.text.strip()
        parsed = TASKS["smt"].parse(output.text, Item(source, target), self.tags)
        text = (parsed.translation or "").strip()
        return Translation(text, raw, output.truncated, output.told.score, output.told.looped, output.missed)

    def _generate(
        self,
        heard: _Heard,
        request_of: Sequence[int],
        rows: Sequence[Row],
        wishes: Sequence[Sequence[Wish]],
    ) -> list[_Output]:
        outputs: list[_Output] = []
        size = max(1, self.max_rows // self.beams)
        for start in range(0, len(rows), size):
            chunk = slice(start, start + size)
            steering = Steering(self.tokenizer, self.beams, wishes[chunk])
            of = [heard.heard_by[n] for n in request_of[chunk]]
            outputs += self._generate_chunk(heard, of, rows[chunk], steering)
        return outputs

    def _generate_chunk(
        self, heard: _Heard, utterance_of: list[int], rows: Sequence[Row], steering: Steering
    ) -> list[_Output]:
        of = torch.tensor(utterance_of, device=self.device)
        text = pad_rows(rows, self.tokenizer.pad_token_id, "left").to(self.device)
        embeddings, mask, _ = splice(
            heard.audio, heard.num_audio, embed(self.model.llm, text.input_ids), text.attention_mask, of
        )
        cache = _shared(heard.cache)
        cache.batch_select_indices(of.repeat_interleave(self.beams))
        found = self.model.llm.generate(
            inputs_embeds=embeddings,
            attention_mask=mask,
            past_key_values=cache,
            generation_config=self.generation,
            logits_processor=LogitsProcessorList([steering]),
        )
        return [self._output(ids, number, steering) for number, ids in enumerate(found.tolist())]

    def _output(self, ids: list[int], number: int, steering: Steering) -> _Output:
        end = self.tokenizer.eos_token_id
        written = ids[: ids.index(end)] if end in ids else ids
        told = steering.told(number, ids[: len(written) + 1])
        return _Output(self.tokenizer.decode(written), end not in ids, told)


def _placed(wishes: Sequence[Wish], number: int, output: _Output) -> Iterator[list[Wish]]:
    """The wishes, one of them set to a place: each of the _PLACES best, which are behind those that have theirs."""
    free = 1 + max((wish.at for wish in wishes if wish.at is not None), default=-1)
    losses = output.told.losses[number][:-1]  # the end stays the end
    places = sorted((loss, at) for at, loss in enumerate(losses) if at >= free and loss < math.inf)
    for _, at in places[:_PLACES]:
        yield [replace(wish, at=at) if one == number else wish for one, wish in enumerate(wishes)]


def _missed(terms: tuple[str, ...], text: str, code: str) -> tuple[str, ...]:
    return tuple(term for term in terms if not occurs(term, text, code))


def _shared(cache: DynamicCache) -> DynamicCache:
    """A cache that grows by itself from the same tensors: they are replaced when it grows, never written into."""
    grown = copy.copy(cache)
    grown.layers = [copy.copy(layer) for layer in cache.layers]
    return grown
