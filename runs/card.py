"""Print the results table of a model's card, in Markdown, from two scores.json of `dragoman evaluate`.

python runs/card.py SPEECH/scores.json TEXT/scores.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean

Table = dict[tuple[str, str], float]


def main(speech: Path, text: Path) -> None:
    heard, read = load(speech), load(text)
    directions = sorted(d for metric, d in heard if metric == "BLEU" and d != "all")
    print("| from | word errors, % | to | BLEU from text | BLEU from speech | chrF from speech |")
    print("|---|---|---|---|---|---|")
    for direction in directions:
        source, target = direction.split("-")
        bleu, ceiling, chrf = heard["BLEU", direction], read["BLEU", direction], heard["chrF", direction]
        print(f"| {source} | {heard['WER', source]:.1f} | {target} | {ceiling:.1f} | {bleu:.1f} | {chrf:.1f} |")
    sources = sorted({direction.split("-")[0] for direction in directions})
    means = [fmean(table["BLEU", d] for d in directions) for table in (read, heard)]
    errors, chrf = fmean(heard["WER", s] for s in sources), fmean(heard["chrF", d] for d in directions)
    print(
        f"| mean | {errors:.1f} | | {means[0]:.1f} | {means[1]:.1f} ({means[1] / means[0]:.0%} of text) | {chrf:.1f} |"
    )


def load(path: Path) -> Table:
    return {(row["metric"], row["direction"]): row["value"] for row in json.loads(path.read_text(encoding="utf-8"))}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
