"""Regression of a signal's location and scale on what a bank says about the example, with Student-t errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import optimize, special

Array = np.ndarray

_STEPS = 60  # of the optimizer; the likelihood is flat long before
_RIDGE = 1e-4  # on the scale's coefficients, which would otherwise run away where signals tie
_WIDEST = 20.0  # largest absolute log scale: e^20 nats


@dataclass(frozen=True, slots=True)
class StudentRegression:
    """The law x | design ~ location(design) + scale(design)·t(dof): linear in the location and in the log scale."""

    location: Float[Array, " terms"]
    log_scale: Float[Array, " others"]
    dof: float

    def log_density(
        self, x: Float[Array, " rows"], design: Float[Array, "rows terms"], spread: Float[Array, "rows others"]
    ) -> Float[Array, " rows"]:
        """Return the log density of each value, in 1/units of x."""
        log_scale = np.clip(spread @ self.log_scale, -_WIDEST, _WIDEST)
        squared = ((x - design @ self.location) * np.exp(-log_scale)) ** 2
        return _constant(self.dof) - 0.5 * (self.dof + 1) * np.log1p(squared / self.dof) - log_scale


def fit_student(
    x: Float[Array, " rows"], design: Float[Array, "rows terms"], spread: Float[Array, "rows others"]
) -> StudentRegression:
    """Return the regression of greatest likelihood, by L-BFGS from the least-squares fit; deterministic.

    Args:
        x: The values.
        design: Terms of the location; the first column is constant.
        spread: Terms of the log scale; the first column is constant. A small ridge holds the other coefficients.

    Source: Lange, Little & Taylor 1989 (JASA 84:881), regression with Student-t errors of estimated freedom.
    """
    rows, terms = design.shape
    start = np.linalg.lstsq(design, x, rcond=None)[0]
    widths = np.zeros(spread.shape[1])
    widths[0] = 0.5 * np.log(np.var(x - design @ start) + np.exp(-2 * _WIDEST))

    def loss(parameters: Array) -> tuple[float, Array]:
        location, scale, dof = parameters[:terms], parameters[terms:-1], _dof(parameters[-1])
        log_scale = np.clip(spread @ scale, -_WIDEST, _WIDEST)
        inverse = np.exp(-log_scale)
        z = (x - design @ location) * inverse
        squared = np.minimum(z * z, 1e100)
        grown = np.log1p(squared / dof)
        pull = (dof + 1) / (dof + squared)
        value = (_constant(dof) - 0.5 * (dof + 1) * grown - log_scale).mean()
        by_dof = special.digamma((dof + 1) / 2) - special.digamma(dof / 2) - 1 / dof - grown + pull * squared / dof
        slope = np.concatenate(
            [
                design.T @ (pull * z * inverse),
                spread.T @ (pull * squared - 1),
                [0.5 * by_dof.sum() * (dof - 1)],
            ]
        )
        held = np.concatenate([np.zeros(terms + 1), scale[1:], [0.0]])
        return float(_RIDGE * (held**2).sum() - value), 2 * _RIDGE * held - slope / rows

    found = optimize.minimize(
        loss, np.concatenate([start, widths, [1.5]]), jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}
    ).x
    return StudentRegression(found[:terms], found[terms:-1], _dof(found[-1]))


def _dof(parameter: float) -> float:
    return float(np.exp(min(parameter, _WIDEST)) + 1)


def _constant(dof: float) -> float:
    return float(special.gammaln((dof + 1) / 2) - special.gammaln(dof / 2) - 0.5 * np.log(np.pi * dof))
