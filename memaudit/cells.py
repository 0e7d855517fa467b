"""Text in a CSV file that somebody may open in a spreadsheet, where a cell can be a formula.

Source: OWASP, CSV Injection.
"""

from __future__ import annotations

import re

_FORMULA = re.compile("'|[\t\r\n]|\\s*[=+\\-@＝＋－＠]")  # how a cell begins that a spreadsheet may evaluate
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def neutral(text: str) -> str:
    """Return a text as a cell that no spreadsheet evaluates: with an apostrophe in front if need be.

    Numbers stay as they are. `restored` gives every text back.
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def restored(cell: str) -> str:
    """Return the text of a cell that `neutral` returned."""
    return cell.removeprefix("'")
