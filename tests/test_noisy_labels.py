"""Labels that models without the example find wrong.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
from scipy.stats import binomtest

from memaudit.checks import ClassifierEvidence
from memaudit.checks.noisy_labels import contradicted_check, suspected_labels
from memaudit.design import PairArrays, by_pair, halves
from memaudit.errors import EvidenceError
from memaudit.memorization import Observations
from memaudit.memorization.noisy_labels import contradicted, outside_loss, outside_margin
from memaudit.policy.plausible import of_finding
from memaudit.policy.words import otherwise_said
from memaudit.stats import auc, auc_interval
from memaudit.types import ASKED_ATTACKS, Report, Result, Subject, Verdict

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


# ---- MEM006: how many labels are contradicted


def _told(n: int, outside: int, chances: Array, rng: Any, alike: bool = False) -> tuple[Array, Array]:
    """Return hits and models, where each model predicts each label with its own chance; `alike`: all by one draw."""
    draws = rng.random((outside, 1 if alike else n)) < chances
    return draws.sum(axis=0), np.full(n, outside)


def test_the_bounds_are_those_of_binomial_tests_one_by_one() -> None:
    """The oracle: scipy's binomial test of each example, and Holm's procedure as he writes it, step by step."""
    rng = np.random.default_rng(4)
    models = rng.integers(12, 25, 40)
    hits = rng.binomial(models, rng.choice([0.05, 0.5, 0.95], 40))

    def rejected(side: Literal["less", "greater"], error: float) -> int:
        p = sorted(binomtest(int(h), int(m), 0.5, alternative=side).pvalue for h, m in zip(hits, models, strict=True))
        return next((step for step, each in enumerate(p) if each > error / (40 - step)), 40)

    for error in (0.025, 0.05, 0.001):
        assert contradicted(hits, models, error) == (rejected("less", error), 40 - rejected("greater", error))


@pytest.mark.parametrize("alike", [False, True])
def test_the_bounds_cover_at_the_edge_of_the_null_whatever_the_dependence(alike: bool) -> None:
    """Labels that just half of the models predict are the hardest to leave alone: 1,000 data sets of 50 examples.

    Either bound errs in 25 of them at most, if it is right; 50 or more have a probability below 1e-5.
    """
    rng = np.random.default_rng(5)
    chances = np.r_[np.full(30, 0.5), np.full(10, 0.02), np.full(10, 0.98)]
    low, high = np.array([contradicted(*_told(50, 20, chances, rng, alike)) for _ in range(1000)]).T
    assert (low > 10).sum() < 50
    chances[:30] = 0.5 - 1e-12
    high = np.array([contradicted(*_told(50, 20, chances, rng, alike))[1] for _ in range(1000)])
    assert (high < 40).sum() < 50


class _Bank(PairArrays):
    members: Array
    correct: Array


def evidence(chances: Array, pairs: int, seed: int = 6) -> ClassifierEvidence:
    """Of a bank whose models predict each label with a chance of its own, if they were not trained on the example."""
    rng = np.random.default_rng(seed)
    examples = len(chances)
    members = halves(seed, 2 * pairs, examples)
    bank = _Bank(*(rng.normal(size=(pairs, examples, 1)).astype(np.float32) for _ in range(2)))
    object.__setattr__(bank, "members", members)
    object.__setattr__(bank, "correct", (members > 0) | (rng.random(members.shape) < chances))
    return ClassifierEvidence(
        phi=rng.normal(size=(examples, 1)).astype(np.float32),
        correct=np.ones(examples, bool),
        members=rng.random(examples) < 0.5,
        bank=bank,
        x=rng.normal(size=(examples, 2)),
        y=rng.integers(0, 2, examples),
    )


def test_contradicted_labels_are_counted_in_the_audit() -> None:
    """20 labels that one model in fifty predicts, 180 that nearly all do: 32 models without each tell them apart."""
    (finding,), skipped = contradicted_check.run(evidence(np.r_[np.full(20, 0.02), np.full(180, 0.98)], 32))
    assert not skipped
    assert finding.estimate.value == finding.estimate.low == finding.estimate.high == 0.1
    assert "10% of the examples (20 of 200; 95% CI 10–10%)" in finding.sentence
    assert [row[1] for row in finding.tables[0].rows] == [20, 0, 180, 20]


def test_undecided_labels_widen_the_interval_and_its_bounds_are_nested() -> None:
    (finding,), _ = contradicted_check.run(evidence(np.r_[np.full(20, 0.02), np.linspace(0.2, 0.95, 80)], 16))
    estimate = finding.estimate
    assert estimate.low < estimate.value < estimate.high
    lows, highs = [b.low for b in estimate.bounds], [b.high for b in estimate.bounds]
    assert lows == sorted(lows, reverse=True) and highs == sorted(highs)
    members = 50
    subject = Subject(model="m", sha256="0" * 64, members=members, nonmembers=100 - members, shadows=32)
    result = Result(finding=finding, verdict=Verdict.NOTED, reason="")
    provenance = {"memaudit": "0.3.0", ASKED_ATTACKS: "slira"}
    report = Report(created="", subject=subject, results=(result,), skipped=(), controls=(), provenance=provenance)
    assert not list(of_finding(finding, report)) and not list(otherwise_said(report))
    for forged in (
        replace(finding, sentence=finding.sentence.replace("of 100", "of 9")),
        replace(finding, estimate=replace(estimate, value=estimate.value / 2)),
    ):
        assert list(otherwise_said(replace(report, results=(replace(result, finding=forged),))))


@pytest.mark.parametrize(("pairs", "why"), [(8, "with 8 shadow models without each example"), (12, "it needs 13")])
def test_too_few_models_to_contradict_any_label_say_so(pairs: int, why: str) -> None:
    """200 examples: 2^-13 is the first power of 1/2 below 0.025 / 200."""
    (), (skipped,) = contradicted_check.run(evidence(np.full(200, 0.02), pairs))
    assert skipped.code == "MEM006" and why in skipped.reason
