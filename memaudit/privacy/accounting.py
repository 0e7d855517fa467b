"""The ε of DP-SGD, from its noise, its sampling rate and its number of steps: what an accountant computes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import gammaln

from memaudit.privacy.ceilings import LARGEST, require

Array = np.ndarray

_ORDERS = (*range(2, 65), *range(72, 257, 8), 320, 384, 448, 512)
_LEAST_NOISE = 1e-3  # one step with less has an ε above LARGEST, unless it samples hardly anybody


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
    total, times = np.zeros(len(orders)), Counter[tuple[float, float]]()
    for noise, rate, steps in history:
        times[noise, rate] += steps
    for (noise, rate), steps in times.items():
        if noise < _LEAST_NOISE:
            return LARGEST
        total += steps * _renyi(noise, rate)
    epsilon = total + np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    return float(min(LARGEST, max(0.0, epsilon.min())))


def _renyi(noise: float, rate: float) -> Float[Array, " orders"]:
    """Return the Rényi divergences of one step, of all orders."""
    orders = np.array(_ORDERS, float)
    if rate in (0, 1):
        return rate * orders / (2 * noise**2)
    starts, order, k, chosen = _binomials()
    terms = chosen + k * math.log(rate) + (order - k) * math.log1p(-rate) + (k * k - k) / (2 * noise**2)
    most = np.maximum.reduceat(terms, starts)
    sums = np.add.reduceat(np.exp(terms - np.repeat(most, np.array(_ORDERS) + 1)), starts)
    return (most + np.log(sums)) / (orders - 1)


@cache
def _binomials() -> tuple[
    Int[Array, " orders"], Float[Array, " terms"], Float[Array, " terms"], Float[Array, " terms"]
]:
    """Return the terms of all orders, one order after the other: where each begins, order, k, log of order over k."""
    sizes = np.array(_ORDERS) + 1
    order, k = np.repeat(sizes - 1.0, sizes), np.concatenate([np.arange(size, dtype=float) for size in sizes])
    chosen = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    return np.cumsum(sizes) - sizes, order, k, chosen
