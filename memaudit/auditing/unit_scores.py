"""An attack's scores and the correctness of a bank's own models, by unit: each model attacked by the other pairs."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from memaudit.attacks import ATTACKS, Signal, attack
from memaudit.bank import Pooled
from memaudit.checks.attacked import Attacked
from memaudit.design import Chosen, Recorded, by_pair
from memaudit.errors import SettingsError, hint
from memaudit.recipe import Examples, Population
from memaudit.recipe.labels import Task

Array = np.ndarray

UnitRecordings = Recorded | Chosen | Pooled


def by_unit(recordings: Recorded, measured: Population) -> UnitRecordings:
    """Return recordings by unit; `measured` is what the models were asked about, `candidates(population, design)`."""
    if not isinstance(measured, Examples):
        return recordings
    return Pooled.of(recordings, measured) if measured.pools else Chosen(recordings, measured.representatives)


def scores_by_unit(
    recordings: UnitRecordings, measured: Population, name: str
) -> tuple[Float[Array, "pairs units"], Float[Array, "pairs units"]]:
    """Return an attack's (inside, outside) scores of a bank's models, each attacked by the other pairs.

    Raises:
        SettingsError: There is no such attack.
    """
    if name not in ATTACKS:
        raise SettingsError(f"there is no attack {name!r} that a bank alone can make; {hint(name, ATTACKS)}")
    labels = isinstance(measured, Examples) and measured.task in (Task.CLASSIFICATION, Task.MULTILABEL)
    signal = Signal.SCALED_LOGIT if labels else Signal.LOG_PROBABILITY
    _, units, queries = recordings.shape
    nobody = np.zeros((units, queries), np.float32)  # a target, whose scores are not used
    found = Attacked.of(attack(name, signal), nobody, recordings)
    return found.inside, found.outside


def correct_by_unit(recordings: UnitRecordings) -> tuple[Float[Array, "pairs units"], Float[Array, "pairs units"]]:
    """Return whether each unit is predicted by the model of a pair that has it, and by the one that lacks it."""
    return by_pair(recordings.correct.astype(np.float64), recordings.members)
