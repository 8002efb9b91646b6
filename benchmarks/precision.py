"""Decoding on a CPU by compute types, against float32: bfloat16, int8, and what the 8 bits of bitsandbytes would take,
which are not used on a CPU.

An LLM of Qwen2.5-0.5B's widths with random weights, a sixth of its layers and a sixth of its vocabulary.
"""

from __future__ import annotations

import argparse
import copy
import logging
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

import torch
from common import CLOCKS, compare
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from dragoman.model.hardware.int8 import quantise_to_int8

LAYERS = 4
PROMPT = 40
CONFIG = Qwen2Config(
    hidden_size=896, num_hidden_layers=LAYERS, num_attention_heads=14, num_key_value_heads=2, intermediate_size=4864,
    vocab_size=151936 * LAYERS // 24, tie_word_embeddings=True,
)  # fmt: skip


def by_bitsandbytes(llm: Any) -> Any:
    with TemporaryDirectory() as folder:
        llm.save_pretrained(folder)
        return AutoModelForCausalLM.from_pretrained(
            folder, quantization_config=BitsAndBytesConfig(load_in_8bit=True), dtype=torch.float32
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--tokens", type=int, default=20, help="written in each row")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: what was computed, on a busy machine")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it remarks on each cast
    torch.manual_seed(0)
    llm = Qwen2ForCausalLM(CONFIG).eval()
    llms = {"float32": llm, "bfloat16": copy.deepcopy(llm).bfloat16(), "int8": copy.deepcopy(llm)}
    quantise_to_int8(llms["int8"])
    if find_spec("bitsandbytes"):
        llms["int8 by bitsandbytes"] = by_bitsandbytes(llm)
    how = GenerationConfig(
        do_sample=False, min_new_tokens=options.tokens, max_new_tokens=options.tokens, pad_token_id=0, eos_token_id=1
    )

    for batch in options.batches:
        rows = 0.02 * torch.randn(batch, PROMPT, CONFIG.hidden_size)
        mask = torch.ones(rows.shape[:2], dtype=torch.long)

        @torch.inference_mode()
        def run(llm: Any, rows: Any = rows, mask: Any = mask) -> None:
            llm.generate(inputs_embeds=rows.to(llm.dtype), attention_mask=mask, generation_config=how)

        for name in [*llms][1:]:
            compare(
                f"{name}, {batch} rows",
                lambda name=name, run=run: run(llms[name]),
                {"float32": lambda run=run: run(llms["float32"])},
                options.repeats,
                options.clock,
            )


if __name__ == "__main__":
    main()
