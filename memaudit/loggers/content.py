"""What every tracker is given: numbers, a table, pictures and the report, and nothing about single examples.

A tracker is read by many. So the `public` edition of the report is logged unless the `internal` one is asked for: see
`memaudit.reports.editions`. The `restricted` one, which shows examples, is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from memaudit import reports
from memaudit.errors import MemauditError
from memaudit.reports.canonical import digest
from memaudit.reports.editions import edition as shown_to
from memaudit.types import Cell, Edition, Finding, Report

if TYPE_CHECKING:
    from PIL.Image import Image

    from memaudit.auditing import Audit

COLUMNS = ("code", "finding", "attack", "at FPR", "value", "low", "high", "unit", "n", "limit", "verdict", "reason")
FILES = ("html", "json")
_UNNAMEABLE, _LONGEST = re.compile(r"[^A-Za-z0-9_.-]"), 80
FOLDER = "memaudit"  # before the names of metrics and of files


@dataclass(frozen=True, slots=True)
class Content:
    """An audit as a tracker is to show it.

    Args:
        metrics: Numbers by name, such as memaudit/MIA005/slira/0.01/value, with /low and /high.
        rows: The findings, in the order of COLUMNS.
        labels: What is no number: the verdict, the controls that failed, and the digests of report and model.
        report: The edition that is shown.
    """

    metrics: dict[str, float]
    rows: tuple[tuple[Cell, ...], ...]
    labels: dict[str, str]
    report: Report

    def pictures(self) -> Iterator[tuple[str, str, Image]]:
        """Yield a name, a caption and a picture for every figure."""
        from PIL import Image

        from memaudit.reports import figures

        for name, finding in _named(self.report):
            for number, figure in enumerate(finding.figures, 1):
                content = BytesIO(figures.png(figure, figures.Theme.LIGHT))
                yield f"{name}/{number}", figure.title, Image.open(content)

    def write(self, folder: Path) -> list[Path]:
        """Return the files of the report, after writing them into a folder."""
        files = [folder / f"report.{name}" for name in FILES]
        for file in files:
            reports.save(self.report, file, edition=self.report.edition)
        return files


def content(audit: Audit | Report, edition: Edition | str = Edition.PUBLIC) -> Content:
    """Return what a tracker is given of an audit.

    Raises:
        MemauditError: The edition is restricted, or there is no such edition.
    """
    whole: Report = audit if isinstance(audit, Report) else audit.report
    if edition == Edition.RESTRICTED:
        raise MemauditError(
            "the restricted edition shows single examples, and a tracker is read by many: log edition='internal' or "
            "'public'"
        )
    report = shown_to(whole, edition)
    metrics: dict[str, float] = {}
    for name, finding in _named(report):
        ends = (finding.estimate.value, finding.estimate.low, finding.estimate.high)
        metrics |= {f"{name}/{end}": value for end, value in zip(("value", "low", "high"), ends, strict=True)}
    labels = {
        "verdict": str(report.verdict),
        "failed_controls": ", ".join(control.code for control in report.controls if control.passed is False),
        "model_sha256": report.subject.sha256,
        "report_sha256": digest(reports.render(report, "json", report.edition)),
        "edition": str(report.edition),
    }
    return Content(metrics, tuple(_rows(report)), labels, report)


def _rows(report: Report) -> Iterator[tuple[Cell, ...]]:
    for result in report.results:
        finding, estimate = result.finding, result.finding.estimate
        yield (
            *(finding.code, finding.title, finding.attack, finding.at_fpr),
            *(estimate.value, estimate.low, estimate.high, estimate.unit, finding.n),
            *(None if result.limit is None else result.limit.max, str(result.verdict), result.reason),
        )


def findings(report: Report) -> Iterator[Finding]:
    """Yield every finding once, however many limits it is compared with; the first of its results has the figures."""
    told: set[Finding] = set()
    for finding in (result.finding for result in report.results):
        bare = replace(finding, figures=(), tables=(), notes=())
        if bare not in told:
            told.add(bare)
            yield finding


def _named(report: Report) -> Iterator[tuple[str, Finding]]:
    """Yield every finding once, under a name of its own: the second of a name ends in /2."""
    counts: Counter[str] = Counter()
    for finding in findings(report):
        rate = None if finding.at_fpr is None else f"{finding.at_fpr:g}"
        name = "/".join(_part(part) for part in (FOLDER, finding.code, finding.attack, rate) if part)
        counts[name] += 1
        yield (name if counts[name] == 1 else f"{name}/{counts[name]}"), finding


def _part(text: str) -> str:
    """Return a part of a name that every tracker takes, MLflow being the strictest, and that leaves no folder."""
    return _UNNAMEABLE.sub("_", text.replace("+", "p"))[:_LONGEST].lstrip(".") or "_"
