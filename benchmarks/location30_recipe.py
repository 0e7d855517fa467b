"""The recipe of the Location-30 bank: a file of its own, so that the benchmark can change and the bank stay."""

from __future__ import annotations

import io
import tarfile
from functools import partial

import numpy as np
from torch import nn

import memaudit as ma


def examples(path: str) -> ma.Examples:
    with tarfile.open(path) as archive:
        member = next(m for m in archive.getmembers() if m.isfile())
        text = io.TextIOWrapper(archive.extractfile(member) or io.BytesIO())
        rows = np.array([[int(v.strip('"')) for v in line.strip().split(",")] for line in text])
    return ma.Examples(rows[:, 1:].astype(np.float32), rows[:, 0] - 1)


def model() -> nn.Module:
    layers = nn.Linear(446, 128), nn.Linear(128, 30)
    for layer, variance in zip(layers, (2 / 446, 1 / 128), strict=True):
        nn.init.normal_(layer.weight, 0, variance**0.5)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1])


def recipe(path: str) -> ma.ClassifierRecipe:
    return ma.ClassifierRecipe(
        partial(examples, path),
        model,
        epochs=40,
        batch_size=100,
        optimizer=ma.SGD(lr=0.2, momentum=0.9, weight_decay=1e-4),
        schedule="cosine",
    )
