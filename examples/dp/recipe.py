"""Differentially private training on digits with mislabeled canaries: `recipe_1`, `recipe_8`, and `recipe` without."""

import math

import numpy as np
import torch.nn as nn
from sklearn.datasets import load_digits

import memaudit as ma

EPOCHS, BATCH = 30, 320
NOISE = {1: 13.0, 8: 2.3}  # of the gradients, by the ε that it gives at δ = 1e-5


def examples() -> ma.Examples:
    digits = load_digits()
    plain = ma.Examples((digits.data / 16).astype(np.float32), digits.target)
    return ma.classifier_canaries(plain, mislabeled=300)


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def recipe_of(epsilon: float) -> ma.ClassifierRecipe:
    """The recipe for an ε; for infinity, plain SGD of the same length, which promises nothing."""
    private = ma.DPSGD(noise_multiplier=NOISE[epsilon], max_grad_norm=1.0) if epsilon < math.inf else None
    rate = 2.0 if private else 0.5
    return ma.ClassifierRecipe(
        examples, model, epochs=EPOCHS, batch_size=BATCH, optimizer=ma.SGD(lr=rate, momentum=0.9), privacy=private
    )


recipe, recipe_1, recipe_8 = recipe_of(math.inf), recipe_of(1), recipe_of(8)
