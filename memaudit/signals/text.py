"""One language model of any kind over its population: everything that is recorded about it, by name."""

from __future__ import annotations

from itertools import chain

import numpy as np
import torch
from jaxtyping import Float

from memaudit.recipe import Row, TextPopulation
from memaudit.recipe.encoder_decoder import as_causal
from memaudit.signals.asking import exact
from memaudit.signals.decoding import greedy_continuations
from memaudit.signals.reading import Reading, reading
from memaudit.signals.search import best_first
from memaudit.signals.secret_rows import secret_row

Array = np.ndarray

SEARCH_QUERIES = 2000  # contexts that a search for one canary may read


def measure_text(model: torch.nn.Module, population: TextPopulation, device: str = "cpu") -> dict[str, Array]:
    """Return what one language model says about every unit, canary and secret.

    phi [units, 1]               mean log-probability of a unit's tokens, in nats; larger = likelier
    correct [units]              share of its tokens that are the likeliest
    token_…                      token statistics of the units
    suffix_…                     of the suffixes to be continued, one context length after another
    written [testable, suffix]   what greedy decoding writes after the longest context
    canary_…                     of the canaries' secrets, in their rows
    canary_cost [canaries]       −log p of each canary's secret, in nats
    reference_cost [references]  of the secrets that the canaries are ranked among, canary after canary
    search_first [canaries]      whether a search of the canary's space returns the canary before all other secrets
    secret_cost [secrets, 1+decoys]  of the user's secrets, each followed by its decoys

    Of a model that is not made to write there is no suffix_…, written and search_first; of one that is scored by the
    recipe's own function, only `logp` of each token, and `correct` is the mean probability of a unit's tokens.

    Raises:
        RecipeError: The model's own code fails.
        ModelError: It is of another kind than the recipe says, has no output for some token, or its output is NaN or
            infinite.
    """
    model = exact(model)
    read = reading(model, population, device)
    read.require()
    tokens = read.tokens(population.representatives)
    canaries = read.tokens([[row] for row in canary_rows(population)])
    costs = [read.costs(*both) for both in zip(population.spaces, population.references, strict=True)]
    return {
        "phi": tokens.means(tokens.logp)[:, None].astype(np.float32),
        "correct": tokens.means(tokens.correct).astype(np.float32),
        **tokens.tensors("token_"),
        **canaries.tensors("canary_"),
        "canary_cost": np.array([own for own, _ in costs], np.float64),
        "reference_cost": np.concatenate([np.empty(0), *(others for _, others in costs)]),
        "secret_cost": _secret_costs(read, population),
        **(_written(read, model, population, costs, device) if population.writes else {}),
    }


def unit_phi(
    model: torch.nn.Module, population: TextPopulation, units: slice, device: str = "cpu"
) -> Float[Array, "units 1"]:
    """Return φ of some units: the mean log-probability of a unit's tokens, in nats; larger = likelier."""
    tokens = reading(model, population, device).tokens(population.representatives[units])
    return tokens.means(tokens.logp)[:, None].astype(np.float32)


def canary_rows(population: TextPopulation) -> tuple[Row, ...]:
    """Return the canaries' rows with the secret's tokens marked: up to its end, or whole for a masked model."""
    after = population.objective == "masked"
    return tuple(secret_row(space, space.secret, after) for space in population.spaces)


def _written(
    read: Reading, model: torch.nn.Module, population: TextPopulation, costs: list[tuple[float, Array]], device: str
) -> dict[str, Array]:
    """Return what a model that writes says about the suffixes, and which canaries a search returns first."""
    asked = as_causal(model, population)
    first = [_first(asked, population, number, *both, device) for number, both in enumerate(costs)]
    return {
        **read.tokens([[row] for row in chain(*population.windows)]).tensors("suffix_"),
        "written": _continued(asked, population, device),
        "search_first": np.array(first, bool),
    }


def _continued(model: torch.nn.Module, population: TextPopulation, device: str) -> Array:
    suffix = population.probes.suffix
    prefixes = [row.ids[:-suffix] for row in population.windows[population.probes.longest]]
    return np.array(greedy_continuations(model, prefixes, suffix, device), np.int32).reshape(len(prefixes), suffix)


def _first(
    model: torch.nn.Module, population: TextPopulation, number: int, own: float, others: Array, device: str
) -> bool:
    """Return whether a search finds the canary first; it is spared where a secret is known to be as likely."""
    space, whole = population.spaces[number], population.references[number] is None
    if (others <= own).sum() > whole:  # a whole space holds the canary itself
        return False
    found = best_first(
        model, space.prefix, space.alphabets, limit=1, queries=SEARCH_QUERIES, wanted=space.secret, device=device
    )
    return found.rank == 1


def _secret_costs(read: Reading, population: TextPopulation) -> Array:
    rows = [row for probe in population.secrets for row in probe.rows]
    found = read.tokens([[row] for row in rows])
    return -found.sums(found.logp).reshape(len(population.secrets), -1) if rows else np.empty((0, 0))
