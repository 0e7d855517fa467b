"""Recover digits from the gradients that they give, as a server in federated learning could.

python invert.py [--images 10]      writes inversion.png, prints the measure of success
"""

import argparse

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from memaudit.extraction.pictures import correlations
from memaudit.signals.inversion import gradient_of, invert_gradient


def model():
    """Return an untrained convolutional network with smooth activations."""
    return nn.Sequential(
        *(nn.Unflatten(1, (1, 8)), nn.Conv2d(1, 12, 3, padding=1), nn.Sigmoid()),
        *(nn.Conv2d(12, 12, 3, padding=1, stride=2), nn.Sigmoid(), nn.Flatten(), nn.Linear(192, 10)),
    )


def main():
    """Invert the gradients of some digits, and compare with the nearest of the other digits."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=10)
    count = parser.parse_args().images
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(images))
    own, others, labels = images[order[:count]], images[order[count:]], digits.target[order[:count]]
    torch.manual_seed(0)
    network, made = model(), {}
    for match, steps in (("squared", 150), ("cosine", 300)):
        gradients = (gradient_of(network, torch.from_numpy(x), int(y)) for x, y in zip(own, labels, strict=True))
        made[match] = np.stack([invert_gradient(network, g, (8, 8), match=match, steps=steps) for g in gradients])
    flat = {name: of.reshape(len(of), -1) for name, of in (made | {"own": own, "others": others}).items()}
    nearest = correlations(flat["own"], flat["others"])
    baselines = {"nearest other digit": nearest.max(axis=1), "random other digit": nearest[:, 0]}
    print("| recovered from | mean correlation with the true image | range |\n| --- | --- | --- |")
    for name in made:
        found = np.diag(correlations(flat["own"], flat[name]))
        print(f"| the gradient, {name} | {found.mean():.4f} | from {found.min():.4f} |")
    for name, found in baselines.items():
        print(f"| nothing: {name} | {found.mean():.4f} | up to {found.max():.4f} |")
    picture([own, made["squared"], made["cosine"], others[nearest.argmax(axis=1)]], "inversion.png")


def picture(rows, path):
    """Draw images, what was recovered, and the nearest other digits, below each other."""
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(len(rows), len(rows[0]), figsize=(len(rows[0]) * 0.9, len(rows) * 0.95))
    for line, images in zip(axes, rows, strict=True):
        for axis, image in zip(line, images, strict=True):
            axis.imshow(image, cmap="gray")
            axis.axis("off")
    plt.savefig(path, dpi=70, bbox_inches="tight")


if __name__ == "__main__":
    main()
