"""The one exception tree.

    MemauditError          something the user can put right; the command line prints it and exits 2
    ├── SettingsError      memaudit.toml or a flag
    ├── RecipeError        recipe.py, its examples, or what its training returned
    ├── BankError          a bank that is damaged, incomplete, or was made by another recipe (OtherBankError)
    ├── ModelError         a model file that cannot or must not be loaded
    └── EvidenceError      data that cannot support the question asked

Programming errors stay ValueError and TypeError, with the offending value.
"""

import os
from collections.abc import Iterable
from difflib import get_close_matches

LANGUAGE_EXTRA = "language models need more packages: pip install 'memaudit-toolkit[language]'"


class MemauditError(Exception):
    """Raised for what a user can put right; the message says what is wrong, where, and what to do."""


class SettingsError(MemauditError):
    """Raised for a setting that does not exist, does not fit, or is missing."""


class RecipeError(MemauditError):
    """Raised when the user's recipe cannot be found, does not train, or returns something unusable."""


class BankError(MemauditError):
    """Raised when a bank is damaged, incomplete, or belongs to another recipe."""


class OtherBankError(BankError):
    """Raised when a bank has models that another recipe made."""


class ModelError(MemauditError):
    """Raised when a model file cannot be loaded, or when loading it would run somebody's code."""


class EvidenceError(MemauditError):
    """Raised when the data cannot support a number that was asked for."""


def shown(error: BaseException) -> str:
    """Return what a foreign exception is shown as: its type and text; in CI its type alone.

    The text of an exception in the user's code may hold records ("row 17: …"), and a CI log is kept and read by many.
    """
    kind = type(error).__name__
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        return f"{kind} (its text may hold data and is not shown in CI; memaudit --traceback shows it)"
    return f"{kind}: {error}"


def hint(name: str, known: Iterable[str]) -> str:
    """Return what somebody who wrote an unknown name may have meant: the nearest known one, or all that there are."""
    names = list(known)
    near = get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names) or 'none'}"
