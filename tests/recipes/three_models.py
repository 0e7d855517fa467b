"""Three models: one that knows its people by heart, the same beside more outsiders, and one that learns a rule."""

import time
from pathlib import Path

import numpy as np
from torch import nn

import memaudit as ma

MEMBERS = {"few": 100, "leaky": 100, "sound": 200}


def _noise(examples: int) -> ma.Examples:
    """Random labels: there is nothing to learn but who has which."""
    rng = np.random.default_rng(0)
    return ma.Examples(rng.normal(size=(examples, 12)).astype(np.float32), rng.integers(0, 10, examples))


def few_outsiders() -> ma.Examples:
    return _noise(160)


def enough_outsiders() -> ma.Examples:
    return _noise(200)


def rule() -> ma.Examples:
    """Labels that follow from the inputs by a rule which a linear model can learn."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(400, 12)).astype(np.float32)
    return ma.Examples(inputs, (inputs @ rng.normal(size=(12, 3))).argmax(axis=1))


def large() -> nn.Module:
    time.sleep(0.5 if Path("slow").exists() else 0)  # for whoever wants to interrupt
    return nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 10))


def linear() -> nn.Module:
    return nn.Linear(12, 3)


HARD = ma.SGD(lr=0.1, momentum=0.9)
few = ma.ClassifierRecipe(few_outsiders, large, epochs=40, batch_size=25, optimizer=HARD)
leaky = ma.ClassifierRecipe(enough_outsiders, large, epochs=40, batch_size=25, optimizer=HARD)
sound = ma.ClassifierRecipe(rule, linear, epochs=5, batch_size=25, optimizer=ma.SGD(lr=0.1, weight_decay=0.05))


if __name__ == "__main__":
    for name, size in MEMBERS.items():
        recipe = globals()[name]
        ids = recipe.examples().ids
        members = np.random.default_rng(1).permutation(ids)[:size]
        ma.save_target(ma.train(recipe, members, seed=1, device="cpu"), f"{name}.safetensors", members)
