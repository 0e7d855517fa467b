"""Outputs that somebody recorded, to signals: they are what is stated, or are refused. There is no model to ask."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int, Shaped

from memaudit.errors import EvidenceError, ModelError
from memaudit.signals.evaluate import Signals
from memaudit.signals.kinds import Range, entropy_of, require_kind, signals_of

Array = np.ndarray

OfClasses = Literal["logits", "probabilities", "log-probabilities", "one-vs-rest"]
OfLabels = Literal["losses", "scaled-logits", "label-probabilities", "label-log-probabilities"]
RecordedKind = OfClasses | OfLabels
"""What recorded numbers are: one for each class (the first four); or one for each example, of its true label alone: the
cross-entropy in nats, log p − log(1 − p), p, or log p."""

OF_CLASSES, OF_LABELS = get_args(OfClasses), get_args(OfLabels)
KINDS: tuple[str, ...] = OF_CLASSES + OF_LABELS

_LEAST_LOSS = 2.0**-25  # nats: below half of what single precision leaves of 1, a loss says no more
_LARGEST_LOSS = 700.0  # exp() of more overflows
_ROUNDING = 1e-6


def recorded_signals(
    outputs: Shaped[Array, "examples ..."],
    y: Int[Array, " examples"],
    kind: str,
    correct: Shaped[Array, " examples"] | None = None,
    entropy: bool = False,
) -> Signals:
    """Return the signals of one model from its recorded outputs.

    Args:
        outputs: `[examples, classes]`; of a kind that is about the label alone `[examples]`, scaled logits also
            `[examples, queries]`.
        y: Labels.
        kind: What they are, one of `KINDS`.
        correct: Whether each example is classified correctly, where that is known. Of a kind that is about the label
            alone, an example counts as correct without it if the label's probability is above 1/2.
        entropy: Whether the modified entropy is measured, too, where the outputs are a distribution over classes.

    Raises:
        EvidenceError: They are not what is stated, or not finite.
    """
    outputs = np.asarray(outputs)
    _require_numbers(outputs, y, kind)
    entropies = None
    if kind in OF_CLASSES:
        values, told = _read_classes(outputs, y, kind)
        phi, right = signals_of(values, y, told)
        if entropy and told != "one-vs-rest":
            entropies = entropy_of(values, y, told)
    else:
        phi = _of_labels(outputs.astype(np.float64), kind)
        right = (phi if phi.ndim == 1 else phi[:, 0]) > 0
    right = right if correct is None else _given(np.asarray(correct), len(y))
    with np.errstate(over="ignore"):
        signals = (phi[:, None] if phi.ndim == 1 else phi).astype(np.float32)
    _require_finite(signals, "outputs are too large")
    return Signals(signals, right.astype(bool), kind, entropies)


def _given(correct: Array, examples: int) -> Array:
    if correct.shape != (examples,) or correct.dtype.kind not in "buif" or not np.isin(correct, (0, 1)).all():
        raise EvidenceError(
            f"correct is 0 or 1 for each of the {examples} examples; got an array of {correct.dtype}, "
            f"{list(correct.shape)}" + (", with other values" if correct.shape == (examples,) else "")
        )
    return correct > 0


def _require_finite(outputs: Array, problem: str, also: float | None = None) -> None:
    finite = np.isfinite(outputs) if also is None else np.isfinite(outputs) | (outputs == also)
    if not finite.all():
        row = int(np.flatnonzero(~finite.reshape(len(finite), -1).all(axis=1))[0])
        raise EvidenceError(f"{problem}, first those of example {row}")


def _require_numbers(outputs: Array, y: Array, kind: str) -> None:
    if kind not in KINDS:
        raise EvidenceError(f"outputs of kind {kind!r}: there are {', '.join(KINDS)}")
    wanted = "[examples, classes]" if kind in OF_CLASSES else "[examples]"
    dimensions = (2,) if kind in OF_CLASSES else (1, 2) if kind == "scaled-logits" else (1,)
    if outputs.ndim not in dimensions or len(outputs) != len(y):
        raise EvidenceError(
            f"outputs of kind {kind} have shape {wanted} for a model; got {list(outputs.shape)} for {len(y)} examples"
        )
    if outputs.dtype.kind not in "fiub":
        raise EvidenceError(f"outputs are numbers, got an array of {outputs.dtype}")
    of_zero = -np.inf if kind == "log-probabilities" else None  # the logarithm of a probability of 0
    _require_finite(outputs, "outputs are NaN or infinite", of_zero)


def _read_classes(outputs: Array, y: Array, kind: str) -> tuple[Array, OfClasses]:
    """Return outputs by class in double precision, once they are known to be what is stated."""
    classes = max(2, outputs.shape[1])
    if int(y.max()) >= classes:
        row = int(np.argmax(y >= classes))
        raise EvidenceError(f"example {row} has label {int(y[row])}, but the outputs have {classes} classes, from 0")
    values = outputs.astype(np.float64)
    if kind == "log-probabilities":
        values = np.maximum(values, np.log(np.finfo(np.float32).tiny))
    seen = Range(outputs.shape[1])
    seen.add(values)
    if kind == "logits" and seen.in_unit_interval and seen.low < seen.high:
        what = "and sums to 1 with the others of its row: they are probabilities" if seen.distributions else ""
        raise EvidenceError(
            f"stated are logits, but every output is between 0 and 1 {what}. State what they are; true logits may "
            "all be made smaller by 1, which changes nothing"
        )
    told: OfClasses = next(name for name in OF_CLASSES if name == kind)
    try:
        require_kind(seen, told, lambda: "")
    except ModelError as error:
        raise EvidenceError(str(error).replace("the recipe says", "is stated")) from error
    return values, told


def _of_labels(values: Float[Array, "examples ..."], kind: str) -> Float[Array, "examples ..."]:
    """Return φ = log p − log(1 − p) in nats from a number of the label, p kept 3e-8 away from 0 and 1."""
    low, high = float(values.min()), float(values.max())
    between = f"they reach from {low:.3g} to {high:.3g}"
    if kind == "scaled-logits":
        if high <= 0 or (low >= 0 and high <= 1):
            raise EvidenceError(
                f"stated are scaled logits, log p − log(1 − p), but {between}, as of "
                + ("log p" if high <= 0 else "p")
                + ". State what they are"
            )
        return values
    if kind == "label-probabilities":
        if low < 0 or high > 1 + _ROUNDING:
            raise EvidenceError(f"stated are probabilities of the label, but {between}")
        with np.errstate(divide="ignore"):
            values = -np.log(np.minimum(values, 1.0))
    elif kind == "label-log-probabilities":
        if high > _ROUNDING:
            raise EvidenceError(f"stated are logarithms of probabilities, but {between}; a logarithm is at most 0")
        values = -values
    elif low < -_ROUNDING:
        raise EvidenceError(f"stated are losses, but {between}; a cross-entropy is at least 0")
    loss = np.clip(values, _LEAST_LOSS, _LARGEST_LOSS)
    return np.asarray(-np.log(np.expm1(loss)))
