"""MIA027: does the model leak more about some groups of people than about others?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from memaudit.checks.attack_results import title_of
from memaudit.checks.attacked import Attacked
from memaudit.checks.evidence import Check, Evidence, Outcome, between, estimate, points_between, with_interval
from memaudit.reports.text import percent, points, rate
from memaudit.stats import clopper_pearson, cluster_mean_interval, holm, shown_groups, transferred_rate
from memaudit.stats.transfer import TransferredRate
from memaudit.types import Cell, Curve, Estimate, Figure, FigureKind, Finding, Skipped, Table

Array = np.ndarray

TITLE = "Subgroups: the group whose members are identified most often"
_METHOD = "Korn–Graubard of each group, with the variance of the threshold and between training runs; Bonferroni"
_PERMUTATIONS, _LEVEL = 2000, 0.05


@dataclass(frozen=True, slots=True)
class Group:
    """One group that is shown: the column, its name, and which units it has."""

    column: str
    name: str
    rows: Bool[Array, " units"]

    def __str__(self) -> str:
        return f"{self.column} = {self.name}"


def _subgroups(evidence: Evidence) -> Outcome:
    """Subgroups: how often the members of each group are identified, and whether some group is exposed more.

    The groups are those of columns that you name: `Examples(..., subgroups=...)`, or `subgroups = ["sex"]` in [audit]
    for columns of a table of inputs. One threshold serves all, as it does for the adversary: the audit's first attack,
    at the highest of the stated false-positive rates. Each group's TPR, measured FPR and mean memorization has an
    interval.

    The intervals are simultaneous: with 95 % confidence all of one kind hold at once, over all groups of all columns.
    Each is the interval that the whole model's number has, at the level 1 − 5 % / groups (Bonferroni). That holds for
    groups of ten, where the bootstrap has no valid quantiles.

    The result is the highest TPR of any group. Its interval goes from the highest lower end to the highest upper end.
    It holds the highest true TPR whenever all intervals hold, whichever group it is. The group with the highest
    estimate need not be the most exposed one; the estimate of a maximum is too high.

    A test for each column says whether its groups differ at all on this model: the sum over groups of
    (identified − expected)² / expected, compared with 2,000 random assignments of members to groups. The p-values are
    exact, and adjusted for the number of columns (Holm).

    A group is shown only if it has `smallest_group` members and non-members, 10 by default. If a single group is too
    small, the next larger one is hidden with it, as the difference to the total would show it. A group is hidden, too,
    if another column's group is the same but for a few people. No edition of the report shows a hidden group.

    Source: Bonferroni; Holm 1979; Fisher 1935 for the permutation test; Hundepool et al. 2012, chapter 4, for hidden
    groups; on unequal risks Kulynych et al. 2022 (PoPETs), "Disparate Vulnerability to Membership Inference Attacks".
    """
    reachable = [f for f in evidence.resolved_fprs if evidence.with_bank and _attacked(evidence).unreachable(f) is None]
    groups = _shown(evidence)
    if not groups or not reachable:
        reason = (
            f"no column has two groups with at least {evidence.smallest_group} members and non-members each, that can "
            "be shown without showing a smaller group"
            if reachable
            else "no attack with shadow models reaches any of the false-positive rates"
        )
        return (), (Skipped(code="MIA027", title=TITLE, reason=reason),)
    return (_finding(evidence, groups, max(reachable)),), ()


def _attacked(evidence: Evidence) -> Attacked:
    return evidence.attacked(evidence.with_bank[0])


def _shown(evidence: Evidence) -> list[Group]:
    columns = evidence.subgroups
    shown = shown_groups([column.of for column in columns], evidence.members, evidence.smallest_group)
    return [
        Group(column.column, column.names[group], column.of == group)
        for column, own in zip(columns, shown, strict=True)
        for group in own
    ]


def _finding(evidence: Evidence, groups: list[Group], fpr: float) -> Finding:
    attacked = _attacked(evidence)
    flagged = attacked.flagged(fpr)
    tprs = [_tpr(evidence, attacked, group, flagged, fpr) for group in groups]
    highest = estimate(max(tpr.value for tpr in tprs), lambda level: _ends(tprs, level), "share", _METHOD)
    worst = groups[int(np.argmax([tpr.value for tpr in tprs]))]
    tests = _tests(groups, flagged, evidence.members, evidence.seed)
    return Finding(
        code="MIA027",
        title=TITLE,
        metric="subgroup",
        attack=attacked.attack.name,
        at_fpr=fpr,
        estimate=highest,
        sentence=_sentence(attacked, worst, highest, fpr, tests),
        n=int(evidence.members.sum()),
        counted=f"training {evidence.unit}",
        source="Intervals of all groups at once (Bonferroni); permutation test of equal rates",
        figures=(_figure(evidence, groups, tprs, flagged, fpr),),
        tables=(_table(evidence, groups, tprs, flagged, fpr), _tested(tests, groups)),
        notes=_notes(evidence, groups),
    )


def _tpr(
    evidence: Evidence, attacked: Attacked, group: Group, flagged: Bool[Array, " units"], fpr: float
) -> TransferredRate:
    own = flagged[evidence.members & group.rows]
    among = group.rows[:: attacked.step]
    return transferred_rate(own, attacked.inside, attacked.outside, evidence.couples, fpr, among, attacked.cut(fpr))


def simultaneous(level: Float[Array, " levels"] | float, number: int) -> Float[Array, " levels"]:
    """Return the level of each of several two-sided intervals that hold at once with the stated one (Bonferroni)."""
    return np.asarray(1 - (1 - np.asarray(level)) / number)


def _ends(tprs: list[TransferredRate], level: Float[Array, " levels"] | float) -> tuple[Array, Array]:
    """Return the ends of the interval of the highest rate, from intervals that hold at once."""
    ends = [tpr.interval(simultaneous(level, len(tprs))) for tpr in tprs]
    return np.max([low for low, _ in ends], axis=0), np.max([high for _, high in ends], axis=0)


def _tests(
    groups: list[Group], flagged: Bool[Array, " units"], members: Bool[Array, " units"], seed: int
) -> dict[str, float]:
    """Return the adjusted p-value of each column: do its groups' members have the same chance of being identified?"""
    rng = np.random.default_rng(seed)
    found = {}
    for column in dict.fromkeys(group.column for group in groups):
        rows = np.stack([group.rows[members] for group in groups if group.column == column])
        there = rows.any(axis=0)
        found[column] = permutation_p_value(flagged[members][there], rows.argmax(axis=0)[there], rng)
    return dict(zip(found, holm(np.array(list(found.values()))).tolist(), strict=True))


def permutation_p_value(hits: Bool[Array, " units"], group: Int[Array, " units"], rng: np.random.Generator) -> float:
    """Return the p-value of equal shares of hits in all groups, by random assignments of units to groups.

    Given the sizes and the number of hits, the hits of the groups are multivariate hypergeometric: they are drawn as
    such.

    Source: Fisher 1935; Phipson & Smyth 2010 for (1 + as extreme) / (1 + drawn).
    """
    sizes = np.bincount(group)
    seen = np.bincount(group, hits, len(sizes))
    expected = sizes * hits.mean()
    if not 0 < hits.sum() < len(hits):
        return 1.0
    drawn = rng.multivariate_hypergeometric(sizes, int(hits.sum()), _PERMUTATIONS)
    far = ((drawn - expected) ** 2 / expected).sum(axis=1) >= ((seen - expected) ** 2 / expected).sum() - 1e-9
    return float((1 + far.sum()) / (1 + _PERMUTATIONS))


def _sentence(attacked: Attacked, worst: Group, highest: Estimate, fpr: float, tests: dict[str, float]) -> str:
    differ = [f"“{column}”" for column, p in tests.items() if p <= _LEVEL]
    told = f"The groups of {' and of '.join(differ)} differ" if differ else "No column's groups differ significantly"
    return (
        f"{title_of(attacked.attack.name)} identifies {percent(highest.value)} of the members with “{worst}” at a "
        f"{rate(fpr)} false-positive rate, the highest rate of any group; the highest true rate is "
        f"{between(highest.low, highest.high)} (95% CI, all groups at once). {told}."
    )


def _figure(
    evidence: Evidence, groups: list[Group], tprs: list[TransferredRate], flagged: Bool[Array, " units"], fpr: float
) -> Figure:
    """Return the rates of all groups, below the name of their column."""
    level = float(simultaneous(0.95, len(groups)))
    ticks: list[str] = []
    places: list[float] = []
    for number, group in enumerate(groups):
        if not number or groups[number - 1].column != group.column:
            ticks.append(group.column)
        places.append(float(len(ticks)))
        ticks.append(group.name)
    found = [(tpr.value, *map(float, tpr.interval(level))) for tpr in tprs]
    wrong = [_measured_fpr(evidence, group, flagged, level) for group in groups]
    said = "; ".join(f"{group}: {with_interval(*of)}" for group, of in zip(groups, found, strict=True))
    return Figure(
        kind=FigureKind.ROWS,
        title=f"Members identified at a {rate(fpr)} FPR, by group",
        x_label="Share of the group (95% CIs of all groups at once)",
        y_label="Group",
        curves=tuple(
            Curve(x=tuple(places), y=value, low=low, high=high, label=label)
            for label, rows in (("members (TPR)", found), ("non-members (FPR)", wrong))
            for value, low, high in [tuple(zip(*rows, strict=True))]
        ),
        ticks=tuple(ticks),
        alt=f"True-positive rate by group, at a {rate(fpr)} FPR. {said}.",
    )


def _measured_fpr(
    evidence: Evidence, group: Group, flagged: Bool[Array, " units"], level: float
) -> tuple[float, float, float]:
    """Return the share of the group's non-members that are flagged: value, low, high."""
    own = flagged[~evidence.members & group.rows]
    low, high = map(float, clopper_pearson(int(own.sum()), len(own), level))
    return float(own.mean()), low, high


def _table(
    evidence: Evidence, groups: list[Group], tprs: list[TransferredRate], flagged: Bool[Array, " units"], fpr: float
) -> Table:
    level = float(simultaneous(0.95, len(groups)))

    def row(group: Group, tpr: TransferredRate) -> tuple[Cell, ...]:
        gains = evidence.gains_of(group.rows)
        low, high = (float(end) for end in cluster_mean_interval(gains, level))
        return (
            str(group),
            int((evidence.members & group.rows).sum()),
            int((~evidence.members & group.rows).sum()),
            with_interval(tpr.value, *map(float, tpr.interval(level))),
            with_interval(*_measured_fpr(evidence, group, flagged, level)),
            f"{points(float(gains.mean()))} ({points_between(low, high)})",
        )

    return Table(
        title="Leaks by group",
        columns=(
            "Group",
            "Members",
            "Non-members",
            f"TPR at {rate(fpr)} FPR",
            "Measured FPR",
            "Memorization (points)",
        ),
        rows=tuple(map(row, groups, tprs)),
        note=(
            f"95% CIs that hold for all {len(groups)} groups at once, for each of the three measures. Memorization: "
            "its mean over the group, in percentage points."
        ),
    )


def _tested(tests: dict[str, float], groups: list[Group]) -> Table:
    return Table(
        title="Do the groups differ?",
        columns=("Column", "Groups shown", "p-value (adjusted for several columns)"),
        rows=tuple(
            (column, sum(group.column == column for group in groups), float(f"{p:.2g}")) for column, p in tests.items()
        ),
        note=f"Permutation test of equal true-positive rates on this model; {_PERMUTATIONS:,} random assignments.",
    )


def _notes(evidence: Evidence, groups: list[Group]) -> tuple[str, ...]:
    shown = {(group.column, group.name) for group in groups}
    hidden = any((column.column, name) not in shown for column in evidence.subgroups for name in column.names)
    if not hidden:
        return ()
    return (
        f"Groups with fewer than {evidence.smallest_group} members or non-members are not shown, nor are groups from "
        "which a smaller one would follow.",
    )


subgroups_check = Check("MIA027", TITLE, "subgroup", _subgroups, wanted=lambda evidence: bool(evidence.subgroups))
