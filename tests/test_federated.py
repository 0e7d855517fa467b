"""ClassifierRecipe(federated=FedAvg(...)): against the algorithm by hand, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import memaudit as ma
from memaudit.errors import RecipeError
from memaudit.recipe import fingerprint
from memaudit.signals.observing import observer_of, watched
from memaudit.training.classifier import train_classifier
from memaudit.whatif.remedies import REMEDIES

Array = np.ndarray

SIZES = (3, 5, 8, 4, 6, 4)  # of the clients; 30 examples


def examples(groups: Any = None) -> ma.Examples:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 4)).astype(np.float32), rng.integers(0, 3, 30)
    return ma.Examples(x, y, groups=np.repeat(range(6), SIZES) if groups is None else groups, unit="clients")


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))


def of(drawn: int | None = None, local: int = 1, **changes: Any) -> ma.ClassifierRecipe:
    """Return a recipe whose batches are whole clients."""
    recipe = ma.ClassifierRecipe(
        examples, network, epochs=4, batch_size=64, optimizer=ma.SGD(lr=0.3), federated=ma.FedAvg(drawn, local)
    )
    return replace(recipe, **changes)


def members(*clients: int) -> Array:
    return np.isin(examples().unit_of, clients)


def weights(model: Any) -> Array:
    return np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])


def trained(recipe: ma.ClassifierRecipe, inside: Array, seed: int = 3) -> Array:
    return weights(ma.train(recipe, inside, seed=seed, device="cpu"))


def phi(bank: ma.Bank) -> Array:
    return bank.read().stacked("phi")


def started(seed: int) -> list[Array]:
    torch.manual_seed(seed)
    return [p.detach().numpy().astype(np.float64) for p in network().parameters()]


def step(at: list[Array], x: Array, y: Array, rate: float) -> list[Array]:
    """Return the parameters after a step on the mean cross-entropy, its gradient written out."""
    w, b, v, c = at
    hidden = np.tanh(x @ w.T + b)
    odds = hidden @ v.T + c
    p = np.exp(odds - odds.max(axis=1, keepdims=True))
    out = (p / p.sum(axis=1, keepdims=True) - np.eye(3)[y]) / len(y)
    back = (out @ v) * (1 - hidden**2)
    return [p - rate * g for p, g in zip(at, (back.T @ x, back.sum(0), out.T @ hidden, out.sum(0)), strict=True)]


def flat(of: list[Array]) -> Array:
    return np.concatenate([p.ravel() for p in of])


def averaged(seed: int, chosen: list[list[int]], local: int, rates: list[float]) -> Array:
    """Oracle: each round, every chosen client takes its steps from the server's network; then the weighted mean."""
    data, server = examples(), started(seed)
    for clients, rate in zip(chosen, rates, strict=True):
        new, total = [np.zeros_like(p) for p in server], sum(SIZES[c] for c in clients)
        for client in clients:
            own, mine = server, data.unit_of == client
            for _ in range(local):
                own = step(own, data.x[mine].astype(np.float64), data.y[mine], rate)
            new = [n + SIZES[client] / total * p for n, p in zip(new, own, strict=True)]
        server = new
    return flat(server)


def test_all_clients_with_one_step_each_are_gradient_descent() -> None:
    inside, at = members(0, 2, 3, 5), started(3)
    data = examples()
    for _ in range(4):
        at = step(at, data.x[inside].astype(np.float64), data.y[inside], 0.3)
    np.testing.assert_allclose(trained(of(), inside), flat(at), atol=1e-5)
    central = trained(of(federated=None), inside)
    np.testing.assert_allclose(trained(of(), inside), central, atol=1e-5)


def test_one_client_that_has_everything_is_sgd() -> None:
    """A single round is then the training of the central loop from the same network, with the client's seed."""
    inside, recipe = members(2), of(1, local=4, batch_size=3)
    rng = np.random.default_rng(3)
    rng.choice(np.array([2]), 1, replace=False)
    seed = int(rng.integers(2**63, size=1)[0])
    torch.manual_seed(3)
    data = examples()
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    central = train_classifier(replace(recipe, federated=None), x, y, inside.astype(np.uint8), seed, network())
    np.testing.assert_allclose(trained(recipe, inside), weights(central), atol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_local_steps_are_averaged_by_the_number_of_examples(schedule: Any) -> None:
    inside, clients = members(0, 1, 2, 4), [0, 1, 2, 4]
    rates = [0.3, 0.3] if schedule == "constant" else [0.3, 0.15]  # two rounds of two local epochs
    expected = averaged(3, [clients] * 2, 2, rates)
    np.testing.assert_allclose(trained(of(local=2, schedule=schedule), inside), expected, atol=1e-5)
    alike = averaged(3, [clients] * 2, 1, rates)
    assert np.abs(expected - alike).max() > 0.01


def test_a_round_draws_clients_uniformly_and_uses_no_others() -> None:
    """Three of four, in a single round: each of the four sets is drawn in about a quarter of the trainings."""
    clients, data = [0, 1, 3, 5], examples()
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    inside, recipe = members(*clients).astype(np.uint8), of(3, epochs=1)
    sets = [[client for client in clients if client != out] for out in clients]
    expected = np.stack([averaged(3, [chosen], 1, [0.3]) for chosen in sets])
    counts = np.zeros(4)
    for seed in range(80):
        torch.manual_seed(3)
        start = network()
        found = train_classifier(recipe, x, y, inside, seed, start, clients=data.unit_of)
        distances = np.abs(weights(found) - expected).max(axis=1)
        assert (distances < 1e-5).sum() == 1
        counts[distances.argmin()] += 1
    assert ((counts - 20) ** 2 / 20).sum() < 16.3  # chi-square, 3 degrees of freedom: false alarm in 0.1 %


def test_training_is_repeatable_and_depends_on_the_seed() -> None:
    recipe, inside = of(2, local=2, batch_size=2), members(0, 1, 2, 4)
    np.testing.assert_array_equal(trained(recipe, inside), trained(recipe, inside))
    assert np.abs(trained(recipe, inside) - trained(recipe, inside, 4)).max() > 0.01


def test_rounds_make_the_expected_number_of_passes() -> None:
    assert ma.FedAvg(10, 2).rounds(epochs=20, clients=50) == 50
    assert ma.FedAvg(None, 5).rounds(epochs=20, clients=50) == 4
    assert ma.FedAvg(7).rounds(epochs=1, clients=10) == 1


def test_counters_stay_and_running_statistics_are_averaged() -> None:
    normed = of(model=lambda: torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 3)), epochs=1)
    model: Any = ma.train(normed, members(0, 2), seed=1, device="cpu")
    data = examples()
    means = [data.x[data.unit_of == client].mean(0) for client in (0, 2)]
    expected = 0.1 * (3 * means[0] + 8 * means[1]) / 11
    np.testing.assert_allclose(model[0].running_mean.numpy(), expected, atol=1e-6)
    assert int(model[0].num_batches_tracked) == 0


def test_copies_weigh_as_often_as_they_count() -> None:
    """A client that is in the training set twice is one of twice the size."""
    data, recipe = examples(), of()
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    counts = np.where(members(0), 2, members(1)).astype(np.uint8)
    torch.manual_seed(3)
    model = train_classifier(recipe, x, y, counts, 3, network(), clients=data.unit_of)
    at = started(3)
    for _ in range(4):
        both = [step(at, data.x[members(c)].astype(np.float64), data.y[members(c)], 0.3) for c in (0, 1)]
        at = [6 / 11 * a + 5 / 11 * b for a, b in zip(*both, strict=True)]
    np.testing.assert_allclose(weights(model), flat(at), atol=1e-5)


def test_observing_sees_the_servers_network_and_changes_nothing() -> None:
    recipe, inside = of(2, batch_size=2, observe=ma.Observe(4)), members(0, 1, 2, 4)
    with watched(observer_of(recipe, examples())) as observer:
        model = ma.train(recipe, inside, seed=1, device="cpu")
        seen = observer.of(model)
    assert seen is not None and list(seen.epochs) == [1, 2, 3, 4]
    np.testing.assert_array_equal(weights(model), trained(of(2, batch_size=2, observe=ma.Observe(0)), inside, 1))


def test_the_fingerprint_has_it_and_only_where_it_is() -> None:
    plain, one, other = (fingerprint(recipe, examples(), 0) for recipe in (of(federated=None), of(2), of(3)))
    assert "recipe.federated" not in plain
    assert one["recipe.federated"] == "FedAvg(clients_per_round=2, local_epochs=1)" != other["recipe.federated"]


def test_what_cannot_be_federated_is_refused(tmp_path: Path) -> None:
    alone = replace(of(), examples=lambda: examples(range(30)))
    with pytest.raises(RecipeError, match="groups of examples are the clients"):
        ma.fill(tmp_path / "bank", alone, shadows=2, device="cpu")
    with pytest.raises(RecipeError, match="clients_per_round = 4, and a training set has 2 clients"):
        ma.train(of(4), members(0, 1), device="cpu")
    with pytest.raises(RecipeError, match="local_epochs = 5 is more than the whole training's 4"):
        of(local=5)
    with pytest.raises(RecipeError, match="two training loops"):
        of(privacy=ma.DPSGD(1.0, 1.0))
    for wrong in ({"clients_per_round": 0}, {"local_epochs": 1.5}, {"clients_per_round": True}):
        with pytest.raises(RecipeError, match="whole number of at least 1"):
            ma.FedAvg(**wrong)
    with pytest.raises(RecipeError, match="round 2 of 4, at a client: training diverged"):
        ma.train(of(optimizer=ma.SGD(lr=float("inf"))), members(0, 1), device="cpu")


def test_packs_leave_it_alone(tmp_path: Path) -> None:
    bank = ma.fill(tmp_path / "bank", of(2), shadows=4, device="cpu", pack=2)
    assert "alone" in bank.record(0)
    other = ma.fill(tmp_path / "other", of(2), shadows=4, device="cpu")
    np.testing.assert_array_equal(phi(bank), phi(other))


def test_it_is_a_remedy(tmp_path: Path) -> None:
    """Under the same training sets, by client; a bank of children is trained further in the same way."""
    assert REMEDIES["federated"] is ma.remedies.Federated
    base = of(federated=None)
    assert ma.remedies.Federated(2, 2).recipe(base) == of(2, 2)
    found = ma.compare_variants(
        base, [ma.Variant("federated", ma.remedies.Federated(2))], tmp_path, shadows=8, fpr=0.2, device="cpu"
    )
    assert "federated" in str(found)


def test_continued_training_is_federated_too(tmp_path: Path) -> None:
    bank = ma.fill(tmp_path / "bank", of(2), shadows=2, device="cpu")
    further = ma.Derivation(ma.derivations.ContinueTraining(of(2), 1), data="members")
    children = ma.derive(tmp_path / "children", bank, of(2), further, shadows=2, device="cpu")
    assert np.abs(phi(children) - phi(bank)).max() > 1e-3
