"""Simulated banks of signals with known laws, as evidence that the product's own checks and policy can look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from memaudit.checks import ClassifierEvidence
from memaudit.design import PairArrays, by_pair, halves

Array = np.ndarray

_SHIFTS, _SHARES = (0.5, 1.0, 4.0), (0.6, 0.3, 0.1)  # of members, in standard deviations, and of how many examples


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """What the signals are drawn from: φ = μᵢ + σᵢ·(noise + shiftᵢ·member + model), μᵢ ~ N(2, 2²), log σᵢ ~ N(0, ½²).

    `between_models` is the standard deviation of a shift that all signals of one model have in common, `dof` that of
    Student-t noise, `levels` the number of values that a probability can have, `members` the target's share of members,
    `target_shift` a shift of the target alone. With `copies`, examples come in twos that are alike, and both behave as
    members if either is one.
    """

    name: str
    between_models: float = 0.0
    dof: float | None = None
    levels: int | None = None
    members: float = 0.5
    target_shift: float = 0.0
    copies: bool = False


LAWS = (
    Law(name="plain"),
    Law(name="common shift between models", between_models=0.3),
    Law(name="copies across the split", copies=True),
    Law(name="heavy tails", dof=3),
    Law(name="20 levels", levels=20),
    Law(name="10 % members", members=0.1),
    Law(name="target less confident", target_shift=-0.2),
)


@dataclass(frozen=True)
class SimulatedBank(PairArrays):
    """Pairs held in memory, with memberships and correctness."""

    members: Array
    correct: Array


def simulated(law: Law, shadows: int, examples: int, seed: int, **settings: object) -> ClassifierEvidence:
    """Return the evidence of one audit of a target that was made by the shadows' law, but for what the law says."""
    rng = np.random.default_rng(seed)
    keep = halves(int(rng.integers(2**31)), shadows, examples)
    target = rng.random(examples) < law.members
    mean, scale = rng.normal(2, 2, examples), np.exp(0.5 * rng.normal(size=examples))
    shift = rng.choice(_SHIFTS, examples, p=_SHARES)
    noise = (
        rng.normal(size=(shadows + 1, examples))
        if law.dof is None
        else rng.standard_t(law.dof, (shadows + 1, examples))
    )
    effective = np.vstack([keep.astype(bool), target])
    if law.copies:
        for twin in (mean, scale, shift):
            twin[1::2] = twin[0::2]
        noise[:, 1::2] = noise[:, 0::2]
        effective = np.repeat(effective[:, 0::2] | effective[:, 1::2], 2, axis=1)
    model = law.between_models * rng.normal(size=(shadows + 1, 1))
    model[-1] += law.target_shift
    phi = _rounded(mean + scale * (noise + shift * effective + model), law.levels).astype(np.float32)
    inside, outside = by_pair(phi[:-1, :, None], keep)
    return ClassifierEvidence(
        bank=SimulatedBank(inside, outside, keep, phi[:-1] > 0),
        phi=phi[-1][:, None],
        correct=phi[-1] > 0,
        members=target,
        x=rng.normal(size=(examples, 2)).astype(np.float32),
        y=rng.integers(0, 2, examples),
        seed=seed,
        **settings,  # type: ignore[arg-type]
    )


def _rounded(phi: Float[Array, "models examples"], levels: int | None) -> Float[Array, "models examples"]:
    """Return the signals of votes: probabilities in so many steps, kept half a step from 0 and 1."""
    if levels is None:
        return phi
    votes = np.round(levels / (1 + np.exp(-phi)))
    return np.log((votes + 0.5) / (levels - votes + 0.5))


def true_rate(fprs: Float[Array, "audits rates"], tprs: Float[Array, "audits rates"], fpr: float) -> float:
    """Return the mean TPR over audits where their mean FPR is exactly `fpr`: what their intervals are about.

    Args:
        fprs: Of each target, at the thresholds that its shadows set for several nominal rates, rising.
        tprs: The same.
        fpr: Between the lowest and the highest mean.
    """
    return float(np.interp(fpr, fprs.mean(axis=0), tprs.mean(axis=0)))
