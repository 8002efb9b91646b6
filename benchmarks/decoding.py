"""Decoding: several targets in one pass against single passes, each of which hears and transcribes for itself;
batches of like length against one by one.

Every output is forced to the same length (`--tokens`), so that no way is faster by saying less.
"""

from __future__ import annotations

import numpy as np
from common import arguments, clips, compare, load

from dragoman.inference.decode import Decoder, Request
from dragoman.languages import LANGUAGES
from dragoman.model.checkpoint import merge_lora


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--targets", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=20)
    options = parser.parse_args()
    loaded = load(options.model, options.threads)
    merge_lora(loaded.model)
    decoder = Decoder(loaded, beams=1, max_new_tokens=options.tokens, max_rows=128)
    decoder.search.min_new_tokens = options.tokens
    source = loaded.recipe.sources[0]
    codes = [code for code in dict.fromkeys([*loaded.recipe.targets, *LANGUAGES]) if code != source][: options.targets]

    for count in (1, 16):
        mels = clips(loaded, [3.0] * count)
        singles = [Request(mel.copy(), source, (code,)) for code in codes for mel in mels]
        per_target = [singles[start : start + count] for start in range(0, len(singles), count)]
        compare(
            f"{count} clips, {len(codes)} targets in one pass",
            lambda mels=mels: decoder([Request(mel, source, tuple(codes)) for mel in mels]),
            {
                f"{len(codes)} passes one after another": lambda passes=per_target: [decoder(each) for each in passes],
                f"{len(codes)} passes in one batch": lambda singles=singles: decoder(singles),
            },
            options.repeats,
        )

    longest = min(6.0, loaded.recipe.audio.window_s)
    durations = np.random.default_rng(1).uniform(1.0, longest, 48).tolist()
    requests = [Request(clip, source, (codes[0],)) for clip in clips(loaded, durations)]
    by_length = sorted(requests, key=lambda request: request.mel.shape[1])
    compare(
        f"48 clips of 1 to {longest:g} s in batches of 16 sorted by length",
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
