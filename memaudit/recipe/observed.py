"""What was seen of a model while it trained: numbers by time and example, and the file of them beside a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped

from memaudit.errors import EvidenceError, ModelError
from memaudit.files import sha256, write_whole
from memaudit.recipe.examples import Examples

Array = np.ndarray

PREFIX = "observed."
NAMES = ("loss", "correct", "entropy", "el2n", "gradient", "input_gradient", "curvature")
_ROUNDING = 1e-2  # of a loss in half precision
_EPOCHS, _MODEL = "epochs", "model.sha256"
LARGEST = float(np.finfo(np.float16).max)  # 65504: what is larger is stored as this


@dataclass(frozen=True, eq=False)
class Observed:
    """What was seen of one model while it trained, of every measured example, members and others.

    `epochs` counts passes over the training set from 0, before training; the last is the end of training. `values` are
    by name, `[times, examples]`, in float16 and at most 65504: `loss` in nats (of a regression the absolute error in
    standard deviations of the labels), `correct` as the bank's (bool of classes; the share of an example's labels or
    of a text's tokens; the explained share of a regression), `entropy` of the model's output in nats, `el2n` the
    distance of the probabilities from the label; and on request `gradient`, `input_gradient` and `curvature`.
    """

    epochs: Float[Array, " times"]
    values: Mapping[str, Shaped[Array, "times examples"]]

    @classmethod
    def of_looks(cls, epochs: Sequence[float], looks: Sequence[Mapping[str, Array]]) -> Observed:
        """Return what looks saw, each at an epoch."""
        return cls(
            np.array(epochs, np.float32),
            {name: np.stack([_stored(look[name]) for look in looks]) for name in looks[0]},
        )

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Array]) -> Observed | None:
        """Return what `tensors` took apart, from all that was recorded of a model; None if it was not observed."""
        found = {name.removeprefix(PREFIX): value for name, value in tensors.items() if name.startswith(PREFIX)}
        epochs = found.pop(_EPOCHS, None)
        return None if epochs is None else cls(epochs, found)

    def tensors(self) -> dict[str, Array]:
        """Return the arrays by name, as they are stored."""
        return {PREFIX + name: value for name, value in ({_EPOCHS: self.epochs} | dict(self.values)).items()}

    def of(self, model: object) -> Observed:
        """Return the same: it is complete."""
        return self

    def by_unit(self, examples: Examples) -> Observed:
        """Return what was seen of each unit: the mean over its records."""
        return Observed(self.epochs, {name: examples.by_unit(values.T).T for name, values in self.values.items()})

    def take(self, rows: Int[Array, " rows"]) -> Observed:
        """Return what was seen of some examples."""
        return Observed(self.epochs, {name: values[:, rows] for name, values in self.values.items()})


def observed_beside(model: str | Path) -> Path:
    """Return where the observations of a model are."""
    return Path(model).with_name(f"{Path(model).name}.observed.safetensors")


def write_observed(model: str | Path, observed: Observed) -> None:
    """Write observations beside a model's file or folder, bound to it by its SHA-256."""
    from safetensors.numpy import save

    content = save(
        {name: np.ascontiguousarray(values) for name, values in observed.tensors().items()},
        {_MODEL: sha256(Path(model))},
    )
    write_whole(observed_beside(model), content)


def read_observed(model: str | Path, sha: str, examples: int) -> Observed | None:
    """Return the observations beside a model; None if there are none.

    They are what the model's trainer states; only the last look can be compared with the model. They serve the proxies
    of memorization alone: no attack, control or limit reads them, so that a forged file passes no audit.

    Args:
        model: The model's file or folder.
        sha: Its SHA-256.
        examples: How many examples, or units of documents, the recipe has.

    Raises:
        EvidenceError: The file is damaged, or is about another model, or about other examples.
    """
    path = observed_beside(model)
    if not path.exists() and not path.is_symlink():
        return None
    if not path.is_file():  # a pipe would be read for ever
        raise EvidenceError(f"{path} is no file. Remove it, or save the model again")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            stated = (file.metadata() or {}).get(_MODEL, "")
            found = Observed.of_tensors({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise EvidenceError(f"{path} cannot be read ({error}). Delete it, or save the model again") from error
    if stated != sha:
        raise EvidenceError(
            f"{path} was recorded while another model was trained. Delete it, or save the model with its observations: "
            "memaudit.save_target(model, path, members, recipe, observed=seen)"
        )
    if problem := "it holds no epochs" if found is None else problem_of(found, examples):
        raise EvidenceError(f"{path} does not hold the observations of this model: {problem}. Delete it")
    return found


def problem_of(observed: Observed, examples: int) -> str:
    """Return what is wrong with observations, in words; empty if nothing is."""
    epochs = observed.epochs
    if epochs.ndim != 1 or not len(epochs) or epochs.dtype != np.float32 or not np.isfinite(epochs).all():
        return "epochs are finite numbers, at least one"
    if epochs[0] < 0 or (np.diff(epochs) <= 0).any():
        return "epochs grow from 0"
    if not {"loss", "correct"} <= observed.values.keys() or (strange := set(observed.values) - set(NAMES)):
        return (
            "loss or correct is missing" if not {"loss", "correct"} <= observed.values.keys() else f"{min(strange)!r}"
        )
    for name, values in observed.values.items():
        kinds = (np.bool_, np.float16) if name == "correct" else (np.float16,)
        if values.dtype not in kinds or values.shape != (len(epochs), examples):
            return (
                f"{name} has shape {list(values.shape)} in {values.dtype}, not [{len(epochs)}, {examples}] in float16"
            )
        if not np.isfinite(values).all():
            return f"{name} is NaN or infinite"
        if values.min(initial=0) < (-_ROUNDING if name == "loss" else 0):
            return f"{name} is negative"
        if name == "correct" and values.max(initial=0) > 1:
            return "correct is above 1"
    return ""


def _stored(values: Array) -> Array:
    """Return numbers in float16, those beyond its range as its largest.

    Raises:
        ModelError: A number is NaN.
    """
    if values.dtype == bool:
        return values
    if np.isnan(values).any():
        raise ModelError("the model's output is NaN while it trains")
    return np.clip(values, -LARGEST, LARGEST).astype(np.float16)
