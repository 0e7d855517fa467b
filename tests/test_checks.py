"""Checks of other packages join in by entry points."""

import re
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from memaudit import checks, plugins
from memaudit.attack_names import ATTACKS_BY_METRIC
from memaudit.attacks import BANK_ATTACKS, TARGET_ATTACKS
from memaudit.checks import CHECKS, Check, all_checks
from memaudit.checks.evidence import Evidence, with_interval
from memaudit.errors import SettingsError
from memaudit.reports.text import percent

MINE = Check("XXX001", "Something else", "mine", lambda evidence: ((), ()))
TAKEN = Check("MIA001", "Something else", "mine", lambda evidence: ((), ()))


def installed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    point = EntryPoint("mine", f"{__name__}:{name}", "memaudit.checks")
    monkeypatch.setattr(EntryPoint, "load", lambda self: globals()[name])
    monkeypatch.setattr(plugins, "entry_points", lambda group: EntryPoints([point]))


def test_a_plug_in_comes_after_the_built_in_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "MINE")
    assert all_checks() == (*CHECKS, MINE)


@pytest.mark.parametrize(("name", "said"), [("TAKEN", "which is taken"), ("installed", "not a memaudit.checks.Check")])
def test_a_plug_in_that_does_not_fit_is_refused(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, name)
    with pytest.raises(SettingsError, match=said):
        all_checks()


def test_the_attacks_that_a_limit_can_name_are_those_that_there_are() -> None:
    assert {*ATTACKS_BY_METRIC["tpr"]} == {*BANK_ATTACKS, *TARGET_ATTACKS}
    source = "".join(path.read_text("utf-8") for path in Path(checks.__file__).parent.glob("*.py"))
    named = re.findall(r'metric="extraction",\n +attack="(.+)"', source)
    assert sorted(named) == sorted(ATTACKS_BY_METRIC["extraction"])


def test_codes_are_unique_and_explained() -> None:
    every: list[Any] = [*CHECKS, *checks.CONTROLS]
    of_banks = [check for check in every if issubclass(check.needs, Evidence)]
    without = [check for check in every if not issubclass(check.needs, Evidence)]
    for alike in (of_banks, without):  # a control may have a form of its own without a bank
        assert len({check.code for check in alike}) == len(alike)
    assert all("Source:" in (check.run.__doc__ or "") for check in every)


@pytest.mark.parametrize(
    ("share", "said"), [(0, "0%"), (0.00123, "0.12%"), (0.5, "50%"), (0.417, "42%"), (1, "100%"), (0.9996, "99.96%")]
)
def test_shares_in_words(share: float, said: str) -> None:
    assert percent(share) == said


def test_a_share_with_its_interval() -> None:
    assert with_interval(0.102, 0.0883, 0.115) == "10% (8.8–12%)"
