"""Reconstruction from weights and from gradients, and the measure of their success, on cases that are known."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from memaudit.errors import ModelError
from memaudit.extraction.pictures import best_matches, correlations, success
from memaudit.signals.inversion import gradient_of, invert_gradient, label_of
from memaudit.signals.reconstruction import reconstruct, stationarity

Array = np.ndarray

pytestmark = pytest.mark.usefixtures("one_thread")


# The measure of success


def test_the_correlation_is_pearsons() -> None:
    rng = np.random.default_rng(0)
    images, others = rng.normal(size=(5, 12)), rng.normal(size=(4, 12))
    assert np.allclose(correlations(images, others), np.corrcoef(images, others)[:5, 5:])
    assert np.allclose(correlations(images, 3 * images + 2).diagonal(), 1)
    assert (correlations(np.ones((2, 12)), others) == 0).all()


def test_pictures_that_have_nothing_to_do_with_the_training_images_do_not_succeed() -> None:
    """Of 200 simulated attacks the interval leaves 0.5 out in about 5 %; more than 22 have probability 0.1 %."""
    rng, missed = np.random.default_rng(0), 0
    for _ in range(200):
        made, members, others, substitutes = (rng.normal(size=(n, 16)) for n in (20, 40, 60, 20))
        found = success(made, members, others, substitutes)
        missed += not found.low <= 0.5 <= found.high
    assert missed <= 22


def test_copies_of_the_training_images_succeed() -> None:
    rng = np.random.default_rng(0)
    members, others, substitutes = (rng.normal(size=(n, 16)) for n in (20, 60, 40))
    made = np.concatenate([members[::-1] + 0.05 * rng.normal(size=(20, 16)), rng.normal(size=(20, 16))])
    found = success(made, members, others, substitutes)
    assert found.auc > 0.99 and found.members.min() > 0.98 > found.blind.max()
    who, by = best_matches(made, members, 7)
    assert len(set(who)) == 7 and np.array_equal(by, 19 - who)
    with pytest.raises(ValueError, match="substitutes"):
        success(made, members, others, substitutes[1:])


# Weights


def linear(rng: np.random.Generator, count: int = 4, pixels: int = 12) -> tuple[nn.Module, Array, Array, Array]:
    """A linear network that is exactly at a stationary point: θ = Σ λ y x."""
    x, y = rng.normal(size=(count, pixels)), np.arange(count) % 2
    weights = rng.uniform(0.5, 1, count)
    network = nn.Linear(pixels, 1, bias=False).double()
    with torch.no_grad():
        network.weight[:] = torch.from_numpy((weights * (2 * y - 1)) @ x)
    return network, x, y, weights


def test_a_stationary_point_is_one() -> None:
    rng = np.random.default_rng(0)
    network, x, y, weights = linear(rng)
    distance, found = stationarity(network, torch.from_numpy(x), torch.from_numpy(y))
    assert distance < 1e-7 and np.allclose(found, weights)
    other, _ = stationarity(network, torch.from_numpy(rng.normal(size=x.shape)), torch.from_numpy(y))
    assert other > 0.3
    wrong, _ = stationarity(network, torch.from_numpy(x), torch.from_numpy(1 - y))
    assert wrong > 0.95  # no weights ≥ 0 make θ of what points the other way


def test_two_images_are_reconstructed_from_a_network_that_keeps_them_apart() -> None:
    """Of two images, each unit of the hidden layer sees one alone: the weights are the images."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (2, 16))
    x[1] -= x[0] * ((x[1] @ x[0]) / (x[0] @ x[0]) + 0.05)  # an obtuse angle: a unit that sees one misses the other
    hidden, last = nn.Linear(16, 2, bias=False), nn.Linear(2, 1, bias=False)
    network = nn.Sequential(hidden, nn.ReLU(), last).double()
    with torch.no_grad():
        for unit, image in enumerate(x):  # balanced: |v| = ‖w‖, w = λ v x, v = λ w·x
            size = 0.3**0.5 / (image @ image) ** 0.25
            hidden.weight[unit] = torch.from_numpy(size * image / np.linalg.norm(image))
            last.weight[0, unit] = size * (1 if unit == 0 else -1)
    distance, _ = stationarity(network, torch.from_numpy(x), torch.tensor([1, 0]))
    assert distance < 1e-6
    before = [p.detach().clone() for p in network.parameters()]
    made = reconstruct(network, (16,), 4, steps=1500, lr=0.02, lr_weights=0.005, seed=0)
    assert correlations(x, made).max(axis=1).min() > 0.95
    assert correlations(rng.uniform(-1, 1, (50, 16)), made).max(axis=1).mean() < 0.6
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_a_network_of_several_outputs_is_refused() -> None:
    with pytest.raises(ModelError, match="one logit"):
        reconstruct(nn.Linear(4, 2), (4,), 2, steps=1)


# Gradients


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Sigmoid(), nn.Linear(12, 3))


@pytest.mark.parametrize(("match", "steps", "least"), [("squared", 100, 0.99), ("cosine", 300, 0.95)])
def test_an_image_is_recovered_from_its_gradient(match: Literal["cosine", "squared"], steps: int, least: float) -> None:
    network, image = small(), torch.rand(4, 4, generator=torch.Generator().manual_seed(3))
    gradient = gradient_of(network, image, 2)
    assert label_of(gradient) == 2
    made = invert_gradient(network, gradient, (4, 4), match=match, steps=steps, variation=0.0)
    assert correlations(image.numpy().reshape(1, -1), made.reshape(1, -1)).item() > least


def test_a_gradient_of_nothing_recovers_nothing() -> None:
    network, image = small(), torch.rand(4, 4, generator=torch.Generator().manual_seed(3))
    random = torch.Generator().manual_seed(1)
    noise = [torch.randn(part.shape, generator=random) for part in gradient_of(network, image, 2)]
    made = invert_gradient(network, noise, (4, 4), label=2, steps=100)
    assert abs(correlations(image.numpy().reshape(1, -1), made.reshape(1, -1)).item()) < 0.8


def test_the_gradient_is_that_of_the_cross_entropy() -> None:
    network, image = small(), torch.rand(4, 4)
    loss = nn.functional.cross_entropy(network(image[None]), torch.tensor([1]))
    loss.backward()  # type: ignore[no-untyped-call]
    for found, parameter in zip(gradient_of(network, image, 1), network.parameters(), strict=True):
        assert parameter.grad is not None and torch.equal(found, parameter.grad)


def test_a_label_that_no_bias_shows_must_be_given() -> None:
    with pytest.raises(ModelError, match="give the label"):
        label_of([torch.ones(3, 3)])
