"""The membership design of models that were trained elsewhere: found in the membership matrix, and verified from it.

Complementary pairs, in any order, are put next to each other. In any other design, each example's models with it are
matched at random with its models without it. That needs nothing but memberships that do not depend on the models'
outputs: it depends on the matrix and a seed alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from memaudit.errors import EvidenceError
from memaudit.stats import Couples

Array = np.ndarray

LEAST_COUPLES = 3  # one is left out, and two have a variance
_LEAST_CLUSTERS = 6  # independent draws of training sets, where they are no pairs
_KEPT = 0.95  # of the examples must have that many models on either side
_ALARM = 1e-3  # probability of a false one, of each test
_RUNS = 0.1  # correlation of neighbouring examples' memberships from which they come in blocks
_SIZES, _FAR = 0.05, 8.0  # difference of the largest and smallest training set, and in standard errors, to report


@dataclass(frozen=True, slots=True)
class Design:
    """How the models of an imported bank were assigned to examples.

    Attributes:
        order: The models that are used, pairs next to each other where they are complementary.
        pairs: Whether they are complementary pairs.
        couples: How many models on either side are matched for each example.
        kept: Examples that have so many; all, of pairs.
        clusters: The cluster of each used model: those whose training sets depend on each other.
        words: The design in words.
        caveats: What the matrix does not show, or shows to be otherwise.
    """

    order: Int[Array, " used"]
    pairs: bool
    couples: int
    kept: Int[Array, " kept"]
    clusters: Int[Array, " used"]
    words: str
    caveats: tuple[str, ...] = ()


def design_of(members: Bool[Array, "models examples"]) -> Design:
    """Return the design of a membership matrix.

    Raises:
        EvidenceError: It has fewer than 6 models, two with the same training set, too few models with or without an
            example, or training sets that all depend on each other.
    """
    models, examples = members.shape
    _require_distinct(members)
    firsts, seconds, single = _complementary(members)
    if len(firsts) >= LEAST_COUPLES and len(single) <= 1:
        order = np.column_stack([firsts, seconds]).ravel()
        left = f" Model {single[0]} has no complement and is left out." if len(single) else ""
        words = f"{len(firsts)} complementary pairs: every example is in one model of each pair.{left}"
        clusters = np.repeat(np.arange(len(firsts)), 2)
        caveats = _caveats(members[firsts])
        return Design(order, True, len(firsts), np.arange(examples), clusters, words, caveats)
    inside = members.sum(axis=0)
    sides = np.minimum(inside, models - inside)
    couples = int(np.sort(sides)[int((1 - _KEPT) * examples + 1e-9)])
    if couples < LEAST_COUPLES:
        raise EvidenceError(
            f"only {couples} models with and without each example can be matched for {_KEPT:.0%} of the examples; at "
            f"least {LEAST_COUPLES} are needed. Train every example in about half of the models, 6 models or more"
        )
    clusters = _clusters(members)
    found = int(clusters.max()) + 1
    if found < _LEAST_CLUSTERS:
        raise EvidenceError(
            f"the training sets of the {models} models depend on each other: they are only {found} independent draws, "
            f"and {_LEAST_CLUSTERS} are needed. Draw each model's training set at random, independently of the others"
        )
    kept = np.flatnonzero(sides >= couples)
    words = f"{_kind(inside, models)}; for each example {couples} models with it are matched with {couples} without it."
    return Design(np.arange(models), False, couples, kept, clusters, words, _caveats(members) + _uneven(members))


def matched(members: Bool[Array, "models examples"], design: Design, seed: int) -> Couples:
    """Return the couples of the examples that are kept: the models on either side in random order, extras dropped.

    Args:
        members: Of the models that are used, in their order.
        design: Of the matrix.
        seed: Of the matching; it has nothing to do with any output.
    """
    return drawn_couples(members[:, design.kept], design.couples, design.clusters, seed)


def drawn_couples(
    members: Bool[Array, "models examples"],
    couples: int,
    clusters: Int[Array, " models"],
    seed: int,
    part: Int[Array, " models"] | None = None,
) -> Couples:
    """Return for each example so many models with it in random order, matched with as many without it.

    Args:
        members: Every example has so many models on either side.
        couples: Their number.
        clusters: Of each model.
        seed: Of the matching.
        part: Models of a lower part come first.
    """
    draw = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(members.shape[0],)))
    keys = draw.random(members.shape, dtype=np.float32)
    if part is not None:
        keys += part[:, None]
    sides = (np.argsort(np.where(s, keys, np.inf), axis=0, kind="stable")[:couples] for s in (members, ~members))
    inside, outside = (np.ascontiguousarray(side.astype(np.int32)) for side in sides)
    return Couples(inside, outside, clusters.astype(np.int32))


def sides(members: Bool[Array, "models examples"]) -> Int[Array, " examples"]:
    """Return how many models each example has on both sides at least: with it, and without it."""
    inside = members.sum(axis=0)
    return np.asarray(np.minimum(inside, len(members) - inside))


def most_couples(sides: Int[Array, " examples"]) -> tuple[int, Bool[Array, " examples"]]:
    """Return the number of couples that gives the most of them in all, and which examples have so many.

    It is 0 where no example has `LEAST_COUPLES`. Which examples are left out depends on the memberships alone.
    """
    counts = np.arange(LEAST_COUPLES, max(int(sides.max(initial=0)), LEAST_COUPLES) + 1)
    cells = [int(count * (sides >= count).sum()) for count in counts]
    if not max(cells):
        return 0, np.zeros(len(sides), bool)
    count = int(counts[int(np.argmax(cells))])
    return count, sides >= count


def _require_distinct(members: Bool[Array, "models examples"]) -> None:
    if len(members) < 2 * LEAST_COUPLES:
        raise EvidenceError(f"there are {len(members)} models; an import needs at least {2 * LEAST_COUPLES}")
    first: dict[bytes, int] = {}
    for model, row in enumerate(np.packbits(members, axis=1)):
        other = first.setdefault(row.tobytes(), model)
        if other != model:
            raise EvidenceError(
                f"models {other} and {model} have the same training set; keep one of them. Models that differ only in "
                "their seed say nothing about other training sets"
            )


def _complementary(members: Bool[Array, "models examples"]) -> tuple[Array, Array, Array]:
    """Return the first and the second model of each complementary pair, and the models that have no complement."""
    rows = {row.tobytes(): model for model, row in enumerate(np.packbits(members, axis=1))}
    other = np.array([rows.get(row.tobytes(), -1) for row in np.packbits(~members, axis=1)])
    here = np.arange(len(members))
    firsts = here[other > here]
    return firsts, other[firsts], here[other < 0]


def _correlations(members: Bool[Array, "models examples"]) -> Float[Array, "models models"]:
    centred = members - members.mean(axis=1, keepdims=True, dtype=np.float64)
    centred /= np.maximum(np.sqrt((centred**2).sum(axis=1, keepdims=True)), 1e-12)
    return np.asarray(centred @ centred.T)


def _clusters(members: Bool[Array, "models examples"]) -> Int[Array, " models"]:
    """Return the clusters of models whose training sets overlap more, or less, than those of independent draws.

    Of independent draws, the correlation of two memberships has a standard deviation of 1/√examples about a mean that
    is 0, or −1/(models − 1) where every example is in the same number of models; it is estimated by the median.
    """
    from scipy.sparse.csgraph import connected_components

    models, examples = members.shape
    found = _correlations(members)
    others = found[np.triu_indices(models, 1)]
    most = stats.norm.isf(_ALARM / (2 * len(others))) / np.sqrt(examples)
    return np.asarray(connected_components(np.abs(found - np.median(others)) > most, directed=False)[1])


def _kind(inside: Int[Array, " examples"], models: int) -> str:
    least, most = int(inside.min()), int(inside.max())
    if least == most:
        return f"every example is in {least} of the {models} models"
    return f"each example is in {least} to {most} of the {models} models, {inside.mean() / models:.0%} on average"


def _uneven(members: Bool[Array, "models examples"]) -> tuple[str, ...]:
    """Return in words whether examples, or models, differ in their share of memberships more than chance explains."""
    models, examples = members.shape
    share = float(members.mean())
    found = []
    spread = float(((members.sum(axis=0) - models * share) ** 2).sum()) / (models * share * (1 - share))
    if spread > stats.chi2.isf(_ALARM, examples):
        found.append(
            "Some examples are in more of the shadow models than chance explains: their probabilities of "
            "membership differ."
        )
    shares = members.mean(axis=1)
    if shares.max() - shares.min() > max(_SIZES, _FAR * float(np.sqrt(share * (1 - share) / examples))):
        found.append(
            f"The shadow models' training sets have {shares.min():.0%} to {shares.max():.0%} of the examples: they "
            "were not all drawn in the same way."
        )
    return tuple(found)


def _caveats(members: Bool[Array, "models examples"]) -> tuple[str, ...]:
    """Return in words whether neighbouring examples tend to be in the same models."""
    rows = (row - row.mean() for row in members)
    sums = [(row[1:] @ row[:-1], row @ row) for row in rows]  # model by model: there are as many numbers as cells
    lagged, square = np.sum(sums, axis=0).tolist()
    lagged /= max(square, 1e-12)
    if lagged > max(_RUNS, stats.norm.isf(_ALARM) / np.sqrt(members.size)):
        return (
            "Neighbouring examples tend to be in the same shadow models: groups, or contiguous blocks. If they are "
            "blocks of sorted data, the training sets differ by more than chance.",
        )
    return ()
