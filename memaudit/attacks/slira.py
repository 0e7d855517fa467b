"""SLiRA, the stacked likelihood-ratio attack: the bank's own models teach it to tell members from non-members.

The default attack. Every shadow model, taken as a target of the others, gives labelled examples of what a member's and
a non-member's signal look like beside the other models' statistics. SLiRA learns the log likelihood ratio from them.
It therefore learns what LiRA and RMIA assume: how much to trust a variance or a mean from few models, how the law with
an example follows from the law without it, how heavy the tails are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from memaudit.attacks.blockwise import require_pairs, require_target
from memaudit.attacks.interface import Signal, blocks, log_probability, read
from memaudit.attacks.lira import Lira, by_query
from memaudit.attacks.rmia import log_mean, log_mean_without_each
from memaudit.attacks.student import StudentRegression, fit_student
from memaudit.design import Pairs

Array = np.ndarray
Block = Float[Array, "pairs block one"]

_LEAST = 2  # pairs: one is scored with the other as its reference
_FOLDS = 4
_CELLS = 50_000  # pairs × examples that are learned from, each with its inside and its outside model
_BOOSTED = 2_000  # cells from which there is a booster; from fewer it learns nothing that lasts
_SPREAD = 4  # over how many times as many cells those that are learned from are spread
_CURVED = 4_000  # cells from which the regressions bend
_LIMIT = 30.0  # nats: beyond, a log likelihood ratio from regressions says no more
_RATES = (1e-3, 1e-2)  # false-positive rates between which candidates are compared
_RISING = 2  # of the features, the first ones: LiRA's score and RMIA's
_RMIA, _SIGNAL, _INSIDE, _OUTSIDE = 1, 2, 3, 4  # columns of the features
CANDIDATES: dict[str, tuple[int, int, int]] = {  # weights of booster, regressions and RMIA
    "booster and regressions": (1, 1, 0),
    "booster": (1, 0, 0),
    "regressions": (0, 1, 0),
    "rmia": (0, 0, 1),
}


@dataclass(frozen=True)
class _Averaged:
    """A bank with its queries averaged into one."""

    pairs: Pairs

    @property
    def shape(self) -> tuple[int, int, int]:
        return *self.pairs.shape[:2], 1

    def block(self, examples: slice) -> tuple[Block, Block]:
        within, without = (side.mean(axis=2, keepdims=True, dtype=np.float64) for side in read(self.pairs, examples))
        return within, without

    def take(self, pairs: Int[Array, " some"]) -> _Averaged:
        return _Averaged(self.pairs.take(pairs))


@dataclass(frozen=True, slots=True)
class _Law:
    """The two regressions of one fold: log density of a signal with the example in training, minus that without."""

    inside: StudentRegression
    outside: StudentRegression
    knots: tuple[Float[Array, " inner"], Float[Array, " outer"]]
    centre: Float[Array, " terms"]
    scale: Float[Array, " terms"]

    @classmethod
    def fit(cls, inside: Float[Array, "rows features"], outside: Float[Array, "rows features"]) -> _Law:
        curved = len(inside) >= _CURVED
        levels = ([0.1, 0.5, 0.9], [0.1, 0.3, 0.5, 0.7, 0.9]) if curved else ([], [])
        knots = np.quantile(inside[:, _INSIDE], levels[0]), np.quantile(inside[:, _OUTSIDE], levels[1])
        terms = _terms(inside, knots)
        centre, scale = terms.mean(axis=0), terms.std(axis=0) + 1e-9
        centre[0], scale[0] = 0, 1
        laws = []
        for rows in (inside, outside):
            terms = (_terms(rows, knots) - centre) / scale
            laws.append(fit_student(rows[:, _SIGNAL], _location(terms, rows), terms))
        return cls(laws[0], laws[1], knots, centre, scale)

    def ratio(self, rows: Float[Array, "rows features"]) -> Float[Array, " rows"]:
        terms = (_terms(rows, self.knots) - self.centre) / self.scale
        x, location = rows[:, _SIGNAL], _location(terms, rows)
        found = self.inside.log_density(x, location, terms) - self.outside.log_density(x, location, terms)
        return np.clip(found, -_LIMIT, _LIMIT)


@dataclass(frozen=True, slots=True)
class _Fold:
    """What was learned without the examples of one fold."""

    booster: Any  # None if there were too few cells
    law: _Law

    def score(
        self, rows: Float[Array, "rows features"], weights: tuple[int, int, int] = (1, 1, 1)
    ) -> Float[Array, "rows three"]:
        """Return log odds of the booster, log ratio of the regressions and RMIA's log ratio, weighted; 0 where not."""
        booster, regressions, rmia = weights
        parts = np.zeros((len(rows), 3))
        if booster and self.booster is not None:
            parts[:, 0] = booster * self.booster.decision_function(_rounded(rows))
        if regressions:
            parts[:, 1] = regressions * self.law.ratio(rows)
        parts[:, 2] = rmia * rows[:, _RMIA]
        return parts


@dataclass(frozen=True, slots=True)
class _Stack:
    """What was learned, fold by fold of the examples, and the candidate that the shadows chose."""

    folds: tuple[_Fold, ...]
    candidate: str

    def score(
        self, rows: Float[Array, "*pairs block features"], fold: Int[Array, " block"]
    ) -> Float[Array, "*pairs block"]:
        """Return the scores of features, each example's by what was learned from other examples."""
        scores, weights = np.empty(rows.shape[:-1]), CANDIDATES[self.candidate]
        for f in np.unique(fold):
            here = rows[..., fold == f, :]
            parts = self.folds[f].score(here.reshape(-1, rows.shape[-1]), weights)
            scores[..., fold == f] = parts.sum(axis=1).reshape(here.shape[:-1])
        return scores


@dataclass(frozen=True)
class Slira:
    """Score by a learned log likelihood ratio, in nats; several queries are averaged first.

    For each model of the bank as a target and each example, the features are the LiRA score (empirical Bayes), the RMIA
    log ratio, the signal, and the other pairs' statistics of the example: means, log scales and log mean probabilities,
    with and without the example in training. Two learners tell inside from outside models:

    - a gradient booster that may only rise with LiRA's and RMIA's score,
    - two Student-t regressions of the signal, with and without the example, whose location and log scale are linear in
      the statistics, with hinges; their log density ratio is the score.

    The booster, the regressions, the sum of both, or RMIA alone is used: whichever has the highest mean log TPR on the
    shadows at false-positive rates of 0.1 to 1 %. Everything is cross-fitted: a model is scored with the statistics of
    the other pairs, and an example by what was learned from the examples of other folds. Its membership in a model
    therefore has no part in its own score, and thresholds from the bank keep their rate. (Cross-fitting by pair alone
    would not do: what chance makes two pairs have in common is learned from the one and applied to the other. The
    choice of the candidate sees all shadows; under permuted labels it raises the area under the ROC curve by half a
    standard error.) Only the bank is learned from; nothing depends on the target or on who its members are.

    It is not a bound: another attack may find more. It is not calibrated: the score ranks, and is no probability of
    membership. It works from 2 pairs of models on; below 3 without LiRA's score, below 2,000 pairs × examples without
    the booster.

    Compared with LiRA in three variants, RMIA and BaVarIA on five banks: `benchmarks/attack_power.py`.

    Source: stacked generalization, Wolpert 1992 (Neural Networks 5:241), with the attacks of Carlini et al. 2022 and
    Zarifzadeh et al. 2024 as first level; Ke et al. 2017 (LightGBM) for the histogram booster.
    """

    signal: Signal = Signal.SCALED_LOGIT
    stack: _Stack | None = None

    @property
    def name(self) -> str:
        """`slira`."""
        return "slira"

    @property
    def source(self) -> str:
        """What it stacks, and how."""
        return "stacked generalization (Wolpert 1992) of LiRA (Carlini et al. 2022) and RMIA (Zarifzadeh et al. 2024)"

    def learn(self, pairs: Pairs) -> Slira:
        """Return the attack after it has learned from a bank; without it, every call learns again. Deterministic.

        Raises:
            ValueError: Fewer than 2 pairs or 2 examples, or a signal that is not finite.
        """
        require_pairs(pairs, _LEAST)
        if pairs.shape[1] < 2:
            raise ValueError("the attack learns from other examples than the one it scores, got 1 example")
        inside, outside, fold = _Statistics(_Averaged(pairs), self.signal).sample()
        learned = tuple(_fit(inside[fold != f], outside[fold != f], len(fold) >= _BOOSTED) for f in range(_FOLDS))
        parts = np.empty((2, len(fold), 3))
        for f, fitted in enumerate(learned):
            here = fold == f
            parts[:, here] = fitted.score(inside[here]), fitted.score(outside[here])
        power = {
            name: _power(*(parts @ np.array(weights)))
            for name, weights in CANDIDATES.items()
            if len(fold) >= _BOOSTED or not weights[0]
        }
        return replace(self, stack=_Stack(learned, max(power, key=power.__getitem__)))

    def scores(self, target: Float[Array, "examples queries"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return the scores of a model outside the bank, in nats; larger = member-like.

        The last pair is not a reference, as for the models of that pair themselves.

        Raises:
            ValueError: Fewer than 2 pairs, signals of another shape than the bank's, or one that is not finite.
        """
        require_target(target, pairs, _LEAST)
        stack = self.stack or self.learn(pairs).stack
        assert stack is not None
        statistics, fold = _Statistics(_Averaged(pairs), self.signal), _folds(len(target))
        scores = np.empty(len(target), dtype=np.float32)
        for block in blocks(pairs):
            x = target[block].mean(axis=1, keepdims=True, dtype=np.float64)
            scores[block] = stack.score(statistics.of_target(x, block), fold[block])
        return scores

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside): the scores of every bank model in nats, its own pair left out.

        Raises:
            ValueError: Fewer than 2 pairs, or a signal that is not finite.
        """
        require_pairs(pairs, _LEAST)
        stack = self.stack or self.learn(pairs).stack
        assert stack is not None
        inside, outside = np.empty((2, *pairs.shape[:2]), dtype=np.float32)
        fold = _folds(pairs.shape[1])
        for block, (within, without) in _Statistics(_Averaged(pairs), self.signal).by_block():
            inside[:, block] = stack.score(within, fold[block])
            outside[:, block] = stack.score(without, fold[block])
        return inside, outside


@dataclass(frozen=True)
class _Statistics:
    """The features of every cell of a bank, block by block; what all examples share is computed once."""

    pairs: _Averaged
    signal: Signal

    @cached_property
    def _populations(self) -> Any:
        return Lira().populations(self.pairs, left_out=True) if self.pairs.shape[0] > _LEAST else None

    def by_block(self) -> Iterator[tuple[slice, tuple[Array, Array]]]:
        """Return blocks of examples, each with the features [pairs, block, features] of inside and outside models."""
        for block in blocks(self.pairs):
            within, without = self.pairs.block(block)
            inside, outside = self._features((within, without), within, without, left_out=True)
            yield block, (inside, outside)

    def of_target(self, x: Float[Array, "block one"], block: slice) -> Float[Array, "block features"]:
        """Return the features of a model outside the bank, the last pair left out of the references."""
        within, without = (side[:-1] for side in self.pairs.block(block))
        return self._features((x,), within, without, left_out=False)[0]

    def sample(self) -> tuple[Array, Array, Int[Array, " cells"]]:
        """Return (inside, outside, fold): features of at most 50,000 cells, and the fold of each one's example.

        A quarter of the cells of so many examples: references are needed for whole examples, and more of these say
        more than all models of fewer.
        """
        pairs, examples, _ = self.pairs.shape
        rng, folds = np.random.default_rng(0), _folds(examples)
        used = rng.permutation(examples) < _SPREAD * _CELLS / pairs
        chosen = rng.random((pairs, examples)) < _CELLS / (pairs * used.sum())
        parts: tuple[list[Array], list[Array], list[Array]] = ([], [], [])
        for block in blocks(self.pairs):
            within, without = (side[:, used[block]] for side in self.pairs.block(block))
            here = chosen[:, block][:, used[block]]
            inside, outside = self._features((within, without), within, without, left_out=True)
            of_block = inside[here], outside[here], folds[block][used[block]][np.nonzero(here)[1]]
            for part, rows in zip(parts, of_block, strict=True):
                part.append(rows)
        inside, outside, fold = (np.concatenate(part) for part in parts)
        return inside, outside, fold

    def _features(self, signals: tuple[Array, ...], within: Block, without: Block, left_out: bool) -> tuple[Array, ...]:
        """Return the features [*pairs, block, features] of signals [*pairs, block, 1] beside their references."""
        lira, queries_last = Lira(), partial(_queries_last, left_out)
        references = lira.sides(by_query(within), by_query(without), left_out)
        centres = [queries_last(side.centre) for side in references]
        laws, scales = [], []
        if self._populations is not None:
            populations = [p if left_out else p.of_pair(-1) for p in self._populations]
            laws = lira.laws(references, populations)
            scales = [queries_last(0.5 * law.log_scale) for law in laws]
        mean = log_mean_without_each if left_out else log_mean
        logs = [mean(log_probability(side, self.signal)) for side in (within, without)]
        log_p = np.log(0.5) + np.logaddexp(*logs)

        def features(x: Array) -> Array:
            if laws:
                score = queries_last(lira.score(by_query(x if left_out else x[None]), laws)[None])
            else:
                score = ((x - centres[1]) ** 2 - (x - centres[0]) ** 2) / 2
            columns = score, log_probability(x, self.signal) - log_p, x, *centres, *scales, *logs
            return np.concatenate(np.broadcast_arrays(*columns), axis=-1)

        return tuple(features(x) for x in signals)


def _queries_last(left_out: bool, values: Float[Array, "queries pairs block"]) -> Float[Array, "*pairs block queries"]:
    """Return values in the order of signals, those of a single target without the axis of pairs."""
    moved = np.moveaxis(values, 0, -1)
    return moved if left_out else moved[0]


def _folds(examples: int) -> Int[Array, " examples"]:
    """Return the fold of each example, at random: their order may mean something."""
    return np.random.default_rng(0).permutation(examples) % _FOLDS


def _fit(inside: Float[Array, "rows features"], outside: Float[Array, "rows features"], boosted: bool) -> _Fold:
    """Return what is learned from the features of inside and of outside models."""
    law = _Law.fit(inside, outside)
    if not boosted:
        return _Fold(None, law)
    from sklearn.ensemble import HistGradientBoostingClassifier

    booster = HistGradientBoostingClassifier(
        max_iter=30,
        learning_rate=0.25,
        max_leaf_nodes=15,
        min_samples_leaf=100,
        l2_regularization=1.0,
        monotonic_cst=[1] * _RISING + [0] * (inside.shape[1] - _RISING),
        early_stopping=False,
        random_state=0,
    )
    labels = np.repeat([1, 0], [len(inside), len(outside)])
    return _Fold(booster.fit(_rounded(np.concatenate([inside, outside])), labels), law)


def _rounded(rows: Float[Array, "rows features"]) -> Float[Array, "rows features"]:
    """Return features to 24 bits: a booster's split may be a value of the bank, which rounding must not cross."""
    return rows.astype(np.float32)


def _terms(rows: Float[Array, "rows features"], knots: tuple[Array, Array]) -> Float[Array, "rows terms"]:
    """Return the terms of the log scale: a constant, all statistics but probabilities, and hinges in the means."""
    inside, outside = rows[:, _INSIDE], rows[:, _OUTSIDE]
    hinges = [np.maximum(mean - knot, 0) for mean, at in ((inside, knots[0]), (outside, knots[1])) for knot in at]
    scales = rows[:, _OUTSIDE + 1 : -2]
    return np.column_stack([np.ones(len(rows)), inside, outside, *hinges, scales])


def _location(terms: Float[Array, "rows terms"], rows: Float[Array, "rows features"]) -> Array:
    """Return the terms of the location: those of the log scale without the log scales, which come last."""
    scales = rows.shape[1] - _OUTSIDE - 3
    return terms[:, : terms.shape[1] - scales]


def _power(inside: Float[Array, " cells"], outside: Float[Array, " cells"]) -> float:
    """Return the mean log TPR over false-positive rates from 0.1 % (or ten false positives) to 1 %."""
    n = len(outside)
    low, high = max(_RATES[0], min(10 / n, _RATES[1])), _RATES[1]
    down, members = np.sort(outside)[::-1], np.sort(inside)
    cuts = down[(np.geomspace(low, high, 5) * n + 1e-9).astype(int)]
    return float(np.log((n - np.searchsorted(members, cuts, side="right") + 1) / n).mean())
