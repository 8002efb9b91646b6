"""A server under many clients: throughput and latency at 1, 8, 32 against one at a time, and what a short clip waits
for beside a long recording.

    python benchmarks/serving.py --model small --clients 1 8 32 --beside_s 7200
    python benchmarks/serving.py --model small --clients 1 8 --requests 8 --turns 1 --beside_s 600      # a first look

Each client sends the same short clips (examples/, or --audio) over and over; what is compared ran against one server,
in turns, so that a busy machine slows all alike. The ratio of throughputs is the median of the turns; that of latencies
is of all clips alone and all clips beside a recording that is as long as --beside_s (the first clip again and again)
and of which the server is in the middle.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
import wave
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np
import psutil

EXAMPLES = Path(__file__).parents[1] / "examples"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--requests", type=int, default=32, help="of each turn, shared out among the clients")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--to", default="deu,fra")
    parser.add_argument("--language", default="eng")
    parser.add_argument("--audio", type=Path, nargs="+", default=[EXAMPLES / "english-wav.wav"])
    parser.add_argument("--beside_s", type=float, default=0, help="seconds of a recording that is heard meanwhile")
    parser.add_argument("--growth", type=int, default=0, help="how much memory grows over so many more requests")
    parser.add_argument("--serve", nargs=argparse.REMAINDER, default=[], help="flags of `dragoman serve`")
    return parser


@contextmanager
def served(model: str, flags: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The address of a server of its own, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "dragoman", "serve", "--model", model, "--port", str(port), *flags]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stderr=log) as running:
        try:
            while not answers(f"http://127.0.0.1:{port}/ready"):
                if running.poll() is not None:
                    log.seek(0)
                    sys.exit(log.read().decode())
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}", running.pid
        finally:
            running.send_signal(signal.SIGTERM)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as found:
            return bool(found.status == 200)
    except OSError:
        return False


def form(path: Path, options: argparse.Namespace, **fields: str) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request."""
    boundary = uuid.uuid4().hex
    fields = {"model": options.name, "language": options.language, "target_language": options.to, **fields}
    named = f"--{boundary}\r\ncontent-disposition: form-data; name="
    parts = [f'{named}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    head = f'{named}"file"; filename="clip"\r\n\r\n'
    body = ("".join(parts) + head).encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    return body, {"content-type": f"multipart/form-data; boundary={boundary}"}


def ask(url: str, path: Path, options: argparse.Namespace) -> float:
    """Seconds until the answer is there."""
    request = urllib.request.Request(f"{url}/v1/audio/transcriptions", *form(path, options))
    started = time.perf_counter()
    with urllib.request.urlopen(request, timeout=3600) as found:
        found.read()
    return time.perf_counter() - started


def turn(url: str, clients: int, options: argparse.Namespace) -> tuple[float, list[float]]:
    """Seconds for all requests, and for each."""
    paths = itertools.islice(itertools.cycle(options.audio), options.requests)
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        each = list(pool.map(lambda path: ask(url, path, options), paths))
    return time.perf_counter() - started, each


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


def throughput(url: str, options: argparse.Namespace) -> None:
    """A line for each number of clients."""
    turns: dict[int, list[float]] = {clients: [] for clients in (1, *options.clients)}
    latencies: dict[int, list[float]] = {clients: [] for clients in turns}
    turn(url, max(turns), options)  # nobody counts the first
    for _ in range(options.turns):
        for clients in turns:
            whole, each = turn(url, clients, options)
            turns[clients].append(whole)
            latencies[clients] += each
    for clients in options.clients:
        faster = statistics.median(one / many for one, many in zip(turns[1], turns[clients], strict=True))
        rate = options.requests / statistics.median(turns[clients])
        p50, p95 = (percentile(latencies[clients], percent) for percent in (50, 95))
        print(
            f"{clients} clients: {faster:.2f} x the throughput of one at a time "
            f"({rate:.2f} requests/s, p50 {p50:.2f} s, p95 {p95:.2f} s)",
            flush=True,
        )


@contextmanager
def in_the_middle_of(url: str, path: Path, options: argparse.Namespace) -> Iterator[None]:
    """The server is hearing this recording, until we go."""
    request = urllib.request.Request(f"{url}/v1/audio/transcriptions", *form(path, options, stream="true"))
    with urllib.request.urlopen(request, timeout=3600) as events:
        while b"transcript.text.segment" not in (line := events.readline()):
            assert line, "the server gave up"
        yield
        assert not any(b"[DONE]" in line for line in waiting(events)), "the recording ended first; give a longer one"


def waiting(events: IO[bytes]) -> list[bytes]:
    """What has come meanwhile."""
    events.fp.raw._sock.settimeout(0.5)  # type: ignore[attr-defined]  # urllib has no other way
    lines: list[bytes] = []
    with suppress(TimeoutError):
        while line := events.readline():
            lines.append(line)
    return lines


def beside(url: str, options: argparse.Namespace) -> None:
    """A clip's latency while a long recording is heard, against its latency alone."""
    alone: list[float] = []
    together: list[float] = []
    clip, count = options.audio[0], max(5, options.requests // 2)
    with tempfile.TemporaryDirectory() as folder:
        long = repeated(clip, options.beside_s, Path(folder) / "long.wav")
        for _ in range(options.turns):
            alone += [ask(url, clip, options) for _ in range(count)]
            with in_the_middle_of(url, long, options):
                together += [ask(url, clip, options) for _ in range(count)]
    times = percentile(together, 95) / percentile(alone, 95)
    print(
        f"a short clip beside {options.beside_s:g} s of speech: p95 {times:.2f} x that alone "
        f"({percentile(together, 95):.2f} s against {percentile(alone, 95):.2f} s, {len(together)} clips)",
        flush=True,
    )


def repeated(clip: Path, seconds: float, path: Path) -> Path:
    """A WAV file that says the same again and again, with a second between."""
    from dragoman.data.audio import SAMPLE_RATE, load_audio

    once = np.concatenate([load_audio(clip), np.zeros(SAMPLE_RATE, np.float32)])
    block = (once * 32767).astype("<i2").tobytes()
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "not compressed"))
        for _ in range(round(seconds * SAMPLE_RATE / len(once))):
            out.writeframes(block)
    return path


def growth(url: str, process: int, options: argparse.Namespace) -> None:
    """Of the server and its children, once it is warm."""
    counts: list[float] = []
    for requests in (min(100, options.growth), options.growth):
        options.requests = requests
        turn(url, 4, options)
        server = psutil.Process(process)
        counts.append(sum(one.memory_info().rss for one in (server, *server.children(recursive=True))) / 1e6)
    print(
        f"{options.growth} requests: memory grows by {counts[1] - counts[0]:.0f} MB, to {counts[1]:.0f} MB", flush=True
    )


def main() -> None:
    options = arguments().parse_args()
    options.name = "served"
    flags = ["--served_model_name", options.name, "--max_requests", str(max(options.clients) + 2), *options.serve]
    print(f"{options.model}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    with served(options.model, flags) as (url, process):
        throughput(url, options)
        if options.beside_s:
            beside(url, options)
        if options.growth:
            growth(url, process, options)


if __name__ == "__main__":
    main()
