"""The likelihood-ratio attack: is this signal more typical of models with the example, or of models without it?

For each example the bank's inside and outside models give two laws of the signal φ. Online, the score is the log
likelihood ratio of the target's φ; offline, only the outside law is used, and the score is how far φ is above it
(Carlini et al. 2022, "Membership Inference Attacks From First Principles", Algorithm 1 and Equation 4).

The laws differ in their variance, which a few dozen models estimate badly. The default shrinks each example's variance
towards a prior that is itself estimated from all examples, and scores with the Student-t predictive law.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float
from scipy import special

from memaudit.attacks.blockwise import require_pairs, require_target
from memaudit.attacks.interface import blocks, read, references
from memaudit.design import Pairs
from memaudit.stats import floored

Array = np.ndarray
Values = Float[Array, "queries #pairs block"]  # examples last: NumPy is fast along the last axis, and queries are few
Spread = Float[Array, "queries #pairs #block"]  # one per example, or one for all of them
Shared = Float[Array, "queries #pairs one"]  # the same for all examples

_PIECE = 2**15  # numbers that are worked on together: 256 kB in float64, so that several such arrays stay in the cache
_LEAST_PIECE = 64  # examples

_TINY = 1e-12  # least variance in nats², where all signals agree
_LEAST = 3  # pairs: one is left out, and two have a variance
_TIED = 1e-10  # of the mean variance: what is below is a tie, whose logarithm says nothing about the prior
_NO_FLOORS = (float(np.finfo(float).tiny),) * 2  # a logarithm of 0 would not be finite
_NORMAL = 1e6  # prior degrees of freedom that mean "all variances are equal"


class Side(StrEnum):
    """Which laws are used."""

    ONLINE = "online"
    OFFLINE = "offline"


class Variance(StrEnum):
    """How the laws' centre and variance are estimated.

    EMPIRICAL_BAYES: mean; shrunken variance, Student-t predictive (Smyth 2004, section 3; the default). Its prior is
        fitted to the variances that are not 0: where a model's few outputs tie, as a forest's votes do, log 0 says
        nothing about the others, and any floor in its place would decide the fit.
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


@dataclass(frozen=True, slots=True)
class VariancePrior:
    """The scaled-inverse-χ² law of the examples' variances: degrees of freedom and scale."""

    dof: Float[Array, "..."]
    variance: Float[Array, "..."]


@dataclass(frozen=True, slots=True)
class _Population:
    """What all examples together say about one example's variance, per left-out pair and query."""

    mean: Shared
    prior: VariancePrior | None = None

    def of_pair(self, pair: int) -> _Population:
        """Return what is left when one pair is left out."""
        prior = self.prior and VariancePrior(self.prior.dof[:, [pair]], self.prior.variance[:, [pair]])
        return _Population(self.mean[:, [pair]], prior)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums over examples of the squares; of the log variances above a floor, their squares, their number; the least."""

    squares: Shared
    logs: Shared
    log_squares: Shared
    number: Shared
    least: Shared

    @property
    def mean_log(self) -> Shared:
        """The mean of the logs; 0 of none."""
        return self.logs / np.maximum(self.number, 1)

    @property
    def var_log(self) -> Shared:
        """The sample variance of the logs."""
        return (self.log_squares - self.logs * self.mean_log) / np.maximum(self.number - 1, 1)

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(
            self.squares + other.squares,
            self.logs + other.logs,
            self.log_squares + other.log_squares,
            self.number + other.number,
            np.minimum(self.least, other.least),
        )


@dataclass(frozen=True, slots=True)
class _Law:
    """The law of an example's signal: centre, squared scale and its log, and degrees of freedom (None: normal)."""

    centre: Values
    scale: Spread
    log_scale: Spread
    dof: Shared | None

    def distance(self, x: Values) -> Values:
        """Return the squared distance from the centre in squared scales."""
        distance = x - self.centre
        np.square(distance, out=distance)
        distance /= self.scale
        return distance

    def log_density(self, x: Values) -> Values:
        """Return the log density up to a constant that is the same in both laws of an example."""
        density = self.distance(x)
        if self.dof is None:
            density += self.log_scale  # −½ log 2π is in both laws and cancels
            density *= -0.5
            return density
        density /= self.dof
        density += 1
        np.log(density, out=density)  # log1p would be exact to more digits than scores have, and takes longer
        density *= self.dof + 1
        density += self.log_scale
        density *= -0.5
        density += special.gammaln((self.dof + 1) / 2) - special.gammaln(self.dof / 2) - 0.5 * np.log(self.dof / 2)
        return density


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
        require_target(target, pairs, _LEAST)
        others = references(pairs)
        populations = self.populations(others, left_out=False)
        scores = np.empty(len(target), dtype=np.float32)
        for at, within, without in _pieces(others):
            laws = self.laws(self.sides(within, without, left_out=False), populations)
            scores[at] = self.score(by_query(target[None, at]), laws)[0]
        return scores

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside): the scores of every bank model as a target, its own pair left out.

        Exactly what `scores` would give with that pair as the last one, in O(models × examples): the references'
        moments, and the prior fitted to them, are downdated instead of computed again.

        Raises:
            ValueError: Fewer than 3 pairs (nothing would be left to estimate a variance from), or a signal that is not
                finite.
        """
        count, examples, _ = pairs.shape
        require_pairs(pairs, _LEAST)
        populations = self.populations(pairs, left_out=True)
        inside, outside = np.empty((2, count, examples), dtype=np.float32)
        for at, within, without in _pieces(pairs):
            laws = self.laws(self.sides(within, without, left_out=True), populations)
            inside[:, at] = self.score(within, laws)
            outside[:, at] = self.score(without, laws)
        return inside, outside

    def sides(self, within: Values, without: Values, left_out: bool) -> list[_References]:
        """Return what is left of the inside (online only) and of the outside."""
        median = self.variance in (Variance.REFERENCE, Variance.REFERENCE_FIXED)
        sides = (within, without) if self.side is Side.ONLINE else (without,)
        return [_moments(side, left_out, median) for side in sides]

    def populations(self, pairs: Pairs, left_out: bool) -> list[_Population | None]:
        """Return what all examples say about the law of each side, from sums over them."""
        if self.variance not in (Variance.EMPIRICAL_BAYES, Variance.POOLED):
            return [None, None]
        examples, dof = pairs.shape[1], pairs.shape[0] - 1 - left_out
        sums = self._sums(pairs, left_out)
        means = [np.maximum(side.squares / (examples * dof), _TINY) for side in sums]
        if self.variance is Variance.POOLED:
            return [_Population(mean) for mean in means]
        floors = [_TIED * mean for mean in means]  # known only now, and hardly ever needed
        if any(np.any(side.least < floor) for side, floor in zip(sums, floors, strict=True)):
            sums = self._sums(pairs, left_out, floors)
        return [
            _Population(mean, fit_variance_prior(side.mean_log, side.var_log, dof))
            for mean, side in zip(means, sums, strict=True)
        ]

    def _sums(self, pairs: Pairs, left_out: bool, floors: Sequence[Shared | float] = _NO_FLOORS) -> list[_Sums]:
        """Return sums over all examples for each side; those of logs leave out the variances below a floor."""
        totals: list[_Sums] = []
        for _, within, without in _pieces(pairs):
            sides = self.sides(within, without, left_out)
            parts = [_summed(side, floor) for side, floor in zip(sides, floors, strict=False)]
            totals = [total + part for total, part in zip(totals, parts, strict=True)] if totals else parts
        return totals

    def laws(self, references: list[_References], populations: list[_Population | None]) -> list[_Law]:
        """Return the law of each side, from its references and from what all examples say."""
        return [self._law(*side) for side in zip(references, populations, strict=False)]

    def _law(self, references: _References, population: _Population | None) -> _Law:
        scale, dof = self._scale(references, population)
        return _Law(references.centre, scale, np.log(scale), dof)

    def score(self, x: Values, laws: list[_Law]) -> Float[Array, "pairs block"]:
        """Return the scores of signals under the laws, averaged over queries."""
        outside = laws[-1]
        if self.side is Side.ONLINE:
            ratio = laws[0].log_density(x)
            ratio -= outside.log_density(x)
            return ratio.mean(axis=0)
        if self.variance in (Variance.REFERENCE, Variance.REFERENCE_FIXED):
            return -outside.log_density(x).mean(axis=0)
        return ((x - outside.centre) / np.sqrt(outside.scale)).mean(axis=0)

    def _scale(self, references: _References, population: _Population | None) -> tuple[Spread, Shared | None]:
        """Return the law's squared scale and its degrees of freedom; None means a normal law."""
        own = references.n - 1
        if self.variance is Variance.REFERENCE_FIXED:
            return np.ones_like(references.squares), None
        if self.variance is Variance.REFERENCE:
            return np.maximum(references.squares / references.n, _TINY), None
        if population is None:
            return np.maximum(references.squares / own, _TINY), None
        if population.prior is None:
            return population.mean, None
        prior = population.prior
        scale = floored(references.squares, own * population.mean)
        scale += prior.dof * prior.variance
        scale *= (1 + 1 / references.n) / (prior.dof + own)
        return scale, prior.dof + own


def _pieces(pairs: Pairs) -> Iterator[tuple[slice, Values, Values]]:
    """Return slices of the examples with their inside and outside signals, in pieces that stay in the cache."""
    count, _, queries = pairs.shape
    step = max(_LEAST_PIECE, _PIECE // (count * queries))
    for block in blocks(pairs):
        within, without = read(pairs, block)
        for start in range(0, block.stop - block.start, step):
            at = slice(start, min(start + step, block.stop - block.start))
            place = slice(block.start + at.start, block.start + at.stop)
            yield place, by_query(within[:, at]), by_query(without[:, at])


def by_query(signals: Float[Array, "pairs block queries"]) -> Values:
    """Return the signals in float64, queries first."""
    return np.ascontiguousarray(np.moveaxis(signals, -1, 0), dtype=np.float64)


def _summed(references: _References, floor: Shared | float) -> _Sums:
    """Return sums over the examples of one piece."""
    own = references.squares / (references.n - 1)
    least = own.min(axis=-1, keepdims=True)
    kept = own >= floor
    logs = np.log(own, out=np.zeros_like(own), where=kept)
    squares, logs, log_squares, number = (
        term.sum(axis=-1, keepdims=True, dtype=np.float64) for term in (references.squares, logs, np.square(logs), kept)
    )
    return _Sums(squares, logs, log_squares, number, least)


def fit_variance_prior(mean_log: Float[Array, "..."], var_log: Float[Array, "..."], dof: int) -> VariancePrior:
    """Return the scaled-inverse-χ² prior that explains the spread of log sample variances, by matching moments.

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
    """Return y with ψ'(y) = x, by Newton's method on 1/ψ', which is nearly linear (Smyth 2004, appendix)."""
    y = 0.5 + 1 / x
    for _ in range(8):
        trigamma = special.polygamma(1, y)
        y = y + trigamma * (1 - trigamma / x) / special.polygamma(2, y)
    return y


def _moments(values: Float[Array, "queries pairs block"], left_out: bool, median: bool) -> _References:
    """Return centre and squares over all pairs, or, with `left_out`, over all pairs but each one in turn."""
    n = values.shape[1]
    mean = values.mean(axis=1, keepdims=True)
    deviation = values - mean
    each = np.square(deviation)
    squares = each.sum(axis=1, keepdims=True)
    if not left_out:
        return _References(_medians(values) if median else mean, squares, n)
    each *= -n / (n - 1)
    each += squares
    np.maximum(each, 0, out=each)
    deviation /= 1 - n
    deviation += mean
    return _References(_medians_without_each(values) if median else deviation, each, n - 1)


def _medians(values: Values) -> Float[Array, "queries one block"]:
    """Return the median over pairs."""
    ascending, n = _ascending(values), values.shape[1]
    return (ascending[:, [(n - 1) // 2]] + ascending[:, [n // 2]]) / 2


def _medians_without_each(values: Values) -> Values:
    """Return for each pair the median of the others: what is above a value moves down by one when it leaves."""
    ascending, n = _ascending(values), values.shape[1]
    low, high = (
        np.where(values <= ascending[:, [middle]], ascending[:, [middle + 1]], ascending[:, [middle]])
        for middle in ((n - 2) // 2, (n - 1) // 2)
    )
    return (low + high) / 2


def _ascending(values: Values) -> Values:
    """Return the values sorted over pairs. NumPy sorts rows faster than columns, and than it finds their middles."""
    rows = np.swapaxes(values, 1, 2).copy()  # also where it is contiguous: the values are not ours to sort
    rows.sort(axis=-1)
    return np.swapaxes(rows, 1, 2)
