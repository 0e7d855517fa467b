"""EXT003: canaries that a search finds without knowing them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from memaudit.checks.evidence import Check, Outcome, between, share_of, with_interval
from memaudit.checks.suffixes import silent
from memaudit.checks.text import TextEvidence, TextTargetEvidence
from memaudit.reports.text import percent
from memaudit.stats import clopper_pearson
from memaudit.types import Estimate, Finding, Skipped, Table

Array = np.ndarray

_SEARCHED = "Canaries found by search"


def _search(evidence: TextTargetEvidence) -> Outcome:
    """Extract by search: test whether the model ranks an inserted secret first among all of its form.

    A best-first search over prefixes returns the most likely secrets in exact order, without knowing the secret. A
    canary of rank 1 is returned first: anyone who knows its prefix can extract it. The result is the share of canaries
    inserted in this model that have rank 1. The number of model queries is reported too; exhaustive search would query
    every secret.

    The control uses the same searches where the canary was not inserted, in this model and in the shadow models. Hits
    there have nothing to do with training. The shadow models also show the share by number of insertions. Without a
    bank, the control is this model alone.

    Source: Carlini et al. 2019 (USENIX Security), extraction by shortest-path search.
    """
    if (reason := silent(evidence)) is not None:
        return (), (Skipped(code="EXT003", title=_SEARCHED, reason=reason),)
    planted = evidence.doses > 0
    if not planted.any():
        return (), (Skipped(code="EXT003", title=_SEARCHED, reason="no canary was inserted in this model"),)
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
        f" Median cost: {int(np.median(queries)):,} queries, for "
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
            f"A search ranks {int(first[planted].sum())} of {int(planted.sum())} inserted canaries first among all "
            f"secrets of their form ({percent(value)}, 95% CI {between(low, high)}).{cost} Control, canaries not "
            f"inserted in this model{elsewhere}: {int(control.sum()):,} of {len(control):,}."
        ),
        blind=float(control.mean()) if len(control) else None,
        n=int(planted.sum()),
        counted="inserted canaries",
        source="Carlini et al. 2019 (USENIX Security)",
        tables=(_by_dose(evidence, first), _searched(first[planted], control, cost), *more),
    )
    return (finding,), ()


def _searched(own: Bool[Array, " planted"], control: Bool[Array, " searches"], cost: str) -> Table:
    sides = (("Inserted in this model", own), ("Control", control))
    return Table(
        title="Searches for canaries that were inserted, and for others",
        columns=("Canaries", "Searches", "Rank 1"),
        rows=tuple((name, len(of), int(of.sum())) for name, of in sides),
        note=cost.strip(),
    )


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
        columns=("Inserted", "Canaries", "Rank 1", "Ranks", "Queries (median)"),
        rows=tuple(rows),
        note=(
            "Ranks are exact: the number of secrets that the model finds at least as likely. “>” is the bound proved "
            "by a search that ran out of queries."
        ),
    )


def _in_shadows(evidence: TextEvidence, first: Bool[Array, "models canaries"]) -> Table:
    doses = evidence.shadow_doses
    counted = [(int(dose), first[doses == dose]) for dose in np.unique(doses)]
    return Table(
        title="Best-first search in the shadow models",
        columns=("Inserted", "Searches", "Rank 1", "Share"),
        rows=tuple((dose, len(hits), int(hits.sum()), percent(float(hits.mean()))) for dose, hits in counted),
        note=(
            "One search per canary and shadow model. No interval is given: searches for one canary in several models "
            "are not independent."
        ),
    )
