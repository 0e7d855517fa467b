"""The recipes: a classifier or a language model with our loop, the user's own loop, a scikit-learn estimator."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from memaudit.canaries.space import Canary
from memaudit.errors import RecipeError
from memaudit.recipe.augment import Augmentation, Query
from memaudit.recipe.documents import Documents
from memaudit.recipe.examples import Examples
from memaudit.recipe.fedavg import FedAvg
from memaudit.recipe.generator import GeneratorRecipe
from memaudit.recipe.observe import Observe
from memaudit.recipe.rendering import Rendering
from memaudit.recipe.sought import Secrets

if TYPE_CHECKING:
    from torch.nn import Module, Parameter
    from torch.optim import Optimizer


MOST_COPIES = 255  # memberships are stored in a byte
SAMPLERS = ("top-40", "decaying temperature", "prompted")  # by which the audited model is made to write
LEAST_WRITTEN = 20  # tokens of a generated text: the perplexity of fewer is noise
_OF_TARGET = {"of": "target"}  # a parameter that no shadow depends on, and so no part of a bank's fingerprint
_OF_LOOKS = {"of": "looks"}  # nor one of how models are looked at while they train, which changes none
_IF_GIVEN = {"omitted": (None,)}  # a fingerprint has no line for what is not given
_IF_MIXED = {"omitted": (0,)}
_AS_LOGITS = {"omitted": (None, "logits")}  # values that a fingerprint leaves out: they have the same numbers

Outputs = Literal["logits", "probabilities", "log-probabilities", "one-vs-rest"]
"""What a model returns: logits; a probability, or its logarithm, for each class; or one probability independent of the
others for each class, as of a sigmoid. A single column is of class 1 of two."""

Output = str | int | Callable[[Any], Any]
"""Which part of what a network returns are its outputs: a key or attribute, a place, or a function of all of it."""


_ASKED: tuple[tuple[str, Any], ...] = (("queries", ()), ("outputs", None), ("output", None))


@dataclass(frozen=True, slots=True)
class SGD:
    """Stochastic gradient descent, as `torch.optim.SGD`."""

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __call__(self, parameters: Iterable[Parameter]) -> Optimizer:
        """Return the optimizer of these parameters."""
        from memaudit.recipe.optimizers import SGD as Sgd

        return Sgd(parameters, self.lr, self.momentum, 0, self.weight_decay, self.nesterov, fused=True)


@dataclass(frozen=True, slots=True)
class AdamW:
    """Adam with decoupled weight decay, as `torch.optim.AdamW`."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01

    def __call__(self, parameters: Iterable[Parameter]) -> Optimizer:
        """Return the optimizer of these parameters."""
        from memaudit.recipe.optimizers import AdamW as Adamw

        return Adamw(parameters, self.lr, self.betas, 1e-8, self.weight_decay, fused=True)


@dataclass(frozen=True, slots=True)
class DPSGD:
    """Differentially private training: clipped gradients of single examples, and noise, by the library Opacus.

    Each step samples every example independently (Poisson), clips the gradient of each to a norm, adds Gaussian noise
    to their sum, and divides by the expected number of examples. The seed of the training decides the noise: whoever
    knows the seed of a released model is not kept from its training data by it.

    Args:
        noise_multiplier: Standard deviation of the noise, in units of `max_grad_norm`.
        max_grad_norm: Largest norm of one example's gradient.
    """

    noise_multiplier: float
    max_grad_norm: float

    def __post_init__(self) -> None:
        for name in ("noise_multiplier", "max_grad_norm"):  # 1 and 1.0 are one recipe
            object.__setattr__(self, name, float(getattr(self, name)))
        if not (0 <= self.noise_multiplier < math.inf and 0 < self.max_grad_norm < math.inf):
            raise RecipeError(
                "DPSGD: noise_multiplier is at least 0 and max_grad_norm above 0, both finite, got "
                f"{self.noise_multiplier} and {self.max_grad_norm}"
            )


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
        outputs: "logits" where the network's outputs are taken for probabilities by mistake; it has to return logits.
        output: Which part of what the network returns are the logits, where it returns several: `0`, `"logits"`, or a
            function of what it returned.
        observe: When the models are looked at while they train, `memaudit.Observe(...)`; it changes none of them.
        privacy: `DPSGD(...)` for differentially private training; `batch_size` is then the expected size of a batch.
        mixup: α of mixup: each batch is mixed with itself in another order, inputs and losses alike, with a weight
            drawn from Beta(α, α) (Zhang et al. 2018). 0: none.
        federated: `FedAvg(...)` for federated averaging over clients, which are the groups of the examples.
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
    outputs: Literal["logits"] | None = field(default=None, metadata=_AS_LOGITS)
    output: Output | None = field(default=None, metadata=_IF_GIVEN)
    observe: Observe = field(default=Observe(), metadata=_OF_LOOKS)
    privacy: DPSGD | None = field(default=None, metadata=_IF_GIVEN)
    mixup: float = field(default=0.0, metadata=_IF_MIXED)
    federated: FedAvg | None = field(default=None, metadata=_IF_GIVEN)

    def __post_init__(self) -> None:
        _require_loop(self.epochs, self.batch_size, self.schedule)
        if not 0 <= self.mixup < math.inf:
            raise RecipeError(f"mixup={self.mixup}: α of Beta(α, α) is a number above 0; 0 trains without mixup")
        if self.mixup and self.privacy is not None:
            raise RecipeError("mixup mixes examples, so that no clipping bounds one's influence: DP-SGD excludes it")
        if self.outputs not in (None, "logits"):
            raise RecipeError(
                f"outputs={self.outputs!r}: ClassifierRecipe trains on the cross-entropy of logits; remove the softmax "
                "or sigmoid at the end of the network, or use CallableRecipe with a train() of your own"
            )
        _require_federation(self)


@dataclass(frozen=True, slots=True)
class Probes:
    """What a language model is asked, beside how likely every document is.

    Args:
        canaries: So many numeric canaries, or canaries, or a function that returns them.
        doses: How often a canary is planted in a model that has it, drawn for every model and canary; half of the
            models lack it.
        references: Other secrets that a canary is ranked among, if its space is larger than this; else all are.
        suffix: Tokens that must be continued word for word in a test of extraction.
        contexts: Tokens that are shown before them.
        records: Documents that are tested for extraction, at most.
        secrets: The user's own secrets that are sought in the documents: so many e-mail addresses, phone, account and
            card numbers and keys, at most; beside these a list of secrets and compiled patterns, or a `Path` to a file
            with a secret a line; or all that `memaudit.Secrets` can name.
        decoys: Made-up secrets of the same form that each of them is ranked among.
        watched: Documents whose memorization is recorded after every epoch, at most.
        generated: Texts that the audited model is made to write by each of three samplers; shadows are not.
        written: Tokens of each, 20 or more, and at most half a context.
    """

    canaries: int | tuple[Canary, ...] | Callable[[], Sequence[Canary]] = 16
    doses: tuple[int, ...] = (1, 2, 4, 8, 16)
    references: int = 1000
    suffix: int = 50
    contexts: tuple[int, ...] = (50,)
    records: int = 1000
    secrets: int | Path | re.Pattern[str] | Sequence[str | re.Pattern[str]] | Secrets = 50
    decoys: int = 200
    watched: int = 256
    generated: int = field(default=100, metadata=_OF_TARGET)
    written: int = field(default=64, metadata=_OF_TARGET)

    def __post_init__(self) -> None:
        if not self.doses or not all(1 <= dose <= MOST_COPIES for dose in self.doses):
            raise RecipeError(f"doses must be between 1 and {MOST_COPIES}, got {self.doses}; dose 0 comes by itself")
        if self.suffix < 1 or not self.contexts or min(self.contexts) < 1:
            raise RecipeError(f"suffix and contexts are at least 1 token, got {self.suffix} and {self.contexts}")
        if not isinstance(self.secrets, int):  # never kept as they are: a fingerprint writes parameters down
            object.__setattr__(self, "secrets", Secrets.of(self.secrets))
        most = self.sought.most
        counts = (self.references, self.records, most, self.decoys, self.watched, self.generated, self.written)
        if min(counts) < 0 or min(self.references, self.decoys) < 1:
            raise RecipeError(f"numbers of probes cannot be negative, nor references and decoys 0, got {counts}")
        if self.generated and self.written < LEAST_WRITTEN:
            raise RecipeError(
                f"written = {self.written}: a generated text has at least {LEAST_WRITTEN} tokens, as fewer cannot be "
                "ranked; ask for more, or for no texts with generated=0"
            )

    @property
    def sought(self) -> Secrets:
        """Which of the user's own secrets are sought."""
        return Secrets.of(self.secrets)

    @property
    def longest(self) -> int:
        """Which of the contexts is the longest."""
        return self.contexts.index(max(self.contexts))


@dataclass(frozen=True, slots=True)
class LanguageModelRecipe:
    """A language model trained by memaudit's own loop: from scratch, from a base, or as adapters on a base.

    Causal models and encoder-decoders are trained on the cross-entropy of the tokens that the rendering counts. Masked
    models are trained on that of 15 % of them, drawn at random in every epoch: of these 80 % are replaced by the
    mask token, 10 % by a random one, and 10 % stay (Devlin et al. 2019).

    Args:
        documents: Returns the population.
        rendering: How documents become training rows, and what the model predicts: `Rendering(objective=...)`.
        model: Returns an untrained model of the transformers library; for training from scratch.
        base: The folder of a pretrained model; for fine-tuning.
        adapter: A configuration of the peft library, such as `LoraConfig(r=8)`: the base stays as it is, and only
            adapters on it are trained and stored.
        epochs: Passes over the training set.
        batch_size: Rows per step.
        optimizer: As for ClassifierRecipe.
        schedule: Of the learning rate, per step: constant, or half a cosine from full to zero.
        clip: Largest norm of the gradient.
        probes: What the models are asked.
        observe: When the models are looked at while they train, `memaudit.Observe(...)`; it changes none of them.
    """

    documents: Callable[[], Documents]
    rendering: Rendering
    model: Callable[[], Module] | None = None
    base: str | Path | None = None
    adapter: Any = None
    epochs: int = 1
    batch_size: int = 16
    optimizer: Callable[[Iterable[Parameter]], Optimizer] = AdamW()
    schedule: Literal["constant", "cosine"] = "constant"
    clip: float = 1.0
    probes: Probes = field(default_factory=Probes)
    observe: Observe = field(default=Observe(), metadata=_OF_LOOKS)

    def __post_init__(self) -> None:
        if (self.model is None) == (self.base is None):
            raise RecipeError(
                "a language model starts from model=... (untrained) or from base=... (a folder), not both"
            )
        if self.adapter is not None and self.base is None:
            raise RecipeError("adapters need the model that they are put on: base=...")
        if self.adapter is not None and not hasattr(self.adapter, "peft_type"):
            raise RecipeError(f"adapter must be a configuration of peft, such as LoraConfig(r=8), got {self.adapter!r}")
        _require_loop(self.epochs, self.batch_size, self.schedule)
        if not self.clip > 0:
            raise RecipeError(f"clip is the largest norm of a gradient and must be above 0, got {self.clip}")


@dataclass(frozen=True, slots=True)
class CallableRecipe:
    """Train with the user's own code.

    Args:
        examples: Returns the population; `Documents` for a language model.
        train: `train(dataset, *, seed, device)` returns a trained model: a torch network, or anything with
            `predict_proba` or `decision_function`, or with `predict` for a regression. The dataset is the `Examples` of
            the training set: a map-style dataset of (input, label), with all inputs at hand as `.x`, the labels as
            numbers as `.y`, and as they were given as `.labels`. For a language model it is the list
            of texts to train on, canaries among them, and a causal language model is returned: its
            `forward(input_ids)` returns logits [texts, tokens, vocabulary], alone or as `.logits`, those at token t for
            token t + 1. It is given an attention mask and a cache where it takes them. docs/language-models.md says
            what encoder-decoders, masked models and models of any other class return. None if no model can be
            trained: the audit then has no shadow models.
        load: `load(path)` returns the model that the file holds; its safety is the user's responsibility.
        model: Returns an untrained network; with it, model files are loaded by memaudit, and `load` is not needed.
        queries: Further fixed views of the inputs to score each example by.
        rendering: For a language model: how `train` turns texts into rows.
        probes: For a language model: what it is asked.
        outputs: What the trained model returns: "logits", "probabilities" (rows sum to 1, or one column for class 1),
            "log-probabilities", or "one-vs-rest" (a sigmoid for each class). Without it, a network's outputs are read
            as logits, and refused if they look like probabilities.
        output: As for ClassifierRecipe.
        token_logprobs: For a language model of any class, with another output than logits:
            `token_logprobs(model, ids)` takes token ids [texts, tokens], all texts of one length, and returns in the
            same shape the log-probability in nats of each token given those before it. The first column is not used.
        observe: As for ClassifierRecipe, where `train` calls `memaudit.observe(model, epoch)`.
    """

    examples: Callable[[], Examples | Documents]
    train: Callable[..., Any] | None = None
    load: Callable[[str], Any] | None = None
    model: Callable[[], Module] | None = None
    queries: tuple[Query, ...] = ()
    rendering: Rendering | None = None
    probes: Probes = field(default_factory=Probes)
    outputs: Outputs | None = field(default=None, metadata=_AS_LOGITS)
    output: Output | None = field(default=None, metadata=_IF_GIVEN)
    token_logprobs: Callable[..., Any] | None = field(default=None, metadata=_IF_GIVEN)
    observe: Observe = field(default=Observe(), metadata=_OF_LOOKS)

    def __post_init__(self) -> None:
        if self.outputs not in (None, *get_args(Outputs)):
            raise RecipeError(f"outputs={self.outputs!r}: choose one of {', '.join(map(repr, get_args(Outputs)))}")
        if self.token_logprobs is None:
            return
        if self.rendering is None or self.rendering.objective != "causal":
            raise RecipeError(
                "token_logprobs scores each token given those before it, in the rows that rendering= makes of "
                'documents: give rendering=memaudit.Rendering(...), with objective="causal"'
            )


@dataclass(frozen=True, slots=True)
class EstimatorRecipe:
    """A scikit-learn estimator: a clone of it is fitted for every model, with every `random_state` set.

    Args:
        examples: Returns the population. The estimator is fitted on its inputs in the form in which they were given.
        estimator: Unfitted, with `predict_proba` or `decision_function`, or a regressor; a pipeline will do.
        trusted: Types that the audited file may hold beside those of scikit-learn, such as "my_package.MyScaler":
            loading it runs their code.
    """

    examples: Callable[[], Examples]
    estimator: Any
    trusted: tuple[str, ...] = field(default=(), metadata=_OF_TARGET)

    def __post_init__(self) -> None:
        has = any(hasattr(self.estimator, name) for name in ("predict_proba", "decision_function"))
        if not has and not is_regressor(self.estimator) and not _chooses_when_fitted(self.estimator):
            raise RecipeError(
                f"{self.estimator!r} has neither predict_proba nor decision_function. Choose one that has "
                '(voting="soft", loss="log_loss"), or wrap it in CalibratedClassifierCV'
            )


class Step:
    """What a derivation does, as a dataclass of settings: each of them is a line of the bank's fingerprint.

    `data` is what it has to be given, where it cannot do with anything else.
    """

    __slots__ = ()
    data: ClassVar[str] = ""


Recipe = ClassifierRecipe | LanguageModelRecipe | CallableRecipe | EstimatorRecipe | GeneratorRecipe


def asking(recipe: Any) -> dict[str, Any]:
    """Return how every model of a recipe is asked: `queries`, `outputs` and `output`, as arguments of `measure`.

    A generator is asked by the functions of its recipe.
    """
    if isinstance(recipe, GeneratorRecipe):
        return {"generator": recipe}
    return {name: getattr(recipe, name, default) for name, default in _ASKED}


def is_regressor(estimator: Any) -> bool:
    """Return whether an estimator of scikit-learn's kind predicts numbers."""
    from sklearn import base

    try:
        return bool(base.is_regressor(estimator))
    except (AttributeError, TypeError):  # of an object that does not say what it is
        return False


def _chooses_when_fitted(estimator: Any) -> bool:
    """Return whether an estimator takes its last step from a default, in fit(): as StackingClassifier does."""
    parameters = estimator.get_params() if hasattr(estimator, "get_params") else {}
    return any(name.endswith("final_estimator") and value is None for name, value in parameters.items())


def _require_federation(recipe: ClassifierRecipe) -> None:
    if recipe.federated is None:
        return
    if recipe.privacy is not None:
        raise RecipeError(
            "privacy=DPSGD(...) and federated=FedAvg(...) are two training loops; leave one of them out, or write both "
            "into the train() of a CallableRecipe"
        )
    if recipe.federated.local_epochs > recipe.epochs:
        raise RecipeError(
            f"FedAvg: local_epochs = {recipe.federated.local_epochs} is more than the whole training's {recipe.epochs}"
        )


def _require_loop(epochs: int, batch_size: int, schedule: str) -> None:
    if epochs < 1 or batch_size < 1:
        raise RecipeError(f"epochs and batch_size must be at least 1, got {epochs} and {batch_size}")
    if schedule not in ("constant", "cosine"):
        raise RecipeError(f'schedule must be "constant" or "cosine", got {schedule!r}')
