"""How much the gradient of the label's logit in the input changes along training, pixel by pixel."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from memaudit.errors import ModelError
from memaudit.recipe import Examples
from memaudit.recipe.blame import blame
from memaudit.recipe.labels import Task
from memaudit.recipe.networks import answer_of, each, outputs_of
from memaudit.recipe.recipes import Output
from memaudit.signals.network import Asked
from memaudit.signals.undisturbed import evaluating, undisturbed

Array = np.ndarray

_BATCH = 128


def gradient_spread(
    checkpoints: Iterable[nn.Module], examples: Examples, output: Output | None = None
) -> Float[Array, " examples"]:
    """Return the standard deviation over checkpoints of the label's logit's gradient, its mean over the input.

    Checkpoints are taken one at a time, so that a generator may load or train them; the sums of their gradients are all
    that is kept: twice the size of the inputs, in double precision.

    Args:
        checkpoints: The network at several times of its training, in evaluation mode here; at least two.
        examples: The examples, with floating-point inputs and one class each.
        output: Which part of what the network returns are its logits.

    Raises:
        ModelError: There are fewer than two checkpoints, or the network's logits cannot be differentiated in its input.

    Source: Agarwal, D'souza & Hooker 2022 (CVPR), "Estimating example difficulty using variance of gradients",
    Equations 1 to 3, as in its code: a standard deviation, not a variance.
    """
    if not isinstance(examples, Examples) or examples.task is not Task.CLASSIFICATION:
        raise ModelError("the variance of gradients is of examples with one class each")
    number, mean, squares = 0, np.zeros(()), np.zeros(())
    for network in checkpoints:
        number += 1
        found = _gradients(network, examples, output)
        change = found - mean
        mean = mean + change / number
        squares = squares + change * (found - mean)
    if number < 2:
        raise ModelError(f"the variance of gradients needs at least two checkpoints, got {number}")
    return np.sqrt(np.maximum(squares, 0) / number).mean(axis=1)


def _gradients(network: nn.Module, examples: Examples, output: Output | None) -> Float[Array, "examples numbers"]:
    """Return the gradient of each example's logit of its label in its input."""
    device = str(next((p.device for p in network.parameters()), "cpu"))
    asked, parts = Asked(network, examples.inputs, device), []
    with undisturbed(), evaluating(network), torch.enable_grad(), blame("differentiating the model"):
        network.eval()
        for start in range(0, len(examples), _BATCH):
            rows = slice(start, min(start + _BATCH, len(examples)))
            y = torch.from_numpy(examples.y[rows]).to(device)
            leaves: list[Tensor] = []

            def traced(part: Tensor, leaves: list[Tensor] = leaves) -> Tensor:
                if not part.is_floating_point():
                    return part
                leaves.append(part.detach().requires_grad_())
                return leaves[-1].clone()

            outputs = outputs_of(answer_of(network, each(asked.inputs(rows), traced)), output)
            if outputs.ndim != 2 or outputs.shape[1] <= int(y.max()) or not leaves or not outputs.requires_grad:
                raise ModelError(
                    "the variance of gradients needs floating-point inputs, and logits [examples, classes] that can be "
                    "differentiated in them; write a single output as two: torch.cat([-z, z], dim=1)"
                )
            found = torch.autograd.grad(outputs.gather(1, y[:, None]).sum(), leaves, allow_unused=True)
            flat = [torch.zeros_like(a) if g is None else g for a, g in zip(leaves, found, strict=True)]
            parts.append(torch.cat([g.flatten(1) for g in flat], dim=1).double().cpu().numpy())
    return np.concatenate(parts)
