"""English sentences -> what the base LLM itself makes of them in other languages, asked with a few examples.

For languages without freely licensed translations: sequence-level distillation (Kim and Rush 2016), marked as such in
the ids. As sources they are back-translations (Sennrich et al. 2016): what is learnt from them is written by people.

python runs/self_translate.py LLM text.jsonl spa-by-llm.jsonl --target spa --count 3000

writes spa-by-llm.jsonl, from the language into those that people wrote, and to-spa-by-llm.jsonl, the other way round.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, GenerationConfig

from dragoman.records import Utterance, read_rows, write_rows
from dragoman.text.langid import is_other
from dragoman.text.languages import LANGUAGES

SHOTS = Path(__file__).with_name("self_translate.json")
TOGETHER = 64
LONGEST = 90
"""Letters: the few examples are short too."""
RATIO = (0.6, 1.8)
"""Letters of the translation for each of the sentence."""


class FewShot:
    """A base LLM asked to translate English into one language; the examples are read once."""

    def __init__(self, folder: Path, target: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.llm = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
        self.name = LANGUAGES[target].name
        shots = json.loads(SHOTS.read_text(encoding="utf-8"))
        asked = "".join(f"English: {a}\n{self.name}: {b}\n\n" for a, b in zip(shots["eng"], shots[target], strict=True))
        ids = self.tokenizer(asked, return_tensors="pt").input_ids
        self.cache = DynamicCache(config=self.llm.config)
        with torch.inference_mode():
            self.llm(ids, past_key_values=self.cache, logits_to_keep=1)
        self.examples = ids
        self.line_end = self.tokenizer("\n", add_special_tokens=False).input_ids

    @torch.inference_mode()
    def __call__(self, sentences: Sequence[str]) -> list[str]:
        """Greedy, a line each."""
        asked = [f"English: {sentence}\n{self.name}:" for sentence in sentences]
        text = self.tokenizer(asked, return_tensors="pt", padding=True, add_special_tokens=False)
        cache: Any = copy.deepcopy(self.cache)
        cache.batch_repeat_interleave(len(sentences))
        examples = self.examples.expand(len(sentences), -1)
        mask = torch.cat([torch.ones_like(examples), text.attention_mask], 1)
        ends = [self.tokenizer.eos_token_id, *self.line_end]
        found = self.llm.generate(
            inputs_embeds=self.llm.get_input_embeddings()(torch.cat([examples, text.input_ids], 1)),
            attention_mask=mask,
            past_key_values=cache,
            generation_config=GenerationConfig(
                do_sample=False, max_new_tokens=48, eos_token_id=ends, pad_token_id=self.tokenizer.pad_token_id
            ),
        )
        return [self.tokenizer.decode(ids, skip_special_tokens=True).split("\n")[0].strip() for ids in found]


def keeps(sentence: str, translation: str, target: str) -> bool:
    """Whether a translation looks like one: in the language, about as long, not the sentence again."""
    low, high = (ratio * len(sentence) for ratio in RATIO)
    return translation != sentence and low <= len(translation) <= high and not is_other(translation, target)


def translated(llm: FewShot, rows: Sequence[Utterance], target: str) -> Iterator[Utterance]:
    """Each row's English with the translation, as a row of the target language and its translations."""
    for start in range(0, len(rows), TOGETHER):
        some = sorted(rows[start : start + TOGETHER], key=lambda row: len(row.text))
        for row, text in zip(some, llm([row.text for row in some]), strict=True):
            if keeps(row.text, text, target):
                name = f"{row.id.removesuffix('-eng')}-{target}-by-llm"
                texts = {"eng": row.text, **row.translations}
                yield Utterance(id=name, language=target, text=text, translations=texts)


def turned_round(row: Utterance) -> Iterator[Utterance]:
    """What people wrote, with the translation that the LLM made."""
    for code, text in row.translations.items():
        yield Utterance(id=f"{row.id}-from-{code}", language=code, text=text, translations={row.language: row.text})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("llm", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--target", required=True)
    parser.add_argument("--count", type=int, default=3000)
    options = parser.parse_args()
    english = (row for _, row in read_rows(options.text, Utterance) if row.language == "eng")
    rows = [row for row in english if "+" not in row.id and len(row.text) <= LONGEST]
    llm = FewShot(options.llm, options.target)
    done = list(translated(llm, rows[: options.count], options.target))
    write_rows(options.out, done)
    write_rows(options.out.with_name(f"to-{options.out.name}"), (row for one in done for row in turned_round(one)))


if __name__ == "__main__":
    main()
