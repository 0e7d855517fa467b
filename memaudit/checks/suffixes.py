"""Which suffixes the extraction checks use, and how often models without the text extract them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Shaped

from memaudit.checks.text import TextEvidence, TextTargetEvidence
from memaudit.design import by_pair
from memaudit.types import Skipped

Array = np.ndarray

_LEAST = 10  # of members, and of non-members


def asked(evidence: TextTargetEvidence, context: int) -> tuple[Bool[Array, " testable"], Bool[Array, " testable"]]:
    """Return the training texts, and the others, whose suffix is well specified by what is shown before it."""
    members, clear = evidence.members[evidence.population.testable], evidence.well_specified[context]
    return members & clear, ~members & clear


def usable(evidence: TextTargetEvidence) -> list[int]:
    """Return the contexts for which enough suffixes can be asked about, the shortest first."""
    contexts = evidence.population.probes.contexts
    return [c for c in map(int, np.argsort(contexts)) if min(map(np.sum, asked(evidence, c))) >= _LEAST]


def too_few(evidence: TextTargetEvidence, code: str, title: str) -> Skipped | None:
    """Return why nothing can be measured with the longest context, and what to do; None if it can."""
    if (reason := silent(evidence)) is not None:
        return Skipped(code=code, title=title, reason=reason)
    probes, members = evidence.population.probes, evidence.members[evidence.population.testable]
    counts, (trained, others) = np.bincount(members, minlength=2), asked(evidence, probes.longest)
    if counts.min() < _LEAST:
        reason = (
            f"{counts[1]} of the members and {counts[0]} of the non-members have a row in which {max(probes.contexts)} "
            f"tokens are followed by {probes.suffix} that the loss counts, and {_LEAST} of each are needed; choose a "
            "shorter suffix or shorter contexts (Probes(suffix=..., contexts=...))"
        )
    elif min(trained.sum(), others.sum()) < _LEAST:
        reason = (
            f"{trained.sum()} members and {others.sum()} non-members have a {max(probes.contexts)}-token prompt with "
            f"only one continuation in the training data, and {_LEAST} of each are needed; use longer prompts "
            "(Probes(contexts=...))"
        )
    else:
        return None
    return Skipped(code=code, title=title, reason=reason)


def silent(evidence: TextTargetEvidence) -> str | None:
    """Return why a model is not made to write; None if it is."""
    if evidence.population.writes:
        return None
    kind = "a masked model fills gaps" if evidence.population.objective == "masked" else "token_logprobs() scores text"
    return f"it needs a model that generates text, and {kind}"


def left_out(evidence: TextTargetEvidence, context: int) -> str:
    """Return how many texts are not asked about: "3 of 120"."""
    clear = evidence.well_specified[context]
    return f"{int((~clear).sum()):,} of {len(clear):,}"


def pairs_of(
    evidence: TextEvidence, values: Shaped[Array, "models testable ..."]
) -> tuple[Shaped[Array, "pairs testable ..."], Shaped[Array, "pairs testable ..."]]:
    """Return what was recorded of testable units in each model as (inside, outside) of each pair."""
    return by_pair(values, evidence.bank.members[:, evidence.population.testable])


def outside_share(evidence: TextEvidence, hits: Bool[Array, "models testable"]) -> Shaped[Array, " testable"]:
    """Return, for each testable unit, the share of the models without it that extract it."""
    return np.asarray(pairs_of(evidence, hits)[1].mean(axis=0))
