"""The user's source files that a recipe is made of, and the installed packages that they import."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import version
from importlib.util import resolve_name
from pathlib import Path
from typing import Any, NamedTuple

from memaudit.recipe.bytecode import joined
from memaudit.recipe.locality import file_of, is_own_file, text_digest

_BUILD = re.compile(r"\+(cpu|xpu|cu[0-9]+|rocm[0-9.]+)$")  # one bank may be filled on GPUs and audited without
_FILE = re.compile(r'^"?(.+?\.py)"?,', re.MULTILINE)  # of a RECORD: path, hash, size
_IMPORTERS = ("import_module", "__import__")


class _Source(NamedTuple):
    """A source file, and the package that its relative imports start from."""

    path: Path
    package: str


class Sources(NamedTuple):
    """The user's own files, and the top-level names of the installed modules that these import."""

    files: frozenset[Path]
    libraries: frozenset[str]


def find_sources(namespaces: Iterable[dict[str, Any]], imported: Iterable[str] = ()) -> Sources:
    """Return the files of some modules and of all that these import, at the top or inside a function.

    Nothing is imported to find out: what a function imports is looked for where Python would look for it.

    Args:
        namespaces: The globals of the modules to start from.
        imported: Further modules to start from, by name.
    """
    pending = [
        _Source(file, str(namespace.get("__package__") or ""))
        for namespace in namespaces
        if is_own_file(file := file_of(namespace)) and file is not None and file.is_file()
    ]
    libraries: set[str] = set()
    names = list(imported)
    found: set[Path] = set()
    while pending or names:
        while names:
            own = _own_source(name := names.pop())
            if own is None and _own_source(top := name.partition(".")[0]) is None:
                libraries.add(top)
            pending += [own] if own else []
        if pending and (source := pending.pop()).path not in found:
            found.add(source.path)
            names += _imported(source)
    return Sources(frozenset(found), frozenset(libraries))


def source_lines(files: Iterable[Path]) -> dict[str, str]:
    """Return a digest for each file name: folders may move, and files of one name in two of them both count."""
    digests: dict[str, set[str]] = {}
    for path in files:
        digests.setdefault(f"source.{path.name}", set()).add(text_digest(path))
    return {name: joined(same) for name, same in sorted(digests.items())}


def distributions(modules: Iterable[str]) -> dict[str, str]:
    """Return the versions of the installed distributions that some top-level modules come from."""
    return {name: _BUILD.sub("", version(name)) for name in sorted(_distributions(frozenset(modules)))}


@lru_cache
def _distributions(modules: frozenset[str]) -> frozenset[str]:
    """Return the names of the distributions, as `packages_distributions` does for all modules in ten times as long."""
    return frozenset(dist.metadata["Name"] for dist in metadata.distributions() if modules & _top_level(dist))


def _top_level(dist: metadata.Distribution) -> set[str]:
    """Return the modules that a distribution says it has, or those that its list of files has."""
    if declared := (dist.read_text("top_level.txt") or "").split():
        return set(declared)
    record = dist.read_text("RECORD")
    files = [file.as_posix() for file in dist.files or ()] if record is None else _FILE.findall(record)
    return {file.partition("/")[0].removesuffix(".py") for file in files if file.endswith(".py")}


def _own_source(name: str) -> _Source | None:
    """Return the user's own file that a module's name leads to; None if it leads elsewhere."""
    spec = _spec(name)
    if spec is None or spec.origin is None or not is_own_file(spec.origin) or not Path(spec.origin).is_file():
        return None
    return _Source(Path(spec.origin).resolve(), spec.name if spec.submodule_search_locations else spec.parent or "")


def _spec(name: str) -> ModuleSpec | None:
    """Return where a module is, without importing it or its package."""
    loaded = getattr(sys.modules.get(name), "__spec__", None)
    if isinstance(loaded, ModuleSpec):
        return loaded
    parent, _, _ = name.rpartition(".")
    try:
        if not parent:
            return PathFinder.find_spec(name)
        package = _spec(parent)
        places = package.submodule_search_locations if package else None
        return PathFinder.find_spec(name, list(places)) if places is not None else None
    except (ImportError, ValueError, AttributeError):
        return None


def _imported(source: _Source) -> Iterator[str]:
    """Yield the names of the modules that a file may import, with the packages that they are in."""
    for name in _names(source):
        parts = name.split(".")
        yield from (".".join(parts[:n]) for n in range(1, len(parts) + 1))


def _names(source: _Source) -> Iterator[str]:
    try:
        tree = ast.parse(source.path.read_bytes())
    except (SyntaxError, ValueError):  # an extension module, for instance
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            try:
                base = resolve_name("." * node.level + (node.module or ""), source.package)
            except ImportError:  # a relative import of a file that is no part of a package
                continue
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names if alias.name != "*"))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in _IMPORTERS:
            yield from (a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str))
