"""The one place where a number becomes a verdict: the interval decides, never the point."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memaudit import reports, stats
from memaudit.policy import SHADOW_SECONDS, compare, exit_code, hold, holm
from memaudit.types import (
    Bounds,
    Control,
    Estimate,
    Figure,
    FigureKind,
    Finding,
    Limit,
    OnInconclusive,
    Report,
    Result,
    Skipped,
    Subject,
    Verdict,
    Waiver,
    WaiverState,
    Why,
    worst,
)

CONTROLS = ("CTL001", "CTL002", "CTL005", "CTL003", "CTL004", "CTL006")
TODAY = date(2026, 11, 23)
MODEL = "ab" * 32


def finding(value: float, low: float, high: float, unit: str = "share", **changes: object) -> Finding:
    known = {"metric": "tpr", "attack": "lira-online", "at_fpr": 0.01, "n": 1, "title": "t"} | changes
    return Finding(
        code="MIA001",
        estimate=Estimate(value=value, low=low, high=high, unit=unit, method="m"),
        sentence="s",
        source="s",
        **known,  # type: ignore[arg-type]
    )


def share(hits: int, n: int, attack: str | None = "lira-online", counted: str = "examples") -> Finding:
    """What a check says of `hits` among `n`."""
    low, high = stats.clopper_pearson(hits, n)
    return finding(hits / n, float(low), float(high), n=n, attack=attack, counted=counted)


def bits(value: float, low: float, high: float, **changes: object) -> Finding:
    """An estimate of which a report keeps nothing but the interval."""
    return finding(value, low, high, unit="bits", metric="exposure", attack=None, at_fpr=None, **changes)


def control(code: str, passed: bool | None = True) -> Control:
    return Control(code=code, title=f"title of {code}", passed=passed, sentence="s")


def report(*findings: Finding, controls: Sequence[Control] = (), **changes: object) -> Report:
    passed = {code: control(code) for code in CONTROLS} | {c.code: c for c in controls}
    known: dict[str, object] = {"skipped": (), "provenance": {}} | changes
    return Report(
        created="2026-11-23T10:00:00+00:00",
        subject=Subject(model="m", sha256=MODEL, members=100, nonmembers=100, shadows=16),
        results=tuple(Result(finding=f, verdict=Verdict.NOTED, reason="r") for f in findings),
        controls=tuple(passed.values()),
        **known,  # type: ignore[arg-type]
    )


def _binomial(k: int, n: int, rate: float) -> float:
    """The probability of k hits among n."""
    choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(choose + k * math.log(rate) + (n - k) * math.log1p(-rate))


def judged(finding: Finding, limit: Limit, **changes: object) -> Result:
    return hold(report(finding, **changes), [limit]).results[0]  # type: ignore[arg-type]


# ---- one limit


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.05, 0.09, Verdict.PASS),
        (0.05, 0.10, Verdict.PASS),
        (0.05, 0.11, Verdict.INCONCLUSIVE),
        (0.10, 0.11, Verdict.INCONCLUSIVE),
        (0.101, 0.2, Verdict.FAIL),
        (float("nan"), float("nan"), Verdict.INCONCLUSIVE),
        (0.0, float("nan"), Verdict.INCONCLUSIVE),
    ],
)
def test_a_limit_is_broken_by_the_low_end_and_kept_by_the_high_end(low: float, high: float, verdict: Verdict) -> None:
    limit = Limit(metric="tpr", max=0.1)
    result = judged(finding(0.08, low, high), limit)
    assert (result.verdict, result.limit) == (verdict, limit)
    assert result.why is (Why.UNDERPOWERED if verdict is Verdict.INCONCLUSIVE else None)


def test_without_a_limit_nothing_is_judged() -> None:
    others = [Limit(metric="memorization", max=0), Limit(metric="tpr", attack="lira-offline", max=0, required=False)]
    held = hold(report(finding(0.9, 0.8, 1.0)), others)
    assert [(r.verdict, r.limit) for r in held.results] == [(Verdict.NOTED, None)]


@pytest.mark.parametrize(
    ("limit", "covered"),
    [
        (Limit(metric="tpr", max=0.1), True),
        (Limit(metric="tpr", attack="lira-online", max=0.1), True),
        (Limit(metric="tpr", attack="lira-online", at_fpr=0.01, max=0.1), True),
        (Limit(metric="tpr", at_fpr=0.001, max=0.1), False),
        (Limit(metric="tpr", attack="lira-offline", max=0.1), False),
        (Limit(metric="link", max=0.1), False),
    ],
)
def test_what_a_limit_leaves_open_covers_everything(limit: Limit, covered: bool) -> None:
    assert limit.covers(finding(0, 0, 0)) is covered
    held = hold(report(finding(0, 0, 0)), [limit])
    assert (held.results[0].limit is not None) is covered
    assert (held.skipped == ()) is covered


@pytest.mark.parametrize(("required", "verdict", "code"), [(True, "inconclusive", 3), (False, "noted", 0)])
def test_a_limit_that_nothing_was_held_against_is_undecided_if_it_is_required(
    required: bool, verdict: str, code: int
) -> None:
    limit = Limit(metric="tpr", attack="lira-online", at_fpr=0.001, max=0.1, required=required)
    held = hold(report(), [limit])
    (skipped,) = held.skipped
    assert (skipped.verdict, skipped.limit) == (verdict, limit)
    assert "tpr of lira-online at 0.001 FPR ≤ 0.1" in skipped.title
    assert exit_code(held) == code


# ---- shares: exact


@pytest.mark.parametrize("n", [1, 2, 37, 40_000])
def test_the_hits_of_a_share_are_regained_from_the_report(n: int) -> None:
    for hits in {0, 1, n // 3, n - 1, n}:
        assert compare(Limit(metric="tpr", max=0.5), share(hits, n)).hits == hits


@pytest.mark.parametrize(
    "strange",
    [
        dataclasses.replace(share(7, 50), n=51),
        finding(7 / 50, 0.05, 0.26, n=50),
        finding(7 / 50, float(share(7, 50).estimate.low), 0.3, n=50),
        finding(0.14, float(stats.wilson(7, 50)[0]), float(stats.wilson(7, 50)[1]), n=50),
        bits(7 / 50, float(share(7, 50).estimate.low), float(share(7, 50).estimate.high)),
    ],
)
def test_another_interval_than_that_of_the_hits_is_taken_as_it_stands(strange: Finding) -> None:
    compared = compare(Limit(metric="tpr", max=0.9), strange)
    assert compared.hits is None
    assert compared.bounds(0.05) == Bounds(confidence=0.975, low=strange.estimate.low, high=strange.estimate.high)


@pytest.mark.parametrize("limit", [0.0, 0.003, 0.1, 0.5, 0.97])
@pytest.mark.parametrize("n", [1, 12, 90])
def test_p_values_are_sums_of_binomial_probabilities(n: int, limit: float) -> None:
    """And they agree with the bounds: p ≤ α just when the bound at confidence 1 − α clears the limit."""
    weights = [math.comb(n, k) * limit**k * (1 - limit) ** (n - k) for k in range(n + 1)]
    for hits in range(n + 1):
        compared = compare(Limit(metric="tpr", max=limit), share(hits, n))
        assert compared.p_kept == pytest.approx(sum(weights[: hits + 1]), abs=1e-12)
        assert compared.p_broken == pytest.approx(sum(weights[hits:]), abs=1e-12)
        for alpha in (0.2, 0.05, 0.001):
            bounds = compared.bounds(alpha)
            assert (compared.p_kept <= alpha) == (bounds.high <= limit)
            assert (compared.p_broken <= alpha) == (bounds.low > limit)


@pytest.mark.parametrize(("limit", "verdict"), [(1.0, "pass"), (1.5, "pass"), (-0.1, "fail"), (0.0, "inconclusive")])
def test_limits_that_no_share_or_every_share_exceeds(limit: float, verdict: str) -> None:
    for hits in (0, 3, 20):
        expected = "fail" if (hits, limit) in ((3, 0.0), (20, 0.0)) else verdict
        assert judged(share(hits, 20), Limit(metric="tpr", max=limit)).verdict == expected


@pytest.mark.parametrize(("limit", "members"), [(0.05, 59), (0.01, 299), (0.005, 598), (0.001, 2995)])
def test_the_least_members_of_whom_none_is_found(limit: float, members: int) -> None:
    """ln 0.05 / ln(1 − limit), rounded up."""
    assert judged(share(0, members), Limit(metric="tpr", max=limit)).verdict is Verdict.PASS
    short = judged(share(0, members - 1), Limit(metric="tpr", max=limit))
    assert (short.verdict, short.why, short.needed) == (
        Verdict.INCONCLUSIVE,
        Why.UNDERPOWERED,
        "at least 1 more examples",
    )


def test_the_bound_is_one_sided_at_the_confidence_of_the_limit() -> None:
    """20 of 500: 95 % two-sided reach to 6.11 %, 95 % one-sided to 5.76 %, and 99 % one-sided to 6.61 %."""
    found = share(20, 500)
    for limit, confidence, verdict in ((0.058, 0.95, "pass"), (0.058, 0.99, "inconclusive"), (0.0662, 0.99, "pass")):
        assert judged(found, Limit(metric="tpr", max=limit, confidence=confidence)).verdict == verdict
    assert "upper bound 5.76% at 95% confidence, limit 5.8%" in judged(found, Limit(metric="tpr", max=0.058)).reason


@pytest.mark.parametrize("confidence", [0.5, 1.0, 0.0, 95.0])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match=f"got {confidence}"):
        judged(share(1, 9), Limit(metric="tpr", max=0.1, confidence=confidence))


# ---- other numbers: as sure as the interval in the report


@pytest.mark.parametrize(
    ("confidence", "verdict"), [(0.9, "pass"), (0.95, "pass"), (0.975, "pass"), (0.976, "inconclusive")]
)
def test_the_ends_of_an_interval_are_sure_to_975_in_1000(confidence: float, verdict: str) -> None:
    result = judged(bits(2, 1, 3), Limit(metric="exposure", max=4, confidence=confidence))
    assert result.verdict == verdict
    if verdict == "pass":
        assert "upper bound 3 bits at 97.5% confidence, limit 4 bits" in result.reason
    else:
        assert result.why is Why.CONFIDENCE
        assert "only at 97.5% confidence; 97.6% is required" in result.reason


def test_three_intervals_at_once_are_not_sure_enough_and_two_are() -> None:
    limits = [Limit(metric="exposure", max=top, id=f"g{top}") for top in (4, 5, 6)]
    two = hold(report(bits(2, 1, 3)), limits[:2])
    assert [r.verdict for r in two.results] == [Verdict.PASS, Verdict.PASS]
    three = hold(report(bits(2, 1, 3)), limits)
    assert {(r.verdict, r.why) for r in three.results} == {(Verdict.INCONCLUSIVE, Why.CONFIDENCE)}
    assert "98.33% is required for 3 joint comparisons" in three.results[0].reason


def laddered(**ends: float) -> Finding:
    """A mean exposure of 2 bits with bounds ±ends at 95 %, 97.5 %, … of confidence."""
    bounds = tuple(Bounds(confidence=float(f"0.{key[1:]}"), low=2 - end, high=2 + end) for key, end in ends.items())
    found = bits(2, 2 - ends["c975"], 2 + ends["c975"])
    return dataclasses.replace(found, estimate=dataclasses.replace(found.estimate, bounds=bounds))


LADDER = {"c95": 1.0, "c975": 1.2, "c99": 1.5, "c999": 2.0}


@pytest.mark.parametrize(
    ("confidence", "top", "verdict", "why"),
    [
        (0.95, 3.0, "pass", None),
        (0.95, 2.9, "inconclusive", Why.UNDERPOWERED),
        (0.96, 3.1, "inconclusive", Why.UNDERPOWERED),  # held to the next surer bound, 3.2
        (0.96, 3.2, "pass", None),
        (0.99, 3.4, "inconclusive", Why.UNDERPOWERED),
        (0.99, 3.5, "pass", None),
        (0.9995, 3.9, "inconclusive", Why.UNDERPOWERED),
        (0.9995, 4.0, "inconclusive", Why.CONFIDENCE),  # 99.9 % is the surest
        (0.99, 0.4, "fail", None),
        (0.99, 0.6, "inconclusive", Why.UNDERPOWERED),
    ],
)
def test_a_limit_is_held_against_the_next_surer_bound_that_a_report_keeps(
    confidence: float, top: float, verdict: str, why: Why | None
) -> None:
    result = judged(laddered(**LADDER), Limit(metric="exposure", max=top, confidence=confidence))
    assert (result.verdict, result.why) == (verdict, why)


def test_five_gates_on_numbers_with_bounds_can_all_pass_at_once() -> None:
    limits = [Limit(metric="exposure", max=top, id=f"g{top}") for top in (3.5, 4, 5, 6, 7)]
    held = hold(report(laddered(**LADDER)), limits)
    assert [r.verdict for r in held.results] == [Verdict.PASS] * 5
    assert [r.verdict for r in hold(report(bits(2, 0.8, 3.2)), limits).results] == [Verdict.INCONCLUSIVE] * 5


# ---- several limits


def _holm(p: Sequence[float], alpha: Sequence[float]) -> set[int]:
    """Holm's procedure by its definition: reject the least ratio while it is at most 1 / the number that are left."""
    left, rejected = set(range(len(p))), set()
    while left:
        least = min(left, key=lambda i: p[i] / alpha[i])
        if p[least] * len(left) > alpha[least]:
            break
        left.remove(least)
        rejected.add(least)
    return rejected


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.01, 0.05, 0.1])), max_size=6))
def test_holms_procedure_is_the_one_in_the_book(pairs: list[tuple[float, float]]) -> None:
    p, alpha = [p for p, _ in pairs], [a for _, a in pairs]
    steps = holm(p, alpha)
    assert {i for i, step in enumerate(steps) if step.rejected} == _holm(p, alpha)
    for value, level, step in zip(p, alpha, steps, strict=True):
        if step.rejected:
            assert value <= level / step.divisor * (1 + 1e-9)
    if pairs and len(set(alpha)) == 1:
        adjusted = stats.holm(np.array(p))
        assert [step.rejected for step in steps] == [bool(a <= alpha[0]) for a in adjusted]


def test_the_next_best_of_several_limits_is_held_to_less() -> None:
    """0.03 is no p-value for the first of two limits, and good enough for the second."""
    assert [s.rejected for s in holm([0.03, 0.03], [0.05, 0.05])] == [False, False]
    assert [(s.rejected, s.divisor) for s in holm([0.03, 0.01], [0.05, 0.05])] == [(True, 1), (True, 2)]


def _any_false_pass(hits: Sequence[int], n: int, limit: float) -> bool:
    findings = [share(k, n, attack=f"a{i}") for i, k in enumerate(hits)]
    limits = [Limit(metric="tpr", attack=f"a{i}", max=limit) for i in range(len(hits))]
    return any(r.verdict is Verdict.PASS for r in hold(report(*findings), limits).results)


def test_of_several_broken_limits_one_is_said_to_be_kept_in_at_most_five_of_a_hundred_audits() -> None:
    """Exactly: the least of three numbers of hits decides, for independent attacks and for attacks that find the same.

    At a true share just above the limit. Without Holm's procedure one of three independent ones would be too often.
    """
    n, limit = 700, 0.05
    least = max(k for k in range(60) if _any_false_pass([k, n, n], n, limit))
    assert _any_false_pass([least, least, least], n, limit)
    weights = [_binomial(k, n, limit) for k in range(n + 1)]
    one = sum(weights[: least + 1])
    assert one > 0.005
    assert 1 - (1 - one) ** 3 <= 0.05
    alone = max(k for k in range(60) if _any_false_pass([k], n, limit))
    assert 1 - (1 - sum(weights[: alone + 1])) ** 3 > 0.05


def test_every_limit_that_is_about_a_finding_has_its_result_and_pictures_come_once() -> None:
    figure = Figure(kind=FigureKind.ROC, title="t", x_label="x", y_label="y", curves=(), alt="a")
    found = dataclasses.replace(share(300, 1000), figures=(figure,), notes=("n",))
    limits = [Limit(metric="tpr", max=0.5), Limit(metric="tpr", at_fpr=0.01, max=0.1)]
    held = hold(report(found, bits(2, 1, 3)), limits)
    assert [(r.limit, r.verdict) for r in held.results] == [
        (limits[0], Verdict.PASS),
        (limits[1], Verdict.FAIL),
        (None, Verdict.NOTED),
    ]
    assert [len(r.finding.figures) for r in held.results] == [1, 0, 0]
    assert (held.verdict, exit_code(held)) == (Verdict.FAIL, 1)
    assert hold(held, limits) == held
    assert hold(held, limits[:1]).results[0].finding == found
    assert len(hold(held, limits[:1]).results) == 2


def test_the_worst_verdict_wins() -> None:
    assert worst([]) is Verdict.NOTED
    assert worst([Verdict.NOTED, Verdict.PASS]) is Verdict.PASS
    assert worst([Verdict.PASS, Verdict.INCONCLUSIVE]) is Verdict.INCONCLUSIVE
    assert worst([Verdict.INCONCLUSIVE, Verdict.FAIL, Verdict.PASS]) is Verdict.FAIL


def test_limits_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="tpr, tpr"):
        hold(report(), [Limit(metric="tpr", max=0.1), Limit(metric="tpr", max=0.2)])


# ---- controls


@pytest.mark.parametrize("passed", [False, None])
@pytest.mark.parametrize("code", CONTROLS)
@pytest.mark.parametrize("metric", ["tpr", "traceability", "exposure", "memorization"])
def test_a_pass_needs_every_control(metric: str, code: str, passed: bool | None) -> None:
    """One that failed takes every pass away; one that was not run those of the metrics that rest on it."""
    found = finding(0.05, 0.04, 0.06, metric=metric, attack=None, at_fpr=None)
    own = {"tpr": {"CTL004"}, "traceability": {"CTL004"}, "exposure": {"CTL006"}, "memorization": set()}
    needed = own[metric] | {"CTL001", "CTL002", "CTL005"}
    result = judged(found, Limit(metric=metric, max=0.1), controls=[control(code, passed)])
    if passed is None and code not in needed:
        assert result.verdict is Verdict.PASS
    else:
        assert (result.verdict, result.why) == (Verdict.INCONCLUSIVE, Why.CONTROL)
        assert (f"title of {code}" if passed is False else code) in result.reason
        assert result.needed == (
            "more shadow models" if (code, passed) == ("CTL005", False) else "an audit whose controls pass"
        )


def test_a_report_without_controls_is_no_pass() -> None:
    bare = dataclasses.replace(report(finding(0.05, 0.04, 0.06)), controls=())
    result = hold(bare, [Limit(metric="tpr", max=0.1)]).results[0]
    assert (result.verdict, result.why) == (Verdict.INCONCLUSIVE, Why.CONTROL)
    assert all(code in result.reason for code in ("CTL001", "CTL002", "CTL004", "CTL005"))


def test_a_broken_limit_stays_broken_beside_a_failed_control() -> None:
    held = hold(report(finding(0.3, 0.2, 0.4), controls=[control("CTL002", False)]), [Limit(metric="tpr", max=0.1)])
    assert (held.verdict, exit_code(held)) == (Verdict.FAIL, 1)


@pytest.mark.parametrize("metric", ["tpr", "memorization"])
def test_a_number_that_a_failed_control_shows_to_be_too_high_breaks_no_limit(metric: str) -> None:
    found = finding(0.3, 0.2, 0.4, metric=metric, attack=None, at_fpr=None)
    failed = dataclasses.replace(control("CTL004", False), overstates=("tpr",))
    held = hold(report(found, controls=[failed]), [Limit(metric=metric, max=0.1)])
    result = held.results[0]
    if metric == "tpr":
        assert (result.verdict, result.why, exit_code(held)) == (Verdict.INCONCLUSIVE, Why.CONTROL, 3)
        assert "title of CTL004" in result.reason
    else:
        assert (result.verdict, exit_code(held)) == (Verdict.FAIL, 1)


@pytest.mark.parametrize(
    ("verdict", "passed", "expected"),
    [
        (Verdict.PASS, True, Verdict.PASS),
        (Verdict.PASS, None, Verdict.PASS),
        (Verdict.PASS, False, Verdict.INCONCLUSIVE),
        (Verdict.NOTED, False, Verdict.INCONCLUSIVE),
        (Verdict.NOTED, True, Verdict.NOTED),
        (Verdict.FAIL, False, Verdict.FAIL),
    ],
)
def test_a_failed_control_takes_away_every_good_verdict_of_a_report(
    verdict: Verdict, passed: bool | None, expected: Verdict
) -> None:
    whole = dataclasses.replace(
        report(controls=[control("CTL001", passed)]),
        results=(Result(finding=finding(0, 0, 0), verdict=verdict, reason="r"),),
        skipped=(Skipped(code="LNK001", title="t", reason="r"),),
    )
    assert whole.verdict is expected


@pytest.mark.parametrize(("attack", "verdict", "code"), [("rmia", Verdict.INCONCLUSIVE, 3), ("slira", Verdict.PASS, 0)])
def test_a_control_that_failed_for_one_attack_stops_the_limits_on_that_attack_alone(
    attack: str, verdict: Verdict, code: int
) -> None:
    failed = dataclasses.replace(control("CTL004", False), attacks=("rmia",))
    found = [share(0, 1000, attack=name) for name in ("slira", "rmia")]
    held = hold(report(*found, controls=[failed]), [Limit(metric="tpr", attack=attack, max=0.1)])
    assert (held.verdict, exit_code(held)) == (verdict, code)
    without = hold(report(*found, controls=[failed]), [])
    assert (without.verdict, exit_code(without)) == (Verdict.INCONCLUSIVE, 3)


def test_without_limits_the_exit_code_is_that_of_the_controls() -> None:
    assert exit_code(report(share(5, 9))) == 0
    assert exit_code(report(share(5, 9), controls=[control("CTL003", False)])) == 3


# ---- what would decide it


def _decided(n: int, rate: float, limit: Limit) -> float:
    """The probability of a verdict at a true share, through the policy itself; verdicts are monotone in the hits."""
    verdicts = [judged(share(k, n), limit).verdict for k in range(n + 1)]
    weights = [_binomial(k, n, rate) for k in range(n + 1)]
    return sum(w for w, verdict in zip(weights, verdicts, strict=True) if verdict is not Verdict.INCONCLUSIVE)


@pytest.mark.parametrize(("hits", "n", "top"), [(6, 100, 0.1), (14, 100, 0.1), (24, 40, 0.5)])
def test_as_many_more_members_as_needed_decide_it_in_four_of_five_cases(hits: int, n: int, top: float) -> None:
    """Power has teeth of some percent, and the number is rounded up to two digits."""
    limit = Limit(metric="tpr", max=top)
    result = judged(share(hits, n, counted="members"), limit)
    assert result.why is Why.UNDERPOWERED
    about, number, *what = result.needed.split()
    assert (about, what) == ("about", ["more", "members"])
    more = int(number.replace(",", ""))
    assert _decided(n + more, hits / n, limit) >= 0.78
    assert _decided(n + more // 2, hits / n, limit) < 0.8
    assert result.needed in result.reason


@pytest.mark.parametrize("found", [share(10, 100), share(0, 100), share(33_332, 100_000)])
def test_what_no_number_decides_is_said(found: Finding) -> None:
    """A share just on the limit, one that is to be 0, and one that is a 30,000th below the limit."""
    result = judged(found, Limit(metric="tpr", max={100: found.estimate.value}.get(found.n, 0.33333)))
    assert result.needed == "more data than is feasible: the result is too close to the limit"


def test_intervals_of_several_limits_together_need_more() -> None:
    limits = [Limit(metric="tpr", attack=a, max=0.1) for a in ("a", "b", "c")]
    findings = [share(7, 100, attack=limit.attack) for limit in limits]
    several = [int(r.needed.split()[1]) for r in hold(report(*findings), limits).results]
    alone = int(hold(report(*findings[:1]), limits[:1]).results[0].needed.split()[1])
    assert len(set(several)) == 1
    assert several[0] > 1.2 * alone


@pytest.mark.parametrize(
    ("low", "value", "high", "factor"), [(2.0, 3.0, 4.6, 1.6), (2.0, 3.0, 4.2, 1.2), (3.4, 6.0, 7.0, 1.3)]
)
def test_as_many_more_shadows_as_a_normal_error_needs(low: float, value: float, high: float, factor: float) -> None:
    """The bound must lie 1.96 + 0.84 standard errors off; it lay 1.96 off at `factor` times the distance."""
    result = judged(bits(value, low, high), Limit(metric="exposure", max=4), provenance={SHADOW_SECONDS: "10"})
    expected = 16 * (factor * (1.959964 + 0.841621) / 1.959964) ** 2 - 16
    more = int(result.needed.split()[1])
    assert expected <= more < expected + 2
    assert more % 2 == 0
    assert result.needed == f"about {more} more shadow models ({round(more / 6)} minutes of training)"


@pytest.mark.parametrize(
    ("provenance", "said"),
    [({}, "models"), ({SHADOW_SECONDS: "x"}, "models"), ({SHADOW_SECONDS: "0.1"}, "models (1 minute of training)"),
     ({SHADOW_SECONDS: "3600"}, "hours of training)")],
)  # fmt: skip
def test_the_time_that_more_shadows_take_is_said_if_it_is_known(provenance: dict[str, str], said: str) -> None:
    result = judged(bits(3, 2, 4.2), Limit(metric="exposure", max=4), provenance=provenance)
    assert result.needed.endswith(said)


@pytest.mark.parametrize(("at_fpr", "needed"), [(0.001, "900 more non-members"), (0.01, ""), (None, "")])
def test_too_few_nonmembers_are_undecided_with_the_number_that_would_do(at_fpr: float | None, needed: str) -> None:
    """100 non-members: one in 1,000 takes 1,000."""
    (skipped,) = hold(report(), [Limit(metric="tpr", at_fpr=at_fpr, max=0.1)]).skipped
    assert skipped.needed == needed
    assert needed in skipped.reason


# ---- undecided limits and the exit code


@pytest.mark.parametrize(
    ("choice", "code"), [(OnInconclusive.INCONCLUSIVE, 3), (OnInconclusive.FAIL, 1), (OnInconclusive.WARN, 0)]
)
@pytest.mark.parametrize("measured", [True, False])
def test_a_limit_says_what_comes_of_it_when_undecided(choice: OnInconclusive, code: int, measured: bool) -> None:
    held = hold(report(*[finding(0.1, 0.0, 0.3)] * measured), [Limit(metric="tpr", max=0.2, on_inconclusive=choice)])
    assert held.verdict is Verdict.INCONCLUSIVE
    assert exit_code(held) == code
    reason = held.results[0].reason if measured else held.skipped[0].reason
    assert ("(on_inconclusive)" in reason) is (choice is not OnInconclusive.INCONCLUSIVE)


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [(("pass", "pass"), 0), (("pass", "fail"), 1), (("inconclusive", "fail"), 1), (("pass", "inconclusive"), 3)],
)
def test_a_broken_limit_comes_before_an_undecided_one(verdicts: Sequence[str], code: int) -> None:
    tops = {"pass": 0.9, "fail": 0.1, "inconclusive": 0.5}
    for order in itertools.permutations(verdicts):
        limits = [Limit(metric="tpr", id=f"g{i}", max=tops[v]) for i, v in enumerate(order)]
        held = hold(report(share(50, 100)), limits)
        assert [r.verdict for r in held.results] == list(order)
        assert exit_code(held) == code


# ---- waivers


def waiver(**changes: object) -> Waiver:
    known = {"gate": "g", "subject": MODEL, "cap": 0.3, "expires": "2026-12-01"} | changes
    return Waiver(reason="why", owner="ann", approved_by="bob", **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, WaiverState.APPLIED),
        ({"expires": "2026-11-23"}, WaiverState.APPLIED),
        ({"expires": "2026-11-22"}, WaiverState.EXPIRED),
        ({"subject": "cd" * 32}, WaiverState.OTHER_MODEL),
        ({"cap": 0.2}, WaiverState.APPLIED),
        ({"cap": 0.19}, WaiverState.EXCEEDED),
    ],
)
def test_a_waiver_excuses_one_model_up_to_a_cap_for_a_while(changes: dict[str, object], state: WaiverState) -> None:
    """The low end of the interval is 0.2."""
    limit = Limit(metric="tpr", max=0.1, id="g")
    held = hold(report(finding(0.3, 0.2, 0.4)), [limit], [waiver(**changes)], TODAY)
    (result,), (waived,) = held.results, held.waivers
    assert (held.verdict, waived.state) == (Verdict.FAIL, state)
    applied = state is WaiverState.APPLIED
    assert exit_code(held) == (0 if applied else 1)
    assert (result.waiver is not None) is applied
    if applied:
        assert f"waived until {waived.waiver.expires} by bob, up to {waived.waiver.cap:g}: why" in result.reason


@pytest.mark.parametrize("high", [0.05, 0.3])
def test_a_waiver_excuses_nothing_but_failures(high: float) -> None:
    limit = Limit(metric="tpr", max=0.1, id="g")
    held = hold(report(finding(0.04, 0.03, high)), [limit], [waiver()], TODAY)
    assert [w.state for w in held.waivers] == [WaiverState.UNNEEDED]
    assert exit_code(held) == (0 if high < 0.1 else 3)


def test_a_waiver_covers_every_finding_of_its_gate_or_none() -> None:
    limits = [Limit(metric="tpr", max=0.1, id="g"), Limit(metric="memorization", max=0.1, id="h")]
    findings = [finding(0.3, 0.2, 0.4, attack="a"), finding(0.5, 0.4, 0.6, attack="b")]
    for cap, code in ((0.3, 1), (0.4, 0)):
        held = hold(report(*findings), limits[:1], [waiver(cap=cap)], TODAY)
        assert exit_code(held) == code
        assert {r.waiver is None for r in held.results} == {code == 1}
    other = finding(0.3, 0.2, 0.4, metric="memorization", attack=None, at_fpr=None)
    held = hold(report(findings[0], other), limits, [waiver()], TODAY)
    assert [r.waiver is None for r in held.results] == [False, True]
    assert exit_code(held) == 1


def test_what_was_measured_beside_a_failed_control_is_not_waived() -> None:
    doubtful = report(finding(0.3, 0.2, 0.4), controls=[control("CTL002", False)])
    held = hold(doubtful, [Limit(metric="tpr", max=0.1, id="g")], [waiver()], TODAY)
    assert [w.state for w in held.waivers] == [WaiverState.UNRELIABLE]
    assert exit_code(held) == 1


def test_a_waiver_of_no_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="waivers"):
        hold(report(), [Limit(metric="tpr", max=0.1)], [waiver()], TODAY)


# ---- the file


def test_a_judged_report_survives_the_file_and_is_judged_alike_again(tmp_path: Path) -> None:
    limits = [
        Limit(
            metric="tpr", attack="lira-online", max=0.1, id="g", on_inconclusive=OnInconclusive.WARN, source="x", line=3
        ),
        Limit(metric="exposure", max=4, confidence=0.9),
        Limit(metric="tpr", at_fpr=0.001, max=0.1, required=False),
    ]
    held = hold(report(share(30, 100), bits(3, 2, 5)), limits, [waiver(), waiver(subject="cd" * 32)], TODAY)
    assert {r.verdict for r in held.results} == {Verdict.FAIL, Verdict.INCONCLUSIVE}
    reports.save(held, tmp_path / "report.json")
    loaded = reports.load(tmp_path / "report.json")
    assert loaded == held
    assert hold(loaded, limits, [waiver(), waiver(subject="cd" * 32)], TODAY) == held


# ---- operating characteristics


@pytest.mark.parametrize("n", [200, 500, 1000, 2000, 5000])
@pytest.mark.parametrize("top", [0.001, 0.01, 0.1])
def test_a_leak_a_fifth_above_the_limit_is_passed_in_at_most_five_of_a_hundred_audits(n: int, top: float) -> None:
    """Exactly, by the most hits that the policy passes; and the policy is no stricter than it must be."""
    limit = Limit(metric="tpr", max=top)

    def passes(k: int) -> bool:
        return k >= 0 and judged(share(k, n), limit).verdict is Verdict.PASS

    most = next(k - 1 for k in range(n + 1) if not passes(k))
    assert not any(passes(k) for k in range(most + 1, most + 20))

    def at_most(k: int, rate: float) -> float:
        return sum(_binomial(i, n, rate) for i in range(k + 1))

    assert at_most(most, 1.2 * top) <= 0.05
    assert at_most(most, top) <= 0.05
    assert at_most(most + 1, top) > 0.05
