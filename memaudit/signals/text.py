"""One language model over its population: everything that is recorded about it, by name."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
from jaxtyping import Float

from memaudit.recipe import Row, TextPopulation
from memaudit.signals.asking import exact
from memaudit.signals.causality import require_causal
from memaudit.signals.decoding import greedy_continuations
from memaudit.signals.language import token_statistics
from memaudit.signals.search import best_first
from memaudit.signals.secrets import secret_costs, space_costs

Array = np.ndarray

SEARCH_QUERIES = 2000  # contexts that a search for one canary may read


def measure_text(model: torch.nn.Module, population: TextPopulation, device: str = "cpu") -> dict[str, Array]:
    """Returns what one language model says about every unit, canary and secret.

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

    Raises:
        RecipeError: The model's own code fails.
        ModelError: It is no causal language model, has no output for some token, or its output is NaN or infinite.
    """
    model = exact(model)
    require_causal(model, population, device)
    tokens = token_statistics(model, population.representatives, device)
    suffixes = token_statistics(model, [[row] for row in chain(*population.windows)], device)
    canaries = token_statistics(model, [[row] for row in canary_rows(population)], device)
    costs = [_costs(model, population, number, device) for number in range(len(population.canaries))]
    first = [_first(model, population, number, *both, device) for number, both in enumerate(costs)]
    return {
        "phi": tokens.means(tokens.logp)[:, None].astype(np.float32),
        "correct": tokens.means(tokens.correct).astype(np.float32),
        **tokens.tensors("token_"),
        **suffixes.tensors("suffix_"),
        "written": _continued(model, population, device),
        **canaries.tensors("canary_"),
        "canary_cost": np.array([own for own, _ in costs], np.float64),
        "reference_cost": np.concatenate([np.empty(0), *(others for _, others in costs)]),
        "search_first": np.array(first, bool),
        "secret_cost": _secret_costs(model, population, device),
    }


def unit_phi(
    model: torch.nn.Module, population: TextPopulation, units: slice, device: str = "cpu"
) -> Float[Array, "units 1"]:
    """Returns φ of some units: the mean log-probability of a unit's tokens, in nats; larger = likelier."""
    tokens = token_statistics(model, population.representatives[units], device)
    return tokens.means(tokens.logp)[:, None].astype(np.float32)


def canary_rows(population: TextPopulation) -> tuple[Row, ...]:
    """Returns the canaries' rows up to the end of the secret, with the secret's tokens marked."""

    def row(number: int) -> Row:
        space = population.spaces[number]
        ids = np.concatenate([space.prefix, space.tokens(space.secret)])
        return Row(ids, np.arange(len(ids)) >= len(space.prefix))

    return tuple(row(number) for number in range(len(population.canaries)))


def _costs(model: torch.nn.Module, population: TextPopulation, number: int, device: str) -> tuple[float, Array]:
    """Returns the cost of a canary's secret, and those of the secrets it is ranked among: of all, itself included."""
    space, references = population.spaces[number], population.references[number]
    if references is None:
        everything = space_costs(model, space.prefix, space.alphabets, device)
        place = np.ravel_multi_index(tuple(space.secret), [len(alphabet) for alphabet in space.alphabets])
        return float(everything[place]), everything
    both = secret_costs(model, space.prefix, space.alphabets, np.vstack([space.secret[None], references]), device)
    return float(both[0]), both[1:]


def _continued(model: torch.nn.Module, population: TextPopulation, device: str) -> Array:
    suffix = population.probes.suffix
    prefixes = [row.ids[:-suffix] for row in population.windows[population.probes.longest]]
    return np.array(greedy_continuations(model, prefixes, suffix, device), np.int32).reshape(len(prefixes), suffix)


def _first(
    model: torch.nn.Module, population: TextPopulation, number: int, own: float, others: Array, device: str
) -> bool:
    """Returns whether a search finds the canary first; it is spared where a secret is known to be as likely."""
    space, whole = population.spaces[number], population.references[number] is None
    if (others <= own).sum() > whole:  # a whole space holds the canary itself
        return False
    found = best_first(
        model, space.prefix, space.alphabets, limit=1, queries=SEARCH_QUERIES, wanted=space.secret, device=device
    )
    return found.rank == 1


def _secret_costs(model: torch.nn.Module, population: TextPopulation, device: str) -> Array:
    rows: Sequence[Row] = [row for probe in population.secrets for row in probe.rows]
    found = token_statistics(model, [[row] for row in rows], device)
    return -found.sums(found.logp).reshape(len(population.secrets), -1) if rows else np.empty((0, 0))
