"""The audit of one model: runs the checks and holds the findings against the limits."""

from memaudit.auditing.run import LEAST_SHADOWS, Audit, Target, audit, open_target, require_choices

__all__ = ["LEAST_SHADOWS", "Audit", "Target", "audit", "open_target", "require_choices"]
