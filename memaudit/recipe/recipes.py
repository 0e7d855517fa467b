"""The three recipes: a torch classifier with our loop, the user's own loop, a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from memaudit.errors import RecipeError
from memaudit.recipe.augment import Augmentation, Query
from memaudit.recipe.examples import Examples

if TYPE_CHECKING:
    from torch.nn import Module, Parameter
    from torch.optim import Optimizer


@dataclass(frozen=True, slots=True)
class SGD:
    """Stochastic gradient descent, as `torch.optim.SGD`."""

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __call__(self, parameters: Iterable[Parameter]) -> Optimizer:
        """Returns the optimizer of these parameters."""
        from torch.optim import SGD as Sgd

        return Sgd(parameters, self.lr, self.momentum, 0, self.weight_decay, self.nesterov, fused=True)


@dataclass(frozen=True, slots=True)
class AdamW:
    """Adam with decoupled weight decay, as `torch.optim.AdamW`."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01

    def __call__(self, parameters: Iterable[Parameter]) -> Optimizer:
        """Returns the optimizer of these parameters."""
        from torch.optim import AdamW as Adamw

        return Adamw(parameters, self.lr, self.betas, 1e-8, self.weight_decay, fused=True)


@dataclass(frozen=True, slots=True)
class ClassifierRecipe:
    """A torch network trained by memaudit's own loop on cross-entropy, on whichever device there is.

    Args:
        examples: Returns the population.
        model: Returns an untrained network: inputs to logits `[batch, classes]`, or `[batch, 1]` for two classes.
        epochs: Passes over the training set; the last, partial batch of a pass is used too.
        batch_size: Examples per step.
        optimizer: `SGD(...)`, `AdamW(...)`, or any function of the parameters that returns a torch optimizer.
        schedule: Of the learning rate, per step: constant, or half a cosine from full to zero.
        augment: Draws a random view of every example in a batch: `flip`, `shift(2)`, or a function of
            (batch, generator). It is used in training only.
        queries: Further fixed views to score each example by, beside the plain one: `mirror`, `shifted(0, 1)`.
        label_smoothing: Of the cross-entropy.
    """

    examples: Callable[[], Examples]
    model: Callable[[], Module]
    epochs: int
    batch_size: int
    optimizer: Callable[[Iterable[Parameter]], Optimizer]
    schedule: Literal["constant", "cosine"] = "constant"
    augment: Augmentation | None = None
    queries: tuple[Query, ...] = ()
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise RecipeError(f"epochs and batch_size must be at least 1, got {self.epochs} and {self.batch_size}")
        if self.schedule not in ("constant", "cosine"):
            raise RecipeError(f'schedule must be "constant" or "cosine", got {self.schedule!r}')


@dataclass(frozen=True, slots=True)
class CallableRecipe:
    """The user's own training, whatever it does.

    Args:
        examples: Returns the population.
        train: `train(dataset, *, seed, device)` returns a trained model: a torch network, or anything with
            `predict_proba` or `decision_function`. The dataset is the `Examples` of the training set: a map-style
            dataset of (input, label), with the arrays at hand as `.x` and `.y`.
        load: `load(path)` returns the model that the file holds; the user answers for the safety of what it does.
        model: Returns an untrained network; with it, model files are loaded by memaudit, and `load` is not needed.
        queries: Further fixed views of the inputs to score each example by.
    """

    examples: Callable[[], Examples]
    train: Callable[..., Any]
    load: Callable[[str], Any] | None = None
    model: Callable[[], Module] | None = None
    queries: tuple[Query, ...] = ()


@dataclass(frozen=True, slots=True)
class EstimatorRecipe:
    """A scikit-learn classifier: a clone of it is fitted for every model, with every `random_state` set.

    Args:
        examples: Returns the population.
        estimator: Unfitted, with `predict_proba` or `decision_function`; a pipeline will do.
    """

    examples: Callable[[], Examples]
    estimator: Any

    def __post_init__(self) -> None:
        if not any(hasattr(self.estimator, name) for name in ("predict_proba", "decision_function")):
            raise RecipeError(f"{self.estimator!r} has neither predict_proba nor decision_function")


Recipe = ClassifierRecipe | CallableRecipe | EstimatorRecipe
