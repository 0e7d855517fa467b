"""From outputs to numbers: the scaled logit where softmax saturates, correctness, absent classes, refusals."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from torch import nn

from memaudit.errors import MemauditError, ModelError
from memaudit.recipe import Examples, mirror
from memaudit.signals import cross_entropy, evaluate, is_correct, scaled_logit
from memaudit.signals.logits import scaled_logit_of_probabilities

Array = np.ndarray


def closed_form(logits: Array, y: Array) -> Array:
    """log(p/(1−p)) through the softmax, in long double: right as long as 1−p does not vanish."""
    z = logits.astype(np.longdouble)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    true = p[np.arange(len(y)), y]
    return np.log(true) - np.log(p.sum(axis=1) - true)


def test_the_scaled_logit_is_the_log_odds_of_the_true_class() -> None:
    rng = np.random.default_rng(0)
    logits, y = rng.normal(0, 4, (500, 7)), rng.integers(0, 7, 500)
    np.testing.assert_allclose(scaled_logit(logits, y), closed_form(logits, y).astype(float), atol=1e-9)


@pytest.mark.parametrize("size", [50.0, 1e3, 1e6])
def test_the_scaled_logit_does_not_saturate(size: float) -> None:
    """Of two classes it is the difference of the logits, and of three equal others that minus log 3, at any size."""
    difference = np.array([size, size + 1, -size])
    two = np.stack([difference, np.zeros(3)], axis=1)
    np.testing.assert_allclose(scaled_logit(two, np.zeros(3, dtype=int)), difference, rtol=1e-15)
    np.testing.assert_allclose(scaled_logit(two, np.ones(3, dtype=int)), -difference, rtol=1e-15)
    four = np.concatenate([difference[:, None], np.zeros((3, 3))], axis=1)
    np.testing.assert_allclose(scaled_logit(four, np.zeros(3, dtype=int)), difference - np.log(3), rtol=1e-15)


def test_float32_logits_are_added_in_double() -> None:
    """Two others, of which one is 1e-8 of the other: lost in single precision."""
    logits = np.array([[0.0, 0.0, -18.0]], dtype=np.float32)
    expected = -np.log1p(np.exp(-18.0))
    assert scaled_logit(logits, np.array([0]))[0] == pytest.approx(expected, rel=1e-6)


def test_one_column_is_the_logit_of_class_1() -> None:
    z = np.array([[2.0], [-3.0], [0.5], [1e3]])
    y = np.array([1, 1, 0, 0])
    assert scaled_logit(z, y).tolist() == [2.0, -3.0, -0.5, -1e3]
    assert is_correct(z, y).tolist() == [True, False, False, False]
    two = np.concatenate([np.zeros_like(z), z], axis=1)
    assert np.array_equal(scaled_logit(two, y), scaled_logit(z, y))
    assert np.array_equal(is_correct(two, y), is_correct(z, y))


def test_the_input_is_not_changed() -> None:
    logits = np.arange(6.0).reshape(2, 3)
    scaled_logit(logits, np.array([0, 1]))
    assert np.array_equal(logits, np.arange(6.0).reshape(2, 3))


def test_correct_is_the_largest_output() -> None:
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.1, 0.4]])
    assert is_correct(scores, np.array([1, 2])).tolist() == [True, False]


@pytest.mark.parametrize(("p", "phi"), [(0.5, 0.0), (0.9, np.log(9)), (0.0, -13.81551), (1.0, 13.81551)])
def test_probabilities_become_log_odds_kept_off_certainty(p: float, phi: float) -> None:
    assert scaled_logit_of_probabilities(np.array([[p, 1 - p]]), np.array([0]))[0] == pytest.approx(phi, abs=1e-5)


def test_the_cross_entropy_of_a_scaled_logit_is_minus_log_p() -> None:
    phi = np.array([-1e3, -2.0, 0.0, 3.0, 1e3])
    np.testing.assert_allclose(cross_entropy(phi)[1:4], -np.log(1 / (1 + np.exp(-phi[1:4]))))
    assert cross_entropy(phi)[[0, 4]].tolist() == [1e3, 0.0]


class Table(nn.Module):
    """Answers with given logits for inputs that are row numbers."""

    def __init__(self, logits: Array) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.as_tensor(logits, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits[x[:, 0].long()]


def numbered(y: Array) -> Examples:
    return Examples(np.arange(len(y), dtype=np.float32)[:, None], y)


@pytest.mark.parametrize("columns", [(), (1,), (2,), (5,)])
def test_a_network_is_evaluated_row_by_row(columns: tuple[int, ...]) -> None:
    """2,500 rows, more than two batches; `[batch]` and `[batch, 1]` are the logit of class 1."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 2500)
    logits = rng.normal(size=(2500, *columns)).astype(np.float32)
    signals = evaluate(Table(logits), numbered(y))
    matrix = logits if columns else logits[:, None]
    assert signals.phi.shape == (2500, 1)
    assert signals.phi.dtype == np.float32
    np.testing.assert_allclose(signals.phi[:, 0], scaled_logit(matrix, y), rtol=1e-6, atol=1e-6)
    assert np.array_equal(signals.correct, is_correct(matrix, y))


def test_evaluation_knows_no_dropout_and_no_batch_mates() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)).train()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 4)).astype(np.float32), rng.integers(0, 3, 40)
    y[[0, 20]] = 2
    whole = evaluate(network, Examples(x, y))
    part = evaluate(network, Examples(x[:20], y[:20]))
    assert np.array_equal(whole.phi, evaluate(network, Examples(x, y)).phi)
    np.testing.assert_allclose(whole.phi[:20], part.phi, rtol=1e-5, atol=1e-5)


def test_float64_inputs_meet_the_networks_own_precision() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 4)), np.arange(20) % 3
    for kind in (torch.float32, torch.float64):
        network = nn.Linear(4, 3).to(kind)
        expected = network(torch.as_tensor(x, dtype=kind)).detach().numpy()
        np.testing.assert_allclose(evaluate(network, Examples(x, y)).phi[:, 0], scaled_logit(expected, y), rtol=1e-4)


def test_every_query_is_a_column_and_correctness_is_of_the_plain_view() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 1, 4, 4)).astype(np.float32), np.arange(30) % 2
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    signals = evaluate(network, Examples(x, y), (mirror,))
    assert signals.phi.shape == (30, 2)
    mirrored = evaluate(network, Examples(x[..., ::-1], y))
    assert np.array_equal(signals.phi[:, 1], mirrored.phi[:, 0])
    assert np.array_equal(signals.correct, evaluate(network, Examples(x, y)).correct)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_no_number_is_refused_by_row(bad: float) -> None:
    logits = np.zeros((30, 3))
    logits[17, 2] = bad
    with pytest.raises(ModelError, match="NaN or infinite, first in row 17"):
        evaluate(Table(logits), numbered(np.arange(30) % 3))


def test_a_label_without_an_output_is_refused_by_row() -> None:
    y = np.zeros(30, dtype=int)
    y[[4, 9]] = 1, 5
    with pytest.raises(ModelError, match="labels out of range: row 9 has label 5, the model has 3 classes"):
        evaluate(Table(np.zeros((30, 3))), numbered(y))


@pytest.mark.parametrize("shape", [(30, 3, 2), (30, 1, 1)])
def test_outputs_that_are_no_logits_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="output has shape"):
        evaluate(Table(np.zeros(shape)), numbered(np.arange(30) % 2))


@pytest.mark.parametrize("model", [{"weights": 1}, object(), "model.pt"])
def test_what_is_no_model_is_refused(model: object) -> None:
    with pytest.raises(ModelError, match="neither a torch network nor a classifier"):
        evaluate(model, numbered(np.arange(30) % 2))


def separated(classes: int) -> Examples:
    rng = np.random.default_rng(2)
    y = np.arange(60) % classes
    return Examples(rng.normal(size=(60, 3)) + 4 * y[:, None], y)


def test_an_estimators_probabilities_become_log_odds() -> None:
    examples = separated(3)
    model = LogisticRegression().fit(examples.x, examples.y)
    p = model.predict_proba(examples.x)[np.arange(60), examples.y]
    signals = evaluate(model, examples)
    np.testing.assert_allclose(signals.phi[:, 0], np.log(p / (1 - p)), rtol=1e-4)
    assert np.array_equal(signals.correct, model.predict(examples.x) == examples.y)


@pytest.mark.parametrize("kind", [LogisticRegression, RidgeClassifier])
@pytest.mark.parametrize(("classes", "absent"), [(3, 0), (3, 1), (3, 2), (4, 0), (4, 1), (4, 2), (4, 3)])
def test_a_class_that_training_lacked_is_scored_as_all_but_excluded(kind: Any, classes: int, absent: int) -> None:
    """Whichever class is missing: its examples are wrong with φ = −13.8, and the others' columns are their own."""
    examples = separated(classes)
    seen = examples.y != absent
    fitted = kind().fit(examples.x[seen], examples.y[seen])
    signals = evaluate(fitted, examples)
    np.testing.assert_allclose(signals.phi[~seen, 0], -13.81551, atol=1e-4)
    assert not signals.correct[~seen].any()
    assert np.array_equal(signals.correct[seen], fitted.predict(examples.x[seen]) == examples.y[seen])
    assert np.isfinite(signals.phi).all()


def test_a_model_that_saw_one_class_only_says_so_with_all_its_might() -> None:
    examples = separated(2)
    signals = evaluate(DummyClassifier().fit(examples.x[:4], np.zeros(4, dtype=int)), examples)
    np.testing.assert_allclose(signals.phi[:, 0], np.where(examples.y == 0, 13.81551, -13.81551), atol=1e-4)


def test_a_binary_decision_function_is_the_logit_of_class_1() -> None:
    examples = separated(2)
    model = RidgeClassifier().fit(examples.x, examples.y)
    z = model.decision_function(examples.x)
    np.testing.assert_allclose(evaluate(model, examples).phi[:, 0], np.where(examples.y == 1, z, -z), rtol=1e-5)


def test_an_estimator_that_fails_is_the_users_error() -> None:
    examples = separated(2)
    model = LogisticRegression().fit(examples.x[:, :2], examples.y)
    with pytest.raises(MemauditError, match="evaluating the model failed: ValueError"):
        evaluate(model, examples)
    with pytest.raises(MemauditError, match="NotFittedError"):
        evaluate(LogisticRegression(), examples)
