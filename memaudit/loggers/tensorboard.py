"""A finished audit in TensorBoard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from memaudit import reports
from memaudit.loggers.content import FOLDER, content
from memaudit.types import Edition, Report

if TYPE_CHECKING:
    from memaudit.auditing import Audit


def log_audit(
    audit: Audit | Report, writer: SummaryWriter, *, step: int = 0, edition: Edition | str = Edition.PUBLIC
) -> None:
    """Log an audit to event files: metrics as scalars, figures as images, the report as text.

    Args:
        audit: What `memaudit.audit` returned, or its report.
        writer: Where to.
        step: Of the training.
        edition: "public" or "internal": how much of the report is written.

    Raises:
        MemauditError: The edition is restricted.
    """
    found = content(audit, edition)
    for name, value in found.metrics.items():
        writer.add_scalar(name, value, step)
    for name, _, picture in found.pictures():
        writer.add_image(name, np.asarray(picture.convert("RGB")), step, dataformats="HWC")
    for name, label in found.labels.items():
        writer.add_text(f"{FOLDER}/{name}", label, step)
    writer.add_text(f"{FOLDER}/report", reports.render(found.report, "md", found.report.edition).decode(), step)
    writer.flush()
