"""The tests that need a GPU: how many pass, and how long they take.

python -m benchmarks.gpu_tests
"""

from __future__ import annotations

import re
import subprocess
import sys

from benchmarks.machine import ROOT
from benchmarks.printing import head, row

_COMMAND = "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", "tests/test_gpu.py"


def main() -> None:
    done = subprocess.run([sys.executable, *_COMMAND], cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, file=sys.stderr)
    print(counted(done.stdout))
    sys.exit(done.returncode)


def counted(printed: str) -> str:
    """Return a table of what pytest's last line counts."""
    last = printed.strip().splitlines()[-1] if printed.strip() else ""
    found = re.findall(r"(\d+) (passed|failed|skipped|errors?|deselected)", last)
    seconds = re.search(r"in ([\d.]+)s", last)
    return (
        head("tests", *(what for _, what in found), "s")
        + "\n"
        + row("on the GPU", *(count for count, _ in found), seconds[1] if seconds else "–")
    )


if __name__ == "__main__":
    main()
