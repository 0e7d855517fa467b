"""`memaudit explain MIA001`."""

from __future__ import annotations

import inspect
from difflib import get_close_matches

import click

from memaudit.cli.terminal import deliver
from memaudit.errors import SettingsError


@click.command(short_help="Explain a finding: meaning, formula, source.")
@click.argument("code", required=False)
def command(code: str | None) -> None:
    """Explain a finding: meaning, formula and source. Without CODE, list all findings."""
    from memaudit.checks import by_code

    known = by_code()
    if code is None:
        deliver("\n".join(f"{code}  {checks[0].title}" for code, checks in sorted(known.items())))
        return
    if code.upper() not in known:
        near = get_close_matches(code.upper(), known, 1)
        raise SettingsError(f"there is no check {code!r}" + (f"; did you mean {near[0]}?" if near else ""))
    told = dict.fromkeys(inspect.getdoc(check.run) for check in known[code.upper()])
    deliver("\n\n".join([code.upper(), *filter(None, told)]))
