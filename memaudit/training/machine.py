"""What the machine gives to one process: a device to train on, one thread, and how further processes start."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
from collections.abc import Iterator
from multiprocessing.context import BaseContext

from memaudit.errors import SettingsError

_OURS = ("torch", "memaudit.training.filling", "memaudit.training.classifier", "memaudit.training.packs")
_THEIRS = ("memaudit.training.language", "transformers.modeling_utils", "peft", "torchvision")  # none starts a thread


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


def starting() -> BaseContext:
    """Return how worker processes start: as forks of a server that has imported what they need, where that is safe.

    An import takes seconds and hundreds of megabytes, which forks share. They are not safe on macOS, nor beside a GPU:
    a library that looks for one while it is imported keeps all forks from using it.
    """
    import torch

    if sys.platform != "linux" or torch.accelerator.is_available():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_OURS, *(name for name in _THEIRS if name in sys.modules)])
    return context
