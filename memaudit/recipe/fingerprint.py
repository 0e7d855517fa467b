"""What a bank was made from, in words that can be compared: data, recipe, source, environment, seed."""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType
from typing import Any

from memaudit.errors import ModelError, RecipeError
from memaudit.recipe.population import TextPopulation
from memaudit.recipe.populations import Population
from memaudit.recipe.pretrained import config_of
from memaudit.recipe.recipes import EstimatorRecipe, LanguageModelRecipe, Probes, Recipe
from memaudit.recipe.rendering import Rendering

_RECORDINGS = "with continuations and searches"  # of a language model; other words when other things are recorded


def fingerprint(recipe: Recipe, examples: Population, seed: int) -> dict[str, str]:
    """Returns everything that decides what a bank's models are, one line each, so that a difference has a name.

    A tokenizer and a base are named by what they hold, wherever their folders are.

    Source files are compared without comments and layout. Covered are the files that define the recipe's functions
    and the modules beside them that these import at the top; a module imported inside a function is not.

    Raises:
        RecipeError: The base cannot be read.
    """
    parts = {
        "seed": str(seed),
        "examples.count": str(len(examples)),
        "examples.sha256": examples.digest(),
        "recipe.kind": type(recipe).__name__,
        **_units(examples),
    }
    for name, value in _parameters("recipe", recipe):
        parts |= _described(name, value)
    if isinstance(examples, TextPopulation):
        parts["recipe.rendering.tokenizer"] = examples.renderer.digest()
        parts["recordings"] = _RECORDINGS
    if isinstance(recipe, LanguageModelRecipe) and recipe.base is not None:
        parts["recipe.base"] = _folder_hash(Path(recipe.base))
    for name, files in _by_name(sources(recipe)).items():
        parts[f"source.{name}"] = files
    packages = ["numpy", "scikit-learn"] if isinstance(recipe, EstimatorRecipe) else ["numpy", "torch"]
    packages += ["transformers"] if isinstance(examples, TextPopulation) else []
    parts["environment.python"] = ".".join(platform.python_version_tuple()[:2])
    return parts | {f"environment.{name}": version(name).partition("+")[0] for name in packages}


def _units(examples: Population) -> dict[str, str]:
    """Returns which examples go together, where any do; banks without copies or groups have no such line."""
    if isinstance(examples, TextPopulation) or examples.units == len(examples):
        return {}
    return {"examples.units": f"{examples.units} {hashlib.sha256(examples.unit_of.tobytes()).hexdigest()[:16]}"}


def sources(recipe: Recipe) -> set[Path]:
    """Returns the files that the recipe's functions come from, and the modules beside them that these import."""
    values = [value for _, value in _parameters("recipe", recipe)]
    parts = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
    return _local_sources([part for part in parts if callable(part)])


def _parameters(name: str, recipe: Any) -> Iterator[tuple[str, Any]]:
    """Yields a recipe's parameters, and one by one those of the parts that are made of memaudit's own parameters."""
    for field in (field for field in dataclasses.fields(recipe) if not field.metadata):
        value = getattr(recipe, field.name)
        if isinstance(value, Rendering | Probes):
            yield from _parameters(f"{name}.{field.name}", value)
        else:
            yield f"{name}.{field.name}", value


def _folder_hash(folder: Path) -> str:
    """Returns a SHA-256 over the names and contents of a folder's weights and their configuration."""
    total = hashlib.sha256()
    try:
        config_of(folder, "config.json", "*.safetensors")
        for path in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
            with path.open("rb") as file:
                total.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    except (ModelError, OSError) as error:
        raise RecipeError(f"base: {error}") from error
    return total.hexdigest()


def _described(name: str, value: Any) -> dict[str, str]:
    """Returns a value's description, and a line for each parameter of an estimator."""
    if hasattr(value, "peft_type"):
        settings = sorted((k, sorted(v) if isinstance(v, set) else v) for k, v in value.to_dict().items())
        return {f"{name}.{key}": str(setting) for key, setting in settings if setting is not None}
    if not hasattr(value, "get_params"):
        return {name: _describe(value)}
    parameters = {f"{name}.{key}": repr(setting) for key, setting in value.get_params().items()}
    return {name: type(value).__qualname__} | parameters


def _describe(value: Any) -> str:
    """Returns a description that is the same in every process: no addresses."""
    if isinstance(value, functools.partial):
        return f"partial({_describe(value.func)}, {value.args!r}, {value.keywords!r})"
    if isinstance(value, tuple) and any(callable(v) for v in value):
        return f"({', '.join(map(_describe, value))})"
    if hasattr(value, "__code__"):
        code = value.__code__
        body = hashlib.sha256(code.co_code + repr(_constants(code)).encode()).hexdigest()[:12]
        return f"{value.__qualname__} {body}"
    if isinstance(value, type):
        return value.__qualname__
    shown = repr(value)
    return f"{type(value).__qualname__}({vars(value)})" if " at 0x" in shown and hasattr(value, "__dict__") else shown


def _constants(code: Any) -> list[Any]:
    """Returns the constants and names of a function, those of functions inside it included."""
    inner = [_constants(c) if hasattr(c, "co_code") else c for c in code.co_consts]
    return [*inner, *code.co_names]


def _local_sources(callables: list[Callable[..., Any]]) -> set[Path]:
    """Returns the files of the callables' modules, and of the modules beside them that these import."""
    functions = [c.func if isinstance(c, functools.partial) else c for c in callables]
    pending = {sys.modules[f.__module__] for f in functions if _is_local(sys.modules.get(f.__module__))}
    found: set[ModuleType] = set()
    while pending:
        module = pending.pop()
        found.add(module)
        pending |= {m for m in _imports(module) if m not in found and _is_local(m)}
    return {Path(str(m.__file__)) for m in found}


def _by_name(paths: set[Path]) -> dict[str, str]:
    """Returns one hash for each file name: folders may move, and files of one name in two of them both count."""
    hashes: dict[str, list[str]] = {}
    for path in sorted(paths):
        hashes.setdefault(path.name, []).append(_normalised(path))
    return {
        name: same[0] if len(same) == 1 else hashlib.sha256("".join(sorted(same)).encode()).hexdigest()
        for name, same in sorted(hashes.items())
    }


def _imports(module: ModuleType) -> Iterator[ModuleType]:
    """Yields what a module imports at the top, by the objects that it holds and, for bare constants, by its text."""
    for value in vars(module).values():
        owner = value if isinstance(value, ModuleType) else sys.modules.get(getattr(value, "__module__", None) or "")
        if isinstance(owner, ModuleType):
            yield owner
    for node in _top_level(ast.parse(Path(str(module.__file__)).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), module.__package__)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (sys.modules[name] for name in names if name in sys.modules)


def _top_level(node: ast.AST) -> Iterator[ast.AST]:
    """Yields the statements that run when a module is imported."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _top_level(child)


def _is_local(module: ModuleType | None) -> bool:
    """Returns whether a module is the user's own file: none of the interpreter's, of a package's, or ours."""
    path = getattr(module, "__file__", None)
    if module is None or path is None or not path.endswith(".py") or module.__name__.partition(".")[0] == "memaudit":
        return False
    installed = "site-packages" in Path(path).parts or "dist-packages" in Path(path).parts
    return not installed and module.__name__.partition(".")[0] not in sys.stdlib_module_names


def _normalised(path: Path) -> str:
    return hashlib.sha256(ast.unparse(ast.parse(path.read_text("utf-8"))).encode()).hexdigest()
