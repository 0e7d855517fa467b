"""What a recipe's functions reach: code, classes and globals, one line each."""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Any

from memaudit.recipe.bytecode import Use, code_digest, globals_used, hashed, imports_of, joined
from memaudit.recipe.contents import SHOWN, Contents, folder_of, namespace_of
from memaudit.recipe.locality import codes_in, file_of, is_own_module, is_own_namespace, label

_DIGITS = 16


class Inventory:
    """The user's code and values that some functions reach.

    Attributes:
        lines: `code.MODULE.NAME` for each function and class that differs from what a source file says, or that no
            file holds; `global.MODULE.NAME` for each value that code refers to.
        namespaces: The globals of the modules whose code is reached, by their ids.
        imports: The modules that functions without a file import themselves.
    """

    def __init__(self, roots: Iterable[Any]):
        self._lines: dict[str, set[str]] = {}
        self._contents = Contents()
        self.namespaces: dict[int, dict[str, Any]] = {}
        self.imports: set[str] = set()
        for root in roots:
            self._contents.digest(root)
            self._drain()

    @property
    def lines(self) -> dict[str, str]:
        """One value for each name; of several things of one name, a digest of all."""
        return {name: joined(same) for name, same in sorted(self._lines.items())}

    @property
    def libraries(self) -> set[str]:
        """The top-level names of the installed modules that are reached."""
        return self._contents.libraries

    def describe(self, value: Any) -> str:
        """Return a number as it is, and of anything else the type and the first digits of its digest."""
        told = self._told(value)
        self._drain()
        return told

    def _drain(self) -> None:
        done: set[int] = set()
        while self._contents.reached:
            thing = self._contents.reached.pop()
            if id(thing) in done:
                continue
            done.add(id(thing))
            if isinstance(thing, types.FunctionType):
                self._follow(thing)
            elif isinstance(thing, type):
                self._follow_class(thing)
            else:
                for name in list(vars(thing)):
                    self._use(vars(thing), Use(name, ()))

    def _follow(self, function: types.FunctionType) -> None:
        """Add a line for a function that no file holds as it is, and lines for the globals that it refers to."""
        namespace = function.__globals__
        self._enter(namespace)
        held = _is_held(function)
        values = self._contents.kept_values(function)
        if file_of(namespace) is None:
            self.imports.update(imports_of(function.__code__))
        if not held or values:
            self._add("code", namespace, function.__qualname__, self._contents.digest(function)[:_DIGITS])
        for use in globals_used(function.__code__):
            self._use(namespace, use)

    def _follow_class(self, kind: type) -> None:
        """Add a line for a class: its bases, its attributes, and the names of methods that no file holds."""
        namespace = namespace_of(kind)
        assert namespace is not None
        self._enter(namespace)
        held = len(codes_in(file_of(namespace)).get(kind.__qualname__, ())) == 1
        parts = []
        for name, value in sorted(vars(kind).items()):
            function = getattr(value, "__func__", value)
            if isinstance(function, types.FunctionType) and is_own_namespace(function.__globals__):
                self._contents.digest(value)  # which gives it a line of its own
                parts += [] if _is_held(function) else [name]
            elif not (name.startswith("__") and name.endswith("__")):
                parts += [name, self._contents.digest(value)]
        bases = [self._contents.digest(base) for base in (type(kind), *kind.__bases__)]
        if parts or not held:
            self._add("code", namespace, kind.__qualname__, hashed(*bases, *parts)[:_DIGITS])

    def _use(self, namespace: dict[str, Any], use: Use) -> None:
        """Add what a global holds, or what an attribute of the user's own module holds."""
        if use.name not in namespace or (use.name.startswith("__") and use.name.endswith("__")):
            return
        value, name = namespace[use.name], use.name
        for attribute in use.attributes:
            if not (isinstance(value, types.ModuleType) and is_own_module(value) and hasattr(value, attribute)):
                break
            namespace, name, value = vars(value), attribute, getattr(value, attribute)
        self._enter(namespace)
        under_its_name = isinstance(value, types.ModuleType) or _name(value) == name
        if under_its_name and (_is_own(value) or file_of(namespace) is not None):
            self._contents.digest(
                value
            )  # the user's own gets its own line; a file says where a library's thing comes from
        else:
            self._add("global", namespace, name, self._told(value))

    def _told(self, value: Any) -> str:
        if isinstance(value, SHOWN):
            return str(value)
        named = value if isinstance(value, types.FunctionType | type) else type(value)
        return f"{named.__qualname__} {self._contents.digest(value)[:_DIGITS]}"

    def _enter(self, namespace: dict[str, Any]) -> None:
        self.namespaces[id(namespace)] = namespace
        self._contents.folder = folder_of(namespace)

    def _add(self, kind: str, namespace: dict[str, Any], name: str, value: str) -> None:
        self._lines.setdefault(f"{kind}.{label(namespace)}.{name}", set()).add(value)


def _name(value: Any) -> str | None:
    return getattr(value, "__name__", None) if callable(value) else None


def _is_own(value: Any) -> bool:
    """Return whether a function, class or module is the user's own, so that it has a line of its own."""
    if isinstance(value, types.FunctionType):
        return is_own_namespace(value.__globals__)
    if isinstance(value, type):
        return namespace_of(value) is not None
    return isinstance(value, types.ModuleType) and is_own_module(value)


def _is_held(function: types.FunctionType) -> bool:
    """Return whether a file holds a function as it is, and no other under its name: which one would depend on more."""
    code = function.__code__
    return codes_in(file_of(function.__globals__)).get(code.co_qualname) == {code_digest(code)}
