"""What the checks of an audit may look at, from its target and its bank."""

from __future__ import annotations

from typing import Any

import numpy as np

from memaudit.auditing.ground import Ground
from memaudit.auditing.target import Target, read_by_shadows
from memaudit.auditing.viewed import views_of
from memaudit.bank import Matched, Recordings
from memaudit.checks import RedrawnLabels, TargetEvidence, TextEvidence, TextTargetEvidence
from memaudit.checks.tasks import BANK_EVIDENCE, TARGET_EVIDENCE
from memaudit.memorization import Observations
from memaudit.recipe import Examples, Observed, TextPopulation
from memaudit.types import Level

Array = np.ndarray


def facts_of(
    base: Ground,
    fprs: tuple[float, ...],
    attacks: tuple[str, ...],
    device: str,
    access: Level | None = None,
    **more: Any,
) -> TargetEvidence:
    """Return what the checks may look at, `more` of it as it is."""
    target = base.target
    recorded, population = target.recorded, target.population
    shared: dict[str, Any] = {
        "members": target.members,
        "split": 0 if target.membership is None else target.membership.split,
        "manifest": target.manifest,
        "fprs": fprs,
        "attacks": attacks,
        "seed": base.seed,
        "references": base.references,
        **more,
    }
    if target.observed is not None:
        shared["seen"] = _seen(target, target.observed)
    if isinstance(population, TextPopulation):
        shared |= {
            "phi": recorded["phi"],
            "correct": recorded["correct"],
            "population": population,
            "recorded": recorded,
            "doses": target.counts[len(population) :],
        }
        if base.bank is None or base.recordings is None:
            return TextTargetEvidence(**shared)
        assert isinstance(base.recordings, Recordings)
        reading = read_by_shadows(target, base.bank, base.recordings, device)
        return TextEvidence(**shared, bank=base.recordings, reading=reading, share=base.share)
    shared |= of_examples(population, recorded)
    if base.recordings is None:
        return TARGET_EVIDENCE[population.task](**shared)
    matched = base.recordings.couples if isinstance(base.recordings, Matched) else None
    if (labels := _redrawn(base)) is not None:
        shared["labels"] = labels
    shared |= views_of(base, access, device)
    return BANK_EVIDENCE[population.task](**shared, bank=base.recordings, matched=matched, share=base.share)


def _redrawn(base: Ground) -> RedrawnLabels | None:
    """Return which labels the shadow models were trained on, unit by unit, and which of them they predict."""
    if base.design is None or base.bank is None or not base.design.label_noise:
        return None
    bank, examples = base.bank, base.target.population
    assert isinstance(examples, Examples)
    used = [m for first in bank.pairs() for m in (first, first + 1)] if bank.paired else bank.models()
    recorded = bank.verified(used[: base.shadows])
    units = rows = examples.representatives
    if isinstance(base.recordings, Matched):
        rows = units[base.recordings.kept] if examples.pools else base.recordings.kept
    given, fitted = (np.stack([found[name] for found in recorded])[:, rows] for name in ("given", "fitted"))
    return RedrawnLabels(given != examples.y[units], fitted)


def _seen(target: Target, observed: Observed) -> Observations:
    """Return what was seen of the target while it trained, unit by unit, as of one model."""
    if isinstance(target.population, Examples):
        observed = observed.by_unit(target.population)
    recorded = {name: values[None] for name, values in observed.values.items()}
    return Observations(epochs=observed.epochs, members=target.members[None].astype(np.uint8), **recorded)


def of_examples(examples: Examples, recorded: dict[str, Array]) -> dict[str, Any]:
    """Return what checks may look at of examples that are no documents, and of what a model answered: by units."""
    rows = examples.representatives
    inputs = examples.inputs if len(rows) == len(examples) else examples.take(rows).inputs
    entropy = recorded.get("modified_entropy")
    return {
        "phi": examples.by_unit(recorded["phi"]),
        "correct": examples.by_unit(recorded["correct"]),
        "x": inputs.features(),
        "y": examples.y[rows],
        "texts": inputs.texts,
        "names": examples.class_names,
        "unit": examples.unit,
        "modified_entropy": None if entropy is None else examples.by_unit(entropy),
    }
