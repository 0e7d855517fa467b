"""Independent streams of random numbers, drawn from one seed."""

from __future__ import annotations

import numpy as np

# Canaries have 3 and 10 to 15.
MEMBERS, TRAINING, CONTROL, TARGET, CANDIDATES, SHARES, LABELS, TARGET_LABELS = 0, 1, 2, 4, 5, 6, 7, 8


def stream(seed: int, purpose: int, index: int) -> np.random.Generator:
    """Return the random numbers of one purpose and index; adding models or purposes changes no other stream."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, index)))


def training_seed(seed: int, model: int) -> int:
    """Return the seed of everything that is random in one model's training; depends on (seed, model) alone."""
    return int(stream(seed, TRAINING, model).integers(0, 2**31))
