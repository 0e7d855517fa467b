"""The audit of one model: run the checks and compare the findings with the limits.

Names are imported when they are first used: the gate reads folders, ledgers and signatures without what an audit needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memaudit.auditing.choices import default_attacks as default_attacks
    from memaudit.auditing.comparing import WhatIf as WhatIf
    from memaudit.auditing.comparing import what_if as what_if
    from memaudit.auditing.costs import cost_to_fill as cost_to_fill
    from memaudit.auditing.costs import require_budget as require_budget
    from memaudit.auditing.derived import holdout_retraining as holdout_retraining
    from memaudit.auditing.derived import rate_of_forgetting as rate_of_forgetting
    from memaudit.auditing.derived import second_split as second_split
    from memaudit.auditing.derived import unlearning as unlearning
    from memaudit.auditing.left_out import leave_one_out as leave_one_out
    from memaudit.auditing.localised import localisation as localisation
    from memaudit.auditing.one_call import quick as quick
    from memaudit.auditing.onion import most_exposed as most_exposed
    from memaudit.auditing.onion import privacy_onion as privacy_onion
    from memaudit.auditing.planning import Plan as Plan
    from memaudit.auditing.planning import plan as plan
    from memaudit.auditing.planning import require_planned as require_planned
    from memaudit.auditing.planning import write_plan as write_plan
    from memaudit.auditing.promised import Dp as Dp
    from memaudit.auditing.recorded import Outputs as Outputs
    from memaudit.auditing.recorded import open_outputs as open_outputs
    from memaudit.auditing.represented import benign_memorization as benign_memorization
    from memaudit.auditing.represented import memorization_dilation as memorization_dilation
    from memaudit.auditing.represented import prediction_depth as prediction_depth
    from memaudit.auditing.represented import variance_of_gradients as variance_of_gradients
    from memaudit.auditing.run import LEAST_SHADOWS as LEAST_SHADOWS
    from memaudit.auditing.run import Audit as Audit
    from memaudit.auditing.run import audit as audit
    from memaudit.auditing.subsets import subset_memorization as subset_memorization
    from memaudit.auditing.target import Target as Target
    from memaudit.auditing.target import open_target as open_target
    from memaudit.auditing.unlearned import UnlearningAudit as UnlearningAudit
    from memaudit.auditing.unlearned import audit_unlearning as audit_unlearning

_HOME = {
    "LEAST_SHADOWS": "run",
    "Audit": "run",
    "Dp": "promised",
    "Outputs": "recorded",
    "Plan": "planning",
    "Target": "target",
    "UnlearningAudit": "unlearned",
    "WhatIf": "comparing",
    "audit": "run",
    "audit_unlearning": "unlearned",
    "benign_memorization": "represented",
    "cost_to_fill": "costs",
    "default_attacks": "choices",
    "holdout_retraining": "derived",
    "leave_one_out": "left_out",
    "localisation": "localised",
    "memorization_dilation": "represented",
    "most_exposed": "onion",
    "open_outputs": "recorded",
    "open_target": "target",
    "plan": "planning",
    "prediction_depth": "represented",
    "privacy_onion": "onion",
    "quick": "one_call",
    "rate_of_forgetting": "derived",
    "require_budget": "costs",
    "require_planned": "planning",
    "second_split": "derived",
    "subset_memorization": "subsets",
    "unlearning": "derived",
    "variance_of_gradients": "represented",
    "what_if": "comparing",
    "write_plan": "planning",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'memaudit.auditing' has no attribute {name!r}")
    return getattr(import_module(f"memaudit.auditing.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
