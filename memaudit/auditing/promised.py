"""The differential privacy that is claimed of a model, and whose membership was drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt8

from memaudit.auditing.ground import Ground
from memaudit.auditing.target import Target
from memaudit.design import Draw, Role
from memaudit.design.draws import target_in_units, target_share
from memaudit.errors import SettingsError
from memaudit.privacy import LARGEST, Claim, Promise, Steps, epsilon_of_steps
from memaudit.recipe import Examples, TextPopulation
from memaudit.recipe.classifier_canaries import kind_of_canary
from memaudit.recipe.privacy_record import read_record, record_beside

Array = np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Dp:
    """The differential privacy that is claimed of a training, as the table [dp] of memaudit.toml states it.

    Args:
        epsilon: ε. Without it, ε is computed from an accountant's record.
        delta: δ.
        record: The accountant's record; by default, and without `epsilon`, the file `<model>.privacy.json` that
            `save_target` wrote.
        unit: What the claim is about: "record", one row of the training set, or "unit", all rows of a person or group.
        draw: The seed that `draw_members` was given for the audited model. Lower bounds from this one model need a
            membership that was drawn independently, with probability 1/2: it must be the one that this seed draws.

    Raises:
        SettingsError: A number is none that a claim can have.
    """

    epsilon: float | None = None
    delta: float
    record: str | Path | None = None
    unit: str = "record"
    draw: int = 0

    def __post_init__(self) -> None:
        for name, value in (("epsilon", self.epsilon), ("delta", self.delta), ("draw", self.draw)):
            kind = int if name == "draw" else (int, float)
            if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
                raise SettingsError(f"dp: {name} is a {'whole ' if name == 'draw' else ''}number, got {value!r}")
        if self.epsilon is not None and not 0 <= self.epsilon < LARGEST:
            raise SettingsError(f"dp: epsilon is from 0 to below {LARGEST:g}, got {self.epsilon}")
        if not 0 <= self.delta < 1:
            raise SettingsError(f"dp: delta is from 0 to below 1, got {self.delta}")
        if self.unit not in ("record", "unit"):
            raise SettingsError(f'dp: unit is "record" or "unit", got {self.unit!r}')
        if self.draw < 0:
            raise SettingsError(f"dp: draw is the seed of draw_members, at least 0, got {self.draw}")

    def claim(self, model: Path) -> Claim:
        """Return the claim about a model.

        Raises:
            EvidenceError: The record is missing or damaged.
            SettingsError: δ is 0, and ε is to be computed.
        """
        path = record_beside(model) if self.record is None else Path(self.record)
        if self.epsilon is not None and self.record is None:
            return Claim(epsilon=float(self.epsilon), delta=float(self.delta), per_unit=self.unit == "unit")
        if self.delta == 0:
            raise SettingsError("dp: an accountant's record has an ε for every delta above 0; give one")
        history = tuple(Steps(*step) for step in read_record(path))
        computed = epsilon_of_steps(history, float(self.delta))
        told = ", ".join(
            f"{s.steps:,} steps with noise multiplier {s.noise:g} and sampling rate {s.rate:.4g}" for s in history[:3]
        )
        if len(history) > 3:
            told += f" and {len(history) - 3} more"
        origin = f"computed by Rényi DP from the record of {told}, which the trainer states"
        if self.epsilon is not None:
            origin = f"declared; by Rényi DP, the record of {told} has ε ≤ {computed:.4g}"
        return Claim(
            epsilon=computed if self.epsilon is None else float(self.epsilon),
            delta=float(self.delta),
            origin=origin,
            per_unit=self.unit == "unit",
            history=history,
        )


def promise_of(dp: Dp | None, target: Target, base: Ground) -> Promise:
    """Return what is claimed of a target, and what the bounds on ε have to know of its units, as they are measured.

    Raises:
        MemauditError: As for `Dp.claim`.
    """
    measured = base.target.population
    if isinstance(measured, TextPopulation):
        records, kinds = _rows_of_units(measured, base.target.counts), ("",) * len(measured)
    else:
        records = np.bincount(measured.unit_of, np.maximum(base.target.counts, 1)).astype(np.int64)
        kinds = tuple(kind_of_canary(str(name)) for name in base.target.ids)
    found = Promise(records=records, kinds=kinds)
    if dp is None:
        return found
    drawn = drawn_by_lot(target, base, dp.draw)
    shadows = base.design is not None and base.design.draw is Draw.PAIRS and base.bank is not None
    return Promise(
        claim=dp.claim(target.model),
        by_lot=None if drawn is None else np.isin(base.target.ids, target.ids[drawn]),
        shadows_by_lot=shadows and not base.bank.imported,  # type: ignore[union-attr]
        records=records,
        kinds=kinds,
    )


def _rows_of_units(text: TextPopulation, counts: UInt8[Array, " ids"]) -> Int[Array, " units"]:
    """Return how many rows each unit of documents has in a training set that it is in: a long document has several."""
    trained = [sum(bool(row.trained.any()) for row in rows) for rows in text.rows]
    rows = np.bincount(text.documents.unit_of, np.maximum(trained, 1), len(text)).astype(np.int64)
    return rows * np.maximum(counts[: len(text)], 1)


def drawn_by_lot(target: Target, base: Ground, seed: int) -> Bool[Array, " units"] | None:
    """Return whose membership is the one that `draw_members` draws with a seed; None if the membership is another.

    It draws all units, the candidates of the bank's design, or the canaries alone while everything else is a member.
    None, too, if the bank's candidates were chosen by the membership.
    """
    population, units, design = target.population, len(target.members), base.design
    if design is not None and not design.candidates.all() and not design.chosen:
        return None  # the candidates were chosen by who is a member: their draw is not independent of the choice
    roles = [np.full(units, Role.CANDIDATE, np.uint8)]
    if design is not None:
        roles.append(design.roles)
    if isinstance(population, Examples):
        canary = np.array([bool(kind_of_canary(str(name))) for name in target.ids])
        roles.append(np.where(canary, Role.CANDIDATE, Role.ALWAYS).astype(np.uint8))
    for own in roles:
        if isinstance(population, TextPopulation):
            counts = target_share(seed, units, 0.5, own)
            same = bool((counts == target.counts[:units]).all())
        else:
            counts = target_in_units(seed, population.unit_of, population.strata, 0.5, own)
            same = bool((counts == target.counts).all())
        if same and (own == Role.CANDIDATE).any():
            return np.asarray(own == Role.CANDIDATE)
    return None
