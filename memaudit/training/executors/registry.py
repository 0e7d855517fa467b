"""The executors by name: one line here for each."""

from __future__ import annotations

from memaudit.errors import SettingsError, hint
from memaudit.plugins import with_plugins
from memaudit.training.executors.dask import DASK
from memaudit.training.executors.interface import Executor
from memaudit.training.executors.joblib import JOBLIB
from memaudit.training.executors.ray import RAY
from memaudit.training.executors.submitit import SUBMITIT

EXECUTORS = (SUBMITIT, RAY, DASK, JOBLIB)


def executor(name: str) -> Executor:
    """Return the executor of this name, built in or of an installed package (entry points `memaudit.executors`).

    Raises:
        SettingsError: There is none.
    """
    known = with_plugins("memaudit.executors", Executor, EXECUTORS, lambda each: each.name, "is called")
    found = {each.name: each for each in known}
    if name not in found:
        raise SettingsError(f"there is no executor {name!r}; {hint(name, found)}")
    return found[name]
