"""The correlations of benchmarks.cscores: over all images, within classes, and over pairs of models.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

import numpy as np
import pytest
from scipy import stats

from benchmarks.cscores import overall, within

Array = np.ndarray


def test_a_class_effect_is_no_correlation_within_classes() -> None:
    """The null within classes: noise beside what a class is like. The 95 % interval misses 0 once in 20 times."""
    rng = np.random.default_rng(0)
    y = np.arange(1000) % 10
    truth, score = y + rng.normal(size=1000), y + rng.normal(size=(6, 1000))
    assert overall(score, truth)[1] > 0.8
    _, low, high = within(score, truth, y)
    assert low < 0 < high and high - low < 0.3


def test_within_is_the_mean_z_of_classes() -> None:
    rng = np.random.default_rng(1)
    y, truth = np.arange(90) % 3, rng.normal(size=90)
    score = truth + rng.normal(size=(4, 90))
    mean = score.mean(axis=0)
    z = [np.arctanh(stats.spearmanr(mean[y == label], truth[y == label]).statistic) for label in range(3)]
    assert within(score, truth, y)[0] == pytest.approx(np.tanh(np.mean(z)))
    assert overall(score, truth)[0] == pytest.approx(stats.spearmanr(mean, truth).statistic)


def test_intervals_cover_what_more_examples_and_models_would_say() -> None:
    """95 % intervals of 200 draws; fewer than 180 cover with a probability of 0.3 %."""
    rng = np.random.default_rng(2)

    def drawn(n: int, pairs: int) -> tuple[Array, Array]:
        truth = rng.normal(size=n)
        return truth + rng.normal(size=(pairs, n)), truth

    score, truth = drawn(200_000, 6)
    expected = stats.spearmanr(score.mean(axis=0), truth).statistic
    found = [overall(*drawn(300, 6)) for _ in range(200)]
    assert sum(low <= expected <= high for _, low, high in found) >= 180


def test_one_model_has_an_interval_over_images_alone() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=400)
    rho, low, high = overall((truth + rng.normal(size=400))[None], truth)
    half = stats.norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / 397)
    assert (low, high) == pytest.approx((np.tanh(np.arctanh(rho) - half), np.tanh(np.arctanh(rho) + half)))
