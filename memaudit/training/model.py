"""Making one shadow model: train it, take its signals, store it."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import copy, deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary
from zlib import crc32

import numpy as np
from jaxtyping import UInt8

from memaudit.bank import Bank
from memaudit.bank.inputs import on_the_banks_disk, require_inputs, require_own_checkpoints
from memaudit.canaries.doses import doses
from memaudit.design import Design, Draw, one_class, redrawn, training_seed
from memaudit.errors import MemauditError, RecipeError
from memaudit.recipe import (
    CallableRecipe,
    ClassifierRecipe,
    EstimatorRecipe,
    Examples,
    GeneratorRecipe,
    LanguageModelRecipe,
    Population,
    Recipe,
    TextPopulation,
    changing,
    checkpoints_of,
    inputs_of,
    recipe_folder,
    training,
)
from memaudit.recipe.blame import blame
from memaudit.recipe.labels import Task
from memaudit.recipe.networks import each, is_network, tensors
from memaudit.recipe.populations import candidates, counts_of_candidates, number_of_units
from memaudit.recipe.recipes import asking
from memaudit.recipe.weights import weights_of
from memaudit.signals import measure
from memaudit.signals.evaluate import LOOK
from memaudit.signals.observing import Observer, observer_of, watched
from memaudit.signals.sense import require_sense

if TYPE_CHECKING:
    from memaudit.training.classifier import Course

Array = np.ndarray

_SEEDS = ("random_state", "random_seed")
_TRIED = 50  # examples, of a single class, to see whether an estimator can be fitted to one


@dataclass(frozen=True)
class Workshop:
    """All that the models of one bank have in common; the data goes to the device once.

    Without a design, the models are trained on halves. `pack` models are trained at once; None: as many as is fastest.
    """

    recipe: Recipe
    examples: Population
    seed: int
    device: str
    keep_weights: bool = True
    design: Design | None = None
    pack: int | None = None
    _checksum: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.recipe, CallableRecipe) and self.recipe.train is None:
            raise RecipeError(
                "the recipe has no train function, so no shadow model can be trained. Give "
                "CallableRecipe(train=...), or audit without shadow models (--shadows 0)"
            )
        object.__setattr__(self, "_checksum", _checksum(self.examples))

    @cached_property
    def _design(self) -> Design:
        return Design.halves(number_of_units(self.examples)) if self.design is None else self.design

    @cached_property
    def measured(self) -> Population:
        """What models are asked about: the candidates."""
        return candidates(self.examples, self._design)

    @cached_property
    def _on_device(self) -> tuple[Any, Any]:
        assert isinstance(self.examples, Examples)
        return on_device(self.examples, self.device)

    @cached_property
    def _returned(self) -> WeakValueDictionary[int, Any]:
        return WeakValueDictionary()  # models that train() returned, while they exist

    @cached_property
    def _answers(self) -> dict[bytes, UInt8[Array, " ids"]]:
        return {}  # digests of networks' signals, and what these were trained on

    def require_unchanged(self, step: str) -> None:
        """Raise RecipeError if the user's code has changed the population, and with it all further models.

        What it is given are copies; but `examples()` may return arrays that the user's code keeps, and works on.
        """
        if _checksum(self.examples) != self._checksum:
            raise RecipeError(
                f"{step} changed the examples in place: they are not those that examples() returned. Work on a copy, "
                "or let examples() return one: memaudit.Examples(x.copy(), y.copy())"
            )

    def counts(self, model: int) -> UInt8[Array, " ids"]:
        """Return how often one model of the bank is trained on each example, and on each canary."""
        if not isinstance(self.examples, TextPopulation):
            return self._design.row(self.seed, model, self.examples.unit_of, self.examples.strata)
        alike = self._design.draw is Draw.LEAVE_ONE_OUT  # canaries are then planted in all models as in the first
        planted = doses(self.seed, 0 if alike else model, len(self.examples.canaries), self.examples.probes.doses)
        return np.concatenate([self._design.row_of_units(self.seed, model), planted])

    def given(self, model: int) -> Examples:
        """Return the examples with the labels that one model of the bank is trained on."""
        assert isinstance(self.examples, Examples)
        y, unit_of, share = self.examples.y, self.examples.unit_of, self._design.label_noise
        return self.examples.relabelled(redrawn(self.seed, model, y, unit_of, self.examples.classes, share))

    def with_labels(self, examples: Examples) -> Workshop:
        """Return the same workshop for training on other labels; it measures on the examples' own."""
        import torch

        known = {
            "examples": examples,
            "measured": self.measured,
            "_returned": self._returned,
            "_answers": self._answers,
        }
        other = copy(self)
        vars(other).update(known | {"_checksum": _checksum(examples)})
        if isinstance(self.recipe, ClassifierRecipe):
            x, y = self._on_device
            vars(other)["_on_device"] = x, torch.as_tensor(examples.y).to(y.device)
        return other

    def require_classes(self) -> None:
        """Raise RecipeError if half of the models would be trained on one class, and the estimator refuses that."""
        examples = self.examples
        if not isinstance(self.recipe, EstimatorRecipe) or not isinstance(examples, Examples):
            return
        if examples.task is not Task.CLASSIFICATION:
            return
        counts = self.counts(0)
        if not one_class(np.stack([counts, self.counts(1)]), examples.y):
            return
        common = np.flatnonzero(examples.y == np.bincount(examples.y).argmax())[:_TRIED]
        only = np.zeros_like(counts)
        only[common] = 1
        try:
            self.train(only, self.seed)
        except RecipeError as error:
            if not self._design.is_halves:
                raise RecipeError(
                    "a training set of the design has examples of a single class, so that its model cannot be "
                    f"trained ({self._design.words}). Name more candidates, or another share. {error}"
                ) from error
            units = {int(label): examples.unit_of[examples.y == label] for label in np.unique(examples.y)}
            told = ", ".join(f"class {label} has {len(np.unique(of))}" for label, of in units.items())
            raise RecipeError(
                f"one half of the examples always has a single class ({told}; copies and groups count as one), so that "
                "half of the shadow models cannot be trained. Leave out the class that has one example, or add "
                f"examples of it. {error}"
            ) from error

    def make(self, bank: Bank, model: int, more: dict[str, Any] | None = None) -> None:
        """Train one model of the bank and store it; its record says `more` where that is given.

        Raises:
            RecipeError: The user's code failed, or what it returned is no model; says which model it was.
            BankError: The result could not be stored.
        """
        counts, seed = self.counts(model), training_seed(self.seed, model)
        started, since = time.perf_counter(), time.time()
        with numbered(model):
            shop = self.for_model(model)
            made = shop.produce(model, counts, seed)
        span = {"host": socket.gethostname(), "from": since, "to": time.time()}
        record = {"seed": seed, "seconds": time.perf_counter() - started} | (more or {})
        self.keep(bank, model, shop, counts, made, record, span)

    def for_model(self, model: int) -> Workshop:
        """Return the workshop that has the labels which a model is trained on."""
        return self.with_labels(self.given(model)) if self._design.label_noise else self

    def keep(
        self,
        bank: Bank,
        model: int,
        shop: Workshop,
        counts: UInt8[Array, " ids"],
        made: tuple[Any, dict[str, Array], Observer],
        record: dict[str, Any],
        span: dict[str, Any],
    ) -> None:
        """Measure a trained model and store it; `shop`, `made` and `span` say by whom, as what and when it was made.

        Raises: As for `make`.
        """
        trained, dynamics, observer = made
        with numbered(model):
            files = checkpoints_of(self.recipe)
            started = time.perf_counter()
            shop.require_unchanged("training")
            with changing(self.recipe):
                signals, seen = self.measured_with_looks(trained, observer)
                signals |= {} if shop is self else self._fitted(trained, shop.examples)
            shop.require_sound(trained, counts, record["seed"], signals)
            evaluation = time.perf_counter() - started
            shop.require_unchanged("scoring")
            read = inputs_of(self.recipe)
        require_inputs(bank, recipe_folder(self.recipe), model, read)
        disk = on_the_banks_disk(bank, recipe_folder(self.recipe), files)
        bank.write(
            model,
            {**self.memberships(counts), **signals, **dynamics, **seen},
            self.weights(trained),
            {**record, "seconds": round(record["seconds"], 3), "evaluation": round(evaluation, 3)}
            | {"device": self.device}
            | ({"inputs": read} if read else {})
            | ({"checkpoints": span | {"files": files} | disk} if files else {})
            | self.origin(model),
        )
        if files:
            require_own_checkpoints(bank)

    def produce(self, model: int, counts: UInt8[Array, " ids"], seed: int) -> tuple[Any, dict[str, Array], Observer]:
        """Return one model of the bank, what was recorded while it was made, and who observed it."""
        with watched(observer_of(self.recipe, self.measured)) as observer:
            return *self.train(counts, seed), observer

    def require_sound(self, trained: Any, counts: UInt8[Array, " ids"], seed: int, signals: dict[str, Array]) -> None:
        """Raise MemauditError if a trained model cannot be what training makes."""
        with changing(self.recipe):
            self._require_next_token(trained)
        if isinstance(self.measured, Examples):
            self._require_own(trained, counts, seed, signals["phi"])
            self._require_sense(signals, counts)

    def origin(self, model: int) -> dict[str, Any]:
        """Return what the record of a model says of where it comes from."""
        return {}

    @property
    def code(self) -> tuple[Any, ...]:
        """What holds the user's code: worker processes must find the same."""
        return (self.recipe,)

    def _fitted(self, trained: Any, given: Population) -> dict[str, Array]:
        """Return the labels that a model was given, by candidate, and whether it predicts them."""
        asked = candidates(given, self._design)
        assert isinstance(asked, Examples)
        fitted = measure(trained, asked, device=self.device, **asking(self.recipe))["correct"]
        return {"given": asked.y.astype(np.int32), "fitted": fitted}

    def _require_sense(self, signals: dict[str, Array], counts: UInt8[Array, " ids"]) -> None:
        """Raise ModelError if a model does worse on its training set, with its own labels, than one that knows nothing.

        Raises:
            ModelError: As for `require_sense`.
        """
        assert isinstance(self.measured, Examples)
        asked, answers = self.measured, signals
        if "given" in signals:
            asked = asked.relabelled(signals["given"].astype(asked.y.dtype))
            answers = signals | {"correct": signals["fitted"]}
        require_sense(answers, self.memberships(counts)["members"], asked)

    def memberships(self, counts: UInt8[Array, " ids"]) -> dict[str, Array]:
        """Return how often a model was trained on each candidate and canary, as it is stored."""
        counts = counts_of_candidates(self.examples, self._design, counts)
        if not isinstance(self.measured, TextPopulation):
            return {"members": counts}
        return {"members": counts[: len(self.measured)], "doses": counts[len(self.measured) :]}

    def weights(self, trained: Any) -> bytes | None:
        """Return a network's weights as a safetensors file; None if they are not kept, or it is no network."""
        return _weights(trained) if self.keep_weights else None

    def measured_with_looks(self, trained: Any, observer: Observer) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return the signals of a trained model, and what was seen of it: the last look is a part of measuring it."""
        recorded = measure(
            trained,
            self.measured,
            device=self.device,
            look=observer.ends and is_network(trained),
            **asking(self.recipe),
        )
        taken = {name: recorded.pop(name) for name in list(recorded) if name.startswith(LOOK)}
        with blame("observing the model"):
            seen = observer.tensors(trained, {name.removeprefix(LOOK): values for name, values in taken.items()})
        return recorded, seen

    def measure(self, trained: Any) -> dict[str, Array]:
        """Return the signals of a trained model over the candidates, by name."""
        return measure(trained, self.measured, device=self.device, **asking(self.recipe))

    def _require_next_token(self, trained: Any) -> None:
        """Raise ModelError if a user's own loop trained a language model on labels that are not shifted.

        Only of a whole training: a model that is hardly trained also says what it has just read.
        """
        if isinstance(self.recipe, CallableRecipe) and isinstance(self.examples, TextPopulation):
            from memaudit.signals.reading import reading

            reading(trained, self.examples, self.device).require_trained()

    def _require_own(self, trained: Any, counts: UInt8[Array, " ids"], seed: int, phi: Array) -> None:
        """Raise RecipeError if train() returns one object for several models, each going on from the one before.

        An object that is fitted afresh at every call is the same model when it is fitted again.
        """
        reused = self._returned.get(id(trained)) is trained
        with suppress(TypeError):  # of a class with slots there are no weak references
            self._returned[id(trained)] = trained
        if reused and not np.allclose(self.measure(self.train(counts, seed)[0])["phi"], phi, 1e-2, 1e-2):
            raise RecipeError(
                "train() returned the same object as for an earlier model, and it is another model when it is trained "
                "again: it goes on from its earlier training. Build a new one at every call"
            )

    def with_epochs(self, epochs: int) -> Workshop:
        """Return the same workshop with another number of epochs; the data on the device is not sent there again."""
        assert isinstance(self.recipe, ClassifierRecipe | LanguageModelRecipe)
        other = copy(self)
        vars(other)["recipe"] = replace(self.recipe, epochs=epochs)
        return other

    def train_observed(self, counts: UInt8[Array, " examples"], seed: int) -> tuple[Any, dict[str, Array]]:
        """Return the same as `train`, and what was seen of the measured examples while the model trained."""
        with watched(observer_of(self.recipe, self.measured)) as observer:
            trained, dynamics = self.train(counts, seed)
            with changing(self.recipe), blame("observing the model"):
                return trained, dynamics | observer.tensors(trained)

    def train(self, counts: UInt8[Array, " examples"], seed: int) -> tuple[Any, dict[str, Array]]:
        """Return a model trained on each example as often as it is counted, and what training recorded on the way."""
        with training(self.recipe):
            return self._train(counts, seed)

    def _train(self, counts: UInt8[Array, " examples"], seed: int) -> tuple[Any, dict[str, Array]]:
        match self.recipe:
            case ClassifierRecipe():
                with blame("training"):
                    return seeded(seed, self._classifier, counts)
            case LanguageModelRecipe():
                with blame("training"):
                    return seeded(seed, self._language_model, counts)
            case CallableRecipe():
                with blame("train()"):
                    return seeded(seed, self._user_loop, counts), {}
            case GeneratorRecipe():
                with blame("train()"):
                    return seeded(seed, self._generator, counts), {}
            case EstimatorRecipe():
                with blame("fit()"):
                    return seeded(seed, self._estimator, counts), {}

    def course(self, counts: UInt8[Array, " examples"], seed: int, observer: Observer) -> Course:
        """Return the course of a model that a ClassifierRecipe trains, at its beginning; draws from all generators."""
        from memaudit.training.classifier import Course

        assert isinstance(self.recipe, ClassifierRecipe)
        reseed(seed)
        return Course(self.recipe, *self._on_device, counts, seed, show=observer.see)

    def _classifier(self, counts: UInt8[Array, " examples"], seed: int) -> tuple[Any, dict[str, Array]]:
        from memaudit.training.classifier import train_classifier

        assert isinstance(self.recipe, ClassifierRecipe) and isinstance(self.examples, Examples)
        clients = self.examples.unit_of
        return train_classifier(self.recipe, *self._on_device, counts, seed, clients=clients), {}

    def _language_model(self, counts: UInt8[Array, " ids"], seed: int) -> tuple[Any, dict[str, Array]]:
        from memaudit.training.language import train_language_model

        assert isinstance(self.recipe, LanguageModelRecipe) and isinstance(self.examples, TextPopulation)
        assert isinstance(self.measured, TextPopulation)
        watched = np.flatnonzero(self._design.measured)[self.measured.watched]
        return train_language_model(self.recipe, self.examples, counts, seed, self.device, watched)

    def _user_loop(self, counts: UInt8[Array, " ids"], seed: int) -> Any:
        assert isinstance(self.recipe, CallableRecipe)
        assert self.recipe.train is not None
        text = self.examples if isinstance(self.examples, TextPopulation) else None
        training_set = self._training_set(counts) if text is None else deepcopy(text.texts(counts))
        model = self.recipe.train(training_set, seed=seed, device=self.device)
        numbers = ("predict",) if text is None and self._task is Task.REGRESSION else ()
        if not any(hasattr(model, name) for name in ("state_dict", "predict_proba", "decision_function", *numbers)):
            raise RecipeError(f"train() returned {type(model).__name__}; return the trained network or estimator")
        return model

    def _generator(self, counts: UInt8[Array, " examples"], seed: int) -> Any:
        assert isinstance(self.recipe, GeneratorRecipe)
        model = self.recipe.train(self._training_set(counts), seed=seed, device=self.device)
        if model is None:
            raise RecipeError("train() returned nothing; return the trained generator")
        return model

    def _estimator(self, counts: UInt8[Array, " examples"], seed: int) -> Any:
        assert isinstance(self.recipe, EstimatorRecipe)
        return fitted(self.recipe.estimator, self._training_set(counts), seed)

    @property
    def _task(self) -> Task | None:
        return getattr(self.examples, "task", None)

    def _training_set(self, counts: UInt8[Array, " examples"]) -> Examples:
        assert isinstance(self.examples, Examples)
        return self.examples.take(np.repeat(np.arange(len(counts)), counts))


def fitted(estimator: Any, training_set: Examples, seed: int) -> Any:
    """Return a clone of an estimator, fitted with every random state set."""
    from sklearn.base import clone

    estimator = clone(estimator)
    random = [name for name in estimator.get_params() if name.rpartition("__")[2] in _SEEDS]
    if not random and type(estimator).__module__.startswith("catboost."):  # it lists only what was set
        random = ["random_seed"]
    estimator.set_params(**dict.fromkeys(random, seed))
    return estimator.fit(training_set.x, training_set.labels)


def on_device(examples: Examples, device: str) -> tuple[Any, Any]:
    """Return inputs and labels as tensors on a device."""
    import torch

    narrow = device.startswith("mps")  # which has no float64

    def sent(part: torch.Tensor) -> torch.Tensor:
        return (part.float() if narrow and part.dtype == torch.float64 else part).to(device)

    return each(tensors(examples.x), sent), sent(torch.as_tensor(examples.y))


def seeded(seed: int, train: Callable[[Array, int], Any], counts: Array) -> Any:
    """Return what training returns; the caller's random state is as before, whatever training draws."""
    import torch

    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002  # users' loops draw from it
    with torch.random.fork_rng():
        reseed(seed)
        try:
            return train(counts, seed)
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)


def reseed(seed: int) -> None:
    """Seed all global random generators, for the user's code."""
    import torch

    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


@contextmanager
def numbered(model: int) -> Iterator[None]:
    """Say of an error in the making of a model which one it was."""
    try:
        yield
    except MemauditError as error:
        raise RecipeError(f"shadow model {model}: {error}") from error


def _checksum(population: Population) -> int:
    """Return a number that changes with the inputs and labels of examples; texts cannot be changed."""
    if not isinstance(population, Examples):
        return 0
    return crc32(np.ascontiguousarray(population.y).data, population.inputs.checksum())


def _weights(model: Any) -> bytes | None:
    """Return a network's weights as the content of a safetensors file; None for models that are no networks."""
    if not hasattr(model, "state_dict"):
        return None
    from safetensors.torch import save

    return save(weights_of(model))
