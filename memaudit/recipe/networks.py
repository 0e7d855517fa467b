"""A user's torch network: what is a network, what it is given, and what it answers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from memaudit.errors import ModelError
from memaudit.recipe.recipes import Output

if TYPE_CHECKING:
    from torch import Tensor, dtype
    from torch.nn import Module

# What may follow the last layer without changing which values it can take: reshaping, copying, averaging.
_TRANSPARENT = ("View", "Squeeze", "Unsqueeze", "ToCopy", "Slice", "Select", "Clone", "Alias", "T", "Transpose",
                "Permute", "ReshapeAlias", "UnsafeView", "Mean", "AdaptiveAvgPool", "Index")  # fmt: skip
_AFFINE = ("Addmm", "Mm", "Bmm", "Addbmm", "Baddbmm", "Mv", "Addmv", "Linear", "Convolution")


def is_network(model: Any) -> bool:
    """Return whether a model is a torch network, whatever other methods it has."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def evaluated(network: Any) -> Any:
    """Return a network in evaluation mode; `eval()` is not called if it is: one of its own might change weights."""
    if is_network(network) and not any(module.training for module in network.modules()):
        return network
    return network.eval()


def precision(network: Module) -> dtype:
    """Return the type of a network's floating-point parameters, by the first of them; float32 if it has none."""
    import torch

    return next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)


def tensors(x: Any) -> Any:
    """Return inputs as a network is given them: arrays as tensors, by name or position if there are several.

    A sparse matrix becomes a dense tensor. What is no array of numbers, such as a list of texts, stays as it is.
    """
    import numpy as np
    import torch

    if isinstance(x, dict):
        return {name: tensors(part) for name, part in x.items()}
    if isinstance(x, tuple):
        return tuple(map(tensors, x))
    if hasattr(x, "tocsr"):
        x = x.toarray()
    try:
        array = None if isinstance(x, list) else np.asarray(x)
    except (TypeError, ValueError):  # of a table whose columns have no type in common
        return x
    if array is None or array.dtype.kind not in "biuf":
        return x
    return torch.from_numpy(np.require(array, requirements="W"))


def each(inputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return inputs with every tensor changed."""
    import torch

    if isinstance(inputs, dict):
        return {name: each(part, change) for name, part in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(each(part, change) for part in inputs)
    return change(inputs) if isinstance(inputs, torch.Tensor) else inputs


def inputs_for(network: Module, x: Any) -> Any:
    """Return inputs in the network's precision; whole numbers, such as token ids or pixels, stay as they are."""
    return each(x, lambda part: part.to(precision(network)) if part.is_floating_point() else part)


def answer_of(network: Callable[..., Any], inputs: Any) -> Any:
    """Return what a network says of inputs: those of a dict are given by name, those of a tuple by position."""
    if isinstance(inputs, dict):
        return network(**inputs)
    return network(*inputs) if isinstance(inputs, tuple) else network(inputs)


def materialise(network: Module, x: Any) -> Module:
    """Return the network after giving its lazy layers, such as `LazyLinear`, their shapes by a dry run.

    Args:
        network: Fresh from the user's `model()`, on the CPU; without lazy layers it is left alone.
        x: A few inputs, which the dry run is given a copy of.
    """
    import torch
    from torch.nn.parameter import is_lazy

    if not any(is_lazy(tensor) for tensor in (*network.parameters(), *network.buffers())):
        return network
    training = network.training
    with torch.no_grad():  # in evaluation mode no statistic is moved
        answer_of(network.eval(), inputs_for(network, each(x, lambda part: part[:2].cpu().clone())))
    return network.train(training)


def outputs_of(answer: Any, output: Output | None = None) -> Tensor:
    """Return the outputs `[batch, classes]` in what a network returned; a vector is one column.

    They are the tensor itself, an object's or dict's `logits`, or the only tensor among several values.

    Args:
        answer: What the network returned.
        output: Which part of it: its name, its place, or a function of the answer.

    Raises:
        ModelError: There is no such part or it is ambiguous; its numbers are complex, or whole numbers as of decisions.
    """
    import torch

    found = _named_part(answer, output) if output is not None else _only_part(answer)
    if not isinstance(found, torch.Tensor):
        raise ModelError(
            f"the model returned {_named(answer)}; return the logits alone, a tensor [batch, classes], or say in the "
            'recipe which part they are: output=0, output="logits", or a function of what the model returned'
        )
    if not found.is_floating_point():
        raise ModelError(
            f"the model's outputs are of {found.dtype}; return logits [batch, classes], real and unrounded"
        )
    return found[:, None] if found.ndim == 1 else found


def _named_part(answer: Any, output: Output) -> Any:
    """Return the part of an answer that the recipe names; None if there is none."""
    if callable(output):
        return output(answer)
    try:
        return answer[output] if not isinstance(output, str) or isinstance(answer, Mapping) else getattr(answer, output)
    except (LookupError, TypeError, AttributeError):
        raise ModelError(f"the model returned {_named(answer)}, which has no output={output!r}") from None


def _only_part(answer: Any) -> Any:
    """Return the logits of an answer that leaves no choice; otherwise None."""
    import torch

    if isinstance(answer, torch.Tensor):
        return answer
    logits = answer.get("logits") if isinstance(answer, Mapping) else getattr(answer, "logits", None)
    if logits is not None:
        return logits
    parts = answer.values() if isinstance(answer, Mapping) else answer if isinstance(answer, tuple | list) else ()
    usable = [p for p in parts if isinstance(p, torch.Tensor) and p.ndim > 0 and p.is_floating_point()]
    return usable[0] if len(usable) == 1 else None


def _named(answer: Any) -> str:
    if isinstance(answer, Mapping):
        return f"a {type(answer).__name__} with the keys {', '.join(map(repr, answer)) or '(none)'}"
    size = f" of {len(answer)}" if isinstance(answer, tuple | list) else ""
    return f"a {type(answer).__name__}{size}"


def last_layer(outputs: Tensor) -> str:
    """Return which operation outputs come from: "affine", or autograd's name such as "Sigmoid"; "" if it is unknown.

    Only an affine layer can return any number; autograd records the operation, if it was on.
    """
    node = outputs.grad_fn
    while node is not None:
        name = node.name().partition("Backward")[0]
        if name not in _TRANSPARENT and not name.startswith("AdaptiveAvgPool"):
            return "affine" if name in _AFFINE else name
        node = node.next_functions[0][0]
    return ""
