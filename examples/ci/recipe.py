"""A small network on scikit-learn's 1,797 handwritten digits, trained briefly and with weight decay."""

import numpy as np
from sklearn.datasets import load_digits
from torch import nn

import memaudit as ma


def examples():
    images, labels = load_digits(return_X_y=True)
    return ma.Examples((images / 16).astype(np.float32), labels)


def model():
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


recipe = ma.ClassifierRecipe(
    examples,
    model,
    epochs=20,
    batch_size=50,
    optimizer=ma.SGD(lr=0.1, weight_decay=0.01),
)
