"""The checks: each maps the evidence to findings, and its docstring is what `memaudit explain` prints."""

from memaudit.checks.controls import CONTROLS
from memaudit.checks.evidence import Attacked, Check, ControlCheck, Evidence, percent
from memaudit.checks.link import link_check
from memaudit.checks.membership import global_threshold_check, offline_check, online_check
from memaudit.checks.memorized import memorization_check

CHECKS: tuple[Check, ...] = (online_check, offline_check, global_threshold_check, memorization_check, link_check)

__all__ = ["CHECKS", "CONTROLS", "Attacked", "Check", "ControlCheck", "Evidence", "percent"]
