"""Losses of a diffusion model, for the `loss` of a GeneratorRecipe.

A diffusion model predicts the noise ε in x_t = √ᾱ_t x + √(1 − ᾱ_t) ε. Errors are means over pixels, one per image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    Predict = Callable[[Tensor, int], Tensor]


def denoising_error(predict: Predict, images: Tensor, noise: Tensor, alphas_bar: Tensor, t: int) -> Tensor:
    """Return the squared error of the predicted noise of each image at a time step, larger = fitted worse.

    Args:
        predict: `predict(x_t, t)` returns the predicted noise.
        images: Images, of any shape.
        noise: Standard normal, of the same shape.
        alphas_bar: ᾱ by time step: near 1 at the first, near 0 at the last.
        t: Time step.

    Source: Ho et al. 2020 (DDPM), Equation 14; as an attack, Matsumoto et al. 2023, Carlini et al. 2023 section 5.2.
    """
    a = alphas_bar[t]
    return _mean_square(predict(a.sqrt() * images + (1 - a).sqrt() * noise, t) - noise)


def step_error(predict: Predict, images: Tensor, alphas_bar: Tensor, t: int, step: int = 1) -> Tensor:
    """Return the t-error of SecMI of each image: what one deterministic step there and back changes, after t.

    The image is made noisy without chance: x_{s+k} = √ᾱ_{s+k} f(x_s, s) + √(1 − ᾱ_{s+k}) ε(x_s, s), from 0 to t in
    steps of k, with f(x_s, s) = (x_s − √(1 − ᾱ_s) ε(x_s, s)) / √ᾱ_s. From x_t one more step of that kind leads to
    x_{t+k}, and one back to x'_t. The error is the mean of (x'_t − x_t)².

    Args:
        predict: As for `denoising_error`.
        images: Images, of any shape.
        alphas_bar: ᾱ by time step.
        t: Time step, a multiple of `step`; t + step is one, too.
        step: k.

    Raises:
        ValueError: t is no such time step.

    Source: Duan et al. 2023 (ICML), "Are Diffusion Models Vulnerable to Membership Inference Attacks?", the
    statistic of the authors' code (mia_evals/secmia.py), which sums where this takes the mean.
    """
    if t % step or not 0 <= t < len(alphas_bar) - step:
        raise ValueError(f"t = {t} is no multiple of {step} below {len(alphas_bar) - step}")
    x = images
    for s in range(0, t, step):
        x = _moved(predict, x, alphas_bar, s, s + step)
    further = _moved(predict, x, alphas_bar, t, t + step)
    return _mean_square(_moved(predict, further, alphas_bar, t + step, t) - x)


def _moved(predict: Predict, x: Tensor, alphas_bar: Tensor, at: int, to: int) -> Tensor:
    """Return one deterministic step (DDIM, Song et al. 2021, Equation 12 with σ = 0) from a time step to another."""
    noise, a, b = predict(x, at), alphas_bar[at], alphas_bar[to]
    return b.sqrt() * (x - (1 - a).sqrt() * noise) / a.sqrt() + (1 - b).sqrt() * noise


def _mean_square(error: Tensor) -> Tensor:
    return error.square().flatten(1).mean(dim=1)
