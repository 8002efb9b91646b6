"""Speech -> transcript and translations, many targets in one pass: encoder and adapter run once an utterance, the
transcript is written once, and every target goes on from the audio's and the transcript's shared beginning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch

from dragoman.data.batching import TextRow
from dragoman.data.examples import TextEncoder
from dragoman.data.features import Features
from dragoman.data.tasks import TASKS, LanguageTags, Task, TaskItem, escape, said
from dragoman.inference.decoding.constraints import PhraseBias
from dragoman.inference.decoding.generate import EMPTY_OUTPUT, GeneratedText, TextSearch
from dragoman.inference.decoding.glossary import Glossary
from dragoman.inference.decoding.phrases import Phrases
from dragoman.inference.decoding.prefix_cache import (
    AudioPrefix,
    ctc_log_likelihoods,
    encode_audio_prefix,
    log_likelihoods,
)
from dragoman.inference.decoding.term_insertion import insert_terms, missing_terms
from dragoman.inference.decoding.whisper_decoder import WhisperDecoder
from dragoman.model.build import LoadedModel
from dragoman.recipe import TranslateFrom

HOTWORD_BIAS = 2.0
"""What is added to the LLM's scores of the tokens of a hotword, in nats; docs/translating.md has what it does."""


@dataclass(frozen=True)
class DecodeRequest:
    """One utterance, features (C, F), its language, and the languages wanted; words that may be said, and terms with
    their translations. `prefixes` has what the text of "transcript" or of a target (its code) begins with: that stays,
    the rest is written. `transcript` is what was said, of all utterances of a batch or of none; known, it is not
    written anew."""

    features: Features
    source: str
    targets: tuple[str, ...]
    hotwords: tuple[str, ...] = ()
    glossary: Glossary | None = None
    prefixes: Mapping[str, str] = field(default_factory=dict)
    whisper_mel: Features | None = None
    """What Whisper's own decoder hears, where it writes the transcript."""
    transcript: str | None = None


@dataclass(frozen=True)
class Translation:
    """`raw` is the model's whole output, in the SRT format unless it translates directly; `truncated`: it was stopped
    by max_new_tokens; `looped`: a loop was blocked. `score` is the mean log-probability of its tokens, end
    included, where it is known. `missed`: translations of the glossary that are not in it."""

    text: str
    raw: str
    truncated: bool
    score: float | None = field(default=None, compare=False)  # two are the same that say the same
    looped: bool = False
    missed: tuple[str, ...] = ()


@dataclass(frozen=True)
class DecodedSpeech:
    """`score` is the mean log-probability of the transcript's tokens, end included, to the LLM."""

    transcript: str
    translations: dict[str, Translation]
    truncated: bool
    score: float | None = None
    looped: bool = False


class BatchDecoder(Protocol):
    """What a Decoder is to those who use it; another may do its work in a batch with that of others."""

    beams: int

    @property
    def is_cascade(self) -> bool:
        """As Decoder's."""

    def __call__(self, requests: Sequence[DecodeRequest]) -> Sequence[DecodedSpeech]:
        """As Decoder's."""

    def likelihoods(self, requests: Sequence[DecodeRequest], beams: int) -> Sequence[float]:
        """As Decoder's."""


class Decoder:
    """`beams` 1 is greedy. Rows are decoded `max_rows` at a time. With `no_repeat_ngram_size` no n tokens are written
    twice, in transcript and translation together, in the place of the guard against loops; 0: none is blocked. With a
    `whisper`, that writes the transcripts; `translate_from`: see DecodingConfig. `smt`: speech is translated by the
    task smt, as it is with Whisper's transcripts, not by going on where srt has written the transcript."""

    def __init__(
        self,
        loaded: LoadedModel,
        beams: int,
        max_new_tokens: int,
        max_rows: int = 64,
        no_repeat_ngram_size: int | None = None,
        *,
        whisper: WhisperDecoder | None = None,
        translate_from: TranslateFrom = "speech",
        smt: bool = False,
    ) -> None:
        self.recipe, self.model, self.tokenizer = loaded.recipe, loaded.model.eval(), loaded.tokenizer
        self.beams = beams
        self.tags = LanguageTags.from_prompt(loaded.recipe.prompt)
        self.text = TextEncoder(loaded.tokenizer, continues_text=bool(loaded.recipe.prompt.before_audio))
        self.search = TextSearch(loaded, max_new_tokens, max_rows, no_repeat_ngram_size)
        self.whisper, self.translate_from = whisper, translate_from
        self.smt = smt or whisper is not None

    @property
    def is_cascade(self) -> bool:
        """Whether the LLM translates what Whisper's own decoder wrote, and hears nothing itself."""
        return self.whisper is not None and self.translate_from == "transcript"

    @torch.inference_mode()
    def __call__(self, requests: Sequence[DecodeRequest]) -> list[DecodedSpeech]:
        """Decode a batch of utterances, each into all its targets; the result does not depend on the batch."""
        cascade = self.is_cascade
        audio_prefix = AudioPrefix.without_audio(self.model, len(requests)) if cascade else self._audio_prefix(requests)
        transcripts = self._transcribe(requests, audio_prefix, self.beams, joint=True)
        scores: Sequence[float | None] = [None] * len(requests)  # nobody can tell without the speech
        if not cascade:
            scores = self._scores(requests, audio_prefix, transcripts)
        if self.translate_from == "transcript":
            audio_prefix = AudioPrefix.without_audio(self.model, len(requests))
        translations = self._translate(requests, audio_prefix, transcripts)
        return [
            DecodedSpeech(transcript.text, found, transcript.truncated, score, transcript.stats.looped)
            for transcript, found, score in zip(transcripts, translations, scores, strict=True)
        ]

    @torch.inference_mode()
    def likelihoods(self, requests: Sequence[DecodeRequest], beams: int) -> list[float]:
        """How likely it is that each request's `source` is what is spoken: the log-likelihood of its transcript, to the
        LLM and (where the model was taught by CTC) to the audio tokens alone, per token."""
        audio_prefix = self._audio_prefix(requests)
        transcripts = self._transcribe(requests, audio_prefix, beams)
        both = zip(
            self._scores(requests, audio_prefix, transcripts), self._ctc_scores(audio_prefix, transcripts), strict=True
        )
        return [score + ctc_score for score, ctc_score in both]

    def _audio_prefix(self, requests: Sequence[DecodeRequest]) -> AudioPrefix:
        return encode_audio_prefix(self.model, [request.features for request in requests])

    def _transcribe(
        self, requests: Sequence[DecodeRequest], audio_prefix: AudioPrefix, beams: int, *, joint: bool = False
    ) -> list[GeneratedText]:
        """By the ASR prompt; by the SRT prompt of the first target, as far as the tags, where the model's last stage
        had forgotten ASR; not at all where it knew neither. `joint`: a model that was taught transcript and translation
        as one text writes on behind the tags."""
        if requests and all(request.transcript is not None for request in requests):
            return [replace(EMPTY_OUTPUT, text=str(request.transcript)) for request in requests]
        if self.whisper is not None:
            mels = [request.features if request.whisper_mel is None else request.whisper_mel for request in requests]
            return self.whisper(mels, [request.source for request in requests], beams)
        if not self.recipe.writes_transcripts:
            return [EMPTY_OUTPUT] * len(requests)
        items = [self._item(request) for request in requests]
        task = self._transcriber
        begun = [escape(request.prefixes.get("transcript", "")) for request in requests]
        rows = [
            TextRow(self.text.prompt(task.prompt(item, self.tags)), self.text.plain(text))
            for item, text in zip(items, begun, strict=True)
        ]
        phrase_biases = [
            [self._phrase_bias(request.hotwords, request.source, HOTWORD_BIAS)] if request.hotwords else []
            for request in requests
        ]

        def is_said(number: int, text: str) -> bool:
            return len(self.tags.parted(text, items[number].source, items[number].target)) > 1

        outputs = self.search(
            audio_prefix,
            range(len(requests)),
            rows,
            phrase_biases,
            beams,
            is_complete=None if self.recipe.transcribes else is_said,  # a translation is written on its own
            transcript_ends=[self._transcript_ends(item) for item in items],
            continued=[at for at, request in enumerate(requests) if joint and self._is_joint(request)],
        )
        return [
            self._transcript(task, text, output, item) for output, item, text in zip(outputs, items, begun, strict=True)
        ]

    def _is_joint(self, request: DecodeRequest) -> bool:
        """Whether the first target is written in one pass with the transcript: nothing else is asked of either."""
        goes_on = self._goes_on and self.recipe.prompt.joint_answer and not self.recipe.transcribes
        first = request.targets[:1]
        return goes_on and bool(first) and not request.hotwords and not request.prefixes.get(first[0])

    @property
    def _goes_on(self) -> bool:
        """Whether a translation is written behind the transcript that the LLM wrote, as SRT's answers are."""
        return self.translate_from == "speech" and not self.smt and not self.recipe.translates_directly

    def _transcript_ends(self, item: TaskItem) -> list[int]:
        """The tokens that may come behind a transcript: the end, and what begins the tags."""
        tags = [] if self.recipe.transcribes else [self.text.plain(self.tags(item.source, item.target))[0]]
        return [self.tokenizer.eos_token_id, *tags]

    @property
    def _transcriber(self) -> Task:
        return TASKS["asr" if self.recipe.transcribes else "srt"]

    def _item(self, request: DecodeRequest, transcript: str = "") -> TaskItem:
        others = (*request.targets, *(code for code in self.recipe.targets if code != request.source), request.source)
        return TaskItem(request.source, others[0], transcript)

    def _transcript(self, task: Task, begun: str, output: GeneratedText, item: TaskItem) -> GeneratedText:
        """What a task's output says was said; all up to the tags where it does not keep the SRT format. Where a model
        that was to transcribe wrote them, what came behind is not used, so neither is what was wrong with it."""
        text, *behind = self.tags.parted(begun + output.text, item.source, item.target)
        parsed = task.parse(begun + output.text, item, self.tags).transcript
        text = (said(text) if parsed is None else parsed).strip()
        if output.behind is not None:
            written = self.tags(item.source, item.target).join(behind)
            return replace(output, text=text, behind=replace(output.behind, text=written))
        if not behind or not self.recipe.transcribes:  # or it was ended there
            return replace(output, text=text)
        return replace(output, text=text, truncated=False, stats=replace(output.stats, looped=False))

    def _scores(
        self, requests: Sequence[DecodeRequest], audio_prefix: AudioPrefix, transcripts: Sequence[GeneratedText]
    ) -> list[float]:
        """Mean log-probability of each transcript's tokens and of what ends it, after the prompt it was written for; 0
        where none is written. Where those are the very tokens that were written, the search knows it."""
        if not self.recipe.writes_transcripts:
            return [0.0] * len(requests)
        rows = []
        for request, transcript in zip(requests, transcripts, strict=True):
            item = self._item(request, transcript.text)
            prompt, answer = self._transcriber.prompt(item, self.tags), self._transcriber.answer(item, self.tags)
            ids = self.text.answer(answer) if self.recipe.transcribes else self.text.plain(answer)
            if self.recipe.prompt.joint_answer and not self.recipe.transcribes:
                ids, _ = self.search.healing.part(ids)  # what comes behind says how the tags end
            rows.append(TextRow(self.text.prompt(prompt), ids))
        is_known = [
            transcript.behind is not None or transcript.ids == row.answer
            for transcript, row in zip(transcripts, rows, strict=True)
        ]
        other = [number for number, known in enumerate(is_known) if not known]
        scores = [transcript.stats.score for transcript in transcripts]
        for number, score in zip(
            other, self._likelihoods(audio_prefix, other, [rows[at] for at in other]), strict=True
        ):
            scores[number] = score
        return scores

    def _likelihoods(self, audio_prefix: AudioPrefix, requests: Sequence[int], rows: Sequence[TextRow]) -> list[float]:
        """Of each row's answer, the mean log-probability of its tokens; `requests` says which request a row is of."""
        heard = replace(audio_prefix, audio_of_request=tuple(audio_prefix.audio_of_request[at] for at in requests))
        return log_likelihoods(self.model, heard, rows, self.tokenizer.pad_token_id)

    def _ctc_scores(self, audio_prefix: AudioPrefix, transcripts: Sequence[GeneratedText]) -> list[float]:
        if not self.recipe.aligned_by_ctc:
            return [0.0] * len(transcripts)
        texts = [self.text.plain(escape(transcript.text)) for transcript in transcripts]
        return ctc_log_likelihoods(self.model, audio_prefix, texts)

    def _translate(
        self, requests: Sequence[DecodeRequest], audio_prefix: AudioPrefix, transcripts: Sequence[GeneratedText]
    ) -> list[dict[str, Translation]]:
        """Of each request, a translation into each of its targets."""
        # an empty transcript is silence: there is nothing to translate
        spoken = [
            (number, code)
            for number, request in enumerate(requests)
            for code in request.targets
            if transcripts[number].text or not (self.recipe.writes_transcripts or self.smt)
        ]
        terms = {(at, code): self._terms(requests[at], code, transcripts[at].text) for at, code in spoken}
        written = {
            (at, requests[at].targets[0]): (transcript.behind, transcript.behind.stats.score)
            for at, transcript in enumerate(transcripts)
            if transcript.behind is not None
        }
        left = [one for one in spoken if terms[one] or one not in written]
        outputs = self._write(requests, audio_prefix, transcripts, left, [terms[one] for one in left])
        written.update(zip(left, outputs, strict=True))
        found: list[dict[str, Translation]] = [
            {code: Translation("", "", transcript.truncated) for code in request.targets}
            for request, transcript in zip(requests, transcripts, strict=True)
        ]
        for number, code in spoken:
            output, score = written[number, code]
            translation = self._translation(requests[number].source, code, transcripts[number].text, output)
            missed = missing_terms(terms[number, code], output.text, code)
            found[number][code] = replace(translation, score=score, missed=missed)
        return found

    def _write(
        self,
        requests: Sequence[DecodeRequest],
        audio_prefix: AudioPrefix,
        transcripts: Sequence[GeneratedText],
        wanted: Sequence[tuple[int, str]],
        terms: Sequence[tuple[str, ...]],
    ) -> list[tuple[GeneratedText, float]]:
        """Translations, by the number of the request and the target, each with its terms and how likely it is."""
        numbers, codes = [number for number, _ in wanted], [code for _, code in wanted]
        begun = [escape(requests[number].prefixes.get(code, "")) for number, code in wanted]
        starts = [
            self._start(requests[number].source, code, transcripts[number].text, text)
            for (number, code), text in zip(wanted, begun, strict=True)
        ]
        rows, before = [row for row, _, _ in starts], [ids for _, ids, _ in starts]
        phrase_biases = [
            [self._phrase_bias((term,), code) for term in asked] for asked, code in zip(terms, codes, strict=True)
        ]

        def write(chosen: Sequence[int], biases: Sequence[Sequence[PhraseBias]]) -> list[GeneratedText]:
            outputs = self.search(
                audio_prefix,
                [numbers[at] for at in chosen],
                [rows[at] for at in chosen],
                biases,
                self.beams,
                [before[at] for at in chosen],
                borders=[starts[at][2] for at in chosen],
            )
            return [replace(o, text=begun[at] + o.text) for at, o in zip(chosen, outputs, strict=True)]

        outputs = insert_terms(write, phrase_biases, terms, codes)
        # the search knows how likely what it wrote is; what was begun before it counts too
        scores, continued = [output.stats.score for output in outputs], [at for at, text in enumerate(begun) if text]
        whole = [
            self._whole(requests[numbers[at]].source, codes[at], transcripts[numbers[at]].text, outputs[at].text)
            for at in continued
        ]
        known = self._likelihoods(audio_prefix, [numbers[at] for at in continued], whole)
        for at, score in zip(continued, known, strict=True):
            scores[at] = score
        return list(zip(outputs, scores, strict=True))

    def _start(self, source: str, target: str, transcript: str, begun: str) -> tuple[TextRow, tuple[int, ...], str]:
        """What a translation is written after: the prompt (of MT, SMT, ST, or of SRT with the transcript already there)
        and what is begun; what of the output stands in the prompt; and the border, see TokenHealing."""
        task = "mt" if self.translate_from == "transcript" else "smt" if self.smt else "srt" if self._goes_on else "st"
        prompt = self.text.prompt(TASKS[task].prompt(TaskItem(source, target, transcript), self.tags))
        spoken = "" if self.recipe.translates_directly else escape(transcript) + self.tags(source, target)
        before, answer, border = self.text.plain(spoken), self.text.plain(begun), ""
        if task != "srt":
            return TextRow(prompt, answer), before, border
        if self.recipe.prompt.joint_answer and begun:
            whole = self.text.plain(spoken + begun)
            shared = next(
                (at for at, ids in enumerate(zip(before, whole, strict=False)) if len(set(ids)) > 1), len(before)
            )
            before, answer = whole[:shared], whole[shared:]
        elif self.recipe.prompt.joint_answer:
            before, border = self.search.healing.part(before)
        return TextRow((*prompt, *before), answer), before, border

    def _whole(self, source: str, target: str, transcript: str, translation: str) -> TextRow:
        """A translation behind all that it was written after, to its end."""
        row, _, _ = self._start(source, target, transcript, translation.strip())
        return replace(row, answer=(*row.answer, self.tokenizer.eos_token_id))

    def _terms(self, request: DecodeRequest, target: str, transcript: str) -> tuple[str, ...]:
        return () if request.glossary is None else request.glossary.terms_for(request.source, target, transcript)

    def _phrase_bias(self, phrases: tuple[str, ...], code: str, bias: float = 0.0) -> PhraseBias:
        return PhraseBias(Phrases(map(escape, phrases), code, self.text.plain), bias)

    def _translation(self, source: str, target: str, transcript: str, output: GeneratedText) -> Translation:
        written = "" if self.recipe.translates_directly else escape(transcript) + self.tags(source, target)
        raw = written + output.text.strip()
        parsed = TASKS["smt"].parse(output.text, TaskItem(source, target), self.tags)
        text = (parsed.translation or "").strip()
        return Translation(text, raw, output.truncated, output.stats.score, output.stats.looped)
