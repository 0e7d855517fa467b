"""How often a gate passes, fails, and says that it cannot tell, by members and true rate.

    python -m benchmarks.operating_characteristics [--write]

Exact, not simulated: the policy itself is asked for its verdict on every number of members found, and each verdict is
weighed with the binomial probability of that number. With --write the tables replace those in docs/gate.md.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from scipy.stats import binom

from memaudit.policy import hold
from memaudit.stats import clopper_pearson
from memaudit.types import Control, Estimate, Finding, Limit, Report, Result, Subject, Verdict

PAGE = Path(__file__).parents[1] / "docs" / "gate.md"
BEGIN, END = "<!-- benchmarks.operating_characteristics -->", "<!-- end of benchmarks.operating_characteristics -->"

MEMBERS = (200, 500, 1_000, 2_000, 5_000)
RATES = (0.001, 0.005, 0.01, 0.012, 0.02, 0.05)
LIMIT = 0.01
CONTROLS = ("CTL001", "CTL002", "CTL004", "CTL005")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace the tables in docs/gate.md")
    text = "\n\n".join([characteristics(), reruns(), several(), sizes()])
    if parser.parse_args().write:
        page = PAGE.read_text("utf-8")
        inside = re.escape(BEGIN) + ".*" + re.escape(END)
        PAGE.write_text(re.sub(inside, lambda _: f"{BEGIN}\n{text}\n{END}", page, flags=re.DOTALL), "utf-8")
    print(text)


def report(hits: Sequence[int], n: int) -> Report:
    """Returns the report of an audit in which every control passed, and so many members were found by each attack."""
    results = []
    for number, found in enumerate(hits):
        low, high = clopper_pearson(found, n)
        estimate = Estimate(value=found / n, low=float(low), high=float(high), unit="share", method="Clopper–Pearson")
        finding = Finding(
            code="MIA001", title="", metric="tpr", attack=f"{number}", estimate=estimate, sentence="", n=n, source=""
        )
        results.append(Result(finding=finding, verdict=Verdict.NOTED, reason=""))
    return Report(
        created="",
        subject=Subject(model="", sha256="", members=n, nonmembers=n, shadows=64),
        results=tuple(results),
        skipped=(),
        controls=tuple(Control(code=code, title="", passed=True, sentence="") for code in CONTROLS),
        provenance={},
    )


@cache
def most_kept(n: int, limit: float, gates: int = 1) -> int:
    """Returns the most hits that pass, for the best of several gates, if the others are far above their limits."""
    limits = [Limit(metric="tpr", attack=f"{number}", max=limit) for number in range(gates)]

    def passes(hits: int) -> bool:
        return hold(report([hits, *[n] * (gates - 1)], n), limits).results[0].verdict is Verdict.PASS

    return next(hits for hits in range(n + 1) if not passes(hits)) - 1


@cache
def least_broken(n: int, limit: float) -> int:
    """Returns the least hits that fail."""
    held = (hold(report([hits], n), [Limit(metric="tpr", max=limit)]).results[0].verdict for hits in range(n + 1))
    return next(hits for hits, verdict in enumerate(held) if verdict is Verdict.FAIL)


def chances(n: int, rate: float, limit: float) -> tuple[float, float, float]:
    """Returns the probabilities of pass, fail and inconclusive at a true rate."""
    kept = float(binom.cdf(most_kept(n, limit), n, rate))
    broken = float(binom.sf(least_broken(n, limit) - 1, n, rate))
    return kept, broken, 1 - kept - broken


def characteristics() -> str:
    rows = [[f"{n:,}", *(" / ".join(_chance(p) for p in chances(n, rate, LIMIT)) for rate in RATES)] for n in MEMBERS]
    return _table(
        "Probability of pass / fail / inconclusive, for a limit of 1% at 95% confidence, by members and true rate:",
        ["members", *(f"{100 * rate:g}%" for rate in RATES)],
        rows,
    )


def reruns(n: int = 2_000, rate: float = 0.012, times: int = 5) -> str:
    point = float(binom.cdf(int(LIMIT * n), n, rate))
    interval = chances(n, rate, LIMIT)[0]
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
        alone, shared = (float(binom.cdf(most_kept(n, LIMIT, m), n, rate)) for m in (1, gates))
        rows.append([str(gates), *(f"{100 * (1 - (1 - p) ** gates):.2f}%" for p in (alone, shared))])
    return _table(
        f"Probability that any of several independent gates is said to be kept at a true rate of {100 * rate:g}%, with "
        f"{n:,} members:",
        ["gates", "each at 95%", "all together at 95% (Holm)"],
        rows,
    )


def sizes() -> str:
    limits = (0.05, 0.01, 0.005, 0.001)
    members = []
    for limit in limits:
        low, high = 1, 10_000
        while low < high:
            middle = (low + high) // 2
            kept = hold(report([0], middle), [Limit(metric="tpr", max=limit)]).results[0].verdict is Verdict.PASS
            low, high = (low, middle) if kept else (middle + 1, high)
        members.append(f"{low:,}")
    return _table(
        "The least members with which a gate can pass at all, if none of them is found:",
        ["limit", *(f"{100 * limit:g}%" for limit in limits)],
        [["members", *members]],
    )


def _chance(p: float) -> str:
    return f"{p:.2f}".removeprefix("0") if 0.005 <= p < 0.995 else f"{abs(p):.0f}"  # 1 − 1 may be −0


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *rows]
    return "\n".join([title, "", *("| " + " | ".join(line) + " |" for line in lines)])


if __name__ == "__main__":
    main()
