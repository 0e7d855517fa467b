"""The audit of one model: runs the checks and holds the findings against the limits."""

from memaudit.auditing.run import LEAST_SHADOWS, Audit, audit
from memaudit.auditing.target import Target, open_target

__all__ = ["LEAST_SHADOWS", "Audit", "Target", "audit", "open_target"]
