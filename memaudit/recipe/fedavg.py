"""Federated averaging: what ClassifierRecipe(federated=FedAvg(...)) says of it."""

from __future__ import annotations

from dataclasses import dataclass

from memaudit.errors import RecipeError


@dataclass(frozen=True, slots=True)
class FedAvg:
    """Federated averaging, simulated on one machine: the groups of `Examples(groups=...)` are the clients.

    In each round some clients are drawn without replacement. Each trains the server's network on its own examples, with
    a new optimizer. The server's next network is the mean of theirs, weighted by their numbers of examples. The server
    has no momentum, and nobody adds noise.

    The other fields of the recipe keep their meaning: `batch_size` is that of a client, `epochs` the expected number of
    passes over each client's examples, and `schedule` that of the learning rate over the rounds. A training set of K
    clients takes `epochs` · K / (`clients_per_round` · `local_epochs`) rounds.

    Args:
        clients_per_round: How many clients are drawn; None: all of the training set.
        local_epochs: Passes of a drawn client over its examples in one round. One pass with a batch of at least the
            client's size is a single step: federated SGD.

    Source: McMahan et al. 2017 (AISTATS), "Communication-efficient learning of deep networks from decentralized data",
    Algorithm 1.
    """

    clients_per_round: int | None = None
    local_epochs: int = 1

    def __post_init__(self) -> None:
        for name in ("clients_per_round", "local_epochs"):
            value = getattr(self, name)
            if value is None and name == "clients_per_round":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise RecipeError(f"FedAvg: {name} is a whole number of at least 1, got {value!r}")

    def drawn(self, clients: int) -> int:
        """Return how many clients of a training set are drawn in each round.

        Raises:
            RecipeError: It has fewer.
        """
        if (self.clients_per_round or 1) > clients:
            raise RecipeError(
                f"FedAvg: clients_per_round = {self.clients_per_round}, and a training set has {clients} clients. Draw "
                "fewer in each round, or all with None"
            )
        return self.clients_per_round or clients

    def rounds(self, epochs: int, clients: int) -> int:
        """Return how many rounds a training set takes, so that a client makes so many passes on average."""
        return max(1, round(epochs * clients / (self.drawn(clients) * self.local_epochs)))
