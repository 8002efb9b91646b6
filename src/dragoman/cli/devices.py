"""What a command line says of the machine: threads and devices."""

from __future__ import annotations

import os

from dragoman.errors import DragomanError


def set_threads(threads: int | None) -> None:
    """CPU threads of torch."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def check_device(name: str | None) -> None:
    """Raise DragomanError when torch cannot use the device here."""
    if name is None:
        return
    import torch

    try:  # torch raises one for an unknown name and for "meta", the other for a device that it was not built for
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError) as error:
        raise DragomanError(f"The device {name!r} cannot be used here; name another, such as cpu.") from error


def launched() -> tuple[int, int]:
    """The number of this process and how many there are, as torchrun says."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def own_device(name: str | None) -> str | None:
    """Of several processes on one machine, each has a GPU of its own; else the device as named."""
    local = os.environ.get("LOCAL_RANK")
    if local is None or name not in (None, "cuda"):
        return name
    import torch

    return f"cuda:{int(local) % torch.cuda.device_count()}" if torch.cuda.is_available() else name


def hardware(device: str) -> str:
    """What a speed was measured on."""
    import torch

    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    return f"{device}, {torch.get_num_threads()} threads"
