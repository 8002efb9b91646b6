"""Recordings in, transcripts and translations out, as our Translator does, with vLLM to write them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import torch
from huggingface_hub import cached_assets_path
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # of its __init__, but not of __all__

from dragoman.data.audio import SAMPLE_RATE, Waveform
from dragoman.data.examples import TextEncoder
from dragoman.data.features import LogMel
from dragoman.data.tasks import TASKS, LanguageTags, TaskItem, escape, said
from dragoman.engines.vllm.config import DragomanConfig, mel_table, tokens_of_mel
from dragoman.engines.vllm.export import export_vllm
from dragoman.engines.vllm.prompts import with_audio, without_audio
from dragoman.errors import LanguageError, ModelError
from dragoman.files import digest_of_weights
from dragoman.inference.decoding.decoder import DecodedSpeech, Translation
from dragoman.inference.decoding.whisper_decoder import WhisperDecoder
from dragoman.inference.options import LoadKeywords, LoadOptions, TranslateOptions
from dragoman.inference.recordings import Speech, SpeechTranslator
from dragoman.inference.segments import DetectedLanguage
from dragoman.model.load import model_folder
from dragoman.vad import vad_options_for
from dragoman.version import __version__

_log = logging.getLogger(__name__)


class VllmTranslator(SpeechTranslator):
    """Greedy, and held from loops as a Translator is. The audio of an utterance is read once, whatever the number of
    its targets: vLLM keeps what prompts begin with in common. It does not detect languages and takes no phrases."""

    identifies_language = supports_phrases = False

    def __init__(
        self,
        exported: Path,
        options: LoadOptions | None = None,
        *,
        engine_options: Mapping[str, Any] | None = None,
        **more: Unpack[LoadKeywords],
    ) -> None:
        options = options or LoadOptions(**more)
        _check(options)
        self.config = DragomanConfig.from_pretrained(exported)
        self.recipe = self.config.parsed_recipe()
        self.llm = _engine(exported, self.config, engine_options or {})
        self.tokenizer: Any = self.llm.get_tokenizer()
        self.tags = LanguageTags.from_prompt(self.recipe.prompt)
        self.text = TextEncoder(self.tokenizer, continues_text=bool(self.recipe.prompt.before_audio))
        self.name, self.batch_size, self.window_s = self.recipe.name, options.batch_size, self.recipe.audio.window_s
        self.writes_transcripts = self.recipe.writes_transcripts
        self.vad = vad_options_for(self.recipe)
        self.translate_from = options.translate_from or self.recipe.decoding.translate_from
        self.whisper: WhisperDecoder | None = None
        if (options.transcript_by or self.recipe.decoding.transcript_by) == "whisper":
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            self.whisper = WhisperDecoder.load(self.recipe, device, torch.float32)
        elif self.recipe.decoding.ctc_weight:
            _log.warning("%s: with vLLM the LLM transcribes alone, without CTC (decoding.ctc_weight).", self.name)
        if self.recipe.prompt.joint_answer:
            _log.warning(
                "%s: with vLLM translations are written behind their tags, not in one piece with them.", self.name
            )

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
        _check(options)
        return cls(_exported(model_folder(name), options.compute_type), options, engine_options=engine_options)

    @property
    def sources(self) -> list[str]:
        """Languages it hears, ISO 639-3."""
        return self.recipe.sources

    @property
    def targets(self) -> list[str]:
        """Languages it writes, ISO 639-3."""
        return self.recipe.targets

    def identify(self, waveforms: Sequence[Waveform]) -> dict[str, float]:
        raise LanguageError(f"{self.name} with vLLM cannot detect what is spoken; name it.")

    def _detect_languages(self, waveforms: Sequence[Waveform]) -> list[DetectedLanguage]:
        raise LanguageError(f"{self.name} with vLLM cannot detect what is spoken; name it.")

    def _decode_speech(self, speech: Sequence[Speech], options: TranslateOptions) -> list[DecodedSpeech]:
        transcripts = self._transcripts(speech, options.targets)
        wanted = [
            (number, code)
            for number, part in enumerate(speech)
            for code in options.targets
            if code != part.language and (transcripts[number].text or not (self.writes_transcripts or self.whisper))
        ]
        prompts = [self._translation_prompt(speech[at], code, transcripts[at].text) for at, code in wanted]
        found: list[dict[str, Translation]] = [
            {code: Translation("", "", transcript.truncated) for code in options.targets if code != part.language}
            for part, transcript in zip(speech, transcripts, strict=True)
        ]
        for (number, code), output in zip(wanted, self._write(prompts), strict=True):
            item = TaskItem(speech[number].language, code, transcripts[number].text)
            found[number][code] = self._translation(item, output)
        return [
            DecodedSpeech(transcript.text, translations, transcript.truncated)
            for transcript, translations in zip(transcripts, found, strict=True)
        ]

    def _transcripts(self, speech: Sequence[Speech], targets: Sequence[str]) -> list[Translation]:
        """By Whisper's decoder, by the ASR prompt, or before the SRT prompt's first translation."""
        if self.whisper is not None:
            mels = [self.whisper.features(part.samples) for part in speech]
            with torch.inference_mode():
                written = self.whisper(mels, [part.language for part in speech], 1)
            return [Translation(one.text, one.text, one.truncated) for one in written]
        if not self.writes_transcripts:
            return [Translation("", "", False)] * len(speech)
        task = TASKS["asr" if self.recipe.transcribes else "srt"]
        others = (*targets, *self.targets)
        items = [
            TaskItem(part.language, next((code for code in others if code != part.language), part.language))
            for part in speech
        ]
        texts = [self.text.prompt(task.prompt(item, self.tags)) for item in items]
        outputs = self._write([self._audio_prompt(part, ids) for part, ids in zip(speech, texts, strict=True)])
        return [self._transcript(item, output) for item, output in zip(items, outputs, strict=True)]

    def _transcript(self, item: TaskItem, output: Translation) -> Translation:
        """All up to the tags; what comes behind them is written anew, so neither its end counts."""
        text, *behind = self.tags.parted(output.raw, item.source, item.target)
        return Translation(said(text).strip(), output.raw, output.truncated and not behind)

    def _translation_prompt(self, part: Speech, target: str, transcript: str) -> dict[str, Any]:
        item = TaskItem(part.language, target, transcript)
        if self.translate_from == "transcript":
            return {"prompt_token_ids": without_audio(self.config, self._prompt("mt", item))}
        if self.whisper is not None:
            return self._audio_prompt(part, self._prompt("smt", item))
        if self.recipe.translates_directly:
            return self._audio_prompt(part, self._prompt("st", item))
        begun = self.text.plain(escape(transcript) + self.tags(part.language, target))
        return self._audio_prompt(part, (*self._prompt("srt", item), *begun))

    def _prompt(self, task: str, item: TaskItem) -> tuple[int, ...]:
        return self.text.prompt(TASKS[task].prompt(item, self.tags))

    def _audio_prompt(self, part: Speech, text_ids: Sequence[int]) -> dict[str, Any]:
        ids = with_audio(self.config, text_ids)
        return {"prompt_token_ids": ids, "multi_modal_data": {"audio": (part.samples, SAMPLE_RATE)}}

    def _translation(self, item: TaskItem, output: Translation) -> Translation:
        before = (
            "" if self.recipe.translates_directly else escape(item.transcript) + self.tags(item.source, item.target)
        )
        return Translation(said(output.raw).strip(), before + output.raw.strip(), output.truncated)

    def _write(self, prompts: Sequence[dict[str, Any]]) -> list[Translation]:
        """What follows each prompt, `raw`."""
        from vllm import SamplingParams

        end = self.tokenizer.eos_token_id
        most = self.recipe.decoding.max_new_tokens
        greedy = SamplingParams(temperature=0.0, max_tokens=most, stop_token_ids=[end], detokenize=False)
        if not prompts:
            return []
        outputs = [one.outputs[0] for one in self.llm.generate(list(prompts), greedy, use_tqdm=False)]
        written = [[id_ for id_ in one.token_ids if id_ != end] for one in outputs]
        texts = [self.tokenizer.decode(ids) for ids in written]
        return [Translation("", text, one.finish_reason == "length") for text, one in zip(texts, outputs, strict=True)]


def _check(options: LoadOptions) -> None:
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


def _engine(exported: Path, config: DragomanConfig, options: Mapping[str, Any]) -> Any:
    """vLLM's own; prompts are as long as the window and what is written after it make them, and no longer."""
    try:
        from vllm import LLM
    except ImportError as error:
        raise ModelError("vLLM is not installed here; docs/vllm.md says how to install it beside Dragoman.") from error
    from dragoman.engines.vllm.loop_guard import LoopGuard

    recipe, text = config.parsed_recipe(), config.text_config
    frames = LogMel.from_config(mel_table(recipe)).num_frames(round(recipe.audio.window_s * SAMPLE_RATE))
    longest = len(config.lead_ids) + tokens_of_mel(recipe, frames) + 3 * recipe.decoding.max_new_tokens + 128
    chosen = {
        "dtype": str(config.dtype).removeprefix("torch."),  # left to itself vLLM makes 16 bits of float32
        "max_model_len": min(longest, getattr(text, "max_position_embeddings", longest)),
        "logits_processors": [LoopGuard],
        "limit_mm_per_prompt": {"audio": 1},
        **options,
    }
    return LLM(str(exported), **chosen)


def _exported(folder: Path, compute_type: str) -> Path:
    """In the hub's cache for what is made of models; who comes second waits for the first."""
    made = f"{digest_of_weights(folder)}-{compute_type}"
    out = cached_assets_path("dragoman", namespace="vllm", subfolder=__version__) / made
    with WeakFileLock(f"{out}.lock"):
        return out if out.is_dir() else export_vllm(folder, out, compute_type)
