"""Ray: tasks of a cluster, or of a local one that is started where no address is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memaudit.training.executors.interface import Executor, Options, Submit, imported
from memaudit.training.executors.job import run


@contextmanager
def _session(options: Options, workers: int, folder: Path) -> Iterator[Submit]:
    """Options are those of a remote function: num_cpus, num_gpus, max_retries, …; `address` names the cluster."""
    ray = imported("ray", "ray")
    address = options.pop("address", None)
    own = not ray.is_initialized()
    if own:
        ray.init(address=address)
    remote = ray.remote(**{"num_cpus": 1} | options)(run)
    try:
        yield lambda jobs: [remote.remote(job).future() for job in jobs]
    finally:
        if own:
            ray.shutdown()


RAY = Executor("ray", _session)
