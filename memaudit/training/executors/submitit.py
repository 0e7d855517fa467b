"""submitit: jobs of SLURM, or processes of this machine with the option cluster=local."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from memaudit.training.executors.interface import Executor, Future, Options, Submit, imported
from memaudit.training.executors.job import Job, run

_MINUTES = 240  # submitit's own default is 5


@contextmanager
def _session(options: Options, workers: int, folder: Path) -> Iterator[Submit]:
    """Options are those of `AutoExecutor`: cluster, timeout_min, mem_gb, gpus_per_node, slurm_partition, …"""
    options = {"name": "memaudit", "timeout_min": _MINUTES} | options
    executor = imported("submitit", "submitit").AutoExecutor(folder, cluster=options.pop("cluster", None))
    executor.update_parameters(**options)

    def submit(jobs: Sequence[Job]) -> Sequence[Future]:
        with executor.batch():  # one array of SLURM
            return [executor.submit(run, job) for job in jobs]

    yield submit


SUBMITIT = Executor("submitit", _session)
