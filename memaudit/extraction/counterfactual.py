"""Counterfactual extraction: is a text written because it was in the training set, or would it be written anyway?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Bool, Float, Int

from memaudit.stats import newcombe_paired

Array = np.ndarray

RECITED_COPIES = 6  # more than five: Prashanth et al. 2024
_PREDICTABLE = 0.5


class Kind(StrEnum):
    """Why a text is extracted."""

    NOT_EXTRACTED = "not extracted"  # by any model
    RECITED = "recited"  # it occurs in the corpus many times
    PREDICTABLE = "predictable"  # models that lack it write it too
    MEMORIZED = "memorized"  # models that lack it demonstrably do so less
    UNRESOLVED = "unresolved"  # too few models to tell


@dataclass(frozen=True, slots=True)
class CounterfactualExtraction:
    """Shares of the models with and without each text that extract it, and their difference with its interval."""

    inside: Float[Array, " examples"]
    outside: Float[Array, " examples"]
    difference: Float[Array, " examples"]
    low: Float[Array, " examples"]
    high: Float[Array, " examples"]


def counterfactual_extraction(
    inside: Bool[Array, "pairs examples"], outside: Bool[Array, "pairs examples"], level: float = 0.95
) -> CounterfactualExtraction:
    """Return how much more often a text is extracted from models that were trained on it, per text.

    Args:
        inside: Whether the model of each pair that was trained on the text gives it away.
        outside: The same for the model that was not.
        level: Coverage of the intervals, for each text by itself.

    The two models of a pair share out the rest of the corpus, so that they are not independent: the interval is that of
    paired shares.

    Source: Newcombe 1998 (Statistics in Medicine 17:2635), method 10.
    """
    n = len(inside)
    a, b = inside.sum(axis=0), outside.sum(axis=0)
    low, high = newcombe_paired(a, b, (inside & outside).sum(axis=0), n, level)
    return CounterfactualExtraction(a / n, b / n, a / n - b / n, low, high)


def kinds(
    found: CounterfactualExtraction,
    copies: Int[Array, " examples"],
    log_ratio_low: Float[Array, " examples"] | None = None,
    recited: int = RECITED_COPIES,
    predictable: float = _PREDICTABLE,
) -> tuple[Kind, ...]:
    """Return why each text is extracted: the first of recited, predictable and memorized that holds.

    Args:
        found: How often models with and without the text extract it.
        copies: In how many documents of the corpus the text occurs.
        log_ratio_low: Low end of the interval of log p_z(inside) − log p_z(outside), as `memorization.counterfactual`
            gives it from log-probabilities in nats. Above 0 it shows memorization, even where extractions are too few.
        recited: Copies from which on a text is recited.
        predictable: A text is predictable if models without it extract it at least this many times as often as
            models with it.

    Source: recitation, reconstruction and recollection of Prashanth et al. 2024 (arXiv:2406.17746), the last two told
    apart by models that lack the text instead of by templates.
    """
    shown = found.low > 0
    if log_ratio_low is not None:
        shown |= log_ratio_low > 0
    conditions = [
        (found.inside == 0) & (found.outside == 0),
        copies >= recited,
        found.outside >= predictable * found.inside,
        shown,
    ]
    names = (Kind.NOT_EXTRACTED, Kind.RECITED, Kind.PREDICTABLE, Kind.MEMORIZED)
    which = np.select(conditions, range(len(names)), default=len(names))
    return tuple((*names, Kind.UNRESOLVED)[i] for i in which)


def written_kind(
    inside: Float[Array, " pairs"], outside: Float[Array, " pairs"], copies: int, log_ratio_low: float
) -> Kind:
    """Return why a model writes a training text that it was seen to write: as `kinds`, with chances for counts.

    A text is predictable if models without it write it at least half as likely as models with it, in the mean.

    Args:
        inside: Log-probability of the text, in nats, under the model of each pair that was trained on it.
        outside: Under the one that was not. Pairs that cannot tell are left out; without any, nothing is resolved.
        copies: In how many of the model's training documents the text occurs.
        log_ratio_low: Low end of the interval of the mean of inside − outside.

    Source: as of `kinds`.
    """
    if copies >= RECITED_COPIES:
        return Kind.RECITED
    if not len(inside):
        return Kind.UNRESOLVED
    if np.logaddexp.reduce(outside) >= np.log(_PREDICTABLE) + np.logaddexp.reduce(inside):
        return Kind.PREDICTABLE
    return Kind.MEMORIZED if log_ratio_low > 0 else Kind.UNRESOLVED
