"""The recipes of federated and central training: a file of its own, so that the benchmark can change and banks stay."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

import memaudit as ma
from benchmarks import location30_recipe

CLIENTS, SHARDS, SHARD = 120, 4, 5
DOSES = (1, 4)
CANARY = "canary"


def recipes(path: str) -> dict[str, ma.ClassifierRecipe]:
    """Return the ways of training: as many passes over the data in each but the two that stop early."""
    central = ma.ClassifierRecipe(
        partial(clients, path), location30_recipe.model, epochs=20, batch_size=20, optimizer=ma.SGD(lr=0.2)
    )
    return {
        "central": central,
        "central, 10 epochs": replace(central, epochs=10),
        "central, 7 epochs": replace(central, epochs=7),
        "central, 5 epochs": replace(central, epochs=5),
        "clustered SGD": replace(central, batch_size=64, federated=ma.FedAvg(1)),
        "FedAvg, 6 clients, 1 local epoch": replace(
            central, batch_size=5, optimizer=ma.SGD(lr=0.1), federated=ma.FedAvg(6, 1)
        ),
        "FedAvg, 6 clients, 5 local epochs": replace(
            central, batch_size=5, optimizer=ma.SGD(lr=0.3), federated=ma.FedAvg(6, 5)
        ),
    }


def clients(path: str) -> ma.Examples:
    """Return records by client, with canaries."""
    whole, rng = location30_recipe.examples(path), np.random.default_rng(0)
    order = rng.permutation(len(whole))
    order = order[np.argsort(whole.y[order], kind="stable")]
    dealt = rng.permutation(len(order) // SHARD)[: CLIENTS * SHARDS]
    rows = order[: len(order) // SHARD * SHARD].reshape(-1, SHARD)[dealt].ravel()
    owners, planted = np.repeat(np.arange(CLIENTS), SHARDS * SHARD), np.arange(0, CLIENTS, 2)
    times = np.resize(DOSES, len(planted))
    canaries = (rng.random((len(planted), whole.x.shape[1])) < whole.x.mean()).astype(np.float32)
    labels = rng.integers(0, whole.classes, len(planted))
    names = [f"{CANARY}-{time}-{client}-{n}" for client, time in zip(planted, times, strict=True) for n in range(time)]
    return ma.Examples(
        np.concatenate([whole.x[rows], np.repeat(canaries, times, axis=0)]),
        np.concatenate([whole.y[rows], np.repeat(labels, times)]),
        [*whole.ids[rows], *names],
        groups=np.concatenate([owners, np.repeat(planted, times)]),
        unit="clients",
    )
