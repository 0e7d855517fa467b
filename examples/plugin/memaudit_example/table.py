"""A format: the findings as a CSV file."""

import csv
import io

from memaudit.cells import neutral
from memaudit.types import Report


def render(report: Report) -> bytes:
    """Return one line per finding: code, title, value and the ends of its 95 % CI."""
    file = io.StringIO(newline="")
    table = csv.writer(file)
    table.writerow(("code", "title", "value", "low", "high"))
    for finding in (result.finding for result in report.results):
        estimate = finding.estimate
        table.writerow((finding.code, neutral(finding.title), estimate.value, estimate.low, estimate.high))
    return file.getvalue().encode()
