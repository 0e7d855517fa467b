"""Run one benchmark in a process of its own, and head what it prints by the command, the machine and the versions."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from benchmarks.machine import ROOT, described, versions
from benchmarks.registry import Benchmark

_GRACE = 10  # seconds to end in, after which a process is killed


@dataclass(frozen=True)
class Places:
    """Where data, banks and peers are, and the device of the benchmarks that need a GPU."""

    data: Path | None
    banks: Path
    peers: Path | None
    device: str = "cuda"

    def __call__(self, word: str) -> str:
        """Return a word of a command with DIR, BANKS, PEERS and DEVICE replaced."""
        for name, value in (("DIR", self.data), ("BANKS", self.banks), ("PEERS", self.peers), ("DEVICE", self.device)):
            word = re.sub(rf"\b{name}\b", lambda _, value=value: str(value), word)  # type: ignore[misc]
        return word


def lacking(benchmark: Benchmark, places: Places) -> str:
    """Return what a benchmark needs and is not there; nothing if it can run."""
    if benchmark.needs and places.data is None:
        return f"--data DIR with {', '.join(benchmark.needs)}"
    missing = [name for name in benchmark.needs if places.data and not (places.data / name).exists()]
    if benchmark.peers and places.peers is None:
        missing.append("--peers DIR")
    missing += [f"the package {name}" for name in benchmark.packages if importlib.util.find_spec(name) is None]
    if benchmark.gpu and places.device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            missing.append("a GPU")
    return ", ".join(missing)


def run(benchmark: Benchmark, places: Places) -> tuple[str, str]:
    """Return (the text of the block, what went wrong); one of the two is empty."""
    command = [sys.executable, *(places(word) for word in benchmark.argv)]
    wall, processor = time.perf_counter(), _children()
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}  # what is stopped has printed all it had
    if benchmark.threads:
        environment["OMP_NUM_THREADS"] = str(benchmark.threads)
    printed, code, stopped = _output(command, environment, benchmark.limit)
    if code and not (stopped and printed.strip()):
        return "", f"stopped after {benchmark.limit:.0f} s without a result" if stopped else f"it ended with {code}"
    seconds = f"{time.perf_counter() - wall:.0f} s, {_children() - processor:.0f} s of processor time"
    ended = f" Stopped by its time limit of {benchmark.limit:.0f} s: the figures are partial." if stopped else ""
    head = f"{today()}: {seconds}. {described()}; {versions()}.{ended}"
    return f"```console\n$ {shown(benchmark)}\n```\n\n{head}\n\n{printed.strip()}", ""


def shown(benchmark: Benchmark) -> str:
    """Return the command as a person types it; DIR, BANKS and PEERS are folders of theirs."""
    threads = f"OMP_NUM_THREADS={benchmark.threads} " if benchmark.threads else ""
    return f"{threads}python {shlex.join(benchmark.argv)}"


def today() -> str:
    """Return the date, as the page writes it: 28 November 2026."""
    return f"{date.today().day} {date.today():%B %Y}"


def _output(command: list[str], environment: dict[str, str], limit: float | None) -> tuple[str, int, bool]:
    """Return what a command prints, its exit status, and whether the limit in seconds stopped it; show it meanwhile."""
    stopped = threading.Event()
    lines = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment, start_new_session=True
    ) as process:
        watch = threading.Thread(target=_stop, args=(process, limit, stopped), daemon=True)
        watch.start()
        for line in process.stdout or ():
            lines.append(line)
            print(line, end="", flush=True)
    watch.join()
    return "".join(lines), process.returncode, stopped.is_set()


def _stop(process: subprocess.Popen[str], limit: float | None, stopped: threading.Event) -> None:
    """Stop a process and its children once the limit has passed."""
    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        stopped.set()
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_GRACE)
        finally:
            _kill(process.pid)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
