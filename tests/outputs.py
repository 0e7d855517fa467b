"""Outputs of models that nobody trained: logits by a known law, for the tests of what is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray

CLASSES = 4


@dataclass(frozen=True)
class Made:
    """Logits `[models + 1, examples, classes]` and members `[models + 1, examples]`; the last model is the target."""

    logits: Array
    members: Array
    labels: Array

    @property
    def shadows(self) -> dict[str, Any]:
        return {"outputs": self.logits[:-1], "members": self.members[:-1], "labels": self.labels}

    @property
    def target(self) -> dict[str, Any]:
        return {"outputs": self.logits[-1], "members": self.members[-1], "labels": self.labels}

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write shadows.npz and target.npz; return their paths."""
        paths = folder / "shadows.npz", folder / "target.npz"
        for path, arrays in zip(paths, (self.shadows, self.target), strict=True):
            np.savez(path, **arrays)
        return paths


def coins(models: int, examples: int, seed: int = 0, share: float = 0.5) -> Array:
    return np.random.default_rng(seed).random((models, examples)) < share


def pairs(models: int, examples: int, seed: int = 0) -> Array:
    """Complementary pairs, in a random order."""
    rng = np.random.default_rng(seed)
    first = rng.random((models // 2, examples)) < 0.5
    return np.concatenate([first, ~first])[rng.permutation(models)]


def made(members: Array, *, leak: float = 2.0, between: float = 0.0, seed: int = 0) -> Made:
    """Return models whose label's logit is larger by `leak` on what they were trained on.

    Args:
        members: Of the shadows, `[models, examples]`; the target's are drawn by coins.
        leak: In nats, on a tenth of the examples; on the others a quarter of that.
        between: Standard deviation of a shift that all signals of a model share.
        seed: Of everything else.
    """
    rng = np.random.default_rng(seed)
    models, examples = members.shape
    members = np.vstack([members, rng.random(examples) < 0.5])
    labels = rng.integers(0, CLASSES, (examples,))
    hard = rng.normal(1.0, 1.0, examples)
    effect = np.where(rng.random(examples) < 0.1, 2 * leak, leak / 4)
    logits = 0.5 * rng.normal(size=(models + 1, examples, CLASSES))
    own = hard + effect * members + between * rng.normal(size=(models + 1, 1))
    logits[:, np.arange(examples), labels] += own
    return Made(logits, members.astype(np.uint8), np.asarray(labels))


def softmax(logits: Array) -> Array:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))
