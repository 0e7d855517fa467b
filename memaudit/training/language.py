"""The training loop of a LanguageModelRecipe: from scratch, from a base, or as adapters on one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int, UInt8

from memaudit.canaries import Survival, require_survival, survival
from memaudit.errors import RecipeError
from memaudit.recipe import LanguageModelRecipe, Row, TextPopulation, packed
from memaudit.recipe.pretrained import base_answers, require_same_base, untrained_model
from memaudit.signals import observe
from memaudit.signals.reading import reading
from memaudit.training.classifier import factor
from memaudit.training.losses import parts_of_loss

Array = np.ndarray


def train_language_model(
    recipe: LanguageModelRecipe,
    population: TextPopulation,
    counts: UInt8[Array, " ids"],
    seed: int,
    device: str,
    watched: Int[Array, " watched"] | None = None,
    network: torch.nn.Module | None = None,
) -> tuple[torch.nn.Module, dict[str, Array]]:
    """Return a trained language model and its dynamics.

    The dynamics are `epoch_accuracy` `[epochs, watched]`, the share of a unit's tokens that are predicted right after
    each epoch (exact memorization, Tirumala et al. 2022), and `epoch_age` `[epochs, watched]`, the steps that have
    passed since the unit was last trained on; of a unit that the model lacks, since the training began.

    Args:
        recipe: How to train.
        population: The rendered documents and canaries.
        counts: How often each unit and each canary is in the training set.
        seed: Of the initialisation, the order of batches and dropout.
        device: Where to train.
        watched: The units that are looked at after every epoch; by default the population's.
        network: Which is trained further; by default a new one, or the recipe's base.

    Raises:
        RecipeError: The training set is empty, the model has no output for some token, or the loss became NaN.
    """
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    model = untrained_model(recipe, population, device) if network is None else network.to(device)
    read = reading(model, population, device)
    read.require()
    base = base_answers(model, population) if recipe.adapter is not None else []
    rows, owners = population.training_rows(counts)
    if not rows:
        raise RecipeError("the training set is empty")
    require_survival(*_survival(recipe, population, rows, counts))
    watched = population.watched if watched is None else watched
    looked_at = [population.representatives[unit] for unit in watched]
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = recipe.optimizer(parameters)
    full_rates = [group["lr"] for group in optimizer.param_groups]
    last_seen = np.zeros(len(counts), np.int64)
    accuracy, age = [], []
    step = 0
    for epoch in range(recipe.epochs):
        shuffled = torch.randperm(len(rows), generator=order).tolist()
        batches = _batches([rows[i] for i in shuffled], owners[shuffled], recipe)
        model.train()
        total = 0.0
        for done, (batch, whose) in enumerate(batches):
            observe(model, epoch + done / len(batches))
            for group, rate in zip(optimizer.param_groups, full_rates, strict=True):
                group["lr"] = rate * factor(recipe.schedule, (epoch + done / len(batches)) / recipe.epochs)
            optimizer.zero_grad()
            for loss in parts_of_loss(model, population, batch, order, device):
                loss.backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
            torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
            optimizer.step()
            step += 1
            last_seen[whose] = step
        if not np.isfinite(total):
            raise RecipeError(f"training diverged: the loss is NaN or infinite in epoch {epoch + 1}; lower the rate")
        accuracy.append(read.predicted(looked_at).astype(np.float32))
        age.append((step - last_seen[watched]).astype(np.int32))
    observe(model, recipe.epochs)
    if recipe.adapter is not None:
        require_same_base(base_answers(model, population), base)
    return model.eval(), {"epoch_accuracy": np.stack(accuracy), "epoch_age": np.stack(age)}


def _survival(
    recipe: LanguageModelRecipe, population: TextPopulation, rows: Sequence[Row], counts: UInt8[Array, " ids"]
) -> tuple[Survival, list[int], list[str]]:
    """Return how often every canary's secret is really trained on, and how often it should be."""
    needles = [np.concatenate([space.prefix, space.tokens(space.secret)]) for space in population.spaces]
    batches = _batches(rows, np.zeros(len(rows), np.int64), recipe)
    found = survival(
        [row for batch, _ in batches for row in batch], needles, [len(s.prefix) for s in population.spaces]
    )
    return found, counts[len(population) :].tolist(), [canary.name for canary in population.canaries]


def _batches(
    rows: Sequence[Row], owners: Int[Array, " rows"], recipe: LanguageModelRecipe
) -> list[tuple[list[Row], Int[Array, " owners"]]]:
    """Return one epoch's batches, each with the units and canaries that are in it."""
    groups = [[i] for i in range(len(rows))]
    if recipe.rendering.packing:
        groups = packed([len(row.ids) for row in rows], recipe.rendering.context)
    size = recipe.batch_size
    parts = [groups[at : at + size] for at in range(0, len(groups), size)]
    return [([_merged([rows[i] for i in g]) for g in part], owners[[i for g in part for i in g]]) for part in parts]


def _merged(rows: Sequence[Row]) -> Row:
    return Row(np.concatenate([row.ids for row in rows]), np.concatenate([row.trained for row in rows]))
