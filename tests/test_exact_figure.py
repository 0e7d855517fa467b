"""The picture of CAN010: how many canaries are among the model's first guesses, beside chance."""

import numpy as np
import pytest

from memaudit.checks.exact import Ranked, _figure
from memaudit.stats import clopper_pearson

Array = np.ndarray


def _ranked(rank: Array, of: int = 1001) -> Ranked:
    return Ranked(rank.astype(np.int64), np.full(len(rank), of), np.zeros(len(rank), bool))


def test_the_curves_count_the_canaries_among_the_first_guesses() -> None:
    rank = np.array([1, 10, 11, 400, 900, 3, 700, 501])
    planted = np.array([True] * 5 + [False] * 3)
    figure = _figure(_ranked(rank), planted, 0.01)
    own, other, chance = figure.curves
    assert figure.ticks == ("0.1%", "1%", "5%", "10%", "25%", "50%")
    assert own.y == (0.2, 0.4, 0.6, 0.6, 0.6, 0.8)
    assert other.y == pytest.approx((0, 1 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 3))
    assert chance.y == (0.001, 0.01, 0.05, 0.1, 0.25, 0.5)
    low, high = clopper_pearson(2, 5)
    assert (own.low[1], own.high[1]) == pytest.approx((float(low), float(high)))
    assert "Planted: 20% among the first 0.1%" in figure.alt and "0.01" in figure.alt


def test_of_a_small_space_only_shares_that_exist_are_shown() -> None:
    figure = _figure(_ranked(np.array([1, 5, 10]), of=10), np.ones(3, bool), 0.5)
    assert figure.ticks == ("10%", "25%", "50%")
    assert [curve.label for curve in figure.curves] == ["planted canaries", "chance: a model that has not seen them"]


def test_of_a_model_that_has_seen_nothing_the_curve_is_chance() -> None:
    """4,000 uniform ranks: each of six shares within 5 standard errors; false alarm 4e-6."""
    rank = np.random.default_rng(0).integers(1, 1002, 4000)
    own, chance = _figure(_ranked(rank), np.ones(4000, bool), 1.0).curves
    for value, expected in zip(own.y, chance.y, strict=True):
        assert value == pytest.approx(expected, abs=5 * np.sqrt(expected * (1 - expected) / 4000))
