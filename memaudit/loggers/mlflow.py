"""A finished audit in MLflow."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import mlflow

from memaudit.loggers.content import COLUMNS, FOLDER, Content, content
from memaudit.types import Edition, Report

if TYPE_CHECKING:
    from memaudit.auditing import Audit


def log_audit(audit: Audit | Report, *, run_id: str | None = None, edition: Edition | str = Edition.PUBLIC) -> None:
    """Log an audit to a run: metrics, tags, the findings as a table, figures, and the report as an artifact.

    Args:
        audit: What `memaudit.audit` returned, or its report.
        run_id: The run; by default the active one, or a new one that is ended afterwards.
        edition: "public" or "internal": how much of the report is uploaded.

    Raises:
        MemauditError: The edition is restricted.
    """
    found, active = content(audit, edition), mlflow.active_run()
    if run_id is not None:
        _log(found, run_id)
    elif active is not None:
        _log(found, active.info.run_id)
    else:
        with mlflow.start_run() as run:
            _log(found, run.info.run_id)


def _log(found: Content, run_id: str) -> None:
    client = mlflow.MlflowClient()
    for name, value in found.metrics.items():
        client.log_metric(run_id, name, value)
    for name, label in found.labels.items():
        client.set_tag(run_id, f"{FOLDER}.{name}", label)
    table = {"columns": list(COLUMNS), "data": [list(row) for row in found.rows]}  # as pandas writes orient="split"
    client.log_dict(run_id, table, f"{FOLDER}/findings.json")
    for name, _, picture in found.pictures():
        client.log_image(run_id, picture, f"{name}.png")
    with TemporaryDirectory() as folder:
        for file in found.write(Path(folder)):
            client.log_artifact(run_id, str(file), FOLDER)
