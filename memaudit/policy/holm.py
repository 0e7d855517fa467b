"""Several limits at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one hypothesis: whether it was rejected, and by what its α was divided in that step."""

    rejected: bool
    divisor: int


def holm(p: Sequence[float], alpha: Sequence[float]) -> tuple[Step, ...]:
    """Return the steps of Holm's procedure for p-values that each have a level α of their own.

    The hypotheses are taken in the order of p/α. Each is rejected if p ≤ α/(number of those not yet rejected); at the
    first that is not, the procedure ends. Whatever the p-values' dependence, any true hypothesis is rejected with a
    probability of at most the greatest α.

    The policy runs it twice. Among the hypotheses "the number exceeds its limit" it bounds false passes: the
    probability that any limit passes that is broken. Among "the number does not exceed its limit" it bounds
    false failures. That all limits are reported as met although one is not, would have a probability of at most α even
    without it (an intersection–union test); with it, every single line of the report can be relied on.

    Source: Holm 1979 (Scandinavian Journal of Statistics 6:65), sections 2 and 4; Berger 1982 (Technometrics 24:295).
    """
    ratios = [p_value / level for p_value, level in zip(p, alpha, strict=True)]
    steps: dict[int, Step] = {}
    step = Step(True, len(ratios))
    for rejected, index in enumerate(sorted(range(len(ratios)), key=ratios.__getitem__)):
        if step.rejected:
            divisor = len(ratios) - rejected
            step = Step(ratios[index] * divisor <= 1 + 1e-9, divisor)  # 0.025 is 0.05 / 2, but (1 - 0.95) / 2 is not
        steps[index] = step
    return tuple(steps[index] for index in range(len(ratios)))
