"""The likelihood-ratio attack: is this signal more typical of models with the example, or of models without it?

For each example the bank's inside and outside models give two laws of the signal φ. Online, the score is the log
likelihood ratio of the target's φ; offline, only the outside law is used, and the score is how far above it φ lies
(Carlini et al. 2022, "Membership Inference Attacks From First Principles", Algorithm 1 and Equation 4).

The laws differ in their variance, which a few dozen models estimate badly. The default shrinks each example's variance
towards a prior that is itself estimated from all examples, and scores with the Student-t predictive law.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float
from scipy import special

from memaudit.attacks.interface import blocks, read, references, require_finite
from memaudit.design import Pairs
from memaudit.stats import floored

Array = np.ndarray
Values = Float[Array, "*pairs block queries"]
Spread = Float[Array, "*pairs #block queries"]  # one per example, or one for all of them

_TINY = 1e-12  # least variance in nats², where all signals agree
_NUMERICAL = 1e-5  # least variance in the prior's fit, of the mean: a higher one would cut the left tail of few squares
_NORMAL = 1e6  # prior degrees of freedom that stand for "all variances are equal"


class Side(StrEnum):
    """Which laws are used."""

    ONLINE = "online"
    OFFLINE = "offline"


class Variance(StrEnum):
    """How the laws' centre and variance are estimated.

    EMPIRICAL_BAYES: mean; shrunken variance, Student-t predictive (Smyth 2004, section 3; the default).
    PER_EXAMPLE: mean; each example's own variance (the paper's choice from 64 models on).
    POOLED: mean; one within-example variance for inside, one for outside (the paper's choice below 64 models).
    REFERENCE: as in the paper's published code: median, variance with ddof 0, and a two-sided offline score.
    REFERENCE_FIXED: its "fixed variance": median, one σ for both laws. It cancels from every ranking, so it is 1 here.
    """

    EMPIRICAL_BAYES = "empirical-bayes"
    PER_EXAMPLE = "per-example"
    POOLED = "pooled"
    REFERENCE = "reference"
    REFERENCE_FIXED = "reference-fixed"


@dataclass(frozen=True, slots=True)
class _References:
    """What is left of one side of the bank: centre and sum of squares about the mean of `n` values per example."""

    centre: Values
    squares: Values
    n: int

    def variance(self, mean: Float[Array, "*pairs one queries"]) -> Values:
        """Returns each example's variance, kept from being tiny beside the mean over all examples."""
        return floored(self.squares / (self.n - 1), mean)


@dataclass(frozen=True, slots=True)
class VariancePrior:
    """The scaled-inverse-χ² law of the examples' variances: degrees of freedom and scale."""

    dof: Float[Array, "*pairs one queries"]
    variance: Float[Array, "*pairs one queries"]


@dataclass(frozen=True, slots=True)
class _Population:
    """What all examples together say about one example's variance, per left-out pair and query."""

    mean: Float[Array, "*pairs one queries"]
    prior: VariancePrior | None = None

    def of_pair(self, pair: int) -> _Population:
        """Return what is left when one pair is left out."""
        prior = self.prior and VariancePrior(self.prior.dof[pair], self.prior.variance[pair])
        return _Population(self.mean[pair], prior)


@dataclass(frozen=True, slots=True)
class Lira:
    """LiRA. `Lira()` is online with empirical-Bayes variance."""

    side: Side = Side.ONLINE
    variance: Variance = Variance.EMPIRICAL_BAYES

    @property
    def name(self) -> str:
        """`lira-online` or `lira-offline`, followed by the variance unless it is the default."""
        suffix = "" if self.variance is Variance.EMPIRICAL_BAYES else f"-{self.variance}"
        return f"lira-{self.side}{suffix}"

    @property
    def source(self) -> str:
        """Paper and place of the definition."""
        return "Carlini et al. 2022 (S&P), Algorithm 1 and Equation 4" + (
            "; variance: Smyth 2004, section 3" if self.variance is Variance.EMPIRICAL_BAYES else ""
        )

    def scores(self, target: Float[Array, "examples queries"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return one float32 score per example for a model outside the bank, with all pairs but the last as references.

        Online: mean over queries of the log likelihood ratio, in nats. Offline: mean over queries of the number of
        standard deviations above the outside law (its one-sided p-value falls as this rises).

        Args:
            target: The model's signals; larger = more confident in the true label.
            pairs: The bank's signals.

        Raises:
            ValueError: Fewer than 3 pairs, signals of another shape than the bank's, or one that is not finite.
        """
        _require(pairs.shape[0], 3)
        if target.shape != pairs.shape[1:]:
            raise ValueError(f"the target's signals have shape {target.shape}, the bank's {pairs.shape[1:]}")
        require_finite(target)
        others = references(pairs)
        population_in, population_out = self._populations(others, left_out=False)
        scores = np.empty(len(target), dtype=np.float32)
        for block in blocks(others):
            sides = self._references(*read(others, block), left_out=False)
            scores[block] = self._score(target[block].astype(np.float64), sides, population_in, population_out)
        return scores

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Returns (inside, outside): the scores of every bank model as a target, its own pair left out.

        Exactly what `scores` would give with that pair as the last one, in O(models × examples): the references'
        moments, and the prior fitted to them, are downdated instead of computed again.

        Raises:
            ValueError: Fewer than 3 pairs (nothing would be left to estimate a variance from), or a signal that is not
                finite.
        """
        count, examples, _ = pairs.shape
        _require(count, 3)
        population_in, population_out = self._populations(pairs, left_out=True)
        inside, outside = np.empty((2, count, examples), dtype=np.float32)
        for block in blocks(pairs):
            within, without = read(pairs, block)
            sides = self._references(within, without, left_out=True)
            inside[:, block] = self._score(within, sides, population_in, population_out)
            outside[:, block] = self._score(without, sides, population_in, population_out)
        return inside, outside

    def _references(self, within: Values, without: Values, left_out: bool) -> tuple[_References, _References]:
        median = self.variance in (Variance.REFERENCE, Variance.REFERENCE_FIXED)
        return _moments(within, left_out, median), _moments(without, left_out, median)

    def _populations(self, pairs: Pairs, left_out: bool) -> tuple[_Population, _Population] | tuple[None, None]:
        """Returns what all examples say about the inside and the outside law, from sums over them."""
        if self.variance not in (Variance.EMPIRICAL_BAYES, Variance.POOLED):
            return None, None
        examples, dof = pairs.shape[1], pairs.shape[0] - 1 - left_out
        squares = self._sums(pairs, left_out, lambda references, side: references.squares[..., None])
        means = [np.maximum(total[..., 0] / (examples * dof), _TINY) for total in squares]
        if self.variance is Variance.POOLED:
            return _Population(means[0]), _Population(means[1])

        def logs(references: _References, side: int) -> Array:
            own = references.squares / (references.n - 1)
            log = np.log(np.maximum(own, _NUMERICAL * means[side]))
            return np.stack([log, log**2], axis=-1)

        inside, outside = (
            _Population(mean, fit_variance_prior(total[..., 0] / examples, _variance(total, examples), dof))
            for mean, total in zip(means, self._sums(pairs, left_out, logs), strict=True)
        )
        return inside, outside

    def _sums(self, pairs: Pairs, left_out: bool, terms: Callable[[_References, int], Array]) -> tuple[Array, Array]:
        """Returns the terms of the inside (0) and of the outside (1), summed over all examples, block by block."""
        sums = np.zeros(1), np.zeros(1)
        for block in blocks(pairs):
            parts = (
                terms(references, side).sum(axis=-3, keepdims=True)
                for side, references in enumerate(self._references(*read(pairs, block), left_out))
            )
            sums = tuple(total + part for total, part in zip(sums, parts, strict=True))
        return sums

    def _score(
        self,
        x: Values,
        references: tuple[_References, _References],
        population_in: _Population | None,
        population_out: _Population | None,
    ) -> Float[Array, "*pairs block"]:
        inside, outside = references
        if self.side is Side.ONLINE:
            return (self._log_density(x, inside, population_in) - self._log_density(x, outside, population_out)).mean(
                axis=-1
            )
        if self.variance in (Variance.REFERENCE, Variance.REFERENCE_FIXED):
            return -self._log_density(x, outside, population_out).mean(axis=-1)
        scale, _ = self._scale(outside, population_out)
        return ((x - outside.centre) / np.sqrt(scale)).mean(axis=-1)

    def _scale(self, references: _References, population: _Population | None) -> tuple[Spread, Spread | None]:
        """Returns the law's squared scale and its degrees of freedom; None means a normal law."""
        if self.variance is Variance.REFERENCE_FIXED:
            return np.ones_like(references.squares), None
        if self.variance is Variance.REFERENCE:
            return np.maximum(references.squares / references.n, _TINY), None
        if population is None:
            return np.maximum(references.squares / (references.n - 1), _TINY), None
        if population.prior is None:
            return population.mean, None
        own, prior = references.n - 1, population.prior
        shrunken = (prior.dof * prior.variance + own * references.variance(population.mean)) / (prior.dof + own)
        return shrunken * (1 + 1 / references.n), prior.dof + own

    def _log_density(self, x: Values, references: _References, population: _Population | None) -> Values:
        scale, dof = self._scale(references, population)
        squared = (x - references.centre) ** 2 / scale
        if dof is None:
            return -0.5 * (squared + np.log(scale))  # −½ log 2π stands in both laws and cancels
        constant = special.gammaln((dof + 1) / 2) - special.gammaln(dof / 2) - 0.5 * np.log(dof / 2)
        return constant - 0.5 * ((dof + 1) * np.log1p(squared / dof) + np.log(scale))


def _variance(total: Array, n: int) -> Array:
    """Returns the sample variance from sums of values and of squares, which stand in the last axis."""
    return (total[..., 1] - total[..., 0] ** 2 / n) / max(n - 1, 1)


def fit_variance_prior(mean_log: Float[Array, "..."], var_log: Float[Array, "..."], dof: int) -> VariancePrior:
    """Returns the scaled-inverse-χ² prior that explains the spread of log sample variances, by matching moments.

    Args:
        mean_log: Mean over examples of log s².
        var_log: Variance over examples of log s².
        dof: Degrees of freedom of each s².

    Source: Smyth 2004 (Statistical Applications in Genetics and Molecular Biology 3:3), section 6.2.
    """
    excess = var_log - special.polygamma(1, dof / 2)
    half = np.where(excess > 0, _inverse_trigamma(np.maximum(excess, 1 / _NORMAL)), _NORMAL)
    half = np.minimum(half, _NORMAL / 2)
    e_mean = mean_log - special.digamma(dof / 2) + np.log(dof / 2)
    return VariancePrior(2 * half, np.exp(e_mean + special.digamma(half) - np.log(half)))


def _inverse_trigamma(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns y with ψ'(y) = x, by Newton's method on 1/ψ', which is nearly linear (Smyth 2004, appendix)."""
    y = 0.5 + 1 / x
    for _ in range(8):
        trigamma = special.polygamma(1, y)
        y = y + trigamma * (1 - trigamma / x) / special.polygamma(2, y)
    return y


def _moments(values: Float[Array, "pairs block queries"], left_out: bool, median: bool) -> _References:
    """Returns centre and squares over all pairs, or, with `left_out`, over all pairs but each one in turn."""
    values = values.astype(np.float64)
    n = len(values)
    mean = values.mean(axis=0)
    deviation = values - mean
    squares = (deviation**2).sum(axis=0)
    if not left_out:
        return _References(np.median(values, axis=0) if median else mean, squares, n)
    centre = _medians_without_each(values) if median else mean - deviation / (n - 1)
    return _References(centre, np.maximum(squares - deviation**2 * n / (n - 1), 0), n - 1)


def _medians_without_each(values: Float[Array, "pairs block queries"]) -> Float[Array, "pairs block queries"]:
    """Returns for each pair the median of the others: a shift by one in the sorted column, not a new sort."""
    order = np.argsort(values, axis=0)
    rank = np.argsort(order, axis=0)
    ascending = np.take_along_axis(values, order, axis=0)
    middles = {(len(values) - 2) // 2, (len(values) - 1) // 2}
    picked = [np.take_along_axis(ascending, middle + (rank <= middle), axis=0) for middle in middles]
    return np.mean(picked, axis=0)


def _require(pairs: int, least: int) -> None:
    if pairs < least:
        raise ValueError(f"the attack needs at least {least} pairs of models, got {pairs}")
