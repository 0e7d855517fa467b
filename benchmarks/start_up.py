"""What a person waits for: the processor time of commands that train nothing, here and in an earlier checkout.

    python -m benchmarks.start_up [--before CHECKOUT] [--demo FOLDER] [--repeats 5]

FOLDER is what `memaudit demo` has written; without one, the demo is run first (minutes). Both checkouts run in turn, in
processes of their own with one thread, and the least of the repeats counts: other work on the machine only adds to it.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
GATE = '[[gate]]\nmetric = "tpr"\nattack = "lira-online"\nat_fpr = 0.01\nmax = 0.2\n'
COMMANDS = (
    "--version",
    "--help",
    "audit --help",
    "policy",
    "explain MIA001",
    "gate audit/report.json --config {scratch}/gate.toml",
    "report audit/report.json -o {scratch}/report.md",
    "report audit/report.json -o {scratch}/report.html",
    "report audit/report.json -o {scratch}/report.pdf",
    "plan",
    "doctor",
    "audit model.safetensors -q --out {scratch}/audit",
)
LIBRARIES = ("click", "numpy", "scipy", "scikit-learn", "torch", "matplotlib", "jinja2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="A checkout of an earlier version.")
    parser.add_argument("--demo", type=Path, help="The folder that memaudit demo has written.")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    checkouts = [*filter(None, [arguments.before]), ROOT]
    with tempfile.TemporaryDirectory() as folder:
        scratch, demo = Path(folder), arguments.demo
        if demo is None:
            demo = scratch / "demo"
            seconds(ROOT, scratch, ["demo"])
        (scratch / "gate.toml").write_text(GATE, "utf-8")
        print(described(arguments.repeats))
        columns = ["command", "before, s", "now, s", "before / now"] if arguments.before else ["command", "now, s"]
        print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
        for command in COMMANDS:
            words = command.format(scratch=scratch).split()
            runs = [[seconds(root, demo, words) for root in checkouts] for _ in range(arguments.repeats)]
            least = [min(times) for times in zip(*runs, strict=True)]
            cells = [f"`{command.replace('{scratch}/', '')}`", *(f"{time:.2f}" for time in least)]
            if arguments.before:
                cells.append(f"{least[0] / least[1]:.1f}")
            print(f"| {' | '.join(cells)} |", flush=True)


def described(repeats: int) -> str:
    """Return the machine, the versions and the date in one line."""
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"Processor time (user + system) of one call, least of {repeats}; {platform.machine()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {versions}; {datetime.now(UTC):%d %B %Y}.\n"
    )


def seconds(checkout: Path, folder: Path, words: list[str]) -> float:
    """Return the processor time of a command of a checkout, with that of its own processes."""
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "memaudit", *words], cwd=folder, env=environment, capture_output=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


if __name__ == "__main__":
    main()
