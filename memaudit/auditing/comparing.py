"""What a derivation, or a mitigation, changes: two banks whose models have the same training sets, compared by pair.

The examples are taken as given. What is random are the training runs: complementary pairs of models, of which each is
in both banks, so that what both have in common cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from memaudit import notebook
from memaudit.attacks import ATTACKS, Signal, attack
from memaudit.bank import Bank, Recordings
from memaudit.checks.attacked import Attacked
from memaudit.checks.evidence import points_between
from memaudit.design import by_pair
from memaudit.errors import BankError, SettingsError, hint
from memaudit.reports.text import percent, points, rate
from memaudit.stats import paired_change, rate_by_pair, resolvable
from memaudit.training.deriving import changed_parent
from memaudit.types import Estimate

Array = np.ndarray

COLUMNS = ("Measure", "Before", "After", "Change", "95% CI")
_METHOD = "Student's t over pairs of models"
_ERRORS = ("absolute errors", "losses")  # as a fingerprint names recordings


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One measure of two banks, as shares, and the change with its 95 % interval."""

    name: str
    before: float
    after: float
    change: Estimate

    @property
    def row(self) -> tuple[str, ...]:
        """The cells of a table under `COLUMNS`."""
        found = self.change
        return (
            self.name,
            percent(self.before),
            percent(self.after),
            f"{points(found.value)} points",
            f"{points_between(found.low, found.high)} points",
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class WhatIf:
    """How a bank differs from another one with the same training sets.

    Attributes:
        before: The folder of the bank that is compared with.
        after: The folder of the bank that is looked at.
        pairs: Complementary pairs of models that are in both.
        changes: Accuracy, memorization and the attacks' true-positive rates.
        memorization: The change in each example's memorization; above 0: it is memorized more.
        error: Its standard error over pairs; 0 where all pairs agree.
        accuracy: The change in each model's accuracy on what it was trained on, and on the rest.
        notes: What could not be measured.
    """

    before: Path
    after: Path
    pairs: int
    changes: tuple[Change, ...]
    memorization: Float[Array, " examples"]
    error: Float[Array, " examples"]
    accuracy: Float[Array, "models 2"]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        rows = [COLUMNS, *(change.row for change in self.changes)]
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return "\n".join([self.title, *lines, *self.notes])

    @property
    def title(self) -> str:
        """What is compared."""
        return f"{self.before.name} → {self.after.name}: {self.pairs} pairs of models, same examples and training sets"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        rows = {change.name: " | ".join(change.row[1:]) for change in self.changes}
        return notebook.block(self.title, notebook.facts(rows), *map(notebook.paragraph, self.notes))


def what_if(
    before: Bank | str | Path,
    after: Bank | str | Path,
    *,
    attacks: Sequence[str] = ("lira-online",),
    fprs: Sequence[float] = (0.01,),
    shadows: int | None = None,
) -> WhatIf:
    """Return what changes from one bank to another whose models have the same training sets; trains nothing.

    The second bank may be derived from the first, or filled by another recipe with the same seed and examples. In each
    bank the adversary has shadow models of its own kind, and thresholds set on them.

    Args:
        before: The bank to compare with, such as the parent.
        after: The bank to look at, such as that of the children.
        attacks: Names of attacks.
        fprs: False-positive rates at which they are measured.
        shadows: Use the first so many models; by default all that both banks have.

    Raises:
        BankError: The banks have other training sets, no pairs, or a child's parent was trained again since.
        SettingsError: There is no such attack or rate.
    """
    first, second = (bank if isinstance(bank, Bank) else Bank.open(bank) for bank in (before, after))
    for name in attacks:
        if name not in ATTACKS:
            raise SettingsError(f"there is no attack {name!r} that a bank alone can make; {hint(name, ATTACKS)}")
    if wrong := [fpr for fpr in fprs if not 0 < fpr < 1]:
        raise SettingsError(f"fpr = {wrong[0]}: a false-positive rate is between 0 and 1")
    one, other = _recordings(first, second, shadows)
    inside, outside = (np.stack(side) for side in zip(_correct(one), _correct(other), strict=True))
    gains = inside - outside  # [banks, pairs, examples]
    changes = [
        _change("Accuracy on other examples", *outside.mean(axis=2)),
        _change("Accuracy on training examples", *inside.mean(axis=2)),
        _change("Memorization", *gains.mean(axis=2)),
    ]
    notes: list[str] = []
    signal = _signal(first)
    for name in attacks:
        found = [_attacked(name, signal, bank) for bank in (one, other)]
        for fpr in fprs:
            reason = _unmeasured(found, fpr)
            if reason:
                notes.append(f"TPR of {name} at a {rate(fpr)} FPR is not measured: {reason}.")
                continue
            by_bank = [rate_by_pair(of.inside, of.outside, fpr) for of in found]
            (true, moved), (true_after, moved_after) = by_bank
            changes.append(_change(f"TPR of {name} at a {rate(fpr)} FPR", true, true_after, moved, moved_after))
    change = gains[1] - gains[0]
    return WhatIf(
        before=first.path,
        after=second.path,
        pairs=len(change),
        changes=tuple(changes),
        memorization=change.mean(axis=0),
        error=change.std(axis=0, ddof=1) / np.sqrt(len(change)),
        accuracy=_by_model(one, other),
        notes=tuple(notes),
    )


def _change(
    name: str, before: Array, after: Array, influence: Array | None = None, influence_after: Array | None = None
) -> Change:
    """Return the change of a mean over pairs; of a rate, its interval comes from the pairs' influences."""
    use = (before, after) if influence is None or influence_after is None else (influence, influence_after)
    value, low, high = paired_change(*use)
    found = Estimate(value=value, low=low, high=high, unit="share", method=_METHOD)
    return Change(name=name, before=float(before.mean()), after=float(after.mean()), change=found)


def _recordings(before: Bank, after: Bank, shadows: int | None) -> tuple[Recordings, Recordings]:
    """Return the recordings of the pairs that both banks have, after checking that they are of the same kind."""
    for bank in (before, after):
        if not bank.paired:
            raise BankError(f"the models of {bank.path} are not complementary pairs, and a comparison is made by pair")
    if before.fingerprint.get("examples.sha256") != after.fingerprint.get("examples.sha256"):
        raise BankError(f"{before.path} and {after.path} are banks of other examples; compare banks of the same")
    pairs = [first for first in before.pairs(shadows) if first in set(after.pairs(shadows))]
    if len(pairs) < 3:
        raise BankError(f"{before.path} and {after.path} have {len(pairs)} pairs of models in common; 3 are needed")
    models = [model for first in pairs for model in (first, first + 1)]
    for parent, children in ((before, after), (after, before)):
        if children.derivation_lines.get("derivation.parent") == parent.mark:
            require_parents(parent, children, models)
    one, other = (bank.recordings(models) for bank in (before, after))
    if not np.array_equal(one.members > 0, other.members > 0):
        raise BankError(
            f"the models of {before.path} and {after.path} were trained on other examples each; fill both with the "
            "same seed and design"
        )
    return one, other


def require_parents(parent: Bank, children: Bank, models: Sequence[int]) -> None:
    """Raise BankError if a child was derived from other weights than its parent has now."""
    for model in models:
        if problem := changed_parent(parent, children, model):
            raise BankError(
                f"{children.path}: {problem}. Run the same `memaudit bank derive` again, which makes that child again"
            )


def _correct(bank: Recordings) -> tuple[Array, Array]:
    return by_pair(bank.correct.astype(np.float64), bank.members)


def _signal(bank: Bank) -> Signal:
    """Return what a bank's signals are; of numbers that are predicted, and of tokens, log-probabilities."""
    errors = bank.fingerprint.get("recordings", "").startswith(_ERRORS)
    return Signal.LOG_PROBABILITY if errors or "examples.rows" in bank.fingerprint else Signal.SCALED_LOGIT


def _attacked(name: str, signal: Signal, bank: Recordings) -> Attacked:
    """Return an attack's scores of a bank's own models; those of a target are not used, and any model serves as one."""
    return Attacked.of(attack(name, signal), bank.everything(0)["phi"], bank)


def _unmeasured(found: Sequence[Attacked], fpr: float) -> str:
    """Return why a rate cannot be measured in both banks; empty if it can."""
    if not resolvable(fpr, found[0].outside.shape[1]):
        return f"{found[0].outside.shape[1]} examples cannot resolve it"
    return "the attack's scores are tied" if any(of.unreachable(fpr) for of in found) else ""


def _by_model(one: Recordings, other: Recordings) -> Float[Array, "models 2"]:
    """Return the change in each model's accuracy on its own examples and on the rest."""
    change = other.correct.astype(np.float64) - one.correct
    sides = (one.members > 0, one.members == 0)
    return np.stack([(change * side).sum(axis=1) / np.maximum(side.sum(axis=1), 1) for side in sides], axis=1)
