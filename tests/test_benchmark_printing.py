"""What benchmarks print: see benchmarks/printing.py."""

from __future__ import annotations

import re
import subprocess
import sys

from benchmarks.printing import Clock, markdown
from memaudit.types import Table


def test_a_table_is_markdown_with_its_columns() -> None:
    table = Table(title="Rates", columns=("Attack", "P(member | score)"), rows=(("LiRA", 0.5), ("gap", "a|b")))
    assert markdown(table).splitlines() == [
        *("**Rates**", "", r"| Attack | P(member \| score) |", "| --- | --- |"),
        *("| LiRA | 0.5 |", r"| gap | a\|b |"),
    ]


def test_the_clock_counts_the_processor_time_of_children() -> None:
    clock = Clock()
    work = "import time\nwhile time.process_time() < 1: pass"
    subprocess.run([sys.executable, "-c", work], check=True)
    found = re.fullmatch(r"(\d+) s \(processor: (\d+) s\)", str(clock))
    assert found is not None and int(found[1]) >= 1 <= int(found[2])
