"""Small COMET checkpoints in the layout of the package unbabel-comet, and the scores that package gives them.

Imported by test_comet.py for the checkpoints. Run as a script it asks the package itself and writes
comet_scores.json; the package does not live beside transformers 5, so it needs an environment of its own:

    python3.11 -m venv comet-env && comet-env/bin/pip install unbabel-comet==2.2.7 "setuptools<81"
    comet-env/bin/python tests/evaluation/comet_reference.py

Nothing here is left to a library's random numbers: every tensor is drawn by numpy, from its own name.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
import yaml

SCORES = Path(__file__).with_name("comet_scores.json")

LONG = "The quick brown fox jumps over the lazy dog, again and again. "
TRIPLES = (  # source, hypothesis, reference
    ("Die Katze schläft auf dem Tisch.", "The cat sleeps on the table.", "The cat is sleeping on the table."),
    ("Where is the station?", "Wo ist der Bahnhof?", "Wo ist der Bahnhof?"),
    ("Good morning, everyone.", "", "Guten Morgen zusammen."),
    ("今日は良い天気ですね。", "Nice weather today, isn't it?", "The weather is nice today, isn't it?"),
    ("The weather is fine today.", "今天天气很好。", "今天的天气真好。"),
    ("Мы идём в школу.", "We are going to the school", "We're going to school."),
    ("Is there any water?", "هل يوجد ماء؟", "هل هناك أي ماء؟"),
    ("I am reading a book.", "मैं एक किताब पढ़ रहा हूँ।", "मैं किताब पढ़ रही हूँ।"),
    ("Er sagt es immer wieder.", LONG * 60, LONG),  # more than 512 tokens
    ("a <pad> b </s> c", "ﬁne ½ ＡＢＣ  two\tspaces", "unseen: ☃ ฿"),  # marks that are tokens, forms that normalise
)

WMT22: dict[str, Any] = {  # as the released wmt22-comet-da says it
    "nr_frozen_epochs": 0.3,
    "keep_embeddings_frozen": True,
    "optimizer": "AdamW",
    "warmup_steps": 0,
    "encoder_learning_rate": 1.0e-06,
    "learning_rate": 1.5e-05,
    "layerwise_decay": 0.95,
    "encoder_model": "XLM-RoBERTa",
    "pool": "avg",
    "layer": "mix",
    "layer_transformation": "sparsemax",
    "layer_norm": False,
    "loss": "mse",
    "dropout": 0.1,
    "batch_size": 4,
    "train_data": ["data/1720-da.csv"],
    "validation_data": ["data/wmt-ende-newstest2021.csv", "data/wmt-enru-newstest2021.csv"],
    "hidden_sizes": [24, 12],
    "activations": "Tanh",
    "final_activation": None,
    "load_pretrained_weights": True,
    "local_files_only": False,
    "class_identifier": "regression_metric",
}
_LATER = ("warmup_steps", "layer_transformation", "layer_norm", "loss", "load_pretrained_weights", "local_files_only")
WMT20 = {  # older: the layer mix is not mentioned, the package's defaults hold; weights that nothing uses
    **{key: value for key, value in WMT22.items() if key not in _LATER},
    "load_weights_from_checkpoint": None,
    "train_data": "data/scores_1719.csv",
    "dropout": 0.15,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "wmt22": WMT22,
    "wmt20": WMT20,
    "softmax": {**WMT22, "layer_transformation": "softmax"},
    "normed sparsemax": {**WMT22, "layer_norm": True},
    "cls": {**WMT22, "pool": "cls", "final_activation": "Sigmoid"},
    "max": {**WMT22, "pool": "max", "activations": "sigmoid", "hidden_sizes": [16]},
    "one layer": {**WMT22, "layer": 2, "hidden_sizes": [24, 16, 8]},
    "frozen": {**WMT22, "keep_embeddings_frozen": False, "nr_frozen_epochs": 1, "dropout": 0.0},
}

_HIDDEN, _LAYERS, _FEED_FORWARD, _POSITIONS = 32, 3, 64, 514
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")


def write_checkpoint(folder: Path, variant: str) -> Path:
    """A whole checkpoint folder, `encoder/` (tokenizer and config) inside; returns the folder."""
    pieces = _write_encoder(folder / "encoder")
    hparams = {**VARIANTS[variant], "pretrained_model": str(folder / "encoder")}
    (folder / "hparams.yaml").write_text(yaml.safe_dump(hparams), encoding="utf-8")
    (folder / "checkpoints").mkdir()
    checkpoint = {
        "epoch": 1,
        "global_step": 2,
        "pytorch-lightning_version": "1.9.5",
        "state_dict": _weights(hparams, pieces),
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": hparams,
    }
    torch.save(checkpoint, folder / "checkpoints" / "model.ckpt")
    return folder


def _write_encoder(folder: Path) -> int:
    """A tokenizer of XLM-R's kind and the config of its model; returns the number of pieces."""
    texts = " ".join(text for triple in TRIPLES[:-1] for text in triple)
    words = {"▁" + word for word in texts.split()}
    pieces = sorted({"▁", *texts.replace(" ", ""), *words, *(w[:3] for w in words), *"abcxyzABC12"})
    scored = [[token, 0.0] for token in _SPECIAL]
    scored += [[piece, -3.0 - 0.5 * math.log(1 + len(piece)) - _draw(piece, ()).item() ** 2] for piece in pieces]
    ids = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": len(scored)}
    marks = {"single_word": False, "rstrip": False, "normalized": False, "special": True}
    begin, end = ({"SpecialToken": {"id": token, "type_id": 0}} for token in ("<s>", "</s>"))
    text_a, text_b = ({"Sequence": {"id": side, "type_id": 0}} for side in "AB")
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": t, "lstrip": t == "<mask>", **marks} for t, i in ids.items()],
        "normalizer": {"type": "NFKC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "WhitespaceSplit"},
                {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, text_a, end],
            "pair": [begin, text_a, end, end, text_b, end],
            "special_tokens": {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in ("<s>", "</s>")},
        },
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "model": {"type": "Unigram", "unk_id": 3, "vocab": scored, "byte_fallback": False},
    }
    config = {
        "model_type": "xlm-roberta",
        "hidden_size": _HIDDEN,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": 4,
        "intermediate_size": _FEED_FORWARD,
        "max_position_embeddings": _POSITIONS,
        "vocab_size": len(scored) + 1,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-05,
        "hidden_act": "gelu",
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
    }
    folder.mkdir(parents=True)
    for name, content in (("tokenizer.json", tokenizer), ("config.json", config)):
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return len(scored) + 1


def _weights(hparams: dict[str, Any], pieces: int) -> dict[str, torch.Tensor]:
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.model.embeddings.word_embeddings.weight": (pieces, _HIDDEN),
        "encoder.model.embeddings.position_embeddings.weight": (_POSITIONS, _HIDDEN),
        "encoder.model.embeddings.token_type_embeddings.weight": (1, _HIDDEN),
        **_norm("encoder.model.embeddings.LayerNorm"),
    }
    for number in range(_LAYERS):
        layer = f"encoder.model.encoder.layer.{number}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= _linear(f"{layer}.attention.{part}", _HIDDEN, _HIDDEN)
        shapes |= _norm(f"{layer}.attention.output.LayerNorm")
        shapes |= _linear(f"{layer}.intermediate.dense", _HIDDEN, _FEED_FORWARD)
        shapes |= _linear(f"{layer}.output.dense", _FEED_FORWARD, _HIDDEN)
        shapes |= _norm(f"{layer}.output.LayerNorm")
    if hparams["layer"] == "mix":
        shapes |= {f"layerwise_attention.scalar_parameters.{n}": (1,) for n in range(_LAYERS + 1)}
        shapes["layerwise_attention.gamma"] = (1,)
        if hparams["dropout"]:
            shapes |= {f"layerwise_attention.dropout_{name}": (_LAYERS + 1,) for name in ("mask", "fill")}
    sizes = [6 * _HIDDEN, *hparams["hidden_sizes"], 1]
    for number, (wide, narrow) in enumerate(itertools.pairwise(sizes)):
        shapes |= _linear(f"estimator.ff.{3 * number}", wide, narrow)
    tensors = {name: _draw(name, shape) for name, shape in shapes.items()}
    if "load_weights_from_checkpoint" in hparams:  # what transformers and the package stored at that time
        tensors |= {n: _draw(n, s) for n, s in _linear("encoder.model.pooler.dense", _HIDDEN, _HIDDEN).items()}
        tensors["encoder.model.embeddings.position_ids"] = torch.arange(_POSITIONS)[None]
    return tensors


def _linear(name: str, wide: int, narrow: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (narrow, wide), f"{name}.bias": (narrow,)}


def _norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (_HIDDEN,), f"{name}.bias": (_HIDDEN,)}


def _draw(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Normal, of a size that keeps the scores far apart; a norm's weights lie about one."""
    values = np.random.RandomState(crc32(name.encode())).standard_normal(shape)
    if len(shape) == 2 and "embeddings" not in name:
        values *= 1.5 / math.sqrt(shape[1])
    if name.endswith("LayerNorm.weight"):
        values = 1.0 + 0.2 * values
    elif name.endswith("bias"):
        values *= 0.2
    elif name.endswith("scalar_parameters.1"):
        values -= 3.0  # sparsemax leaves this layer out
    return torch.tensor(values, dtype=torch.float32)


def main() -> None:
    """Score every variant with the package, on the CPU, and write the numbers."""
    from importlib.metadata import version

    from comet import load_from_checkpoint  # type: ignore[import-not-found]

    samples = [dict(zip(("src", "mt", "ref"), triple, strict=True)) for triple in TRIPLES]
    found: dict[str, Any] = {name: version(name) for name in ("unbabel-comet", "torch", "transformers", "tokenizers")}
    for variant in VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            path = write_checkpoint(Path(folder) / variant.replace(" ", "-"), variant) / "checkpoints" / "model.ckpt"
            model = load_from_checkpoint(str(path), strict=variant != "wmt20")
            scores = model.predict(samples, batch_size=4, gpus=0, progress_bar=False, num_workers=0).scores
        print(variant, *(f"{score:.4f}" for score in scores), file=sys.stderr)
        found[variant] = [round(score, 7) for score in scores]
    SCORES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
