"""Plain stacks of linear layers as products of batches of matrices: one product for a layer of several models."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node, symbolic_trace

_ELEMENTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Identity)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

Layers = list[tuple[str, nn.Module]]
"""The layers of a network in their order, with the prefixes of their parameters' names."""


def product(layers: Layers, parameters: Mapping[str, Tensor], h: Tensor) -> Tensor:
    """Return the logits `[models, batch, classes]` of inputs `[models, batch, …]`, by parameters `[models, …]`."""
    for name, layer in layers:
        if isinstance(layer, nn.Linear):
            h = _Linear.apply(h, parameters[f"{name}weight"], parameters.get(f"{name}bias"))
        else:
            h = h.flatten(2) if isinstance(layer, nn.Flatten) else layer(h)
    return h


def layers_of(network: nn.Module) -> Layers | None:
    """Return the layers of a plain stack of linear layers, with their names; None of any other network.

    It may be of any class: what its `forward` does is read from a symbolic trace, which has no branch that depends on
    data.
    """
    if any(map(_hooked, network.modules())):
        return None
    try:
        first, *nodes, last = symbolic_trace(network).graph.nodes
    except Exception:  # the trace stops where data decide
        return None
    layers = [_layer(network, node) for node in nodes]
    chained = all(node.all_input_nodes == [before] for before, node in pairwise([first, *nodes, last]))
    found = [layer for layer in layers if layer is not None]
    return found if chained and len(found) == len(layers) and first.op == "placeholder" else None


def _layer(network: nn.Module, node: Node) -> tuple[str, nn.Module] | None:
    """Return the layer that a node of a trace is; None of one that is neither linear nor elementwise."""
    if node.op == "call_module":
        layer = network.get_submodule(str(node.target))
        whole = not isinstance(layer, nn.Flatten) or (layer.start_dim, layer.end_dim) == (1, -1)
        return (f"{node.target}.", layer) if whole and type(layer) in (nn.Linear, nn.Flatten, *_ELEMENTWISE) else None
    if node.target in (torch.relu, nn.functional.relu, "relu"):
        return "", nn.ReLU()
    return ("", nn.Flatten()) if node.target in (torch.flatten, "flatten") and node.args[1:] == (1,) else None


def _hooked(module: nn.Module) -> bool:
    return any(getattr(module, hooks) for hooks in _HOOKS) or "forward" in vars(module)


class _Linear(torch.autograd.Function):
    """Linear layers `[models, out, in]`, with the products that `torch.nn.functional.linear` has for one of them."""

    @staticmethod
    def forward(context: Any, h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        context.save_for_backward(h, weight)
        return torch.bmm(h, weight.mT) if bias is None else torch.baddbmm(bias[:, None], h, weight.mT)

    @staticmethod
    def backward(context: Any, *found: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (h, weight) = found, context.saved_tensors
        of_h, of_weight, of_bias = context.needs_input_grad
        return (
            torch.bmm(gradient, weight) if of_h else None,
            torch.bmm(gradient.mT, h) if of_weight else None,
            gradient.sum(dim=1) if of_bias else None,
        )
