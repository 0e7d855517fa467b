"""What benchmarks print: tables of findings as Markdown, and seconds of the clock beside seconds of the processor."""

from __future__ import annotations

import os
import time

from memaudit.types import Table


def markdown(table: Table) -> str:
    """Return a table of a finding as Markdown, below its title."""
    rows = (table.columns, ("---",) * len(table.columns), *table.rows)
    lines = ("| " + " | ".join(str(cell).replace("|", r"\|") for cell in row) + " |" for row in rows)
    return "\n".join((f"**{table.title}**", "", *lines))


class Clock:
    """Time since it was made: `str` says how many seconds passed, and how many the processor worked, children too."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), _cpu()

    def __str__(self) -> str:
        return f"{time.perf_counter() - self.wall:.0f} s (processor: {_cpu() - self.cpu:.0f} s)"


def _cpu() -> float:
    return sum(os.times()[:4])
