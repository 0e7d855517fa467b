"""Dask: tasks of a cluster, or of a local one that is started where no address is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memaudit.training.executors.interface import Executor, Options, Submit, imported
from memaudit.training.executors.job import run


@contextmanager
def _session(options: Options, workers: int, folder: Path) -> Iterator[Submit]:
    """Options are those of `Client.submit`: resources, retries, …; `address` names the scheduler."""
    distributed = imported("distributed", "dask")
    address = options.pop("address", None)
    local = {} if address else {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.Client(address, **local) as client:
        yield lambda jobs: [client.submit(run, job, pure=False, **options) for job in jobs]


DASK = Executor("dask", _session)
