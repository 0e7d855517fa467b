"""A finished audit in Weights & Biases."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import wandb

from memaudit.errors import SettingsError
from memaudit.loggers.content import COLUMNS, FOLDER, content
from memaudit.types import Edition, Report

if TYPE_CHECKING:
    from memaudit.auditing import Audit


def log_audit(audit: Audit | Report, *, run: Any = None, edition: Edition | str = Edition.PUBLIC) -> None:
    """Log an audit to a run: metrics, the findings as a table, figures, and the report as an artifact.

    Args:
        audit: What `memaudit.audit` returned, or its report.
        run: What `wandb.init` returned; by default the active run.
        edition: "public" or "internal": how much of the report is uploaded.

    Raises:
        MemauditError: The edition is restricted, or there is no run.
    """
    found = content(audit, edition)
    run = wandb.run if run is None else run
    if run is None:
        raise SettingsError("there is no active run; call wandb.init() first, or give run=...")
    pictures = {name: wandb.Image(picture, caption=caption) for name, caption, picture in found.pictures()}
    table = wandb.Table(columns=list(COLUMNS), data=[list(row) for row in found.rows], allow_mixed_types=True)
    run.log({**found.metrics, **pictures, f"{FOLDER}/findings": table})
    run.summary.update({f"{FOLDER}/{name}": label for name, label in found.labels.items()})
    artifact = wandb.Artifact(f"{FOLDER}-{run.id}", type="audit", metadata=dict(found.labels))
    with TemporaryDirectory() as folder:
        for file in found.write(Path(folder)):
            artifact.add_file(str(file), policy="mutable")
    run.log_artifact(artifact)
