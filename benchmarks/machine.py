"""Where figures come from: the machine, the versions and the commit, in a sentence each."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
_LIBRARIES = {"torch": "torch", "NumPy": "numpy"}


def described() -> str:
    """Return the processor, its cores, the memory and the GPUs of this machine."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{_processor()}, {cores} core{'s' * (cores > 1)}, {memory:.0f} GiB of memory, {_gpus()}"


def versions() -> str:
    """Return the versions of Python and the libraries, and the commit of memaudit."""
    libraries = [f"{shown} {_version(name)}" for shown, name in _LIBRARIES.items()]
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    return ", ".join([f"Python {platform.python_version()}", *libraries, f"memaudit {ours} ({commit()})"])


def commit() -> str:
    """Return the commit of the working tree, and whether files of Python differ from it."""
    try:
        revision = _output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
        changed = _output("git", "-C", str(ROOT), "status", "--porcelain", "--", "*.py")
    except (OSError, subprocess.CalledProcessError):
        return "no commit"
    return revision + (", changed" if changed else "")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _gpus() -> str:
    if not shutil.which("nvidia-smi"):
        return "no GPU"
    try:
        found = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()
    except (OSError, subprocess.CalledProcessError):
        return "no GPU"
    return ", ".join(found) or "no GPU"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
