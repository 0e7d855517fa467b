"""The columns that an adversary infers, and what the models say of each value that they may have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memaudit.auditing import scope
from memaudit.auditing.asked.interface import Options, Question
from memaudit.auditing.ground import Ground
from memaudit.auditing.target import Target
from memaudit.auditing.viewing import viewed
from memaudit.bank import Matched
from memaudit.checks import Attribute, TargetEvidence
from memaudit.errors import SettingsError
from memaudit.recipe import Examples
from memaudit.recipe.altered import sensitive, shown
from memaudit.recipe.labels import Task
from memaudit.signals.views.altered import Altered
from memaudit.training.asking import cannot_ask
from memaudit.types import ASKED_ATTRIBUTES


@dataclass(frozen=True)
class Attributes(Question):
    """What the model reveals of columns of the inputs."""

    columns: tuple[str, ...]
    device: str

    def facts(self, base: Ground) -> dict[str, Any]:
        """Return what the target and the bank's models say of each value of the columns.

        Raises:
            MemauditError: A model cannot be asked, or does not give what was recorded.
        """
        return {"attributes": tuple(_inferred(base, name, self.device) for name in self.columns)}

    def provenance(self, evidence: TargetEvidence) -> dict[str, str]:
        """Return the columns."""
        return {ASKED_ATTRIBUTES: ", ".join(self.columns)}

    def tested(self, evidence: TargetEvidence) -> dict[str, str]:
        """Return that other attributes were not inferred."""
        return {scope.NOT_INFERRED: scope.INFERRED}


def asked(target: Target, options: Options) -> Attributes | None:
    """Return the question about the columns that are named; None if none is.

    Raises:
        MemauditError: There is no such column, it has too many values, or the model is no classifier of tables.
    """
    columns = options.attribute
    names = (columns,) if isinstance(columns, str) else tuple(dict.fromkeys(columns))
    for name in names:
        examples = target.population
        if not isinstance(examples, Examples) or examples.task is not Task.CLASSIFICATION:
            raise SettingsError(f"attribute = {name!r}: attributes are inferred of classifiers with one label")
        if target.outputs:
            raise SettingsError(f"attribute = {name!r}: recorded outputs cannot be asked about other inputs")
        if examples.pools:
            raise SettingsError(f"attribute = {name!r}: it is inferred record by record, and units here have several")
        sensitive(examples, name)
    return Attributes(names, options.device) if names else None


def _inferred(base: Ground, name: str, device: str) -> Attribute:
    examples = base.target.population
    assert isinstance(examples, Examples)
    if reason := _lacking(base):
        return Attribute(name, reason)
    column, rows = sensitive(examples, name), examples.representatives
    seen, values = viewed(base, Altered(column), device), len(column.values)
    pairs = seen.pairs.block(slice(0, len(rows)))
    return Attribute(
        name,
        values=shown(column.values),
        of=column.of[rows],
        features=column.features(examples)[rows],
        phi=seen.target[:, :values],
        correct=seen.target[:, values:] > 0,
        pairs=tuple(side[..., :values] for side in pairs),
        pairs_correct=tuple(side[..., values:] > 0 for side in pairs),
    )


def _lacking(base: Ground) -> str:
    """Return why a bank's models cannot be asked; empty if they can."""
    if base.bank is None or base.recordings is None:
        return "it needs a bank of shadow models: only models without a record show what is learned of it"
    if isinstance(base.recordings, Matched):
        return "it needs shadow models that are complementary pairs"
    assert base.target.recipe is not None
    return cannot_ask(base.bank, base.target.recipe, base.used)
