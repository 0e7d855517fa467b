"""Quantile regression: how high would the signal of this example be if it were no member?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from memaudit.attacks.answers import Answers, TargetAttack
from memaudit.attacks.blind import features

Array = np.ndarray

_LEAST_DEVIATION = 0.05  # of the signal's over all non-members


def location_scale(answers: Answers) -> Float[Array, " examples"]:
    """Return (φ − μ(x, y)) / σ(x, y): by how many deviations the signal exceeds that of non-members like the example.

    μ and σ are gradient-boosted regressions on input and label, fitted to non-members alone and cross-fitted: μ by the
    squared error, log σ² by that of the logarithm of the squared residual. One threshold on the score is a quantile of
    the signal that depends on the example.

    Source: Bertran et al. 2023 (NeurIPS), "Scalable Membership Inference Attacks via Quantile Regression", with a
    Gaussian in place of one regression for each quantile.
    """
    assert answers.x is not None and answers.y is not None
    seen, phi = features(answers.x, answers.y, answers.seed), answers.phi.astype(np.float64)

    def fit(rows: Array) -> Callable[[Array], Array]:
        mean = _regression(answers.seed).fit(seen[rows], phi[rows])
        floor = _LEAST_DEVIATION * (phi[rows].std() or 1.0)
        residual = phi[rows] - mean.predict(seen[rows])
        spread = _regression(answers.seed).fit(seen[rows], np.log(residual**2 + floor**2))

        def score(some: Array) -> Array:
            return (phi[some] - mean.predict(seen[some])) / np.exp(spread.predict(seen[some]) / 2)

        return score

    return answers.cross_fitted(fit)


def _regression(seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(
        max_iter=50, max_leaf_nodes=8, min_samples_leaf=20, early_stopping=False, random_state=seed
    )


QUANTILE = TargetAttack(
    name="quantile-regression",
    source="Bertran et al. 2023 (NeurIPS)",
    score=location_scale,
    fits=lambda answers: answers.x is not None and answers.y is not None,
)
