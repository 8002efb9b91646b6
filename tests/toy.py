"""Models of a few thousand random weights with everything a real one has, and speech that is noise."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedTokenizerBase

from dragoman.data.batching import Example, TextRow
from dragoman.data.synthesis import write_flac
from dragoman.model.build import LoadedModel, new_model
from dragoman.pretraining.encoder import new_whisper_encoder
from dragoman.pretraining.llm import new_llm
from dragoman.pretraining.tokenizer import train_tokenizer
from dragoman.recipe import Recipe, parse_recipe
from dragoman.records import Utterance, write_rows

TEXTS = {
    "eng": ("the cat sleeps", "we go home", "it rains again today", "no"),
    "deu": ("die Katze schläft", "wir gehen heim", "es regnet heute wieder", "nein"),
    "fra": ("le chat dort", "nous rentrons", "il pleut encore aujourd'hui", "non"),
}
LORA = {"rank": 2, "alpha": 4, "dropout": 0.0, "targets": ["q_proj", "v_proj"]}
STACKED = {"kind": "stacked", "stack": 4, "hidden": 24}
Q_FORMER = {
    "kind": "q-former", "queries": 7, "pool": 2, "layers": 2, "hidden": 16, "heads": 2, "feed_forward": 24,
    "dropout": 0.1, "mlp_hidden": 20,
}  # fmt: skip
CORPUS = {
    "languages": ["eng", "deu", "fra"], "max_words": 4, "vocabulary": 9, "clips_per_language": 1, "valid_sentences": 1,
    "seed": 1,
}  # fmt: skip
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
MLP = {"kind": "mlp", "layers": 2}


def schedule(**over: Any) -> dict[str, Any]:
    return {"steps": 4, "batch": 4, "learning_rate": 1e-3, "precision": "fp32", **over}


def stage(name: str, **over: Any) -> dict[str, Any]:
    timetable = schedule(**over.pop("schedule", {}))
    plan = {"name": name, "tasks": {name: 1.0}, "trains": ["adapter"], "data": [{"name": "train"}]}
    return {**plan, "schedule": timetable, **over}


def recipe(**over: Any) -> Recipe:
    """A recipe of toy sizes; `over` replaces whole tables."""
    base = {"hidden": 32, "layers": 2, "heads": 2, "feed_forward": 48, "schedule": schedule()}
    table: dict[str, Any] = {
        "name": "toy",
        "about": "a test",
        "licence": "Apache-2.0",
        "sources": list(TEXTS),
        "targets": list(TEXTS),
        "audio": {"mel_bins": 80, "window_s": 2.0, "padding": "trimmed"},
        "encoder": {"name": "base"},
        "adapter": STACKED,
        "llm": {"name": "base"},
        "bases": {"corpus": CORPUS, "tokenizer": {"pieces": 80}, "llm": base, "encoder": base},
        "decoding": {"max_new_tokens": 8},
    }
    return parse_recipe({**table, **over}, "toy")


def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer([text for texts in TEXTS.values() for text in texts], list(TEXTS), 80)


def write_bases(folder: Path, chosen: Recipe, seed: int = 0) -> Path:
    """Random weights under `folder/tokenizer`, `llm` and `encoder`."""
    assert chosen.bases is not None
    torch.manual_seed(seed)
    pieces = tokenizer()
    pieces.save_pretrained(folder / "tokenizer")
    new_llm(chosen.bases.llm, pieces).save_pretrained(folder / "llm")
    new_whisper_encoder(chosen.bases.encoder, chosen).save_pretrained(folder / "encoder")
    return folder


def model(folder: Path, chosen: Recipe | None = None, seed: int = 0) -> LoadedModel:
    """A whole model in evaluation mode; LoRA is random too (as PEFT makes it, it does nothing)."""
    chosen = chosen or recipe()
    bases = folder / "bases"
    if not bases.is_dir():
        write_bases(bases, chosen, seed)
    torch.manual_seed(seed + 1)
    loaded = new_model(chosen, bases, torch.float32)
    for name, parameter in loaded.model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.2)
    loaded.model.eval()
    return loaded


def mel(frames: int, seed: int = 0, bins: int = 80) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(bins, frames)).astype(np.float32)


def examples(frames: Sequence[int] = (40, 100, 64), rows: Sequence[int] = (1, 3, 2), seed: int = 0) -> list[Example]:
    """Utterances of this many mel frames, each with this many rows of random ids."""
    random = np.random.default_rng(seed)

    def ids(most: int) -> tuple[int, ...]:
        return tuple(int(n) for n in random.integers(10, 200, random.integers(1, most)))

    return [
        Example(mel(size, seed + at), tuple(TextRow(ids(5), (*ids(7), 1)) for _ in range(count)), ids(4))
        for at, (size, count) in enumerate(zip(frames, rows, strict=True))
    ]


def gemma2_llm() -> Gemma2ForCausalLM:
    """Embeddings scaled by sqrt(hidden), logits held within +-2, heads of 32."""
    pieces = tokenizer()
    torch.manual_seed(3)
    return Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=len(pieces),
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=32,
            query_pre_attn_scalar=32,
            sliding_window=64,
            max_position_embeddings=512,
            bos_token_id=None,
            eos_token_id=pieces.eos_token_id,
            pad_token_id=pieces.pad_token_id,
            final_logit_softcapping=2.0,
            initializer_range=0.1,
        )
    )


def write_corpus(folder: Path, name: str = "train") -> list[Utterance]:
    """Every text once as noise of its own length, n-way by `sentence`; returns the rows as they are in the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    rows = []
    for code, texts in TEXTS.items():
        for number, text in enumerate(texts):
            audio = f"{code}{number}.flac"
            samples = random.normal(scale=0.1, size=2000 + 480 * len(text)).clip(-1, 1).astype(np.float32)
            write_flac(folder / audio, samples)
            duration = len(samples) / 16000
            rows.append(
                Utterance(
                    id=f"{code}{number}", audio=audio, language=code, text=text, duration_s=duration,
                    sentence=str(number),
                )
            )  # fmt: skip
    write_rows(folder / f"{name}.jsonl", rows)
    return rows


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """A process and all that it started: torchrun's workers have sessions of their own, and would go on."""
    if process.poll() is None:
        started = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        for worker in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
        psutil.wait_procs(started)


def losses(run: Path) -> list[float]:
    """Those of a run's steps."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row["loss"] for row in rows if "loss" in row]
