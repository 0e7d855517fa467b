"""What a bank was made from, in words that can be compared: data, recipe, code, values, environment, seed.

docs/fingerprint.md says what is covered.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import platform
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memaudit.errors import ModelError, RecipeError
from memaudit.recipe.bytecode import code_digest, hashed
from memaudit.recipe.examples import Examples
from memaudit.recipe.inventory import Inventory
from memaudit.recipe.labels import Task
from memaudit.recipe.locality import file_of
from memaudit.recipe.model_folder import config_of
from memaudit.recipe.population import TextPopulation
from memaudit.recipe.reads import checkpoints, inputs, reading
from memaudit.recipe.recipes import EstimatorRecipe, LanguageModelRecipe, Probes, Recipe, Step
from memaudit.recipe.rendering import Rendering
from memaudit.recipe.source_files import distributions, find_sources, source_lines

if TYPE_CHECKING:
    from memaudit.recipe.populations import Population

VERSION = "2"  # of what the lines mean; the banks of memaudit 0.1.0 have no such line
_VOTES = "shares of votes as empirical logits"  # of an estimator that has probabilities alone
_MARGINS, _BOOSTERS = "margins of boosted trees", ("xgboost", "lightgbm", "catboost")
_RECORDINGS = "with continuations and searches"  # of a language model; other words when other things are recorded
_OF_ANSWERS = "with continuations of trained tokens and searches"  # where the loss masks a part of the documents
_OF_TASKS = {
    Task.MULTILABEL: "scaled logits of all labels together",
    Task.REGRESSION: "absolute errors in standard deviations of the labels",
    Task.GENERATION: "losses and distances to generated images",
}
_OF_EXAMPLES = ("recipe.examples", "recipe.documents")  # what they return has a digest of its own
_RESULT_COUNTS = ("examples", "documents", "tokenizer", "canaries")  # functions whose result has a digest

_DIGITS, _LONGEST = 16, 120
_DERIVED, _PARENT, _PREPARED = "derivation.", "derivation.parent.", "preparation."

# Of this process, by a line and its value: the value before training, or making the examples, changed it.
_earlier: dict[tuple[str, str], str | None] = {}
_without_examples: dict[tuple[str, str], str | None] = {}


def fingerprint(recipe: Recipe, examples: Population, seed: int) -> dict[str, str]:
    """Return everything that decides what a bank's models are, one line each, so that a difference has a name.

    The lines are the same in every process and wherever the recipe's folder is. A global that training itself changes,
    such as a cache, counts as it was before.

    Raises:
        RecipeError: The base cannot be read.
    """
    parts = {
        "fingerprint": VERSION,
        "seed": str(seed),
        "examples.count": str(len(examples)),
        "examples.sha256": examples.digest(),
        **_units(examples),
    }
    inventory, lines = _own_lines(recipe)
    parts |= {name: first for name, value in lines.items() if (first := _first(name, value)) is not None}
    if isinstance(examples, TextPopulation):
        parts["examples.rows"] = examples.rows_digest()
        parts["recipe.rendering.tokenizer"] = examples.renderer.digest()
        parts["recordings"] = _RECORDINGS if isinstance(examples.documents.texts[0], str) else _OF_ANSWERS
    if isinstance(recipe, EstimatorRecipe):
        parts |= _read_from(recipe.estimator)
    if isinstance(examples, Examples) and examples.task is not Task.CLASSIFICATION:
        parts["recordings"] = _OF_TASKS[examples.task]
    if isinstance(recipe, LanguageModelRecipe) and recipe.base is not None:
        parts["recipe.base"] = _folder_hash(Path(recipe.base))
    found = find_sources(_namespaces(recipe, inventory), inventory.imports)
    libraries = inventory.libraries | found.libraries | {"numpy"}
    libraries |= {"sklearn"} if isinstance(recipe, EstimatorRecipe) else {"torch"}
    libraries |= {"transformers"} if isinstance(examples, TextPopulation) else set()
    libraries |= {"opacus"} if getattr(recipe, "privacy", None) is not None else set()
    python = {"environment.python": ".".join(platform.python_version_tuple()[:2])}
    installed = distributions(libraries - {"memaudit"})
    return parts | source_lines(found.files) | python | {f"environment.{n}": v for n, v in installed.items()}


def _read_from(estimator: Any) -> dict[str, str]:
    """Return what signals are taken from, where it is not the estimator's own decision function."""
    own, slope = hasattr(estimator, "decision_function"), estimator.get_params().get("sigmoid")
    if type(estimator).__module__.partition(".")[0] in _BOOSTERS:
        return {} if own and slope in (None, 1) else {"recordings": _MARGINS}
    return {} if own else {"recordings": _VOTES}


def derivation_lines(derivation: Any, parent: dict[str, str]) -> dict[str, str]:
    """Return the lines that a bank of derived models has more than its parent: how they were made, and from what.

    Of a parent that was derived itself, each line `derivation.NAME` becomes `derivation.parent.NAME`.

    Args:
        derivation: A dataclass of settings and functions.
        parent: The lines of the parent's fingerprint.
    """
    own = _lines_of(derivation, "derivation")
    mark = hashlib.sha256(json.dumps(parent, sort_keys=True).encode()).hexdigest()
    above = {f"{_PARENT}{name.removeprefix(_DERIVED)}": v for name, v in parent.items() if name.startswith(_DERIVED)}
    below = {name if name.startswith(_DERIVED) else f"{_DERIVED}{name}": value for name, value in own.items()}
    return above | below | {"derivation.parent": mark}


def preparation_lines(preparation: Any) -> dict[str, str]:
    """Return the lines that a bank has more than the recipe: what is done to each training set before training.

    Args:
        preparation: A dataclass of settings and functions.
    """
    own = _lines_of(preparation, "preparation")
    return {name if name.startswith(_PREPARED) else f"{_PREPARED}{name}": value for name, value in own.items()}


def _lines_of(what: Any, called: str) -> dict[str, str]:
    """Return the lines of a dataclass of settings and functions, and of the code and libraries that it uses."""
    inventory, lines = _own_lines(what, called)
    own = {name: first for name, value in lines.items() if (first := _first(name, value)) is not None}
    found = find_sources(_namespaces(what, inventory), inventory.imports)
    installed = distributions((inventory.libraries | found.libraries) - {"memaudit"})
    return own | source_lines(found.files) | {f"environment.{name}": version for name, version in installed.items()}


def recipe_digest(fingerprint: dict[str, str]) -> str:
    """Return a SHA-256 of the lines that describe the recipe, without seed, examples and environment."""
    own = {
        name: value
        for name, value in fingerprint.items()
        if name.startswith(("recipe.", "source.", "code.", "global.")) and name not in _OF_EXAMPLES
    }
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


def _units(examples: Population) -> dict[str, str]:
    """Return which examples go together, where any do; banks without copies or groups have no such line."""
    if isinstance(examples, TextPopulation) or examples.units == len(examples):
        return {}
    return {"examples.units": f"{examples.units} {hashlib.sha256(examples.unit_of.tobytes()).hexdigest()[:16]}"}


def sources(recipe: Recipe) -> set[Path]:
    """Return the user's files that the recipe's functions come from, and those that these import."""
    inventory, _ = _own_lines(recipe)
    return set(find_sources(_namespaces(recipe, inventory), inventory.imports).files)


def recipe_folder(recipe: Recipe) -> Path:
    """Return the folder that the recipe's code is in; the working directory if no file holds it."""
    for function in _functions(recipe):
        if file := file_of(function.__globals__):
            return file.parent
    return Path.cwd()


def recipe_name(recipe: Recipe) -> str:
    """Return what tells a recipe from others in one process: the places and names of its functions."""
    return f"{recipe_folder(recipe)} {[function.__qualname__ for function in _functions(recipe)]}"


def inputs_of(recipe: Recipe) -> dict[str, str]:
    """Return the digests of the files and environment variables that the recipe's trainings have read here."""
    return inputs(recipe_name(recipe), recipe_folder(recipe))


def checkpoints_of(recipe: Recipe) -> list[str]:
    """Return the files of weights that the recipe's last training here has written and read back."""
    return checkpoints(recipe_name(recipe), recipe_folder(recipe))


@contextmanager
def training(recipe: Recipe, without: str | Path | None = None) -> Iterator[None]:
    """Record what the user's code reads meanwhile, and take what it changes of its own globals for no other recipe.

    Args:
        recipe: Whose code runs.
        without: A file that does not count as read, such as the model that is loaded.
    """
    with changing(recipe), reading(recipe_name(recipe), without=without):
        yield


@contextmanager
def changing(recipe: Recipe) -> Iterator[None]:
    """Take what changes meanwhile in the user's globals, such as a model that they keep, for no other recipe."""
    _, before = _own_lines(recipe)
    try:
        yield
    finally:
        _, after = _own_lines(recipe)
        for name in after:
            first = _first(name, before.get(name))
            if first != after[name] != before.get(name):
                _earlier[name, after[name]] = first


@contextmanager
def making_examples(recipe: Recipe) -> Iterator[None]:
    """Record which settings the user's code reads meanwhile.

    What it changes of its own globals counts as it is afterwards; a worker process, which makes no examples, has it as
    it was before.
    """
    _, before = _own_lines(recipe)
    with reading(recipe_name(recipe), settings_only=True):
        yield
    _, after = _own_lines(recipe)
    untouched = {name: _without_examples.get((name, value), value) for name, value in before.items()}
    _without_examples.update({(name, after[name]): untouched.get(name) for name in after})


def own_values(recipe: Any) -> dict[str, tuple[str | None, ...]]:
    """Return the values that each line about the recipe may have in a process that has not run its code yet."""
    _, lines = _own_lines(recipe)
    allowed: dict[str, tuple[str | None, ...]] = {}
    for name, value in lines.items():
        first = _first(name, value)
        allowed[name] = (value, first, _without_examples.get((name, first or ""), first))
    return allowed


def require_same_values(recipe: Any, allowed: dict[str, tuple[str | None, ...]]) -> None:
    """Raise RecipeError, naming what differs, unless this process has the recipe as the one that started it had it."""
    _, lines = _own_lines(recipe)
    changed = [
        name
        for name, values in allowed.items()
        if (now := lines.get(name)) not in values and _first(name, now) not in values
    ]
    if changed:
        told = "\n".join(f"  {name}: {allowed[name][0]} → {lines.get(name, '(none)')}" for name in changed)
        raise RecipeError(
            f"a worker process imports another recipe than the one it was given (given → imported):\n{told}\n"
            'set these values in the recipe\'s file, outside `if __name__ == "__main__"`, or train in one process: '
            "workers=1, --workers 1"
        )


def _first(name: str, value: str | None) -> str | None:
    """Return the value that a line had before training changed it; None if there was no such line."""
    return value if value is None else _earlier.get((name, value), value)


def _own_lines(recipe: Any, called: str = "recipe") -> tuple[Inventory, dict[str, str]]:
    """Return the lines that the parameters, code and globals of a recipe, or of a derivation, make."""
    parameters = list(_parameters(called, recipe))
    inventory = Inventory(value for name, value in parameters if name.rpartition(".")[2] not in _RESULT_COUNTS)
    lines = {f"{called}.kind": type(recipe).__name__}
    for name, value in parameters:
        lines |= _described(name, value, inventory)
    return inventory, lines | inventory.lines


def _parameters(name: str, recipe: Any) -> Iterator[tuple[str, Any]]:
    """Yield a recipe's parameters, and one by one those of the parts that are made of memaudit's own parameters."""
    for field in (field for field in dataclasses.fields(recipe) if "of" not in field.metadata):
        value = getattr(recipe, field.name)
        if value in field.metadata.get("omitted", ()):
            continue
        if isinstance(value, Step | Recipe):
            yield f"{name}.{field.name}", type(value).__name__
        if isinstance(value, Rendering | Probes | Step | Recipe):
            yield from _parameters(f"{name}.{field.name}", value)
        else:
            yield f"{name}.{field.name}", value


def _described(name: str, value: Any, inventory: Inventory) -> dict[str, str]:
    """Return a parameter's description, and a line for each parameter of an estimator or an adapter."""
    if name.rpartition(".")[2] in _RESULT_COUNTS and callable(value):
        functions = list(_functions_in(value))
        codes = hashed(*(code_digest(function.__code__) for function in functions))
        return {name: f"{getattr(value, '__qualname__', type(value).__qualname__)} {codes[:_DIGITS]}"}
    if hasattr(value, "peft_type"):
        settings = sorted((k, sorted(v) if isinstance(v, set) else v) for k, v in value.to_dict().items())
        return {f"{name}.{key}": str(setting) for key, setting in settings if setting is not None}
    if not hasattr(value, "get_params"):
        return {name: _shown(value, inventory)}
    from sklearn.base import clone

    parameters = clone(value, safe=False).get_params().items()  # what it has learned so far does not count
    return {name: type(value).__qualname__} | {f"{name}.{k}": _shown(setting, inventory) for k, setting in parameters}


def _shown(value: Any, inventory: Inventory) -> str:
    """Return a setting as it is written, and the digest of what cannot be written on one line."""
    if isinstance(value, tuple) and any(callable(part) for part in value):
        return f"({', '.join(_shown(part, inventory) for part in value)})"
    own = dataclasses.is_dataclass(value) and type(value).__module__.partition(".")[0] == "memaudit"
    plain = value is None or isinstance(value, bool | int | float | str | tuple | list)
    shown = repr(value) if own or plain else ""
    absolute = isinstance(value, str) and value.startswith("/")
    return inventory.describe(value) if not shown or absolute or len(shown) > _LONGEST or " at 0x" in shown else shown


def _functions(recipe: Any) -> Iterator[types.FunctionType]:
    """Yield the Python functions that a recipe is given, by themselves or inside others."""
    for _, value in _parameters("recipe", recipe):
        for part in value if isinstance(value, tuple) else (value,):
            yield from _functions_in(part)


def _functions_in(value: Any) -> Iterator[types.FunctionType]:
    if isinstance(value, types.FunctionType):
        yield value
    if isinstance(value, functools.partial):
        yield from _functions_in(value.func)
    elif isinstance(value, types.MethodType):
        yield from _functions_in(value.__func__)
    elif hasattr(value, "__wrapped__"):
        yield from _functions_in(value.__wrapped__)
    elif isinstance(function := getattr(type(value), "__call__", None), types.FunctionType):  # noqa: B004
        yield function


def _namespaces(recipe: Any, inventory: Inventory) -> list[dict[str, Any]]:
    return [*inventory.namespaces.values(), *(function.__globals__ for function in _functions(recipe))]


def _folder_hash(folder: Path) -> str:
    """Return a SHA-256 over the names and contents of a folder's weights and their configuration."""
    total = hashlib.sha256()
    try:
        config_of(folder, "config.json", "*.safetensors")
        for path in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
            with path.open("rb") as file:
                total.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    except (ModelError, OSError) as error:
        raise RecipeError(f"base: {error}") from error
    return total.hexdigest()
