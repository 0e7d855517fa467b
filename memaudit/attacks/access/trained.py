"""Attack classifiers: trained on shadow models' answers to tell members from non-members, cross-fitted by pair."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from memaudit.attacks.access.columns import reduced_pairs, reduced_target
from memaudit.attacks.interface import blocks, read
from memaudit.design import Pairs
from memaudit.types import Level

Array = np.ndarray

Features = Callable[[Float[Array, "... columns"]], Float[Array, "... features"]]

_ROWS = 40_000  # of either side that a classifier is trained on, at most
_LEAST = 100  # of a class, of either side; a smaller class shares the classifier of all
_HIDDEN, _PASSES, _RATE = 64, 20, 0.01
_SEED = 0


@dataclass(frozen=True, slots=True)
class Trained:
    """Score by the log-odds of a classifier, trained on other shadow models' members and non-members.

    The pairs of the bank are dealt into two halves. A shadow model is scored by the classifier of the other half, so
    never by one that saw it or its twin. The target is scored by the classifier that scores the last pair.

    Attributes:
        features: What the classifier is given, from a view's columns.
        by_class: Whether each class has a classifier of its own.
        hidden: Units of the one hidden layer; 0 for a logistic regression.
        shadows: The number of pairs whose answers a classifier is trained on; 0 means all of the half.
    """

    name: str
    source: str
    level: Level
    view: str
    features: Features
    by_class: bool = False
    hidden: int = _HIDDEN
    shadows: int = 0
    y: Int[Array, " examples"] | None = None
    fitted: tuple[Any, ...] = ()

    def labelled(self, y: Int[Array, " examples"]) -> Trained:
        """Return the attack for examples with these labels."""
        return replace(self, y=y)

    def learn(self, pairs: Pairs) -> Trained:
        """Return the attack with the classifiers of both halves.

        Raises:
            ValueError: Fewer than 2 pairs.
        """
        count = pairs.shape[0]
        if count < 2:
            raise ValueError(f"the attack needs at least 2 pairs of models, got {count}")
        halves = [np.flatnonzero(np.arange(count) % 2 != half) for half in (0, 1)]
        return replace(self, fitted=tuple(self._fit(pairs, half[: self.shadows or None]) for half in halves))

    def scores(self, target: Float[Array, "examples columns"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return the log-odds of membership of a target."""
        known = self if self.fitted else self.learn(pairs)
        by = known.fitted[(pairs.shape[0] - 1) % 2]
        return reduced_target(lambda columns, block: known._odds(by, columns, block), target)

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside) log-odds of every bank model, by the classifier of the other half."""
        known = self if self.fitted else self.learn(pairs)

        def odds(columns: Array, block: slice) -> Array:
            return np.stack([known._odds(known.fitted[t % 2], of, block) for t, of in enumerate(columns)])

        return reduced_pairs(odds, pairs)

    def _classes(self, examples: int) -> Int[Array, " examples"]:
        return self.y if self.by_class and self.y is not None else np.zeros(examples, np.int64)

    def _fit(self, pairs: Pairs, chosen: Int[Array, " some"]) -> dict[int, Any]:
        """Return a classifier for each class, and one of all under −1."""
        some = pairs.take(chosen)
        count, examples, _ = some.shape
        classes, rng = self._classes(examples), np.random.default_rng(_SEED)
        share = min(1.0, _ROWS / (count * examples))
        if self.by_class:  # small classes are few rows of all
            share = min(1.0, share * max(1, len(np.unique(classes)) // 4))
        sides: tuple[list[Array], list[Array]] = ([], [])
        places = []
        for block in blocks(some):
            kept = rng.random((count, block.stop - block.start)) < share
            for rows, values in zip(sides, read(some, block), strict=True):
                rows.append(self.features(values[kept].astype(np.float64)))
            places.append(np.broadcast_to(classes[block], kept.shape)[kept])
        inside, outside, place = np.concatenate(sides[0]), np.concatenate(sides[1]), np.concatenate(places)
        found = {-1: self._classifier(inside[: 2 * _ROWS], outside[: 2 * _ROWS])}
        for one in np.unique(place) if self.by_class else ():
            here = place == one
            if here.sum() >= _LEAST:
                found[int(one)] = self._classifier(inside[here], outside[here])
        return found

    def _classifier(self, inside: Array, outside: Array) -> Any:
        from sklearn.linear_model import LogisticRegression
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        last = (
            MLPClassifier(
                (self.hidden,),
                batch_size=min(256, 2 * len(inside)),
                max_iter=_PASSES,
                random_state=_SEED,
                learning_rate_init=_RATE,
            )
            if self.hidden
            else LogisticRegression()
        )
        classifier = make_pipeline(StandardScaler(), last)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a number of passes that is fixed
            classifier.fit(np.concatenate([inside, outside]), np.repeat([1, 0], [len(inside), len(outside)]))
        return classifier

    def _odds(self, by: dict[int, Any], columns: Float[Array, "*rows columns"], block: slice) -> Float[Array, " *rows"]:
        rows = self.features(columns)
        classes, found = self._classes(block.stop)[block], np.empty(len(rows))
        for one in np.unique(classes):
            here = classes == one
            found[here] = _log_odds(by.get(int(one), by[-1]), rows[here])
        return found


def _log_odds(classifier: Any, rows: Float[Array, "rows features"]) -> Float[Array, " rows"]:
    logs = classifier.predict_log_proba(rows)
    return np.asarray(np.clip(logs[:, 1], -700, 0) - np.clip(logs[:, 0], -700, 0))


def confidence_vector(columns: Float[Array, "... columns"]) -> Float[Array, "... columns"]:
    """Return the confidences, the label's first, as logarithms of at least 1e-10."""
    return np.maximum(columns, np.log(1e-10))


def top_three(columns: Float[Array, "... columns"]) -> Float[Array, "... three"]:
    """Return the three largest confidences in falling order, whatever their classes, as logarithms."""
    return np.maximum(-np.sort(-columns, axis=-1)[..., :3], np.log(1e-10))


def as_they_are(columns: Float[Array, "... columns"]) -> Float[Array, "... columns"]:
    """Return the columns themselves."""
    return columns


AUGMENTATION = Trained(
    "augmentation-votes",
    "Choquette-Choo et al. 2021 (ICML), section 4.2, translations",
    Level.LABELS,
    "augmentation-votes",
    as_they_are,
    hidden=10,
)
SHOKRI = Trained(
    "shokri",
    "Shokri et al. 2017 (S&P): one attack model for each class",
    Level.CONFIDENCES,
    "confidences",
    confidence_vector,
    by_class=True,
)
SALEM = Trained(
    "salem",
    "Salem et al. 2019 (NDSS), adversary 1: one shadow model, three largest confidences",
    Level.TOP,
    "confidences",
    top_three,
    shadows=1,
)
