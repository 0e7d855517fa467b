"""How well proxies agree with memorization that was measured on other models, and with who is found by an attack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

Array = np.ndarray

_PAIRS, _EXAMPLES = 16, 10  # groups of them, at most, that the jackknife leaves out in turn
_TOP, _LEAST_TOP = 0.1, 20  # share of the examples, and how many it must be for a correlation among them
_LEAST_RELIABLE = 0.5  # at less, more than half of the variance of memorization is noise, and no correction is made
_CLIP = 1 - 1e-6


class Statistic(IntEnum):
    """How two scores of the same examples are compared; all are in [−1, 1], and 0 where they are independent."""

    SPEARMAN = 0  # rank correlation with memorization
    PEARSON = 1
    CORRECTED = 2  # Pearson's, without the noise of memorization: as though it were known exactly
    TOP = 3  # rank correlation within the tenth of the examples that are memorized most
    FOUND = 4  # 2 AUROC − 1, for examples that an attack finds


@dataclass(frozen=True, eq=False)
class Truth:
    """What proxies are compared with, pair by pair of models.

    `gain` is correctness of the model with the example minus that of the one without; `found` whether an attack finds
    the example in the one with it, by references and thresholds from the same half of the pairs (even or odd) alone.
    """

    gain: Float[Array, "pairs examples"]
    found: Bool[Array, "pairs examples"]


@dataclass(frozen=True, eq=False)
class Rows:
    """Scores `[scores, rows, examples]`, and a mask `[rows, examples]` of the examples that each row is about."""

    scores: Float[Array, "scores rows examples"]
    mask: Bool[Array, "rows examples"]

    @cached_property
    def places(self) -> Int[Array, "scores rows examples"]:
        """The place of each score among the distinct values of its row; sorted once for all parts of the examples."""
        flat = self.scores.reshape(-1, self.scores.shape[2])
        found = np.stack([np.unique(row, return_inverse=True)[1] for row in flat])
        return found.astype(np.int32).reshape(self.scores.shape)


@dataclass(frozen=True)
class Source:
    """Several scores that come from the same models.

    `rows` maps pairs of models to scores; rows are compared one by one and averaged. Where scores come from the bank
    (`crossed`), they are compared with memorization from the other half of the pairs, both ways round; otherwise with
    that from all pairs.
    """

    rows: Callable[[Int[Array, " some"]], Rows]
    crossed: bool


@dataclass(frozen=True, eq=False)
class Agreement:
    """How one score agrees with memorization: a value per `Statistic`; NaN where it cannot be computed.

    `variance` is that of Fisher's z, `freedom` its degrees of freedom.
    """

    value: Float[Array, " statistics"]
    variance: Float[Array, " statistics"]
    freedom: Float[Array, " statistics"]

    def interval(self, which: Statistic, level: Float[Array, " levels"] | float = 0.95) -> tuple[Array, Array]:
        """Return the ends of the interval of one of the statistics, at one level or several."""
        half = stats.t.ppf((1 + np.asarray(level)) / 2, self.freedom[which]) * np.sqrt(self.variance[which])
        centre = np.arctanh(np.clip(self.value[which], -_CLIP, _CLIP))
        return np.asarray(np.tanh(centre - half)), np.asarray(np.tanh(centre + half))


def agreements(truth: Truth, source: Source, seed: int = 0) -> list[Agreement]:
    """Return how each score of a source agrees with memorization and with who is found, with jackknife variances.

    Two variances add up on Fisher's z scale: over groups of pairs of models and over groups of examples. Noise of
    single examples is in both, so that intervals are somewhat wider than they need be.

    Args:
        truth: Memorization and finds, at least 4 pairs.
        source: The scores.
        seed: Of the groups of examples.

    Raises:
        ValueError: Fewer than 4 pairs.

    Source: Efron & Stein 1981, the jackknife; Satterthwaite 1946 for the degrees of freedom; Spearman 1904 for the
    correction for attenuation.
    """
    pairs, examples = truth.gain.shape
    if pairs < 4:
        raise ValueError(f"proxies are compared with memorization from other models, of at least 4 pairs; got {pairs}")
    everyone, columns = np.arange(pairs), np.arange(examples)
    blocks = everyone // -(-pairs // _PAIRS)
    dealt = np.random.default_rng(seed).permutation(examples) % _EXAMPLES
    parts_of_examples = [columns, *(columns[dealt != g] for g in range(_EXAMPLES))]
    value, *without_examples = _compared(truth, source, everyone, parts_of_examples)
    without_pairs = [_compared(truth, source, everyone[blocks != b], [columns])[0] for b in range(blocks[-1] + 1)]
    parts = [_jackknife(np.array(found)) for found in (without_pairs, without_examples)]
    variance = np.sum([part for part, _ in parts], axis=0)
    uncertainty = np.sum([part**2 / free for part, free in parts], axis=0)
    freedom = np.where(uncertainty > 0, variance**2 / np.where(uncertainty > 0, uncertainty, 1), np.inf)
    return [Agreement(*of) for of in zip(value, variance, freedom, strict=True)]


def _jackknife(found: Float[Array, "groups scores statistics"]) -> tuple[Array, int]:
    z = np.arctanh(np.clip(found, -_CLIP, _CLIP))
    return (len(z) - 1) / len(z) * ((z - z.mean(axis=0)) ** 2).sum(axis=0), len(z) - 1


def _compared(
    truth: Truth, source: Source, pairs: Array, parts: Sequence[Array]
) -> list[Float[Array, "scores statistics"]]:
    """Return all statistics of all scores from some of the pairs, for each of several parts of the examples."""
    halves = pairs[pairs % 2 == 0], pairs[pairs % 2 == 1]
    memorized = [_memorized(truth, half) for half in halves]
    sides = (halves, halves[::-1]) if source.crossed else ((pairs, pairs),)
    judged = [(_memorized(truth, own), truth.found[own].mean(axis=0), source.rows(other)) for own, other in sides]
    return [_summed_up(memorized, [_against(*side, columns) for side in judged], columns, source) for columns in parts]


def _summed_up(
    memorized: list[Float[Array, " examples"]], found: list[Array], columns: Array, source: Source
) -> Float[Array, "scores statistics"]:
    """Return the mean over both ways round, with the correlation that is corrected for the noise of memorization."""
    reliability = _pearson(*(half[columns] for half in memorized))
    if not source.crossed:
        reliability = 2 * reliability / (1 + reliability)  # of twice as many pairs: Spearman & Brown 1910
    mean: Array = np.mean(found, axis=0)
    correction = np.sqrt(reliability) if reliability >= _LEAST_RELIABLE else np.nan
    mean[:, Statistic.CORRECTED] = np.clip(mean[:, Statistic.PEARSON] / correction, -1, 1)
    return mean


def _against(
    memorized: Float[Array, " examples"], found: Float[Array, " examples"], rows: Rows, columns: Array
) -> Float[Array, "scores statistics"]:
    """Return the statistics of scores on some examples, given memorization and finds from other models."""
    told = []
    for row, mask in enumerate(rows.mask):
        here = columns[mask[columns]]
        judge = _Judge(memorized[here], found[here])
        both = zip(rows.scores[:, row], rows.places[:, row], strict=True)
        told.append([judge.statistics(score[here], places[here]) for score, places in both])
    return np.mean(told, axis=0)


def _memorized(truth: Truth, pairs: Array) -> Float[Array, " examples"]:
    return truth.gain[pairs].mean(axis=0, dtype=np.float64)


class _Judge:
    """Memorization and finds of some examples, prepared once for many scores."""

    def __init__(self, memorized: Float[Array, " examples"], found: Float[Array, " examples"]):
        self._memorized, self._ranks, self._found = memorized, _ranked(memorized), found
        place = max(1, round(_TOP * len(memorized)))
        self._top = memorized >= np.partition(memorized, -place)[-place]
        if not _LEAST_TOP <= self._top.sum() <= 2 * place or np.ptp(memorized[self._top]) == 0:
            self._top = np.zeros_like(self._top)  # too few, or ties: no tenth is memorized more, or all of it alike
        self._top_ranks = _ranked(memorized[self._top])

    def statistics(self, score: Float[Array, " examples"], places: Int[Array, " examples"]) -> list[float]:
        """Return the value of each `Statistic`; that of CORRECTED is filled in later.

        Args:
            score: Of the examples.
            places: Its places among values of which there may be more.
        """
        ranks = _ranks(places)
        top = _pearson(_ranks(places[self._top]), self._top_ranks) if self._top.any() else np.nan
        found = 2 * weighted_auc(places, self._found) - 1
        return [_pearson(ranks, self._ranks), _pearson(score, self._memorized), np.nan, top, found]


def weighted_auc(codes: Int[Array, " examples"], share: Float[Array, " examples"]) -> float:
    """Return the AUROC of a score for finds: P[score of one found > score of one missed], ties counting one half.

    An example that is found in a share of the models counts as found with that weight, and as missed with the rest.

    Args:
        codes: The score, as places among its values from 0.
        share: In which share of the models the example is found.
    """
    found, missed = np.bincount(codes, share), np.bincount(codes, 1 - share)
    total = found.sum() * missed.sum()
    below = np.cumsum(missed) - missed / 2
    return float(found @ below / total) if total > 0 else np.nan


def _ranked(values: Float[Array, " n"]) -> Float[Array, " n"]:
    """Return ranks, ties given their mean."""
    return _ranks(np.unique(values, return_inverse=True)[1])


def _ranks(places: Int[Array, " n"]) -> Float[Array, " n"]:
    """Return ranks, ties given their mean, by places among the distinct values of these and perhaps of others."""
    counts = np.bincount(places)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[places])


def _pearson(x: Float[Array, " n"], y: Float[Array, " n"]) -> float:
    """Return Pearson's correlation; 0 if either side is constant."""
    a, b = x - x.mean(dtype=np.float64), y - y.mean(dtype=np.float64)
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else 0.0


def of_mean(scores: Float[Array, "scores pairs examples"]) -> Source:
    """Return the mean of scores over training runs, from the model of each pair that has the example."""
    everyone = np.ones((1, scores.shape[2]), bool)
    return Source(lambda pairs: Rows(scores[:, pairs].mean(axis=1, dtype=np.float64)[:, None], everyone), crossed=True)


def of_runs(
    scores: Float[Array, "scores pairs examples"], first_inside: Bool[Array, "pairs examples"], most: int = 2
) -> Source:
    """Return scores of single training runs, each about the examples that it was trained on.

    Args:
        scores: From the model of each pair that has the example.
        first_inside: Whether this is the first of the two.
        most: Of the pairs of a half, so many are used: as single runs they only have to be a sample.
    """
    known: dict[bytes, Rows] = {}  # most groups of pairs leave the same runs

    def rows(pairs: Int[Array, " some"]) -> Rows:
        used = pairs[:most]
        if used.tobytes() not in known:
            masks = np.concatenate([first_inside[used], ~first_inside[used]])
            known[used.tobytes()] = Rows(np.tile(scores[:, used], (1, 2, 1)), masks)
        return known[used.tobytes()]

    return Source(rows, crossed=True)


def of_others(scores: Sequence[Callable[[Int[Array, " some"]], Float[Array, " examples"]]], examples: int) -> Source:
    """Return scores that are computed from some of the bank's pairs."""
    everyone = np.ones((1, examples), bool)
    return Source(lambda pairs: Rows(np.stack([score(pairs) for score in scores])[:, None], everyone), crossed=True)


def of_fixed(scores: Float[Array, "scores examples"], mask: Bool[Array, " examples"]) -> Source:
    """Return scores that no model of the bank has to do with: of the target's training, or of the data."""
    rows = Rows(scores[:, None], mask[None])
    return Source(lambda pairs: rows, crossed=False)
