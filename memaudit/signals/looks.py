"""One look at a live model: what it says of every example now, members and others, in evaluation mode."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Shaped

from memaudit.recipe import Examples, Population, TextPopulation
from memaudit.recipe.labels import Task
from memaudit.recipe.networks import evaluated
from memaudit.recipe.observe import Also
from memaudit.recipe.recipes import Output, Outputs
from memaudit.signals.asking import exact
from memaudit.signals.evaluate import checked, signals_by_task
from memaudit.signals.example_losses import ExampleLosses, read
from memaudit.signals.gradients import norms
from memaudit.signals.network import Asked
from memaudit.signals.reading import reading
from memaudit.tokens import TokenScores, TokenStatistics

Array = np.ndarray

_BLOCK, _BATCH = 1024, 128  # examples at a time; larger batches of pictures do not fit the cache of a CPU


def look(
    network: torch.nn.Module,
    population: Population,
    outputs: Outputs | None = None,
    output: Output | None = None,
    also: Sequence[Also] = (),
) -> dict[str, Shaped[Array, " examples"]]:
    """Return what a network says of every example, or unit of documents, by name: see `recipe.observed.Observed`.

    Args:
        network: The live model; it is put into evaluation mode.
        population: The examples.
        outputs: What the network's outputs are.
        output: Which part of what it returns they are.
        also: What is measured on request, of examples that are no documents.

    Raises:
        ModelError: The outputs are not one row for each example, NaN or infinite.
        RecipeError: The network's own code failed.
    """
    evaluated(network)
    device = str(next((p.device for p in network.parameters()), "cpu"))
    if isinstance(population, TextPopulation):
        return _of_texts(network, population, device)
    asked = Asked(network, population.inputs, device, output=output)
    return _of_examples(asked, population, outputs) | on_request(network, population, outputs, output, also)


def on_request(
    network: torch.nn.Module,
    population: Population,
    outputs: Outputs | None,
    output: Output | None,
    also: Sequence[Also],
) -> dict[str, Shaped[Array, " examples"]]:
    """Return what `look` measures on request alone, by name."""
    if not also:
        return {}
    assert isinstance(population, Examples)
    device = str(next((p.device for p in network.parameters()), "cpu"))
    asked = Asked(evaluated(network), population.inputs, device, output=output)
    return norms(asked, population, ExampleLosses.of(population, outputs), also)


def _of_examples(asked: Asked, examples: Examples, kind: Outputs | None) -> dict[str, Array]:
    """Return loss, correctness, entropy and EL2N in one pass; of a regression the first two."""
    parts = []
    for start in range(0, len(examples), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(examples)))
        batches = range(start, rows.stop, _BATCH)
        said = np.concatenate([asked(slice(at, min(at + _BATCH, rows.stop))) for at in batches])
        answers = checked(said, examples, rows)
        if examples.task is Task.REGRESSION:
            phi, correct = signals_by_task(answers, examples, rows, kind)
            parts.append({"loss": -phi, "correct": correct})
        else:
            parts.append(read(answers, examples, rows, kind))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _of_texts(network: torch.nn.Module, population: TextPopulation, device: str) -> dict[str, Array]:
    """Return the mean loss of each unit's tokens, the share that is predicted, and their mean entropy.

    There is no entropy of a model that is scored by the recipe's own function, and no EL2N of any text.
    """
    return of_tokens(reading(exact(network), population, device).tokens(population.representatives))


def of_tokens(tokens: TokenScores) -> dict[str, Array]:
    """Return what a look takes of units, by what a model says about their tokens."""
    found = {"loss": -tokens.means(tokens.logp), "correct": tokens.means(tokens.correct)}
    return found | ({"entropy": -tokens.means(tokens.mean)} if isinstance(tokens, TokenStatistics) else {})
