"""A trained model folder -> what ships: its own weights in bf16, without what is fetched.

python runs/ship.py out/small/run/11-text-again/model src/dragoman/assets/small \\
    --credits out/small/data/CREDITS.txt
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from dragoman.files import atomic_folder

KEPT = ("README.md", "NOTICE")
"""What stands in the folder already and is written by hand."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--credits", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    with atomic_folder(options.out) as new:
        for path in sorted(path for path in options.model.rglob("*") if path.is_file()):
            place = new / path.relative_to(options.model)
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".safetensors":
                save_file({name: tensor.to(torch.bfloat16) for name, tensor in load_file(path).items()}, place)
            else:
                shutil.copyfile(path, place)
        for path in [*options.credits, *(options.out / name for name in KEPT if (options.out / name).is_file())]:
            shutil.copyfile(path, new / path.name)


if __name__ == "__main__":
    main()
