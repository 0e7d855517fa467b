"""A small convolutional network on 10,000 images of Fashion-MNIST."""

from pathlib import Path

from torch import nn
from torch.utils.data import Subset
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor

import memaudit as ma


def examples():
    images = FashionMNIST(Path(__file__).parent / "data", train=True, download=True, transform=ToTensor())
    return ma.Examples.from_dataset(Subset(images, range(10_000)))


def model():
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


recipe = ma.ClassifierRecipe(
    examples,
    model,
    epochs=12,
    batch_size=64,
    optimizer=ma.SGD(lr=0.05, momentum=0.9),
    schedule="cosine",
    augment=ma.flip,
    queries=(ma.mirror,),
)
