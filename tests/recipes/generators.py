"""Generators that are known through and through: one returns its training images, one has nothing to do with them."""

from typing import Any

import numpy as np
import torch
from torch import nn

import memaudit as ma

COUNT, SIDE, CANARIES = 108, 6, 12


def planted() -> ma.ImageCanaries:
    bases = np.random.default_rng(5).normal(size=(CANARIES, SIDE, SIDE)).astype(np.float32)
    return ma.image_canaries(bases, references=63, size=3)


def examples() -> ma.Examples:
    images = np.random.default_rng(0).normal(size=(COUNT, SIDE, SIDE)).astype(np.float32)
    return ma.Examples(np.concatenate([images, planted().images]), task="generation")


class Memory(nn.Module):
    """Keeps images; a kernel density estimate over them is the generator."""

    def __init__(self) -> None:
        super().__init__()
        self.images: torch.Tensor
        self.count: torch.Tensor
        self.register_buffer("images", torch.zeros(COUNT + CANARIES, SIDE, SIDE))
        self.register_buffer("count", torch.tensor(0))

    def keep(self, images: Any) -> "Memory":
        self.images[: len(images)] = torch.as_tensor(images)
        self.count.fill_(len(images))
        return self

    @property
    def kept(self) -> torch.Tensor:
        return self.images[: int(self.count)].flatten(1)


def remember(dataset: ma.Examples, *, seed: int, device: str) -> Memory:
    return Memory().keep(dataset.x)


def ignore(dataset: ma.Examples, *, seed: int, device: str) -> Memory:
    return Memory().keep(np.random.default_rng(seed).normal(size=(60, SIDE, SIDE)).astype(np.float32))


def sample(model: Memory, n: int, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    images = model.kept[torch.randint(int(model.count), (n,), generator=random)]
    return (images + 0.05 * torch.randn(images.shape, generator=random)).view(n, SIDE, SIDE)


def loss(model: Memory, images: torch.Tensor, noise: torch.Tensor, level: float) -> torch.Tensor:
    """The squared error of the best denoiser of a kernel density estimate."""
    seen = (images + level * noise).flatten(1)
    weights = torch.softmax(-torch.cdist(seen, model.kept).square() / (2 * level**2), dim=1)
    return (weights @ model.kept - images.flatten(1)).square().mean(dim=1)


asked: dict[str, Any] = {"levels": (0.5, 2.0), "samples": 40, "model": Memory, "planted": planted}
recipe = ma.GeneratorRecipe(examples, remember, sample, loss, **asked)
ignorant = ma.GeneratorRecipe(examples, ignore, sample, loss, **asked)
lossless = ma.GeneratorRecipe(examples, remember, sample, **asked)
