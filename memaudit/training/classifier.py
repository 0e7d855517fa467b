"""The training loop of a ClassifierRecipe.

What is unusual about it: the whole population is on the device as one tensor, there is no data loader; every
example draws its own augmentation; and everything random comes from one seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from memaudit.errors import RecipeError
from memaudit.recipe import ClassifierRecipe
from memaudit.recipe.networks import answer_of, each, inputs_for, last_layer, materialise, outputs_of
from memaudit.signals import observe
from memaudit.training.mixup import Mixup

Array = np.ndarray

_TRAINED = "trained_by_memaudit"


def train_classifier(
    recipe: ClassifierRecipe,
    x: Any,
    y: Tensor,
    counts: UInt8[Array, " examples"],
    seed: int,
    network: torch.nn.Module | None = None,
    until: int | None = None,
    clients: Int[Array, " examples"] | None = None,
) -> torch.nn.Module:
    """Return a trained network; whoever watches is shown it before every step, and at the end.

    The loss is the cross-entropy: of several labels an example, its mean over them; of a regression the squared error.

    Args:
        recipe: How to train.
        x: All inputs, on the device to train on: a tensor, or a dict or tuple of them.
        y: All labels, on the same device: classes, 0 and 1 `[examples, labels]`, or numbers to predict.
        counts: How often each example is in the training set.
        seed: Of the initialisation, the order of batches, the augmentation and dropout.
        network: Which is trained further; by default a new one.
        until: Stop after so many of the epochs, with the learning rate of the whole training.
        clients: Which client each example belongs to: of federated training.

    Raises:
        RecipeError: The loss became NaN or infinite, or the network has no output for some label.
    """
    if recipe.privacy is not None:
        from memaudit.training.private import train_privately

        return train_privately(recipe, recipe.privacy, x, y, counts, seed, network, until)
    if recipe.federated is not None:
        from memaudit.training.federated import train_federated

        return train_federated(recipe, recipe.federated, x, y, counts, seed, network, until, clients)
    course = Course(recipe, x, y, counts, seed, network, until)
    for batch in course.batches():
        course.step(batch)
    return course.network.eval()


class Course:
    """One model's way through its training: its batches, learning rates and augmentation, and who is shown it.

    Args: As of `train_classifier`; `show` is called with the network and the epoch before every step, and at the end.
    """

    def __init__(
        self,
        recipe: ClassifierRecipe,
        x: Any,
        y: Tensor,
        counts: UInt8[Array, " examples"],
        seed: int,
        network: torch.nn.Module | None = None,
        until: int | None = None,
        show: Callable[[torch.nn.Module, float], None] = observe,
    ):
        torch.manual_seed(seed)
        self.recipe, self.x, self.y, self.show = recipe, x, y, show
        self.generator = torch.Generator(y.device).manual_seed(seed)
        self.mixup = Mixup(recipe.mixup, seed, self.generator) if recipe.mixup else None
        network = materialise(untrained(recipe), x) if network is None else network
        self.network = network.to(y.device).train()
        self.parameters = list(self.network.parameters())
        self.optimizer = recipe.optimizer(iter(self.parameters))
        self.epochs = recipe.epochs if until is None else until
        self.losses: list[Tensor] = []  # of this epoch's steps
        self._rows = torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(y.device)

    def batches(self) -> Iterator[Tensor]:
        """Yield the rows of each batch, in time for its step: the model is shown, and the learning rate is set.

        Raises:
            RecipeError: The loss became NaN or infinite.
        """
        groups = self.optimizer.param_groups
        full_rates = [group["lr"] for group in groups]
        sizes, schedule = _batch_sizes(len(self._rows), self.recipe.batch_size), self.recipe.schedule
        steps, step = len(sizes) * self.recipe.epochs, 0
        for epoch in range(self.epochs):
            order = torch.randperm(len(self._rows), generator=self.generator, device=self.y.device)
            for batch in torch.split(self._rows[order], sizes):
                self.show(self.network, step / len(sizes))
                for group, rate in zip(groups, full_rates, strict=True):
                    group["lr"] = rate * factor(schedule, step / steps)
                yield batch
                step += 1
            if not torch.stack(self.losses).isfinite().all():
                raise RecipeError(
                    f"training diverged: the loss is NaN or infinite in epoch {epoch + 1}; lower the rate"
                )
            self.losses.clear()
        self.show(self.network, self.epochs)

    def step(self, batch: Tensor) -> None:
        """Take one step on some rows."""
        loss = self.loss(self.inputs(batch), batch)
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.losses.append(loss.detach())

    def inputs(self, batch: Tensor) -> Any:
        """Return the inputs of some rows, augmented and mixed."""
        inputs = inputs_for(self.network, picked(self.x, batch))
        if self.recipe.augment is not None:
            inputs = self.recipe.augment(inputs, self.generator)
        return inputs if self.mixup is None else self.mixup.inputs(inputs, len(batch))

    def loss(self, inputs: Any, batch: Tensor) -> Tensor:
        """Return the mean loss of inputs that belong to some rows.

        Raises:
            RecipeError: The network has no output for some label; seen before the first step of an epoch.
        """
        logits = outputs_of(answer_of(self.network, inputs), self.recipe.output)
        if not self.losses:
            require_outputs(logits, self.y)
        labels, smoothing = self.y.index_select(0, batch), self.recipe.label_smoothing
        found = losses(logits, labels, smoothing)
        if self.mixup is not None:
            found = self.mixup.losses(found, losses(logits, labels[self.mixup.order], smoothing))
        return found.mean()


def picked(x: Any, rows: Tensor) -> Any:
    """Return some rows of the inputs."""
    return each(x, lambda part: part.index_select(0, rows))


def untrained(recipe: ClassifierRecipe) -> torch.nn.Module:
    """Return a new network; one that `model()` keeps would carry one shadow model's training over to the next."""
    network = recipe.model()
    if not isinstance(network, torch.nn.Module):
        raise RecipeError(f"model() returned {type(network).__name__}; return an untrained torch.nn.Module")
    if vars(network).get(_TRAINED):
        raise RecipeError("model() returned a network that was trained before; build a new one at every call")
    vars(network)[_TRAINED] = True
    return network


def _batch_sizes(rows: int, batch: int) -> list[int]:
    """Return the sizes of one epoch's batches; a last batch of one joins its neighbour, for batch statistics' sake."""
    sizes = [batch] * (rows // batch) + [rows % batch] * (rows % batch > 0)
    if len(sizes) > 1 and sizes[-1] == 1 < batch:
        sizes[-2:] = [batch + 1]
    return sizes


def require_outputs(logits: Tensor, y: Tensor) -> None:
    """Raise RecipeError if outputs are no logits, or none is some label's: a GPU's loss would end the process."""
    if logits.ndim != 2:
        raise RecipeError(f"the model's output has shape {tuple(logits.shape)}; return logits [batch, classes]")
    wanted = 1 if y.is_floating_point() else y.shape[1] if y.ndim == 2 else 0
    if wanted and logits.shape[1] != wanted:
        raise RecipeError(
            f"the model has {logits.shape[1]} outputs for {wanted} labels an example; return one for each"
        )
    if y.is_floating_point():
        return
    if (last := last_layer(logits)) in ("Sigmoid", "Softmax"):
        raise RecipeError(
            f"the network ends in a {last.lower()}, and training on the cross-entropy applies one to its outputs. "
            "Remove it: model() returns a network whose outputs are logits"
        )
    if y.ndim == 2:
        return
    outputs = max(2, logits.shape[1])
    row = int(y.argmax())
    if y[row] >= outputs:
        raise RecipeError(f"labels out of range: row {row} has label {int(y[row])}, the model has {outputs} classes")


def factor(schedule: str, progress: float) -> float:
    """Return what the learning rate is multiplied by, at a share of the way through training."""
    return (1 + math.cos(math.pi * progress)) / 2 if schedule == "cosine" else 1.0


def losses(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return each example's loss."""
    logits = logits if logits.itemsize >= 4 else logits.float()
    if labels.is_floating_point():
        return mse_loss(logits[:, 0], labels.to(logits.dtype), reduction="none")
    if labels.ndim == 2:
        aim = labels.to(logits.dtype) * (1 - smoothing) + smoothing / 2
        return binary_cross_entropy_with_logits(logits, aim, reduction="none").mean(dim=1)
    if logits.shape[1] == 1:
        z, truth = logits[:, 0], labels.to(logits.dtype)
        aim = truth * (1 - smoothing) + smoothing / 2
        return binary_cross_entropy_with_logits(z, aim, reduction="none")
    return cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
