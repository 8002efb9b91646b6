"""The LLM alone as a text translator, without speech: what its speech translation is measured against."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import torch
from transformers import GenerationConfig

from dragoman.data.batching import TextRow, pad_rows
from dragoman.data.examples import TextEncoder
from dragoman.data.tasks import TASKS, LanguageTags, TaskItem
from dragoman.inference.options import LoadKeywords, LoadOptions
from dragoman.model.build import LoadedModel
from dragoman.model.load import load_for_inference
from dragoman.records import Hypothesis, Utterance


class TextTranslator:
    """Translates the reference transcripts, audio left out, with as many beams as a Translator takes. LoRA is switched
    off, so that it is the LLM as it was before it learnt to hear, unless LoRA learnt a language from text (`mt`)."""

    def __init__(self, loaded: LoadedModel, options: LoadOptions | None = None, **more: Unpack[LoadKeywords]) -> None:
        options = options or LoadOptions(**more)
        self.llm, self.tokenizer, self.batch_size = loaded.model.llm.eval(), loaded.tokenizer, options.batch_size
        self.tags = LanguageTags.from_prompt(loaded.recipe.prompt)
        taught = any("mt" in stage.all_tasks for stage in loaded.recipe.stages)
        self.as_it_was = (
            contextlib.nullcontext if taught else getattr(self.llm, "disable_adapter", contextlib.nullcontext)
        )
        self.text = TextEncoder(loaded.tokenizer)
        self.generation = GenerationConfig(
            do_sample=False,
            num_beams=options.beam_size or loaded.recipe.decoding.beams,
            max_new_tokens=loaded.recipe.decoding.max_new_tokens,
            no_repeat_ngram_size=options.no_repeat_ngram_size or 0,
            eos_token_id=loaded.tokenizer.eos_token_id,
            pad_token_id=loaded.tokenizer.pad_token_id,
        )

    @classmethod
    def from_pretrained(
        cls, name: str | Path, options: LoadOptions | None = None, **more: Unpack[LoadKeywords]
    ) -> TextTranslator:
        """As for a Translator. Raises ModelError."""
        options = options or LoadOptions(**more)
        return cls(load_for_inference(name, options.device, options.compute_type), options)

    @torch.inference_mode()
    def __call__(self, utterances: Sequence[Utterance], targets: Sequence[str]) -> list[Hypothesis]:
        """As a Translator, on `utterance.text` in place of the audio; without targets there is nothing to do."""
        wanted = [(utterance, code) for utterance in utterances for code in targets if code != utterance.language]
        said = [(utterance, code) for utterance, code in wanted if utterance.text.strip()]
        found: list[tuple[str, bool]] = []
        for start in range(0, len(said), self.batch_size):
            found += self._translate(said[start : start + self.batch_size])
        each = iter(found)
        outputs = [next(each) if utterance.text.strip() else ("", False) for utterance, _ in wanted]
        return [
            Hypothesis(
                id=utterance.id,
                source=utterance.language,
                target=code,
                transcript=utterance.text,
                translation=text,
                raw=text,
                truncated=truncated,
            )
            for (utterance, code), (text, truncated) in zip(wanted, outputs, strict=True)
        ]

    def _translate(self, wanted: Sequence[tuple[Utterance, str]]) -> list[tuple[str, bool]]:
        task = TASKS["mt"]
        items = [TaskItem(utterance.language, code, utterance.text) for utterance, code in wanted]
        rows = [TextRow(self.text.prompt(task.prompt(item, self.tags))) for item in items]
        text = pad_rows(rows, self.tokenizer.pad_token_id, "left").to(self.llm.device)
        with self.as_it_was():
            found = self.llm.generate(
                input_ids=text.input_ids, attention_mask=text.attention_mask, generation_config=self.generation
            )
        return [
            self._output(ids, item)
            for ids, item in zip(found[:, text.input_ids.shape[1] :].tolist(), items, strict=True)
        ]

    def _output(self, ids: list[int], item: TaskItem) -> tuple[str, bool]:
        end = self.tokenizer.eos_token_id
        kept = ids[: ids.index(end)] if end in ids else ids
        parsed = TASKS["mt"].parse(self.tokenizer.decode(kept), item, self.tags)
        return (parsed.translation or "").strip(), end not in ids
