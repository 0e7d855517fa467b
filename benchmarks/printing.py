"""What benchmarks print: tables of findings as Markdown, and seconds of the clock beside seconds of the processor."""

from __future__ import annotations

import os
import time

from memaudit.types import Table


def markdown(table: Table) -> str:
    """Return a table of a finding as Markdown, below its title."""
    return "\n".join((f"**{table.title}**", "", head(*table.columns), *(row(*cells) for cells in table.rows)))


def head(*columns: str) -> str:
    """Return the first two lines of a Markdown table."""
    return f"{row(*columns)}\n{row(*['---'] * len(columns))}"


def row(*cells: object) -> str:
    """Return a line of a Markdown table."""
    return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"


class Clock:
    """Time since it was made: `str` says how many seconds passed, and how many the processor worked, children too."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), _cpu()

    def __str__(self) -> str:
        return f"{time.perf_counter() - self.wall:.0f} s (processor: {_cpu() - self.cpu:.0f} s)"


def _cpu() -> float:
    return sum(os.times()[:4])
