"""What an audit has to go on beside the target: a bank, a few reference models, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from memaudit.attacks import References
from memaudit.auditing.folder import sha256
from memaudit.auditing.target import Target
from memaudit.bank import Bank, Matched, Recordings
from memaudit.bank.imported import require_same_examples, whole_units
from memaudit.bank.inputs import require_inputs
from memaudit.design import Chosen
from memaudit.errors import EvidenceError, ModelError, SettingsError
from memaudit.recipe import Examples, TextPopulation, fingerprint, load_target, recipe_folder
from memaudit.signals import measure
from memaudit.training import choose_device
from memaudit.types import Rung

Array = np.ndarray
Shadows = Recordings | Matched | Chosen

LEAST_SHADOWS = 6  # of a bank; fewer serve as reference models
MOST_REFERENCES = 5


@dataclass(frozen=True)
class Ground:
    """What there is to go on.

    `target` is the model as it is measured: of a bank that says too little of some examples, over the others alone.
    `recordings` are the bank's unit by unit, on the highest rung. `shadows` counts the shadow models that are used, and
    `models` are the names and SHA-256 of the reference models beside them.
    """

    target: Target
    bank: Bank | None = None
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
        return Ground(target, base=base, **_loaded(target, references, device))
    bank = bank if isinstance(bank, Bank) else Bank.open(bank)
    _require_fitting(bank, target)
    models = [model for model in bank.models() if shadows is None or model < shadows]
    if len(models) >= LEAST_SHADOWS:
        measured, recordings = _usable(target, bank, shadows)
        if references:
            raise SettingsError(
                f"the bank has {len(models)} shadow models, which say more than reference models: leave --reference "
                "out, or use no bank (--shadows 0)"
            )
        if (count := len(recordings.members)) >= LEAST_SHADOWS:
            return Ground(measured, bank, recordings, shadows=count)
    given = _loaded(target, references, device)
    return Ground(target, bank, shadows=len(models), base=base, **_joined(_of_shadows(target, bank, models), given))


def _require_fitting(bank: Bank, target: Target) -> None:
    """Raise MemauditError unless a bank's models are those that the target is to be compared with."""
    if bank.imported:
        if not isinstance(target.population, Examples):
            raise EvidenceError(f"the bank in {bank.path} was imported, and is of classifiers")
        require_same_examples(bank, target.population)
        return
    if target.recipe is None:
        raise EvidenceError(
            f"the shadow models of {bank.path} were trained by a recipe; give it beside the outputs, so that its "
            "examples are known (--recipe recipe.py:recipe)"
        )
    bank.require(fingerprint(target.recipe, target.population, int(bank.fingerprint["seed"])))
    require_inputs(bank, recipe_folder(target.recipe))


def _usable(target: Target, bank: Bank, shadows: int | None) -> tuple[Target, Shadows]:
    """Return the target and, unit by unit, the recordings; without the units that imported models say too little of."""
    population = target.population
    recordings = bank.read(shadows) if bank.paired else bank.matched(shadows)
    if not isinstance(population, Examples):
        return target, recordings
    rows = population.representatives
    if not bank.imported and isinstance(recordings, Recordings):
        return target, recordings if len(rows) == len(population) else Chosen(recordings, rows)
    units = whole_units(np.stack([bank.tensors(model)["members"] for model in bank.models()]), population.unit_of)
    if isinstance(recordings, Matched):
        units &= np.isin(rows, recordings.kept)
    if not units.any():
        raise EvidenceError("copies of every example are split between the training sets of the imported models")
    target = target if units.all() else target.only(np.flatnonzero(units[population.unit_of]))
    if isinstance(recordings, Matched):
        return target, recordings.only(np.isin(recordings.kept, rows[units]))
    return target, recordings if len(rows[units]) == bank.examples else Chosen(recordings, rows[units])


def _of_shadows(target: Target, bank: Bank, models: Sequence[int]) -> References:
    """Return the signals of a few shadow models, each a reference for the examples that it was not trained on."""
    recorded = [bank.tensors(model) for model in models]
    phi = np.stack([of["phi"].mean(axis=1, dtype=np.float64) for of in recorded])
    members = np.stack([of["members"] for of in recorded])
    if isinstance(target.population, TextPopulation):
        return References(phi, members[:, : phi.shape[1]] == 0)
    rows = target.population.representatives
    return References(phi[:, rows], members[:, rows] == 0)


def _loaded(target: Target, files: Sequence[str | Path], device: str) -> dict[str, Any]:
    """Returns the signals of reference models, and their names and digests.

    Raises:
        ModelError: One does not load, or is the target.
    """
    found, models = [], []
    for file in map(Path, files):
        digest = sha256(file) if file.exists() else ""
        if digest == target.sha256:
            raise ModelError(f"{file} is the audited model itself; a reference is another model")
        found.append(_signal(target, file, device))
        models.append((file.name, digest))
    if not found:
        return {}
    phi = np.stack(found)
    return {"references": References(phi, np.ones(phi.shape, bool)), "models": tuple(models)}


def _signal(target: Target, file: Path, device: str) -> Array:
    population, recipe = target.population, target.recipe
    if recipe is None:
        raise SettingsError("reference models are loaded by a recipe; of recorded outputs, import theirs as a bank")
    text = population if isinstance(population, TextPopulation) else None
    model = load_target(file, recipe, text)
    try:
        recorded = measure(
            model, population, getattr(recipe, "queries", ()), choose_device(device), getattr(recipe, "outputs", None)
        )
    except ModelError as error:
        raise ModelError(f"reference model {file}: {error}") from error
    phi = recorded["phi"].mean(axis=1, dtype=np.float64)
    return phi if isinstance(population, TextPopulation) else phi[population.representatives]


def _joined(shadows: References, given: dict[str, Any]) -> dict[str, Any]:
    """Returns the signals of shadow models and of reference models together."""
    others = given.get("references")
    if not isinstance(others, References):
        return {"references": shadows}
    phi = np.concatenate([shadows.phi, others.phi])
    return given | {"references": References(phi, np.concatenate([shadows.out, others.out]))}
