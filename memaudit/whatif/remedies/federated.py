"""Federated training of the same network on the same clients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from memaudit.recipe import FedAvg, Recipe
from memaudit.whatif.remedies.retrained import Retrained


@dataclass(frozen=True, slots=True)
class Federated(Retrained):
    """Train by federated averaging over the groups of the examples, for as many passes over them as the base.

    Args:
        clients_per_round: As of `FedAvg`.
        local_epochs: As of `FedAvg`.
    """

    clients_per_round: int | None = None
    local_epochs: int = 1

    def recipe(self, base: Any) -> Recipe:
        """Return the recipe that trains federatedly."""
        self.require(base, "federated")
        return replace(base, federated=FedAvg(self.clients_per_round, self.local_epochs))
