"""Estimates and proxies of the chosen examples' memorization, for benchmarks/memorization_truth.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from benchmarks.truth_banks import Banks
from benchmarks.truth_influence import of_all_layers, of_last_layer
from memaudit.bank.recordings import Recordings
from memaudit.design import by_pair
from memaudit.memorization import counterfactual, memorization, paired_memorization
from memaudit.memorization.proxies import Data, Of, Others, all_proxies
from memaudit.recipe import Examples, Population

Array = np.ndarray

_WHOLE = 3  # runs for the influence function of all layers: 10 s each


@dataclass(frozen=True)
class Estimate:
    """An estimate of memorization of some of the chosen examples (`at`), from so many models."""

    name: str
    models: int
    at: Array
    value: Array
    variance: Array | None = None


@dataclass(frozen=True)
class Scores:
    """A proxy of the chosen examples, `[runs, chosen]`; one row where it does not come from training runs."""

    name: str
    of: Of
    value: Array


def of_pairs(recorded: Recordings, rows: Array, models: int | None = None) -> tuple[Array, Array]:
    """Return memorization of some rows and its variance, from the first so many models of complementary pairs."""
    inside, outside = (side[:, rows] for side in by_pair(recorded.correct[:models], recorded.members[:models]))
    if inside.dtype == np.bool_:
        found = paired_memorization(inside, outside)
        return found.value, found.variance
    shares = counterfactual(inside, outside)
    return shares.value, shares.se**2


def estimates(banks: Banks, population: Population) -> Iterator[Estimate]:
    """Yield the estimates of memorization, on all chosen examples or on those that are candidates."""
    chosen, task = banks.chosen, banks.task
    everyone = np.arange(len(chosen))
    yield Estimate("pLOO, r = 0.5", task.estimate, everyone, *of_pairs(banks.halves, chosen))
    if banks.shares is not None:
        found = memorization(banks.shares.correct[:, chosen], banks.shares.members[:, chosen])
        yield Estimate("pLOO, r = 0.7", task.estimate, everyone, found.value, found.variance)
    at = np.flatnonzero(banks.candidates[chosen])
    yield Estimate("pLOO, r = 0.5, candidates", task.estimate, at, *of_pairs(banks.halves, chosen[at]))
    rows = np.searchsorted(np.flatnonzero(banks.candidates), chosen[at])  # a bank is about its candidates alone
    for models in (task.estimate, task.few):
        yield Estimate("pLOO_improved", models, at, *of_pairs(banks.improved, rows, models))
    yield Estimate("1 − C-score, r = 0.5", task.estimate, everyone, *_difficulty(banks.halves, chosen))
    if isinstance(population, Examples):
        runs = [load_file(path) for path in _weights(banks)]
        for layers, removed, of in (("last layer", of_last_layer, runs), ("all layers", of_all_layers, runs[:_WHOLE])):
            value = np.mean([removed(weights, population, chosen) for weights in of], axis=0)
            yield Estimate(f"influence function, {layers}", len(of), everyone, value)
    yield Estimate("random numbers", 0, everyone, np.random.default_rng(4).random(len(chosen)))


def _difficulty(recorded: Recordings, rows: Array) -> tuple[Array, Array]:
    """Return the share of models without the example that are wrong, and its variance."""
    _, outside = by_pair(recorded.correct, recorded.members)
    wrong = 1 - outside[:, rows].astype(float)
    return wrong.mean(axis=0), wrong.var(axis=0, ddof=1) / len(wrong)


def _weights(banks: Banks) -> list[str]:
    found = [banks.runs_bank.weights(model) for model in banks.runs_bank.models()]
    return [str(path) for path in found if path is not None]


def proxies(banks: Banks, population: Population) -> Iterator[Scores]:
    """Yield every proxy that the recordings allow; the first training run chose the candidates and is left out."""
    chosen = banks.chosen
    materials: dict[Of, list[Any]] = {Of.OTHERS: [_others(banks, population)], Of.DATA: [_data(population)]}
    materials[Of.RUN] = [of for of in (banks.runs, banks.gradients) if of is not None]
    for proxy in all_proxies():
        for material in materials[proxy.of]:
            if proxy.lacks(material):
                continue
            value = np.asarray(proxy.score(material), float)
            if proxy.of is Of.RUN:
                value = value[1:] if material is banks.runs else value
            yield Scores(proxy.name, proxy.of, np.atleast_2d(value)[:, chosen])
            break


def _others(banks: Banks, population: Population) -> Others:
    """Return what the models of pLOO at r = 0.5 say of what they were not trained on."""
    _, phi = banks.halves.block(slice(0, banks.halves.shape[1]))
    signal = phi.mean(axis=2, dtype=float)
    _, correct = by_pair(banks.halves.correct, banks.halves.members)
    if not isinstance(population, Examples):
        return Others(log_probability=signal, correct=correct)
    prior = (np.bincount(population.y) / len(population.y))[population.y]
    return Others(log_probability=-np.logaddexp(0, -signal), correct=correct, prior=prior)


def _data(population: Population) -> Data:
    if not isinstance(population, Examples):
        return Data()
    return Data(x=population.x.reshape(len(population.x), -1).astype(np.float32), y=population.y)
