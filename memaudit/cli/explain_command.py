"""`memaudit explain MIA001`."""

from __future__ import annotations

import inspect
from difflib import get_close_matches

import click

from memaudit.cli.terminal import deliver
from memaudit.errors import SettingsError


@click.command()
@click.argument("code", required=False)
def command(code: str | None) -> None:
    """Explain a finding: meaning, formula and source. Without CODE, list all findings.

    CODE may also be the name of a proxy (apb) or of a function for Python (leave_one_out).
    """
    from memaudit.checks import by_code

    known = by_code()
    if code is None:
        deliver("\n".join(f"{code}  {checks[0].title}" for code, checks in sorted(known.items())))
        return
    if code.upper() not in known:
        if (other := _other(code)) is not None:
            deliver(other)
            return
        near = get_close_matches(code.upper(), known, 1)
        raise SettingsError(f"there is no check {code!r}" + (f"; did you mean {near[0]}?" if near else ""))
    told = dict.fromkeys(inspect.getdoc(check.run) for check in known[code.upper()])
    deliver("\n\n".join([code.upper(), *filter(None, told)]))


def _other(name: str) -> str | None:
    """Return the explanation of a proxy, or of a function of the Python API; None if there is none of that name."""
    import memaudit
    from memaudit import memorization
    from memaudit.memorization.proxies import all_proxies

    for proxy in all_proxies():
        if proxy.name == name.lower():
            return f"{proxy.title}: {proxy.formula}\n\nComputed from {proxy.of}.\n\nSource: {proxy.source}."
    name = name.lower().replace("-", "_")
    for module, names in ((memaudit, dir(memaudit)), (memorization, memorization.__all__)):
        if name in names and inspect.isfunction(found := getattr(module, name)):
            return f"{module.__name__}.{name}{inspect.signature(found)}\n\n{inspect.getdoc(found)}"
    return None
