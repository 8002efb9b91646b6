"""Decoding: several targets in one pass against single passes; batches of like length against one by one.

Every output is forced to the same length (`--tokens`), so that no way is faster by saying less.
"""

from __future__ import annotations

import numpy as np
from common import arguments, clips, compare, load

from dragoman.inference.decode import Decoder, Request
from dragoman.languages import LANGUAGES


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--targets", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=20)
    options = parser.parse_args()
    loaded = load(options.model, options.threads)
    decoder = Decoder(loaded, beams=1, max_new_tokens=options.tokens, max_rows=64)
    decoder.generation.min_new_tokens = options.tokens
    source = loaded.recipe.sources[0]
    codes = [code for code in dict.fromkeys([*loaded.recipe.targets, *LANGUAGES]) if code != source][: options.targets]

    (mel,) = clips(loaded, [3.0])
    singles = [Request(mel, source, (code,)) for code in codes]
    compare(
        f"{len(codes)} targets in one pass",
        lambda: decoder([Request(mel, source, tuple(codes))]),
        {
            f"{len(codes)} passes one after another": lambda: [decoder([request]) for request in singles],
            f"{len(codes)} passes in one batch": lambda: decoder(singles),
        },
        options.repeats,
    )

    durations = np.random.default_rng(1).uniform(1.0, 6.0, 48).tolist()
    requests = [Request(clip, source, (codes[0],)) for clip in clips(loaded, durations)]
    by_length = sorted(requests, key=lambda request: request.mel.shape[1])
    compare(
        "48 clips of 1 to 6 s in batches of 16 sorted by length",
        lambda: [decoder(by_length[start : start + 16]) for start in range(0, 48, 16)],
        {
            "one by one": lambda: [decoder([request]) for request in requests],
            "batches of 16 in random order": lambda: [
                decoder(requests[start : start + 16]) for start in range(0, 48, 16)
            ],
        },
        options.repeats,
    )


if __name__ == "__main__":
    main()
