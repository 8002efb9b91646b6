"""Rows of a manifest, spoken or text alone, with translations by the base LLM itself, asked with a few examples.

For languages and recordings without freely licensed translations: sequence-level distillation (Kim and Rush 2016). The
rows' ids end in `-by-llm`. Turned round they are back-translations (Sennrich et al. 2016): what is learnt from them is
written by people.

python runs/self_translate.py LLM human.jsonl human-by-llm.jsonl --to eng
python runs/self_translate.py LLM text.jsonl to-spa-by-llm.jsonl --languages eng --to spa --count 3000 \\
    --turned spa-by-llm.jsonl

Interrupted, the same command goes on with the direction that it was in; those that are done are not done again.
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
BATCH_SIZE = 64
MAX_LETTERS = 160
"""A 270M model translates short sentences better than long ones."""
RATIO = (0.6, 1.8)
"""Letters of the translation for each of the sentence."""
MARK = "-by-llm"


class FewShotTranslator:
    """A base LLM asked to translate from one language into another; the examples are read once."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.llm = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
        self.shots = json.loads(SHOTS.read_text(encoding="utf-8"))
        self.line_end = self.tokenizer("\n", add_special_tokens=False).input_ids
        self.pair: tuple[str, str] | None = None

    def _use(self, source: str, target: str) -> None:
        if self.pair == (source, target):
            return
        one, other = LANGUAGES[source].name, LANGUAGES[target].name
        pairs = zip(self.shots[source], self.shots[target], strict=True)
        self.examples = self.tokenizer(
            "".join(f"{one}: {a}\n{other}: {b}\n\n" for a, b in pairs), return_tensors="pt"
        ).input_ids
        self.cache = DynamicCache(config=self.llm.config)
        self.llm(self.examples, past_key_values=self.cache, logits_to_keep=1)
        self.pair = source, target

    @torch.inference_mode()
    def __call__(self, sentences: Sequence[str], source: str, target: str) -> list[str]:
        """Greedy, a line each."""
        self._use(source, target)
        asked = [f"{LANGUAGES[source].name}: {text}\n{LANGUAGES[target].name}:" for text in sentences]
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
                do_sample=False, max_new_tokens=64, eos_token_id=ends, pad_token_id=self.tokenizer.pad_token_id
            ),
        )
        return [self.tokenizer.decode(ids, skip_special_tokens=True).split("\n")[0].strip() for ids in found]


def keeps(sentence: str, translation: str, target: str) -> bool:
    """Whether a translation looks like one: in the language, about as long, not the sentence again."""
    low, high = (ratio * len(sentence) for ratio in RATIO)
    return translation != sentence and low <= len(translation) <= high and not is_other(translation, target)


def translated(llm: FewShotTranslator, rows: Sequence[Utterance], source: str, target: str) -> Iterator[Utterance]:
    """Rows of one language with their translation added; without those whose translation does not look like one."""
    rows = sorted(rows, key=lambda row: len(row.text))
    for start in range(0, len(rows), BATCH_SIZE):
        batch = rows[start : start + BATCH_SIZE]
        for row, text in zip(batch, llm([row.text for row in batch], source, target), strict=True):
            if keeps(row.text, text, target):
                yield row.model_copy(update={"translations": {**row.translations, target: text}})


def turned(row: Utterance) -> Iterator[Utterance]:
    """The LLM's translation as what is read, the sentence of a person as what is to be written."""
    for code, text in row.translations.items():
        yield Utterance(id=f"{row.id}-turned", language=code, text=text, translations={row.language: row.text})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("llm", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--languages", default="eng,deu,fra,spa,ita,por,nld")
    parser.add_argument("--to", required=True, help="languages, by commas")
    parser.add_argument("--count", type=int, help="rows of a direction; all by default")
    parser.add_argument("--turned", type=Path, help="also write each row turned round, without its sound")
    options = parser.parse_args()
    rows = [row for _, row in read_rows(options.manifest, Utterance) if 10 <= len(row.text) <= MAX_LETTERS]
    done = {row.id: row for _, row in read_rows(options.out, Utterance)} if options.out.is_file() else {}
    llm = FewShotTranslator(options.llm)
    for source in options.languages.split(","):
        for target in options.to.split(","):
            if source == target or any(row.language == source and target in row.translations for row in done.values()):
                continue
            chosen = [row for row in rows if row.language == source and target not in row.translations]
            marked = [row.model_copy(update={"id": f"{row.id}{MARK}", "translations": {}}) for row in chosen]
            known = [done.get(row.id, row) for row in marked[: options.count]]
            done |= {row.id: row for row in translated(llm, known, source, target)}
            write_rows(options.out, done.values())
            print(f"{source}-{target}: {len(done)} rows", flush=True)
    if options.turned is not None:
        write_rows(options.turned, (other for row in done.values() for other in turned(row)))


if __name__ == "__main__":
    main()
