"""How often a gate passes, fails, and says that it cannot tell.

    python -m benchmarks.operating_characteristics [--write]
    python -m benchmarks.operating_characteristics --simulate [--attack NAME] [--shadows 6 8 16 64] [--repetitions 400]

Without --simulate: exact tables for shares of independent units, by units and true rate. The policy itself is asked for
its verdict on every number of hits, and each verdict is weighted with the binomial probability of that number. With
--write the tables replace those in docs/gate.md.

With --simulate: the gate on a true-positive rate, audit by audit, on simulated banks (benchmarks/simulation.py): the
product's attack, interval, controls and policy. The true rate is the mean TPR over the audits of a cell, at thresholds
from their shadows that have exactly the stated false-positive rate on average. Interval and gates are judged whatever
the controls say; then the gate again with CTL001 and CTL004. The other two controls, which learn the default attack
anew, are run in every nth audit (--controls).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.stats import binom

from benchmarks.simulation import LAWS, Law, simulated, true_rate
from memaudit.checks import CONTROLS
from memaudit.checks.evidence import estimate
from memaudit.policy import Chances, chances, hold, least_units, most_kept
from memaudit.types import Control, Estimate, Finding, Limit, Report, Result, Subject, Verdict

Array = np.ndarray

PAGE = Path(__file__).parents[1] / "docs" / "gate.md"
BEGIN, END = "<!-- benchmarks.operating_characteristics -->", "<!-- end of benchmarks.operating_characteristics -->"

MEMBERS = (200, 500, 1_000, 2_000, 5_000)
RATES = (0.001, 0.005, 0.01, 0.012, 0.02, 0.05)
LIMIT = Limit(metric="tpr", max=0.01)


FPR, EXAMPLES = 0.01, 1000
NOMINAL = FPR * np.geomspace(0.5, 2, 25)  # the true rate is interpolated where the mean FPR is exactly the stated one
QUICK, LEARNED = ("CTL001", "CTL004"), ("CTL002", "CTL005")
FACTORS = (1.0, 1 / 1.2, 1 / 0.8)  # limit over true rate: at the limit, 20 % above it, 20 % below it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace the tables in docs/gate.md")
    parser.add_argument("--simulate", action="store_true")
    parser.add_argument("--attack", default="lira-online")
    parser.add_argument("--shadows", type=int, nargs="+", default=[6, 8, 16, 64])
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--laws", nargs="+", default=[law.name for law in LAWS])
    parser.add_argument("--controls", type=int, default=0, help="run CTL002 and CTL005 in every nth audit; 0: never")
    arguments = parser.parse_args()
    if arguments.simulate:
        print(_HEAD, flush=True)
        for law in (law for law in LAWS if law.name in arguments.laws):
            for shadows in arguments.shadows:
                audits = [
                    audit(law, shadows, arguments.attack, seed, arguments.controls)
                    for seed in range(arguments.repetitions)
                ]
                print(cell(law, shadows, audits), flush=True)
        return
    text = "\n\n".join([characteristics(), reruns(), several(), sizes()])
    if arguments.write:
        page = PAGE.read_text("utf-8")
        inside = re.escape(BEGIN) + ".*" + re.escape(END)
        PAGE.write_text(re.sub(inside, lambda _: f"{BEGIN}\n{text}\n{END}", page, flags=re.DOTALL), "utf-8")
    print(text)


def characteristics() -> str:
    rows = [[f"{n:,}", *(_chances(chances(LIMIT, n, rate)) for rate in RATES)] for n in MEMBERS]
    return _table(
        "Probability of pass / fail / inconclusive for a limit of 1% at 95% confidence, by independent units and rate:",
        ["units", *(f"{100 * rate:g}%" for rate in RATES)],
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
        ["what is compared with the limit", "in one audit", f"in one of {times}"],
        rows,
    )


def several(n: int = 2_000, rate: float = 0.012) -> str:
    rows = []
    for gates in (1, 3, 10):
        alone, shared = (float(binom.cdf(most_kept(LIMIT, n, m), n, rate)) for m in (1, gates))
        rows.append([str(gates), *(f"{100 * (1 - (1 - p) ** gates):.2f}%" for p in (alone, shared))])
    return _table(
        f"Probability that any of several independent gates passes at a true rate of {100 * rate:g}%, with "
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


@dataclass(frozen=True)
class Audit:
    """One simulated audit: the finding, its controls, and the target's rates at several thresholds."""

    found: Estimate
    members: int
    controls: tuple[Control, ...]
    fprs: Float[Array, " rates"]
    tprs: Float[Array, " rates"]


def audit(law: Law, shadows: int, attack: str, seed: int, every: int = 0) -> Audit:
    """Return one audit of a target that was made by the law."""
    evidence = simulated(law, shadows, EXAMPLES, seed * 1_000 + shadows, fprs=(FPR,), attacks=(attack,))
    wanted = QUICK + (LEARNED if every and seed % every == 0 else ())
    controls = tuple(control.run(evidence) for control in CONTROLS if control.code in wanted)
    rate = evidence.tpr(attack, FPR)
    found = estimate(rate.value, rate.interval, "share", "as in an audit")
    flags = [evidence.attacked(attack).flagged(nominal) for nominal in NOMINAL]
    fprs, tprs = (np.array([flag[who].mean() for flag in flags]) for who in (~evidence.members, evidence.members))
    return Audit(found, rate.trials, controls, fprs, tprs)


def cell(law: Law, shadows: int, audits: Sequence[Audit]) -> str:
    """Return a row of the table: what became of the audits of one law and size."""
    truth = true_rate(np.stack([a.fprs for a in audits]), np.stack([a.tprs for a in audits]), FPR)
    covered = np.mean([a.found.low <= truth <= a.found.high for a in audits])
    columns = [law.name, str(shadows), f"{100 * truth:.2f} %", f"{covered:.3f}"]
    for controlled in (False, True):
        for factor in FACTORS:
            verdicts = [gate(a, truth * factor, controlled) for a in audits]
            passes, fails = (np.mean([v is which for v in verdicts]) for which in (Verdict.PASS, Verdict.FAIL))
            columns.append(f"{passes:.3f} / {fails:.3f}")
    for code in QUICK + LEARNED:
        outcomes = [c.passed for a in audits for c in a.controls if c.code == code]
        columns.append(f"{np.mean([o is False for o in outcomes]):.3f}" if outcomes else "–")
    return "| " + " | ".join(columns) + " |"


_COLUMNS = (
    *("law", "shadows", "true TPR", "coverage"),
    *("true rate at the limit: pass / fail", "20 % above the limit", "20 % below the limit"),
    *("with CTL001 and CTL004: at the limit", "20 % above", "20 % below"),
    *(f"{code} fails" for code in QUICK + LEARNED),
)
_HEAD = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}"


def gate(found: Audit, limit: float, controlled: bool) -> Verdict:
    """Return the policy's verdict; controls that were not run are taken to pass, and so are all unless `controlled`."""
    seen = tuple(replace(c, attacks=()) for c in found.controls if c.code in QUICK) if controlled else ()
    return gate_on(found.found, found.members, limit, seen)


def gate_on(found: Estimate, members: int, limit: float, controls: Sequence[Control] = ()) -> Verdict:
    """Return the policy's verdict on a true-positive rate; controls that are not given are taken to pass."""
    finding = Finding(
        code="MIA001", title="", metric="tpr", attack="a", at_fpr=FPR, estimate=found, sentence="", n=members,
        source="",
    )  # fmt: skip
    passing = {code: Control(code=code, title="", passed=True, sentence="") for code in (*QUICK, *LEARNED)}
    passing |= {control.code: control for control in controls}
    report = Report(
        created="", subject=Subject(model="", sha256="", members=members, nonmembers=EXAMPLES, shadows=2),
        results=(Result(finding=finding, verdict=Verdict.NOTED, reason=""),), skipped=(),
        controls=tuple(passing.values()), provenance={},
    )  # fmt: skip
    return hold(report, [Limit(metric="tpr", max=min(limit, 1.0))]).results[0].verdict


def _chances(found: Chances) -> str:
    return " / ".join(map(_chance, (found.passes, found.fails, found.undecided)))


def _chance(p: float) -> str:
    return f"{p:.2f}".removeprefix("0") if 0.005 <= p < 0.995 else f"{abs(p):.0f}"  # 1 − 1 may be −0


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *rows]
    return "\n".join([title, "", *("| " + " | ".join(line) + " |" for line in lines)])


if __name__ == "__main__":
    main()
