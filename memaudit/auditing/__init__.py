"""The audit of one model: runs the checks and holds the findings against the limits."""

from memaudit.auditing.choices import default_attacks
from memaudit.auditing.costs import cost_to_fill, require_budget
from memaudit.auditing.planning import Plan, plan, require_planned, write_plan
from memaudit.auditing.run import LEAST_SHADOWS, Audit, audit
from memaudit.auditing.target import Target, open_target

__all__ = [
    "LEAST_SHADOWS",
    "Audit",
    "Plan",
    "Target",
    "audit",
    "cost_to_fill",
    "default_attacks",
    "open_target",
    "plan",
    "require_budget",
    "require_planned",
    "write_plan",
]
