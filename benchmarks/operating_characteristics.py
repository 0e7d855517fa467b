"""How often a gate passes, fails, and says that it cannot tell, by members and true rate.

    python -m benchmarks.operating_characteristics [--write]

Exact, not simulated: the policy itself is asked for its verdict on every number of members found, and each verdict is
weighed with the binomial probability of that number. With --write the tables replace those in docs/gate.md.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from scipy.stats import binom

from memaudit.policy import Chances, chances, least_units, most_kept
from memaudit.types import Limit

PAGE = Path(__file__).parents[1] / "docs" / "gate.md"
BEGIN, END = "<!-- benchmarks.operating_characteristics -->", "<!-- end of benchmarks.operating_characteristics -->"

MEMBERS = (200, 500, 1_000, 2_000, 5_000)
RATES = (0.001, 0.005, 0.01, 0.012, 0.02, 0.05)
LIMIT = Limit(metric="tpr", max=0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace the tables in docs/gate.md")
    text = "\n\n".join([characteristics(), reruns(), several(), sizes()])
    if parser.parse_args().write:
        page = PAGE.read_text("utf-8")
        inside = re.escape(BEGIN) + ".*" + re.escape(END)
        PAGE.write_text(re.sub(inside, lambda _: f"{BEGIN}\n{text}\n{END}", page, flags=re.DOTALL), "utf-8")
    print(text)


def characteristics() -> str:
    rows = [[f"{n:,}", *(_chances(chances(LIMIT, n, rate)) for rate in RATES)] for n in MEMBERS]
    return _table(
        "Probability of pass / fail / inconclusive, for a limit of 1% at 95% confidence, by members and true rate:",
        ["members", *(f"{100 * rate:g}%" for rate in RATES)],
        rows,
    )


def reruns(n: int = 2_000, rate: float = 0.012, times: int = 5) -> str:
    point = float(binom.cdf(int(LIMIT.max * n), n, rate))
    interval = chances(LIMIT, n, rate).passes
    rows = [
        [name, f"{100 * p:.1f}%", f"{100 * (1 - (1 - p) ** times):.1f}%"]
        for name, p in (("the estimate alone", point), ("the upper bound", interval))
    ]
    return _table(
        f"Probability that a model with a true rate of {100 * rate:g}%, a fifth above the limit, passes with {n:,} "
        "members:",
        ["what is held against the limit", "in one audit", f"in one of {times}"],
        rows,
    )


def several(n: int = 2_000, rate: float = 0.012) -> str:
    rows = []
    for gates in (1, 3, 10):
        alone, shared = (float(binom.cdf(most_kept(LIMIT, n, m), n, rate)) for m in (1, gates))
        rows.append([str(gates), *(f"{100 * (1 - (1 - p) ** gates):.2f}%" for p in (alone, shared))])
    return _table(
        f"Probability that any of several independent gates is said to be kept at a true rate of {100 * rate:g}%, with "
        f"{n:,} members:",
        ["gates", "each at 95%", "all together at 95% (Holm)"],
        rows,
    )


def sizes() -> str:
    limits = (0.05, 0.01, 0.005, 0.001)
    members = [f"{least_units(Limit(metric='tpr', max=limit)):,}" for limit in limits]
    return _table(
        "The least members with which a gate can pass at all, if none of them is found:",
        ["limit", *(f"{100 * limit:g}%" for limit in limits)],
        [["members", *members]],
    )


def _chances(found: Chances) -> str:
    return " / ".join(map(_chance, (found.passes, found.fails, found.undecided)))


def _chance(p: float) -> str:
    return f"{p:.2f}".removeprefix("0") if 0.005 <= p < 0.995 else f"{abs(p):.0f}"  # 1 − 1 may be −0


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *rows]
    return "\n".join([title, "", *("| " + " | ".join(line) + " |" for line in lines)])


if __name__ == "__main__":
    main()
