"""Which code is the user's own: neither the interpreter's, nor an installed package's, nor memaudit's."""

from __future__ import annotations

import ast
import hashlib
import os
import string
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from importlib.machinery import SourceFileLoader
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

from memaudit.recipe.bytecode import code_digest, nested

_OURS = Path(__file__).resolve().parents[1]
_STANDARD = tuple(Path(sysconfig.get_paths()[name]).resolve() for name in ("stdlib", "platstdlib"))
_BEGINS_A_PLACE = {"/"} if os.name == "posix" else {"/", "\\", *string.ascii_letters}
_INSTALLED = {"site-packages", "dist-packages"}


def file_of(namespace: Mapping[str, Any]) -> Path | None:
    """Return the file of a module; None of what was typed, piped or executed from text."""
    file = str(namespace.get("__file__") or "<")
    return None if file.startswith("<") else Path(file).resolve()


def is_own_file(file: str | Path | None) -> bool:
    """Return whether a file is the user's own."""
    if file is None:
        return False
    path = Path(file).resolve()
    return not _INSTALLED & set(path.parts) and not any(path.is_relative_to(f) for f in (_OURS, *_STANDARD))


def is_own_namespace(namespace: dict[str, Any]) -> bool:
    """Return whether a module's globals, or those that code was executed in, are the user's own."""
    if file := file_of(namespace):
        return is_own_file(file)
    top = str(namespace.get("__name__") or "__main__").partition(".")[0]
    package = vars(sys.modules[top]) if top in sys.modules else {}
    if file := file_of(package) or next(iter(package.get("__path__", ())), None):
        return top == "__main__" or is_own_file(file)
    return top not in sys.stdlib_module_names


def is_own_module(module: ModuleType | None) -> bool:
    """Return whether a module is the user's own."""
    return module is not None and is_own_namespace(vars(module))


def label(namespace: dict[str, Any]) -> str:
    """Return a module's name as its file has it, whether it is imported or run as a script."""
    path = file_of(namespace)
    if path is None:
        return str(namespace.get("__name__") or "__main__")
    return path.parent.name if path.stem == "__init__" else path.stem


def is_place(value: str | PurePath) -> bool:
    """Return whether a text or path is an absolute one: where something is, not what it is."""
    text = str(value)
    return text[:1] in _BEGINS_A_PLACE and "\n" not in text and PurePath(text).is_absolute()


def place(path: str | PurePath, folder: Path | None) -> str:
    """Return a path in words that are the same when a project moves: relative to the folder of its code.

    Of a place elsewhere only its last part counts: what training reads there is recorded when it is read.
    """
    found = Path(os.path.normpath(path))
    if not found.is_absolute():
        return str(found)
    if folder is not None and found.is_relative_to(folder):
        return found.relative_to(folder).as_posix()
    if folder is not None and folder.is_relative_to(found):
        return "a folder above"
    return "a temporary file" if found.is_relative_to(tempfile.gettempdir()) else found.name


def text_digest(path: Path) -> str:
    """Return a SHA-256 of a source file without comments, layout and docstrings; of other files, of their bytes."""
    state = path.stat()
    return _text_digest(path, state.st_mtime_ns, state.st_size)


def codes_in(file: Path | None) -> Mapping[str, set[str]]:
    """Return the digests of all code that a source file defines, by name; none if it cannot be read or compiled."""
    try:
        state = file.stat() if file else None
    except OSError:
        state = None
    return _codes_in(file, state.st_mtime_ns, state.st_size) if file and state else {}


@lru_cache(1024)
def _text_digest(path: Path, changed: int, size: int) -> str:
    data = path.read_bytes()
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        return hashlib.sha256(data).hexdigest()
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            if isinstance(statements := getattr(node, name, None), list):
                effective = [s for s in statements if not _has_no_effect(s)]
                setattr(node, name, effective or [ast.Pass()] * bool(statements))
    return hashlib.sha256(ast.unparse(tree).encode("utf-8", "surrogatepass")).hexdigest()


def _has_no_effect(statement: ast.AST) -> bool:
    """Return whether a statement is a docstring, another constant, or `pass`."""
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return constant or isinstance(statement, ast.Pass)


@lru_cache(1024)
def _codes_in(path: Path, changed: int, size: int) -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = {}
    try:
        code = SourceFileLoader("source", str(path)).source_to_code(path.read_bytes(), str(path))
    except (OSError, SyntaxError, ValueError):
        return found
    for part in nested(code):
        found.setdefault(part.co_qualname, set()).add(code_digest(part))
    return found
