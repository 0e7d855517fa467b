"""Quantile regression: how high would the signal of this example or text be if it were no member?"""

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

    Of a text, the signal is its mean log-probability per token, and what is known of it are the number of its tokens,
    the bits per token that zlib needs for it, the mean log-probability per token under the base model, and that under
    the reference models that were not trained on it, as far as there are any. Nothing that the target says of the text
    is among them: a model that has memorized a text gives its tokens low ranks and high probabilities alike, which
    would explain the signal away.

    Source: Bertran et al. 2023 (NeurIPS), "Scalable Membership Inference Attacks via Quantile Regression", with a
    Gaussian in place of one regression for each quantile.
    """
    seen, phi = _known(answers), answers.phi.astype(np.float64)

    def fit(rows: Array) -> Callable[[Array], Array]:
        mean = _regression(answers.seed).fit(seen[rows], phi[rows])
        floor = _LEAST_DEVIATION * (phi[rows].std() or 1.0)
        residual = phi[rows] - mean.predict(seen[rows])
        spread = _regression(answers.seed).fit(seen[rows], np.log(residual**2 + floor**2))

        def score(some: Array) -> Array:
            return (phi[some] - mean.predict(seen[some])) / np.exp(spread.predict(seen[some]) / 2)

        return score

    return answers.cross_fitted(fit)


def _known(answers: Answers) -> Float[Array, "examples features"]:
    """Return what is known of each example without the target."""
    if answers.description is None:
        assert answers.x is not None and answers.y is not None
        return features(answers.x, answers.y, answers.seed)
    columns = [answers.description]
    if "base" in answers.statistics:
        columns.append(answers.statistics["base"][:, None])
    if answers.references is not None:
        phi, out = answers.references.phi, answers.references.out
        columns.append((np.where(out, phi, 0).sum(axis=0) / out.sum(axis=0))[:, None])
    return np.hstack(columns)


def _regression(seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(
        max_iter=50, max_leaf_nodes=8, min_samples_leaf=20, early_stopping=False, random_state=seed
    )


QUANTILE = TargetAttack(
    name="quantile-regression",
    source="Bertran et al. 2023 (NeurIPS)",
    score=location_scale,
    fits=lambda answers: answers.description is not None or (answers.x is not None and answers.y is not None),
)
