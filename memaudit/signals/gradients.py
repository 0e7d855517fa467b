"""Norms of the loss's gradient, in the parameters and in the inputs, and the input curvature, example by example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, grad, vmap

from memaudit.errors import ModelError
from memaudit.recipe import Examples
from memaudit.recipe.blame import blame
from memaudit.recipe.networks import answer_of, each, outputs_of
from memaudit.recipe.observe import Also
from memaudit.signals.example_losses import ExampleLosses
from memaudit.signals.network import Asked

Array = np.ndarray

_BATCH = 256
_NUMBERS = 2**25  # of gradients alive at a time: 128 MiB
_PROBES, _STEP = 10, 1e-3
_SEED = 0  # of the probes: the same at every look, so that looks and models can be compared


def norms(
    asked: Asked, examples: Examples, losses: ExampleLosses, also: Sequence[Also]
) -> dict[str, Float[Array, " examples"]]:
    """Return what is asked for, by name.

    gradient         ‖∇_θ ℓ‖₂ in the parameters that are trained (GraNd; Paul et al. 2021, NeurIPS)
    input_gradient   ‖∇_x ℓ‖₂ in the inputs that are floating-point numbers (Ravikumar et al. 2025, ICML: CSG sums its
                     square over training)
    curvature        √(mean of ‖∇_x ℓ(x + hv) − ∇_x ℓ(x)‖² / h²) over 10 Rademacher probes v, h = 10⁻³: Hutchinson's
                     estimate of the Frobenius norm of the loss's Hessian in the input (Garg & Roy 2023, CVPR, without
                     their square)

    Raises:
        ModelError: The loss cannot be differentiated in what it is asked for.
        RecipeError: The network's own code failed.
    """
    measures: dict[str, Callable[[Asked, Any, Tensor, ExampleLosses], Tensor]] = {
        "gradient": _in_parameters,
        "input_gradient": lambda *given: _length(_input_gradients(*given)),
        "curvature": _curvature,
    }
    found: dict[str, list[Tensor]] = {name: [] for name in also}
    for start in range(0, len(examples) if also else 0, _BATCH):
        rows = slice(start, min(start + _BATCH, len(examples)))
        labels = torch.from_numpy(examples.y[rows])
        y = (labels.float() if labels.is_floating_point() else labels).to(asked.device)  # some have no float64
        inputs = asked.inputs(rows)
        for name in also:
            with torch.enable_grad(), blame("differentiating the model"):
                found[name].append(measures[name](asked, inputs, y, losses).detach().float().cpu())
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def norms_by_parameter(asked: Asked, examples: Examples, losses: ExampleLosses) -> Float[Array, "examples parameters"]:
    """Return the norm of the loss's gradient in every parameter that is trained, in the order of the network's.

    Raises:
        ModelError: No parameter is trained.
        RecipeError: The network's own code failed.
    """
    parts = []
    for start in range(0, len(examples), _BATCH):
        rows = slice(start, min(start + _BATCH, len(examples)))
        y = torch.from_numpy(examples.y[rows]).to(asked.device)
        with torch.enable_grad(), blame("differentiating the model"):
            parts.append(_squares(asked, asked.inputs(rows), y, losses).sqrt().detach().float().cpu())
    return torch.cat(parts).numpy()


def _in_parameters(asked: Asked, inputs: Any, y: Tensor, losses: ExampleLosses) -> Tensor:
    """Return the norms of the gradients in all parameters together."""
    return _squares(asked, inputs, y, losses).sum(dim=1).sqrt()


def _squares(asked: Asked, inputs: Any, y: Tensor, losses: ExampleLosses) -> Tensor:
    """Return squared norms `[rows, parameters]` by one vectorised pass, or row by row where this cannot be applied."""
    network = asked.network
    trained = {name: p.detach() for name, p in network.named_parameters() if p.requires_grad}
    if not trained:
        raise ModelError("no parameter of the network is trained, so that there is no gradient in the parameters")

    def loss(parameters: dict[str, Tensor], row: Any, label: Tensor) -> Tensor:
        given = each(row, lambda part: part[None])
        answer = answer_of(partial(_called, network, parameters), given)
        return losses.loss(outputs_of(answer, asked.output), label[None])[0]

    def squares(parameters: dict[str, Tensor], row: Any, label: Tensor) -> Tensor:
        return torch.stack([g.square().sum() for g in grad(loss)(parameters, row, label).values()])

    chunk = max(1, _NUMBERS // sum(p.numel() for p in trained.values()))
    try:
        return vmap(squares, (None, 0, 0), chunk_size=chunk)(trained, inputs, y)
    except Exception:  # data-dependent control flow, an operation without a batching rule
        return torch.stack([squares(trained, each(inputs, itemgetter(row)), y[row]) for row in range(len(y))])


def _called(network: torch.nn.Module, parameters: dict[str, Tensor], *inputs: Any, **named: Any) -> Any:
    return functional_call(network, parameters, inputs, named)


def _curvature(asked: Asked, inputs: Any, y: Tensor, losses: ExampleLosses) -> Tensor:
    random = torch.Generator().manual_seed(_SEED)

    def moved(part: Tensor) -> Tensor:
        if not part.is_floating_point():
            return part
        sign = torch.randint(0, 2, part.shape[1:], generator=random) * 2 - 1
        return part + _STEP * sign.to(part)

    here = _input_gradients(asked, inputs, y, losses)
    squares = torch.zeros(len(y), device=y.device)
    for _ in range(_PROBES):
        there = _input_gradients(asked, each(inputs, moved), y, losses)
        squares += _length([b - a for a, b in zip(here, there, strict=True)]).square()
    return (squares / _PROBES).sqrt() / _STEP


def _input_gradients(asked: Asked, inputs: Any, y: Tensor, losses: ExampleLosses) -> list[Tensor]:
    """Return the gradient of each row's loss in each floating-point part of its input."""
    parts: list[Tensor] = []

    def traced(part: Tensor) -> Tensor:
        if not part.is_floating_point():
            return part
        parts.append(part.detach().requires_grad_())
        return parts[-1].clone()  # which the network may change in place

    loss = losses.loss(outputs_of(answer_of(asked.network, each(inputs, traced)), asked.output), y).sum()
    if not parts or not loss.requires_grad:
        raise ModelError(
            "the inputs are no floating-point numbers, or the network's outputs cannot be differentiated in them, so "
            "that there is no gradient or curvature in the inputs"
        )
    found = torch.autograd.grad(loss, parts, allow_unused=True)
    return [torch.zeros_like(part) if g is None else g for part, g in zip(parts, found, strict=True)]


def _length(gradients: Sequence[Tensor]) -> Tensor:
    """Return the norm of each row over all parts."""
    squares = [g.flatten(1).square().sum(dim=1) for g in gradients]
    return torch.stack(squares).sum(dim=0).sqrt()
