"""What the checks of an audit may look at, from its target and its bank."""

from __future__ import annotations

from typing import Any

import numpy as np

from memaudit.auditing.ground import Ground
from memaudit.auditing.target import Target, read_by_shadows
from memaudit.bank import Matched, Recordings
from memaudit.checks import RedrawnLabels, TargetEvidence, TextEvidence, TextTargetEvidence
from memaudit.checks.generator import GeneratorEvidence, GeneratorTargetEvidence, Planted
from memaudit.checks.tasks import BANK_EVIDENCE, TARGET_EVIDENCE
from memaudit.errors import EvidenceError
from memaudit.memorization import Observations
from memaudit.recipe import Examples, GeneratorRecipe, Observed, TextPopulation
from memaudit.recipe.generator import COSTS, canary_rows
from memaudit.recipe.populations import units_of

Array = np.ndarray


def facts_of(
    base: Ground,
    fprs: tuple[float, ...],
    attacks: tuple[str, ...],
    device: str,
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
    if isinstance(target.recipe, GeneratorRecipe):
        return _of_generator(base, target.recipe, shared)
    shared |= of_examples(population, recorded)
    if base.recordings is None:
        return TARGET_EVIDENCE[population.task](**shared)
    matched = base.recordings.couples if isinstance(base.recordings, Matched) else None
    if (labels := _redrawn(base)) is not None:
        shared["labels"] = labels
    return BANK_EVIDENCE[population.task](**shared, bank=base.recordings, matched=matched, share=base.share)


def _of_generator(base: Ground, recipe: GeneratorRecipe, shared: dict[str, Any]) -> GeneratorTargetEvidence:
    """Return what the checks may look at of a generator."""
    examples, recorded = base.target.population, base.target.recorded
    assert isinstance(examples, Examples)
    own = of_examples(examples, recorded)
    shared |= {name: own[name] for name in ("phi", "correct", "x", "y", "unit")}
    shared |= {
        "nearest": examples.by_unit(recorded["nearest"]),
        "samples": recipe.samples,
        "levels": () if recipe.loss is None else tuple(map(str, recipe.levels)),
        "planted": _planted(recipe, examples, [recorded], base.target.counts[None]),
    }
    if base.recordings is None or base.bank is None:
        return GeneratorTargetEvidence(**shared)
    if base.bank.imported:
        raise EvidenceError(
            f"the bank in {base.bank.path} was imported and holds no distances to generated images; fill one with the "
            "recipe: memaudit bank fill"
        )
    found = base.bank.verified(base.used)
    matched = base.recordings.couples if isinstance(base.recordings, Matched) else None
    columns = base.recordings.kept if isinstance(base.recordings, Matched) else examples.representatives
    nearest = (
        np.stack([examples.by_unit(of["nearest"]) for of in found])
        if examples.pools
        else np.stack([of["nearest"] for of in found])[:, columns]
    )
    return GeneratorEvidence(
        **shared,
        bank=base.recordings,
        matched=matched,
        share=base.share,
        shadows_nearest=nearest,
        shadows_planted=_planted(recipe, examples, found, np.stack([of["members"] for of in found])),
    )


def _planted(recipe: GeneratorRecipe, examples: Examples, recorded: Any, counts: Array) -> Planted | None:
    """Return what some models say of the image canaries that are among the examples; None without canaries."""
    rows = canary_rows(examples, recipe)
    there = rows >= 0
    if not there.any():
        return None
    costs, references = (np.stack([of[name] for of in recorded])[:, there] for name in COSTS)
    inside = np.stack([units_of(examples, count) for count in counts])[:, examples.unit_of[rows[there]]]
    assert recipe.planted is not None
    return Planted(costs=costs, references=references, inside=inside, forms=recipe.planted().forms)


def _redrawn(base: Ground) -> RedrawnLabels | None:
    """Return which labels the shadow models were trained on, unit by unit, and which of them they predict."""
    if base.design is None or base.bank is None or not base.design.label_noise:
        return None
    bank, examples = base.bank, base.target.population
    assert isinstance(examples, Examples)
    recorded = bank.verified(base.used)
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
