"""Whether a model scores an example the same, whenever and beside whomever: what an audit cannot do without."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from memaudit.errors import ModelError

Array = np.ndarray

_ROWS = 32  # that are scored twice
_FEW = 5  # that are scored by themselves: an odd number, so that classes in turn are not balanced
# Of the spread of an output over examples. Rounding differs with the size of a batch, by 1e-6 of it in single
# precision, 1e-3 in TF32, 1e-2 in bfloat16. Dropout moves outputs by √(p/(1−p)), 10 % at p = 0.01, and the statistics
# of 5 examples differ from those of others by 1/√5, 45 %.
_REPEATED, _ACCOMPANIED = 1e-2, 1e-1


def require_steady(
    ask: Callable[[slice], Float[Array, "rows classes"]],
    first: Float[Array, "batch classes"],
    suspects: Sequence[str] = (),
    epsilon: float = 0.0,
) -> None:
    """Scores some rows of a batch again, by themselves and twice.

    Args:
        ask: Returns the outputs for a batch of rows.
        first: Its outputs for the first batch, more than two rows.
        suspects: The layers to look at.
        epsilon: The relative rounding error of the model's outputs, if it is larger than single precision's.

    Raises:
        ModelError: An example's outputs are random, or depend on the others in its batch.
    """
    rows = slice(0, min(_ROWS, max(2, len(first) // 2)))
    spread = np.where(np.isfinite(first), first, 0.0).std(axis=0, dtype=np.float64)
    once, again = ask(rows), ask(rows)
    rounding = max(64 * float(np.finfo(np.float32).eps), 4 * epsilon)
    where = f" (look at {', '.join(suspects[:3])})" if suspects else ""
    changed = _changed(once, again, _REPEATED * spread, rounding)
    if changed > len(once) // 10:  # of a network that rounds to codes, a rounding error can move single ones
        raise ModelError(
            f"the model is random: {changed} of {len(once)} examples get other outputs when they are scored again; "
            f"dropout or noise is on in evaluation mode{where}. Switch it off outside training: F.dropout(x, p, "
            "self.training) in a network, a fixed random_state in an estimator"
        )
    middle = len(first) // 2
    few = slice(middle, min(middle + _FEW, len(first)))
    changed = _changed(first[few], ask(few), _ACCOMPANIED * spread, rounding)
    if changed > (few.stop - few.start) // 2:  # of a nearest neighbour, the batch can decide single ties
        raise ModelError(
            f"the model's outputs for an example depend on the others in its batch, for {changed} of "
            f"{few.stop - few.start} examples: it takes statistics of the batch that it scores{where}. Use those of "
            "training: BatchNorm with track_running_stats=True in evaluation mode, a scaler that is fitted in training"
        )


def _changed(
    a: Float[Array, "rows classes"], b: Float[Array, "rows classes"], allowed: Float[Array, " classes"], rounding: float
) -> int:
    """Return how many rows differ by more than is allowed, and than relative rounding."""
    finite = np.isfinite(a) & np.isfinite(b)  # a class that is masked has −inf
    a, b = np.where(finite, a, 0.0).astype(np.float64), np.where(finite, b, 0.0).astype(np.float64)
    allowed = allowed + rounding * np.maximum(np.abs(a), np.abs(b)).max(axis=0) + np.finfo(np.float32).tiny
    return int((np.square((a - b) / allowed).mean(axis=1) > 1).sum())
