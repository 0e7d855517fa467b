"""The one job that every engine runs: fill these models of that bank.

A job names everything by text, so that any engine can send it, and it is what
`memaudit bank fill --bank … --recipe … --models 3,7,9` does. It trains in a process of its own: the workers of an
engine live long, run threads, and keep modules that have changed since.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from memaudit import errors
from memaudit.errors import BankError, MemauditError
from memaudit.files import SHARED

_CODE = "from memaudit.training.executors.job import main; main()"
_POLL_SECONDS = 1.0
_PASSED = ("CI", SHARED)  # what decides how texts of exceptions are shown, and who may read the files


@dataclass(frozen=True, slots=True)
class Job:
    """Some models of a bank that is there already, to be trained by a recipe that must be the bank's."""

    recipe: str  # recipe.py:recipe, or package.module:recipe
    here: str  # the working directory
    path: tuple[str, ...]  # where modules are found
    bank: str
    mark: str  # of the bank's fingerprint
    models: tuple[int, ...]
    seed: int
    device: str
    weights: bool
    running: str  # a file: the job ends when it is gone
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended: the models that are in the folder where it ran, or the error that a user can put right."""

    host: str
    models: tuple[int, ...] = ()
    error: str = ""
    message: str = ""

    def require_well(self) -> None:
        """Raise the job's own error, if it ended with one."""
        if self.error:
            raise getattr(errors, self.error, MemauditError)(f"on {self.host}: {self.message}")


def environment() -> dict[str, str]:
    """Return the variables of this process that a job needs."""
    return {name: os.environ[name] for name in _PASSED if name in os.environ}


def run(job: Job) -> Outcome:
    """Run a job in a process of its own and return how it ended. Every engine calls this, in a worker.

    Raises:
        RuntimeError: The process died.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        reply = Path(folder) / "outcome.json"
        with subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE, str(reply)],
            stdin=subprocess.PIPE,
            stdout=2,  # what a recipe prints is no result of ours
            env=os.environ | job.environment,
            text=True,
        ) as process:
            try:
                assert process.stdin is not None
                with contextlib.suppress(BrokenPipeError):  # it died at once; its exit code says more
                    process.stdin.write(json.dumps(asdict(job)) + "\n")
                    process.stdin.flush()
                while process.poll() is None and not _cancelled(job):
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(_POLL_SECONDS)
            finally:
                process.kill()  # nothing, if it has ended
        if _cancelled(job):
            return Outcome(socket.gethostname())
        if process.returncode != 0 or not reply.exists():
            raise RuntimeError(
                f"the process that trained models {_listed(job.models)} on {socket.gethostname()} ended with code "
                f"{process.returncode}{' (out of memory?)' if process.returncode < 0 else ''}"
            )
        content = json.loads(reply.read_text("utf-8"))
        return Outcome(**content | {"models": tuple(content["models"])})


def _cancelled(job: Job) -> bool:
    return Path(job.bank).is_dir() and not Path(job.running).exists()


def main() -> None:
    """Work on the job that standard input names; the file that the argument names gets the outcome."""
    job = Job(**json.loads(sys.stdin.readline()))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who submitted the job answers Ctrl-C
    threading.Thread(target=_end_with_parent, daemon=True).start()
    host = socket.gethostname()
    try:
        outcome = Outcome(host, tuple(work(job)))
    except MemauditError as error:
        outcome = Outcome(host, error=type(error).__name__, message=str(error))
    reply = Path(sys.argv[1])
    draft = reply.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(outcome)), "utf-8")
    draft.replace(reply)


def _end_with_parent() -> None:
    os.read(0, 1)  # until the worker of the engine is gone; of sys.stdin the end of this process would need the lock
    os._exit(1)


def work(job: Job) -> list[int]:
    """Train the models of a job that its bank lacks, and return those that are there.

    Raises:
        BankError: The folder cannot be reached from here, or its bank was made by another recipe.
        RecipeError: The recipe failed.
    """
    from memaudit.bank import Bank
    from memaudit.bank.inputs import require_inputs
    from memaudit.recipe import fingerprint, load_recipe, recipe_folder
    from memaudit.recipe.populations import number_of_units, population
    from memaudit.training.filling import complete
    from memaudit.training.machine import choose_device
    from memaudit.training.model import Workshop

    _go_to(job)
    bank = Bank.open(job.bank)
    if bank.mark != job.mark:
        raise BankError(f"the bank in {job.bank} has been taken over by another recipe since the job was submitted")
    recipe = load_recipe(job.recipe)
    examples = population(recipe)
    bank.require(fingerprint(recipe, examples, job.seed) | bank.design_lines)
    require_inputs(bank, recipe_folder(recipe))
    design = bank.design(number_of_units(examples))
    workshop = Workshop(recipe, examples, job.seed, choose_device(job.device), job.weights, design)
    complete(workshop, bank, job.models, 1, None)
    return [model for model in job.models if bank.has(model)]


def _go_to(job: Job) -> None:
    """Change to the job's working directory, and find the modules that were found where it was submitted."""
    for place in (job.here, job.bank):
        if not Path(place).is_dir():
            raise BankError(
                f"there is no folder {place}. The machines of an executor must see the bank and the recipe under the "
                "same paths; where they cannot, each fills a shard, and a store has them all (--shard, --store)"
            )
    os.chdir(job.here)
    sys.path.extend(place for place in job.path if place not in sys.path)


def _listed(models: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, models[:10]))
    return f"{shown}, … ({len(models)} in all)" if len(models) > 10 else shown
