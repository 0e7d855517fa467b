"""Which signal of several labels, or of a number, do attacks find the most members by?

    python -m benchmarks.task_signals

32 models of complementary halves; TPR at a 1 % FPR and AUC, means over all models as targets of the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_diabetes, make_friedman1, make_multilabel_classification
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.printing import head, row
from memaudit.attacks import Signal, attack
from memaudit.design import PairArrays, by_pair, halves
from memaudit.signals.multilabel import joint_logit
from memaudit.stats import auc, transferred_thresholds

Array = np.ndarray
Signals = dict[str, tuple[Array, Signal]]

MODELS, FPR = 32, 0.01
ATTACKS = ("lira-online", "slira", "rmia", "global-threshold")


def of_labels() -> Iterator[tuple[str, Signals, Array]]:
    """Yield signals of several labels: their joint scaled logit, the sum of their own, and the least of them."""
    for labels in (3, 8, 20):
        x, y = make_multilabel_classification(1000, 60, n_classes=labels, n_labels=max(2, labels // 4), random_state=0)
        y = np.where(np.random.default_rng(0).random(y.shape) < 0.05, 1 - y, y)
        x = StandardScaler().fit_transform(x)
        for estimator in (
            MLPClassifier((64,), max_iter=150, tol=10, n_iter_no_change=140),
            OneVsRestClassifier(LogisticRegression(C=100)),
        ):
            members = halves(0, MODELS, len(x))
            p = np.stack([clone(estimator).fit(x[m > 0], y[m > 0]).predict_proba(x) for m in members])
            p = np.clip(p, 1e-9, 1 - 1e-9)
            margins = np.where(y == 1, 1, -1) * (np.log(p) - np.log1p(-p))
            loss = np.logaddexp(0, -margins).sum(axis=2)
            found: Signals = {
                "joint scaled logit": (np.stack([joint_logit(m) for m in margins]), Signal.SCALED_LOGIT),
                "minus the loss": (-loss, Signal.LOG_PROBABILITY),
                "sum of scaled logits": (margins.sum(axis=2), Signal.SCALED_LOGIT),
                "least scaled logit": (margins.min(axis=2), Signal.SCALED_LOGIT),
            }
            yield f"{labels} labels, {type(estimator).__name__}", found, members


def of_numbers() -> Iterator[tuple[str, Signals, Array]]:
    """Yield signals of a number: functions of the error, in standard deviations of the labels."""
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(1200, 300))
    data = {
        "friedman": make_friedman1(1500, noise=2.0, random_state=0),
        "wide": (wide, wide[:, :10].sum(axis=1) + rng.normal(0, 2, len(wide))),
        "diabetes": load_diabetes(return_X_y=True),
    }
    network = make_pipeline(
        StandardScaler(), MLPRegressor(hidden_layer_sizes=(100,), max_iter=600, learning_rate_init=0.01)
    )
    cells: list[tuple[str, Any]] = [
        ("friedman", RandomForestRegressor(30)),
        ("friedman", GradientBoostingRegressor(n_estimators=150, max_depth=4)),
        ("wide", Ridge()),
        ("diabetes", network),
    ]
    for name, estimator in cells:
        x, y = data[name]
        members = halves(0, MODELS, len(x))
        error = np.stack([clone(estimator).fit(x[m > 0], y[m > 0]).predict(x) - y for m in members]) / y.std()
        size = np.abs(error)
        kinds = {"absolute": -size, "squared": -(size**2), "root": -np.sqrt(size), "log": -np.log1p((size / 0.1) ** 2)}
        yield (
            f"{name}, {type(estimator).__name__}",
            {kind: (values, Signal.LOG_PROBABILITY) for kind, values in kinds.items()}
            | {"signed, LiRA alone": (error, Signal.LOG_PROBABILITY)},
            members,
        )


def main() -> None:
    """Prints a row for each signal."""
    print(head("", "signal", *(f"{attacker}: TPR at 1 % FPR; AUC" for attacker in ATTACKS)))
    for source in (of_labels, of_numbers):
        for name, signals, members in source():
            for kind, (phi, unit) in signals.items():
                pairs = PairArrays(*by_pair(phi[..., None].astype(np.float32), members))
                cells = []
                for attacker in ATTACKS[:1] if "alone" in kind else ATTACKS:
                    inside, outside = attack(attacker, unit).leave_pair_out(pairs)
                    tpr = float((inside > transferred_thresholds(outside, FPR)[:, None]).mean())
                    area = np.mean([auc(a, b) for a, b in zip(inside, outside, strict=True)])
                    cells.append(f"{100 * tpr:.1f} %; {area:.3f}")
                print(row(name, kind, *cells, *["–"] * (len(ATTACKS) - len(cells))))


if __name__ == "__main__":
    main()
