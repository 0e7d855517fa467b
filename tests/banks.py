"""Banks of signals for the tests of attacks."""

from __future__ import annotations

import numpy as np

from memaudit.design import PairArrays


def last(bank: PairArrays, pair: int) -> PairArrays:
    """Return the bank with one pair moved to the end, where a target's scores leave it out."""
    count = len(bank.inside)
    return bank.take(np.array([*(t for t in range(count) if t != pair), pair]))
