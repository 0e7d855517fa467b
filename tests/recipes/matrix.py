"""Every recipe class with every kind of model and output: the recipes of the matrix test, by name.

`NUMBERS` gives for each recipe that is to be audited how the test computes the model's class probabilities by itself.
`REFUSED` gives for every other one a part of the refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from torch import nn
from torch.nn import functional

import memaudit as ma

ROWS, WIDTH, CLASSES = 120, 8, 3


def features(dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(dtype)


def labels(classes: int = CLASSES) -> np.ndarray:
    """Half of the labels follow from the inputs, half are noise that has to be learned by heart."""
    rng = np.random.default_rng(1)
    ruled = features()[:, :classes].argmax(axis=1)
    return np.where(rng.random(ROWS) < 0.5, ruled, rng.integers(0, classes, ROWS))


def ids() -> list[str]:
    return [f"row {n}" for n in range(ROWS)]


def of_arrays(classes: int = CLASSES, dtype: str = "float32") -> ma.Examples:
    return ma.Examples(features(dtype), labels(classes), ids())


def of_tensors() -> ma.Examples:
    return ma.Examples(torch.as_tensor(features()), torch.as_tensor(labels()), ids())


def of_dataset() -> ma.Examples:
    return ma.Examples.from_dataset(list(zip(features(), labels(), strict=True)), ids())


def of_bytes() -> ma.Examples:
    return ma.Examples((features() * 40 + 128).clip(0, 255).astype(np.uint8), labels(), ids())


def of_images() -> ma.Examples:
    return ma.Examples(features().reshape(ROWS, 1, 2, 4), labels(), ids())


def of_names() -> ma.Examples:
    """The names are hashes of the content."""
    return ma.Examples(features(), labels())


class Network(nn.Module):
    """A small network whose last step is given by name."""

    def __init__(self, end: str = "logits", outputs: int = CLASSES, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.end = end
        first = nn.LazyLinear(32) if end == "lazy" else nn.Linear(WIDTH, 32)
        middle = nn.BatchNorm1d(32, track_running_stats=end != "batch mates") if "batch" in end else nn.Identity()
        drop = nn.Dropout(0.1) if end == "dropout" else nn.Identity()
        self.body = nn.Sequential(first, middle, nn.ReLU(), drop, nn.Linear(32, outputs)).to(dtype)

    def forward(self, x: torch.Tensor) -> Any:
        if self.end == "in place":
            x.sub_(0.5).div_(2)
        if self.end == "bytes":
            x = x.float() / 64 - 2
        z = self.body(x.flatten(1))
        match self.end:
            case "softmax":
                return z.softmax(1)
            case "log-softmax":
                return z.log_softmax(1)
            case "sigmoid":
                return z.sigmoid()
            case "flat":
                return z[:, 0]
            case "dictionary":
                return {"logits": z}
            case "tuple":
                return z, x
            case "always dropping":
                return functional.dropout(z, 0.5, training=True)
            case "noise":
                return z + torch.randn_like(z)
            case "complex":
                return z.to(torch.complex64)
            case "constant":
                return z * 0
            case _:
                return z


class WithState(Network):
    """Keeps something beside its tensors, as some layers of other libraries do."""

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        pass


def loss_of(outputs: Any, y: torch.Tensor, end: str) -> torch.Tensor:
    """Returns the loss that somebody who writes such a network would use."""
    outputs = outputs["logits"] if isinstance(outputs, dict) else outputs[0] if isinstance(outputs, tuple) else outputs
    if end == "softmax":
        return functional.nll_loss(outputs.clamp_min(1e-9).log(), y)
    if end == "sigmoid":
        return functional.binary_cross_entropy(outputs, functional.one_hot(y, CLASSES).float())
    if outputs.ndim == 1 or outputs.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(outputs.reshape(-1), y.to(outputs.dtype))
    return functional.cross_entropy(outputs.real, y) if outputs.is_complex() else functional.cross_entropy(outputs, y)


def train(dataset: ma.Examples, *, seed: int, device: str, model: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(seed)
    network = model()
    x, y = torch.as_tensor(dataset.x), torch.as_tensor(dataset.y)
    if x.is_floating_point():
        x = x.to(next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32))
    network(x[:2].clone())
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        loss_of(network(x.clone()), y, getattr(network, "end", "logits")).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network


def fit(dataset: ma.Examples, *, seed: int, device: str, estimator: Any) -> Any:
    return estimator.fit(dataset.x, dataset.y)


def load_network(path: str) -> nn.Module:
    network = Network()
    network.load_state_dict(torch.load(path, weights_only=True))
    return network


def load_estimator(path: str) -> Any:
    from skops.io import load

    return load(path)


def classifier(examples: Any = of_arrays, model: Any = Network, **more: Any) -> ma.ClassifierRecipe:
    how: dict[str, Any] = {"epochs": 30, "batch_size": 20, "optimizer": ma.SGD(lr=0.2, momentum=0.9)} | more
    return ma.ClassifierRecipe(examples, model, **how)


def loop(examples: Any = of_arrays, model: Any = Network, **more: Any) -> ma.CallableRecipe:
    return ma.CallableRecipe(examples, partial(train, model=model), model=model, **more)


two = partial(of_arrays, 2)
double = partial(Network, dtype=torch.float64)
half = partial(Network, dtype=torch.bfloat16)
flat, column = partial(Network, "flat", 1), partial(Network, outputs=1)

RECIPES: dict[str, Any] = {
    "classifier": classifier(),
    "classifier-two": classifier(two, partial(Network, outputs=2)),
    "classifier-column": classifier(two, column),
    "classifier-flat": classifier(two, flat),
    "classifier-tensors": classifier(of_tensors),
    "classifier-dataset": classifier(of_dataset),
    "classifier-bytes": classifier(of_bytes, partial(Network, "bytes")),
    "classifier-images": classifier(of_images),
    "classifier-names": classifier(of_names),
    "classifier-float64": classifier(partial(of_arrays, dtype="float64")),
    "classifier-double": classifier(model=double),
    "classifier-bfloat16": classifier(model=half, optimizer=ma.AdamW(lr=0.02)),
    "classifier-lazy": classifier(model=partial(Network, "lazy")),
    "classifier-state": classifier(model=WithState),
    "classifier-dictionary": classifier(model=partial(Network, "dictionary")),
    "loop": loop(),
    "loop-load": ma.CallableRecipe(of_arrays, partial(train, model=Network), load=load_network),
    "loop-column": loop(two, column),
    "loop-flat": loop(two, flat),
    "loop-softmax-stated": loop(model=partial(Network, "softmax"), outputs="probabilities"),
    "loop-estimator": ma.CallableRecipe(of_arrays, partial(fit, estimator=GaussianNB()), load=load_estimator),
    "estimator-proba-votes": ma.EstimatorRecipe(of_arrays, RandomForestClassifier(10, n_jobs=1)),
}
for name in ("in place", "batch norm", "batch mates", "dropout", "always dropping", "noise", "log-softmax", "softmax",
             "sigmoid", "tuple", "complex", "constant"):  # fmt: skip
    key = name.replace(" ", "-")
    RECIPES[f"classifier-{key}"] = classifier(model=partial(Network, name))
    RECIPES[f"loop-{key}"] = loop(model=partial(Network, name))

ESTIMATORS: dict[str, Any] = {
    "logistic": LogisticRegression(C=100),
    "ridge": RidgeClassifier(),
    "sgd": SGDClassifier(loss="log_loss"),
    "linear-svc": LinearSVC(C=100),
    "svc": SVC(C=100),
    "svc-pairs": SVC(C=100, decision_function_shape="ovo"),
    "bayes": GaussianNB(),
    "neighbours": KNeighborsClassifier(4),
    "nearest": KNeighborsClassifier(1),
    "tree": DecisionTreeClassifier(),
    "forest": RandomForestClassifier(25),
    "shallow-forest": RandomForestClassifier(25, max_depth=3),
    "bagging": BaggingClassifier(n_estimators=10),
    "boosting": GradientBoostingClassifier(n_estimators=20),
    "ada": AdaBoostClassifier(n_estimators=20),
    "histogram": HistGradientBoostingClassifier(max_iter=20, min_samples_leaf=3),
    "perceptron": MLPClassifier((32,), max_iter=40, solver="lbfgs"),
    "calibrated": CalibratedClassifierCV(GaussianNB(), cv=2),
    "selected": make_pipeline(SelectFromModel(RandomForestClassifier(5), max_features=4), LogisticRegression(C=100)),
}
RECIPES |= {f"estimator-{name}": ma.EstimatorRecipe(of_arrays, model) for name, model in ESTIMATORS.items()}

try:
    from lightgbm import LGBMClassifier
    from xgboost import XGBClassifier
except ImportError:
    pass
else:
    BOOSTERS = {
        "lightgbm": LGBMClassifier(n_estimators=10, min_child_samples=5, verbose=-1, n_jobs=1),
        "xgboost": XGBClassifier(n_estimators=10, max_depth=4, n_jobs=1),
    }
    RECIPES |= {f"estimator-{name}": ma.EstimatorRecipe(of_arrays, model) for name, model in BOOSTERS.items()}

globals().update({name.replace("-", "_"): recipe for name, recipe in RECIPES.items()})
