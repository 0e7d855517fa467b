"""How the model is trained: data, network, training. memaudit trains its shadow models with it."""

import numpy as np
from sklearn.datasets import load_digits
from torch import nn

import memaudit as ma


def examples():
    """Return the training set and about as many held-out examples."""
    images, labels = load_digits(return_X_y=True)
    return ma.Examples((images / 16).astype(np.float32).reshape(-1, 1, 8, 8), labels)


def model():
    """Return an untrained network."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


recipe = ma.ClassifierRecipe(
    examples,
    model,
    epochs=100,
    batch_size=50,
    optimizer=ma.SGD(lr=0.1, momentum=0.9),
    schedule="cosine",
)
