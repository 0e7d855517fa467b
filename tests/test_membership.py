"""What membership findings say, and what gates make of them: ties, single examples, and too few members or shadows.

Random tests fix their seed. The banks are those of `benchmarks.simulation`.
"""

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from benchmarks.simulation import Law, simulated
from memaudit.checks import ClassifierEvidence, membership
from memaudit.policy import chances, hold, least_units, outlooks
from memaudit.policy.power import design_effect
from memaudit.reports.text import percent
from memaudit.types import Control, Estimate, Finding, Limit, Report, Result, Skipped, Subject, Verdict, Why

Array = np.ndarray


def _evidence(law: Law, shadows: int, examples: int, *attacks: str, fpr: float = 0.02) -> ClassifierEvidence:
    return simulated(law, shadows, examples, 1, attacks=attacks, fprs=(fpr,))


def _report(findings: tuple[Finding, ...], skipped: tuple[Skipped, ...], evidence: ClassifierEvidence) -> Report:
    members = int(evidence.members.sum())
    return Report(
        created="",
        subject=Subject(model="", sha256="", members=members, nonmembers=len(evidence.members) - members, shadows=6),
        results=tuple(Result(finding=f, verdict=Verdict.NOTED, reason="") for f in findings),
        skipped=skipped,
        controls=tuple(
            Control(code=code, title="", passed=True, sentence="") for code in ("CTL001", "CTL002", "CTL004", "CTL005")
        ),
        provenance={},
    )


# --- ties -------------------------------------------------------------------------------------------------------------


def test_ties_are_refused_with_the_nearest_rates_and_are_no_rate_of_zero() -> None:
    """Signals on six levels: the top one is that of many non-members, so that no threshold has 2 % above it."""
    evidence = _evidence(Law(name="", levels=5), 8, 600, "global-threshold")
    findings, skipped = membership.global_threshold_check.run(evidence)
    assert findings == ()
    (refused,) = skipped
    outside = evidence.attacked("global-threshold").outside
    above = float((outside == outside.max()).mean())
    assert above > 0.03
    assert "a 2% FPR cannot be reached" in refused.reason
    assert f"are 0% and {percent(above)}" in refused.reason


def test_a_limit_on_a_rate_that_ties_keep_from_is_undecided() -> None:
    evidence = _evidence(Law(name="", levels=5), 8, 600, "global-threshold")
    limit = Limit(metric="tpr", attack="global-threshold", at_fpr=0.02, max=0.5)
    held = hold(_report(*membership.global_threshold_check.run(evidence), evidence), [limit])
    assert held.results == ()
    assert held.verdict is Verdict.INCONCLUSIVE


def test_the_comparison_says_not_reached() -> None:
    evidence = _evidence(Law(name="", levels=5), 8, 600, "global-threshold", "lira-online")
    rows = {row[0]: row for row in membership._comparison(evidence).rows}
    assert rows["Loss threshold"][2] == "not reachable (ties)"
    assert str(rows["Loss threshold"][3]).startswith("0% or ")


# --- single examples --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shadows", [6, 8, 10, 16, 34])
def test_the_table_of_single_examples_has_every_example_once(shadows: int) -> None:
    evidence = _evidence(Law(name=""), shadows, 300, "lira-online")
    attacked = evidence.attacked("lira-online")
    rows = membership._single(evidence, attacked, 0.02).rows
    assert sum(int(row[1] or 0) for row in rows) == 300
    assert sum(float(row[2] or 0) for row in rows) == pytest.approx(300, abs=0.05 * len(rows) + 1e-9)
    edges = [int(n) for row in rows for n in (re.findall(r"\d+", str(row[0])) * 2)[:2]]
    pairs = shadows // 2
    assert (edges[0], edges[-1]) == (0, pairs)
    assert all(after == before + 1 for before, after in zip(edges[1::2], edges[2::2], strict=False))
    times = attacked.shadows_flagged(0.02)[1].sum(axis=0)
    assert rows[0][1] == (times == 0).sum()
    assert rows[0][2] == pytest.approx(300 * stats.binom.pmf(0, pairs, 0.02), abs=0.051)


# --- gates ------------------------------------------------------------------------------------------------------------


def test_a_finding_says_what_the_evidence_measured() -> None:
    evidence = _evidence(Law(name=""), 8, 600, "lira-online")
    (found,) = membership.online_check.run(evidence)[0]
    tpr, members = evidence.tpr("lira-online", 0.02), evidence.members
    assert (found.metric, found.at_fpr, found.n) == ("tpr", 0.02, members.sum())
    assert found.estimate.value == evidence.attacked("lira-online").flagged(0.02)[members].mean() == tpr.value
    assert (found.estimate.low, found.estimate.high) == pytest.approx([float(end) for end in tpr.interval()])
    assert tpr.design_effect > 1


@pytest.mark.parametrize("top", [0.001, 0.05])
def test_a_gate_without_power_stays_inconclusive_and_names_members_and_shadow_models(top: float) -> None:
    """Forty members and six shadows keep no limit of 5 %, whatever is found; nor break one near what is found."""
    evidence = _evidence(Law(name=""), 6, 80, "lira-online", fpr=0.03)
    findings, skipped = membership.online_check.run(evidence)
    assert findings[0].estimate.low < top < findings[0].estimate.high or top == 0.001
    limit = Limit(metric="tpr", attack="lira-online", at_fpr=0.03, max=max(top, findings[0].estimate.low + 0.001))
    (result,) = hold(_report(findings, skipped, evidence), [limit]).results
    assert (result.verdict, result.why) == (Verdict.INCONCLUSIVE, Why.UNDERPOWERED)
    assert re.fullmatch(r"about [\d,]+ more training examples and [\d,]+ more shadow models", result.needed)


def test_more_members_and_shadow_models_are_needed_in_proportion() -> None:
    """A limit at half the distance needs four times as much data; both kinds grow by the same factor."""

    def needed(top: float) -> tuple[int, int]:
        estimate = Estimate(value=0.1, low=0.02, high=0.26, unit="share", method="m")
        found = Finding(
            code="MIA", title="", metric="tpr", attack="rmia", at_fpr=0.01, estimate=estimate, sentence="", n=1000,
            source="", counted="training examples",
        )  # fmt: skip
        evidence = _evidence(Law(name=""), 6, 80, "rmia")
        (result,) = hold(_report((found,), (), evidence), [Limit(metric="tpr", max=top)]).results
        members, shadows = re.findall(r"[\d,]+(?= more)", result.needed)
        return int(members.replace(",", "")), int(shadows.replace(",", ""))

    times = (0.16 / 0.1 * (1.959964 + 0.841621) / 1.959964) ** 2
    members, shadows = needed(0.2)
    assert 1000 * (times - 1) <= members <= 1.1 * 1000 * (times - 1)
    assert 6 * (times - 1) <= shadows <= 6 * (times - 1) + 4
    assert needed(0.15)[0] == pytest.approx(1000 * (4 * times - 1), rel=0.1)


@pytest.mark.parametrize(
    ("fpr", "documented"),
    [(0.01, {6: 2.5, 8: 1.7, 16: 1.2, 64: 1.05}), (0.001, {6: 5.2, 8: 3.0, 16: 1.7, 64: 1.1})],
)
def test_design_effects_are_those_of_the_documentation(fpr: float, documented: dict[int, float]) -> None:
    for shadows, effect in documented.items():
        assert design_effect(shadows, fpr) == pytest.approx(effect, abs=0.06)


def test_design_effects_fall_with_shadows_and_rates() -> None:
    effects = [design_effect(shadows, 0.01) for shadows in (4, 6, 8, 16, 64, 1024)]
    assert effects == sorted(effects, reverse=True)
    assert effects[-1] > 1
    assert design_effect(16, 0.1) == design_effect(16, 0.01) < design_effect(16, 0.001)


@pytest.mark.parametrize("shadows", [6, 16, 64])
@pytest.mark.parametrize("fpr", [0.01, 0.001])
def test_an_outlook_counts_effective_members(shadows: int, fpr: float) -> None:
    """A gate can pass from least × design effect members on; chances are those of members/design effect."""
    limit = Limit(metric="tpr", attack="slira", at_fpr=fpr, max=0.05)
    least = least_units(limit)
    assert least == 59
    effect = design_effect(shadows, fpr)
    members = math.ceil(least * effect - 1e-6)

    def look(count: int) -> tuple[bool | None, str, Array]:
        (found,) = outlooks([limit], ["slira"], [fpr], count, 100_000, shadows)
        return found.can_pass, found.reason, np.array([c.passes for c in found.chances])

    assert look(members)[0] is True
    assert look(members - 1)[:2] == (False, "even if no member is identified, 1 more members are needed")
    of: Callable[[float], float] = lambda rate: chances(limit, int(3000 / effect + 1e-6), rate).passes  # noqa: E731
    assert look(3000)[2] == pytest.approx([of(0.05 * factor) for factor in (0.1, 0.5, 2, 5)])


def test_a_limit_at_any_rate_is_planned_for_the_lowest_that_can_be_shown() -> None:
    limit = Limit(metric="tpr", attack="slira", max=0.05)
    low, lower = (outlooks([limit], ["slira"], [0.01, 0.001], 3000, n, 8)[0].chances for n in (500, 5000))
    assert low[1].passes > lower[1].passes
    effective = int(3000 / design_effect(8, 0.001) + 1e-6)
    assert lower[1].passes == pytest.approx(chances(limit, effective, 0.025, 2).passes)
