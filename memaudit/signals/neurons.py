"""How many neurons of a network hold a prediction: they are switched off one by one until it flips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from memaudit.errors import EvidenceError, ModelError, SettingsError, hint
from memaudit.recipe import Examples
from memaudit.recipe.blame import blame
from memaudit.recipe.labels import Task
from memaudit.recipe.networks import answer_of, outputs_of
from memaudit.recipe.recipes import Output, Outputs
from memaudit.signals.example_losses import ExampleLosses
from memaudit.signals.network import Asked
from memaudit.signals.representation import asked_of
from memaudit.signals.representation import layers as all_layers

Array = np.ndarray

_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neurons:
    """What it takes to flip the predictions of chosen examples, in their order.

    Attributes:
        removed: Neurons that were switched off; 0 where the network was wrong from the start.
        flipped: Whether the label is no longer predicted. Where it still is, `removed` is the most that was tried.
        first: The neuron that went first, as (layer, number); None where none had to.
        accuracy: Of the network without these neurons, on the other examples.
        neurons: Number of neurons that there are.
    """

    removed: Int[Array, " chosen"]
    flipped: Bool[Array, " chosen"]
    first: tuple[tuple[str, int] | None, ...]
    accuracy: Float[Array, " chosen"]
    neurons: int


def neurons_to_flip(
    model: nn.Module,
    examples: Examples,
    chosen: Sequence[int],
    others: Sequence[int],
    layers: Sequence[str] | None = None,
    *,
    most: int = 100,
    outputs: Outputs | None = None,
    output: Output | None = None,
) -> Neurons:
    """Return how many neurons are switched off until each chosen example is no longer predicted.

    A neuron is a unit of a linear layer or a channel of a convolution. In each step the neuron goes that most raises
    the loss on the example compared with the mean loss on the others, by the gradient in a factor on its output. Few
    neurons, and an accuracy on the others that stays, say that the prediction hangs on these neurons alone. The choice
    is greedy and to first order: fewer might do.

    Args:
        model: The trained network.
        examples: The examples, with the labels that the network was trained with.
        chosen: Numbers of the examples whose predictions are to flip.
        others: Numbers of the examples that the network should go on predicting.
        layers: Names of layers; by default all linear layers and convolutions but the last.
        most: Neurons to switch off at most.
        outputs: What the network's outputs are, as in a recipe.
        output: Which part of what the network returns they are.

    Raises:
        ModelError: There is no such layer, or none but the last.
        SettingsError: No examples are given, or some are both chosen and others.
        EvidenceError: The examples have no classes.

    Source: Maini et al. 2023 (ICML), "Can neural network memorization be localized?", section 4, the greedy search; by
    the gradient in the output of a neuron in place of its weights'.
    """
    if not len(chosen) or not len(others) or set(map(int, chosen)) & set(map(int, others)):
        raise SettingsError("name examples to flip, and others that are to stay; none can be both")
    if not isinstance(examples, Examples) or examples.task is not Task.CLASSIFICATION:
        raise EvidenceError("predictions flip where examples have one class each")
    losses = ExampleLosses.of(examples, outputs)
    with asked_of(model, examples, output) as asked, _masks(model, examples, layers) as masks:
        rest = _Part(asked, losses, examples, np.asarray(others))
        found = [_flip(_Part(asked, losses, examples, np.array([row])), rest, masks, most) for row in chosen]
    removed, flipped, first, accuracy = zip(*found, strict=True)
    return Neurons(
        removed=np.array(removed),
        flipped=np.array(flipped),
        first=first,
        accuracy=np.array(accuracy),
        neurons=sum(len(mask) for mask in masks.values()),
    )


class _Part:
    """Some of the examples, of which a network has a mean loss and an accuracy."""

    def __init__(self, asked: Asked, losses: ExampleLosses, examples: Examples, rows: Array):
        self.asked = Asked(asked.network, examples.inputs.taken(rows), asked.device, output=asked.output)
        self.losses, self.rows = losses, slice(0, len(rows))
        self.y = torch.from_numpy(np.asarray(examples.y[rows]))

    def outputs(self) -> Tensor:
        with blame("evaluating the model"):
            return outputs_of(answer_of(self.asked.network, self.asked.inputs(self.rows)), self.asked.output)

    def gradient(self, masks: dict[str, Tensor]) -> list[Tensor]:
        """Return the gradient of the mean loss in the masks."""
        with torch.enable_grad():
            said = self.outputs()
            loss = self.losses.loss(said, self.y.to(said.device)).mean()
            return list(torch.autograd.grad(loss, list(masks.values())))

    def right(self) -> float:
        with torch.no_grad():
            return float((self.losses.predicted(self.outputs()).cpu() == self.y).float().mean())


def _flip(
    part: _Part, rest: _Part, masks: dict[str, Tensor], most: int
) -> tuple[int, bool, tuple[str, int] | None, float]:
    """Return the number of neurons, whether it flipped, the first neuron, and the accuracy on the rest."""
    first = None
    for mask in masks.values():
        mask.data.fill_(1)
    for removed in range(most + 1):
        flipped = part.right() < 1
        gone = removed == sum(len(mask) for mask in masks.values())
        if flipped or gone or removed == most:
            break
        raised = [rest_of - own for own, rest_of in zip(part.gradient(masks), rest.gradient(masks), strict=True)]
        scores = [
            torch.where(mask.data > 0, gain, -torch.inf) for mask, gain in zip(masks.values(), raised, strict=True)
        ]
        name, best = max(zip(masks, scores, strict=True), key=lambda each: float(each[1].max()))
        neuron = int(best.argmax())
        masks[name].data[neuron] = 0
        first = first or (name, neuron)
    return removed, flipped, first, rest.right()


@contextmanager
def _masks(model: nn.Module, examples: Examples, layers: Sequence[str] | None) -> Iterator[dict[str, Tensor]]:
    """Yield a factor for each neuron of some layers, by their names; all are 1 at first."""
    known = {name: module for name, module in model.named_modules() if isinstance(module, _KINDS)}
    ran = [
        name for name in dict.fromkeys(run.partition("#")[0] for run in all_layers(model, examples)) if name in known
    ]
    names = ran[:-1] if layers is None else list(layers)
    if unknown := [name for name in names if name not in ran]:
        raise ModelError(f"the network has no linear layer or convolution {unknown[0]!r}; {hint(unknown[0], ran)}")
    if not names:
        raise ModelError("the network has no linear layer or convolution before its last: it has no neurons")
    masks: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for name in names:
            layer = known[name]
            weight = layer.weight
            mask = torch.ones(weight.shape[0], dtype=weight.dtype, device=weight.device, requires_grad=True)
            masks[name] = mask
            axes = 0 if isinstance(layer, nn.Linear) else weight.ndim - 2

            def multiply(
                module: nn.Module, given: Any, answer: Tensor, mask: Tensor = mask, axes: int = axes
            ) -> Tensor:
                return answer * mask.reshape(-1, *[1] * axes)

            hooks.callback(layer.register_forward_hook(multiply).remove)
        yield masks
