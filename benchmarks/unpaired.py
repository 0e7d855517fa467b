"""Models that are no complementary pairs: do the intervals of the link and of the power curve hold?

    python -m benchmarks.unpaired [--models 12 16 24 32] [--shares 0.5 0.7] [--between 0 0.3] [--repetitions 400]

Each audit draws examples, memberships by independent coins of a share, and signals
φ = μᵢ + σᵢ·(noise + shiftᵢ·member + model), with μᵢ ~ N(2, 2²), log σᵢ ~ N(0, ½²), and shiftᵢ 0.5, 1 or 4 for 60, 30
and 10 % of the examples. `model` is a shift that all signals of one model share, with standard deviation `between`.
Under the null, shiftᵢ is 0. Bank, checks and intervals are the product's. What an interval is about is the mean of its
estimate over all audits of the cell. Under the null, an interval above 0 is an error, of which 2.5 % are allowed.
"""

from __future__ import annotations

import argparse

import numpy as np

from memaudit.bank.matched import Matched, with_couples
from memaudit.bank.matching import design_of, matched
from memaudit.checks import ClassifierEvidence
from memaudit.checks.enough import power_curve
from memaudit.checks.link import Linked, link_of_models
from memaudit.errors import EvidenceError

Array = np.ndarray

EXAMPLES, FPR, ATTACK = 1000, 0.05, "lira-online"
_SHIFTS, _SHARES = (0.5, 1.0, 4.0), (0.6, 0.3, 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, nargs="+", default=[8, 12, 16, 24, 32])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.7])
    parser.add_argument("--between", type=float, nargs="+", default=[0.0, 0.3])
    parser.add_argument("--repetitions", type=int, default=400)
    asked = parser.parse_args()
    columns = ["models", "share", "between models", "link: reported", "mean ρ", "coverage", "null: shown"]
    columns += ["gain: reported", "mean gain", "coverage", "null: shown"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    for models in asked.models:
        for share in asked.shares:
            for between in asked.between:
                print(_row(models, share, between, asked.repetitions), flush=True)


def evidence(models: int, share: float, between: float, seed: int, leak: float = 1.0) -> ClassifierEvidence:
    """Return the evidence of one audit.

    Raises:
        EvidenceError: Such models make no bank.
    """
    rng = np.random.default_rng([seed, models, round(100 * share), round(100 * between)])
    members = rng.random((models, EXAMPLES)) < share
    target = rng.random(EXAMPLES) < share
    design = design_of(members)
    mean, scale = rng.normal(2, 2, EXAMPLES), np.exp(0.5 * rng.normal(size=EXAMPLES))
    shift = leak * rng.choice(_SHIFTS, EXAMPLES, p=_SHARES)
    noise = rng.normal(size=(models + 1, EXAMPLES)) + between * rng.normal(size=(models + 1, 1))
    phi = (mean + scale * (noise + shift * np.vstack([members, target])))[:, design.kept].astype(np.float32)
    couples = matched(members, design, seed)
    inside = members[:, design.kept].astype(np.uint8)
    bank: Matched = with_couples(phi[:-1, :, None], inside, phi[:-1] > 0, couples, design.kept)
    examples = len(design.kept)
    return ClassifierEvidence(
        bank=bank, phi=phi[-1][:, None], correct=phi[-1] > 0, members=target[design.kept], matched=couples, share=share,
        x=np.zeros((examples, 0), np.float32), y=rng.integers(0, 2, examples), seed=seed, fprs=(FPR,),
        attacks=(ATTACK,),
    )  # fmt: skip


def link(found: ClassifierEvidence) -> tuple[float, float, float] | None:
    """Return the rank correlation with its interval; None where the check refuses it."""
    linked = link_of_models(found)
    if not isinstance(linked, Linked):
        return None
    low, high = linked.link.interval()
    return linked.link.rho, float(low), float(high)


def gained(found: ClassifierEvidence) -> tuple[float, float, float] | None:
    """Return what the second half of the models adds to the TPR, with its interval; None where it is not reported."""
    made = power_curve(found, found.attacked(ATTACK), FPR)
    return None if isinstance(made, str) else made.gain


def _row(models: int, share: float, between: float, repetitions: int) -> str:
    cells = [str(models), f"{share:g}", f"{between:g}"]
    try:
        leaky, null = ([evidence(models, share, between, seed, leak) for seed in range(repetitions)] for leak in (1, 0))
    except EvidenceError:
        return "| " + " | ".join([*cells, "no bank", *["–"] * 7]) + " |"
    for estimate in (link, gained):
        made = np.array([e for e in map(estimate, leaky) if e is not None])
        none = np.array([e for e in map(estimate, null) if e is not None])
        cells.append(f"{len(made) / repetitions:.0%}")
        if not len(made) or not len(none):
            cells += ["–"] * 3
            continue
        truth = made[:, 0].mean()
        cells += [f"{truth:.3f}", f"{np.mean((made[:, 1] <= truth) & (truth <= made[:, 2])):.3f}"]
        cells.append(f"{np.mean(none[:, 1] > 0):.3f}")
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
