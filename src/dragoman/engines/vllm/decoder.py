"""Transcripts and translations of batches of speech, as our Decoder makes them, with vLLM to write them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dragoman.data.audio import SAMPLE_RATE
from dragoman.data.examples import TextEncoder
from dragoman.data.features import LogMel
from dragoman.data.tasks import TASKS, LanguageTags, TaskItem, escape, said
from dragoman.engines.vllm.config import DragomanConfig, mel_table, tokens_of_mel
from dragoman.engines.vllm.prompts import with_audio, without_audio
from dragoman.errors import LanguageError, ModelError
from dragoman.inference.decoding.decoder import DecodedSpeech, DecodeRequest, Translation
from dragoman.inference.decoding.whisper_decoder import WhisperDecoder
from dragoman.recipe import TranslateFrom

_log = logging.getLogger(__name__)


class VllmDecoder:
    """Greedy, and held from loops as a Decoder is. The audio of an utterance is read once, whatever the number of its
    targets: vLLM keeps what prompts begin with in common. It takes no phrases."""

    beams = 1

    def __init__(
        self,
        exported: Path,
        engine_options: Mapping[str, Any],
        whisper: WhisperDecoder | None,
        translate_from: TranslateFrom,
    ) -> None:
        self.config = DragomanConfig.from_pretrained(exported)
        self.recipe = self.config.parsed_recipe()
        self.engine = VllmEngine(exported, self.config, engine_options)
        self.tags = LanguageTags.from_prompt(self.recipe.prompt)
        self.text = TextEncoder(self.engine.tokenizer, continues_text=bool(self.recipe.prompt.before_audio))
        self.whisper, self.translate_from = whisper, translate_from

    @property
    def is_cascade(self) -> bool:
        """As Decoder's."""
        return self.whisper is not None and self.translate_from == "transcript"

    def __call__(self, requests: Sequence[DecodeRequest]) -> list[DecodedSpeech]:
        """Decode a batch of utterances, each into all its targets."""
        transcripts = self._transcribe(requests)
        can_be_silent = self.recipe.writes_transcripts or self.whisper is not None
        wanted = [
            (number, code)
            for number, request in enumerate(requests)
            for code in request.targets
            if transcripts[number].text or not can_be_silent
        ]
        found: list[dict[str, Translation]] = [
            {code: Translation("", "", transcript.truncated) for code in request.targets}
            for request, transcript in zip(requests, transcripts, strict=True)
        ]
        prompts = [self._translation_prompt(requests[at], code, transcripts[at].text) for at, code in wanted]
        begun = [escape(requests[at].prefixes.get(code, "")) for at, code in wanted]
        for (number, code), output in zip(wanted, self._write(prompts, begun), strict=True):
            item = TaskItem(requests[number].source, code, transcripts[number].text)
            found[number][code] = self._translation(item, output)
        return [
            DecodedSpeech(transcript.text, translations, transcript.truncated)
            for transcript, translations in zip(transcripts, found, strict=True)
        ]

    def likelihoods(self, requests: Sequence[DecodeRequest], beams: int) -> list[float]:
        """Raises LanguageError: a Decoder tells languages by it, which takes scores of what was not written."""
        raise LanguageError(f"{self.recipe.name} with vLLM cannot detect what is spoken; name it.")

    def _transcribe(self, requests: Sequence[DecodeRequest]) -> list[Translation]:
        """By Whisper's decoder, by the ASR prompt, or before the SRT prompt's first translation."""
        if self.whisper is not None:
            mels = [request.features if request.whisper_mel is None else request.whisper_mel for request in requests]
            with torch.inference_mode():
                written = self.whisper(mels, [request.source for request in requests], 1)
            return [Translation(one.text, one.text, one.truncated) for one in written]
        if not self.recipe.writes_transcripts:
            return [Translation("", "", False)] * len(requests)
        task = TASKS["asr" if self.recipe.transcribes else "srt"]
        items = [TaskItem(request.source, self._other(request)) for request in requests]
        begun = [escape(request.prefixes.get("transcript", "")) for request in requests]
        prompts = [
            self._audio_prompt(request, (*self.text.prompt(task.prompt(item, self.tags)), *self.text.plain(text)))
            for request, item, text in zip(requests, items, begun, strict=True)
        ]
        outputs = self._write(prompts, begun)
        return [self._transcript(item, output) for item, output in zip(items, outputs, strict=True)]

    def _other(self, request: DecodeRequest) -> str:
        """The language that an SRT prompt for the transcript names beside that of the speech."""
        others = (*request.targets, *self.recipe.targets)
        return next((code for code in others if code != request.source), request.source)

    def _transcript(self, item: TaskItem, output: Translation) -> Translation:
        """All up to the tags; what comes behind them is written anew, so neither its end counts."""
        text, *behind = self.tags.parted(output.raw, item.source, item.target)
        return Translation(said(text).strip(), output.raw, output.truncated and not behind)

    def _translation_prompt(self, request: DecodeRequest, target: str, transcript: str) -> dict[str, Any]:
        item = TaskItem(request.source, target, transcript)
        begun = self.text.plain(escape(request.prefixes.get(target, "")))
        if self.translate_from == "transcript":
            return {"prompt_token_ids": without_audio(self.config, (*self._prompt("mt", item), *begun))}
        if self.whisper is not None:
            return self._audio_prompt(request, (*self._prompt("smt", item), *begun))
        if self.recipe.translates_directly:
            return self._audio_prompt(request, (*self._prompt("st", item), *begun))
        heard = self.text.plain(escape(transcript) + self.tags(request.source, target))
        return self._audio_prompt(request, (*self._prompt("srt", item), *heard, *begun))

    def _prompt(self, task: str, item: TaskItem) -> tuple[int, ...]:
        return self.text.prompt(TASKS[task].prompt(item, self.tags))

    def _audio_prompt(self, request: DecodeRequest, text_ids: Sequence[int]) -> dict[str, Any]:
        ids = with_audio(self.config, text_ids)
        return {"prompt_token_ids": ids, "multi_modal_data": {"audio": np.ascontiguousarray(request.features)}}

    def _translation(self, item: TaskItem, output: Translation) -> Translation:
        before = (
            "" if self.recipe.translates_directly else escape(item.transcript) + self.tags(item.source, item.target)
        )
        return Translation(said(output.raw).strip(), before + output.raw.strip(), output.truncated)

    def _write(self, prompts: Sequence[dict[str, Any]], begun: Sequence[str]) -> list[Translation]:
        """What follows each prompt, `raw`, behind what is begun at its end: read together, or a space is lost."""
        end = self.engine.tokenizer.eos_token_id
        outputs = self.engine.generate(prompts, self.recipe.decoding.max_new_tokens) if prompts else []
        written = [[id_ for id_ in one.token_ids if id_ != end] for one in outputs]
        texts = [
            self.engine.tokenizer.decode([*self.text.plain(text), *ids])
            for text, ids in zip(begun, written, strict=True)
        ]
        return [Translation("", text, one.finish_reason == "length") for text, one in zip(texts, outputs, strict=True)]


class VllmEngine:
    """vLLM's own, offline. Where its process dies it is started again, and what it was asked is asked again, once."""

    def __init__(self, exported: Path, config: DragomanConfig, options: Mapping[str, Any]) -> None:
        """Raises ModelError where vLLM is not installed."""
        try:
            import vllm
        except ImportError as error:
            message = "vLLM is not installed here; docs/vllm.md says how to install it beside Dragoman."
            raise ModelError(message) from error
        # forked, it would keep the sockets of a server
        os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
        self._vllm, self._exported = vllm, exported
        self._options = {**_options(config), **options}
        self.llm: Any = self._start()
        self.tokenizer: Any = self.llm.get_tokenizer()

    def generate(self, prompts: Sequence[dict[str, Any]], max_new_tokens: int) -> list[Any]:
        """What is written greedily after each prompt: vLLM's CompletionOutput."""
        from vllm.v1.engine.exceptions import EngineDeadError

        greedy = self._vllm.SamplingParams(
            temperature=0.0,
            max_tokens=max_new_tokens,
            stop_token_ids=[self.tokenizer.eos_token_id],
            detokenize=False,
        )
        try:
            outputs = self.llm.generate(list(prompts), greedy, use_tqdm=False)
        except EngineDeadError:
            _log.warning("vLLM's process has ended; it is started again.")
            self.llm = self._start()
            outputs = self.llm.generate(list(prompts), greedy, use_tqdm=False)
        return [one.outputs[0] for one in outputs]

    def close(self) -> None:
        """End its processes."""
        self.llm.llm_engine.engine_core.shutdown()

    def _start(self) -> Any:
        return self._vllm.LLM(str(self._exported), **self._options)


def _options(config: DragomanConfig) -> dict[str, Any]:
    """Prompts are as long as the window and what is written after it make them, and no longer."""
    from dragoman.engines.vllm.loop_guard import LoopGuard

    recipe, text = config.parsed_recipe(), config.text_config
    frames = LogMel.from_config(mel_table(recipe)).num_frames(round(recipe.audio.window_s * SAMPLE_RATE))
    longest = len(config.lead_ids) + tokens_of_mel(recipe, frames) + 3 * recipe.decoding.max_new_tokens + 128
    return {
        "dtype": str(config.dtype).removeprefix("torch."),  # left to itself vLLM makes 16 bits of float32
        "max_model_len": min(longest, getattr(text, "max_position_embeddings", longest)),
        "logits_processors": [LoopGuard],
        "limit_mm_per_prompt": {"audio": 1},
    }
