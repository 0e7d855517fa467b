"""Code objects by what they do: without layout, line numbers, paths and docstrings."""

from __future__ import annotations

import bisect
import dis
import hashlib
import inspect
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType
from typing import Any, NamedTuple

_NO_EFFECT = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "RESUME"})
_GLOBALS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_ABOUT_SOURCE = frozenset({"__doc__", "__firstlineno__", "__static_attributes__"})  # set by a class's body
_SIGNATURE_FLAGS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS | inspect.CO_GENERATOR | inspect.CO_COROUTINE


class Use(NamedTuple):
    """A global that code loads, and the attributes that it takes of it: `np.random.normal`."""

    name: str
    attributes: tuple[str, ...]


def hashed(*parts: str) -> str:
    """Return a SHA-256 of several texts, which cannot be mistaken for others put together."""
    total = hashlib.sha256()
    for part in parts:
        total.update(f"{len(part)}:".encode())
        total.update(part.encode("utf-8", "surrogatepass"))
    return total.hexdigest()


def joined(digests: set[str]) -> str:
    """Return the digest of things that share a name: of one, its own."""
    return next(iter(digests)) if len(digests) == 1 else hashed(*sorted(digests))


@lru_cache(4096)
def code_digest(code: CodeType) -> str:
    """Return a SHA-256 of a code object's instructions, constants, names and parameters, nested code included."""
    parameters = code.co_argcount + code.co_kwonlyargcount
    lines = [
        f"{code.co_name} {code.co_argcount} {code.co_posonlyargcount} {code.co_kwonlyargcount}",
        f"{code.co_flags & _SIGNATURE_FLAGS} {code.co_varnames[:parameters]} {code.co_exceptiontable.hex()}",
    ]
    kept = _instructions(code)
    offsets = [instruction.offset for instruction in kept]
    lines += [f"{instruction.opname} {_argument(instruction, offsets)}" for instruction in kept]
    return hashed(*lines)


def nested(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and all that is defined inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from nested(constant)


@lru_cache(4096)
def globals_used(code: CodeType) -> tuple[Use, ...]:
    """Return the globals that code loads, nested code included, sorted by name."""
    found: set[Use] = set()
    for part in nested(code):
        kept = _instructions(part)
        for n, instruction in enumerate(kept):
            if instruction.opname in _GLOBALS:
                taken = []
                while (n := n + 1) < len(kept) and kept[n].opname in _ATTRIBUTES:
                    taken.append(str(kept[n].argval))
                found.add(Use(str(instruction.argval), tuple(taken)))
    return tuple(sorted(found))


@lru_cache(4096)
def imports_of(code: CodeType) -> frozenset[str]:
    """Return the names of the modules that code may import, nested code included."""
    found: set[str] = set()
    for part in nested(code):
        module = ""
        for instruction in _instructions(part):
            if instruction.opname == "IMPORT_NAME":
                found.add(module := str(instruction.argval))
            elif instruction.opname == "IMPORT_FROM":
                found.add(f"{module}.{instruction.argval}")
    return frozenset(found)


def _instructions(code: CodeType) -> list[dis.Instruction]:
    """Return the instructions that have an effect, without those that store a docstring or a line number."""
    kept: list[dis.Instruction] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_NAME" and instruction.argval in _ABOUT_SOURCE:
            kept.pop()
        elif instruction.opname not in _NO_EFFECT:
            kept.append(instruction)
    return kept


def _argument(instruction: dis.Instruction, offsets: list[int]) -> str:
    if instruction.opcode in dis.hasjrel or instruction.opcode in dis.hasjabs:
        return f"to {bisect.bisect_left(offsets, instruction.argval)}"
    return _constant(instruction.argval)


def _constant(value: Any) -> str:
    """Return a constant's type and value; those of a set in a fixed order."""
    if isinstance(value, CodeType):
        return code_digest(value)
    if isinstance(value, frozenset):
        return f"frozenset{sorted(map(_constant, value))}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_constant, value))})"
    return f"{type(value).__name__} {value!r}"
