"""Boosters by their margins: raw scores, which do not saturate as probabilities in single precision do."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from scipy.special import expit, softmax

from memaudit.recipe.blame import blame

Array = np.ndarray

_RAW: dict[str, dict[str, Any]] = {  # how each library's classifier is asked for its margins
    "xgboost": {"output_margin": True},
    "lightgbm": {"raw_score": True},
    "catboost": {"prediction_type": "RawFormulaVal"},
}
_ROUNDING = 1e-4  # of a probability in single precision


class Boosted:
    """A booster whose decision function is its margin: the log-odds of the second of two classes, or a logit each."""

    def __init__(self, model: Any):
        self.model, self.classes_ = model, model.classes_

    def decision_function(self, x: Shaped[Array, "rows ..."]) -> Float[Array, "..."]:
        """Return the margins, in nats."""
        raw = np.asarray(self.model.predict(x, **_RAW[library_of(self.model)]), dtype=np.float64)
        return raw * float(_parameters(self.model).get("sigmoid") or 1.0)  # LightGBM's slope of the log-odds

    def predict(self, x: Shaped[Array, "rows ..."]) -> Array:
        """Return the labels that the booster predicts."""
        return np.asarray(self.model.predict(x))


def library_of(model: Any) -> str:
    """Return the library of a booster, such as "xgboost"; empty if it is none."""
    name = type(model).__module__.partition(".")[0]
    return name if name in _RAW and hasattr(model, "predict_proba") else ""


def by_margins(model: Any, x: Shaped[Array, "rows ..."]) -> Any:
    """Return a booster with its margins as decision function; any other model, and one without usable ones, as it is.

    Margins are logits if the model's own probabilities follow from them: an objective of the user's own may have none,
    and scores of one-against-all are no softmax's. XGBoost's `binary:logitraw` has logits and no probabilities.

    Args:
        model: A fitted classifier.
        x: Examples to compare both on; the model is given copies.
    """
    if not library_of(model):
        return model
    boosted = Boosted(model)
    if _parameters(model).get("objective") == "binary:logitraw":
        return boosted
    with blame("evaluating the model"):
        raw, stated = boosted.decision_function(x.copy()), np.asarray(model.predict_proba(x.copy()))
    follow = np.stack([expit(-raw), expit(raw)], axis=1) if raw.ndim == 1 else softmax(raw, axis=1)
    same = follow.shape == stated.shape and np.allclose(follow, stated, rtol=0, atol=_ROUNDING)
    return boosted if same else model


def _parameters(model: Any) -> dict[str, Any]:
    return dict(model.get_params())
