"""What the machine gives to one process: a device to train on, and one thread."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from memaudit.errors import SettingsError


def choose_device(device: str) -> str:
    """Return the device that `auto` selects, or the one that was asked for.

    Raises:
        SettingsError: There is no such device here.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"device {device!r} is not available: {str(error).splitlines()[0]}") from error
    return device


def device_name(device: str) -> str:
    """Return what the device is called, "cpu" or "cuda, NVIDIA A100"; raises as `choose_device` does."""
    import torch

    chosen = choose_device(device)
    return f"{chosen}, {torch.cuda.get_device_name(chosen)}" if chosen.startswith("cuda") else chosen


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit every numeric library to one thread within: processes do not fight, and sums are added in one order."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
