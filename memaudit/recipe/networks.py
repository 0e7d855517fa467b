"""A user's torch network: what is a network, what it is given, and what it answers."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from memaudit.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, dtype
    from torch.nn import Module

# What may follow the last layer without changing which values it can take: reshaping, copying, averaging.
_TRANSPARENT = ("View", "Squeeze", "Unsqueeze", "ToCopy", "Slice", "Select", "Clone", "Alias", "T", "Transpose",
                "Permute", "ReshapeAlias", "UnsafeView", "Mean", "AdaptiveAvgPool", "Index")  # fmt: skip
_AFFINE = ("Addmm", "Mm", "Bmm", "Addbmm", "Baddbmm", "Mv", "Addmv", "Linear", "Convolution")


def is_network(model: Any) -> bool:
    """Returns whether a model is a torch network, whatever other methods it has."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def precision(network: Module) -> dtype:
    """Returns the type of a network's floating-point parameters, by the first of them; float32 if it has none."""
    import torch

    return next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)


def inputs_for(network: Module, x: Tensor) -> Tensor:
    """Returns inputs in the network's precision; whole numbers, such as token ids or pixels, stay as they are."""
    return x.to(precision(network)) if x.is_floating_point() else x


def materialise(network: Module, x: Tensor) -> Module:
    """Returns the network after giving its lazy layers, such as `LazyLinear`, their shapes by a dry run.

    Args:
        network: Fresh from the user's `model()`, on the CPU; without lazy layers it is left alone.
        x: A few inputs, which the dry run is given a copy of.
    """
    import torch
    from torch.nn.parameter import is_lazy

    if not any(is_lazy(tensor) for tensor in (*network.parameters(), *network.buffers())):
        return network
    training = network.training
    with torch.no_grad():
        network.eval()(inputs_for(network, x[:2].cpu().clone()))  # in evaluation mode no statistic is moved
    return network.train(training)


def outputs_of(answer: Any) -> Tensor:
    """Returns the outputs `[batch, classes]` in what a network returned: a tensor, or an object's or dict's `logits`.

    A vector is one column.

    Raises:
        ModelError: It is neither, or its numbers are complex, or whole numbers as of decisions.
    """
    import torch

    found = answer.get("logits") if isinstance(answer, Mapping) else getattr(answer, "logits", answer)
    if not isinstance(found, torch.Tensor):
        raise ModelError(f"the model returned {_named(answer)}; return the logits alone, a tensor [batch, classes]")
    if not found.is_floating_point():
        raise ModelError(
            f"the model's outputs are of {found.dtype}; return logits [batch, classes], real and unrounded"
        )
    return found[:, None] if found.ndim == 1 else found


def _named(answer: Any) -> str:
    if isinstance(answer, Mapping):
        return f"a {type(answer).__name__} with the keys {', '.join(map(repr, answer)) or '(none)'}"
    size = f" of {len(answer)}" if isinstance(answer, tuple | list) else ""
    return f"a {type(answer).__name__}{size}"


def last_layer(outputs: Tensor) -> str:
    """Returns which operation outputs come from: "affine", or autograd's name such as "Sigmoid"; "" if it is unknown.

    Only an affine layer can return any number; autograd records the operation, if it was on.
    """
    node = outputs.grad_fn
    while node is not None:
        name = node.name().partition("Backward")[0]
        if name not in _TRANSPARENT and not name.startswith("AdaptiveAvgPool"):
            return "affine" if name in _AFFINE else name
        node = node.next_functions[0][0]
    return ""
