"""The adversary without the model: predict membership from the data alone, without the model.

Source: Das, Zhang & Tramèr 2024, "Blind Baselines Beat Membership Inference Attacks for Foundation Models".
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

Array = np.ndarray

_COMPONENTS = 64
_FEATURES = 4096
_FLAT = 1e-4  # of the largest standard deviation of a component: below it is rounding
_BLOCK = 256  # examples that are projected at a time
_LENGTHS = (2, 3, 4, 5)  # of the character n-grams
_BUCKETS = 2**18
_SEEN = 2000  # characters of a text whose n-grams are counted; its words are counted to the end
_YEAR = re.compile(r"(?<!\d)(?:1[89]|20)\d\d(?!\d)", re.ASCII)


def blind_scores(
    x: Shaped[Array, "examples ..."],
    y: Shaped[Array, "examples ..."],
    members: Bool[Array, " examples"],
    seed: int = 0,
    folds: int = 5,
) -> Float[Array, " examples"]:
    """Return a cross-fitted log-odds of membership from features and label alone, larger = more member-like.

    Anything clearly above chance means that members and non-members are different kinds of examples (collected at
    other times, say), and that a membership attack may be reading that instead of the model.

    Under random membership, the standard deviation of the area under the curve is up to √2 times that of independent
    scores: 1.44 with 5 features, 1.2 with 300 or with small images (150 simulated draws each).

    Args:
        x: Finite numbers; `Examples` lets no others pass. More than 4,096 features are projected at random to so many.
        y: Classes from 0, several labels `[examples, labels]`, or numbers of floating-point type.
        members: Which of the examples are members.
        seed: Of the folds and projections.
        folds: Each example is scored by a model that was fitted without its fold.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    seen = features(x, y, seed)
    components = min(_COMPONENTS, seen.shape[1], len(seen) * (folds - 1) // folds)

    class Scaler(StandardScaler):  # type: ignore[misc]
        """A component that does not vary in training, as of a category that is not there, is not blown up."""

        def fit(self, rows: Array, y: Array | None = None) -> Scaler:
            super().fit(rows, y)
            fitted: Any = self
            fitted.scale_ = np.maximum(fitted.scale_, _FLAT * fitted.scale_.max())
            return self

    model = make_pipeline(
        StandardScaler(), PCA(components, random_state=seed), Scaler(), LogisticRegression(max_iter=1000)
    )
    return _cross_fitted(model, seen, members, np.arange(len(members)), seed, folds)


def features(
    x: Shaped[Array, "examples ..."], y: Shaped[Array, "examples ..."], seed: int = 0
) -> Float[Array, "examples features"]:
    """Return inputs, row by row, and labels, one column for each class unless there are many."""
    return np.hstack([_flat(x, seed), _labels(y)])


def _labels(y: Shaped[Array, "examples ..."]) -> Float[Array, "examples columns"]:
    """Return a column for each of a few classes, and other labels as they are."""
    if y.ndim == 1 and y.dtype.kind != "f" and y.max() < _COMPONENTS:
        return np.eye(int(y.max()) + 1, dtype=np.float32)[y]
    return y.reshape(len(y), -1).astype(np.float32)


def _flat(x: Shaped[Array, "examples ..."], seed: int) -> Float[Array, "examples features"]:
    """Return the features, row by row; of large images too, which as floats would not fit into the memory."""
    from sklearn.random_projection import SparseRandomProjection

    flat = x.reshape(len(x), -1)
    if flat.shape[1] <= _FEATURES:
        return flat.astype(np.float32)
    projection = SparseRandomProjection(_FEATURES, random_state=seed).fit(flat[:1])
    blocks = (flat[start : start + _BLOCK].astype(np.float32) for start in range(0, len(flat), _BLOCK))
    return np.concatenate([projection.transform(block) for block in blocks])


def blind_text_scores(
    texts: Sequence[str],
    members: Bool[Array, " texts"],
    seed: int = 0,
    folds: int = 5,
    groups: Int[Array, " texts"] | None = None,
) -> Float[Array, " texts"]:
    """Return a cross-fitted log-odds of membership from the text alone, larger = more member-like.

    A logistic regression on character n-grams (2 to 5), words, length, compressibility, shares of digits and of
    capitals, and the newest year that a text mentions. What it says above chance is no sign of memorization.

    Two texts in different folds each inform the score of the other, so under random membership the area under the curve
    varies more than that of independent scores: its standard deviation is about √2 times as large.

    Args:
        texts: The texts, members and others.
        members: Which of them are members.
        seed: Of the folds.
        folds: Each text is scored by a model that was fitted without its fold.
        groups: Number of the unit that a text belongs to: near-duplicates of one unit fall into one fold. Otherwise a
            copy in another fold would give a text away.

    Raises:
        ValueError: There is not one membership per text.
    """
    if len(texts) != len(members):
        raise ValueError(f"there are {len(texts)} texts but {len(members)} memberships")
    groups = np.arange(len(texts)) if groups is None else groups
    return _cross_fitted(_text_model(seed), _text_features(texts), members, groups, seed, folds)


def _cross_fitted(
    model: Any, features: Any, members: Bool[Array, " rows"], groups: Int[Array, " rows"], seed: int, folds: int
) -> Float[Array, " rows"]:
    """Return the decision function of models that never saw the row, nor another row of its group."""
    from sklearn.model_selection import PredefinedSplit, StratifiedKFold, cross_val_predict

    _, first, unit = np.unique(groups, return_index=True, return_inverse=True)
    fold = np.empty(len(first), dtype=np.int64)
    split = StratifiedKFold(folds, shuffle=True, random_state=seed).split(first, members[first])
    for number, (_, held_out) in enumerate(split):
        fold[held_out] = number
    return cross_val_predict(model, features, members, cv=PredefinedSplit(fold[unit]), method="decision_function")


def _text_model(seed: int) -> Any:
    """Return an unfitted classifier of the rows of `_text_features`."""
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    grams = FunctionTransformer(lambda rows: rows[:, :_BUCKETS])
    words = FunctionTransformer(lambda rows: rows[:, _BUCKETS : 2 * _BUCKETS])
    description = FunctionTransformer(lambda rows: rows[:, 2 * _BUCKETS :].toarray())
    weighted = make_union(
        make_pipeline(grams, TfidfTransformer(sublinear_tf=True)),
        make_pipeline(words, TfidfTransformer(sublinear_tf=True)),
        make_pipeline(description, StandardScaler()),
    )
    regression = LogisticRegression(solver="liblinear", dual=True, tol=0.01, max_iter=1000, random_state=seed)
    return make_pipeline(weighted, regression)


def _text_features(texts: Sequence[str]) -> Any:
    """Return counts of hashed character n-grams and words, then the description, as a sparse matrix."""
    from scipy import sparse
    from sklearn.feature_extraction.text import HashingVectorizer

    words = HashingVectorizer(
        n_features=_BUCKETS, alternate_sign=False, norm=None, token_pattern=r"\w+", dtype=np.float32
    )
    parts: list[Any] = [_gram_counts(texts), words.transform(texts), np.array([_description(text) for text in texts])]
    return sparse.hstack(parts, format="csr", dtype=np.float32)


def _gram_counts(texts: Sequence[str]) -> Any:
    """Return how often each hashed character n-gram occurs, as a sparse matrix `[texts, buckets]`."""
    from scipy import sparse

    seen = [text[:_SEEN] for text in texts]
    codes = np.frombuffer("".join(seen).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    rows = np.repeat(np.arange(len(seen), dtype=np.int32), [len(text) for text in seen])
    shape = len(seen), _BUCKETS
    counts: Any = 0
    hashed = np.zeros(len(codes), np.uint64)
    for n in range(1, max(_LENGTHS) + 1):
        places = max(0, len(codes) - n + 1)
        hashed = (hashed[:places] + codes[n - 1 :] + 1) * np.uint64(0x9E3779B97F4A7C15)
        hashed ^= hashed >> np.uint64(32)
        within = rows[:places] == rows[n - 1 :]
        if n in _LENGTHS:
            buckets = (hashed[within] % _BUCKETS).astype(np.int32)
            ones = np.ones(len(buckets), np.float32)
            counts += sparse.csr_matrix((ones, (rows[:places][within], buckets)), shape)
    return counts


def _description(text: str) -> tuple[float, ...]:
    """Return log length, compressed bytes per character, shares of digits and of capitals, and the newest year."""
    length = max(1, len(text))
    years = [int(year) for year in _YEAR.findall(text)]
    return (
        float(np.log(length)),
        len(zlib.compress(text.encode("utf-8", "surrogatepass"))) / length,
        sum(map(str.isdigit, text)) / length,
        sum(map(str.isupper, text)) / length,
        float(bool(years)),
        float(max(years) - 2000) if years else 0.0,
    )
