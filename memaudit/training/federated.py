"""Federated averaging: the training loop of a ClassifierRecipe(federated=FedAvg(...)).

A client's part in a round is a `Course` of its own, on its own examples; what it returns to the server is its network.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from memaudit.errors import RecipeError
from memaudit.recipe import ClassifierRecipe, FedAvg
from memaudit.recipe.networks import materialise
from memaudit.signals import observe
from memaudit.training.classifier import Course, factor, untrained

Array = np.ndarray


def train_federated(
    recipe: ClassifierRecipe,
    federated: FedAvg,
    x: Any,
    y: Tensor,
    counts: UInt8[Array, " examples"],
    seed: int,
    network: torch.nn.Module | None = None,
    until: int | None = None,
    clients: Int[Array, " examples"] | None = None,
) -> torch.nn.Module:
    """Return a network trained by federated averaging; arguments as for `train_classifier`.

    Whoever watches is shown the server's network before every round, and at the end.

    Raises:
        RecipeError: It is not known which examples are whose, a round draws more clients than there are, or a client's
            training diverged.

    Source: McMahan et al. 2017 (AISTATS), Algorithm 1; the mean is over the clients that were drawn.
    """
    if clients is None:
        raise RecipeError("FedAvg trains on the examples of clients, and it is not known which are whose")
    torch.manual_seed(seed)
    network = (materialise(untrained(recipe), x) if network is None else network).to(y.device)
    sizes, rng = np.bincount(clients, counts), np.random.default_rng(seed)
    there = np.flatnonzero(sizes)
    drawn, rounds = federated.drawn(len(there)), federated.rounds(recipe.epochs, len(there))
    until = recipe.epochs if until is None else until
    local = replace(recipe, epochs=federated.local_epochs, schedule="constant", federated=None)
    for turn in range(rounds):
        if recipe.epochs * turn >= until * rounds:
            break
        observe(network, recipe.epochs * turn / rounds)
        chosen, rate = np.sort(rng.choice(there, drawn, replace=False)), factor(recipe.schedule, turn / rounds)
        server = _Server(network)
        for client, own in zip(chosen, rng.integers(2**63, size=drawn), strict=True):
            server.send()
            mine = np.where(clients == client, counts, 0)
            try:
                _train(Course(local, x, y, mine, int(own), network, show=lambda *_: None), rate)
            except RecipeError as error:
                raise RecipeError(f"round {turn + 1} of {rounds}, at a client: {error}") from error
            server.receive(float(sizes[client]))
        server.average()
    observe(network, until)
    return network.eval()


def _train(course: Course, rate: float) -> None:
    """Train a client's network, with its learning rates multiplied by the schedule's factor of the round."""
    for group in course.optimizer.param_groups:
        group["lr"] *= rate
    for batch in course.batches():
        course.step(batch)


class _Server:
    """A round's weighted mean of what clients make of a network, which all of them train in turn.

    Parameters and buffers are averaged. Those that are no floating-point numbers, such as counters of batches, stay as
    the server has them.
    """

    def __init__(self, network: torch.nn.Module):
        self._own = [tensor.detach() for tensor in (*network.parameters(), *network.buffers())]
        self._sent = [tensor.clone() for tensor in self._own]
        self._total = [torch.zeros_like(tensor) for tensor in self._own]
        self._weight = 0.0

    def send(self) -> None:
        """Set the network to what the round began with."""
        for own, sent in zip(self._own, self._sent, strict=True):
            own.copy_(sent)

    def receive(self, weight: float) -> None:
        """Take the network as a client has trained it."""
        self._weight += weight
        for total, own in zip(self._total, self._own, strict=True):
            if total.is_floating_point():
                total.add_(own, alpha=weight)

    def average(self) -> None:
        """Set the network to the mean."""
        for own, sent, total in zip(self._own, self._sent, self._total, strict=True):
            own.copy_(total / self._weight if total.is_floating_point() else sent)
