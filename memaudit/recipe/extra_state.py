"""What modules remember beside their weights (`get_extra_state`), written as JSON into a tensor of bytes."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from typing import TYPE_CHECKING, Any

from memaudit.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = "_extra_state"
# `set_extra_state` of some libraries unpickles what it is given; a file's own pickle must not get there.
_PROGRAMS = (b"\x80", b"PK")


def is_empty(value: Any) -> bool:
    """Return whether nothing is lost without this extra state."""
    content = value.getvalue() if isinstance(value, BytesIO) else value
    return content is None or (isinstance(content, bytes | dict | list | tuple | str) and not content)


def encode(name: str, value: Any) -> Tensor:
    """Return an extra state as a tensor of bytes.

    Raises:
        ModelError: It is no tensor, no bytes and no plain JSON value, so that it would be lost.
    """
    import torch

    content = value.getvalue() if isinstance(value, BytesIO) else value
    if isinstance(content, bytes):
        _refuse_program(name, content)
        stored: dict[str, Any] = {"bytes": base64.b64encode(content).decode()}
    else:
        stored = {"value": content}
        try:
            same = json.loads(json.dumps(stored)) == stored
        except (TypeError, ValueError):
            same = False
        if not same:
            raise ModelError(
                f"{name} is a {type(value).__name__}, which cannot be stored as weights. Let get_extra_state() return "
                "a tensor, bytes, or plain JSON values; or keep no weights of shadow models: [audit] weights = false"
            )
    return torch.frombuffer(bytearray(json.dumps(stored).encode()), dtype=torch.uint8)


def decode(name: str, found: Any, own: Any) -> Any:
    """Return the extra state that a file holds, for a module whose own is `own`.

    Raises:
        ModelError: It is not what `encode` wrote, or could be a program.
    """
    import torch

    if isinstance(found, torch.Tensor):
        raw = found.numpy().tobytes() if found.dtype == torch.uint8 else b""
        _refuse_program(name, raw)
        if isinstance(own, torch.Tensor):
            return found
        try:
            stored = json.loads(raw)
            found = base64.b64decode(stored["bytes"]) if "bytes" in stored else stored["value"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ModelError(f"{name} is not what memaudit.save_target writes of a module's extra state") from error
    if isinstance(found, bytes | BytesIO):
        content = found.getvalue() if isinstance(found, BytesIO) else found
        _refuse_program(name, content)
        return BytesIO(content) if isinstance(own, BytesIO) else content
    return found


def _refuse_program(name: str, content: bytes) -> None:
    if content.startswith(_PROGRAMS):
        raise ModelError(
            f"{name} is a pickle, which can run code when loaded; read the file with CallableRecipe(load=...), or keep "
            "no weights of shadow models: [audit] weights = false"
        )
