"""What a value is, by content: the same in every process, whatever its address and the project's folder."""

from __future__ import annotations

import copyreg
import hashlib
import os
import random
import re
import sys
import types
from collections.abc import Mapping
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from memaudit.recipe.bytecode import code_digest, hashed
from memaudit.recipe.locality import file_of, is_own_module, is_own_namespace, is_place, label, place

SHOWN = (bool, int, float, complex, type(None))  # values that a message may show; text may be a secret
_ATOMS = (*SHOWN, str, bytes, bytearray, type(Ellipsis), type(NotImplemented))
_DEFINED_IN_PYTHON = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_RANDOM = (random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator)
# What shows and logs a training does not make a model; it knows times and places of its process.
_INSTRUMENTS = re.compile(
    r"(tqdm|matplotlib|logging|threading|rich|wandb|mlflow|tensorboard\w*|torch\.utils\.tensorboard)\b"
)
_OF_THE_PROCESS = ("argv", "path", "modules", "stdin", "stdout", "stderr")
_WRAPPERS = (staticmethod, classmethod)


class Contents:
    """The digests of values.

    Attributes:
        reached: Functions, classes and modules of the user's own that were met in values, and not looked into yet.
        libraries: The top-level names of the installed modules that were met.
        folder: Of the code that the values belong to.
    """

    def __init__(self) -> None:
        self.reached: list[Any] = []
        self.libraries: set[str] = set()
        self.folder: Path | None = None
        self._known: dict[int, tuple[str, Any]] = {}  # digests by id; the objects are kept so that ids stay theirs
        self._open: list[int] = []

    def digest(self, value: Any) -> str:
        """Return a SHA-256 of a value's type and content; what cannot be read counts by its type alone."""
        if (written := self._written(value)) is not None:
            return hashed(written)
        key = id(value)
        if key in self._known:
            return self._known[key][0]
        if key in self._open:
            return hashed("inside", str(len(self._open) - self._open.index(key)))
        self._open.append(key)
        try:
            found = hashed(*self._parts(value))
        except Exception:  # an object may answer with anything when it is taken apart
            found = hashed("unreadable", self._type(value))
        finally:
            self._open.pop()
        self._known[key] = found, value
        return found

    def _written(self, value: Any) -> str | None:
        """Return a type and value that can be written down, a place in words that move with it; None of others."""
        kind = type(value)
        if (kind is str or isinstance(value, str | PurePath)) and is_place(value):
            return f"{kind.__name__} at {place(value, self.folder)}"
        if kind is str:
            return f"str {value}"
        if kind is int:
            return f"int {value:x}"
        if kind is bytes or kind is bytearray:
            return f"{kind.__name__} {hashlib.sha256(value).hexdigest()}"
        return f"{kind.__name__} {value!r}" if kind in _ATOMS else None

    def _part(self, value: Any) -> str:
        """Return what tells an element from others: itself where it can be written down, as there may be millions."""
        written = self._written(value)
        return self.digest(value) if written is None else written

    def _parts(self, value: Any) -> list[str]:
        """Return what a value consists of, as text and digests."""
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if isinstance(value, types.MethodType):
            return ["method", self.digest(value.__func__), self.digest(value.__self__)]
        if isinstance(value, _WRAPPERS):
            return [type(value).__name__, self.digest(value.__func__)]
        if isinstance(value, property):
            return ["property", *map(self.digest, (value.fget, value.fset, value.fdel))]
        if isinstance(value, Enum):
            return [self._type(value), value.name, self.digest(value.value)]
        if isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value)
            content = self.digest(array.tolist()) if array.dtype.hasobject else _bytes(array)
            masked = [_bytes(np.ma.getmaskarray(value))] if isinstance(value, np.ma.MaskedArray) else []
            return [type(value).__name__, array.dtype.str, str(array.shape), content, *masked]
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.Tensor):
            return _tensor(value, torch)
        if name := _of_the_process(value):
            return [name]
        if _INSTRUMENTS.match(type(value).__module__):
            return [self._type(value)]
        if isinstance(value, _RANDOM) or (torch is not None and isinstance(value, torch.Generator)):
            return [self._type(value)]  # models that differ by chance alone are of one kind
        return self._container(value)

    def _container(self, value: Any) -> list[str]:
        if isinstance(value, set | frozenset):
            return [self._type(value), *sorted(map(self._part, value))]
        if type(value) is list and set(map(type, value)) <= {int, float}:  # of which there may be millions
            return ["numbers", hashed(repr(value))]
        if type(value) in (list, tuple):
            return [type(value).__name__, *map(self._part, value)]
        if type(value) in (dict, types.MappingProxyType):
            return ["dict", *(part for item in value.items() for part in map(self._part, item))]
        return self._object(value)

    def _object(self, value: Any) -> list[str]:
        """Return an object's parts as pickling would take it apart."""
        wrapped = [self.digest(value.__wrapped__)] if "__wrapped__" in getattr(value, "__dict__", {}) else []
        registered = copyreg.dispatch_table.get(type(value))
        reduced = registered(value) if registered else value.__reduce_ex__(4)
        if isinstance(reduced, str):
            return [self._reference(value), *wrapped]
        make, arguments, *rest = reduced
        state, items, pairs = (*rest[:3], None, None, None)[:3]
        return [
            self._type(value),
            self.digest(make),
            self.digest(arguments),
            self._state(state),
            *map(self.digest, items or ()),
            *(self.digest(part) for pair in pairs or () for part in pair),
            *wrapped,
        ]

    def _state(self, state: Any) -> str:
        """Return a digest of an object's attributes, in the order of their names."""
        if type(state) is dict and all(isinstance(name, str) for name in state):
            return hashed(*(part for name in sorted(state) for part in (name, self.digest(state[name]))))
        if type(state) is tuple and len(state) == 2 and all(part is None or type(part) is dict for part in state):
            return hashed(*(self._state(part or {}) for part in state))
        return self.digest(state)

    def _type(self, value: Any) -> str:
        return self.digest(type(value))

    def _function(self, function: types.FunctionType) -> list[str]:
        """Return a function's code, defaults and closure; its globals get lines of their own."""
        if not is_own_namespace(function.__globals__):
            return self._library_function(function)
        self.reached.append(function)
        folder, self.folder = self.folder, folder_of(function.__globals__)
        parts = [code_digest(function.__code__), *self.kept_values(function)]
        self.folder = folder
        return ["function", *parts]

    def _library_function(self, function: types.FunctionType) -> list[str]:
        """Return a library's function by name; one that was made at run time also by what it holds."""
        owner: Any = sys.modules.get(function.__module__)
        foreign = not is_own_module(owner)
        for part in function.__qualname__.split("."):
            owner = getattr(owner, part, None)
        if foreign and owner is function:
            return [self._reference(function)]
        inner = self.digest(getattr(function, "__wrapped__", None))
        module = str(function.__globals__.get("__name__"))
        self.libraries.add(module.partition(".")[0])
        return ["made by", module, function.__code__.co_qualname, inner, *self.kept_values(function)]

    def kept_values(self, function: types.FunctionType) -> list[str]:
        """Return the digests of a function's defaults, its closure and its attributes; empty if there are none."""
        defaults = [self.digest(value) for value in function.__defaults__ or ()]
        named = [part for item in sorted((function.__kwdefaults__ or {}).items()) for part in map(self.digest, item)]
        closure = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        cells = [self.digest(_held(cell)) for name, cell in closure if name != "__class__"]
        attributes = [part for name in sorted(vars(function)) for part in (name, self.digest(vars(function)[name]))]
        return [*defaults, *named, *cells, *attributes]

    def _class(self, kind: type) -> list[str]:
        namespace = namespace_of(kind)
        if namespace is None:
            return [self._reference(kind)]
        self.reached.append(kind)
        return ["class", label(namespace), kind.__qualname__]

    def _module(self, module: types.ModuleType) -> list[str]:
        if not is_own_module(module):
            return [self._reference(module)]
        self.reached.append(module)
        return ["module", label(vars(module))]

    def _reference(self, thing: Any) -> str:
        """Return the name of a library's thing; its version has a line of its own."""
        module = thing.__name__ if isinstance(thing, types.ModuleType) else getattr(thing, "__module__", None)
        self.libraries.add(str(module).partition(".")[0])
        name = getattr(thing, "__qualname__", getattr(thing, "__name__", ""))
        return f"{module}.{name}"


def folder_of(namespace: Mapping[str, Any]) -> Path | None:
    """Return the folder of the file that code is in; None if no file holds it."""
    file = file_of(namespace)
    return file.parent if file else None


def namespace_of(kind: type) -> dict[str, Any] | None:
    """Return the globals of the module that a class of the user's own was defined in; None of a library's."""
    module = sys.modules.get(kind.__module__)
    if kind.__module__ == "builtins" and kind.__flags__ & _DEFINED_IN_PYTHON:  # by exec, in globals without a name
        return {}
    if module is None:
        return {"__name__": kind.__module__}
    return vars(module) if is_own_module(module) else None


def _of_the_process(value: Any) -> str | None:
    """Return the name of what each process has of its own, whatever made the models; None of anything else."""
    if isinstance(value, type(os.environ)):  # of which single variables count, where they are asked for
        return "os.environ"
    return next((f"sys.{name}" for name in _OF_THE_PROCESS if value is getattr(sys, name)), None)


def _bytes(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()


def _tensor(value: Any, torch: Any) -> list[str]:
    content = ""
    if not value.is_meta:
        dense = value.detach().cpu()
        dense = (dense if dense.layout is torch.strided else dense.to_dense()).contiguous().reshape(-1)
        content = _bytes(dense.view(torch.uint8).numpy())
    return [type(value).__name__, str(value.dtype), str(tuple(value.shape)), str(value.requires_grad), content]


def _held(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return NotImplemented
