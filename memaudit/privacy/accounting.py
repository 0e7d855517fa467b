"""The ε of DP-SGD, from its noise, its sampling rate and its number of steps: what an accountant computes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, logsumexp

from memaudit.privacy.ceilings import LARGEST, require

_ORDERS = (*range(2, 65), *range(72, 257, 8), 320, 384, 448, 512)


class Steps(NamedTuple):
    """Steps of DP-SGD that were made alike; `noise` is the noise multiplier σ, `rate` the probability of sampling."""

    noise: float
    rate: float
    steps: int


def epsilon_of_steps(history: Iterable[Steps], delta: float) -> float:
    """Return an ε with which the sampled Gaussian mechanism, composed over all steps, is (ε, δ)-DP.

    By Rényi DP of integer orders, an upper bound. Accountants that use fractional orders, or the privacy loss
    distribution (PRV), find a smaller ε for the same steps. Neighbours differ by one added or removed example, which is
    sampled independently in each step (Poisson).

    Source: Mironov, Talwar & Zhang 2019, "Rényi Differential Privacy of the Sampled Gaussian Mechanism", equation 13;
    Canonne, Kamath & Steinke 2020 (NeurIPS), Proposition 12, for the conversion.
    """
    require(0.0, delta)
    if delta == 0:
        return LARGEST
    orders = np.array(_ORDERS, float)
    total = np.zeros(len(orders))
    for noise, rate, steps in history:
        if noise <= 0:
            return LARGEST
        total += steps * np.array([_renyi(noise, rate, order) for order in _ORDERS])
    epsilon = total + np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    return float(min(LARGEST, max(0.0, epsilon.min())))


def _renyi(noise: float, rate: float, order: int) -> float:
    """Return the Rényi divergence of one step, of an integer order."""
    if rate == 0:
        return 0.0
    if rate == 1:
        return order / (2 * noise**2)
    k = np.arange(order + 1)
    chosen = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    terms = chosen + k * math.log(rate) + (order - k) * math.log1p(-rate) + (k * k - k) / (2 * noise**2)
    return float(logsumexp(terms)) / (order - 1)
