"""`memaudit whatif`, `memaudit plan --whatif` and `memaudit schema --whatif`, as they are typed."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
from test_whatif_page import comparison

from memaudit.auditing.costs import Cost
from memaudit.cli import whatif_command
from memaudit.cli.common import job
from memaudit.errors import SettingsError
from memaudit.whatif import Standing, rows
from memaudit.whatif.measuring import ByPair
from memaudit.whatif.planning import Plan, VariantCost

Command = Callable[..., CompletedProcess[str]]

VARIANTS = """
[whatif]
shadows = 8

[[variant]]
name = "early"
remedy = "early-stopping"
epochs = 2

[[variant]]
name = "pruned"
remedy = "pruning"
share = 0.5
"""


@pytest.fixture
def compared(project: Path) -> Path:
    """The project with two variants; its bank is there."""
    settings = project / "memaudit.toml"
    settings.write_text(settings.read_text("utf-8") + VARIANTS, "utf-8")
    return project


def test_a_comparison_is_printed_written_and_resumed(compared: Path, command: Command) -> None:
    done = command("whatif", "-q", "--limit", "0.999", "-o", "whatif.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Train for fewer epochs" in (compared / "whatif.html").read_text("utf-8")
    made = {path: path.stat().st_mtime_ns for path in (compared / "whatif").rglob("*.npz")}
    again = command("whatif", "--limit", "0.999", "--json")
    content = json.loads(again.stdout)
    jsonschema.validate(content, json.loads(command("schema", "--whatif").stdout))
    assert [row["name"] for row in content["rows"]] == ["baseline", "early", "pruned"]
    assert {path: path.stat().st_mtime_ns for path in (compared / "whatif").rglob("*.npz")} == made
    printed = command("whatif", "--limit", "0.999").stdout
    assert printed.startswith(content["sentence"])
    assert all(name in printed for name in ("baseline", "early", "pruned"))


@pytest.mark.parametrize(
    ("standing", "limit", "code"),
    [
        (Standing.KEEPS, 0.05, 0),
        (Standing.NOT_ASKED, None, 0),
        (Standing.EXCEEDS, 0.05, 1),
        (Standing.COSTLY, 0.05, 1),
        (Standing.UNDECIDED, 0.05, 3),
    ],
)
def test_the_exit_code_is_that_of_a_gate(standing: Standing, limit: float | None, code: int) -> None:
    base, early, *_ = comparison().rows
    found = comparison(limit=limit, rows=(base, dataclasses.replace(early, standing=standing)))
    assert whatif_command.conclude(found, None, quiet=True) == code


def test_the_limit_is_the_lowest_of_the_gates_on_this_rate(compared: Path) -> None:
    gates = "".join(
        f'[[gate]]\nmetric = "tpr"\nat_fpr = {fpr}\nmax = {top}\n' for fpr, top in ((0.02, 0.3), (0.1, 0.2))
    )
    settings = compared / "memaudit.toml"
    settings.write_text(settings.read_text("utf-8") + gates, "utf-8")
    call = job(settings)
    assert [whatif_command._limit(call, fpr) for fpr in (0.02, 0.1, 0.01)] == [0.3, 0.2, None]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--only", "none"), "there are: early, pruned"),
        (("-o", "whatif.txt"), "give a file ending in .json"),
        (("--at-most-cost", "0.1"), "set a limit, too"),
        (("--limit", "0.5", "--at-most-cost", "1.5"), "between 0 and 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    compared: Path, complaint: Any, arguments: tuple[str, ...], words: str
) -> None:
    assert words in complaint("whatif", "-q", *arguments)
    assert not (compared / "whatif").exists()


def test_the_plan_has_what_is_recorded_a_trial_and_what_is_not_known(compared: Path, command: Command) -> None:
    done = command("plan", "--whatif", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rungs"] == [8]
    base, early, pruned = found["variants"]
    assert (base["name"], base["models"]) == ("baseline", 8)
    assert base["cost"]["source"].startswith("as recorded")
    assert early["models"] == 0
    assert early["cost"]["seconds"] > 0
    assert (pruned["cost"], pruned["problem"][:8]) == (None, "how long")
    assert not (compared / "whatif").exists()
    printed = command("plan", "--whatif").stdout
    assert "8 models" in printed
    assert "pruned: how long" in printed


def test_a_comparison_beyond_the_budget_trains_nothing_without_yes(
    compared: Path, command: Command, complaint: Any
) -> None:
    settings = compared / "memaudit.toml"
    settings.write_text(settings.read_text("utf-8") + "[budget]\nhours = 1e-9\n", "utf-8")
    for arguments in (("whatif", "-q"), ("plan", "--whatif", "-q")):
        assert "8 shadow models would take" in complaint(*arguments)
    assert not (compared / "whatif").exists()
    assert command("whatif", "-q", "--only", "pruned", "--yes").returncode == 0
    assert command("whatif", "-q", "--only", "pruned").returncode == 0  # nothing is left to train


def test_a_plan_counts_what_is_missing_in_whole_rounds_of_the_workers() -> None:
    def takes(seconds: float) -> Cost:
        return Cost(seconds=seconds, stored=10**9, source="")

    found = Plan(
        rungs=(8, 16),
        variants=(
            VariantCost(name="baseline", models=16, cost=takes(5.0)),
            VariantCost(name="a", models=3, cost=takes(2.0)),
            VariantCost(name="b", models=0, cost=None, problem="not known"),
        ),
    )
    assert (found.seconds(8), found.seconds(16)) == (10.0, 26.0)
    assert found.seconds(16, workers=4) == 8.0
    found.require(26.5 / 3600, 13.5)
    for budget in ((25.5 / 3600, None), (None, 12.5)):
        with pytest.raises(SettingsError, match="13 shadow models"):
            found.require(*budget)


def _field(utility: float, leak: float) -> Any:
    """Returns what a comparison measures of a baseline and a variant, all pairs within a thousandth of a mean."""
    spread = np.array([-1e-3, 0.0, 1e-3, 0.0])

    def figures(utility: float, leak: float) -> ByPair:
        return ByPair(utility + spread * 0.1, leak + spread, spread, np.ones(4), 1e-9, True)

    base, other = figures(0.9, 0.1), figures(utility, leak)
    base = base._replace(utility=np.full(4, 0.9))
    return SimpleNamespace(alone=lambda name: other, both=lambda one, name: (base, other))


@pytest.mark.parametrize(
    ("utility", "leak", "cost", "standing"),
    [
        (0.80, 0.02, None, Standing.KEEPS),
        (0.89, 0.02, 0.02, Standing.KEEPS),
        (0.80, 0.02, 0.02, Standing.COSTLY),
        (0.88, 0.02, 0.02, Standing.UNDECIDED),  # the interval of the cost holds what is accepted
        (0.89, 0.05, 0.02, Standing.UNDECIDED),  # that of the leak holds the limit
        (0.80, 0.20, 0.02, Standing.EXCEEDS),
    ],
)
def test_what_is_best_keeps_the_limit_and_the_accepted_cost(
    utility: float, leak: float, cost: float | None, standing: Standing
) -> None:
    accepted = rows.Accepted(0.05, cost)
    assert rows._standing("variant", _field(utility, leak), accepted, 0.99) is standing
