"""Run benchmarks, and rewrite their blocks of RESULTS.md with what they print.

    python -m benchmarks [NAME ...] [--data DIR] [--banks DIR] [--peers DIR] [--list] [--all]

NAME is a block, or the beginning of several (`gpu` runs all that need a GPU). Without names it runs what takes at most
five minutes and no GPU; --all also runs the long ones. What needs data, peers or a GPU that are not there is skipped.
DIR of --data has a folder per data set. A benchmark that fails leaves its block as it was; one that its time limit
stops keeps what it had printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import blocks, registry
from benchmarks.machine import ROOT
from benchmarks.running import Places, lacking, run

QUICK = 5  # minutes
RESULTS = ROOT / "benchmarks" / "RESULTS.md"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--data", type=Path, help="a folder per data set")
    parser.add_argument("--banks", type=Path, help="where banks are kept; by default in a temporary folder")
    parser.add_argument("--peers", type=Path, help="where `python -m benchmarks.peers --fetch DIR` put them")
    parser.add_argument("--device", default="cuda", help="of the benchmarks that need a GPU")
    parser.add_argument("--toy", action="store_true", help="at toy size, where there is one; needs --results")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--list", action="store_true", help="print the benchmarks, and what each needs")
    parser.add_argument("--all", action="store_true", help="also the long ones")
    asked = parser.parse_args()
    try:
        chosen = registry.chosen(asked.names)
    except ValueError as error:
        parser.error(str(error))
    if asked.list:
        print(registry.listed(chosen, asked.results.read_text("utf-8")))
        return
    if asked.toy:
        if asked.results == RESULTS:
            parser.error("toy figures do not belong into RESULTS.md; add --results FILE")
        chosen = [registry.small(benchmark) for benchmark in chosen]
    if not asked.names:
        chosen = [b for b in chosen if not b.gpu and (asked.all or b.minutes <= QUICK)]
    with tempfile.TemporaryDirectory() as banks:
        places = Places(asked.data, asked.banks or Path(banks), asked.peers, asked.device)
        sys.exit(max([refreshed(benchmark, places, asked.results) for benchmark in chosen], default=0))


def refreshed(benchmark: registry.Benchmark, places: Places, results: Path) -> int:
    """Run a benchmark and rewrite its block. Return 1 if it failed."""
    if missing := lacking(benchmark, places):
        print(f"{benchmark.name}: skipped, it needs {missing}", file=sys.stderr)
        return 0
    blocks.content(results.read_text("utf-8"), benchmark.name)  # before anything expensive
    print(f"{benchmark.name}: about {benchmark.minutes:g} min", file=sys.stderr)
    text, problem = run(benchmark, places)
    if problem:
        print(f"{benchmark.name}: {problem}; its block is left as it was", file=sys.stderr)
        return 1
    blocks.rewrite(results, benchmark.name, text)
    print(f"{benchmark.name}: its block is rewritten", file=sys.stderr)
    return 0


if __name__ == "__main__":
    main()
