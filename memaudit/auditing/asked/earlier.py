"""The earlier release that an audited model is compared with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memaudit.auditing import scope
from memaudit.auditing.asked.interface import Options, Question
from memaudit.auditing.ground import Ground
from memaudit.auditing.target import Target, of_candidates, open_target
from memaudit.checks import Release, TargetEvidence
from memaudit.errors import EvidenceError, ModelError, SettingsError
from memaudit.recipe import TextPopulation, members_beside
from memaudit.training.designing import require_fitting_design
from memaudit.types import EARLIER, Rung


@dataclass(frozen=True)
class Compared(Question):
    """What the target and an earlier release together reveal."""

    earlier: Target
    device: str

    def facts(self, base: Ground) -> dict[str, Any]:
        """Return what the bank's examples look like to the earlier release.

        Raises:
            MemauditError: There is no bank of complementary pairs, or it does not fit the release.
        """
        return {"before": release_of(self.earlier, base, self.device)}

    def provenance(self, evidence: TargetEvidence) -> dict[str, str]:
        """Return the SHA-256 of the release."""
        return {EARLIER: self.earlier.sha256}

    def tested(self, evidence: TargetEvidence) -> dict[str, str]:
        """Return which combinations of releases were not tested."""
        return {scope.SEVERAL: scope.MORE}


def asked(target: Target, options: Options) -> Compared | None:
    """Return the question about an earlier release; None if none is given.

    Raises:
        MemauditError: As for `open_earlier`.
    """
    if options.before is None:
        return None
    return Compared(open_earlier(options.before, target, options.before_members, options.device), options.device)


def open_earlier(
    model: str | Path | Target,
    target: Target,
    members: str | Path | Iterable[Any] | None = None,
    device: str = "auto",
) -> Target:
    """Return an earlier release of a target, made by the same recipe from the same examples; needs no bank.

    Args:
        model: The file with its weights, or what `open_target` made of it.
        target: The audited model.
        members: Who it was trained on; by default the file that `save_target` wrote.
        device: Where it is run.

    Raises:
        MemauditError: It does not load, is the audited model itself, or is of other examples.
    """
    if target.recipe is None:
        raise SettingsError("two releases are compared by a recipe that loads both; recorded outputs have none")
    if (
        members is None
        and not isinstance(model, Target)
        and not members_beside(model).is_file()
        and Path(model).exists()
    ):
        raise EvidenceError(
            f"who was {model} trained on? There is no {members_beside(model)}; give --before-members FILE with the ids "
            "of its training examples, one a line"
        )
    earlier = model if isinstance(model, Target) else open_target(model, target.recipe, members, device)
    if earlier.sha256 == target.sha256:
        raise ModelError(f"{earlier.model} is the audited model itself; give the release that came before it")
    if earlier.population.digest() != target.population.digest():
        raise EvidenceError(f"{earlier.model} was opened with other examples than {target.model}")
    return earlier


def release_of(earlier: Target, base: Ground, device: str = "auto") -> Release:
    """Return what the bank's examples look like to an earlier release.

    Raises:
        MemauditError: There is no bank of complementary pairs, or it does not fit the release.
    """
    if base.bank is None or base.design is None or base.rung is not Rung.BANK or not base.bank.paired:
        raise SettingsError(
            "two releases are compared by simulated releases, which take a bank of complementary pairs that a recipe "
            "filled: memaudit bank fill"
        )
    require_fitting_design(base.bank.path, base.design, earlier.members)
    seen = of_candidates(earlier, base.design, device)
    population, recorded = seen.population, seen.recorded
    phi, correct = recorded["phi"], recorded["correct"]
    if not isinstance(population, TextPopulation):
        phi, correct = population.by_unit(phi), population.by_unit(correct)
    return Release(phi, correct, seen.members)
