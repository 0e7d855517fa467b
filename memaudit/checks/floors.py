"""The evidence behind lower bounds on ε: who was guessed, in which models, and how many guesses were right."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from memaudit.attacks import Lira
from memaudit.privacy import (
    Claim,
    epsilon_bound,
    epsilon_of_counts,
    gaussian_bound,
    gaussian_of_counts,
    guess_numbers,
    most_shown,
    right_guesses,
)
from memaudit.types import Rung

if TYPE_CHECKING:
    from memaudit.checks.evidence import Evidence, TargetEvidence

Array = np.ndarray

LEAST_CANDIDATES = 10
_CANARIES = 30  # from so many on, only canaries are guessed
_LEAST_REFERENCES = 3  # pairs that LiRA compares with
_STEPS = 4_000  # guesses: the bound for a Gaussian trade-off takes a step for each
_ATTACK = Lira()


@dataclass(frozen=True, eq=False)
class Floor:
    """A lower bound on ε: scores and memberships of the candidates, `[models, candidates]`, of models that are audited.

    `chosen` are the counts of the one example that the other models single out: (hits, inside, alarms, outside).
    """

    name: str
    scores: Float[Array, "models candidates"]
    members: Bool[Array, "models candidates"]
    delta: float
    whom: str
    references: int = 0
    chosen: tuple[int, int, int, int] | None = None

    @property
    def m(self) -> int:
        """How many memberships were drawn, over all models."""
        return self.scores.size

    @cached_property
    def guesses(self) -> tuple[tuple[int, int], ...]:
        """(guesses, right ones) for each number of guesses that is tried."""
        return tuple((r, right_guesses(self.scores, self.members, r)) for r in guess_numbers(self.m))

    def at(self, alpha: float) -> float:
        """Return the bound at a probability of error, which the numbers of guesses share."""
        share = alpha / max(1, len(self.guesses))
        return max((epsilon_bound(self.m, r, v, share, self.delta) for r, v in self.guesses), default=0.0)

    def gaussian(self, alpha: float) -> float:
        """Return the same for a mechanism that has a Gaussian trade-off."""
        tried = [(r, v) for r, v in self.guesses if r <= _STEPS]
        found = (gaussian_bound(self.m, r, v, alpha / len(tried), self.delta) for r, v in tried)
        return max(found, default=0.0) if self.delta > 0 else 0.0

    def most(self, alpha: float) -> float:
        """Return the bound that guesses which are all right would show."""
        return most_shown(self.m, alpha, self.delta)

    def single(self, alpha: float) -> tuple[float, float] | None:
        """Return the bounds from the one example: for any mechanism, and for a Gaussian trade-off."""
        if self.chosen is None:
            return None
        return tuple(f(*self.chosen, alpha, self.delta) for f in (epsilon_of_counts, gaussian_of_counts))  # type: ignore[return-value]


def floors_of(evidence: TargetEvidence) -> dict[str, Floor | str]:
    """Return the lower bounds that the evidence has, by name; of one that it cannot have, the reason."""
    claim = evidence.promise.claim
    if claim is None:
        return {}
    return {"one-run": _one_run(evidence, claim), "many-run": _many_run(evidence, claim)}


def _one_run(evidence: TargetEvidence, claim: Claim) -> Floor | str:
    """Return the bound from the audited model alone; other models may be compared with, as theirs are other draws."""
    by_lot = evidence.promise.by_lot
    if by_lot is None:
        return (
            "the members are not those that memaudit.draw_members(recipe, seed=...) draws with the seed that [dp] "
            "draw states (0 by default), or the bank's candidates were chosen by who is a member. The bound needs a "
            "membership that was drawn independently, with probability 1/2"
        )
    rows, whom = _candidates(evidence, claim, by_lot)
    if rows.sum() < LEAST_CANDIDATES:
        return _few(rows, "one record and a random membership", claim)
    if evidence.rung is Rung.BANK and evidence.promise.shadows_by_lot:  # others may know the draw
        bank = evidence.bank  # type: ignore[attr-defined]
        scores, references = _ATTACK.scores(evidence.phi, bank), 2 * bank.shape[0]
    else:
        scores, references = evidence.phi.mean(axis=1, dtype=np.float64), 0
    return Floor("one-run", scores[None, rows], evidence.members[None, rows], claim.delta, whom, references)


def _many_run(evidence: TargetEvidence, claim: Claim) -> Floor | str:
    """Return the bound from half of the bank's pairs, one model of each; it compares with the other half alone.

    Of four pairs one is audited, as LiRA needs three.

    The other model of a pair lacks just what the first one has: both would be two runs on one draw. And scores that
    depend on the memberships of another audited model would make the guesses depend on each other.
    """
    if evidence.rung is not Rung.BANK:
        return "it needs a bank of shadow models: memaudit bank fill --shadows 64"
    found: Evidence = evidence  # type: ignore[assignment]
    if found.matched is not None or not evidence.promise.shadows_by_lot:
        return "it needs shadow models that memaudit trained as complementary pairs of random halves"
    pairs = np.arange(found.bank.shape[0])
    if len(pairs) <= _LEAST_REFERENCES:
        least = 2 * (_LEAST_REFERENCES + 1)
        return f"it needs at least {least} shadow models: half of them are audited, with the other half"
    rows, whom = _candidates(evidence, claim, np.ones(len(evidence.members), bool))
    if rows.sum() < LEAST_CANDIDATES:
        return _few(rows, "one record", claim)
    own = pairs[1::2][: len(pairs) - _LEAST_REFERENCES]
    rest = np.setdiff1d(pairs, own)
    references, audited = found.bank.take(rest), found.bank.take(own)
    inside, outside = audited.block(slice(0, len(rows)))
    first = found.bank.members[0::2][own] > 0
    phi = np.where(first[:, :, None], inside, outside)
    scores = np.stack([_ATTACK.scores(run, references) for run in phi])
    known = references.block(slice(0, len(rows)))
    chosen = _chosen(known, (inside, outside), np.flatnonzero(rows))
    return Floor("many-run", scores[:, rows], first[:, rows], claim.delta, whom, 2 * len(rest), chosen)


def _few(rows: Bool[Array, " units"], what: str, claim: Claim) -> str:
    """Return why too few units can be guessed."""
    hint = "" if claim.per_unit else '. If the claim is for all records of a unit, state unit = "unit" in [dp]'
    return f"only {int(rows.sum())} units have {what}; {LEAST_CANDIDATES} are needed{hint}"


def _candidates(
    evidence: TargetEvidence, claim: Claim, drawn: Bool[Array, " units"]
) -> tuple[Bool[Array, " units"], str]:
    """Return which units are guessed: of one record, unless the claim is about units; canaries alone, if many."""
    promise = evidence.promise
    rows = drawn & ((promise.records == 1) | claim.per_unit)
    canaries = rows & promise.canaries
    return (canaries, "canaries") if canaries.sum() >= _CANARIES else (rows, evidence.unit)


def _chosen(known: tuple[Array, Array], audited: tuple[Array, Array], rows: Array) -> tuple[int, int, int, int]:
    """Return how often the example that other models separate best is flagged, midway between their means."""
    inside, outside = (side[:, rows].mean(axis=2, dtype=float) for side in known)
    spread = np.sqrt(inside.var(axis=0) + outside.var(axis=0)) + 1e-12
    best = int(((inside.mean(axis=0) - outside.mean(axis=0)) / spread).argmax())
    cut = (inside[:, best].mean() + outside[:, best].mean()) / 2
    flagged = [side[:, rows[best]].mean(axis=1, dtype=float) > cut for side in audited]
    return int(flagged[0].sum()), len(flagged[0]), int(flagged[1].sum()), len(flagged[1])
