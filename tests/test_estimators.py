"""Classifiers of scikit-learn's kind: which numbers are confidences, and of how many votes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
    RandomTreesEmbedding,
)
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler, scale
from sklearn.svm import SVC, NuSVC
from sklearn.tree import DecisionTreeClassifier

import memaudit as ma
from memaudit.errors import ModelError, RecipeError
from memaudit.recipe import EstimatorRecipe, Examples
from memaudit.signals import evaluate, scaled_logit
from memaudit.signals.estimator import votes
from memaudit.signals.logits import scaled_logit_of_probabilities

Array = np.ndarray


def blobs(classes: int, rows: int = 160) -> Examples:
    rng = np.random.default_rng(classes)
    y = np.arange(rows) // 2 % classes
    return Examples(rng.normal(size=(rows, 5)) + 1.5 * rng.normal(size=(classes, 5))[y], y)


def three() -> Examples:
    return blobs(3)


def fitted(model: Any, classes: int) -> Any:
    examples = blobs(classes)
    return model.fit(examples.x[::2], examples.y[::2])


OVO = {
    "SVC": SVC(decision_function_shape="ovo"),
    "NuSVC": NuSVC(nu=0.1, decision_function_shape="ovo"),
    "pipeline": make_pipeline(StandardScaler(), SVC(decision_function_shape="ovo")),
    "search": GridSearchCV(SVC(decision_function_shape="ovo"), {"C": [1.0]}),
}


@pytest.mark.parametrize("classes", [3, 4, 6])
@pytest.mark.parametrize("kind", OVO)
def test_comparisons_of_pairs_are_no_confidences(kind: str, classes: int) -> None:
    """scikit-learn/scikit-learn#4638: n(n − 1)/2 columns, which of 3 classes are 3."""
    with pytest.raises(ModelError, match=r'one-vs-one comparisons.*decision_function_shape="ovr"'):
        evaluate(fitted(OVO[kind], classes), blobs(classes))


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize(
    "model",
    [SVC(), OneVsOneClassifier(LogisticRegression()), OneVsRestClassifier(LogisticRegression()), AdaBoostClassifier()],
)
def test_one_column_for_each_class_is_read_as_it_is(model: Any, classes: int) -> None:
    examples = blobs(classes)
    model = fitted(model, classes)
    z = model.decision_function(examples.x)
    signals = evaluate(model, examples)
    np.testing.assert_allclose(
        signals.phi[:, 0], scaled_logit(z if z.ndim == 2 else z[:, None], examples.y), rtol=1e-4, atol=1e-5
    )
    assert np.array_equal(signals.correct, model.predict(examples.x) == examples.y)


def test_one_vs_one_of_two_classes_is_one_comparison() -> None:
    examples = blobs(2)
    one, other = (fitted(SVC(decision_function_shape=shape), 2) for shape in ("ovo", "ovr"))
    assert np.array_equal(evaluate(one, examples).phi, evaluate(other, examples).phi)


class Scores(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A user's own classifier: a decision function that is a logistic regression's, changed."""

    def __init__(self, change: Callable[[Array], Array], method: str = "decision_function") -> None:
        self.change, self.method = change, method

    def fit(self, x: Array, y: Array) -> Scores:
        self.inner_ = LogisticRegression().fit(x, y)
        self.classes_ = self.inner_.classes_
        return self

    def predict(self, x: Array) -> Array:
        return np.asarray(self.inner_.predict(x))

    def __getattr__(self, name: str) -> Any:
        if name == self.__dict__.get("method"):
            return lambda x: self.change(getattr(self.inner_, name)(x))
        raise AttributeError(name)


def rolled(z: Array) -> Array:
    return np.roll(z, 1, axis=1)


WRONG: list[tuple[int, Scores, str]] = [
    (2, Scores(lambda z: -z), "turn its sign"),
    (2, Scores(lambda p: p[:, ::-1], "predict_proba"), "turn its sign"),
    (4, Scores(lambda z: -z), "is not what the model decides by"),
    (4, Scores(rolled), "is not what the model decides by"),
    (4, Scores(rolled, "predict_proba"), "is not what the model decides by"),
    (4, Scores(lambda z: z[:, :3]), "3 columns for 4 classes"),
    (4, Scores(lambda z: np.repeat(z, 2, axis=1)), "8 columns for 4 classes"),
    (3, Scores(lambda p: 2 * p, "predict_proba"), "no probabilities"),
    (3, Scores(lambda p: np.log(p), "predict_proba"), "no probabilities"),
    (3, Scores(np.square, "predict_proba"), "not to 1"),
    (3, Scores(lambda z: z + 0j), "expected real numbers"),
    (3, Scores(lambda z: z[:, :, None]), "returned shape"),
    (3, Scores(lambda z: z[:-1]), "returned shape"),
    (3, Scores(lambda z: np.where(z > 1, np.inf, z)), "NaN or infinite"),
    (3, Scores(lambda p: np.full_like(p, 1 / 3), "predict_proba"), "predict.. returns"),
    (2, Scores(lambda p: np.full_like(p, 1 / 2), "predict_proba"), "same confidence in the label of all 160"),
    (3, Scores(lambda z: z + np.random.default_rng().normal(size=z.shape)), "the model is random"),
    (3, Scores(lambda z: z - z.mean(axis=0)), "depend on the others in its batch"),
    (2, Scores(lambda z: z - z[0]), "depend on the others in its batch"),
]


@pytest.mark.parametrize(("classes", "model", "said"), WRONG)
def test_outputs_that_are_no_confidences_are_refused_by_name(classes: int, model: Scores, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        evaluate(model.fit(blobs(classes).x, blobs(classes).y), blobs(classes))


def test_a_scaler_that_is_never_fitted_is_refused() -> None:
    model = fitted(make_pipeline(FunctionTransformer(scale), LogisticRegression()), 3)
    with pytest.raises(ModelError, match="a scaler that is fitted in training"):
        evaluate(model, blobs(3))


def test_a_threshold_of_its_own_decides_what_is_correct() -> None:
    examples = blobs(2)
    model = fitted(FixedThresholdClassifier(LogisticRegression(), threshold=0.02, pos_label=1), 2)
    signals = evaluate(model, examples)
    assert np.array_equal(signals.correct, model.predict(examples.x) == examples.y)
    assert (signals.correct != (signals.phi[:, 0] > 0)).any()


@pytest.mark.parametrize("columns", [1, 0])
def test_a_single_probability_is_of_class_1(columns: int) -> None:
    class Single(Scores):
        def predict_proba(self, x: Array) -> Array:
            p = self.inner_.predict_proba(x)[:, 1]
            return p[:, None] if columns else p

    examples = blobs(2)
    model = Single(lambda z: z, "").fit(examples.x, examples.y)
    p = model.inner_.predict_proba(examples.x)
    np.testing.assert_allclose(
        evaluate(model, examples).phi[:, 0], scaled_logit_of_probabilities(p, examples.y), rtol=1e-4, atol=1e-5
    )


VOTES = [
    (RandomForestClassifier(7), 7),
    (ExtraTreesClassifier(9), 9),
    (KNeighborsClassifier(5), 5),
    (KNeighborsClassifier(5, weights="distance"), None),
    (BaggingClassifier(n_estimators=6), 6),
    (BaggingClassifier(KNeighborsClassifier(3), n_estimators=4), 12),
    (BaggingClassifier(GaussianNB(), n_estimators=4), None),
    (make_pipeline(StandardScaler(), RandomForestClassifier(7)), 7),
    (GridSearchCV(RandomForestClassifier(), {"n_estimators": [8]}), 8),
    (make_pipeline(SelectFromModel(RandomForestClassifier(3)), GaussianNB()), None),
    (make_pipeline(RandomTreesEmbedding(4), LogisticRegression()), None),
    (CalibratedClassifierCV(RandomForestClassifier(5)), None),
    (GradientBoostingClassifier(n_estimators=3), None),
    (AdaBoostClassifier(n_estimators=3), None),
    (GaussianNB(), None),
]


@pytest.mark.parametrize(("model", "expected"), VOTES)
def test_a_probability_is_a_share_of_votes_where_somebody_votes(model: Any, expected: int | None) -> None:
    model = fitted(model, 2)
    assert votes(model) == expected
    if expected is not None:
        shares = model.predict_proba(blobs(2).x) * expected
        np.testing.assert_allclose(shares, shares.round(), atol=1e-9)


def test_boosted_trees_do_not_vote() -> None:
    for name in ("lightgbm", "xgboost"):
        kind = getattr(pytest.importorskip(name), "LGBMClassifier" if name == "lightgbm" else "XGBClassifier")
        assert votes(kind(n_estimators=3).fit(blobs(2).x, blobs(2).y)) is None


def test_no_two_shares_of_votes_tie_and_none_is_infinite() -> None:
    """The empirical logit of k of n votes, log((k + ½)/(n − k + ½)): 0 of 10 and 1 of 10 are 1.1 nats apart."""
    share = np.arange(11) / 10
    phi = scaled_logit_of_probabilities(np.stack([share, 1 - share], axis=1), np.zeros(11, int), votes=10)
    k = np.arange(11)
    np.testing.assert_allclose(phi, np.log((k + 0.5) / (10 - k + 0.5)), atol=1e-12)
    assert (np.diff(phi) > 0).all()


@pytest.mark.parametrize(
    "model", [KNeighborsClassifier(1), RandomForestClassifier(1), DecisionTreeClassifier()], ids=str
)
def test_a_model_without_confidence_is_scored_by_whether_it_is_right(model: Any) -> None:
    """krasserm/face-recognition#3: the probabilities of a nearest neighbour are 0 and 1."""
    examples = blobs(3)
    signals = evaluate(fitted(model, 3), examples)
    assert np.array_equal(signals.phi[:, 0] > 0, signals.correct)
    assert len(np.unique(signals.phi)) == 2
    assert signals.correct[::2].mean() > signals.correct[1::2].mean(), "members are those of the even rows"


STOPPED = {
    "one-vs-one": EstimatorRecipe(three, SVC(decision_function_shape="ovo")),
    "random": EstimatorRecipe(three, Scores(lambda z: z + np.random.default_rng().normal(size=z.shape))),
    "batch statistics": EstimatorRecipe(three, make_pipeline(FunctionTransformer(scale), LogisticRegression())),
}


@pytest.mark.parametrize("case", STOPPED)
def test_a_fill_stops_at_its_first_estimator(case: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"shadow model \d: "):
        ma.fill(tmp_path / "bank", STOPPED[case], 4, device="cpu")
    assert ma.Bank.open(tmp_path / "bank").models() == []


def test_a_recipe_may_insist_on_probabilities() -> None:
    examples = blobs(2)
    model = fitted(LogisticRegression(), 2)
    assert evaluate(model, examples).read_as == "decision_function()"
    assert evaluate(model, examples, outputs="probabilities").read_as == "predict_proba()"
    for outputs in ("one-vs-rest", "log-probabilities"):
        with pytest.raises(ModelError, match="does not go with a LogisticRegression"):
            evaluate(model, examples, outputs=outputs)


def test_labels_that_a_model_calls_otherwise_are_refused() -> None:
    examples = blobs(2)
    names = np.array(["no", "yes"])[examples.y]

    with pytest.raises(ModelError, match="must be trained on the labels as they are"):
        evaluate(LogisticRegression().fit(examples.x, names), examples)


def test_a_bank_of_probabilities_that_an_earlier_version_read_is_not_gone_on_with() -> None:
    """Shares of votes were clipped, which is 0.4 nats off for one vote of 50; decision functions are as they were."""
    from memaudit.recipe import fingerprint

    models = RandomForestClassifier(), LogisticRegression()
    forest, logistic = (fingerprint(EstimatorRecipe(three, model), three(), 0) for model in models)
    assert forest["recordings"] == "shares of votes as empirical logits"
    assert "recordings" not in logistic
