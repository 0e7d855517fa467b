"""A bank of derived models: each is made from a model of another bank by a function, and stored as any model is.

The parent's models are read from their weights and stay as they are. Who was trained on what is the parent's matter;
`seen` of each child says what the derivation was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from memaudit.bank import Bank
from memaudit.bank.inputs import require_inputs
from memaudit.errors import BankError, RecipeError
from memaudit.recipe import (
    Derivation,
    EstimatorRecipe,
    Examples,
    Population,
    Recipe,
    TextPopulation,
    changing,
    derivation_lines,
    fingerprint,
    load_recipe,
    load_target,
    members_beside,
    membership,
    recipe_folder,
    training,
)
from memaudit.recipe.blame import blame
from memaudit.recipe.labels import Task
from memaudit.recipe.networks import is_network
from memaudit.recipe.observe import Observe
from memaudit.recipe.populations import counts_of_candidates, number_of_units, population
from memaudit.recipe.pretrained import base_answers, require_same_base
from memaudit.recipe.recipes import Step, asking
from memaudit.recipe.target import require_model_file
from memaudit.signals.observing import Observer, watched
from memaudit.training.filling import Progress, Shard, complete, discard
from memaudit.training.machine import choose_device, one_thread
from memaudit.training.model import Workshop, seeded
from memaudit.training.stored import require_recorded, stored_model

Array = np.ndarray

_PROBED = 64  # texts by which loaded weights are compared with what the parent recorded


def derive(
    path: str | Path,
    bank: Bank | str | Path,
    recipe: Recipe | str,
    derivation: Derivation | Callable[..., Any],
    *,
    shadows: int | None = None,
    workers: int = 1,
    shard: Shard | None = None,
    device: str = "auto",
    weights: bool = True,
    examples: Population | None = None,
    progress: Callable[[Progress], None] | None = None,
    repaired: Callable[[int, str], None] | None = None,
) -> Bank:
    """Return the bank in a folder after making every child that it lacks from a model of another bank.

    It resumes, grows and is shared as `fill` does it.

    Args:
        path: The folder of the children; made if there is none.
        bank: The parent: a bank that was filled, or derived, with weights.
        recipe: That of the parent.
        derivation: How a child is made; a function alone is given the parent's members.
        shadows: Only the children of the first so many models; by default of all.
        workers: As for `fill`; more than one needs a derivation that can be imported.
        shard: Make this part of the children only.
        device: As for `fill`.
        weights: Whether to keep the children's weights: without them, nothing can be derived from the children.
        examples: The recipe's population, where it has been made already.
        progress: Called now and then.
        repaired: Called with (model, what was wrong) for each child that is made again: it was damaged, or its parent
            has other weights by now.

    Raises:
        RecipeError: The recipe's models cannot be derived from, or the derivation failed.
        BankError: The parent lacks weights or models, or is another recipe's; the folder holds other models.
    """
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    derivation = derivation if isinstance(derivation, Derivation) else Derivation(derivation)
    parent = bank if isinstance(bank, Bank) else Bank.open(bank)
    wanted = _wanted(parent, recipe, shadows, shard)
    examples = population(recipe) if examples is None else examples
    seed = int(parent.fingerprint["seed"])
    own = parent.design_lines | parent.derivation_lines
    parent.require(fingerprint(recipe, examples, seed) | own)
    _require_same_training(derivation, recipe, examples)
    require_inputs(parent, recipe_folder(recipe))
    design = parent.design(number_of_units(examples))
    workshop = _Workshop(
        recipe, examples, seed, choose_device(device), weights, design, derivation=derivation, parent=parent
    )
    if Path(path).resolve() == parent.path.resolve():
        raise BankError(f"{path} is the parent itself; name another folder for the children")
    lines = {name: value for name, value in parent.fingerprint.items() if not name.startswith(("design", "derivation"))}
    children = Bank.create(path, len(examples), lines | derivation_lines(derivation, parent.fingerprint), design)
    discard(children, lambda model: children.damage(model) or changed_parent(parent, children, model), repaired)
    complete(workshop, children, wanted, workers, progress)
    return children


def changed_parent(parent: Bank, children: Bank, model: int) -> str | None:
    """Return what is wrong with a child whose parent's weights are not those it was made from.

    None if they are, and also if that parent is not there: its child cannot be made again.
    """
    if not parent.has(model):
        return None
    made_from = children.record(model).get("parent", {}).get("sha256")
    if made_from == parent.weights_sha256(model):
        return None
    return f"model {model} of {parent.path} has other weights than its child was derived from"


def derive_target(
    model: str | Path,
    recipe: Recipe | str,
    derivation: Derivation | Callable[..., Any],
    *,
    members: str | Path | Iterable[Any] | None = None,
    seed: int | None = None,
    device: str = "auto",
    state_dict: str | None = None,
) -> Any:
    """Return what a derivation makes of a trained model, as it is made of a bank's; `save_target` stores it.

    Args:
        model: The file with the model's weights, or a language model's folder.
        recipe: How it was made.
        derivation: As for `derive`.
        members: Who it was trained on; by default the file that `save_target` wrote.
        seed: That the model was trained with; by default 0, but a derivation that repeats the training needs it.
        device: As for `fill`.
        state_dict: Which of several sets of weights in the file is the model.

    Raises:
        MemauditError: The model does not load, or the derivation failed, or repeats the training and lacks its seed.
    """
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    derivation = derivation if isinstance(derivation, Derivation) else Derivation(derivation)
    _require_networks(recipe)
    if seed is None and _repeats(derivation):
        raise RecipeError(f"{type(derivation.function).__name__} repeats the training; give its seed=")
    seed, examples = 0 if seed is None else seed, population(recipe)
    _require_same_training(derivation, recipe, examples)
    require_model_file(Path(model))
    counts = membership(members_beside(model) if members is None else members, examples).counts
    text = examples if isinstance(examples, TextPopulation) else None
    network = load_target(model, recipe, text, state_dict)
    on = choose_device(device)
    network.to(on)
    with one_thread():
        return _derived(derivation, network, recipe, examples, derivation.seen(examples, counts, seed), seed, on)


def _repeats(derivation: Derivation) -> bool:
    """Return whether a derivation repeats the training of its parent."""
    return isinstance(derivation.function, Step) and bool(derivation.function.data)


def _require_same_training(derivation: Derivation, recipe: Recipe, examples: Population) -> None:
    """Raise RecipeError if a derivation repeats another training than that of its parent."""
    if not _repeats(derivation):
        return
    one, other = (fingerprint(of, examples, 0) for of in (recipe, derivation.function.recipe))  # type: ignore[attr-defined]
    if changed := sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name)):
        raise RecipeError(
            f"{type(derivation.function).__name__} repeats the training of the model, by another recipe "
            f"({', '.join(changed[:3])}). Give it the recipe that the model was trained by"
        )


@dataclass(frozen=True, kw_only=True)
class _Workshop(Workshop):
    """Makes children: a model's training is the derivation, and its memberships are those of its parent."""

    derivation: Derivation
    parent: Bank

    @property
    def code(self) -> tuple[Any, ...]:
        """The recipe and the derivation."""
        return self.recipe, self.derivation

    def produce(self, model: int, counts: UInt8[Array, " ids"], seed: int) -> tuple[Any, dict[str, Array], Observer]:
        """Return the child of one model, with `seen`, `divergence` where the two are classifiers, and its observer."""
        network = self._parent_of(model)
        self._require_parent(network, model)
        with training(self.recipe), blame("the data function of the derivation"):
            seen = seeded(seed, lambda counts, seed: self.derivation.seen(self.examples, counts, seed), counts)
        with watched(self._observer()) as observer:
            child = _derived(self.derivation, network, self.recipe, self.examples, seen, seed, self.device)
        recorded = {"seen": counts_of_candidates(self.examples, self._design, seen)}
        if isinstance(self.measured, TextPopulation):
            recorded["seen"] = recorded["seen"][: len(self.measured)]
        elif self._are_distributions(child):
            from memaudit.signals.divergence import divergence

            asked = {name: value for name, value in asking(self.recipe).items() if name != "queries"}
            with changing(self.recipe):
                before = self._parent_of(model)
                recorded["divergence"] = divergence(before, child, self.measured, self.device, **asked)
        return child, recorded, observer

    def _observer(self) -> Observer:
        """Return who watches a derivation that trains: as the recipe says that it trains by."""
        function = self.derivation.function
        wanted = getattr(getattr(function, "recipe", self.recipe), "observe", Observe(0))
        return Observer(self.measured, wanted, asking(self.recipe), getattr(function, "epochs", None))

    def _are_distributions(self, child: Any) -> bool:
        """Return whether a child's outputs are a distribution over classes."""
        of_classes = isinstance(self.measured, Examples) and self.measured.task is Task.CLASSIFICATION
        return of_classes and is_network(child) and getattr(self.recipe, "outputs", None) != "one-vs-rest"

    def require_sound(self, trained: Any, counts: UInt8[Array, " ids"], seed: int, signals: dict[str, Array]) -> None:
        """Raise RecipeError if the derivation returns one object, or copies of one network, for several models."""
        if self._returned.get(id(trained)) is trained:
            raise RecipeError(
                "the derivation returned the same object as for an earlier model; return the child of each"
            )
        with suppress(TypeError):
            self._returned[id(trained)] = trained
        if not is_network(trained):  # trees that separate all classes agree
            return
        earlier = self._answers.setdefault(sha256(np.ascontiguousarray(signals["phi"]).data).digest(), counts)
        if not np.array_equal(earlier, counts):
            raise RecipeError(
                "its outputs are those of an earlier model in every bit, although that had another training set. "
                "Return a network that depends on what the function is given; do not keep one between calls"
            )

    def origin(self, model: int) -> dict[str, Any]:
        """Return the parent's weights by their SHA-256."""
        return {"parent": {"model": model, "sha256": self.parent.weights_sha256(model)}}

    def _parent_of(self, model: int) -> Any:
        text = self.examples if isinstance(self.examples, TextPopulation) else None
        return stored_model(self.parent, model, self.recipe, text, self.device)

    def _require_parent(self, network: Any, model: int) -> None:
        """Raise ModelError unless the loaded weights say what the parent's model said when it was recorded."""
        if isinstance(self.measured, TextPopulation):
            from memaudit.signals.text import unit_phi

            now = unit_phi(network, self.measured, slice(0, _PROBED), self.device)
        else:
            with changing(self.recipe):
                now = self.measure(network)["phi"]
        require_recorded(self.parent, model, now)


class Texts(list[Any]):
    """The texts to train on; `population` and `counts` say what rows they are rendered to."""

    def __init__(self, population: TextPopulation, counts: UInt8[Array, " ids"]):
        super().__init__(deepcopy(population.texts(counts)))
        self.population, self.counts = population, counts


def _derived(
    derivation: Derivation,
    network: Any,
    recipe: Recipe,
    examples: Population,
    seen: UInt8[Array, " ids"],
    seed: int,
    device: str,
) -> Any:
    """Return what a derivation makes of a network; the caller's random state is as before."""
    dataset = None if derivation.data == "none" else _dataset(examples, seen)

    def made(_: Array, seed: int) -> Any:
        return derivation.function(network, dataset, seed=seed, device=device)

    text = examples if isinstance(examples, TextPopulation) and getattr(recipe, "adapter", None) is not None else None
    base = [] if text is None else base_answers(network, text)
    with training(recipe), blame("the derivation"):
        child = seeded(seed, made, seen)
    if text is not None:  # of adapters on a base, the adapters alone are stored
        require_same_base(base_answers(child, text), base)
    if not any(hasattr(child, name) for name in ("state_dict", "predict_proba", "decision_function")):
        raise RecipeError(f"the derivation returned {type(child).__name__}; return the derived network")
    return child.eval() if hasattr(child, "eval") else child


def _dataset(examples: Population, seen: UInt8[Array, " ids"]) -> Any:
    """Return the data of a derivation in the form that a user's train() is given."""
    if isinstance(examples, TextPopulation):
        return Texts(examples, seen)
    assert isinstance(examples, Examples)
    return examples.take(np.repeat(np.arange(len(seen)), seen))


def _wanted(parent: Bank, recipe: Recipe, shadows: int | None, shard: Shard | None) -> list[int]:
    """Return the models whose children are to be made, after checking that they can be."""
    if parent.imported:
        raise BankError(f"the models of {parent.path} were imported; derive from a bank that a recipe filled")
    _require_networks(recipe)
    there = parent.models()
    if shadows is not None and len(there) < shadows:
        raise BankError(f"{parent.path} holds {len(there)} models; derive from at most so many, or fill it first")
    models = [model for model in there if shadows is None or model < shadows]
    if not models:
        raise BankError(f"{parent.path} holds no model to derive from; run `memaudit bank fill`")
    if without := [model for model in models if parent.weights_sha256(model) is None]:
        raise BankError(
            f"{parent.path} keeps no weights of model {without[0]}: nothing can be derived from its signals. Fill a "
            "bank with weights, in another folder (weights=True, without --no-weights)"
        )
    return [model for model in models if shard is None or model % shard.of == shard.part - 1]


def _require_networks(recipe: Recipe) -> None:
    if isinstance(recipe, EstimatorRecipe):
        raise RecipeError("a bank of estimators keeps no weights, so nothing can be derived from them; use a network")
