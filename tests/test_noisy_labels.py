"""Labels that models without the example find wrong.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from memaudit.checks.noisy_labels import suspected_labels
from memaudit.design import PairArrays, by_pair, halves
from memaudit.errors import EvidenceError
from memaudit.memorization import Observations
from memaudit.memorization.noisy_labels import outside_loss, outside_margin
from memaudit.stats import auc, auc_interval

Array = np.ndarray


def world(examples: int, wrong: Array, seed: int) -> tuple[Observations, PairArrays]:
    """Eight models that memorize the labels of their members; without an example, they expect the right label."""
    rng = np.random.default_rng(seed)
    members = halves(seed, 8, examples)
    epochs = np.array([1, 3, 9], np.float32)
    phi = rng.normal(size=(8, 3, examples)) + np.where(members[:, None] > 0, epochs[:, None] / 2, 1 - 2.0 * wrong)
    seen = Observations(epochs=epochs, members=members, loss=np.logaddexp(0, -phi))
    return seen, PairArrays(*by_pair(phi[:, -1][..., None], members))


def test_scores_are_what_loops_over_models_say() -> None:
    wrong = np.arange(30) % 5 == 0
    seen, bank = world(30, wrong, 1)
    assert seen.loss is not None
    loss, margin = outside_loss(seen), outside_margin(bank)
    for i in range(30):
        losses = [np.interp(range(1, 10), seen.epochs, seen.loss[m, :, i]) for m in range(8) if not seen.members[m, i]]
        assert loss[i] == pytest.approx(np.mean(losses))
        assert margin[i] == pytest.approx(-np.mean([bank.outside[t, i, 0] for t in range(4)]))


def test_wrong_labels_are_found() -> None:
    wrong = np.random.default_rng(0).random(400) < 0.1
    seen, bank = world(400, wrong, 2)
    for score in (outside_loss(seen), outside_margin(bank)):
        assert auc(score[wrong], score[~wrong]) > 0.95


def test_labels_that_are_only_called_wrong_are_not() -> None:
    """The null: errors that have nothing to do with the models. The 99.99 % interval holds 1/2; false alarm 1e-4."""
    rng = np.random.default_rng(3)
    seen, bank = world(1000, rng.random(1000) < 0.1, 3)
    called = rng.random(1000) < 0.1
    for score in (outside_loss(seen), outside_margin(bank)):
        low, high = auc_interval(score[called], score[~called], 0.9999)
        assert low < 0.5 < high


def test_an_example_that_no_model_lacks_has_no_score() -> None:
    seen = Observations(
        epochs=np.array([1], np.float32), members=np.ones((2, 3), np.uint8), loss=np.ones((2, 1, 3), np.float32)
    )
    with pytest.raises(ValueError, match="all models were trained on example 0"):
        outside_loss(seen)


def test_the_most_suspicious_label_comes_first() -> None:
    _, bank = world(60, np.arange(60) == 17, 4)
    evidence: Any = SimpleNamespace(bank=bank, has_labels=True)
    order, score = suspected_labels(evidence)
    np.testing.assert_allclose(score, outside_margin(bank))
    np.testing.assert_array_equal(score[order], np.sort(score)[::-1])
    assert order[0] == 17


def test_without_labels_there_is_nothing_to_suspect() -> None:
    _, bank = world(20, np.zeros(20, bool), 5)
    evidence: Any = SimpleNamespace(bank=bank, has_labels=False)
    with pytest.raises(EvidenceError, match="no labels"):
        suspected_labels(evidence)
