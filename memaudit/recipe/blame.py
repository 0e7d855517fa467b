"""Whose fault an error is: the user's code is named by file and line."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memaudit.errors import MemauditError, RecipeError, shown


@contextmanager
def blame(what: str) -> Iterator[None]:
    """Turn whatever the user's code raises, `sys.exit` included, into a RecipeError that names its file and line."""
    try:
        yield
    except RecipeError as error:
        if where := _place(error):
            raise RecipeError(f"{where}{error}") from error
        raise
    except (MemauditError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise RecipeError(f"{_place(error)}{what} failed: {shown(error)}") from error


def _place(error: BaseException) -> str:
    """Return the last line of the user's that an error came through, as `file:line: `; empty if there is none."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{error.filename}:{error.lineno}: "
    own = [f for f in traceback.extract_tb(error.__traceback__) if not _foreign(f.filename)]
    return f"{own[-1].filename}:{own[-1].lineno}: " if own else ""


def _foreign(filename: str) -> bool:
    """Return whether a traceback's file is ours, the standard library's or an installed package's."""
    path = Path(filename)
    library = Path(importlib.__file__).parent.parent
    ours = Path(__file__).parent.parent
    return filename.startswith("<") or any(p in path.parents for p in (library, ours)) or "site-packages" in path.parts
