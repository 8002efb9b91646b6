"""What a command line says of the machine: threads and devices."""

from __future__ import annotations

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

    try:  # torch raises one for an unknown name, another for one it was not built for, a third for "meta"
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise DragomanError(f"The device {name!r} cannot be used here; name another, such as cpu.") from error
