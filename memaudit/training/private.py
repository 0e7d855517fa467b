"""DP-SGD, as Opacus does it: the training loop of a ClassifierRecipe(privacy=DPSGD(...))."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from memaudit.errors import RecipeError
from memaudit.recipe import DPSGD, ClassifierRecipe
from memaudit.recipe.networks import answer_of, inputs_for, materialise, outputs_of
from memaudit.recipe.privacy_record import remember
from memaudit.signals import observe
from memaudit.training.classifier import factor, losses, picked, require_outputs, untrained

Array = np.ndarray


def train_privately(
    recipe: ClassifierRecipe,
    privacy: DPSGD,
    x: Any,
    y: Tensor,
    counts: UInt8[Array, " examples"],
    seed: int,
    network: torch.nn.Module | None = None,
    until: int | None = None,
) -> torch.nn.Module:
    """Return a network trained by DP-SGD; arguments as for `train_classifier`.

    A pass has ⌈n/batch⌉ steps, and each step takes every example with probability 1/⌈n/batch⌉, as in Opacus.

    Raises:
        RecipeError: Opacus is not installed; the network or its augmentation mixes examples, such as batch
            normalization; or training diverged.

    Source: Abadi et al. 2016 (CCS), Algorithm 1; Yousefpour et al. 2021, Opacus.
    """
    torch.manual_seed(seed)
    generator = torch.Generator(y.device).manual_seed(seed)
    network = materialise(untrained(recipe), x) if network is None else network
    network = network.to(y.device).train()
    rows = torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(y.device)
    steps = math.ceil(len(rows) / recipe.batch_size)
    _require_apart(recipe, network, x, rows[:8], generator)
    wrapped, optimizer = _wrapped(recipe, privacy, network, len(rows) // steps, generator)
    full_rates = [group["lr"] for group in optimizer.param_groups]
    epochs = recipe.epochs if until is None else until
    for step in range(epochs * steps):
        wrapped.disable_hooks()
        observe(network, step / steps)
        wrapped.enable_hooks()
        for group, rate in zip(optimizer.param_groups, full_rates, strict=True):
            group["lr"] = rate * factor(recipe.schedule, step / (steps * recipe.epochs))
        taken = rows[torch.rand(len(rows), generator=generator, device=y.device) < 1 / steps]
        optimizer.zero_grad()
        total = _gradients(recipe, wrapped, x, y, taken, generator, step == 0)
        if not math.isfinite(total):
            raise RecipeError(f"training diverged: the loss is NaN or infinite in step {step + 1}; lower the rate")
        optimizer.step()
    wrapped.to_standard_module()
    observe(network, epochs)
    remember(network, privacy.noise_multiplier, 1 / steps, epochs * steps)
    return network.eval()


def _require_apart(recipe: ClassifierRecipe, network: torch.nn.Module, x: Any, rows: Tensor, source: Any) -> None:
    """Raise RecipeError if what is computed of an example depends on another: clipping would bound nobody's influence.

    The first example is replaced by the second one; those of the others must stay, with the same random numbers.
    """
    if len(rows) < 3:
        return

    def computed(of: Tensor) -> Tensor:
        generator = torch.Generator(rows.device)
        generator.set_state(source.get_state())
        copied = copy.deepcopy(network)
        inputs = inputs_for(copied, picked(x, of))
        if recipe.augment is not None:
            inputs = recipe.augment(inputs, generator)
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            return outputs_of(answer_of(copied, inputs), recipe.output)[1:]

    plain, other = computed(rows), computed(torch.cat([rows[1:2], rows[1:]]))
    if not torch.allclose(plain, other, rtol=1e-3, atol=1e-4, equal_nan=True):
        raise RecipeError(
            "the network cannot be trained with DP-SGD: in training, what it computes of an example depends on the "
            "others in its batch. The network and augment= must treat every example by itself"
        )


def _wrapped(
    recipe: ClassifierRecipe, privacy: DPSGD, network: torch.nn.Module, batch: int, generator: torch.Generator
) -> tuple[Any, Any]:
    """Return the network with hooks for the gradients of single examples, and the optimizer that clips and adds noise.

    Raises:
        RecipeError: As for `train_privately`.
    """
    try:
        from opacus import GradSampleModule
        from opacus.optimizers import DPOptimizer
        from opacus.validators import ModuleValidator
    except ImportError as error:
        raise RecipeError("privacy=DPSGD(...) needs Opacus: pip install memaudit-toolkit[dp]") from error
    if problems := ModuleValidator.validate(network, strict=False):
        raise RecipeError(f"the network cannot be trained with DP-SGD: {problems[0]}")
    optimizer = recipe.optimizer(network.parameters())
    wrapped = GradSampleModule(network, loss_reduction="sum")
    private = DPOptimizer(
        optimizer,
        noise_multiplier=privacy.noise_multiplier,
        max_grad_norm=privacy.max_grad_norm,
        expected_batch_size=batch,
        generator=generator,
    )
    return wrapped, private


def _gradients(
    recipe: ClassifierRecipe, wrapped: Any, x: Any, y: Tensor, taken: Tensor, generator: torch.Generator, first: bool
) -> float:
    """Compute the gradient of every example of a batch, which may be empty; return the sum of their losses."""
    if not len(taken):
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))
        return 0.0
    inputs, labels = inputs_for(wrapped, picked(x, taken)), y.index_select(0, taken)
    if recipe.augment is not None:
        inputs = recipe.augment(inputs, generator)
    logits = outputs_of(answer_of(wrapped, inputs), recipe.output)
    if first:
        require_outputs(logits, y)
    total = losses(logits, labels, recipe.label_smoothing).sum()
    with warnings.catch_warnings():  # inputs need no gradient, and hooks fire with those of the outputs
        warnings.simplefilter("ignore")
        total.backward()  # type: ignore[no-untyped-call]
    if unused := [n for n, p in wrapped.named_parameters() if p.requires_grad and p.grad_sample is None]:
        raise RecipeError(
            f"the network cannot be trained with DP-SGD: {unused[0].removeprefix('_module.')} takes no part in its "
            "outputs; remove it, or set requires_grad=False"
        )
    return float(total.detach())
