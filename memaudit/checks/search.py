"""EXT003: planted secrets that a search finds without knowing them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from memaudit.checks.evidence import Check, Outcome, percent, share_of, with_interval
from memaudit.checks.suffixes import silent
from memaudit.checks.text import TextEvidence, TextTargetEvidence
from memaudit.stats import clopper_pearson
from memaudit.types import Estimate, Finding, Skipped, Table

Array = np.ndarray

_SEARCHED = "Planted canaries that a search finds"


def _search(evidence: TextTargetEvidence) -> Outcome:
    """Extraction by search: is a planted secret what the model likes best of all secrets of its form?

    A best-first search over the beginnings of secrets returns the likeliest secrets in their exact order, without being
    told what to look for. A canary of rank 1 is what it returns first: it is extracted by whoever knows what comes
    before it. The number is the share of the canaries planted in this model that have rank 1; beside it stands how many
    contexts the search read, where trying out every secret would read them all.

    The control are the same searches where the canary was not planted, in this model and in the shadow models: what is
    found there is liked best for reasons that no training has to do with. Shadows also show the share by dose; without
    a bank the control is this model alone.

    Source: Carlini et al. 2019 (USENIX Security), extraction by shortest-path search.
    """
    if (reason := silent(evidence)) is not None:
        return (), (Skipped(code="EXT003", title=_SEARCHED, reason=reason),)
    planted = evidence.doses > 0
    if not planted.any():
        return (), (Skipped(code="EXT003", title=_SEARCHED, reason="no canary was planted in this model"),)
    first = evidence.recorded["search_first"]
    value, low, high = share_of(first[planted])
    control, elsewhere = first[~planted], ""
    more: tuple[Table, ...] = ()
    if isinstance(evidence, TextEvidence):
        in_shadows = evidence.bank.stacked("search_first")
        control = np.concatenate([control, in_shadows[evidence.shadow_doses == 0]])
        elsewhere, more = " or a shadow model", (_in_shadows(evidence, in_shadows),)
    queries = evidence.recorded["search_queries"][first & planted]
    cost = (
        f" Finding them took {int(np.median(queries))} queries of the model in the median, of "
        f"{max(space.size for space in evidence.population.spaces):,} possible secrets."
        if len(queries)
        else ""
    )
    finding = Finding(
        code="EXT003",
        title=_SEARCHED,
        metric="extraction",
        attack="search",
        estimate=Estimate(value=value, low=low, high=high, unit="share", method="Clopper–Pearson"),
        sentence=(
            f"Of the {int(planted.sum())} secrets planted in this model {int(first[planted].sum())} are what the model "
            f"likes best of all secrets of their form, and are found by a search that does not know them.{cost} Of "
            f"{len(control):,} searches for a secret that was not planted, in this model{elsewhere}, "
            f"{int(control.sum()):,} find it."
        ),
        blind=float(control.mean()) if len(control) else None,
        n=int(planted.sum()),
        counted="planted canaries",
        source="Carlini et al. 2019 (USENIX Security)",
        tables=(_by_dose(evidence, first), *more),
    )
    return (finding,), ()


search_check = Check("EXT003", _SEARCHED, "extraction", _search, TextTargetEvidence)


def _by_dose(evidence: TextTargetEvidence, first: Array) -> Table:
    recorded = evidence.recorded
    rows = []
    for dose in np.unique(evidence.doses):
        here = evidence.doses == dose
        ranks = [
            f"{rank:,}" if found else f"> {rank:,}"
            for rank, found in sorted(
                zip(recorded["search_rank"][here].tolist(), recorded["search_found"][here].tolist(), strict=True)
            )
        ]
        low, high = clopper_pearson(int(first[here].sum()), int(here.sum()))
        rows.append(
            (
                int(dose),
                int(here.sum()),
                with_interval(float(first[here].mean()), float(low), float(high)),
                ", ".join(ranks[:8]) + (", …" if len(ranks) > 8 else ""),
                int(np.median(recorded["search_queries"][here])),
            )
        )
    return Table(
        title="Best-first search in this model",
        columns=("Planted", "Canaries", "Rank 1", "Ranks", "Queries (median)"),
        rows=tuple(rows),
        note=(
            "A rank is exact: the number of secrets that the model finds at least as likely. “>” is what a search that "
            "ran out of queries proves."
        ),
    )


def _in_shadows(evidence: TextEvidence, first: Bool[Array, "models canaries"]) -> Table:
    doses = evidence.shadow_doses
    counted = [(int(dose), first[doses == dose]) for dose in np.unique(doses)]
    return Table(
        title="Best-first search in the shadow models",
        columns=("Planted", "Searches", "Rank 1", "Share"),
        rows=tuple((dose, len(hits), int(hits.sum()), percent(float(hits.mean()))) for dose, hits in counted),
        note=(
            "One search for each canary in each shadow model, without an interval: searches for one canary in several "
            "models are not independent."
        ),
    )
