"""The only place where a number becomes a verdict, and a verdict an exit code.

A limit is broken when the one-sided lower bound of the finding is above it, at the limit's confidence; it is kept
when the upper bound does not, and the controls of the audit passed; in between it is undecided.
"""

from memaudit.policy.comparison import Comparison, compare
from memaudit.policy.holm import holm
from memaudit.policy.judge import EXIT_CODES, exit_code, hold
from memaudit.policy.needs import NEEDS_BANK, SHADOW_SECONDS, rung_of
from memaudit.policy.outlook import Outlook, held_out_outlooks, outlooks
from memaudit.policy.power import Chances, chances, least_broken, least_units, most_kept

__all__ = [
    "EXIT_CODES",
    "NEEDS_BANK",
    "SHADOW_SECONDS",
    "Chances",
    "Comparison",
    "Outlook",
    "chances",
    "compare",
    "exit_code",
    "held_out_outlooks",
    "hold",
    "holm",
    "least_broken",
    "least_units",
    "most_kept",
    "outlooks",
    "rung_of",
]
