"""Recover a training image from the gradient that it gave, as a server in federated learning could."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from memaudit.errors import ModelError

Array = np.ndarray


def gradient_of(network: nn.Module, image: Tensor, label: int) -> list[Tensor]:
    """Return the gradient of the cross-entropy of one image, as a participant would send it."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    loss = functional.cross_entropy(network(image[None]), torch.tensor([label], device=image.device))
    return [part.detach() for part in torch.autograd.grad(loss, parameters)]


def label_of(gradient: Sequence[Tensor]) -> int:
    """Return the label that a gradient of one image shows: the class whose bias in the last layer has a negative one.

    Raises:
        ModelError: The last parameter is no bias of a classifier.

    Source: Zhao et al. 2020 (iDLG), section 3.
    """
    last = gradient[-1]
    if last.ndim != 1 or int((last < 0).sum()) != 1:
        raise ModelError("the last parameter of the network must be the bias of a layer of classes; give the label")
    return int(last.argmin())


def invert_gradient(
    network: nn.Module,
    gradient: Sequence[Tensor],
    shape: tuple[int, ...],
    label: int | None = None,
    *,
    match: Literal["cosine", "squared"] = "cosine",
    variation: float = 1e-4,
    steps: int = 1_000,
    lr: float = 0.1,
    bounds: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
) -> Float[Array, "..."]:
    """Return the image whose gradient is nearest to a given one.

    `cosine` minimizes 1 − cos(∇ℓ(x), g) + `variation` · TV(x) by Adam on the signs of the gradient, within bounds.
    `squared` minimizes ‖∇ℓ(x) − g‖² by L-BFGS, without bounds; it needs activations that are smooth, such as a sigmoid.

    Args:
        network: The classifier, with the weights that the gradient was taken at.
        gradient: One tensor per parameter, as of `gradient_of`.
        shape: Of the image; total variation is over its last two axes.
        label: Of the image; by default what the gradient shows.
        match: What is minimized.
        variation: Weight of the total variation.
        steps: Of the search.
        lr: Its learning rate.
        bounds: Of a pixel.
        seed: Of the start.

    Source: Geiping et al. 2020 (NeurIPS), "Inverting Gradients"; Zhu et al. 2019 (NeurIPS), "Deep Leakage from
    Gradients" (squared), with the label of Zhao et al. 2020.
    """
    label = label_of(gradient) if label is None else label
    start = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=gradient[0].dtype)
    low, high = bounds
    x = (low + (high - low) * start).to(gradient[0].device).requires_grad_()
    parameters = [p for p in network.parameters() if p.requires_grad]
    labels = torch.tensor([label], device=x.device)

    def distance() -> Tensor:
        loss = functional.cross_entropy(network(x[None]), labels)
        made = torch.autograd.grad(loss, parameters, create_graph=True)
        pairs = list(zip(made, gradient, strict=True))
        if match == "squared":
            return torch.stack([(a - b).square().sum() for a, b in pairs]).sum()
        product = torch.stack([(a * b).sum() for a, b in pairs]).sum()
        one, two = (torch.stack([part.square().sum() for part in side]).sum() for side in (made, gradient))
        return 1 - product / (one * two).sqrt().clamp(min=torch.finfo(one.dtype).tiny) + variation * _variation(x)

    _by_lbfgs(x, distance, steps) if match == "squared" else _by_signs(x, distance, steps, lr, bounds)
    return x.detach().cpu().numpy()


def _by_signs(x: Tensor, distance: Callable[[], Tensor], steps: int, lr: float, bounds: tuple[float, float]) -> None:
    optimizer = torch.optim.Adam([x], lr)
    milestones = [round(steps * part) for part in (3 / 8, 5 / 8, 7 / 8)]  # the authors' code of Geiping et al. 2020
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        (x.grad,) = torch.autograd.grad(distance(), [x])
        x.grad.sign_()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            x.clamp_(*bounds)


def _by_lbfgs(x: Tensor, distance: Callable[[], Tensor], steps: int) -> None:
    optimizer = torch.optim.LBFGS([x], max_iter=steps, line_search_fn="strong_wolfe", tolerance_change=0.0)

    def closure() -> Tensor:
        found = distance()
        (x.grad,) = torch.autograd.grad(found, [x])
        return found.detach()

    optimizer.step(closure)  # type: ignore[no-untyped-call]


def _variation(x: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbouring pixels."""
    if x.ndim < 2:
        return x.new_zeros(())
    return (x[..., 1:, :] - x[..., :-1, :]).abs().mean() + (x[..., :, 1:] - x[..., :, :-1]).abs().mean()
