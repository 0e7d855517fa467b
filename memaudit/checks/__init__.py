"""The checks: each maps the evidence to findings, and its docstring is what `memaudit explain` prints."""

from importlib.metadata import entry_points

from memaudit.checks.controls import CONTROLS
from memaudit.checks.evidence import Attacked, Check, ControlCheck, Evidence, percent
from memaudit.checks.fidelity import fidelity_check
from memaudit.checks.link import link_check
from memaudit.checks.membership import global_threshold_check, offline_check, online_check
from memaudit.checks.memorized import memorization_check
from memaudit.errors import SettingsError

CHECKS: tuple[Check, ...] = (online_check, offline_check, global_threshold_check, memorization_check, link_check)


def all_checks() -> tuple[Check, ...]:
    """Returns the built-in checks, then those of installed packages, which name theirs as entry points.

        [project.entry-points."memaudit.checks"]
        anything = "their_package.module:check"

    Raises:
        SettingsError: An entry point is no Check, or has a code that is taken.
    """
    found = {check.code: check for check in CHECKS}
    for point in sorted(entry_points(group="memaudit.checks"), key=lambda point: point.name):
        check = point.load()
        if not isinstance(check, Check):
            raise SettingsError(f"the plug-in {point.value} is a {type(check).__name__}, not a memaudit.checks.Check")
        if check.code in found:
            raise SettingsError(f"the plug-in {point.value} has the code {check.code}, which is taken")
        found[check.code] = check
    return tuple(found.values())


__all__ = [
    "CHECKS",
    "CONTROLS",
    "Attacked",
    "Check",
    "ControlCheck",
    "Evidence",
    "all_checks",
    "fidelity_check",
    "percent",
]
