"""The one place where a number becomes a verdict: the interval decides, never the point."""

import pytest

from memaudit.policy import judge, undecided
from memaudit.types import Control, Estimate, Finding, Limit, Report, Result, Skipped, Subject, Verdict, worst


def finding(value: float, low: float, high: float, **changes: object) -> Finding:
    known = {"metric": "tpr", "attack": "lira-online", "at_fpr": 0.01} | changes
    return Finding(
        code="MIA001",
        title="t",
        estimate=Estimate(value=value, low=low, high=high, unit="share", method="m"),
        sentence="s",
        n=1,
        source="s",
        **known,  # type: ignore[arg-type]
    )


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
    result = judge(finding(0.08, low, high), [limit])
    assert (result.verdict, result.limit) == (verdict, limit)


def test_without_a_limit_nothing_is_judged() -> None:
    others = [Limit(metric="memorization", max=0), Limit(metric="tpr", attack="lira-offline", max=0)]
    result = judge(finding(0.9, 0.8, 1.0), others)
    assert (result.verdict, result.limit) == (Verdict.NOTED, None)


def test_the_strictest_of_several_limits_decides() -> None:
    limits = [Limit(metric="tpr", max=0.5), Limit(metric="tpr", at_fpr=0.01, max=0.1), Limit(metric="tpr", max=0.9)]
    assert judge(finding(0.3, 0.2, 0.4), limits).limit == limits[1]
    assert judge(finding(0.3, 0.2, 0.4), limits).verdict is Verdict.FAIL


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
    assert (judge(finding(0, 0, 0), [limit]).limit is not None) is covered
    assert (undecided([limit], [finding(0, 0, 0)]) == ()) is covered


def test_a_limit_that_nothing_was_held_against_is_inconclusive_and_named() -> None:
    (skipped,) = undecided([Limit(metric="tpr", attack="lira-online", at_fpr=0.001, max=0.1)], [])
    assert skipped.verdict is Verdict.INCONCLUSIVE
    assert "tpr of lira-online at 0.001 FPR ≤ 0.1" in skipped.title


def test_the_worst_verdict_wins() -> None:
    assert worst([]) is Verdict.NOTED
    assert worst([Verdict.NOTED, Verdict.PASS]) is Verdict.PASS
    assert worst([Verdict.PASS, Verdict.INCONCLUSIVE]) is Verdict.INCONCLUSIVE
    assert worst([Verdict.INCONCLUSIVE, Verdict.FAIL, Verdict.PASS]) is Verdict.FAIL


@pytest.mark.parametrize(
    ("verdict", "control", "expected"),
    [
        (Verdict.PASS, True, Verdict.PASS),
        (Verdict.PASS, None, Verdict.PASS),
        (Verdict.PASS, False, Verdict.INCONCLUSIVE),
        (Verdict.NOTED, False, Verdict.INCONCLUSIVE),
        (Verdict.NOTED, True, Verdict.NOTED),
        (Verdict.FAIL, False, Verdict.FAIL),
    ],
)
def test_a_failed_control_takes_away_every_good_verdict(
    verdict: Verdict, control: bool | None, expected: Verdict
) -> None:
    report = Report(
        created="now",
        subject=Subject(model="m", sha256="0", members=1, nonmembers=1, shadows=6),
        results=(Result(finding=finding(0, 0, 0), verdict=verdict, reason="r"),),
        skipped=(Skipped(code="LNK001", title="t", reason="r"),),
        controls=(Control(code="CTL001", title="t", passed=control, sentence="s"),),
        provenance={},
    )
    assert report.verdict is expected
