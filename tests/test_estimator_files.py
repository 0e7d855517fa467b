"""Classifiers that are no networks: what `save_target` writes, the audit can read, with the same outputs."""

import inspect
import json
import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier, StackingClassifier, VotingClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, Matern, WhiteKernel
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import all_estimators

import memaudit as ma
from memaudit.errors import ModelError, RecipeError
from memaudit.recipe import EstimatorRecipe, Examples, load_recipe, load_target, save_target

Array = np.ndarray

ROWS = 60


def data(classes: int = 3) -> Examples:
    rng = np.random.default_rng(0)
    y = np.arange(ROWS) % classes
    return Examples(np.abs(rng.normal(size=(ROWS, 4))) + y[:, None], y)


def outputs(model: Any, x: Array) -> Array:
    return np.asarray(model.decision_function(x) if hasattr(model, "decision_function") else model.predict_proba(x))


def loaded(estimator: Any, path: Path, **options: Any) -> tuple[Array, Array]:
    """Returns what a fitted estimator says, and what it says after it was saved and loaded."""
    classes = 2 if "Threshold" in type(estimator).__name__ else 3
    examples = data(classes)
    with warnings.catch_warnings(action="ignore"):  # of few iterations
        fitted = clone(estimator).fit(examples.x, examples.y)
        save_target(fitted, path, [], **options)
        found = load_target(path, EstimatorRecipe(data, estimator, **options))
        return outputs(fitted, examples.x), outputs(found, examples.x)


@cache
def of_scikit_learn() -> dict[str, Any]:
    """Every classifier of scikit-learn that an EstimatorRecipe takes and that has one label for each example."""
    found = {}
    for name, kind in all_estimators(type_filter="classifier"):
        needed = [p.name for p in inspect.signature(kind).parameters.values() if p.default is p.empty]
        parts = {
            "estimator": LogisticRegression(),
            "estimators": [("a", GaussianNB()), ("b", DecisionTreeClassifier())],
        }
        options = {part: parts[part] for part in needed if part in parts}
        options |= {"estimator": LogisticRegression()} if name == "SelfTrainingClassifier" else {}
        options |= {"max_iter": 3} if name == "MLPClassifier" else {}
        options |= {"n_estimators": 3} if "n_estimators" in inspect.signature(kind).parameters else {}
        if name in ("ClassifierChain", "MultiOutputClassifier"):
            continue
        try:
            with warnings.catch_warnings(action="ignore"):  # of classes that are deprecated
                found[name] = EstimatorRecipe(data, kind(**options)).estimator
        except RecipeError:
            continue
    return found


@pytest.mark.parametrize("name", of_scikit_learn())
def test_every_classifier_of_scikit_learn_is_saved_and_loaded_with_the_same_outputs(tmp_path: Path, name: str) -> None:
    before, after = loaded(of_scikit_learn()[name], tmp_path / "m.skops")
    np.testing.assert_allclose(after, before, rtol=1e-10, atol=1e-12)  # array layouts may change the order of sums


VARIANTS: dict[str, Any] = {
    **{f"MLP {solver}": MLPClassifier(solver=solver, max_iter=3) for solver in ("adam", "sgd", "lbfgs")},
    "MLP early": MLPClassifier(early_stopping=True, max_iter=3),
    **{f"calibrated {how}": CalibratedClassifierCV(LinearSVC(), method=how) for how in
       ("sigmoid", "isotonic", "temperature")},
    "calibrated forest": CalibratedClassifierCV(RandomForestClassifier(3)),
    **{f"{tree} {metric}": KNeighborsClassifier(algorithm=tree, metric=metric)
       for tree, metric in [("ball_tree", "canberra"), ("ball_tree", "hamming"), ("kd_tree", "chebyshev"),
                            ("kd_tree", "manhattan"), ("brute", "cosine")]},
    "Minkowski": KNeighborsClassifier(algorithm="kd_tree", p=3),
    "Gaussian process": GaussianProcessClassifier(2.0 * RBF() + WhiteKernel() + Matern() ** 2, optimizer=None),
    "boosting": GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()),
    **{f"SGD {loss}": SGDClassifier(loss=loss) for loss in ("hinge", "log_loss", "modified_huber", "huber")},
    "stacking": StackingClassifier([("a", GaussianNB()), ("b", DecisionTreeClassifier())], LogisticRegression()),
    "soft voting": VotingClassifier([("a", GaussianNB()), ("b", DecisionTreeClassifier())], voting="soft"),
    "a search": GridSearchCV(LogisticRegression(), {"C": [1, 2]}, cv=2, scoring="accuracy"),
    "selection": make_pipeline(SelectKBest(k=2), LogisticRegression()),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_and_so_are_their_variants(tmp_path: Path, name: str) -> None:
    before, after = loaded(VARIANTS[name], tmp_path / "m.skops")
    np.testing.assert_allclose(after, before, rtol=1e-10, atol=1e-12)


class Stranger(BaseEstimator):  # type: ignore[misc]
    """A classifier of the user's own."""

    def fit(self, x: Array, y: Array) -> "Stranger":
        self.shares_ = np.bincount(y) / len(y)
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, x: Array) -> Array:
        return np.tile(self.shares_, (len(x), 1))


def test_what_the_audit_would_refuse_is_refused_when_it_is_saved(tmp_path: Path) -> None:
    for model in (Stranger(), make_pipeline(FunctionTransformer(np.log1p), Stranger())):
        with pytest.raises(ModelError, match=r"m\.skops: it holds types .*Stranger.*trusted="):
            save_target(model.fit(data().x, data().y), tmp_path / "m.skops", [])
    assert not list(tmp_path.iterdir())


def test_a_refused_model_leaves_the_one_that_is_there(tmp_path: Path) -> None:
    save_target(LogisticRegression().fit(data().x, data().y), tmp_path / "m.skops", ["1"])
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(ModelError):
        save_target(Stranger().fit(data().x, data().y), tmp_path / "m.skops", ["2"])
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_type_that_the_user_names_is_trusted(tmp_path: Path) -> None:
    trusted = (f"{__name__}.Stranger",)
    before, after = loaded(Stranger(), tmp_path / "m.skops", trusted=trusted)
    assert np.array_equal(before, after)
    with pytest.raises(ModelError, match=r"it holds types .*Stranger.*EstimatorRecipe\(\.\.\., trusted="):
        load_target(tmp_path / "m.skops", EstimatorRecipe(data, Stranger()))


def test_trusting_a_type_does_not_change_the_recipe(tmp_path: Path) -> None:
    from memaudit.recipe import fingerprint

    prints = [fingerprint(EstimatorRecipe(data, LogisticRegression(), trusted=t), data(), 0) for t in ((), ("a.B",))]
    assert prints[0] == prints[1]


def test_a_classifier_of_another_kind_than_the_recipes_is_refused(tmp_path: Path) -> None:
    save_target(GaussianNB().fit(data().x, data().y), tmp_path / "m.skops", [])
    with pytest.raises(ModelError, match=r"holds a GaussianNB, but the recipe fits a LogisticRegression"):
        load_target(tmp_path / "m.skops", EstimatorRecipe(data, LogisticRegression()))


# Boosters


def xgb(**options: Any) -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=4, n_jobs=1, random_state=3, **options)


def lgbm(**options: Any) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=4, n_jobs=1, verbose=-1, random_state=3, min_child_samples=2, **options)


BOOSTERS = [("m.json", xgb), ("m.ubj", xgb), ("m.txt", lgbm)]


@pytest.mark.parametrize(("name", "made"), BOOSTERS)
@pytest.mark.parametrize("classes", [2, 3])
def test_a_booster_is_saved_and_loaded_in_its_own_format(
    tmp_path: Path, name: str, made: Callable[..., Any], classes: int
) -> None:
    examples = data(classes)
    fitted = made(learning_rate=0.5).fit(examples.x, examples.y)
    save_target(fitted, tmp_path / name, [])
    found = load_target(tmp_path / name, EstimatorRecipe(lambda: data(classes), made(learning_rate=0.5)))
    assert type(found) is type(fitted)
    assert np.array_equal(found.predict_proba(examples.x), fitted.predict_proba(examples.x))
    assert np.array_equal(found.predict(examples.x), fitted.predict(examples.x))
    assert np.array_equal(found.classes_, fitted.classes_)
    for parameter in ("n_estimators", "learning_rate", "random_state"):
        assert found.get_params()[parameter] == fitted.get_params()[parameter]


@pytest.mark.parametrize(("name", "made"), BOOSTERS)
def test_a_damaged_booster_is_refused_and_does_not_end_the_process(
    tmp_path: Path, name: str, made: Callable[..., Any]
) -> None:
    """The libraries' parsers call abort() on some of these."""
    save_target(made().fit(data().x, data().y), tmp_path / name, [])
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"m\.\w+ (is damaged|is text)"):
        load_target(tmp_path / name, EstimatorRecipe(data, made()))


def test_a_booster_that_is_no_classifier_is_refused(tmp_path: Path) -> None:
    from lightgbm import LGBMRegressor
    from xgboost import XGBRegressor

    XGBRegressor(n_estimators=2, n_jobs=1).fit(data().x, data().y).save_model(tmp_path / "m.json")
    LGBMRegressor(n_estimators=2, n_jobs=1, verbose=-1).fit(data().x, data().y).booster_.save_model(tmp_path / "m.txt")
    for name, made in (("m.json", xgb), ("m.txt", lgbm)):
        with pytest.raises(
            ModelError, match=rf"{name} holds (no classifier|a LightGBM model of objective 'regression')"
        ):
            load_target(tmp_path / name, EstimatorRecipe(data, made()))


@pytest.mark.parametrize(("name", "made"), BOOSTERS)
def test_a_booster_of_the_other_library_or_in_skops_is_refused_by_name(
    tmp_path: Path, name: str, made: Callable[..., Any]
) -> None:
    fitted = made().fit(data().x, data().y)
    with pytest.raises(ModelError, match=r"m\.skops: .*save it as \.(json or \.ubj|txt), its own format"):
        save_target(fitted, tmp_path / "m.skops", [])
    with pytest.raises(ModelError, match="is the format of"):
        save_target(LogisticRegression().fit(data().x, data().y), tmp_path / name, [])
    save_target(fitted, tmp_path / name, [])
    with pytest.raises(ModelError, match=rf"{name} is a model of (XGBoost|LightGBM); audit it with an EstimatorRecipe"):
        load_target(tmp_path / name, EstimatorRecipe(data, LogisticRegression()))


def test_a_lightgbm_model_that_saw_fewer_classes_is_not_read_as_if_they_were_the_first(tmp_path: Path) -> None:
    """The file says how many classes there were, not which."""
    examples = data()
    some = examples.y != 0
    fitted = lgbm().fit(examples.x[some], examples.y[some])
    assert fitted.classes_.tolist() == [1, 2]
    with pytest.raises(ModelError, match=r"classes 1, 2 .*numbered from 0"):
        save_target(fitted, tmp_path / "m.txt", [])
    fitted.booster_.save_model(tmp_path / "m.txt")
    with pytest.raises(ModelError, match=r"has 2 classes and the examples 3"):
        load_target(tmp_path / "m.txt", EstimatorRecipe(data, lgbm()))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "made"), BOOSTERS)
def test_a_booster_is_audited(tmp_path: Path, name: str, made: Callable[..., Any]) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(300, 4)), rng.integers(0, 2, 300)
    recipe = EstimatorRecipe(lambda: Examples(x, y), made())
    members = rng.random(300) < 0.5
    save_target(ma.train(recipe, members, seed=5), tmp_path / name, members)
    bank = ma.fill(tmp_path / "bank", recipe, 16)
    report = ma.audit(tmp_path / name, recipe, bank, fprs=[0.05]).report
    tpr = next(r.finding.estimate for r in report.results if r.finding.metric == "tpr")
    assert tpr is not None
    assert tpr.value > 0.1


RECIPE_WITH_A_FUNCTION = """
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
import memaudit as ma

x = np.random.default_rng(0).normal(size=(80, 3))

def examples():
    return ma.Examples(x, (x[:, 0] > 0).astype(int))

def squashed(x):
    return np.tanh(x)

recipe = ma.EstimatorRecipe(examples, make_pipeline(FunctionTransformer(squashed), LogisticRegression()))
"""


def test_a_type_that_is_trusted_for_one_audit_is_in_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., CompletedProcess[str]]
) -> None:
    (tmp_path / "recipe.py").write_text(RECIPE_WITH_A_FUNCTION, "utf-8")
    (tmp_path / "memaudit.toml").write_text("[audit]\nshadows = 6\nworkers = 1\nfpr = [0.1]\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    recipe = load_recipe(str(tmp_path / "recipe.py") + ":recipe")
    own = ma.draw_members(recipe, seed=3)
    name = "recipe.squashed"
    save_target(ma.train(recipe, own, seed=1), tmp_path / "m.skops", own, recipe, trusted=[name])
    sys.path[:] = before
    sys.modules.pop("recipe", None)  # the next test has another recipe.py
    refused = command("audit", "m.skops", "-q")
    assert refused.returncode == 2
    assert f"{name}; if you know them to be harmless, name each with --trust" in " ".join(refused.stderr.split())
    assert not (tmp_path / "bank").exists()
    done = command("audit", "m.skops", "-q", "--trust", name)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "audit" / "report.json").read_bytes())["provenance"]["trusted types"] == name
