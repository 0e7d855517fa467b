"""`memaudit doctor`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from memaudit.cli.common import Job, job, settings_options
from memaudit.errors import MemauditError

_LEAST_FREE_GIB = 1


@click.command()
@settings_options
def command(config: Path | None, quiet: bool, **flags: Any) -> int:
    """Check the set-up: train one small model of the recipe and detect a planted leak.

    Exits 2 if a step fails, and says which one and what to do.
    """
    call = job(config, **flags)
    healthy = True
    for name, step in (
        ("versions", _versions),
        ("planted leak", _planted_leak),
        ("disk", _disk),
        ("recipe", _recipe),
    ):
        try:
            for line in step(call):
                click.echo(f"ok    {name}: {line}")
        except MemauditError as error:
            healthy = False
            click.echo(f"FAIL  {name}: {error}")
    return 0 if healthy else 2


def _versions(call: Job) -> Iterator[str]:
    from importlib.metadata import version

    from memaudit.training import choose_device

    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "scipy", "scikit-learn"))
    yield f"Python {sys.version.split()[0]}, {packages}"
    yield f"training on {choose_device(call.audit.device)} with {call.workers} process(es)"


def _planted_leak(call: Job) -> Iterator[str]:
    """Simulate a bank whose members are separated by two standard deviations, and one without a leak."""
    import numpy as np

    from memaudit.attacks import DEFAULT
    from memaudit.design import PairArrays
    from memaudit.stats import auc

    rng = np.random.default_rng(0)
    for shift, low, high in ((2.0, 0.88, 0.95), (0.0, 0.448, 0.552)):  # Φ(2/√2) = 0.921 and 0.5, ± 4 standard errors
        difficulty = rng.normal(size=2000)
        inside, outside = difficulty + rng.normal(size=(2, 16, 2000)) + np.array([shift, 0.0])[:, None, None]
        members = rng.random(2000) < 0.5
        target = difficulty + rng.normal(size=2000) + shift * members
        scores = DEFAULT.scores(target[:, None], PairArrays(inside[..., None], outside[..., None]))
        area = auc(scores[members], scores[~members])
        if not low <= area <= high:
            raise MemauditError(
                f"AUC {area:.3f} at a shift of {shift}, expected {low} to {high}. The installation is broken: "
                "reinstall memaudit"
            )
        yield f"AUC {area:.3f} with members {shift:g} standard deviations above non-members"


def _disk(call: Job) -> Iterator[str]:
    folder = call.place(call.audit.bank)
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free / 2**30
    if free < _LEAST_FREE_GIB:
        raise MemauditError(
            f"only {free:.2f} GiB are free in {there}. A bank stores every model's weights and "
            "signals: free some space, or choose another folder with --bank"
        )
    yield f"{free:.0f} GiB free for the bank in {folder}"


def _recipe(call: Job) -> Iterator[str]:
    import dataclasses
    import time

    from memaudit.recipe import ClassifierRecipe, GeneratorRecipe, LanguageModelRecipe, TextPopulation
    from memaudit.recipe.populations import require_stable
    from memaudit.recipe.recipes import asking
    from memaudit.signals import evaluate
    from memaudit.training import choose_device, population
    from memaudit.training.model import Workshop

    recipe = call.recipe()
    examples = population(recipe)
    copies = f", {examples.duplicates} of them exact copies" if examples.duplicates else ""
    kinds = {"classification": "classes", "multilabel": "labels each"}
    what = "documents"
    if not isinstance(examples, TextPopulation):
        labels = kinds.get(examples.task)
        what = f"examples of {examples.classes} {labels}" if labels else "examples with a number to predict"
        what = "images for a generator" if isinstance(recipe, GeneratorRecipe) else what
    yield f"{call.audit.recipe} has {len(examples)} {what}{copies}"
    require_stable(recipe, examples)
    yield "a second call of examples() returns the same rows"
    if isinstance(recipe, ClassifierRecipe | LanguageModelRecipe):
        recipe = dataclasses.replace(recipe, epochs=1)
    device = choose_device(call.audit.device)
    workshop = Workshop(recipe, examples, 0, device)
    started = time.perf_counter()
    model, _ = workshop.train(workshop.counts(0), 0)
    workshop.require_unchanged("training")
    if isinstance(examples, TextPopulation):
        workshop.measure(model)
        read_as = "the logits of the next token"
    elif isinstance(recipe, GeneratorRecipe):
        workshop.measure(model)
        read_as = "generated images" + ("" if recipe.loss is None else f" and losses at {len(recipe.levels)} levels")
    else:
        read_as = evaluate(model, examples, device=device, **asking(recipe)).read_as
        workshop.require_unchanged("scoring")
    epoch = " for one epoch" if isinstance(recipe, ClassifierRecipe | LanguageModelRecipe) else ""
    yield f"trained one model{epoch} and evaluated it in {time.perf_counter() - started:.1f} s"
    yield f"outputs are read as {read_as}"
