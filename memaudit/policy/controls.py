"""Which controls a pass rests on, and which a failure."""

from __future__ import annotations

from memaudit.policy.needs import NEEDS_BANK
from memaudit.types import Finding, Report, Rung

_POSITIVE = "CTL005"
_ALWAYS = {"CTL001": "fidelity", "CTL002": "negative control", _POSITIVE: "positive control"}
_WITHOUT_BANK = {"CTL002": "negative control", _POSITIVE: "positive control", "CTL003": "blind baseline"}
_OF_REFERENCES = {"CTL014": "reference models"}
_CANARIES = {"CTL006": "canaries that were not planted"}
_FOR_METRIC = {
    "tpr": {"CTL004": "calibration"},
    "access": {"CTL004": "calibration"},
    "snapshots": {"CTL004": "calibration"},
    "traceability": {"CTL004": "calibration"},
    "risk": {"CTL004": "calibration"},
    "subgroup": {"CTL004": "calibration"},
    "exposure": _CANARIES,
    "canaries": _CANARIES,
}


def trouble(report: Report, finding: Finding) -> str:
    """Return what speaks against a pass of a finding, in words; empty if nothing does.

    No control that concerns it may have failed, and those that its metric rests on must have been run.
    """
    failed = [
        f"the control “{control.title}” failed"
        for control in report.controls
        if control.passed is False and control.concerns(finding)
    ]
    passed = {control.code: control.passed for control in report.controls}
    wanted = needed_controls(finding.metric, report.rung).items()
    absent = [f"the control {code} ({name}) did not run" for code, name in wanted if passed.get(code) is None]
    return "; ".join(failed + absent)


def needed_controls(metric: str, rung: Rung = Rung.BANK) -> dict[str, str]:
    """Return the codes and names of the controls that a pass on a metric rests on."""
    if metric == "planted-exposure":  # it is about the audited model alone
        return _CANARIES
    if rung < Rung.BANK:
        return _WITHOUT_BANK | (_OF_REFERENCES if rung is Rung.REFERENCES and metric == "tpr" else {})
    return _ALWAYS | _FOR_METRIC.get(metric, {})


def overstated(report: Report, finding: Finding) -> str:
    """Return what speaks against a failure of a finding, in words; empty if nothing does.

    It is a failed control by which the number is too high. Any other failed control leaves a failure as it is. Without
    shadow models, nothing tells a secret that was learned from a value that any model prefers.
    """
    if report.rung < Rung.BANK and finding.metric == "secrets":
        return "without shadow models the exposure is raw, and high also for a value that any model prefers"
    failed = [
        control.title
        for control in report.controls
        if control.passed is False and finding.metric in control.overstates and control.concerns(finding)
    ]
    return "; ".join(f"the failed control “{title}” shows that the number is too high" for title in failed)


def remedy(report: Report) -> str:
    """Return what it takes for the controls to pass."""
    failed = [control.code for control in report.controls if control.passed is False]
    if not failed and report.rung < Rung.BANK:
        return NEEDS_BANK
    return "more shadow models" if failed == [_POSITIVE] else "an audit whose controls pass"
