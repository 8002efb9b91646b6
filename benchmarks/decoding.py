"""Decoding: many targets in one pass against single passes, each of which hears and transcribes for itself, one after
another and all in one batch; and batches of like length against one by one.

Targets beyond the model's own are tags that it does not know. Every output is forced to the same length (`--tokens`),
so that no way is faster by saying less.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np
from common import arguments, clips, compare, in_turns, load, ratio

from dragoman.inference.decoding.decoder import Decoder, DecodeRequest
from dragoman.model.build import LoadedModel
from dragoman.model.folder import merge_lora
from dragoman.text.languages import SETS


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--targets", type=int, nargs="+", default=[1, 5, 27, 69])
    parser.add_argument("--clips", type=int, nargs="+", default=[1, 8], help="that are decoded at once")
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--beams", type=int, default=1)
    options = parser.parse_args()
    loaded = load(options)
    merge_lora(loaded.model)
    decoder = Decoder(loaded, options.beams, max_new_tokens=options.tokens, max_rows=128)
    decoder.search.min_new_tokens = options.tokens

    print("clips  targets  one pass  one after another   in one batch")
    for count in options.clips:
        for targets in options.targets:
            many_targets(loaded, decoder, count, targets, options)
    like_lengths(loaded, decoder, options)


def many_targets(loaded: LoadedModel, decoder: Decoder, count: int, targets: int, options: argparse.Namespace) -> None:
    """A line: seconds of one pass, seconds of single passes and how many times faster the one pass is."""
    source, *own = dict.fromkeys([loaded.recipe.sources[0], *loaded.recipe.targets])
    codes = tuple(dict.fromkeys([*own, *(code for code in SETS["fleurs-102"] if code != source)]))[:targets]
    mels = clips(loaded, [3.0] * count)
    singles = [[DecodeRequest(mel.copy(), source, (code,)) for mel in mels] for code in codes]
    decoder(singles[0])
    ours, after, batch = in_turns(
        {
            "one pass": lambda: decoder([DecodeRequest(mel, source, codes) for mel in mels]),
            "one after another": lambda: [decoder(each) for each in singles],
            "in one batch": lambda: decoder([request for each in singles for request in each]),
        },
        options.repeats,
        options.clock,
        warm_ups=0,
    ).values()
    others = (f"{statistics.median(times):6.2f} s  {ratio(ours, times):4.1f} x" for times in (after, batch))
    print(f"{count:5}  {len(codes):7}  {statistics.median(ours):6.2f} s   {'  '.join(others)}", flush=True)


def like_lengths(loaded: LoadedModel, decoder: Decoder, options: argparse.Namespace) -> None:
    source, target = loaded.recipe.sources[0], loaded.recipe.targets[-1]
    longest = min(6.0, loaded.recipe.audio.window_s)
    durations = np.random.default_rng(1).uniform(1.0, longest, 48).tolist()
    requests = [DecodeRequest(clip, source, (target,)) for clip in clips(loaded, durations)]
    by_length = sorted(requests, key=lambda request: request.features.shape[1])
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
        options.clock,
    )


if __name__ == "__main__":
    main()
