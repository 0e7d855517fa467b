"""Lower bounds on ε from one training run, or several: how many of r guesses of membership are right?

Each of m candidates is a member with probability 1/2, independently of the others. An adversary sees the model, and
guesses the membership of r of them. Under (ε, δ)-DP the number of right guesses is hardly larger than binomial.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import optimize, special

from memaudit.privacy.ceilings import LARGEST, mu_of_epsilon

Array = np.ndarray

_FIRST = 2_000  # steps that are looked at, before all are
_HALVINGS = 8  # numbers of guesses that are tried, and paid for
_LEAST = 10  # guesses
_STEP = 1e-6
_NORMAL = NormalDist()


def p_value(m: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Return the largest probability of so many right guesses or more, under (ε, δ)-DP.

    P[Ŵ ≥ v] + 2mδ max_i P[v > Ŵ ≥ v − i]/i, with Ŵ binomial of r trials with probability e^ε/(1 + e^ε).

    Args:
        m: Candidates, each a member with probability 1/2, independently.
        guesses: Of them that are guessed, r; fixed before.
        right: Right guesses, v.
        epsilon: ε of the null hypothesis.
        delta: δ of the null hypothesis.

    Source: Steinke, Nasr & Jagielski 2023 (NeurIPS), "Privacy Auditing with One (1) Training Run", Theorem 5.2.
    """
    if not 0 <= right <= guesses <= m:
        raise ValueError(f"0 ≤ right ≤ guesses ≤ m must hold, got {right}, {guesses}, {m}")
    share = float(special.expit(epsilon))
    beyond = float(_at_least(np.array(right), guesses, share))
    if delta == 0 or right == 0:
        return beyond

    def steepest(most: int) -> float:
        i = np.arange(1, most + 1)
        return float(np.max((_at_least(right - i, guesses, share) - beyond) / i))

    slope = steepest(min(right, _FIRST))
    if slope < 1 / _FIRST and right > _FIRST:  # a probability over i > _FIRST is no more than 1/_FIRST
        slope = steepest(right)
    return min(1.0, beyond + 2 * m * delta * slope)


def _at_least(hits: Int[Array, "..."], trials: int, share: float) -> Float[Array, "..."]:
    """Return P[X ≥ hits] of a binomial X."""
    positive = np.maximum(hits, 1)
    return np.where(hits < 1, 1.0, special.betainc(positive, trials - positive + 1, share))


def epsilon_bound(m: int, guesses: int, right: int, alpha: float, delta: float) -> float:
    """Return the largest ε that so many right guesses refute at a probability of error of `alpha`; 0 if none.

    With probability 1 − α at least, the mechanism is (ε, δ)-DP for no ε below it. Arguments as in `p_value`.
    """
    if right <= guesses / 2:
        return 0.0
    exact = _largest(lambda epsilon: alpha - p_value(m, guesses, right, epsilon, 0.0))
    if delta == 0 or exact == 0:
        return exact
    return _largest(lambda epsilon: alpha - p_value(m, guesses, right, epsilon, delta), exact)


def gaussian_bound(m: int, guesses: int, right: int, alpha: float, delta: float) -> float:
    """Return the same bound if the mechanism is known to have a Gaussian trade-off: larger, and less general.

    It refutes μ-Gaussian DP, for the μ that has this ε at δ. Subsampled and composed Gaussian noise is close to it, and
    no more than that: it is no bound for any other mechanism.

    Source: Mahloujifar, Melis & Chaudhuri 2024, "Auditing f-Differential Privacy in One Run", Algorithm 3.
    """
    if right <= guesses / 2:
        return 0.0
    return _largest(lambda epsilon: _excess(m, guesses, right, alpha, mu_of_epsilon(epsilon, delta)))


def _excess(m: int, guesses: int, right: int, alpha: float, mu: float) -> float:
    """Return by how much right and wrong guesses exceed what μ-Gaussian DP allows; positive: refuted."""
    r, h = alpha * right / m, alpha * (guesses - right) / m
    for i in range(right - 1, -1, -1):
        larger = max(h, _NORMAL.cdf(_NORMAL.inv_cdf(r) - mu)) if r < 1 else 1.0
        if larger == h:
            break
        r, h = min(1.0, r + i / (guesses - i) * (larger - h)), larger
    return r + h - guesses / m


def _largest(evidence: Callable[[float], float], most: float = LARGEST) -> float:
    """Return where evidence, which falls in ε, is used up: from there on nothing is refuted."""
    if evidence(0.0) <= 0:
        return 0.0
    high = 1.0
    while high < most and evidence(high) > 0:
        high *= 2
    high = min(high, most)
    if evidence(high) > 0:
        return high
    return float(optimize.brentq(evidence, 0.0, high, xtol=_STEP)) - _STEP  # on the safe side of the root


def guess_numbers(m: int) -> tuple[int, ...]:
    """Return the numbers of guesses that are tried: all candidates, a half, a quarter, and so on; fixed by m alone."""
    found = (2 * (m >> k >> 1) for k in range(_HALVINGS))
    return tuple(n for n in found if n >= _LEAST)


def right_guesses(scores: Float[Array, "runs m"], members: Bool[Array, "runs m"], guesses: int) -> int:
    """Return how many guesses are right: the highest half is taken for members, the lowest for non-members.

    Over all runs together. Ties are broken by place, whatever the membership.

    Args:
        scores: Larger = more member-like. They may depend on everything but the memberships.
        members: Who is a member.
        guesses: An even number of them.
    """
    order = np.argsort(scores.ravel(), kind="stable")
    truth, side = members.ravel(), guesses // 2
    return int(truth[order[len(order) - side :]].sum()) + int((~truth[order[:side]]).sum())


def lower_bound(
    scores: Float[Array, "runs m"],
    members: Bool[Array, "runs m"],
    alpha: float,
    delta: float,
    bound: Callable[[int, int, int, float, float], float] = epsilon_bound,
) -> float:
    """Return the lower bound on ε at confidence 1 − α, over several numbers of guesses, which share α.

    Several independent runs are one: each membership is drawn once, for one run, so that all runs together are
    (ε, δ)-DP in it. Both models of a complementary pair must not be among them.

    Source: Steinke et al. 2023, Theorem 5.2; parallel composition; Bonferroni over the numbers of guesses.
    """
    numbers = guess_numbers(scores.size)
    tried = ((r, right_guesses(scores, members, r)) for r in numbers)
    return max((bound(scores.size, r, v, alpha / len(numbers), delta) for r, v in tried), default=0.0)


def most_shown(m: int, alpha: float, delta: float) -> float:
    """Return the largest lower bound that m candidates can show: that of guesses which are all right."""
    numbers = guess_numbers(m)
    return max((epsilon_bound(m, r, r, alpha / len(numbers), delta) for r in numbers), default=0.0)
