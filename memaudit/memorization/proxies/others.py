"""What models say that were not trained on the example: its difficulty."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from memaudit.memorization.proxies.interface import Of, Others, Proxy

Array = np.ndarray

_COST = "shadow models"


def _information(others: Others) -> Float[Array, " examples"]:
    assert others.prior is not None
    return np.log2(others.prior) - others.log_probability.mean(axis=0, dtype=np.float64) / np.log(2)


C_SCORE = Proxy(
    name="c-score",
    title="C-score",
    formula="1 − P[correct | example not in training]",
    source="Jiang et al. 2021 (survey, Eq. 8), at one share of the examples",
    score=lambda others: 1 - others.correct.mean(axis=0, dtype=np.float64),
    of=Of.OTHERS,
    needs=("correct",),
    cost=_COST,
)
DISAGREEMENT = Proxy(
    name="disagreement",
    title="Ensemble disagreement",
    formula="standard deviation over models of p(label)",
    source="Carlini et al. 2019, prototypicality by ensemble agreement, on the label's probability",
    score=lambda others: np.exp(others.log_probability.astype(np.float64)).std(axis=0),
    of=Of.OTHERS,
    needs=("log_probability",),
    cost=_COST,
)
OTHERS_CONFIDENCE = Proxy(
    name="others-confidence",
    title="Ensemble confidence",
    formula="1 − mean over models of p(label)",
    source="Carlini et al. 2019, prototypicality by model confidence, over an ensemble",
    score=lambda others: 1 - np.exp(others.log_probability.astype(np.float64)).mean(axis=0),
    of=Of.OTHERS,
    needs=("log_probability",),
    cost=_COST,
)
PVI = Proxy(
    name="pvi",
    title="V-information (PVI)",
    formula="−(mean over models of log₂ p(label) − log₂ share of the class)",
    source="Ethayarajh et al. 2022, Definition 4.1, with the share of the class for the model without input",
    score=_information,
    of=Of.OTHERS,
    needs=("log_probability", "prior"),
    cost=_COST,
)
