"""Lower bounds on ε from many training runs, half of them with one example and half without it."""

from __future__ import annotations

import math

from scipy import special

from memaudit.privacy.ceilings import epsilon_of_gaussian
from memaudit.stats import clopper_pearson


def epsilon_of_counts(hits: int, inside: int, alarms: int, outside: int, alpha: float, delta: float) -> float:
    """Return the lower bound on ε from how often an example is flagged, at a threshold that was fixed before.

    ε ≥ ln((TPR − δ)/FPR) and ε ≥ ln((TNR − δ)/FNR), from one-sided Clopper–Pearson bounds at α/2 each: both use the
    same two events, so that the larger holds at no further cost.

    Args:
        hits: Models with the example that flag it.
        inside: Independent models with the example.
        alarms: Models without the example that flag it.
        outside: Independent models without it.
        alpha: Probability of error.
        delta: δ.

    Source: Jagielski, Ullman & Oprea 2020 (NeurIPS), section 3; Nasr et al. 2021 (IEEE S&P), section IV.
    """
    tpr, fpr = _bounds(hits, inside, alpha), _bounds(alarms, outside, alpha)
    ways = ((tpr[0] - delta, fpr[1]), (1 - fpr[1] - delta, 1 - tpr[0]))
    return max(0.0, *(math.log(over / under) for over, under in ways if over > 0 and under > 0), 0.0)


def gaussian_of_counts(hits: int, inside: int, alarms: int, outside: int, alpha: float, delta: float) -> float:
    """Return the same bound if the mechanism is known to have a Gaussian trade-off: μ ≥ Φ⁻¹(TPR) − Φ⁻¹(FPR).

    Source: Nasr et al. 2023 (USENIX Security), "Tight Auditing of Differentially Private Machine Learning", section 4.
    """
    low, high = _bounds(hits, inside, alpha)[0], _bounds(alarms, outside, alpha)[1]
    mu = float(special.ndtri(low) - special.ndtri(high)) if low > 0 and high < 1 else 0.0
    return epsilon_of_gaussian(mu, delta) if mu > 0 else 0.0


def _bounds(hits: int, trials: int, alpha: float) -> tuple[float, float]:
    """Return bounds of a share, each of which is wrong with a probability of α/2 at most."""
    low, high = clopper_pearson(hits, trials, 1 - alpha)
    return float(low), float(high)
