"""A training step in which several targets share the encoder's pass over their utterance, against a row for each; and
one that reads from a file what the frozen encoder heard, against one that runs it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import arguments, clips, compare, load

from dragoman.batch import Batch
from dragoman.data.batching import Example, TextRow, collate, pad_features
from dragoman.data.frames import new_frames
from dragoman.model.folder import merge_lora
from dragoman.model.trainable import train_only
from dragoman.training.encoding import frames_of


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--targets", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8, help="utterances in a step")
    options = parser.parse_args()
    loaded = load(options)
    random = np.random.default_rng(0)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(random.integers(10, len(loaded.tokenizer), count).tolist())

    rows = [tuple(TextRow(ids(2), ids(20)) for _ in range(options.targets)) for _ in range(options.batch)]
    mels = clips(loaded, random.uniform(2.0, 4.0, options.batch).tolist())
    shared = [Example(mel, group) for mel, group in zip(mels, rows, strict=True)]
    apart = [replace(example, rows=(row,)) for example in shared for row in example.rows]
    pad = int(loaded.tokenizer.pad_token_id)
    train_only(loaded.model, ["adapter"])
    loaded.model.train()

    def step(batch: Batch) -> None:
        loaded.model.zero_grad()
        loaded.model(batch)["loss"].backward()

    together, separate = collate(shared, pad), collate(apart, pad)
    compare(
        f"a step of {options.batch} utterances whose {options.targets} targets share the encoder",
        lambda: step(together),
        {f"{options.targets} separate rows each": lambda: step(separate)},
        options.repeats,
    )

    merge_lora(loaded.model)  # an encoder whose frames are stored has none
    single = [replace(example, rows=example.rows[:1]) for example in shared]
    with tempfile.TemporaryDirectory() as folder:
        store = new_frames(Path(folder), np.arange(len(mels), dtype=np.int32), len(mels), {})
        store.write(0, frames_of(loaded.model.encoder, *pad_features(mels)))
        compare(
            f"a step of {options.batch} utterances, a target each, that reads stored frames",
            lambda: step(collate([Example(None, own.rows, frames=store[at]) for at, own in enumerate(single)], pad)),
            {"one that runs the encoder": lambda: step(collate(single, pad))},
            options.repeats,
        )


if __name__ == "__main__":
    main()
