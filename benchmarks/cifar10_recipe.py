"""The recipe of the CIFAR-10 bank: a ResNet of nine layers on the first images of the training set."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import nn

import memaudit as ma
from memaudit.recipe.augment import flip, shift


def examples(path: str, count: int) -> ma.Examples:
    """Return the first images as `[count, 3, 32, 32]` in uint8, with the rows of the training set as ids."""
    with np.load(path) as data:
        x, y = data["x_train"][:count], data["y_train"][:count]
    return ma.Examples(x.transpose(0, 3, 1, 2), y, [f"train-{row}" for row in range(count)])


class Mixed(nn.Module):
    """Scale bytes to about zero mean and unit variance; on a GPU, run the body in bfloat16 and the head in float32."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        x = ((x.float() / 255 - 0.473) / 0.252).contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=x.is_cuda):
            features = self.body(x)
        out: torch.Tensor = self.head(features.float())
        return out


class Residual(nn.Module):
    """Add two convolutions to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(convolution(width, width), convolution(width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        out: torch.Tensor = x + self.inner(x)
        return out


def convolution(inputs: int, outputs: int, pool: bool = False) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))


def model() -> nn.Module:
    body = nn.Sequential(
        convolution(3, 64),
        convolution(64, 128, pool=True),
        Residual(128),
        convolution(128, 256, pool=True),
        convolution(256, 256, pool=True),
        Residual(256),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
    )
    return Mixed(body, nn.Linear(256, 10)).to(memory_format=torch.channels_last)


def recipe(path: str, count: int, epochs: int) -> ma.ClassifierRecipe:
    return ma.ClassifierRecipe(
        partial(examples, path, count),
        model,
        epochs=epochs,
        batch_size=500,
        optimizer=ma.AdamW(lr=2e-3, weight_decay=0.05),
        schedule="cosine",
        augment=crop_and_mirror,
    )


def crop_and_mirror(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return flip(shift(2)(x, generator), generator)
