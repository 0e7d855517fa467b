"""What an executor is: something that takes jobs and returns a future for each."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeAlias

from memaudit.errors import SettingsError
from memaudit.training.executors.job import Job, Outcome


class Future(Protocol):
    """A job that an engine has taken."""

    def done(self) -> bool:
        """Return whether the job has ended, well or not."""

    def result(self) -> Outcome:
        """Return what the job returned; raises what the engine says of a job that died."""

    def cancel(self) -> object:
        """Take the job back, if it has not begun."""


Options: TypeAlias = dict[str, Any]
Submit: TypeAlias = Callable[[Sequence[Job]], Sequence[Future]]


@dataclass(frozen=True, slots=True)
class Executor:
    """An engine that runs jobs elsewhere.

    `session(options, workers, folder)` connects to the engine for as long as it is entered, and yields the function
    that submits jobs. Options are the engine's own, `workers` is the number of jobs at a time, and `folder` is a new
    folder that all machines see, for the engine's logs.
    """

    name: str
    session: Callable[[Options, int, Path], AbstractContextManager[Submit]]


def imported(package: str, extra: str) -> ModuleType:
    """Return an optional package.

    Raises:
        SettingsError: It is not installed; the message names the extra that brings it.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise SettingsError(
            f"--executor {extra} needs the package {package}: pip install 'memaudit-toolkit[{extra}]'"
        ) from None
