"""What an audit has to go on beside the target: a bank, a few reference models, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from memaudit.attacks import References
from memaudit.auditing.folder import sha256
from memaudit.auditing.target import Target, of_candidates
from memaudit.bank import Bank, Matched, Pooled, Recordings
from memaudit.bank.imported import GUESSED, require_other_model, require_same_examples, whole_units
from memaudit.bank.inputs import require_inputs
from memaudit.design import Chosen, Design, PairArrays, Role, by_pair
from memaudit.errors import BankError, EvidenceError, ModelError, SettingsError
from memaudit.recipe import Examples, TextPopulation, fingerprint, load_target, recipe_folder
from memaudit.recipe.populations import number_of_units
from memaudit.recipe.recipes import asking
from memaudit.signals import measure
from memaudit.training import choose_device
from memaudit.training.designing import require_auditable, require_enough, require_fitting_design
from memaudit.types import Rung

Array = np.ndarray
Shadows = Recordings | Matched | Pooled | Chosen

LEAST_SHADOWS = 6  # of a bank; fewer serve as reference models
MOST_REFERENCES = 5
_LEAST_PAIRS = 2  # of shadow models, that an attack can learn from
_LOOKED, _FEW_VALUES = 1000, 10
_REVERSED = 5.0  # standard errors; a model that learns nothing of its members reaches it once in 3 million audits


@dataclass(frozen=True)
class Ground:
    """What there is to go on.

    `target` is the model as it is measured: of a bank that says too little of some examples, over the others alone.
    `recordings` are the bank's unit by unit, on the highest rung. `shadows` counts the shadow models that are used, and
    `models` are the names and SHA-256 of the reference models beside them.
    """

    target: Target
    bank: Bank | None = None
    design: Design | None = None
    recordings: Shadows | None = None
    references: References | None = None
    shadows: int = 0
    models: tuple[tuple[str, str], ...] = ()
    base: bool = False

    @property
    def rung(self) -> Rung:
        """The highest rung that it allows."""
        if self.recordings is not None:
            return Rung.BANK
        return Rung.REFERENCES if self.references is not None or self.base else Rung.TARGET

    @property
    def seed(self) -> int:
        """The seed of the bank; 0 without one."""
        return 0 if self.bank is None else int(self.bank.fingerprint["seed"])

    @property
    def share(self) -> float:
        """The share of the units in a shadow model's training set: as designed, or as it is in imported models."""
        if self.design is not None:
            return self.design.share
        return (
            0.5 if self.recordings is None else np.count_nonzero(self.recordings.members) / self.recordings.members.size
        )

    def count(self, role: Role) -> int:
        """Return how many units have a role in the bank's design; 0 of a bank without one."""
        return 0 if self.design is None else self.design.count(role)

    @cached_property
    def used(self) -> tuple[int, ...]:
        """The numbers of the bank's models that are used, in the order of the recordings."""
        if self.bank is None:
            return ()
        pairs = self.bank.paired
        models = [m for first in self.bank.pairs() for m in (first, first + 1)] if pairs else self.bank.models()
        return tuple(models[: self.shadows])

    @property
    def others(self) -> int:
        """The number of reference models that are no shadow models, the base of a fine-tuned model among them."""
        return len(self.models) + self.base


def ground(
    target: Target,
    bank: Bank | str | Path | None = None,
    shadows: int | None = None,
    references: Sequence[str | Path] = (),
    device: str = "auto",
) -> Ground:
    """Return what an audit of a target can go on.

    Six shadow models or more are a bank. Fewer are reference models, each for the examples that it was not trained on.

    Args:
        target: The audited model.
        bank: The bank, or its folder; None for an audit without one.
        shadows: Use the first so many models of the bank, by default all; 0 for an audit without a bank.
        references: Files of models of the recipe's kind that were trained on none of the examples.
        device: Where models are run.

    Raises:
        MemauditError: The bank is another recipe's, or holds no pair; a reference does not load, or there are too many.
    """
    if len(references) > MOST_REFERENCES:
        raise SettingsError(
            f"{len(references)} reference models were given, and {MOST_REFERENCES} at most are used; with more models "
            "of the recipe, fill or import a bank: memaudit bank fill"
        )
    base = "base" in target.recorded
    if bank is None or shadows == 0:
        _require_direction(target)
        given, models = _loaded(target, references, device)
        return Ground(target, references=given, models=models, base=base)
    bank = bank if isinstance(bank, Bank) else Bank.open(bank)
    design = _fitting(bank, target)
    target = of_candidates(target, design, device) if design is not None else target
    target = _correct_alike(target, bank)
    used = [model for model in bank.models() if shadows is None or model < shadows]
    if len(used) >= LEAST_SHADOWS:
        if design is not None:
            require_enough(len(used), design)
        measured, recordings = _usable(target, bank, shadows)
        require_other_model(bank, target.recorded["phi"])
        _require_trained(bank, recordings)
        if references:
            raise SettingsError(
                f"the bank has {len(used)} shadow models, which say more than reference models: leave --reference "
                "out, or use no bank (--shadows 0)"
            )
        if (count := len(recordings.members)) >= LEAST_SHADOWS:
            return Ground(measured, bank, design, recordings, shadows=count)
    if not used:
        bank.read(shadows)  # which says that there are none
    _require_direction(target)
    few = _of_shadows(target, bank, used)
    require_other_model(bank, target.recorded["phi"])
    given, others = _loaded(target, references, device)
    if given is not None:
        few = References(np.concatenate([few.phi, given.phi]), np.concatenate([few.out, given.out]), few.pairs)
    if lacking := int((~few.out.any(axis=0)).sum()):
        raise BankError(
            f"{lacking} of the {few.out.shape[1]} examples were in the training sets of all shadow models that are "
            f"used ({len(used)} of the bank in {bank.path}), so that no model is a reference for them. Use more of its "
            "models, in complete pairs, or none (--shadows 0)"
        )
    return Ground(target, bank, design, references=few, shadows=len(used), models=others, base=base)


def _fitting(bank: Bank, target: Target) -> Design | None:
    """Return the design of a bank; None if its models were imported.

    Raises:
        MemauditError: Its models are not those that the target is to be compared with.
    """
    if bank.imported:
        if not isinstance(target.population, Examples):
            raise EvidenceError(f"the bank in {bank.path} was imported, and is of classifiers")
        require_same_examples(bank, target.population)
        return None
    if target.recipe is None:
        raise EvidenceError(
            f"the shadow models of {bank.path} were trained by a recipe; give it beside the outputs, so that its "
            "examples are known (--recipe recipe.py:recipe)"
        )
    made = fingerprint(target.recipe, target.population, int(bank.fingerprint["seed"]))
    bank.require(made | bank.design_lines | bank.derivation_lines)
    design = bank.design(number_of_units(target.population))
    require_auditable(bank.path, design, target.population)
    require_fitting_design(bank.path, design, target.members)
    require_inputs(bank, recipe_folder(target.recipe))
    return design


def _require_direction(target: Target) -> None:
    """Raise EvidenceError if recorded outputs are less confident in members than in others, with no bank to compare.

    With a bank, the fidelity control finds numbers that are not what is stated.
    """
    if not target.outputs:
        return
    inside, outside = (target.recorded["phi"][target.counts > 0], target.recorded["phi"][target.counts == 0])
    sides = [side.mean(axis=1, dtype=np.float64) for side in (inside, outside)]
    error = np.sqrt(sum(side.var(ddof=1) / len(side) for side in sides))
    if sides[0].mean() - sides[1].mean() < -_REVERSED * error:
        raise EvidenceError(
            "the model is less confident in the examples it was trained on than in others: members are marked by 0 "
            "instead of 1, the outputs are not what is stated (losses instead of scaled logits, for instance), or "
            "members and non-members were not drawn alike. Correct them, or audit with a bank of shadow models"
        )


def _correct_alike(target: Target, bank: Bank) -> Target:
    """Return the target with examples that count as classified correctly by the rule of its shadow models."""
    if bank.fingerprint.get("correct") == GUESSED:
        return replace(target, recorded=target.recorded | {"correct": target.recorded["phi"][:, 0] > 0})
    if target.guessed:
        raise EvidenceError(
            "whether the model classifies each example correctly is not known from outputs about the label alone, and "
            "it is known of the shadow models; give it as the array `correct`"
        )
    return target


def _usable(target: Target, bank: Bank, shadows: int | None) -> tuple[Target, Shadows]:
    """Return the target and, unit by unit, the recordings; without the units that imported models say too little of."""
    population = target.population
    pooled = population if isinstance(population, Examples) and population.pools else None
    recordings: Shadows = bank.read(shadows) if bank.paired else bank.matched(shadows, pooled)
    if not isinstance(population, Examples):
        return target, recordings
    rows = population.representatives
    if isinstance(recordings, Recordings) and pooled is not None:
        recordings = Pooled.of(recordings, pooled)
    if not bank.imported and not isinstance(recordings, Matched):
        whole = isinstance(recordings, Pooled) or len(rows) == len(population)
        return target, recordings if whole else Chosen(recordings, rows)
    units = whole_units((bank.tensor(model, "members") for model in bank.models()), population.unit_of)
    columns = rows if pooled is None else np.arange(population.units)
    if isinstance(recordings, Matched):
        units &= np.isin(columns, recordings.kept)
    if not units.any():
        raise EvidenceError("copies of every example are split between the training sets of the imported models")
    target = target if units.all() else target.only(np.flatnonzero(units[population.unit_of]))
    if isinstance(recordings, Matched):
        return target, recordings.only(np.isin(recordings.kept, columns[units]))
    return target, recordings if len(columns[units]) == recordings.shape[1] else Chosen(recordings, columns[units])


def _require_trained(bank: Bank, recordings: Shadows) -> None:
    """Raise BankError if all shadow models are the same network, so that no attack could find anything.

    Models that are right about everything may agree, too: their outputs have few different values.
    """
    inside, outside = recordings.block(slice(0, _LOOKED))
    alike = bool((inside == inside[:1]).all() and (outside == inside[:1]).all())
    if alike and len(np.unique(inside[0])) > _FEW_VALUES:
        raise BankError(
            f"all shadow models in {bank.path} give the same outputs, whatever they were trained on: train() returns "
            "one network, or copies of it. Build and train a new network at every call, and fill a new bank"
        )


def _of_shadows(target: Target, bank: Bank, models: Sequence[int]) -> References:
    """Return the signals of a few shadow models, each a reference for the examples that it was not trained on."""
    recorded = bank.verified(models)
    phi = np.stack([of["phi"].mean(axis=1, dtype=np.float64) for of in recorded])
    members = np.stack([of["members"] for of in recorded])
    if isinstance(target.population, TextPopulation):
        out = members[:, : phi.shape[1]] == 0
    else:
        population = target.population
        phi = np.stack([population.by_unit(of) for of in phi])
        out = np.stack([np.bincount(population.unit_of, row) for row in members]) == 0  # imported: of some perhaps
    return References(phi, out, _pairs(phi, out, models))


def _pairs(phi: Array, out: Array, models: Sequence[int]) -> PairArrays | None:
    """Return the complementary pairs among a few shadow models, if there are enough for an attack that learns.

    The models of a pair follow each other, from an even number; of imported models in one order or another they need
    not be complementary.
    """
    there = [place for place, model in enumerate(models) if model % 2 == 0 and model + 1 in models]
    chosen = [(first, first + 1) for first in there if (out[first] != out[first + 1]).all()]
    if len(chosen) < _LEAST_PAIRS:
        return None
    rows = np.array(chosen).ravel()
    return PairArrays(*by_pair(phi[rows, :, None], (~out[rows]).astype(np.uint8)))


def _loaded(
    target: Target, files: Sequence[str | Path], device: str
) -> tuple[References | None, tuple[tuple[str, str], ...]]:
    """Return the signals of reference models, if there are any, and their names and digests.

    Raises:
        ModelError: One does not load, or is the target.
    """
    found: list[Array] = []
    models: list[tuple[str, str]] = []
    for file in map(Path, files):
        digest = sha256(file) if file.exists() else ""
        if digest == target.sha256:
            raise ModelError(f"{file} is the audited model itself; a reference is another model")
        if twin := next((name for name, other in models if other == digest != ""), None):
            raise ModelError(f"{file} is the same model as {twin}; give each reference once")
        found.append(_signal(target, file, device))
        models.append((file.name, digest))
    if not found:
        return None, ()
    phi = np.stack(found)
    return References(phi, np.ones(phi.shape, bool)), tuple(models)


def _signal(target: Target, file: Path, device: str) -> Array:
    population, recipe = target.population, target.recipe
    if recipe is None:
        raise SettingsError("reference models are loaded by a recipe; of recorded outputs, import theirs as a bank")
    text = population if isinstance(population, TextPopulation) else None
    model = load_target(file, recipe, text)
    try:
        recorded = measure(model, population, device=choose_device(device), **asking(recipe))
    except ModelError as error:
        raise ModelError(f"reference model {file}: {error}") from error
    phi = recorded["phi"].mean(axis=1, dtype=np.float64)
    return phi if isinstance(population, TextPopulation) else population.by_unit(phi)
