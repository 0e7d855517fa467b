"""Reconstruct training images from the weights of a network that tells odd from even digits.

python reconstruct.py [--steps 3000]      writes reconstruction.png, prints the measure of success
"""

import argparse

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from memaudit.extraction.pictures import best_matches, success
from memaudit.signals.reconstruction import reconstruct, stationarity

TRAINED, WIDTH, EPOCHS, HELD_OUT = 30, 300, 20_000, 400
SOUGHT = 2 * TRAINED


def data():
    """Return images and classes that are trained on, images that are held out, and as many more as are sought."""
    digits = load_digits()
    images, odd = digits.images / 8 - 1, digits.target % 2
    order = np.random.default_rng(0).permutation(len(images))
    parts = np.split(order[: TRAINED + HELD_OUT + SOUGHT], [TRAINED, TRAINED + HELD_OUT])
    centre = images[parts[0]].mean(axis=0)
    return *(images[part] - centre for part in parts), odd[parts[0]], centre


def trained(images, classes):
    """Return a homogeneous network, trained from small weights until it is near a largest margin."""
    torch.manual_seed(0)
    layers = nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1, bias=False)
    network = nn.Sequential(nn.Flatten(), *layers).double()
    with torch.no_grad():
        layers[0].weight.mul_(1e-3)
        layers[0].bias.mul_(1e-3)
    x, y = torch.from_numpy(images), torch.from_numpy(classes).double()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(network(x)[:, 0], y).backward()
        optimizer.step()
    return network


def picture(members, made, centre, path, columns=10):
    """Draw the best reconstructions below the training images that they match."""
    import matplotlib.pyplot as plt

    flat = (of.reshape(len(of), -1) for of in (made, members))
    who, by = best_matches(*flat, columns)
    _, axes = plt.subplots(2, columns, figsize=(columns * 0.9, 2))
    for row, images in enumerate((members[who], made[by])):
        for axis, image in zip(axes[row], images, strict=True):
            axis.imshow(image + (centre if row == 0 else 0), cmap="gray")
            axis.axis("off")
    plt.savefig(path, dpi=70, bbox_inches="tight")


def main():
    """Train, reconstruct, and compare with what chance and other images give."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=3000)
    members, others, substitutes, classes, centre = data()
    network = trained(members, classes)
    distance, weights = stationarity(network, torch.from_numpy(members), torch.from_numpy(classes))
    print(f"Distance from a stationary point: {distance:.2f}; {int((weights > 0).sum())} of {TRAINED} on the margin.\n")
    made = reconstruct(network, (8, 8), SOUGHT, steps=parser.parse_args().steps)
    found = success(*(of.reshape(len(of), -1) for of in (made, members, others, substitutes)))
    print("| images | mean best correlation |\n| --- | --- |")
    print(f"| {TRAINED} training images, with the reconstructions | {found.members.mean():.3f} |")
    print(f"| {HELD_OUT} held-out images, with the reconstructions | {found.others.mean():.3f} |")
    print(f"| {TRAINED} training images, with {SOUGHT} other held-out images | {found.blind.mean():.3f} |")
    print(f"\nAUC, training against held-out images: {found.auc:.3f} (95 % CI {found.low:.3f}-{found.high:.3f}).")
    picture(members, made, centre, "reconstruction.png")


if __name__ == "__main__":
    main()
