"""Fill a bank on an existing engine: one file for each, and one line in `registry`, all over the same job."""

from memaudit.training.executors.elsewhere import Elsewhere
from memaudit.training.executors.interface import Executor, Future, Options, Submit, imported
from memaudit.training.executors.job import Job, Outcome
from memaudit.training.executors.registry import EXECUTORS, executor

__all__ = [
    "EXECUTORS",
    "Elsewhere",
    "Executor",
    "Future",
    "Job",
    "Options",
    "Outcome",
    "Submit",
    "executor",
    "imported",
]
