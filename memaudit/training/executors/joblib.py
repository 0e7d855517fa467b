"""joblib: processes of this machine, or any backend that is registered with joblib (backend=…)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

from memaudit.training.executors.interface import Executor, Options, Submit, imported
from memaudit.training.executors.job import Job, Outcome, run


@contextmanager
def _session(options: Options, workers: int, folder: Path) -> Iterator[Submit]:
    """Options are those of `joblib.Parallel`: backend, prefer, …"""
    joblib = imported("joblib", "joblib")
    given = {"n_jobs": workers, "batch_size": 1, "pre_dispatch": "all"} | options
    parallel = joblib.Parallel(**given, return_as="generator_unordered")

    def submit(jobs: Sequence[Job]) -> Sequence[Future[Outcome]]:
        futures: list[Future[Outcome]] = [Future() for _ in jobs]
        for future in futures:
            future.set_running_or_notify_cancel()
        tasks = [joblib.delayed(run)(job) for job in jobs]
        threading.Thread(target=_pass_on, args=(lambda: parallel(tasks), futures), daemon=True).start()
        return futures

    yield submit


def _pass_on(outcomes: Callable[[], Iterator[Outcome]], futures: Sequence[Future[Outcome]]) -> None:
    """Give each future an outcome as jobs end; a worker that dies takes with it all jobs that have not ended."""
    waiting = list(futures)
    try:
        for outcome in outcomes():
            waiting.pop().set_result(outcome)
    except Exception as error:
        for future in waiting:
            future.set_exception(error)


JOBLIB = Executor("joblib", _session)
