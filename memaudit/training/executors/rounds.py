"""Submit what a bank lacks until it lacks nothing; the folder alone decides what that is."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from memaudit import files
from memaudit.bank import Bank
from memaudit.errors import BankError, MemauditError, shown
from memaudit.training.executors.interface import Executor, Future, Options, Submit
from memaudit.training.executors.job import Job

_POLL_SECONDS = 0.25
_SETTLE_SECONDS = 60.0  # a network file system may show a new folder that late
_SHOWN = 2000  # characters of an engine's log


def complete_on(
    executor: Executor,
    options: Options,
    job: Job,
    bank: Bank,
    wanted: Collection[int],
    workers: int,
    watch: Callable[[], None],
) -> None:
    """Make those of some models that a bank lacks, in at most `workers` jobs at a time.

    A job that dies is submitted again with what is still missing, as long as each round of jobs adds a model.

    Args:
        executor: The engine.
        options: Of the engine.
        job: What all jobs have in common.
        bank: The bank.
        wanted: Which models it is to have.
        workers: The number of jobs at a time.
        watch: Called now and then.

    Raises:
        RecipeError: The recipe failed in a job.
        BankError: All jobs ended and no model was added; says what the engine reported.
    """
    missing = _missing(bank, wanted)
    if not missing:
        return
    with _logs(bank) as folder, _session(executor, options, min(workers, len(missing)), folder) as submit:
        running = folder / "running"
        running.touch()
        try:
            while missing:
                logs = _round(submit, replace(job, running=str(running)), bank, missing, workers, watch)
                left = _missing(bank, wanted)
                if len(left) == len(missing):
                    raise BankError(
                        f"{len(left)} models are missing in {bank.path}, and the last jobs of {executor.name} added "
                        f"none:\n{_told(logs)}\nThe engine's logs are in {folder}, if it writes any there. The same "
                        "command submits what is missing"
                    )
                missing = left
        finally:
            running.unlink(missing_ok=True)  # jobs that run end


def _missing(bank: Bank, wanted: Collection[int]) -> list[int]:
    return [model for model in wanted if not bank.has(model)]


def _round(
    submit: Submit, job: Job, bank: Bank, missing: Sequence[int], workers: int, watch: Callable[[], None]
) -> list[str]:
    """Submit jobs for all that is missing, wait for them, and return what the engine said of those that died."""
    dealt = random.SystemRandom().sample(missing, len(missing))
    count = min(workers, len(dealt))
    futures = submit([replace(job, models=tuple(dealt[part::count])) for part in range(count)])
    logs, made = [], set[int]()
    try:
        for future in _ended(futures, watch):
            try:
                outcome = future.result()
            except Exception as error:  # the engine's own: the job is dead, not the fill
                logs.append(shown(error))
                continue
            outcome.require_well()
            made |= set(outcome.models)
    except BaseException:
        for future in futures:  # those that wait
            future.cancel()
        raise
    _settle(bank, made, watch)
    return logs


def _ended(futures: Sequence[Future], watch: Callable[[], None]) -> Iterator[Future]:
    """Yield the futures as they end."""
    waiting = list(futures)
    while waiting:
        ended = [future for future in waiting if future.done()]
        yield from ended
        waiting = [future for future in waiting if future not in ended]
        watch()
        if waiting:
            time.sleep(_POLL_SECONDS)


def _settle(bank: Bank, made: set[int], watch: Callable[[], None]) -> None:
    """Wait until the models that jobs have stored can be seen here.

    Raises:
        BankError: They cannot.
    """
    until = time.monotonic() + _SETTLE_SECONDS
    while unseen := _missing(bank, made):
        if time.monotonic() > until:
            raise BankError(
                f"jobs have stored {len(unseen)} models in {bank.path} that cannot be seen from here. The folder must "
                "be on a file system that all machines share"
            )
        time.sleep(_POLL_SECONDS)
    watch()


@contextmanager
def _session(executor: Executor, options: Options, workers: int, folder: Path) -> Iterator[Submit]:
    """Yield the function that submits to an engine; what the engine says of its options becomes a BankError."""

    def submit(jobs: Sequence[Job]) -> Sequence[Future]:
        with _refusals(executor):
            return submitted(jobs)

    session = executor.session(dict(options), workers, folder)
    with _refusals(executor):
        submitted = session.__enter__()
    try:
        yield submit
    finally:
        session.__exit__(None, None, None)


@contextmanager
def _refusals(executor: Executor) -> Iterator[None]:
    try:
        yield
    except MemauditError:
        raise
    except Exception as error:
        raise BankError(
            f"{executor.name} took no jobs: {shown(error).rstrip('.')}. Check its options (--executor-option KEY=VALUE)"
        ) from error


@contextmanager
def _logs(bank: Bank) -> Iterator[Path]:
    """Yield a new folder in the bank's for what an engine writes; it is removed when all went well."""
    files.make_private_folder(bank.path / "jobs")
    folder = Path(tempfile.mkdtemp(dir=bank.path / "jobs"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _told(logs: Sequence[str]) -> str:
    return "\n".join(text if len(text) <= _SHOWN else f"…{text[-_SHOWN:]}" for text in dict.fromkeys(logs)) or "(none)"
