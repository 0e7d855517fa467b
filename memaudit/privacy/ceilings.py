"""What (ε, δ)-differential privacy allows at most: true-positive rate, memorization, exposure.

Every bound is attained by a mechanism: (ε, δ)-randomized response (Kairouz, Oh & Viswanath 2015).
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy import integrate, optimize, special

from memaudit.types import UNBOUNDED_EPSILON

Array = np.ndarray

LARGEST = UNBOUNDED_EPSILON
"""The largest ε that is computed with. A mechanism with such an ε promises nothing."""


def tpr_ceiling(fpr: Float[Array, "..."] | float, epsilon: float, delta: float) -> Float[Array, "..."]:
    """Return the largest true-positive rate of any attack at a false-positive rate, under (ε, δ)-DP.

    TPR ≤ min(e^ε FPR + δ, 1 − e^−ε (1 − δ − FPR), 1): the definition for the event "flagged", and for its complement.

    Source: Wasserman & Zhou 2010, Theorem 2.4; Kairouz, Oh & Viswanath 2015 (ICML), Theorem 2.1, the privacy region.
    """
    require(epsilon, delta)
    x = np.asarray(fpr, float)
    with np.errstate(over="ignore"):
        flagged = np.exp(min(epsilon, LARGEST)) * x + delta
    cleared = 1 - math.exp(-epsilon) * (1 - delta - x)
    return np.asarray(np.minimum(np.minimum(flagged, cleared), 1.0))


def memorization_ceiling(epsilon: float, delta: float) -> float:
    """Return the largest memorization of an example, and the largest TPR − FPR of any attack, under (ε, δ)-DP.

    It is (e^ε − 1 + 2δ)/(e^ε + 1): memorization is the TPR − FPR of the attack that flags what is classified correctly,
    and the two parts of `tpr_ceiling` meet at FPR = (1 − δ)/(e^ε + 1).

    Source: Kairouz, Oh & Viswanath 2015 (ICML), the total variation of the mechanism that attains the region.
    """
    require(epsilon, delta)
    return float(math.tanh(epsilon / 2) + delta * 2 * special.expit(-epsilon))


def exposure_ceiling(epsilon: float, delta: float, secrets: float) -> float:
    """Return the largest mean exposure in bits of a planted secret that was drawn from so many, under (ε, δ)-DP.

    In a model without the canary the secret's rank is uniform, so that P[exposure ≥ b] is at most 2^−b there, and
    `tpr_ceiling` of that in a model with it. The mean is the integral over b from 0 to log₂ of the number of secrets.
    For δ = 0 and many secrets it is at most (1 + ε)/ln 2.

    Source: Carlini et al. 2019 (USENIX Security), the definition of exposure; Carlini et al. 2019, section 8 on DP.
    """
    most = math.log2(secrets)
    if most <= 0:
        return 0.0
    met = math.log1p(math.exp(min(epsilon, LARGEST))) - math.log1p(-delta)  # where the parts of the ceiling meet
    value, _ = integrate.quad(
        lambda bits: float(tpr_ceiling(2.0**-bits, epsilon, delta)), 0, most, points=[min(most, met / math.log(2))]
    )
    return float(min(most, value))


def gaussian_ceiling(fpr: Float[Array, "..."] | float, mu: float) -> Float[Array, "..."]:
    """Return the largest true-positive rate at a false-positive rate under μ-Gaussian DP: Φ(Φ⁻¹(FPR) + μ).

    Source: Dong, Roth & Su 2022 (JRSS B 84:3), Definition 2.6.
    """
    return np.asarray(special.ndtr(special.ndtri(np.asarray(fpr, float)) + mu))


def delta_of_gaussian(epsilon: float, mu: float) -> float:
    """Return the δ with which a μ-Gaussian-DP mechanism is (ε, δ)-DP: Φ(−ε/μ + μ/2) − e^ε Φ(−ε/μ − μ/2).

    Source: Dong, Roth & Su 2022 (JRSS B 84:3), Corollary 2.13; Balle & Wang 2018 (ICML), Theorem 8.
    """
    if mu <= 0:
        return 0.0
    near, far = special.log_ndtr(-epsilon / mu + mu / 2), epsilon + special.log_ndtr(-epsilon / mu - mu / 2)
    return float(math.exp(near) * -math.expm1(min(0.0, far - near)))


def epsilon_of_gaussian(mu: float, delta: float) -> float:
    """Return the least ε with which a μ-Gaussian-DP mechanism is (ε, δ)-DP; at most `LARGEST`."""
    require(0.0, delta)
    if delta_of_gaussian(0.0, mu) <= delta:
        return 0.0
    if delta_of_gaussian(LARGEST, mu) > delta:
        return LARGEST
    return float(optimize.brentq(lambda epsilon: delta_of_gaussian(epsilon, mu) - delta, 0.0, LARGEST, xtol=1e-9))


def mu_of_epsilon(epsilon: float, delta: float) -> float:
    """Return the largest μ with which μ-Gaussian DP implies (ε, δ)-DP; δ must be above 0."""
    require(epsilon, delta)
    if delta <= 0:
        return 0.0
    high = 1.0
    while delta_of_gaussian(epsilon, high) < delta:
        high *= 2
    return float(optimize.brentq(lambda mu: delta_of_gaussian(epsilon, mu) - delta, 0.0, high, xtol=1e-12))


def of_group(epsilon: float, delta: float, records: int) -> tuple[float, float]:
    """Return the (ε, δ) of a group of so many records of one person, from those of a single record.

    ε grows to kε, and δ to δ (e^kε − 1)/(e^ε − 1), at most 1.

    Source: Vadhan 2017, The Complexity of Differential Privacy, Lemma 2.2.
    """
    require(epsilon, delta)
    if records < 1:
        raise ValueError(f"a group has at least 1 record, got {records}")
    whole = min(records * epsilon, LARGEST)
    times = records if epsilon == 0 else math.expm1(whole) / math.expm1(min(epsilon, LARGEST))
    return whole, min(1.0, delta * times)


def require(epsilon: float, delta: float) -> None:
    """Raise ValueError unless ε is at least 0 and δ a probability below 1."""
    if not epsilon >= 0 or not 0 <= delta < 1:
        raise ValueError(f"epsilon must be at least 0 and delta in [0, 1), got epsilon = {epsilon}, delta = {delta}")
