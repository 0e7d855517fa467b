"""A finished audit in a model card of the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from memaudit import reports
from memaudit.files import write_whole
from memaudit.loggers.content import content, findings
from memaudit.reports.text import interval, percent
from memaudit.types import Edition, Finding, Report

if TYPE_CHECKING:
    from memaudit.auditing import Audit

_TASKS = {  # the metadata's name of what is measured, by metric
    "tpr": ("membership-inference", "Membership inference"),
    "memorization": ("memorization", "Memorization"),
    "exposure": ("canary-exposure", "Canary exposure"),
    "canaries": ("canary-detection", "Canary detection"),
    "extraction": ("training-data-extraction", "Training-data extraction"),
}
_DATASET = ("training-data", "Training data and held-out examples of this model")
_BEGIN, _END = "<!-- memaudit -->", "<!-- /memaudit -->"
_SECTION = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)


def update_card(
    path: str | Path, audit: Audit | Report, *, name: str | None = None, edition: Edition | str = Edition.PUBLIC
) -> None:
    """Write an audit into a model card: its results as metadata (`model-index`), and a section "Privacy audit".

    What an earlier audit wrote there is replaced, and everything else stays as it is. Where a control of the audit
    failed, the metadata has no results, as nobody would see the warning beside them.

    Args:
        path: The card, README.md of the model's repository; made if it is not there.
        audit: What `memaudit.audit` returned, or its report.
        name: The model's name in the metadata; by default the card's, or that of the audited file.
        edition: "public" or "internal": how much of the report is shown.

    Raises:
        MemauditError: The edition is restricted.
        ValueError: The card's metadata is damaged.
    """
    path, report = Path(path), content(audit, edition).report
    model = Path(report.subject.model).stem
    card = ModelCard(path.read_text("utf-8") if path.exists() else f"---\n{{}}\n---\n# {model}\n")
    assert isinstance(card.data, ModelCardData)
    tasks = {task for task, _ in _TASKS.values()}
    kept = [result for result in card.data.eval_results or [] if result.task_type not in tasks]
    card.data.eval_results = [*kept, *_results(report)]
    card.data.model_name = name or card.data.model_name or model
    section = f"{_BEGIN}\n{reports.render(report, 'modelcard', report.edition).decode()}{_END}"
    if _SECTION.search(card.text):
        card.text = _SECTION.sub(lambda _: section, card.text)
    else:
        card.text = f"{card.text.rstrip()}\n\n{section}\n"
    write_whole(path, str(card).encode())


def _results(report: Report) -> Iterator[EvalResult]:
    if any(control.passed is False for control in report.controls):
        return
    for finding in findings(report):
        if finding.metric not in _TASKS:
            continue
        task, task_name = _TASKS[finding.metric]
        yield EvalResult(
            task_type=task,
            task_name=task_name,
            dataset_type=_DATASET[0],
            dataset_name=_DATASET[1],
            metric_type=finding.metric,
            metric_value=finding.estimate.value,
            metric_name=_name(finding),
            metric_args={"attack": finding.attack, "at_fpr": finding.at_fpr} if finding.attack else None,
        )


def _name(finding: Finding) -> str:
    estimate = finding.estimate
    return f"{finding.title} ({percent(estimate.level)} CI {interval(estimate)})"
