"""What an audit has to go on beside the target: a bank, a few reference models, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memaudit.attacks import References
from memaudit.auditing.folder import sha256
from memaudit.auditing.target import Target
from memaudit.bank import Bank, Recordings
from memaudit.bank.inputs import require_inputs
from memaudit.errors import ModelError, SettingsError
from memaudit.recipe import TextPopulation, fingerprint, load_target, recipe_folder
from memaudit.signals import measure
from memaudit.training import choose_device
from memaudit.types import Rung

Array = np.ndarray

LEAST_SHADOWS = 6  # of a bank; fewer serve as reference models
MOST_REFERENCES = 5


@dataclass(frozen=True)
class Ground:
    """What there is to go on.

    `recordings` are the bank's, on the highest rung. `shadows` counts the shadow models that are used, and `models` are
    the names and SHA-256 of the reference models beside them.
    """

    bank: Bank | None = None
    recordings: Recordings | None = None
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
        given, models = _loaded(target, references, device)
        return Ground(references=given, models=models, base=base)
    bank = bank if isinstance(bank, Bank) else Bank.open(bank)
    bank.require(fingerprint(target.recipe, target.population, int(bank.fingerprint["seed"])))
    require_inputs(bank, recipe_folder(target.recipe))
    recordings = bank.read(shadows)
    count = 2 * recordings.shape[0]
    if count >= LEAST_SHADOWS:
        if references:
            raise SettingsError(
                f"the bank has {count} shadow models, which say more than reference models: leave --reference out, or "
                "use no bank (--shadows 0)"
            )
        return Ground(bank, recordings, shadows=count)
    given, models = _loaded(target, references, device)
    few = _of_shadows(target, recordings)
    if given is not None:
        few = References(np.concatenate([few.phi, given.phi]), np.concatenate([few.out, given.out]))
    return Ground(bank, references=few, shadows=count, models=models, base=base)


def _of_shadows(target: Target, recordings: Recordings) -> References:
    text = isinstance(target.population, TextPopulation)
    rows = np.arange(len(target.members)) if text else target.population.representatives
    phi = recordings.stacked("phi").mean(axis=2, dtype=np.float64)
    return References(phi[:, rows], recordings.members[:, rows] == 0)


def _loaded(
    target: Target, files: Sequence[str | Path], device: str
) -> tuple[References | None, tuple[tuple[str, str], ...]]:
    """Returns the signals of reference models, if there are any, and their names and digests.

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
        return None, ()
    phi = np.stack(found)
    return References(phi, np.ones(phi.shape, bool)), tuple(models)


def _signal(target: Target, file: Path, device: str) -> Array:
    population, recipe = target.population, target.recipe
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
