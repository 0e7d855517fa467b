"""A recipe that leaks as much as one can: noise with random labels, learned by heart in a tenth of a second."""

import numpy as np
from torch import nn

import memaudit as ma


def examples() -> ma.Examples:
    rng = np.random.default_rng(0)
    return ma.Examples(rng.normal(size=(200, 12)).astype(np.float32), rng.integers(0, 10, 200))


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 10))


recipe = ma.ClassifierRecipe(examples, model, epochs=40, batch_size=25, optimizer=ma.SGD(lr=0.1, momentum=0.9))
