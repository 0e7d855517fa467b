"""The examples that are measured: each is copied into a temporary folder, run as its page says, and summed up.

    python -m benchmarks.examples {stories,dp,adult,gradient_inversion,reconstruction} [--data DIR]

DIR contains `stories15m` and `gutenberg` (for stories) and `adult` (for adult).
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.machine import ROOT
from benchmarks.printing import head, markdown, row
from memaudit import reports
from memaudit.reports.editions import edition

Prepare = Callable[[Path, Path], None]


def stories(data: Path, folder: Path) -> None:
    """Put the pretrained model and a book where the example looks for them."""
    shutil.copytree(data / "stories15m", folder / "stories15m")
    shutil.copy(data / "gutenberg" / "bryant-stories.txt", folder / "stories.txt")


def adult(data: Path, folder: Path) -> None:
    """Unpack the first 8,000 rows."""
    with gzip.open(data / "adult" / "adult.data.gz", "rt", encoding="utf-8") as rows:
        (folder / "adult.data").write_text("".join(islice(rows, 8_000)), "utf-8")


def nothing(_: Path, __: Path) -> None:
    """Put nothing there."""


@dataclass(frozen=True, slots=True)
class Example:
    """What an example needs, what is run, and which reports it writes; findings of some codes with their tables."""

    prepare: Prepare
    commands: tuple[str, ...]
    reports: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()


EXAMPLES = {
    "stories": Example(
        stories,
        (
            "train.py",
            "-m memaudit audit fine-tuned --out json=fine-tuned.json",
            "-m memaudit audit lora --config lora.toml --out json=lora.json",
        ),
        ("fine-tuned.json", "lora.json"),
    ),
    "dp": Example(nothing, ("audit.py results",)),
    "adult": Example(
        adult,
        ("train.py", "-m memaudit audit model.skops --config people.toml --out json=people.json"),
        ("people.json",),
        ("MIA026", "MIA027", "ATT001"),
    ),
    "gradient_inversion": Example(nothing, ("invert.py",)),
    "reconstruction": Example(nothing, ("reconstruct.py",)),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=EXAMPLES)
    parser.add_argument("--data", type=Path)
    asked = parser.parse_args()
    example = EXAMPLES[asked.name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / asked.name
        shutil.copytree(ROOT / "examples" / asked.name, folder)
        example.prepare(asked.data, folder)
        for command in example.commands:
            shown = sys.stderr if example.reports else None  # what audits print is in their reports
            subprocess.run([sys.executable, *command.split()], cwd=folder, check=True, stdout=shown)
        for name in example.reports:
            print(summed_up(folder / name, example.tables), flush=True)


def summed_up(path: Path, codes: tuple[str, ...]) -> str:
    """Return a table of a report's findings, then the tables of findings of some codes: no single example is named."""
    report = edition(reports.load(path), "public")
    findings = [result.finding for result in report.results]
    lines = [f"**{path.stem}**\n", head("code", "finding")]
    lines += [row(finding.code, finding.sentence) for finding in findings]
    shown = [finding for finding in findings if finding.code.startswith(codes)] if codes else []
    return "\n".join([*lines, "", *(f"{markdown(table)}\n" for finding in shown for table in finding.tables)])


if __name__ == "__main__":
    main()
