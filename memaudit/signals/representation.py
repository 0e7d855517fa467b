"""What a named layer of a network says of every example: its representation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeGuard

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from memaudit.errors import ModelError, RecipeError, hint
from memaudit.recipe import Examples
from memaudit.recipe.blame import blame
from memaudit.recipe.networks import answer_of, is_network
from memaudit.recipe.recipes import Output, Outputs
from memaudit.signals.evaluate import checked
from memaudit.signals.example_losses import ExampleLosses
from memaudit.signals.network import Asked, steady
from memaudit.signals.undisturbed import evaluating, undisturbed

Array = np.ndarray

_BATCH, _EVALUATING = 128, "evaluating the model"


def features(model: nn.Module, examples: Examples, layer: str) -> Float[Array, "examples features"]:
    """Return what a layer of a network returns for every example, flattened, in evaluation mode.

    Of a layer that returns several values, the first is taken. The network runs where it is; its modes and all random
    generators are restored.

    Args:
        model: Any torch network that takes the examples' inputs.
        examples: The examples; documents have no features.
        layer: Its name, as in `model.named_modules()`, such as "layer2" or "0". Where it runs several times in a
            forward pass, as a shared ReLU does, name which: "relu#1", "relu#2".

    Raises:
        ModelError: There is no such layer, the message names those that there are; it does not return one row of
            numbers for each example; or it is random, or mixes the examples of a batch.
        RecipeError: The network's own code failed, or the examples are documents.
    """
    with asked_of(model, examples) as asked, _listening(model, [_module_of(model, layer)]) as heard:

        def ask(rows: slice) -> Array:
            heard.clear()
            with torch.no_grad(), blame(_EVALUATING):
                answer_of(model, asked.inputs(rows))
            return _rows(_chosen(heard, layer), layer, rows.stop - rows.start)

        parts = [ask(rows) for rows in _batches(examples)]
        steady(model, ask, parts[0])
    return np.concatenate(parts)


def layers(model: nn.Module, examples: Examples) -> list[str]:
    """Return the names of a network's leaf modules in the order in which they run, as `features` takes them.

    Modules that return no numbers for each example, such as an attention's weights, are left out.

    Raises:
        RecipeError: The network's own code failed, or the examples are documents.
    """
    leaves = [name for name, module in model.named_modules() if name and not list(module.children())]
    rows = slice(0, min(3, len(examples)))
    with asked_of(model, examples) as asked, _listening(model, leaves) as heard, torch.no_grad(), blame(_EVALUATING):
        answer_of(model, asked.inputs(rows))
    names = _numbered([name for name, _ in heard])
    return [name for name, (_, value) in zip(names, heard, strict=True) if _usable(value, rows.stop)]


def predictions(
    model: nn.Module, examples: Examples, outputs: Outputs | None = None, output: Output | None = None
) -> Int[Array, " examples"]:
    """Return the class that a network predicts for every example.

    Raises:
        ModelError: The outputs are not one row for each example, NaN or infinite.
        RecipeError: The network's own code failed, or the examples are documents.
    """
    losses = ExampleLosses.of(examples, outputs)
    with asked_of(model, examples, output) as asked:
        said = [torch.from_numpy(checked(asked(rows), examples, rows)) for rows in _batches(examples)]
    return np.concatenate([losses.predicted(part).numpy() for part in said])


@contextmanager
def asked_of(model: nn.Module, examples: Examples, output: Output | None = None) -> Iterator[Asked]:
    """Yield the network in evaluation mode, ready to be given rows of the examples."""
    if not is_network(model):
        raise ModelError(f"features are of torch networks, got a {type(model).__name__}")
    if not isinstance(examples, Examples):
        raise RecipeError(f"features are of examples, got {type(examples).__name__}; give memaudit.Examples(x, y)")
    device = str(next((p.device for p in model.parameters()), "cpu"))
    with undisturbed(), evaluating(model):
        model.eval()
        yield Asked(model, examples.inputs, device, output=output)


@contextmanager
def _listening(model: nn.Module, names: list[str]) -> Iterator[list[tuple[str, Any]]]:
    """Yield what the named modules return, in the order in which they run, until the list is cleared."""
    heard: list[tuple[str, Any]] = []
    modules = dict(model.named_modules())
    with ExitStack() as hooks:
        for name in names:

            def hear(module: nn.Module, given: Any, answer: Any, name: str = name) -> None:
                first = answer[0] if isinstance(answer, tuple | list) and answer else answer
                heard.append((name, first.detach().clone() if isinstance(first, Tensor) else first))

            hooks.enter_context(_removed(modules[name].register_forward_hook(hear)))
        yield heard


@contextmanager
def _removed(hook: Any) -> Iterator[None]:
    try:
        yield
    finally:
        hook.remove()


def _module_of(model: nn.Module, layer: str) -> str:
    """Return the name of the module that a layer is a run of."""
    known = [name for name, _ in model.named_modules() if name]
    name = layer.partition("#")[0]
    if name not in known:
        raise ModelError(f"the network has no layer {layer!r}; {hint(name, known)} Layers: {', '.join(known)}")
    return name


def _chosen(heard: list[tuple[str, Any]], layer: str) -> Any:
    names = _numbered([name for name, _ in heard])
    if not names:
        raise ModelError(f"the layer {layer!r} does not run when the network is called")
    if layer not in names:
        raise ModelError(f"the layer {layer!r} runs {len(names)} times; name one run: {', '.join(names)}")
    return heard[names.index(layer)][1]


def _numbered(names: list[str]) -> list[str]:
    """Return names of runs: those of a module that runs several times are numbered."""
    count, seen = Counter(names), Counter[str]()
    found = []
    for name in names:
        seen[name] += 1
        found.append(f"{name}#{seen[name]}" if count[name] > 1 else name)
    return found


def _usable(value: Any, rows: int) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.ndim > 0 and len(value) == rows and value.is_floating_point()


def _rows(value: Any, layer: str, rows: int) -> Float[Array, "rows features"]:
    if not _usable(value, rows):
        told = f"shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ModelError(f"the layer {layer!r} returns {told}; features are {rows} rows of numbers for {rows} examples")
    found = value.flatten(1) if value.ndim > 1 else value[:, None]
    return (found if found.dtype == torch.float64 else found.float()).cpu().numpy()


def _batches(examples: Examples) -> list[slice]:
    return [slice(start, min(start + _BATCH, len(examples))) for start in range(0, len(examples), _BATCH)]
