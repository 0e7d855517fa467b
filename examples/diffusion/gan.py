"""A small GAN of the same digits, whose discriminator is released with it: `--recipe gan.py:recipe`."""

import torch
from recipe import digits
from torch import nn
from torch.nn.functional import softplus

import memaudit as ma

EPOCHS, BATCH, LATENT = 400, 50, 16


def examples():
    return ma.Examples(digits(), task="generation")


class Gan(nn.Module):
    """A generator and a discriminator."""

    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(
            *(nn.Linear(LATENT, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 64), nn.Tanh())
        )
        self.discriminator = nn.Sequential(
            *(nn.Linear(64, 128), nn.LeakyReLU(0.2), nn.Linear(128, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1))
        )


def train(dataset, *, seed, device):
    model = Gan().to(device)
    x = torch.as_tensor(dataset.x).flatten(1).to(device)
    parts = (model.generator, model.discriminator)
    ours, theirs = (torch.optim.Adam(part.parameters(), lr=5e-4, betas=(0.5, 0.99)) for part in parts)
    for _ in range(EPOCHS):
        for batch in x[torch.randperm(len(x), device=device)].split(BATCH):
            made = model.generator(torch.randn(len(batch), LATENT, device=device))
            theirs.zero_grad()
            of_made = model.discriminator(made.detach())
            (softplus(-model.discriminator(batch)) + softplus(of_made)).mean().backward()
            theirs.step()
            ours.zero_grad()
            softplus(-model.discriminator(made)).mean().backward()
            ours.step()
    return model


@torch.no_grad()
def sample(model, n, seed):
    random = torch.Generator().manual_seed(seed)
    device = model.discriminator[0].weight.device
    return model.generator(torch.randn(n, LATENT, generator=random).to(device)).view(n, 8, 8)


@torch.no_grad()
def loss(model, images, noise, level):
    """Return −log of the probability that the discriminator gives to "real" (Hayes et al. 2019, LOGAN, white box)."""
    return softplus(-model.discriminator(images.flatten(1)))[:, 0]


recipe = ma.GeneratorRecipe(examples, train, sample, loss, samples=1000, model=Gan)
