"""ROC points and thresholds. Scores rise with membership; an example is accused when its score exceeds a threshold."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import stats

Array = np.ndarray


def resolvable(fpr: float, nonmembers: int) -> bool:
    """Returns whether that many non-members can show a false-positive rate at all: at least one expected accusation.

    Below 1/nonmembers the only rate that can be observed is zero, whatever the true one is.
    """
    return bool(fpr * nonmembers >= 1 - 1e-9)  # 1/49 * 49 is 0.999…


def least_nonmembers(fpr: float) -> int:
    """Returns the least number of non-members that can show a false-positive rate, as `resolvable` says."""
    return int(np.ceil(1 / fpr - 1e-9))


def threshold(nonmember_scores: Float[Array, " n"], fpr: float) -> float:
    """Returns the score above which at most the share `fpr` of the given non-members lies.

    It is the (k+1)-th largest score with k = ⌊fpr·n⌋; a block of ties at the threshold is not accused at all. The share
    is kept on the given scores; of fresh ones like them (k + 1)/(n + 1) are to be expected above it, up to 1/(n + 1)
    more. The scores of a whole bank are given here, thousands in most cases.

    Raises:
        ValueError: The scores cannot resolve the rate (fpr·n < 1).
    """
    n = len(nonmember_scores)
    if not resolvable(fpr, n):
        raise ValueError(f"{n} non-member scores cannot resolve a false-positive rate of {fpr:g}")
    rank = n - 1 - int(fpr * n + 1e-9)  # 0.3 * 10 is 2.999…
    return float(np.partition(nonmember_scores, rank)[rank]) if rank >= 0 else -np.inf


def transferred_thresholds(
    outside: Float[Array, "pairs examples"], fpr: float, folds: int = 8
) -> Float[Array, " pairs"]:
    """Returns for each pair of models the threshold that the *other* models' non-members set for `fpr`.

    A threshold read off the target's own non-members adapts to them, and promises a false-positive rate that it does
    not keep. Here pairs are dealt into folds, and a fold takes its threshold from all the other folds.

    Raises:
        ValueError: Fewer than two pairs, or too few scores to resolve the rate.
    """
    pairs = len(outside)
    if pairs < 2:
        raise ValueError(f"thresholds from other models need at least 2 pairs, got {pairs}")
    fold = np.arange(pairs) % min(folds, pairs)
    thresholds = np.array([threshold(outside[fold != f].ravel(), fpr) for f in range(fold.max() + 1)])
    return thresholds[fold]


def tpr_draws(
    inside: Float[Array, "pairs examples"],
    outside: Float[Array, "pairs examples"],
    fpr: float,
    resamples: int = 200,
    seed: int = 0,
) -> Float[Array, " resamples"]:
    """Returns bootstrap draws of the mean TPR over target models at one false-positive rate.

    Whole target pairs and whole examples are resampled, and the threshold is set anew each time. The same examples are
    accused in many targets, so that a binomial interval, or one over targets alone, would be far too narrow. The same
    seed draws the same pairs and examples from any scores of this shape: differences of such draws are paired.

    Raises:
        ValueError: Too few scores to resolve the rate.

    Source: Owen 2007 (Annals of Applied Statistics 1:386), the pigeonhole bootstrap for crossed data, which is
    conservative.
    """
    pairs, examples = outside.shape
    budget = fpr * pairs * examples
    if budget < 1:
        raise ValueError(f"{pairs * examples} non-member scores cannot resolve a false-positive rate of {fpr:g}")
    candidates = min(outside.size, int(20 * budget) + 100)  # scores that may become the threshold of some resample
    top = np.argpartition(outside, outside.size - candidates, axis=None)[-candidates:]
    top = top[np.argsort(-outside.ravel()[top], kind="stable")]
    highest = outside.ravel()[top]
    found = np.flatnonzero(inside.ravel() > highest[-1])
    found = found[np.argsort(-inside.ravel()[found], kind="stable")]
    falling = -inside.ravel()[found]
    (top_pair, top_example), (pair, example) = np.divmod(top, examples), np.divmod(found, examples)
    rng = np.random.default_rng(seed)
    tprs = np.empty(resamples)
    for draw in range(resamples):
        by_pair = rng.multinomial(pairs, np.full(pairs, 1 / pairs))
        by_example = rng.multinomial(examples, np.full(examples, 1 / examples))
        accused = np.cumsum(by_pair[top_pair] * by_example[top_example])
        cut = highest[min(np.searchsorted(accused, budget, side="right"), candidates - 1)]
        above = slice(np.searchsorted(falling, -cut, side="left"))
        tprs[draw] = (by_pair[pair[above]] * by_example[example[above]]).sum() / (pairs * examples)
    return tprs


def tpr_interval(
    inside: Float[Array, "pairs examples"],
    outside: Float[Array, "pairs examples"],
    fpr: float,
    level: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """Returns the percentile interval of the mean TPR over target models at one false-positive rate: see `tpr_draws`.

    Raises:
        ValueError: Too few scores to resolve the rate.
    """
    return percentiles(tpr_draws(inside, outside, fpr, resamples, seed), level)


def percentiles(draws: Float[Array, " resamples"], level: float = 0.95) -> tuple[float, float]:
    """Returns the percentile interval of bootstrap draws."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def auc(inside: Float[Array, " members"], outside: Float[Array, " nonmembers"]) -> float:
    """Returns the probability that a random member scores above a random non-member, ties counting one half.

    Source: Mann & Whitney 1947; Bamber 1975.
    """
    ranks = stats.rankdata(np.concatenate([inside, outside]))
    m, n = len(inside), len(outside)
    return float((ranks[:m].sum() - m * (m + 1) / 2) / (m * n))


def auc_interval(
    inside: Float[Array, " members"], outside: Float[Array, " nonmembers"], level: float = 0.95
) -> tuple[float, float]:
    """Returns DeLong's normal interval of the AUC, clipped to [0, 1], for independent examples.

    Where the scores separate perfectly DeLong's variance is 0; the open end is then the Clopper–Pearson bound of as
    many disjoint pairs of a member and a non-member, all of them ranked alike.

    Source: DeLong, DeLong & Clarke-Pearson 1988, with the placement values computed from ranks.
    """
    m, n = len(inside), len(outside)
    ranks = stats.rankdata(np.concatenate([inside, outside]))
    placed_in = (ranks[:m] - stats.rankdata(inside)) / n  # share of non-members below each member
    placed_out = 1 - (ranks[m:] - stats.rankdata(outside)) / m
    area = placed_in.mean()
    spread = np.sqrt(placed_in.var(ddof=1) / m + placed_out.var(ddof=1) / n) if min(m, n) > 1 else np.inf
    if area in (0, 1):
        bound = ((1 - level) / 2) ** (1 / min(m, n))
        return (bound, 1.0) if area == 1 else (0.0, 1 - bound)
    half = stats.norm.ppf((1 + level) / 2) * spread
    return float(max(0.0, area - half)), float(min(1.0, area + half))


def roc_points(
    inside: Float[Array, " members"], outside: Float[Array, " nonmembers"], fprs: Float[Array, " rates"]
) -> tuple[Float[Array, " rates"], Float[Array, " rates"]]:
    """Returns (tpr, fpr) measured at the thresholds that the given non-members themselves set for each rate.

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

    Of fresh scores, j/(n + 1) lie above the j-th largest of n on average. The TPR is interpolated between the two
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
