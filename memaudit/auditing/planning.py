"""What an audit will cost and what it can decide, before anything is trained; and the plan that is kept to."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from memaudit import policy
from memaudit.auditing import ledger as ledgers
from memaudit.auditing.choices import attacks_without_bank, default_attacks, require_choices
from memaudit.auditing.costs import Cost, cost_to_fill
from memaudit.auditing.evidence import Key
from memaudit.auditing.ground import LEAST_SHADOWS
from memaudit.auditing.provenance import HASHES
from memaudit.bank import Bank
from memaudit.bank.imported import require_same_examples
from memaudit.design import Design, Draw, Role, Subsets
from memaudit.errors import BankError, EvidenceError, MemauditError, SettingsError
from memaudit.files import write_whole
from memaudit.recipe import Examples, Population, Recipe, fingerprint, load_recipe, read_members
from memaudit.recipe.populations import number_of_units, units_of
from memaudit.training import population
from memaudit.training.designing import WAY_OUT, design_for, require_models, size_mismatch
from memaudit.types import Limit, Planned, Rung

Array = np.ndarray

SCHEMA = "memaudit.plan/1"
_FEWER = (16, 32, 64, 128)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An audit to come.

    `missing` are the models that the bank still lacks; `assumed` says that members and non-members are not known, and
    taken to be one half of the examples each. `always` of the members are in every shadow model and `never` of the
    non-members in none, so that the figures are about the others. `design` says what the models are trained on.
    `warnings` are what speaks against auditing this
    model with this bank. `decides` is all that the audit's numbers and verdicts depend on, save
    the model: an audit that keeps to the plan says the same of itself.
    """

    created: str
    shadows: int
    missing: int
    members: int
    nonmembers: int
    assumed: bool
    always: int = 0
    never: int = 0
    warnings: tuple[str, ...] = ()
    design: str = ""
    cost: Cost
    outlooks: tuple[policy.Outlook, ...]
    decides: dict[str, Any]

    def hours(self, shadows: int | None = None, workers: int = 1) -> float:
        """Return the hours that training what is missing takes, of these or of another number of shadows."""
        there = self.shadows - self.missing
        models = self.missing if shadows is None else max(0, shadows - there)
        return self.cost.hours(math.ceil(models / workers))

    @property
    def gigabytes(self) -> float:
        """What the missing models take on the disk."""
        return self.cost.gigabytes(self.missing)

    @property
    def cheaper(self) -> tuple[int, ...]:
        """Smaller numbers of shadow models that an audit may do with."""
        return tuple(number for number in _FEWER if number < self.shadows)


def plan(
    recipe: Recipe | str,
    bank: str | Path,
    *,
    shadows: int = 64,
    seed: int = 0,
    members: str | Path | None = None,
    design: Subsets | None = None,
    fprs: Sequence[float] = (0.01, 0.001),
    attacks: Sequence[str] | None = None,
    limits: Sequence[Limit] = (),
    device: str = "auto",
    weights: bool = True,
    examples: Population | None = None,
    references: int = 0,
) -> Plan:
    """Return what an audit will cost and what it can decide; trains a little to see how long it takes, keeps nothing.

    Args:
        recipe: How models are made, or where the recipe is (`recipe.py:recipe`).
        bank: The folder of the bank, there or not. If it holds models, their recorded cost is taken.
        shadows: Number of models that the audit is to have; fewer than six are reference models, and 0 none at all.
        seed: Of the bank.
        members: The target's file of members; without it, half of the examples are taken to be members.
        design: Of the bank, as for `fill`.
        fprs: False-positive rates to measure at.
        attacks: Names of attacks; by default those that are usual for the kind of model.
        limits: What will be decided.
        device: Where models are trained.
        weights: Whether the bank keeps them.
        examples: The recipe's population, where it has been made already.
        references: Number of reference models beside the shadow models.

    Raises:
        MemauditError: The recipe failed, or something does not fit; the message says what to do.
    """
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    examples = population(recipe) if examples is None else examples
    imported = _imported(Path(bank), examples) if shadows else None
    shadows = shadows if imported is None else len(imported.models())
    rung = Rung.BANK if shadows >= LEAST_SHADOWS else Rung.REFERENCES if shadows + references else Rung.TARGET
    if attacks is None:
        attacks = default_attacks(recipe, examples, limits)
        if rung < Rung.BANK:
            attacks = attacks_without_bank(recipe, examples, limits, shadows, references)
    require_choices(fprs, attacks, limits)
    who = None if members is None else units_of(examples, read_members(members, examples))
    trained = shadows and imported is None
    of_bank, warnings = _design(Path(bank), examples, seed, who, design) if trained else (_everybody(examples), ())
    missing, cost = 0, Cost(seconds=0.0, stored=0, source="imported" if shadows else "no shadow models")
    if trained:
        require_models(shadows, of_bank)
        missing, cost = cost_to_fill(Path(bank), recipe, examples, shadows, seed, device, weights, of_bank)
    measured = of_bank.count(Role.CANDIDATE)
    inside = int(of_bank.inclusion * measured) if who is None else int(who[of_bank.candidates].sum())
    if of_bank.draw is Draw.INDEPENDENT and shadows < of_bank.least:
        warnings += (f"An audit with this design needs at least {of_bank.least} shadow models.",)
    decided = limits if of_bank.draw is not Draw.LEAVE_ONE_OUT else ()
    return Plan(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        shadows=shadows,
        missing=missing,
        members=inside,
        nonmembers=measured - inside,
        assumed=members is None,
        always=of_bank.count(Role.ALWAYS),
        never=of_bank.count(Role.NEVER),
        warnings=warnings,
        design=of_bank.words if imported is None else imported.fingerprint["design"],
        cost=cost,
        outlooks=policy.outlooks(decided, attacks, fprs, inside, measured - inside, shadows)
        if rung is Rung.BANK
        else policy.held_out_outlooks(decided, attacks, fprs, inside, measured - inside, rung),
        decides=_decides(
            fingerprint(recipe, examples, seed) | of_bank.lines() if imported is None else imported.fingerprint,
            shadows,
            fprs,
            attacks,
            limits,
        ),
    )


def _imported(path: Path, examples: Population) -> Bank | None:
    """Return the bank in a folder if its models were imported, and are about these examples."""
    if not Bank.is_imported(path):
        return None
    bank = Bank.open(path)
    if not isinstance(examples, Examples):
        raise EvidenceError(f"the bank in {path} was imported, and is of classifiers")
    require_same_examples(bank, examples)
    return bank


def _everybody(examples: Population) -> Design:
    return Design.halves(number_of_units(examples))


def _design(
    bank: Path,
    examples: Population,
    seed: int,
    members: Bool[Array, " units"] | None,
    subsets: Subsets | None = None,
) -> tuple[Design, tuple[str, ...]]:
    """Return the design of a bank that is there, or the one it will have; and why it does not suit the model."""
    if subsets is not None:
        return design_for(bank, examples, seed, members, subsets), ()
    try:
        design = design_for(bank, examples, seed, members)
    except BankError as error:
        return Bank.open(bank).design(number_of_units(examples)), (str(error),)
    told = "" if members is None else size_mismatch(design, members)
    return design, (f"{told}. {WAY_OUT}",) if told else ()


def write_plan(
    found: Plan,
    path: Path,
    bank: Path,
    recipe: Recipe,
    examples: Population,
    ledger: Path | None = None,
    members: str | Path | None = None,
    subsets: Subsets | None = None,
) -> Planned:
    """Write a plan into a file, and its SHA-256 into the ledger of the audits with a bank, which is made if need be.

    The ledger comes first: a file that is there is in it, whatever kills the process.

    Raises:
        MemauditError: The file, the bank or the ledger cannot be written.
    """
    if found.shadows < LEAST_SHADOWS:
        raise SettingsError("a plan is kept about an audit with a bank, of six shadow models or more; leave -o out")
    place = ledgers.beside(bank) if ledger is None else ledger
    seed = int(found.decides["seed"])
    made = _imported(bank, examples)
    if made is None:
        who = None if members is None else units_of(examples, read_members(members, examples))
        design, _ = _design(bank, examples, seed, who, subsets)
        made = Bank.create(bank, len(examples), fingerprint(recipe, examples, seed), design)
    content = {"schema": SCHEMA, **asdict(found), "decides": found.decides | _committed(made, examples, place)}
    data = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    sha256 = hashlib.sha256(data).hexdigest()
    entered = ledgers.append(place, ledgers.PlanEntry(time=found.created, plan=sha256))
    try:
        write_whole(path, data)
    except OSError as error:
        raise MemauditError(f"the plan cannot be written to {path}: {error.strerror}") from error
    planned = entered.planned(sha256)
    assert planned is not None
    return planned


def require_planned(
    path: Path,
    bank: Bank,
    examples: Population,
    shadows: int,
    fprs: Sequence[float],
    attacks: Sequence[str],
    limits: Sequence[Limit],
    ledger: Path | None = None,
) -> Planned:
    """Return the plan that an audit keeps to.

    Raises:
        SettingsError: There is no plan, the audit differs from it (named by what differs), or the ledger of the bank's
            audits does not hold it, so that it may have been made afterwards.
    """
    try:
        data = path.read_bytes()
        content = json.loads(data)
        if content["schema"] != SCHEMA:
            raise SettingsError(f"{path} has the format {content['schema']!r}; this version reads {SCHEMA}")
        planned = dict(content["decides"])
    except OSError as error:
        raise SettingsError(f"the plan {path} cannot be read: {error.strerror}; memaudit plan -o writes one") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} is no plan: {error}") from error
    place = ledgers.beside(bank.path) if ledger is None else ledger
    own = _decides(bank.fingerprint, shadows, fprs, attacks, limits)
    if Key.made(bank.path, place):  # one that had none yet was not planned with
        own |= _committed(bank, examples, place)
    different = [name for name in sorted(own.keys() | planned.keys()) if own.get(name) != planned.get(name)]
    if different:
        lines = "\n".join(f"  {name}: {planned.get(name)} → {own.get(name)}" for name in different)
        raise SettingsError(
            f"this audit differs from the plan {path} (plan → audit):\n{lines}\n"
            "audit as planned, or make a new plan; the report will show that it is later"
        )
    entered = ledgers.read(place).planned(hashlib.sha256(data).hexdigest()) if place.exists() else None
    if entered is None:
        raise SettingsError(
            f"{place} does not hold the plan {path}: it was changed, or made with another bank, so it does not show "
            "that it was made before the audit. Make a new plan"
        )
    return entered


def _decides(
    made_from: dict[str, str], shadows: int, fprs: Sequence[float], attacks: Sequence[str], limits: Sequence[Limit]
) -> dict[str, Any]:
    """Return what an audit's numbers depend on, by name; the examples come as a keyed commitment, not as a hash."""
    return {
        **{name: value for name, value in made_from.items() if name not in HASHES},
        "shadows": shadows,
        "fprs": sorted(fprs),
        "attacks": sorted(attacks),
        "limits": sorted(map(str, limits)),
        "policy": ledgers.policy_digest(limits),
    }


def _committed(bank: Bank, examples: Population, ledger: Path) -> dict[str, str]:
    return {"commitment.examples": Key(bank.path, ledger=ledger).commitments(examples)["commitment.examples"]}
