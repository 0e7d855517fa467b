"""A small diffusion model of handwritten digits, 8 × 8 pixels: DDPM with 50 steps and an MLP."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

import memaudit as ma

IMAGES, STEPS, EPOCHS, BATCH = 200, 50, 1000, 100
ALPHAS_BAR = torch.cumprod(1 - torch.linspace(1e-3, 0.2, STEPS), dim=0)


def digits():
    """Return the first images, in [−1, 1]."""
    return (load_digits().images[:IMAGES] / 8 - 1).astype(np.float32)


def planted():
    bases = (load_digits().images[IMAGES : IMAGES + 16] / 8 - 1).astype(np.float32)
    return ma.image_canaries(bases, references=63, size=3)


def examples():
    return ma.Examples(np.concatenate([digits(), planted().images]), task="generation")


class Denoiser(nn.Module):
    """Predicts the noise in flat images at a time step."""

    def __init__(self):
        super().__init__()
        self.time = nn.Embedding(STEPS, 64)
        self.layers = nn.Sequential(
            *(nn.Linear(128, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, 64)),
        )

    def forward(self, x, t):
        return self.layers(torch.cat([x, self.time(t)], dim=1))


def train(dataset, *, seed, device):
    model = Denoiser().to(device)
    x = torch.as_tensor(dataset.x).flatten(1).to(device)
    bars = ALPHAS_BAR.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        for batch in x[torch.randperm(len(x), device=device)].split(BATCH):
            t, noise = torch.randint(STEPS, (len(batch),), device=device), torch.randn_like(batch)
            a = bars[t, None]
            error = model(a.sqrt() * batch + (1 - a).sqrt() * noise, t) - noise
            optimizer.zero_grad()
            error.square().mean().backward()
            optimizer.step()
        schedule.step()
    return model


def predict(model):
    """Return the model as a function of images and a time step."""
    return lambda x, t: model(x.flatten(1), torch.full((len(x),), t, device=x.device)).view_as(x)


@torch.no_grad()
def sample(model, n, seed):
    random = torch.Generator().manual_seed(seed)
    noise_of, device = predict(model), model.time.weight.device
    x = torch.randn(n, 8, 8, generator=random).to(device)
    for t in reversed(range(STEPS)):
        a, before = ALPHAS_BAR[t], ALPHAS_BAR[t - 1] if t else torch.tensor(1.0)
        noise = noise_of(x, t)
        clean = ((x - (1 - a).sqrt() * noise) / a.sqrt()).clamp(-1, 1)
        spread = ((1 - before) / (1 - a) * (1 - a / before)).sqrt()
        x = before.sqrt() * clean + (1 - before - spread**2).clamp(min=0).sqrt() * noise
        x = x + spread * torch.randn(x.shape, generator=random).to(device)
    return x


@torch.no_grad()
def loss(model, images, noise, level):
    """Return the error of the predicted noise at a time step, or, at a negative one, the t-error of SecMI."""
    if level < 0:
        return ma.step_error(predict(model), images, ALPHAS_BAR.to(images.device), -level, 2)
    return ma.denoising_error(predict(model), images, noise, ALPHAS_BAR.to(images.device), level)


recipe = ma.GeneratorRecipe(
    examples, train, sample, loss, levels=(4, 10, 20, -10), draws=4, samples=1000, model=Denoiser, planted=planted
)
