"""Boosters of XGBoost, LightGBM and CatBoost: their own files, and their margins as signals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

import memaudit as ma
from memaudit.errors import BankError, ModelError
from memaudit.recipe import EstimatorRecipe, Examples, fingerprint, load_target, save_target
from memaudit.signals import measure
from memaudit.signals.boosters import by_margins

Array = np.ndarray

X = np.random.default_rng(0).normal(size=(150, 5))
LABELS = {2: (X[:, 0] > 0).astype(int), 3: np.digitize(X[:, 0], [-0.5, 0.5])}
RAW: dict[str, dict[str, Any]] = {
    ".json": {"output_margin": True},
    ".ubj": {"output_margin": True},
    ".txt": {"raw_score": True},
    ".cbm": {"prediction_type": "RawFormulaVal"},
}


def booster(suffix: str, **settings: Any) -> Any:
    if suffix in (".json", ".ubj"):
        return pytest.importorskip("xgboost").XGBClassifier(**{"n_estimators": 8, "n_jobs": 1} | settings)
    if suffix == ".txt":
        made = {"n_estimators": 8, "verbose": -1, "n_jobs": 1, "min_child_samples": 5} | settings
        return pytest.importorskip("lightgbm").LGBMClassifier(**made)
    made = {"n_estimators": 8, "verbose": 0, "allow_writing_files": False, "thread_count": 1} | settings
    return pytest.importorskip("catboost").CatBoostClassifier(**made)


def phi_of(margins: Array, y: Array) -> Array:
    """log p_y − log(1 − p_y) from margins: ± the log-odds of two classes, a softmax of more."""
    if margins.ndim == 1:
        return np.where(y == 1, margins, -margins)
    others = np.where(np.arange(margins.shape[1]) == y[:, None], -np.inf, margins)
    return margins[np.arange(len(y)), y] - logsumexp(others, axis=1)


@pytest.mark.parametrize("suffix", RAW)
@pytest.mark.parametrize("classes", [2, 3])
def test_signals_are_the_margins_before_and_after_the_file(tmp_path: Path, suffix: str, classes: int) -> None:
    y = LABELS[classes]
    examples, model = Examples(X, y), booster(suffix)
    fitted = model.fit(X, y)
    expected = phi_of(np.asarray(fitted.predict(X, **RAW[suffix]), np.float64), y)
    recipe = EstimatorRecipe(lambda: examples, booster(suffix))
    save_target(fitted, tmp_path / f"m{suffix}", [])
    for one in (fitted, load_target(tmp_path / f"m{suffix}", recipe)):
        found = measure(one, examples)
        np.testing.assert_allclose(found["phi"][:, 0], expected, atol=1e-5)
        np.testing.assert_array_equal(found["correct"], np.ravel(fitted.predict(X)) == y)


def test_a_margin_goes_on_where_a_probability_in_single_precision_is_1() -> None:
    y = np.random.default_rng(2).permutation(LABELS[2])
    model = booster(".json", n_estimators=100, learning_rate=1.0, reg_lambda=0.0, min_child_weight=0.0).fit(X, y)
    phi = measure(model, Examples(X, y))["phi"][:, 0]
    np.testing.assert_allclose(phi, phi_of(model.predict(X, output_margin=True).astype(np.float64), y), rtol=1e-5)
    stated = model.predict_proba(X)[np.arange(len(y)), y]
    assert len(np.unique(phi)) > len(np.unique(stated))


@pytest.mark.parametrize("settings", [{"booster": "dart", "rate_drop": 0.3}, {"base_score": 0.2}])
def test_dart_and_another_base_score_have_margins_too(settings: dict[str, Any]) -> None:
    y = LABELS[2]
    model = booster(".json", **settings).fit(X, y)
    phi = measure(model, Examples(X, y))["phi"][:, 0]
    np.testing.assert_allclose(phi, phi_of(model.predict(X, output_margin=True), y), atol=1e-5)


def test_a_model_that_stopped_early_is_read_up_to_its_best_iteration(tmp_path: Path) -> None:
    y = np.random.default_rng(1).permutation(LABELS[2])
    model = booster(".json", n_estimators=60, early_stopping_rounds=5)
    model.fit(X[:100], y[:100], eval_set=[(X[100:], y[100:])], verbose=False)
    best = model.get_booster().predict(_matrix(X), output_margin=True, iteration_range=(0, model.best_iteration + 1))
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    save_target(model, tmp_path / "m.json", [])
    loaded = load_target(tmp_path / "m.json", EstimatorRecipe(lambda: Examples(X, y), booster(".json")))
    np.testing.assert_allclose(measure(loaded, Examples(X, y))["phi"][:, 0], phi_of(best, y), atol=1e-5)


def _matrix(x: Array) -> Any:
    return pytest.importorskip("xgboost").DMatrix(x)


def test_the_slope_of_lightgbms_sigmoid_counts(tmp_path: Path) -> None:
    y = LABELS[2]
    model = booster(".txt", sigmoid=2.0).fit(X, y)
    expected = phi_of(2.0 * model.predict(X, raw_score=True), y)
    save_target(model, tmp_path / "m.txt", [])
    loaded = load_target(tmp_path / "m.txt", EstimatorRecipe(lambda: Examples(X, y), booster(".txt", sigmoid=2.0)))
    for one in (model, loaded):
        np.testing.assert_allclose(measure(one, Examples(X, y))["phi"][:, 0], expected, atol=1e-5)


@pytest.mark.parametrize("objective", ["multi:softprob", "multi:softmax"])
def test_both_objectives_for_several_classes_have_a_margin_each(objective: str) -> None:
    y = LABELS[3]
    model = booster(".json", objective=objective).fit(X, y)
    phi = measure(model, Examples(X, y))["phi"][:, 0]
    np.testing.assert_allclose(phi, phi_of(model.predict(X, output_margin=True), y), atol=1e-5)


def test_raw_logits_are_read_as_such() -> None:
    y = LABELS[2]
    model = booster(".json", objective="binary:logitraw").fit(X, y)
    phi = measure(model, Examples(X, y))["phi"][:, 0]
    np.testing.assert_allclose(phi, phi_of(model.predict(X, output_margin=True), y), atol=1e-5)


def test_probabilities_are_read_where_they_do_not_follow_from_margins() -> None:
    model = booster(".json", objective="binary:hinge").fit(X, LABELS[2])
    assert by_margins(model, X) is model


def test_probabilities_can_be_insisted_on() -> None:
    y = LABELS[2]
    model = booster(".json").fit(X, y)
    p = model.predict_proba(X)[np.arange(len(y)), y].astype(np.float64)
    phi = measure(model, Examples(X, y), outputs="probabilities")["phi"][:, 0]
    np.testing.assert_allclose(phi, np.log(p / (1 - p)), atol=1e-4)


# --- CatBoost's files -------------------------------------------------------------------------------------------------


def test_catboost_keeps_labels_that_have_gaps(tmp_path: Path) -> None:
    y = 3 * LABELS[2] + 1
    model = booster(".cbm").fit(X, y)
    save_target(model, tmp_path / "m.cbm", [])
    recipe = EstimatorRecipe(lambda: Examples(X, y), booster(".cbm"))
    loaded = load_target(tmp_path / "m.cbm", recipe)
    assert loaded.classes_.tolist() == [1, 4]
    np.testing.assert_allclose(measure(loaded, Examples(X, y))["phi"], measure(model, Examples(X, y))["phi"], atol=1e-6)


def test_a_damaged_catboost_model_is_refused_and_does_not_end_the_process(tmp_path: Path) -> None:
    save_target(booster(".cbm").fit(X, LABELS[2]), tmp_path / "m.cbm", [])
    whole = (tmp_path / "m.cbm").read_bytes()
    (tmp_path / "m.cbm").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="damaged, or of a version of catboost"):
        load_target(tmp_path / "m.cbm", EstimatorRecipe(lambda: Examples(X, LABELS[2]), booster(".cbm")))


def test_a_catboost_regressor_is_no_classifier(tmp_path: Path) -> None:
    catboost = pytest.importorskip("catboost")
    model = catboost.CatBoostRegressor(n_estimators=3, verbose=0, allow_writing_files=False).fit(X, X[:, 0])
    model.save_model(str(tmp_path / "m.cbm"))
    with pytest.raises(ModelError, match="objective 'RMSE', not a classifier"):
        load_target(tmp_path / "m.cbm", EstimatorRecipe(lambda: Examples(X, LABELS[2]), booster(".cbm")))


def test_a_catboost_model_for_another_recipe_is_told(tmp_path: Path) -> None:
    save_target(booster(".cbm").fit(X, LABELS[2]), tmp_path / "m.cbm", [])
    with pytest.raises(ModelError, match="whose estimator is a CatBoostClassifier"):
        load_target(tmp_path / "m.cbm", EstimatorRecipe(lambda: Examples(X, LABELS[2]), LogisticRegression()))


# --- The audit --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".json", ".txt", ".cbm"])
def test_a_booster_is_audited_by_its_margins(tmp_path: Path, suffix: str) -> None:
    recipe = EstimatorRecipe(lambda: Examples(X, LABELS[2]), booster(suffix))
    own = ma.draw_members(recipe, seed=3)
    save_target(ma.train(recipe, own, seed=1), tmp_path / f"m{suffix}", own, recipe)
    bank = ma.fill(tmp_path / "bank", recipe, 6)
    report = ma.audit(tmp_path / f"m{suffix}", recipe, bank, fprs=(0.1,)).report
    assert report.results
    own = {} if hasattr(recipe.estimator, "decision_function") else {"bank.recordings": "margins of boosted trees"}
    assert report.provenance.items() >= own.items()


def test_every_shadow_of_catboost_has_a_seed_of_its_own(tmp_path: Path) -> None:
    """With all examples in the same half, only the seed differs: subsamples of the trees are other ones."""
    settings = {"bootstrap_type": "Bernoulli", "subsample": 0.5}
    recipe = EstimatorRecipe(lambda: Examples(X, LABELS[2]), booster(".cbm", **settings))
    everyone = np.arange(len(X)) < 100
    one, same, other = (ma.train(recipe, everyone, seed=seed).predict_proba(X) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_bank_of_probabilities_is_not_compared_with_margins(tmp_path: Path) -> None:
    recipe = EstimatorRecipe(lambda: Examples(X, LABELS[2]), booster(".json"))
    now = fingerprint(recipe, Examples(X, LABELS[2]), 0)
    assert now["recordings"] == "margins of boosted trees"
    bank = ma.Bank.create(tmp_path, len(X), now | {"recordings": "shares of votes as empirical logits"})
    with pytest.raises(BankError, match="recordings: shares of votes as empirical logits → margins of boosted trees"):
        bank.require(now)
