"""Attacks with four or five shadow models: do intervals cover, do gates keep their rates, which attack finds more?

    python -m benchmarks.few_shadows [--shadows 4 5] [--repetitions 400]
    python -m benchmarks.few_shadows --trained [--repetitions 40]

Audits of simulated banks (benchmarks/simulation.py) through the product's attacks, held-out interval and policy, 1,000
examples each. The true rate of an audit is that on 20,000 more examples of the law, scored by what was learned from the
1,000. The gate is set at it: at most 5 % of audits may fail it, and 5 % pass. Null targets have memberships that are
drawn anew, and a limit at the false-positive rate itself.

With --trained: the mean TPR of estimators that are really trained, 2,000 examples, 4 shadow models; and by how much
SLiRA's is above RMIA's (offline).
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from benchmarks.operating_characteristics import gate_on
from benchmarks.simulation import LAWS, Law, SimulatedBank, simulated
from memaudit.attacks import TARGET_ATTACKS, Answers, References, Slira
from memaudit.checks.evidence import estimate
from memaudit.design import PairArrays, by_pair, halves
from memaudit.recipe import Examples
from memaudit.signals import measure
from memaudit.stats import HeldOutRate
from memaudit.types import Verdict

Array = np.ndarray

EXAMPLES, FRESH, FPR = 1_000, 20_000, 0.05
NAMES = ("slira", "rmia-offline", "reference", "global-threshold")
LEARNERS = {
    "logistic regression": LogisticRegression(C=100.0, max_iter=300),
    "boosting": GradientBoostingClassifier(n_estimators=30, max_depth=3, random_state=0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shadows", type=int, nargs="+", default=[4, 5])
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--trained", action="store_true")
    asked = parser.parse_args()
    if asked.trained:
        for learner in LEARNERS:
            print(_trained(learner, asked.repetitions), flush=True)
        return
    print("| law | shadows | attack | true TPR | coverage | at the limit: pass / fail | null fails |")
    print("|---|--:|---|--:|--:|--:|--:|")
    for law in (law for law in LAWS if not law.copies):
        for shadows in asked.shadows:
            for row in _rows(law, shadows, asked.repetitions):
                print(row, flush=True)


def _rows(law: Law, shadows: int, repetitions: int) -> list[str]:
    found: dict[str, list[tuple[float, bool, Verdict, Verdict]]] = {name: [] for name in NAMES}
    for seed in range(repetitions):
        some, fresh, taught = _audit(law, shadows, seed)
        for name in NAMES:
            score = TARGET_ATTACKS[name].score
            scores, beyond = score(some), taught if name == "slira" else score(fresh)
            cut = np.quantile(beyond[~fresh.members], 1 - FPR)
            truth = float((beyond[fresh.members] > cut).mean())
            rate = HeldOutRate(scores[some.members], scores[~some.members], FPR)
            low, high = rate.interval()
            drawn = np.random.default_rng(seed).permutation(some.members)
            null = HeldOutRate(scores[drawn], scores[~drawn], FPR)
            found[name].append((truth, bool(low <= truth <= high), _gate(rate, truth), _gate(null, FPR)))
    rows = []
    for name, audits in found.items():
        truths, covered, verdicts, nulls = zip(*audits, strict=True)
        passes, fails = (np.mean([v is which for v in verdicts]) for which in (Verdict.PASS, Verdict.FAIL))
        broken = np.mean([v is Verdict.FAIL for v in nulls])
        cells = law.name, shadows, name, f"{100 * np.mean(truths):.1f} %", f"{np.mean(covered):.3f}"
        rows.append(f"| {' | '.join(map(str, cells))} | {passes:.3f} / {fails:.3f} | {broken:.3f} |")
    return rows


def _gate(rate: HeldOutRate, limit: float) -> Verdict:
    return gate_on(estimate(rate.value, rate.interval, "share", "as in an audit"), len(rate.inside), limit)


def _audit(law: Law, shadows: int, seed: int) -> tuple[Answers, Answers, Array]:
    """Return the audited examples, fresh ones, and SLiRA's scores of these."""
    pairs = shadows // 2
    facts = simulated(law, 2 * pairs + 2, EXAMPLES + FRESH, seed * 1_000 + shadows)
    phi, members, bank = facts.phi[:, 0].astype(np.float64), facts.members, facts.bank
    assert isinstance(bank, SimulatedBank)
    known, beyond = slice(0, EXAMPLES), slice(EXAMPLES, None)
    some, fresh = (_answers(phi[at], members[at], bank, at, shadows) for at in (known, beyond))
    attack, order = Slira().learn(_pairs(some)), np.arange(pairs)
    scores = [attack.scores(fresh.phi[:, None], _pairs(fresh).take(np.roll(order, turn))) for turn in order]
    return some, fresh, np.mean(scores, axis=0)


def _pairs(answers: Answers) -> PairArrays:
    assert answers.references is not None and answers.references.pairs is not None
    return answers.references.pairs


def _answers(phi: Array, members: Array, bank: SimulatedBank, at: slice, shadows: int) -> Answers:
    """Return answers with the first shadow models as references; an odd one is one half of another pair."""
    inside, outside, keep = bank.inside[:, at], bank.outside[:, at], bank.members[:, at] > 0
    pairs = PairArrays(inside[: shadows // 2], outside[: shadows // 2])
    first = keep[0::2]
    of_models = np.stack(
        [np.where(first, inside[..., 0], outside[..., 0]), np.where(first, outside[..., 0], inside[..., 0])], axis=1
    ).reshape(-1, inside.shape[1])
    few = References(of_models[:shadows].astype(np.float64), ~keep[:shadows], pairs)
    return Answers(phi=phi, members=members, references=few)


def _trained(learner: str, repetitions: int, shadows: int = 4, count: int = 2_000) -> str:
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    for seed in range(repetitions):
        rng = np.random.default_rng(seed)
        x, weights = rng.normal(size=(count, 40)), rng.normal(size=40)
        people = Examples(x, (x @ weights + 6 * rng.normal(size=count) > 0).astype(int))
        keep = np.concatenate([halves(seed, shadows, count), halves(seed + 10**6, 2, count)[:1]]).astype(bool)
        phi = np.stack([_phi(learner, people, rows) for rows in keep])
        pairs = PairArrays(*by_pair(phi[:-1, :, None], keep[:-1].astype(np.uint8)))
        some = Answers(phi=phi[-1], members=keep[-1], references=References(phi[:-1], ~keep[:-1], pairs))
        for name in NAMES:
            scores = TARGET_ATTACKS[name].score(some)
            found[name].append(HeldOutRate(scores[some.members], scores[~some.members], FPR).value)
    gain = np.subtract(found["slira"], found["rmia-offline"])
    cells = [f"{name} {100 * np.mean(values):.1f} %" for name, values in found.items()]
    error = 196 * gain.std(ddof=1) / np.sqrt(len(gain))
    return f"{learner}: {', '.join(cells)}; SLiRA above RMIA: {100 * gain.mean():+.1f} ± {error:.1f} points"


def _phi(learner: str, people: Examples, rows: Array) -> Array:
    return measure(clone(LEARNERS[learner]).fit(people.x[rows], people.y[rows]), people)["phi"][:, 0].astype(np.float64)


if __name__ == "__main__":
    main()
