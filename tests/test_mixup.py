"""Mixup: the update by hand with mixed labels, the law of the weights, and what it cannot do."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest
from torch import nn

import memaudit as ma
from memaudit.errors import RecipeError
from memaudit.recipe import fingerprint
from memaudit.training.classifier import train_classifier

Array = np.ndarray
COUNT, CLASSES = 12, 3
LABELS = np.arange(COUNT) % CLASSES


def examples() -> ma.Examples:
    return ma.Examples(np.eye(COUNT, dtype=np.float32), LABELS)


class Recorded(nn.Module):
    """A linear layer that starts at 0 and keeps what it is shown: each row names who was mixed, and by how much."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.shown = nn.Linear(COUNT, CLASSES), list[Array]()
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.shown.append(x.detach().numpy().copy())
        found: torch.Tensor = self.layer(x)
        return found


RECIPE = ma.ClassifierRecipe(examples, Recorded, epochs=1, batch_size=COUNT, optimizer=ma.SGD(lr=0.3), mixup=0.4)


def trained(recipe: ma.ClassifierRecipe, seed: int = 0) -> Recorded:
    own = recipe.examples()
    found = train_classifier(recipe, torch.as_tensor(own.x), torch.as_tensor(own.y), np.ones(COUNT, np.uint8), seed)
    assert isinstance(found, Recorded)
    return found


def test_one_step_is_the_update_by_hand_with_mixed_labels() -> None:
    """The gradient of the cross-entropy with the labels mixed as the inputs are: Equation 1 of Zhang et al. 2018."""
    network = trained(RECIPE)
    mixture = network.shown[0].astype(float)
    np.testing.assert_allclose(mixture.sum(axis=1), 1, atol=1e-6)
    assert ((mixture > 0).sum(axis=1) <= 2).all() and (mixture.max(axis=1) < 1).any()
    labels = mixture @ np.eye(CLASSES)[LABELS]
    gradient = (np.full((COUNT, CLASSES), 1 / CLASSES) - labels).T @ mixture / COUNT
    np.testing.assert_allclose(network.layer.weight.detach().numpy(), -0.3 * gradient, atol=1e-6)


def test_weights_have_the_law_of_beta_and_are_one_a_batch() -> None:
    network = trained(replace(RECIPE, epochs=400))
    weights = []
    for mixture in network.shown:
        shares = mixture.max(axis=1)[(mixture > 0).sum(axis=1) == 2]
        if len(shares):
            np.testing.assert_allclose(shares, shares[0], atol=1e-5)
            weights.append(float(shares[0]))
    law = beta(0.4, 0.4)  # the larger of λ and 1 − λ, whose law is that of λ given λ ≥ ½
    assert kstest(weights, lambda x: 2 * law.cdf(x) - 1).pvalue > 1e-3


def test_the_seed_decides_the_mixtures() -> None:
    one, again, other = (trained(RECIPE, seed).shown[0] for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_without_mixup_training_and_fingerprint_are_as_before() -> None:
    plain = replace(RECIPE, mixup=0.0)
    assert ((trained(plain).shown[0] > 0).sum(axis=1) == 1).all()
    lines = [fingerprint(recipe, examples(), 0) for recipe in (plain, RECIPE)]
    assert "recipe.mixup" not in lines[0] and lines[1]["recipe.mixup"] == "0.4"


def test_what_cannot_be_mixed_is_refused() -> None:
    with pytest.raises(RecipeError, match="DP-SGD excludes it"):
        replace(RECIPE, privacy=ma.DPSGD(1.0, 1.0))
    with pytest.raises(RecipeError, match="a number above 0"):
        replace(RECIPE, mixup=-0.1)
    whole = replace(RECIPE, examples=lambda: ma.Examples(np.eye(COUNT, dtype=np.int64), LABELS))
    with pytest.raises(RecipeError, match="whole numbers"):
        trained(whole)
