"""How far each example is from the decision boundary, found by asking for labels alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import cdist

from memaudit.recipe import Examples, Recipe
from memaudit.signals.views.asking import lacks_classes, predicted
from memaudit.signals.views.changed import lacks_numbers
from memaudit.types import Level

Array = np.ndarray
Predict = Callable[[Float[Array, "rows ..."]], Int[Array, " rows"]]

_LIBRARY = "adversarial-robustness-toolbox"
_STARTS = 1000  # examples of which the nearest with another label is where a search starts
_HALVINGS = 12  # of the last line between an example and what the search found


def _installed() -> str:
    """Return the library's version, which decides what a search finds; empty without it."""
    try:
        return metadata.version(_LIBRARY)
    except metadata.PackageNotFoundError:
        return ""


@dataclass(frozen=True, slots=True)
class Boundary:
    """The Euclidean distance to the nearest input with another label that HopSkipJump found, in units of the inputs.

    It is never below the true distance, and 0 where the label of the example itself is wrong. A search starts at the
    nearest other example with another predicted label and stays in the range of all inputs. Where the model has one
    label for all, the distance is the diagonal of that range. The same random numbers are used for an example whatever
    the model, the order and the other examples.

    Attributes:
        rounds: Of the search: a line search, an estimate of the boundary's direction, and a step.
        samples: Inputs that the first estimate asks about; the number grows with the root of the round.
        most: Queries about one example at which its search ends.

    Source: Choquette-Choo et al. 2021 (ICML), distance to the decision boundary; Chen, Jordan & Wainwright 2020 (S&P),
    HopSkipJump, by the Adversarial Robustness Toolbox.
    """

    rounds: int = 5
    samples: int = 50
    most: int = 600
    seed: int = 0
    name: str = "boundary"
    level: Level = Level.LABELS
    library: str = field(default_factory=_installed)

    overhead: ClassVar[float] = 0.011  # seconds of a processor per example, beside the answers

    @property
    def queries(self) -> int:
        """At most, with those of the first and the last labels and of the last line search."""
        return 3 + self.most + _HALVINGS

    def lacks(self, recipe: Recipe, examples: Examples) -> str:
        """Return why no boundary can be searched; empty if one can."""
        if reason := lacks_classes(examples) or lacks_numbers(examples):
            return reason
        if examples.inputs.x.dtype.kind != "f":
            return "a search for the decision boundary needs inputs that vary continuously, and these are whole numbers"
        return "" if self.library else f"it needs {_LIBRARY}: pip install 'memaudit-toolkit[boundary]'"

    def see(self, network: Any, recipe: Recipe, examples: Examples, device: str) -> Float[Array, "examples columns"]:
        """Return the distances, float32, one column."""
        x, predict = examples.inputs.x.astype(np.float32), predicted(network, recipe, device)
        labels, seeds = predict(x), np.array([_seed(self.seed, name) for name in examples.ids])
        right = labels == examples.y
        found = np.where(right, np.ptp(x) * np.sqrt(x[0].size), 0.0)
        starts = _starts(x, labels, seeds)
        rows = np.flatnonzero(right & (starts >= 0))
        if len(rows):
            found[rows] = self._distances(predict, x, labels, rows, x[starts[rows]], seeds)
        return found[:, None].astype(np.float32)

    def _distances(
        self,
        predict: Predict,
        x: Float[Array, "examples ..."],
        labels: Int[Array, " examples"],
        rows: Int[Array, " some"],
        starts: Float[Array, "some ..."],
        seeds: Int[Array, " examples"],
    ) -> Float[Array, " some"]:
        """Return the distances of some rows, from their starts."""
        search, ends, nearest = _Search(predict, x, self), np.empty_like(starts), np.empty(len(rows))
        with _restored():
            for place, row in enumerate(rows):
                np.random.seed(seeds[row])  # noqa: NPY002 (the library draws from the global generator)
                ends[place], nearest[place] = search(x[row], starts[place], int(labels[row]))
        return np.minimum(nearest, _on_line(predict, x[rows], ends, labels[rows]))


class _Spent(Exception):
    """The queries about an example are used up."""


class _Search:
    """HopSkipJump, one example after another; remembers the nearest input with another label of all that it asked."""

    def __init__(self, predict: Predict, x: Float[Array, "examples ..."], how: Boundary) -> None:
        from art.attacks.evasion import HopSkipJump
        from art.estimators.classification import BlackBoxClassifier

        self.predict, self.most = predict, how.most
        model = BlackBoxClassifier(self._answer, x.shape[1:], 2, clip_values=(float(x.min()), float(x.max())))
        self.search = HopSkipJump(
            model,
            batch_size=how.most,
            max_iter=how.rounds,
            max_eval=how.most,
            init_eval=how.samples,
            verbose=False,
        )

    def __call__(self, x: Array, start: Array, label: int) -> tuple[Array, float]:
        """Return an input with another label at which the search ended, and the distance of the nearest such input."""
        self.x, self.label, self.left = x, label, self.most
        self.end, self.nearest = start, _norms(start[None] - x)[0]
        if self.predict(start[None])[0] == label:  # as one of many it had another: it is on the boundary
            return start, self.nearest
        try:
            with np.errstate(divide="ignore", invalid="ignore"):
                end = self.search.generate(x[None], np.array([[1, 0]]), x_adv_init=start[None].copy())[0]
        except _Spent:
            return self.end, self.nearest
        return end, self.nearest

    def _answer(self, x: Float[Array, "rows ..."]) -> Float[Array, "rows two"]:
        """Return, one-hot, whether inputs have the example's label or another: all that the search looks at."""
        if len(x) > self.left:
            raise _Spent
        self.left -= len(x)
        x = np.where(np.isfinite(x), x, self.x)  # a direction of length 0 leads nowhere
        other, far = self.predict(x) != self.label, _norms(x - self.x)
        nearest = int(np.where(other, far, np.inf).argmin())
        if other[nearest] and far[nearest] < self.nearest:
            self.end, self.nearest = x[nearest].copy(), far[nearest]
        return np.eye(2, dtype=np.float32)[other.astype(int)]


@contextmanager
def _restored() -> Iterator[None]:
    """Leave the global random generator as it was."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _seed(seed: int, name: Any) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:4], "big")


def _norms(x: Float[Array, "rows ..."]) -> Float[Array, " rows"]:
    return np.asarray(np.linalg.norm(x.reshape(len(x), -1).astype(np.float64), axis=1))


def _starts(
    x: Float[Array, "examples ..."], labels: Int[Array, " examples"], seeds: Int[Array, " examples"]
) -> Int[Array, " examples"]:
    """Return the nearest example with another predicted label, of at most `_STARTS`; −1 where there is none."""
    flat = x.reshape(len(x), -1)
    some = np.argsort(seeds, kind="stable")[:_STARTS]  # the same whatever the order of the examples
    found = np.full(len(x), -1)
    for label in np.unique(labels):
        others, rows = some[labels[some] != label], np.flatnonzero(labels == label)
        if len(others):
            found[rows] = others[cdist(flat[rows], flat[others]).argmin(axis=1)]
    return found


def _on_line(
    predict: Predict, x: Float[Array, "rows ..."], ends: Float[Array, "rows ..."], labels: Int[Array, " rows"]
) -> Float[Array, " rows"]:
    """Return the distance along the line to an input with another label at which the label changes, from above."""
    step = (ends - x).astype(np.float32)
    low, high = np.zeros(len(x), np.float32), np.ones(len(x), np.float32)
    crossed = predict(ends) != labels
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        other = predict(x + step * middle.reshape(-1, *[1] * (x.ndim - 1))) != labels
        low, high = np.where(other, low, middle), np.where(other, middle, high)
    return np.where(crossed, high * _norms(step), np.inf)
