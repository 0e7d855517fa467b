"""BaVarIA: the likelihood-ratio attack with normal-inverse-gamma priors for each example's mean and variance.

Source: Brännvall 2026, "Exponential-Family Membership Inference: From LiRA and RMIA to BaVarIA" (arXiv 2603.11799).

Checked against the abstract: conjugate normal-inverse-gamma priors; a Student-t predictive law (BaVarIA-t) or a normal
law with a stabilized variance (BaVarIA-n). The paper's hyperparameters could not be checked. The ones here are
estimated from the bank by matching moments, as `Bavaria` describes, so that results may differ from the paper's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float
from scipy import special

from memaudit.attacks.blockwise import Scorer, pair_scores, require_pairs, require_target, target_scores
from memaudit.attacks.interface import blocks, read
from memaudit.attacks.lira import fit_variance_prior
from memaudit.design import Pairs
from memaudit.stats import floored

Array = np.ndarray
Sums = tuple[Array, Array]  # of the inside and of the outside, [*pairs, 1, queries, terms]

_TINY = 1e-12  # least variance in nats², where all signals agree
_EQUAL = 1e6  # prior observations that mean "all examples have the same mean"


class Predictive(StrEnum):
    """The law of a new signal, given the references.

    T: Student's t, the exact posterior predictive law.
    N: normal, with the posterior means of the mean and of the variance.
    """

    T = "t"
    N = "n"


@dataclass(frozen=True, slots=True)
class Moments:
    """The mean of `n` references and their sum of squares about it, per example (and left-out pair)."""

    mean: Float[Array, "*pairs block queries"]
    squares: Float[Array, "*pairs block queries"]
    n: int


@dataclass(frozen=True, slots=True)
class NormalInverseGamma:
    """The law of a mean μ and a variance σ²: σ² ~ InverseGamma(α, β) and μ | σ² ~ Normal(mean, σ²/κ)."""

    mean: Float[Array, "..."]
    kappa: Float[Array, "..."]
    alpha: Float[Array, "..."]
    beta: Float[Array, "..."]

    def posterior(self, data: Moments) -> NormalInverseGamma:
        """Return the law after `n` observations (Murphy 2007, "Conjugate Bayesian analysis of the Gaussian")."""
        kappa = self.kappa + data.n
        shift = data.mean - self.mean
        return NormalInverseGamma(
            self.mean + shift * data.n / kappa,
            kappa,
            self.alpha + data.n / 2,
            self.beta + data.squares / 2 + self.kappa * data.n / kappa * shift**2 / 2,
        )

    def log_density(self, x: Float[Array, "..."], predictive: Predictive) -> Float[Array, "..."]:
        """Return the log density of a new observation in 1/nats; the normal one lacks −½ log 2π."""
        if predictive is Predictive.N:
            variance = self.beta / (self.alpha - 1)
            return -0.5 * ((x - self.mean) ** 2 / variance + np.log(variance))
        dof = 2 * self.alpha
        squared_scale = self.beta * (self.kappa + 1) / (self.alpha * self.kappa)
        constant = special.gammaln((dof + 1) / 2) - special.gammaln(dof / 2) - 0.5 * np.log(np.pi * dof)
        tail = (dof + 1) * np.log1p((x - self.mean) ** 2 / (dof * squared_scale))
        return constant - 0.5 * (tail + np.log(squared_scale))


@dataclass(frozen=True, slots=True)
class Bavaria:
    """Score by the log likelihood ratio of the inside and the outside predictive law, in nats.

    The inside and the outside each have a prior that all examples share. Its hyperparameters come from all examples:

    - mean: the mean over examples of their reference means;
    - α and β: from the mean and variance of log s², the log sample variances (Smyth 2004, section 6.2; s² is kept from
      falling below 1 % of its mean);
    - κ: W/(B − W/n), with W the mean of s² and B the variance of the reference means. One prior observation thus
      weighs W over the variance of the true means between examples.

    Several queries are combined by the mean of their log ratios; each query has its own priors.

    The prior also shrinks an example's mean, and widens its law if it is far from the mean of all examples. Adding a
    constant to one example's signals therefore changes its score. LiRA with empirical-Bayes variance has the same prior
    for the variance and none for the mean.

    References:
        Brännvall 2026 (arXiv 2603.11799), BaVarIA-t and BaVarIA-n; see the module for what was checked.
    """

    predictive: Predictive = Predictive.T

    @property
    def name(self) -> str:
        """`bavaria-t` or `bavaria-n`."""
        return f"bavaria-{self.predictive}"

    @property
    def source(self) -> str:
        """Paper that defines the attack."""
        return f"Brännvall 2026 (arXiv 2603.11799), BaVarIA-{self.predictive}; hyperparameters by moments"

    def scores(self, target: Float[Array, "examples queries"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return the log ratio of a model outside the bank, in nats, averaged over queries; larger = member-like.

        The last pair is not a reference, so that the target has as many references as a bank model.

        Raises:
            ValueError: Fewer than 3 pairs, signals of another shape than the bank's, or one that is not finite.
        """
        require_target(target, pairs, least=3)
        return target_scores(self._fit(pairs, left_out=False), target, pairs, least=3)

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside): log ratios of every bank model in nats, its own pair left out.

        The pair is left out of the priors, too. All moments are updated, not computed again.

        Raises:
            ValueError: Fewer than 3 pairs (one reference has no variance), or a signal that is not finite.
        """
        require_pairs(pairs, 3)
        return pair_scores(self._fit(pairs, left_out=True), pairs, least=3)

    def _fit(self, pairs: Pairs, left_out: bool) -> Callable[[Array, Array, bool], Scorer]:
        priors = estimate_priors(pairs, left_out)

        def fit(within: Array, without: Array, left_out: bool) -> Scorer:
            inside, outside = (
                prior.posterior(moments(side, left_out)) for prior, side in zip(priors, (within, without), strict=True)
            )
            return lambda x: inside.log_density(x, self.predictive) - outside.log_density(x, self.predictive)

        return fit


def estimate_priors(pairs: Pairs, left_out: bool) -> tuple[NormalInverseGamma, NormalInverseGamma]:
    """Return the inside and the outside prior, each of shape [*pairs, 1, queries].

    Args:
        pairs: The bank's signals.
        left_out: Estimate one prior for every pair from the other pairs. Otherwise estimate one from all but the last.
    """
    examples, n = pairs.shape[1], pairs.shape[0] - 1
    freedom = max(examples - 1, 1)
    first = _sums(pairs, left_out, lambda side, data: [data.mean, data.squares / (n - 1)])
    means = [total[..., 0] / examples for total in first]
    variances = [np.maximum(total[..., 1] / examples, _TINY) for total in first]

    def second(side: int, data: Moments) -> list[Array]:
        logs = np.log(floored(data.squares / (n - 1), variances[side]))
        return [(data.mean - means[side]) ** 2, logs, logs**2]

    priors = []
    for mean, variance, total in zip(means, variances, _sums(pairs, left_out, second), strict=True):
        between = total[..., 0] / freedom - variance / n
        mean_log = total[..., 1] / examples
        var_log = np.maximum(total[..., 2] - examples * mean_log**2, 0) / freedom
        spread = fit_variance_prior(mean_log, var_log, n - 1)
        alpha = spread.dof / 2
        kappa = variance / np.maximum(between, variance / _EQUAL)
        priors.append(NormalInverseGamma(mean, kappa, alpha, alpha * spread.variance))
    return priors[0], priors[1]


def _sums(pairs: Pairs, left_out: bool, terms: Callable[[int, Moments], list[Array]]) -> Sums:
    """Return terms of the inside (0) and the outside (1), stacked in the last axis and summed over all examples."""
    sums = [np.zeros(1), np.zeros(1)]
    for block in blocks(pairs):
        for number, side in enumerate(read(pairs, block)):
            data = moments((side if left_out else side[:-1]).astype(np.float64), left_out)
            sums[number] = sums[number] + np.stack(terms(number, data), axis=-1).sum(axis=-3, keepdims=True)
    return sums[0], sums[1]


def moments(values: Float[Array, "pairs block queries"], left_out: bool) -> Moments:
    """Return the moments over all pairs, or with `left_out` over all pairs but each one in turn."""
    n = len(values)
    mean = values.mean(axis=0)
    deviation = values - mean
    squares = (deviation**2).sum(axis=0)
    if not left_out:
        return Moments(mean, squares, n)
    return Moments(mean - deviation / (n - 1), np.maximum(squares - deviation**2 * n / (n - 1), 0), n - 1)
