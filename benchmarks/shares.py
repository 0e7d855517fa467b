"""Honest targets with any share of members: are they withheld, do intervals cover, does a null target fail its gate?

    python -m benchmarks.shares [--learner logistic wide boosting] [--shares 0.2 0.5 0.8 0.95] [--repetitions 400]
    python -m benchmarks.shares --halves [--examples 300 1000 3000] [--shares 0.5 0.55 0.6 0.7 0.8]

Each audit draws a population of its own, a target with that share of members, and shadow models by the product's
design; all are really trained. Attack, interval, controls and policy are the product's. The true rate is the mean TPR
over the audits of a cell, at thresholds from their shadows that have exactly the stated false-positive rate on average.
Coverage and gates are judged whatever the controls say, then the gate again with CTL001 and CTL004.

Null targets are held against a limit that is the false-positive rate itself: memberships are drawn anew, of the target
among the candidates and of the shadows in each pair, after all models were trained, so that scores of members and
non-members are exchangeable. (A target that was trained on other data is no null, but has misstated members.)

With --halves, shadow models are trained on halves whatever the target's share: how often the fidelity control fails is
why a bank of halves serves a target up to 5 percentage points from one half, and no further.
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from benchmarks.operating_characteristics import FACTORS, NOMINAL, QUICK, Audit, gate
from benchmarks.simulation import SimulatedBank, true_rate
from memaudit.checks import CONTROLS, ClassifierEvidence
from memaudit.checks.evidence import estimate
from memaudit.design import Design, by_pair, half_in_units, target_in_units
from memaudit.recipe import Examples
from memaudit.signals import measure
from memaudit.types import Verdict

Array = np.ndarray

LEARNERS = {  # estimator, and number of features
    "logistic": (LogisticRegression(C=100.0, max_iter=300), 20),
    "wide": (LogisticRegression(C=100.0, max_iter=300), 60),
    "boosting": (GradientBoostingClassifier(n_estimators=20, max_depth=3, random_state=0), 20),
}
SHADOWS, FPR, ATTACK = 16, 0.1, "lira-online"
RATES = NOMINAL / 0.01 * FPR


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learner", nargs="+", default=list(LEARNERS))
    parser.add_argument("--shares", type=float, nargs="+")
    parser.add_argument("--examples", type=int, nargs="+", default=[300])
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--halves", action="store_true")
    asked = parser.parse_args()
    shares = asked.shares or ([0.5, 0.55, 0.6, 0.7, 0.8] if asked.halves else [0.2, 0.5, 0.8, 0.95])
    print(_head(asked.halves), flush=True)
    for learner in asked.learner:
        for examples in asked.examples:
            for share in shares:
                row = _withheld if asked.halves else _cell
                print(row(learner, examples, share, asked.repetitions), flush=True)


def evidence(
    learner: str, examples: int, share: float, seed: int, halves: bool, null: bool = False
) -> ClassifierEvidence:
    """Return the evidence of one audit, from models that were trained for it."""
    rng = np.random.default_rng([seed, examples, round(1000 * share)])
    people = _people(examples, LEARNERS[learner][1], rng)
    target = target_in_units(seed, people.unit_of, people.y, share)
    units = people.units
    design = Design.halves(units) if halves else Design.for_members(target > 0, seed)
    rows = np.flatnonzero(design.candidates)
    counts = [half_in_units(seed, m, people.unit_of, people.y, design.roles) for m in range(SHADOWS)]
    measured = people.take(rows)
    signals = [measure(_trained(learner, people, row), measured) for row in counts]
    own = measure(_trained(learner, people, target), measured)
    keep, members = np.stack(counts)[:, rows], target[rows] > 0
    if null:
        coins = rng.integers(0, 2, (SHADOWS // 2, len(rows)), dtype=np.uint8)
        keep, members = np.stack([coins, 1 - coins], axis=1).reshape(SHADOWS, -1), rng.permutation(members)
    phi, correct = (np.stack([signal[name] for signal in signals]) for name in ("phi", "correct"))
    return ClassifierEvidence(
        bank=SimulatedBank(*by_pair(phi, keep), keep, correct), phi=own["phi"], correct=own["correct"], members=members,
        x=measured.x, y=measured.y, fprs=(FPR,), attacks=(ATTACK,), seed=seed, share=design.share,
    )  # fmt: skip


def _people(examples: int, features: int, rng: np.random.Generator) -> Examples:
    x, weights = rng.normal(size=(examples, features)), rng.normal(size=features)
    return Examples(x, (x @ weights + np.sqrt(features) * rng.normal(size=examples) > 0).astype(int))


def _trained(learner: str, people: Examples, counts: Array) -> object:
    chosen = counts > 0
    return clone(LEARNERS[learner][0]).fit(people.x[chosen], people.y[chosen])


def audit(found: ClassifierEvidence) -> Audit:
    """Return what became of one audit."""
    controls = tuple(control.run(found) for control in CONTROLS if control.code in QUICK)
    rate, attacked = found.tpr(ATTACK, FPR), found.attacked(ATTACK)
    flags = [attacked.flagged(nominal) for nominal in RATES]
    fprs, tprs = (np.array([flag[who].mean() for flag in flags]) for who in (~found.members, found.members))
    return Audit(estimate(rate.value, rate.interval, "share", "as in an audit"), rate.trials, controls, fprs, tprs)


def _cell(learner: str, examples: int, share: float, repetitions: int) -> str:
    audits = [audit(evidence(learner, examples, share, seed, halves=False)) for seed in range(repetitions)]
    truth = true_rate(np.stack([a.fprs for a in audits]), np.stack([a.tprs for a in audits]), FPR)
    covered = np.mean([a.found.low <= truth <= a.found.high for a in audits])
    columns = [learner, f"{share:.0%}", f"{audits[0].members}", f"{100 * truth:.1f} %", f"{covered:.3f}"]
    for factor in FACTORS:
        verdicts = [gate(a, truth * factor, controlled=True) for a in audits]
        passes, fails = (np.mean([v is which for v in verdicts]) for which in (Verdict.PASS, Verdict.FAIL))
        columns.append(f"{passes:.3f} / {fails:.3f}")
    failed = {code: [c.passed is False for a in audits for c in a.controls if c.code == code] for code in QUICK}
    columns += [f"{np.mean(failed[code]):.3f}" for code in QUICK]
    nulls = [audit(evidence(learner, examples, share, seed, halves=False, null=True)) for seed in range(repetitions)]
    columns.append(f"{np.mean([gate(a, FPR, controlled=True) is Verdict.FAIL for a in nulls]):.3f}")
    return "| " + " | ".join(columns) + " |"


def _withheld(learner: str, examples: int, share: float, repetitions: int) -> str:
    fidelity = next(control for control in CONTROLS if control.code == "CTL001")
    made = (evidence(learner, examples, share, seed, halves=True) for seed in range(repetitions))
    failed = np.mean([fidelity.run(found).passed is False for found in made])
    return f"| {learner} | {examples:,} | {share:.0%} | {failed:.3f} |"


def _head(halves: bool) -> str:
    columns = ["learner", "examples", "share of members", "CTL001 fails, shadows on halves"]
    if not halves:
        columns = ["learner", "share of members", "members measured", "true TPR", "coverage"]
        columns += ["at the limit: pass / fail", "20 % above the limit", "20 % below the limit"]
        columns += [*(f"{code} fails" for code in QUICK), "null target fails"]
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


if __name__ == "__main__":
    main()
