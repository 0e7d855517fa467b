"""ROC points and thresholds. Scores rise with membership; an example is flagged when its score exceeds a threshold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy
from jaxtyping import Bool, Float, Int, UInt8, UInt16

Array = np.ndarray


def resolvable(fpr: float, nonmembers: int) -> bool:
    """Return whether that many non-members can show a false-positive rate at all: at least one expected false positive.

    Below 1/nonmembers the only rate that can be observed is zero, whatever the true one is.
    """
    return bool(fpr * nonmembers >= 1 - 1e-9)  # 1/49 * 49 is 0.999…


def least_nonmembers(fpr: float) -> int:
    """Return the least number of non-members that can show a false-positive rate, as `resolvable` says."""
    return int(np.ceil(1 / fpr - 1e-9))


def threshold(nonmember_scores: Float[Array, " n"], fpr: float) -> float:
    """Return the score above which at most the share `fpr` of the given non-members is.

    It is the (k+1)-th largest score with k = ⌊fpr·n⌋; a block of ties at the threshold is not flagged. The share
    is kept on the given scores; of fresh ones like them (k + 1)/(n + 1) are to be expected above it, up to 1/(n + 1)
    more. The scores of a whole bank are given here, thousands in most cases.

    Raises:
        ValueError: The scores cannot resolve the rate (fpr·n < 1).
    """
    n = len(nonmember_scores)
    if not resolvable(fpr, n):
        raise ValueError(f"{n} non-member scores cannot resolve a false-positive rate of {fpr:g}")
    return _largest(nonmember_scores, _above(fpr, n))


def _above(fpr: float, n: int) -> int:
    """Return how many of n non-members may be above a threshold for a rate."""
    return int(fpr * n + 1e-9)  # 0.3 * 10 is 2.999…


def _largest(scores: Float[Array, " n"], above: int) -> float:
    """Return the largest score but for as many above it; −∞ if there is none."""
    rank = len(scores) - 1 - above
    return float(np.partition(scores, rank)[rank]) if rank >= 0 else -np.inf


def transferred_thresholds(
    outside: Float[Array, "pairs examples"],
    fpr: float,
    folds: int = 8,
    cluster: Int[Array, "pairs examples"] | None = None,
    clusters: int | None = None,
) -> Float[Array, " clusters"]:
    """Return for each pair of models the threshold that the *other* models' non-members set for `fpr`.

    A threshold read off the target's own non-members adapts to them, and promises a false-positive rate that it does
    not keep. Here pairs are dealt into folds, and a fold takes its threshold from all the other folds.

    Args:
        outside: Scores of shadows that were not trained on the example.
        fpr: The rate.
        folds: Their number, if there are as many pairs.
        cluster: Which models each score comes from, if not from those of its row: the thresholds are then theirs.
        clusters: How many of these there are; by default those that have a score.

    Raises:
        ValueError: Fewer than two pairs, or too few scores to resolve the rate.
    """
    known = len(outside) if cluster is None else int(cluster.max()) + 1
    pairs = known if clusters is None else clusters
    if pairs < 2:
        raise ValueError(f"thresholds from other models need at least 2 pairs, got {pairs}")
    folds = min(folds, pairs)
    if cluster is None:
        parts = [outside[fold::folds].ravel() for fold in range(folds)]
    else:
        parts = [outside[cluster % folds == fold] for fold in range(folds)]
    sizes = [outside.size - len(part) for part in parts]  # of the other folds
    if not resolvable(fpr, min(sizes)):
        raise ValueError(f"{min(sizes)} non-member scores cannot resolve a false-positive rate of {fpr:g}")
    most = _above(fpr, max(sizes)) + 1
    highest = [part if len(part) <= most else np.partition(part, -most)[-most:] for part in parts]
    thresholds = [
        _largest(np.concatenate(highest[:fold] + highest[fold + 1 :]), _above(fpr, size))
        for fold, size in enumerate(sizes)
    ]
    return np.array(thresholds)[np.arange(pairs) % folds]


def tpr_draws(
    inside: Float[Array, "pairs examples"],
    outside: Float[Array, "pairs examples"],
    fpr: float,
    resamples: int = 200,
    seed: int = 0,
) -> Float[Array, " resamples"]:
    """Return bootstrap draws of the mean TPR over target models at one false-positive rate.

    Whole target pairs and whole examples are resampled, and the threshold is recomputed each time. The same examples
    are flagged in many targets, so a binomial interval, or one over targets alone, would be far too narrow. The same
    seed draws the same pairs and examples from any scores of this shape: differences of such draws are paired.

    Args:
        inside: Scores of shadows that were trained on the example; NaN where there is none.
        outside: Scores of shadows that were not; NaN where there is none.
        fpr: The rate.
        resamples: Number of draws.
        seed: Of the draws.

    Raises:
        ValueError: Too few scores to resolve the rate.

    Source: Owen 2007 (Annals of Applied Statistics 1:386), the pigeonhole bootstrap for crossed data, which is
    conservative.
    """
    pairs, examples = outside.shape
    scores = int((~np.isnan(outside)).sum())
    if fpr * scores < 1:
        raise ValueError(f"{scores} non-member scores cannot resolve a false-positive rate of {fpr:g}")
    counts = _remembered if resamples * examples <= _REMEMBERED else _counts
    weights = _Weights(_counts(pairs, resamples, seed, _PAIRS), counts(examples, resamples, seed, _EXAMPLES))
    (inside, members), (outside, nonmembers) = map(weights.counted, (inside, outside))
    return weights.above(inside, weights.cuts(outside, fpr * nonmembers)) / members


_PAIRS, _EXAMPLES = 0, 1  # independent streams of one seed: rates and banks of other sizes share their examples
_REMEMBERED = 2**26  # bytes
_AT_ONCE = 50  # resamples that are converted to float32 together


def _counts(n: int, resamples: int, seed: int, stream: int) -> UInt8[Array, "resamples n"]:
    """Return how often each of n things is in each resample: multinomial counts, which stay far below 256."""
    rng = np.random.default_rng((seed, stream))
    counts = np.empty((resamples, n), np.uint8)
    for resample in counts:
        resample[:] = np.bincount(rng.integers(n, size=n), minlength=n)
    return counts


_remembered = lru_cache(maxsize=1)(_counts)  # an audit draws a dozen times from the same examples


@dataclass(frozen=True, slots=True)
class _Weights:
    """Resamples of crossed data: the weight of a score is the product of its pair's and its example's counts."""

    by_pair: UInt8[Array, "resamples pairs"]
    by_example: UInt8[Array, "resamples examples"]

    def of(self, resample: int, pair: Int[Array, " some"], example: Int[Array, " some"]) -> UInt16[Array, " some"]:
        """Return the weights of some scores in one resample."""
        return self.by_pair[resample].astype(np.uint16)[pair] * self.by_example[resample][example]

    def counted(
        self, scores: Float[Array, "pairs examples"]
    ) -> tuple[Float[Array, "pairs examples"], Float[Array, " resamples"]]:
        """Return scores below all others in place of those that are missing, and the weight of the rest."""
        missing = np.isnan(scores)
        if not missing.any():
            return scores, np.full(len(self.by_pair), float(scores.size))
        return np.where(missing, -np.inf, scores), np.maximum(self._all(~missing), 1)

    def cuts(
        self, scores: Float[Array, "pairs examples"], budget: Float[Array, " resamples"]
    ) -> Float[Array, " resamples"]:
        """Return each resample's threshold: the highest score that, with those above it, weighs more than the budget.

        The highest scores are enough for most resamples; twice as many are looked at for those that need more.
        """
        most = min(scores.size, int(20 * budget.max()) + 100)
        candidates = min(most, int(1.25 * budget.max()) + 100)
        cuts, left = np.empty(len(self.by_pair), scores.dtype), list(range(len(self.by_pair)))
        while left:
            highest, pair, example = _falling(scores, np.argpartition(scores, -candidates, axis=None)[-candidates:])
            lighter = []
            for resample in left:
                weight = np.cumsum(self.of(resample, pair, example), dtype=np.int64)
                first = int(np.searchsorted(weight, budget[resample], side="right"))
                cuts[resample] = highest[min(first, candidates - 1)]
                if first == candidates:
                    lighter.append(resample)
            left, candidates = lighter if candidates < most else [], min(most, 2 * candidates)
        return cuts

    def above(
        self, scores: Float[Array, "pairs examples"], cuts: Float[Array, " resamples"]
    ) -> Float[Array, " resamples"]:
        """Return the weight of the scores above each resample's own threshold.

        Scores above all thresholds are weighed by one matrix product, exact in float32 up to 2²⁴ examples; the few
        between the lowest and the highest threshold one by one.
        """
        surely = scores > cuts.max()
        falling, pair, example = _falling(scores, np.flatnonzero((scores > cuts.min()) & ~surely))
        weight, rising = self._all(surely), -falling
        for resample, cut in enumerate(cuts):
            few = slice(np.searchsorted(rising, -cut, side="left"))
            weight[resample] += self.of(resample, pair[few], example[few]).sum()
        return weight

    def _all(self, flags: Bool[Array, "pairs examples"]) -> Float[Array, " resamples"]:
        """Return the weight of all flagged scores in each resample."""
        flagged = flags.astype(np.float32).T
        weight = np.empty(len(self.by_pair))
        for start in range(0, len(weight), _AT_ONCE):
            at = slice(start, start + _AT_ONCE)
            by_pair = self.by_example[at].astype(np.float32) @ flagged
            weight[at] = (self.by_pair[at] * by_pair.astype(np.float64)).sum(axis=1)
        return weight


def _falling(
    scores: Float[Array, "pairs examples"], some: Int[Array, " some"]
) -> tuple[Float[Array, " some"], Int[Array, " some"], Int[Array, " some"]]:
    """Return some of the scores, highest first, with the pair and the example of each."""
    some = some[np.argsort(-scores.ravel()[some])]
    return scores.ravel()[some], *np.divmod(some, scores.shape[1])


def tpr_interval(
    inside: Float[Array, "pairs examples"],
    outside: Float[Array, "pairs examples"],
    fpr: float,
    level: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile interval of the mean TPR over target models at one false-positive rate: see `tpr_draws`.

    Raises:
        ValueError: Too few scores to resolve the rate.
    """
    return percentiles(tpr_draws(inside, outside, fpr, resamples, seed), level)


def percentiles(draws: Float[Array, " resamples"], level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of bootstrap draws."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def auc(inside: Float[Array, " members"], outside: Float[Array, " nonmembers"]) -> float:
    """Return the probability that a random member scores above a random non-member, ties counting one half.

    Source: Mann & Whitney 1947; Bamber 1975.
    """
    return float(_below(np.sort(inside), np.sort(outside)).sum() / (len(inside) * len(outside)))


def _below(scores: Float[Array, " some"], others: Float[Array, " n"]) -> Float[Array, " some"]:
    """Return how many of the others are below each score, ties counting one half. Both are sorted."""
    return (np.searchsorted(others, scores, side="left") + np.searchsorted(others, scores, side="right")) / 2


def auc_interval(
    inside: Float[Array, " members"], outside: Float[Array, " nonmembers"], level: float = 0.95
) -> tuple[float, float]:
    """Return DeLong's normal interval of the AUC, clipped to [0, 1], for independent examples.

    Where the scores separate perfectly DeLong's variance is 0; the open end is then the Clopper–Pearson bound of as
    many disjoint pairs of a member and a non-member, all of them ranked alike.

    Source: DeLong, DeLong & Clarke-Pearson 1988, with the placement values counted in sorted scores.
    """
    m, n = len(inside), len(outside)
    inside, outside = np.sort(inside), np.sort(outside)
    placed_in = _below(inside, outside) / n  # share of non-members below each member
    placed_out = 1 - _below(outside, inside) / m
    area = placed_in.mean()
    spread = np.sqrt(placed_in.var(ddof=1) / m + placed_out.var(ddof=1) / n) if min(m, n) > 1 else np.inf
    if area in (0, 1):
        bound = ((1 - level) / 2) ** (1 / min(m, n))
        return (bound, 1.0) if area == 1 else (0.0, 1 - bound)
    half = scipy.stats.norm.ppf((1 + level) / 2) * spread
    return float(max(0.0, area - half)), float(min(1.0, area + half))


def roc_points(
    inside: Float[Array, " members"], outside: Float[Array, " nonmembers"], fprs: Float[Array, " rates"]
) -> tuple[Float[Array, " rates"], Float[Array, " rates"]]:
    """Return (tpr, fpr) measured at the thresholds that the given non-members themselves set for each rate.

    Reads the ROC of the scores at hand: for drawing and for comparison with papers, never for a limit.
    Rates that the non-members cannot resolve are read at zero false positives.
    """
    down = np.sort(outside)[::-1]
    cut = down[np.minimum((fprs * len(down) + 1e-9).astype(int), len(down) - 1)]
    tpr = (len(inside) - np.searchsorted(np.sort(inside), cut, side="right")) / len(inside)
    fpr = (len(down) - np.searchsorted(down[::-1], cut, side="right")) / len(down)
    return tpr, fpr


def own_tpr(inside: Float[Array, " members"], outside: Float[Array, " nonmembers"], fpr: float) -> float:
    """Return the TPR at a threshold that the given non-members themselves set, unbiased where there is nothing to find.

    Of fresh scores, j/(n + 1) are above the j-th largest of n on average. The TPR is interpolated between the two
    thresholds whose expected rates enclose `fpr`; below 1/(n + 1), between that of the largest score and 0.
    """
    down = np.sort(outside)[::-1]
    place = min(fpr * (len(down) + 1), float(len(down)))
    members = np.sort(inside)

    def above(rank: int) -> float:
        """Return the TPR above the score of a rank from 1; 0 for rank 0."""
        if rank == 0:
            return 0.0
        return 1 - float(np.searchsorted(members, down[rank - 1], side="right")) / len(members)

    low = int(place)
    return above(low) + (place - low) * (above(min(low + 1, len(down))) - above(low))


def own_tpr_interval(
    inside: Float[Array, " members"],
    outside: Float[Array, " nonmembers"],
    fpr: float,
    level: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of `own_tpr` over members and non-members."""
    rng = np.random.default_rng(seed)
    draws = [own_tpr(rng.choice(inside, len(inside)), rng.choice(outside, len(outside)), fpr) for _ in range(resamples)]
    return percentiles(np.array(draws), level)
