"""The table of metrics: every number that a finding can be can be gated, in memaudit.toml as in Python."""

from dataclasses import replace
from pathlib import Path

import pytest

from memaudit import checks, metrics
from memaudit.attack_names import ATTACKS_BY_METRIC
from memaudit.cli.settings import read
from memaudit.errors import SettingsError
from memaudit.metrics import METRICS, Metric, require_limits
from memaudit.policy import hold
from memaudit.policy.controls import needed_controls
from memaudit.policy.plausible import MEASURES
from memaudit.reports.schema import schema
from memaudit.types import (
    Bounds,
    Control,
    Estimate,
    Finding,
    Limit,
    Report,
    Result,
    Subject,
    Verdict,
)


def found(name: str, value: float, low: float, high: float) -> Finding:
    """Return a finding with bounds at 95 % confidence."""
    bounds = (Bounds(confidence=0.95, low=low, high=high),)
    estimate = Estimate(value=value, low=low, high=high, level=0.9, unit=METRICS[name].unit, method="t", bounds=bounds)
    return Finding(code="X", title="", metric=name, estimate=estimate, sentence="", n=101, source="")


def verdict(finding: Finding, limit: Limit) -> Verdict:
    controls = tuple(Control(code=c, title="", passed=True, sentence="") for c in needed_controls(finding.metric))
    report = Report(
        created="",
        subject=Subject(model="", sha256="", members=101, nonmembers=101, shadows=64),
        results=(Result(finding=finding, verdict=Verdict.NOTED, reason=""),),
        skipped=(),
        controls=controls,
        provenance={},
    )
    return hold(report, [limit]).results[0].verdict


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_can_be_gated_in_a_file_and_is_judged_by_the_ends_of_its_interval(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "memaudit.toml").write_text(f'[[gate]]\nmetric = "{name}"\nmax = 0.5\n', "utf-8")
    (limit,) = read(tmp_path / "memaudit.toml").limits()
    assert replace(limit, source=None, line=None) == Limit(metric=name, max=0.5)
    require_limits([limit])
    for low, value, high, due in (
        (0.2, 0.3, 0.49, Verdict.PASS),
        (0.2, 0.3, 0.51, Verdict.INCONCLUSIVE),
        (0.49, 0.7, 0.8, Verdict.INCONCLUSIVE),
        (0.51, 0.7, 0.8, Verdict.FAIL),
    ):
        assert verdict(found(name, value, low, high), limit) is due, (low, high)


def test_every_check_measures_a_metric_of_the_table_in_its_unit() -> None:
    assert {check.metric for check in checks.CHECKS} == set(METRICS)
    for code, measure in MEASURES.items():
        assert measure.unit == METRICS[measure.metric].unit, code
    assert set(ATTACKS_BY_METRIC) <= set(METRICS)


def test_the_schema_names_every_metric() -> None:
    for name in ("Finding", "Limit"):
        assert schema()["$defs"][name]["properties"]["metric"]["examples"] == list(METRICS)


REFUSED = {
    "no metric": (Limit(metric="trp", max=0.1), "did you mean 'tpr'"),
    "no attack": (Limit(metric="tpr", attack="lira-onlin", max=0.1), "did you mean 'lira-online'"),
    "an attack of another metric": (Limit(metric="link", attack="slira", max=0.1), "a gate on link has no attack"),
    "a rate": (Limit(metric="traceability", at_fpr=0.01, max=0.1), "a gate on traceability has no at_fpr"),
    "percent": (Limit(metric="traceability", max=5), "between 0 and 1, the share of all, got 5"),
    "percent of another number": (Limit(metric="memorization", max=5), "between -1 and 1, got 5"),
    "no bits": (Limit(metric="exposure", max=-1), "of at least 0, got -1"),
    "words": (Limit(metric="tpr", max="0.1"), "max = '0.1' is no number"),  # type: ignore[arg-type]
    "true": (Limit(metric="risk", max=True), "max = True is no number"),
    "nan": (Limit(metric="tpr", max=0.1, confidence=float("nan")), "confidence = nan is no number"),
    "too sure": (Limit(metric="tpr", max=0.1, confidence=0.9999), "a confidence of at most 0.9995"),
}


@pytest.mark.parametrize(("limit", "said"), REFUSED.values(), ids=REFUSED)
def test_a_limit_that_nothing_can_be_compared_with_is_refused(limit: Limit, said: str) -> None:
    with pytest.raises(SettingsError, match=f"limit '{limit.name}': .*{said}"):
        require_limits([limit])


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.exact])
def test_a_share_of_counted_units_can_be_judged_at_any_confidence(name: str) -> None:
    require_limits([Limit(metric=name, max=0.1, confidence=0.99999)])


def test_a_metric_of_another_package_can_be_gated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memaudit.toml").write_text('[[gate]]\nmetric = "regret"\nmax = 7\n', "utf-8")
    with pytest.raises(SettingsError, match=r"memaudit\.toml:2: gate\.0\.metric: there is no metric 'regret'"):
        read(tmp_path / "memaudit.toml")
    other = replace(checks.CHECKS[0], code="ACME001", metric="regret")
    monkeypatch.setattr(checks, "all_checks", lambda: (*checks.CHECKS, other))
    (limit,) = read(tmp_path / "memaudit.toml").limits()
    require_limits([limit], ["regret"])


def test_one_line_adds_a_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(metrics.METRICS, "regret", Metric(unit="euros", larger="more is regretted"))
    (tmp_path / "memaudit.toml").write_text('[[gate]]\nmetric = "regret"\nmax = 7\n', "utf-8")
    (limit,) = read(tmp_path / "memaudit.toml").limits()
    assert verdict(found("regret", 8, 7.5, 9), limit) is Verdict.FAIL
