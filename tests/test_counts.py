"""What is counted or ranked in one step says the same as its definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from memaudit.checks.risk import FDR, _cut
from memaudit.memorization import cross_fitted_spearman
from memaudit.stats import (
    Couples,
    Ranks,
    benjamini_hochberg,
    columns,
    rank_p_values,
    right_without,
    spearman,
    transferred_rate,
)

Array = np.ndarray


@pytest.mark.parametrize("rows", [0, 1, 255, 256, 600])
def test_columns_are_the_sums_of_all_rows(rows: int) -> None:
    flags = np.random.default_rng(rows).random((rows, 7)) < 0.9
    assert np.array_equal(columns(flags), flags.sum(axis=0))
    assert np.array_equal(columns(flags[::2, ::3]), flags[::2, ::3].sum(axis=0))
    assert np.array_equal(columns(np.ones((rows, 2), bool)), [rows, rows])


def test_what_pairs_allow_is_what_couples_in_general_give() -> None:
    """The same numbers whether rows are known to be pairs or clusters are counted cell by cell."""
    rng = np.random.default_rng(0)
    first = rng.random((6, 400)) < 0.5
    pairs = Couples.of_pairs(first)
    assert pairs.paired and pairs.take(3, 2).paired
    general = replace(pairs, paired=False)
    inside, outside = rng.normal(1, 1, (6, 400)).astype(np.float32), rng.normal(0, 1, (6, 400)).astype(np.float32)
    flagged = rng.random(200) < 0.3
    for among in (None, rng.random(400) < 0.5):
        assert transferred_rate(flagged, inside, outside, pairs, 0.05, among) == transferred_rate(
            flagged, inside, outside, general, 0.05, among
        )
    flags = outside > 1
    for side in (pairs.inside, pairs.outside):
        assert np.array_equal(pairs.totals(side, flags), pairs.totals(side, flags.astype(np.float64)))


@pytest.mark.parametrize("shift", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("ties", [False, True])
def test_the_cut_rejects_whom_benjamini_and_hochberg_reject(shift: float, ties: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        null, scores = rng.normal(size=3000), rng.normal(shift * (rng.random(400) < 0.3), 1)
        if ties:
            null, scores = null.round(1), scores.round(1)
        own = null[:500]
        expected = benjamini_hochberg(rank_p_values(null[500:], scores)) <= FDR
        assert np.array_equal(scores >= _cut(np.sort(null), np.sort(own), scores), expected)


def test_ranks_that_are_kept_give_the_correlations_of_the_definition() -> None:
    rng = np.random.default_rng(1)
    x, y = (rng.random((9, 60)) < rng.random(60) for _ in range(2))
    a, b = x.mean(axis=0), y.mean(axis=0)
    assert Ranks.of(a).spearman(Ranks.of(b)) == pytest.approx(stats.spearmanr(a, b)[0])
    value, without_each = cross_fitted_spearman(x, y)
    for t, found in [(None, value), *enumerate(without_each)]:
        halves = [np.array([pair for pair in range(side, 9, 2) if pair != t]) for side in (0, 1)]
        ways = [spearman(x[own].mean(axis=0), y[other].mean(axis=0)) for own, other in (halves, halves[::-1])]
        assert found == np.mean(ways)


@pytest.mark.parametrize("kind", [bool, np.float32])
def test_what_models_without_an_example_are_right_about_is_counted_in_blocks(
    kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memaudit.stats.counts._BLOCK", 7)
    rng = np.random.default_rng(0)
    correct: Array = rng.random((6, 20)).round().astype(kind)
    members = rng.integers(0, 3, (6, 20)).astype(np.uint8)
    right, models = right_without(correct, members)
    assert right.tolist() == [correct[members[:, k] == 0, k].sum() for k in range(20)]
    assert models.tolist() == [int((members[:, k] == 0).sum()) for k in range(20)]
