"""Reconstruct training images from the weights of a network that was trained to separate two classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam

from memaudit.errors import ModelError

Array = np.ndarray

_SHARPNESS = 100.0  # of the smooth step that replaces the derivative of a ReLU
_PRIOR = 1.0


def reconstruct(
    network: nn.Module,
    shape: tuple[int, ...],
    count: int,
    *,
    steps: int = 10_000,
    lr: float = 0.02,
    lr_weights: float = 0.002,
    least: float = 0.05,
    scale: float = 0.1,
    bounds: tuple[float, float] = (-1.0, 1.0),
    seed: int = 0,
) -> Float[Array, "count ..."]:
    """Return images that explain a network's weights; some of them are training images.

    A homogeneous network (ReLU, no bias after the first layer) that is trained long enough with the logistic loss ends,
    up to scale, at a stationary point of the largest margin. Its weights are then a sum over training images,

        θ = Σ λ_i y_i ∇_θ Φ(θ; x_i),   λ_i ≥ 0, and 0 unless x_i is on the margin.

    Images x_i and weights λ_i are sought that make the two sides equal, half of them of each class. The loss is
    ‖θ − Σ λ_i y_i ∇_θ Φ(θ; x_i)‖², with penalties for weights below `least` and for pixels out of bounds.

    Args:
        network: Returns one logit per image, larger = class 1; `[images]` or `[images, 1]`.
        shape: Of an image. Images are as the network was trained on them; centred ones work best.
        count: Images to seek; about twice as many as were trained on.
        steps: Of gradient descent.
        lr: Learning rate of the images.
        lr_weights: Learning rate of λ.
        least: λ below which a penalty begins, so that all images stay in use.
        scale: Standard deviation of the images at the start.
        bounds: Of a pixel.
        seed: Of the start.

    Raises:
        ModelError: The network returns something else than one logit per image, or nothing converges.

    Source: Haim, Vardi, Yehudai, Shamir & Irani 2022 (NeurIPS), "Reconstructing Training Data from Trained Neural
    Networks", with ReLUs that have a smooth derivative; Lyu & Li 2020.
    """
    random = torch.Generator().manual_seed(seed)
    parameters = [p for p in network.parameters() if p.requires_grad]
    like = parameters[0].detach()
    x = (scale * torch.randn(count, *shape, generator=random)).to(like).requires_grad_()
    weight = (0.1 * torch.rand(count, generator=random)).to(like).requires_grad_()
    signs = torch.where(torch.arange(count) % 2 == 0, 1.0, -1.0).to(like)
    target = [p.detach().clone() for p in parameters]
    search = Adam([{"params": [x], "lr": lr}, {"params": [weight], "lr": lr_weights}])
    with _smooth(network):
        for _ in range(steps):
            total = (weight * signs * _logits(network, x)).sum()
            made = torch.autograd.grad(total, parameters, create_graph=True)
            loss = torch.stack([(a - b).square().sum() for a, b in zip(target, made, strict=True)]).sum()
            loss = loss + functional.relu(least - weight).sum() + _PRIOR * _outside(x, bounds)
            if not torch.isfinite(loss):
                raise ModelError(f"the reconstruction does not converge: choose lr below {lr:g}, or lr_weights")
            x.grad, weight.grad = torch.autograd.grad(loss, [x, weight])
            search.step()
    return x.detach().cpu().numpy()


def stationarity(
    network: nn.Module, x: Tensor, y: Tensor, steps: int = 2_000
) -> tuple[float, Float[Array, " examples"]]:
    """Return how far a network is from a stationary point of the margin, and λ of its training images.

    The distance is ‖θ − Σ λ_i y_i ∇_θ Φ(θ; x_i)‖ / ‖θ‖ for the best λ ≥ 0: 0 at such a point, 1 if nothing explains the
    weights. Above about 0.5, a reconstruction shows little.

    Args:
        network: As for `reconstruct`.
        x: The training images.
        y: Their classes, 0 or 1.
        steps: Of projected gradient descent.

    Source: Lyu & Li 2020, the KKT conditions of the largest margin; by non-negative least squares.
    """
    from scipy.optimize import nnls

    parameters = [p for p in network.parameters() if p.requires_grad]
    rows = []
    for sign, logit in zip((2 * y - 1).tolist(), _logits(network, x), strict=True):
        found = torch.autograd.grad(sign * logit, parameters, retain_graph=True)
        rows.append(torch.cat([part.flatten() for part in found]).double().cpu().numpy())
    theta = torch.cat([p.detach().flatten() for p in parameters]).double().cpu().numpy()
    gram = np.stack(rows)
    # the distance of θ to its projection, by a triangular factor of few rows
    q, r = np.linalg.qr(gram.T)
    weights, rest = nnls(r, q.T @ theta, maxiter=steps)
    outside = max(float(theta @ theta - (q.T @ theta) @ (q.T @ theta)), 0.0)
    return float(np.sqrt(rest**2 + outside) / np.linalg.norm(theta)), weights


def _logits(network: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = network(x)
    if found.shape not in ((len(x),), (len(x), 1)):
        raise ModelError(f"the network returned shape {list(found.shape)}; expected one logit per image, [{len(x)}]")
    return found.reshape(len(x))


def _outside(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    low, high = bounds
    return (functional.relu(x - high) + functional.relu(low - x)).sum()


@contextmanager
def _smooth(network: nn.Module) -> Iterator[None]:
    """Give ReLUs a smooth derivative meanwhile: with a step, no gradient says which of them to switch."""
    relus = [module for module in network.modules() if isinstance(module, nn.ReLU)]
    hooks = [module.register_forward_hook(_smoothed) for module in relus]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _smoothed(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    smooth = functional.softplus(inputs[0], beta=_SHARPNESS)
    return output.detach() + smooth - smooth.detach()
