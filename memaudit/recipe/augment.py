"""Augmentation for training, and the augmented views of an example that are scored as further queries.

An augmentation takes a batch of images `[batch, channels, height, width]` and a generator and draws for every
example; a query is a fixed view, the same for every example.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor


def flip(x: Tensor, generator: Generator) -> Tensor:
    """Return each image mirrored left to right with probability one half."""
    import torch

    coins = torch.rand(len(x), generator=generator, device=x.device) < 0.5
    return torch.where(coins.view(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)


class shift:  # reads as a function of its argument: augment=shift(2)
    """Moves each image by up to `pixels` in both directions, reflecting at the border, drawn per image."""

    def __init__(self, pixels: int):
        self.pixels = pixels

    def __repr__(self) -> str:
        return f"shift({self.pixels})"

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Return the shifted images."""
        import torch

        r, (n, _, height, width) = self.pixels, x.shape
        padded = torch.nn.functional.pad(x.float(), (r, r, r, r), mode="reflect").to(x.dtype)
        dy, dx = torch.randint(0, 2 * r + 1, (2, n, 1), generator=generator, device=x.device)
        rows = (dy + torch.arange(height, device=x.device))[:, None, :, None]
        columns = (dx + torch.arange(width, device=x.device))[:, None, None, :]
        image = torch.arange(n, device=x.device)[:, None, None, None]
        channel = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
        return padded[image, channel, rows, columns]


def mirror(x: Tensor) -> Tensor:
    """Return every image mirrored left to right: a query."""
    return x.flip(-1)


class shifted:
    """A query: every image moved by `dy` rows down and `dx` columns right, reflecting at the border."""

    def __init__(self, dy: int, dx: int):
        self.dy, self.dx = dy, dx

    def __repr__(self) -> str:
        return f"shifted({self.dy}, {self.dx})"

    def __call__(self, x: Tensor) -> Tensor:
        """Return the moved images."""
        import torch

        r = max(abs(self.dy), abs(self.dx))
        padded = torch.nn.functional.pad(x.float(), (r, r, r, r), mode="reflect").to(x.dtype)
        top, left = r - self.dy, r - self.dx
        return padded[..., top : top + x.shape[-2], left : left + x.shape[-1]]


Augmentation = Callable[["Tensor", "Generator"], "Tensor"]
Query = Callable[["Tensor"], "Tensor"]
