"""What is seen of the target and of the bank's models through a view."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from memaudit.auditing.ground import Ground
from memaudit.auditing.target import Target
from memaudit.bank import Matched
from memaudit.checks.facts import Viewed
from memaudit.design import PairArrays, Pairs, by_pair
from memaudit.errors import BankError
from memaudit.recipe import Examples, load_target
from memaudit.recipe.populations import candidates
from memaudit.signals.views import View
from memaudit.training import choose_device, population
from memaudit.training.asking import view_bank

Array = np.ndarray


def viewed(base: Ground, view: View, device: str) -> Viewed:
    """Return what is seen of the examples that the bank recorded, by unit; what the bank keeps is not asked again.

    Raises:
        MemauditError: A model cannot be asked, or does not give what was recorded.
    """
    target, bank = base.target, base.bank
    assert bank is not None and isinstance(target.population, Examples) and target.recipe is not None
    measured = _measured(base)
    _require_order(base, measured)
    seen, seconds = view_bank(bank, base.used, target.recipe, target.population, view, measured=measured, device=device)
    units = np.stack([target.population.by_unit(of) for of in seen])
    return Viewed(_of_target(target, view, device), _pairs(base, units), view.queries, seconds)


def _measured(base: Ground) -> Examples:
    """Return the examples that the bank recorded, in its order."""
    assert base.bank is not None and base.target.recipe is not None
    whole = population(base.target.recipe)
    assert isinstance(whole, Examples)
    found = candidates(whole, base.bank.design(whole.units))
    assert isinstance(found, Examples)
    return found


def _require_order(base: Ground, measured: Examples) -> None:
    """Raise BankError unless the models that are used, in this order, have the training sets of the recordings."""
    assert base.bank is not None and base.recordings is not None and isinstance(base.target.population, Examples)
    examples = base.target.population
    rows = [measured.rows_by_id[str(examples.ids[row])] for row in examples.representatives]
    members = np.stack([base.bank.tensor(model, "members")[rows] for model in base.used])
    if not np.array_equal(members > 0, base.recordings.members > 0):
        raise BankError(f"the models of {base.bank.path} are not in the order of their recordings; fill a new bank")


def _of_target(target: Target, view: View, device: str) -> Float[Array, "examples columns"]:
    assert target.recipe is not None and isinstance(target.population, Examples)
    on, loaded = choose_device(device), load_target(target.model, target.recipe, None, target.state_dict)
    network = loaded.to(on).eval() if hasattr(loaded, "state_dict") else loaded
    return np.asarray(target.population.by_unit(view.see(network, target.recipe, target.population, on)))


def _pairs(base: Ground, seen: Float[Array, "models units columns"]) -> Pairs:
    """Return what is seen of the models in the form of the bank's recordings."""
    recordings = base.recordings
    assert recordings is not None
    if isinstance(recordings, Matched):
        couples, columns = recordings.couples, np.arange(seen.shape[1])
        return PairArrays(seen[couples.inside, columns], seen[couples.outside, columns])
    return PairArrays(*by_pair(seen, recordings.members))
