"""Several labels an example, and numbers: signals against slow computations, laws under no leak, and refusals."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.tree import DecisionTreeClassifier
from torch import nn

import memaudit as ma
from memaudit.attacks import ATTACKS, Rmia, Signal, attack
from memaudit.checks.tasks import BANK_EVIDENCE as EVIDENCE
from memaudit.checks.tasks import MultilabelEvidence, RegressionEvidence
from memaudit.design import PairArrays, by_pair, halves
from memaudit.errors import ModelError, RecipeError
from memaudit.memorization import counterfactual
from memaudit.recipe import Examples
from memaudit.recipe.labels import Task, read_labels
from memaudit.signals import evaluate
from memaudit.signals.logits import cross_entropy
from memaudit.signals.multilabel import joint_logit, multilabel_signals
from memaudit.signals.order import require_order
from memaudit.signals.regression import regression_signals
from memaudit.signals.sense import require_sense
from memaudit.stats import auc

Array = np.ndarray
N, LABELS = 160, 4


def arrays() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 6)).astype(np.float32)
    return x, (x[:, :LABELS] + rng.normal(size=(N, LABELS)) > 0).astype(int)


def several() -> Examples:
    return Examples(*arrays(), task="multilabel")


def amounts() -> Examples:
    x, _ = arrays()
    return Examples(x, 50 + 3 * x[:, 0].astype(float) + np.random.default_rng(1).normal(size=N), task="regression")


# The signal of several labels


def test_the_joint_logit_is_that_of_the_combination_of_labels() -> None:
    """Against the softmax over all 16 combinations, whose logits are the sums of those of the labels they have."""
    rng = np.random.default_rng(0)
    z, y = rng.normal(0, 3, (50, LABELS)), rng.integers(0, 2, (50, LABELS))
    combinations = np.array(list(product((0, 1), repeat=LABELS)))
    p = np.exp(z @ combinations.T)
    p /= p.sum(axis=1, keepdims=True)
    own = p[np.arange(50), (combinations == y[:, None]).all(axis=2).argmax(axis=1)]
    phi, correct = multilabel_signals(z, y)
    np.testing.assert_allclose(phi, np.log(own) - np.log(1 - own), rtol=1e-9)
    np.testing.assert_allclose(correct, ((z > 0) == (y == 1)).mean(axis=1))


def test_the_joint_logit_belongs_to_the_cross_entropy_of_all_labels() -> None:
    rng = np.random.default_rng(1)
    margins = rng.normal(0, 4, (60, LABELS))
    np.testing.assert_allclose(cross_entropy(joint_logit(margins)), np.logaddexp(0, -margins).sum(axis=1), rtol=1e-9)


def test_one_label_is_a_classifier_of_two_classes() -> None:
    z = np.linspace(-30, 30, 41)[:, None]
    np.testing.assert_allclose(joint_logit(z), z[:, 0], rtol=1e-9, atol=1e-9)


def test_the_joint_logit_is_finite_and_ordered_at_the_ends() -> None:
    phi = joint_logit(np.array([-800.0, -40, 0, 40, 300])[:, None] * np.ones((1, 3)))
    assert np.isfinite(phi).all()
    assert (np.diff(phi) > 0).all()


ESTIMATORS: dict[str, Any] = {
    "forest": RandomForestClassifier(20, random_state=0, n_jobs=1),
    "tree": DecisionTreeClassifier(max_depth=4, random_state=0),
    "one for each": MultiOutputClassifier(LogisticRegression()),
    "one versus rest": OneVsRestClassifier(LogisticRegression()),
    "chain": ClassifierChain(LogisticRegression()),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_of_several_labels_is_read_as_its_probabilities(name: str) -> None:
    examples = several()
    model = ESTIMATORS[name].fit(examples.x, examples.y)
    found = model.predict_proba(examples.x)
    p = np.stack([one[:, 1] for one in found], axis=1) if isinstance(found, list) else found
    if name == "chain":  # its decisions are not the logits of its marginal probabilities
        p = 1 / (1 + np.exp(-model.decision_function(examples.x)))
    p = (20 * p + 0.5) / 21 if name == "forest" else np.clip(p, 1e-6, 1 - 1e-6)
    joint = np.where(examples.y == 1, p, 1 - p).prod(axis=1)
    signals = evaluate(model, examples)
    np.testing.assert_allclose(signals.phi[:, 0], np.log(joint) - np.log1p(-joint), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(signals.correct, (model.predict(examples.x) == examples.y).mean(axis=1))


def test_a_label_that_training_never_saw_has_probability_0() -> None:
    """scikit-learn returns one column for it, of the value that it saw."""
    examples = several()
    constant = examples.y.copy()
    constant[:, 1] = 1
    model = RandomForestClassifier(20, random_state=0, n_jobs=1).fit(examples.x, constant)
    assert model.predict_proba(examples.x)[1].shape == (N, 1)
    phi = evaluate(model, examples).phi[:, 0]
    assert phi[examples.y[:, 1] == 0].max() < phi[examples.y[:, 1] == 1].min() + 30
    assert (phi[examples.y[:, 1] == 0] < 0).all()


class Turned(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Returns distances: small for a likely label."""

    def fit(self, x: Array, y: Array) -> Turned:
        self.inner_ = MultiOutputClassifier(LogisticRegression()).fit(x, y)
        return self

    def predict(self, x: Array) -> Any:
        return self.inner_.predict(x)

    def decision_function(self, x: Array) -> Any:
        return -np.stack([e.decision_function(x) for e in self.inner_.estimators_], axis=1)


def test_distances_of_labels_are_refused() -> None:
    examples = several()
    with pytest.raises(ModelError, match="not what the model decides by"):
        evaluate(Turned().fit(examples.x, examples.y), examples)


@pytest.mark.parametrize(("share", "fine"), [(0.02, False), (0.6, True)])
def test_labels_that_are_nearly_all_wrong_on_the_training_set_are_refused(share: float, fine: bool) -> None:
    examples, counts = several(), np.ones(N, np.uint8)
    signals = {"correct": np.full(N, share)}
    if fine:
        require_sense(signals, counts, examples)
    else:
        with pytest.raises(ModelError, match="right about 2% of the labels"):
            require_sense(signals, counts, examples)


# The signal of a number


def test_the_signal_of_a_number_is_the_log_likelihood_of_a_laplace_law() -> None:
    """Up to the law's constant, which is the same for all examples and models."""
    examples = amounts()
    model = Ridge().fit(examples.x, examples.y)
    signals = evaluate(model, examples)
    predicted = model.predict(examples.x)
    spread = np.sqrt(((examples.y - examples.y.mean()) ** 2).mean())
    law = stats.laplace.logpdf(examples.y, predicted, spread)
    np.testing.assert_allclose(signals.phi[:, 0], law + np.log(2 * spread), rtol=1e-4, atol=1e-5)
    explained = [max(0.0, 1 - (p - t) ** 2 / spread**2) for p, t in zip(predicted, examples.y, strict=True)]
    np.testing.assert_allclose(signals.correct, explained, atol=1e-6)
    assert signals.read_as == "predict()"


def test_signals_do_not_depend_on_the_unit_of_the_label() -> None:
    rng = np.random.default_rng(2)
    y, predicted = rng.normal(size=50), rng.normal(size=50)
    one = regression_signals(predicted, y, float(y.std()))
    other = regression_signals(1000 * predicted + 7, 1000 * y + 7, float((1000 * y).std()))
    np.testing.assert_allclose(one, other, rtol=1e-9)


def test_rmia_compares_likelihoods_of_the_laplace_law() -> None:
    """Against the ratio of densities, with no logarithm: p(y | target) / mean of p(y | shadow)."""
    rng = np.random.default_rng(3)
    error = np.abs(rng.normal(size=(3, 2, 9, 1)))  # pairs, sides, examples, queries
    target = np.abs(rng.normal(size=(9, 1)))
    pairs = PairArrays(-error[:, 0], -error[:, 1])
    density = np.exp(-error) / 2
    mean = (density[:2, 0].mean(axis=0) + density[:2, 1].mean(axis=0)) / 2  # the last pair is no reference
    expected = np.log(np.exp(-target) / 2 / mean)[:, 0]
    np.testing.assert_allclose(Rmia(signal=Signal.LOG_PROBABILITY).scores(-target, pairs), expected, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "attack-p"])
def test_no_attack_finds_members_by_an_error_that_does_not_depend_on_them(name: str) -> None:
    """Mean AUC of 12 targets with 1,000 examples each; standard error 0.004 to 0.007: false alarm below 1e-4."""
    rng = np.random.default_rng(4)
    hardness = rng.gamma(1, 1, 1000)
    members = halves(0, 12, 1000)
    phi = -np.abs(hardness * rng.normal(size=(12, 1000)))[..., None].astype(np.float32)
    inside, outside = attack(name, Signal.LOG_PROBABILITY).leave_pair_out(PairArrays(*by_pair(phi, members)))
    areas = [auc(a, b) for a, b in zip(inside, outside, strict=True)]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("name", ["slira", "lira-online", "rmia", "global-threshold"])
def test_every_attack_finds_members_whose_error_is_halved(name: str) -> None:
    rng = np.random.default_rng(5)
    hardness = rng.gamma(2, 1, 1000)
    members = halves(0, 12, 1000)
    error = np.abs(hardness * (2 + 0.3 * rng.normal(size=(12, 1000)))) * np.where(members > 0, 0.5, 1)
    pairs = PairArrays(*by_pair(-error[..., None].astype(np.float32), members))
    inside, outside = attack(name, Signal.LOG_PROBABILITY).leave_pair_out(pairs)
    assert np.mean([auc(a, b) for a, b in zip(inside, outside, strict=True)]) > 0.55 + 0.35 * (
        name != "global-threshold"
    )


class Unit(nn.Module):
    """Predicts in thousands what the labels have in units."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 1)

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(x)


def in_another_unit(dataset: Examples, *, seed: int, device: str) -> nn.Module:
    torch.manual_seed(seed)
    network = Unit()
    optimizer = torch.optim.Adam(network.parameters(), 0.1)
    for _ in range(60):
        optimizer.zero_grad()
        wanted = torch.as_tensor(dataset.y / 1000).float()
        nn.functional.mse_loss(network(torch.as_tensor(dataset.x))[:, 0], wanted).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network


def test_predictions_in_another_unit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="in the unit of the labels"):
        ma.fill(tmp_path / "bank", ma.CallableRecipe(amounts, in_another_unit, model=Unit), 2, device="cpu", workers=1)
    assert ma.Bank.open(tmp_path / "bank").models() == []


def test_a_poor_regression_is_no_other_unit() -> None:
    """Even one that predicts the mean is accepted: it has learned nothing, and leaks nothing."""
    examples, counts = amounts(), np.ones(N, np.uint8)
    phi, _ = regression_signals(np.full(N, examples.y.mean()), examples.y, float(examples.y.std()))
    require_sense({"phi": phi[:, None]}, counts, examples)


# Memorization


def test_memorization_of_shares_is_the_mean_difference_and_its_intervals_cover() -> None:
    """Coverage of 95 % intervals over 4,000 examples: standard error 0.35 points, so 5 of them are no accident."""
    rng = np.random.default_rng(6)
    inside, outside = rng.beta(4, 2, (8, 4000)), rng.beta(2, 2, (8, 4000))
    evidence = _evidence(MultilabelEvidence, inside, outside)
    scores = evidence.memorization
    np.testing.assert_allclose(scores.value, (inside - outside).mean(axis=0), atol=1e-6)
    covered = (scores.low <= 4 / 6 - 1 / 2) & (scores.high >= 4 / 6 - 1 / 2)
    assert covered.mean() == pytest.approx(0.95, abs=0.0175)
    assert scores.method == counterfactual(inside, outside).method


@pytest.mark.parametrize("kind", [MultilabelEvidence, RegressionEvidence])
def test_no_interval_of_a_share_reaches_beyond_one(kind: Any) -> None:
    """Three pairs: Student's t with 2 degrees of freedom is 4.3. A gate refuses a report with such an interval."""
    rng = np.random.default_rng(0)
    inside, outside = rng.random((3, 400)), rng.random((3, 400))
    scores, free = _evidence(kind, inside, outside).memorization, counterfactual(inside, outside)
    assert free.low.min() < -1 and free.high.max() > 1
    assert (scores.low.min(), scores.high.max()) == (-1, 1)
    np.testing.assert_allclose(scores.low, np.maximum(free.low, -1), atol=1e-6)
    np.testing.assert_allclose(scores.value, free.value, atol=1e-6)


def _evidence(kind: Any, inside: Array, outside: Array) -> Any:
    pairs, examples = inside.shape
    members = halves(0, 2 * pairs, examples)
    correct = np.where(members > 0, np.repeat(inside, 2, axis=0), np.repeat(outside, 2, axis=0))
    bank = type("Bank", (), {"members": members, "correct": correct})()
    x = np.zeros((examples, 1))
    return kind(bank=bank, phi=x, correct=correct[0], members=members[0] > 0, x=x, y=np.ones((examples, 2), int))


def test_a_number_is_shown_with_full_evidence_only() -> None:
    nobody: Any = None
    y, zeros = np.array([7.5, 1]), np.zeros(2)
    evidence = RegressionEvidence(bank=nobody, phi=zeros[:, None], correct=zeros, members=zeros > 0, x=zeros, y=y)
    assert (evidence.label(0, False), evidence.label(0, True)) == ("not shown", "7.5")
    assert set(EVIDENCE) == set(Task) - {Task.GENERATION}  # GeneratorEvidence


# Labels


def test_strings_are_numbered_as_scikit_learn_does() -> None:
    x, _ = arrays()
    names = np.array(["b", "A", "c", "a"])[np.arange(N) % 4]
    examples = Examples(x, names)
    model = LogisticRegression().fit(x, names)
    assert examples.class_names == tuple(model.classes_) == ("A", "a", "b", "c")
    assert (model.classes_[examples.y] == names).all()
    logits = model.decision_function(x)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    own = p[np.arange(N), [list(model.classes_).index(name) for name in names]]
    np.testing.assert_allclose(evaluate(model, examples).phi[:, 0], np.log(own / (1 - own)), rtol=1e-4)
    assert (evaluate(model, examples).correct == (model.predict(x) == names)).all()


class Columns(nn.Module):
    """A table of logits by row number."""

    def __init__(self, logits: Array) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.as_tensor(logits))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.table[x[:, 0].long()]


@pytest.mark.parametrize("order", [[1, 2, 0], [1, 0, 2], [0, 2, 1]])
def test_columns_in_another_order_than_the_labels_are_refused(order: list[int]) -> None:
    """Of three classes one may stay where it is: a third is then right, as often as by chance."""
    rng = np.random.default_rng(7)
    y = rng.integers(0, 3, N)
    logits = rng.normal(size=(N, 3)) + 3 * np.eye(3)[y]
    examples = Examples(np.arange(N)[:, None], np.array(["cat", "dog", "eel"])[y])
    with pytest.raises(ModelError, match="in another order than the labels"):
        evaluate(Columns(logits[:, order]), examples)
    assert evaluate(Columns(logits), examples).correct.mean() > 0.8


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_a_poor_network_and_one_that_prefers_a_class_have_their_columns_in_order(strength: float, classes: int) -> None:
    """500 networks that know next to nothing; of two classes, every fourth is wrong about most examples of both."""
    rng = np.random.default_rng(8)
    y = rng.integers(0, classes, N)
    turned = 0
    for trial in range(500):
        logits = rng.normal(size=(N, classes)) + strength * np.eye(classes)[y]
        logits[:, trial % classes] += trial % 2 * 5
        require_order(logits.argmax(axis=1), y)
        turned += all((logits.argmax(axis=1)[y == k] == k).mean() < 0.5 for k in range(classes))
    assert turned > 50 or classes > 2 or strength


def test_an_estimator_of_other_names_is_refused() -> None:
    x, _ = arrays()
    examples = Examples(x, np.array(["no", "yes"])[np.arange(N) % 2])
    model = LogisticRegression().fit(x, np.array(["No", "Yes"])[np.arange(N) % 2])
    with pytest.raises(ModelError, match="knows the class 'No'"):
        evaluate(model, examples)


def test_names_count_in_a_digest() -> None:
    x, _ = arrays()
    one, other = (Examples(x, np.array(names)[np.arange(N) % 2]).digest() for names in (["a", "b"], ["a", "c"]))
    assert one != other
    assert one != Examples(x, np.arange(N) % 2).digest()


@pytest.mark.parametrize(
    ("y", "task", "said"),
    [
        (np.arange(N) / 3, None, 'task="regression"'),
        (np.eye(4)[np.arange(N) % 4], None, "y.argmax"),
        (arrays()[1], None, 'task="multilabel"'),
        (np.arange(N) % 2, "multilabel", "an array .examples, labels. of 0 and 1"),
        (2 * arrays()[1], "multilabel", "0 or 1 each; row"),
        (arrays()[1] * 0, "multilabel", "have the labels"),
        (arrays()[1], "regression", "one number for each example"),
        (np.where(np.arange(N) == 7, np.nan, 1.0 * np.arange(N)), "regression", "first in row 7"),
        (np.ones(N), "regression", "have the label 1"),
        (["a"] * (N - 1) + [None], None, "row 159 has none"),
        (["a"] * (N - 1) + [3], None, "they are int and str"),
        (np.arange(N) % 2, "ranking", "'classification', 'multilabel', 'regression'"),
    ],
)
def test_labels_that_are_none_are_refused(y: Any, task: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        read_labels(y, task)


@pytest.mark.parametrize("outputs", ["logits", "probabilities"])
def test_a_regression_has_no_kind_of_outputs(outputs: Any) -> None:
    from memaudit.training import population

    recipe = ma.CallableRecipe(amounts, in_another_unit, model=Unit, outputs=outputs)
    with pytest.raises(RecipeError, match="leave it out of a regression"):
        population(recipe)


def test_an_estimator_of_several_numbers_is_refused() -> None:
    examples = amounts()
    model = LinearRegression().fit(examples.x, np.column_stack([examples.y, examples.y]))
    with pytest.raises(ModelError, match=r"predict\(\) returned shape \(160, 2\)"):
        evaluate(model, examples)
