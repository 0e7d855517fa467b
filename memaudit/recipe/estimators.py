"""Files with classifiers that are no networks: skops, and the own formats of XGBoost, LightGBM and CatBoost."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from memaudit.errors import ModelError
from memaudit.recipe.blame import blame
from memaudit.recipe.filekinds import Kind, kind_of, refusal
from memaudit.recipe.recipes import EstimatorRecipe

# Parts of scikit-learn's own classifiers that only hold numbers, which skops leaves to its callers to trust. No
# function that calls another one, such as functools.partial, and no metric that is a Python function.
_METRICS = (
    *("BrayCurtis", "Canberra", "Chebyshev", "Dice", "Euclidean", "Hamming", "Haversine", "Jaccard", "Mahalanobis"),
    *("Manhattan", "Minkowski", "RogersTanimoto", "RussellRao", "SEuclidean", "SokalMichener", "SokalSneath"),
)
_KERNELS = (
    *("CompoundKernel", "ConstantKernel", "DotProduct", "ExpSineSquared", "Exponentiation", "Matern", "Product"),
    *("RBF", "RationalQuadratic", "Sum", "WhiteKernel"),
)
TRUSTED = {
    *(f"sklearn.metrics._dist_metrics.{metric}Distance{bits}" for metric in _METRICS for bits in ("", "32", "64")),
    *(f"sklearn.gaussian_process.kernels.{kernel}" for kernel in _KERNELS),
    "numpy.dtype",
    "sklearn._loss._loss.CyHalfBinomialLoss",
    "sklearn._loss._loss.CyHalfMultinomialLoss",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.feature_selection._mutual_info.mutual_info_classif",
    "sklearn.feature_selection._univariate_selection.chi2",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.linear_model._sgd_fast.Hinge",
    "sklearn.linear_model._sgd_fast.Log",
    "sklearn.metrics._classification.accuracy_score",
    "sklearn.metrics._classification.balanced_accuracy_score",
    "sklearn.metrics._classification.f1_score",
    "sklearn.metrics._classification.log_loss",
    "sklearn.metrics._ranking.roc_auc_score",
    "sklearn.metrics._scorer._CurveScorer",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
}
SUFFIXES = {
    ".skops": "",
    ".json": "xgboost",
    ".ubj": "xgboost",
    ".txt": "lightgbm",
    ".cbm": "catboost",
}  # and whose format it is
_SECONDS = 300  # for a booster to be read, once, in a process of its own
_TRIALS = {
    "xgboost": "import sys, xgboost; xgboost.Booster(model_file=sys.argv[1]).save_raw('json')",
    "lightgbm": "import sys, numpy, lightgbm; b = lightgbm.Booster(model_file=sys.argv[1]); "
    "b.predict(numpy.zeros((1, b.num_feature())))",
    "catboost": "import sys, catboost; catboost.CatBoost().load_model(sys.argv[1])",
}
_CATBOOST = ("Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll")  # objectives of classifiers


def estimator_content(model: Any, path: Path, trusted: Iterable[str] = ()) -> bytes:
    """Return a fitted classifier as the content of a file of that suffix, after making sure that it can be read.

    Raises:
        ModelError: It does not go with the suffix, or holds types that `load_estimator` would refuse.
    """
    library = SUFFIXES[path.suffix]
    if library:
        if type(model).__module__.partition(".")[0] != library:
            raise ModelError(f"{path}: {path.suffix} is the format of {library}; a {type(model).__name__} is .skops")
        return _booster_content(model, path)
    from skops import io

    try:
        content: bytes = io.dumps(model)
        unknown = _unknown(content, trusted)
    except Exception as error:  # of an object that it cannot write, any kind
        raise ModelError(f"{path}: a {type(model).__name__} cannot be written as skops: {error}") from error
    if unknown:
        own = type(model).__module__.partition(".")[0]
        formats = [suffix for suffix, name in SUFFIXES.items() if name == own]
        hint = f"save it as {' or '.join(formats)}, its own format" if formats else _TRUST
        raise ModelError(f"{path}: {_listed(unknown)}; {hint}")
    return content


def load_estimator(path: Path, recipe: EstimatorRecipe) -> Any:
    """Return the fitted classifier in a file, of the kind that the recipe fits; no code from the file is run.

    Raises:
        ModelError: The file is of another kind, damaged, or holds types that are not known to be harmless.
    """
    kind = kind_of(path)
    if kind is Kind.SKOPS:
        found = _load_skops(path, recipe.trusted)
    elif kind is Kind.XGBOOST and _named(recipe.estimator) in ("XGBClassifier", "XGBRFClassifier"):
        found = _load_xgboost(path, recipe.estimator)
    elif kind is Kind.CATBOOST and _named(recipe.estimator) == "CatBoostClassifier":
        found = _load_catboost(path, recipe.estimator)
    elif kind is Kind.LIGHTGBM and _named(recipe.estimator) == "LGBMClassifier":
        found = _load_lightgbm(path, recipe)
    else:
        raise ModelError(_refused(path, kind))
    if type(found) is not type(recipe.estimator):
        raise ModelError(
            f"{path} holds a {_named(found)}, but the recipe fits a {_named(recipe.estimator)}: its shadows would be "
            "of another kind"
        )
    return found


def _refused(path: Path, kind: Kind) -> str:
    if kind in (Kind.PICKLE, Kind.ARCHIVE) or path.suffix in (".joblib", ".pkl", ".pickle"):
        found = "is a pickle and " if kind is Kind.PICKLE else ""
        return (
            f"{path} {found}cannot be read: pickle and joblib files run code when loaded, and a scikit-learn model is "
            "read from a .skops file. Write one where the model is trained: "
            'memaudit.save_target(estimator, "model.skops", members)'
        )
    if kind is Kind.UNKNOWN or (kind is Kind.TORCH and path.suffix == ".skops"):
        return f"{path} is not a skops file, or is damaged"
    return refusal(path, kind)


def _load_skops(path: Path, trusted: Iterable[str]) -> Any:
    from skops import io

    try:
        if unknown := _unknown(path.read_bytes(), trusted):
            raise ModelError(f"{path}: {_listed(unknown)}; {_TRUST}")
        return io.load(path, trusted=sorted({*TRUSTED, *trusted}))
    except ModelError:
        raise
    except Exception as error:  # what a damaged file makes of the reader is any of a dozen kinds
        raise ModelError(f"{path} is not a skops file, or is damaged: {error}") from error


_TRUST = (
    "if you know them to be harmless, name each with --trust module.Type or trust = [...] in [audit], or in "
    "EstimatorRecipe(..., trusted=...) and save_target(..., trusted=...)"
)


def _unknown(content: bytes, trusted: Iterable[str]) -> list[str]:
    from skops import io

    return sorted(set(io.get_untrusted_types(data=content)) - TRUSTED - set(trusted))


def _listed(unknown: list[str]) -> str:
    return f"it holds types that are not known to be harmless: {', '.join(unknown)}"


def _named(estimator: Any) -> str:
    return type(estimator).__name__


def _booster_content(model: Any, path: Path) -> bytes:
    seen = [int(label) for label in getattr(model, "classes_", ())]
    if path.suffix == ".cbm":  # which keeps the labels
        return _saved(path, lambda file: model.save_model(file, format="cbm"))
    if seen != list(range(len(seen))) or not seen:
        raise ModelError(
            f"{path}: the format keeps no labels, and a classifier of classes {', '.join(map(str, seen)) or 'unknown'} "
            "is not one of classes numbered from 0 without a gap"
        )
    return _saved(path, (model.booster_ if path.suffix == ".txt" else model).save_model)


def _saved(path: Path, save: Callable[[str], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"model{path.suffix}"
        save(str(file))
        return file.read_bytes()


def _try(path: Path, library: str) -> None:
    """Raise ModelError unless another process can read a booster.

    The formats are data: there is no code in them. But their parsers, in C++, trust them, and end the process over a
    file that was cut short.
    """
    command = [sys.executable, "-c", _TRIALS[library], str(path.resolve())]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ModelError(f"{path}: {library} reads it for more than {_SECONDS} seconds; it is damaged") from None
    if done.returncode:
        raise ModelError(f"{path} is damaged, or of a version of {library} that the installed one cannot read")


def _load_xgboost(path: Path, estimator: Any) -> Any:
    from sklearn.base import clone

    _try(path, "xgboost")
    found = clone(estimator)
    try:
        found.load_model(path)
    except Exception as error:  # the library's own, ValueError, KeyError: for a booster that is no classifier
        raise ModelError(f"{path} holds no classifier of XGBoost: {_first_line(error)}") from error
    return found


def _load_catboost(path: Path, estimator: Any) -> Any:
    from sklearn.base import clone

    _try(path, "catboost")
    found = clone(estimator)
    found.load_model(str(path))
    objective = found.get_all_params().get("loss_function")
    if objective not in _CATBOOST:
        raise ModelError(f"{path} holds a CatBoost model of objective {objective!r}, not a classifier")
    return found


def _load_lightgbm(path: Path, recipe: EstimatorRecipe) -> Any:
    """Return a classifier around the booster; LightGBM has no way of its own from its file to one."""
    import lightgbm
    import numpy as np
    from sklearn.base import clone
    from sklearn.preprocessing import LabelEncoder

    _try(path, "lightgbm")
    booster = lightgbm.Booster(model_file=path)
    objective = str(booster.dump_model(num_iteration=1).get("objective", "")).partition(" ")[0]
    if objective not in ("binary", "multiclass", "multiclassova"):
        raise ModelError(f"{path} holds a LightGBM model of objective {objective!r}, not a classifier")
    classes = np.arange(max(2, booster.num_model_per_iteration()))
    with blame("examples()"):
        wanted = recipe.examples().classes
    if len(classes) != wanted:
        raise ModelError(
            f"{path} has {len(classes)} classes and the examples {wanted}; LightGBM's format does not say which ones "
            "were seen. Train the model on all of them"
        )
    found = clone(recipe.estimator)
    vars(found).update(
        _Booster=booster,
        _objective=objective,
        _best_iteration=0,
        _n_features=booster.num_feature(),
        _n_features_in=booster.num_feature(),
        _classes=classes,
        _n_classes=len(classes),
        _le=LabelEncoder().fit(classes),
        fitted_=True,
    )
    return found


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")
