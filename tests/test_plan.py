"""Plans: what an audit costs and can decide, a budget that is kept, and a plan that an audit must keep to."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from memaudit.auditing import ledger
from memaudit.auditing.costs import Cost, cost_to_fill, require_budget
from memaudit.auditing.planning import Plan
from memaudit.errors import SettingsError
from memaudit.policy import outlooks
from memaudit.reports import load
from memaudit.training import Timing
from memaudit.types import Limit

Command = Callable[..., CompletedProcess[str]]

MODEL = "model.safetensors"
ATTACKS = ("lira-online", "lira-offline", "global-threshold")
MANY = 10**12  # shadow models, so that the threshold is known
GATE = '[[gate]]\nmetric = "tpr"\nattack = "lira-online"\nat_fpr = 0.1\nmax = 0.3\n'
SETTINGS = "[audit]\nshadows = 8\nfpr = [0.1]\nworkers = 1\n"


# --- What can be decided ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("top", [0.05, 0.01, 0.005, 0.001])
def test_a_gate_can_pass_from_the_least_number_of_members_on(top: float) -> None:
    """With none found, U = 1 − α^(1/n) ≤ limit, so that n is at least ln α / ln(1 − limit)."""
    least = math.ceil(math.log(0.05) / math.log(1 - top))
    limit = Limit(metric="tpr", attack="lira-online", at_fpr=0.01, max=top)
    enough, too_few = (outlooks([limit], ATTACKS, [0.01], members, 10_000, MANY)[0] for members in (least, least - 1))
    assert enough.can_pass
    assert (too_few.can_pass, too_few.reason) == (False, "even if no member is identified, 1 more members are needed")


def test_a_rate_that_the_non_members_cannot_show_is_named_with_how_many_it_takes() -> None:
    limit = Limit(metric="tpr", attack="lira-online", at_fpr=0.001, max=0.05)
    found = outlooks([limit], ATTACKS, [0.01, 0.001], 5_000, 700, 64)[0]
    assert not found.can_pass
    assert "300 more are needed" in found.reason


def test_probabilities_add_up_and_lean_the_right_way() -> None:
    limit = Limit(metric="tpr", attack="lira-online", at_fpr=0.01, max=0.05)
    chances = outlooks([limit], ATTACKS, [0.01], 1_000, 1_000, MANY)[0].chances
    assert [c.rate for c in chances] == pytest.approx([0.005, 0.025, 0.1, 0.25])
    assert all(math.isclose(c.passes + c.fails + c.undecided, 1) for c in chances)
    assert chances[0].passes > 0.99
    assert chances[-1].fails > 0.99


def test_a_limit_on_every_attack_and_rate_counts_as_many_comparisons_as_will_be_made() -> None:
    """Holm shares the confidence among them: three attacks at two rates need α/6, and more members."""
    whole = Limit(metric="tpr", max=0.05)
    least = math.ceil(math.log(0.05 / 6) / math.log(0.95))
    assert outlooks([whole], ATTACKS, [0.01, 0.1], least, 1_000, MANY)[0].can_pass
    assert not outlooks([whole], ATTACKS, [0.01, 0.1], least - 1, 1_000, MANY)[0].can_pass
    assert outlooks([whole], ATTACKS, [0.01, 0.1], least - 1, 99, MANY)[0].can_pass  # 1 % is not measured then


# --- What it costs ----------------------------------------------------------------------------------------------------


def planned(**changes: Any) -> Plan:
    cost = Cost(seconds=90.0, stored=2_000_000, source="as recorded")
    whole = Plan(
        created="2026-11-25T12:00:00+00:00", shadows=64, missing=64, members=100, nonmembers=100, assumed=True,
        cost=cost, outlooks=(), decides={},
    )  # fmt: skip
    return dataclasses.replace(whole, **changes)


def test_hours_are_models_times_time_in_rounds_of_workers() -> None:
    plan = planned()
    assert plan.hours() == 64 * 90 / 3600
    assert plan.hours(workers=5) == 13 * 90 / 3600
    assert plan.hours(16) == 16 * 90 / 3600
    half = planned(missing=32)
    assert half.hours() == 32 * 90 / 3600
    assert half.hours(16) == 0
    assert plan.gigabytes == 0.128
    assert plan.cheaper == (16, 32)


@pytest.mark.parametrize(
    ("hours", "disk", "said"), [(1.5, None, "1.6 hours"), (None, 0.1, "0.128 GB"), (1.5, 0.1, "and 0.128 GB")]
)
def test_a_budget_that_is_exceeded_is_an_error_with_numbers(hours: float, disk: float, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        require_budget(64, planned().cost, hours, disk)


def test_a_budget_that_is_kept_is_none() -> None:
    require_budget(64, planned().cost, 1.6, 0.128)
    require_budget(0, planned().cost, 0.001, 0.001)
    require_budget(64, planned().cost, None, None)


@pytest.mark.parametrize(("rough", "source"), [(True, "one training on 64; rough"), (False, "one training on 64")])
def test_a_cost_that_is_roughly_known_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rough: bool, source: str
) -> None:
    timing = Timing(training=3.0, evaluation=1.0, stored=10, tried="one training on 64", rough=rough)
    monkeypatch.setattr("memaudit.auditing.costs.time_model", lambda *_, **__: timing)
    nothing: Any = None
    assert cost_to_fill(tmp_path, nothing, nothing, 8, 0) == (8, Cost(seconds=4.0, stored=10, source=source))


# --- The command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(project: Path) -> Path:
    """The project without its bank, and with a gate."""
    shutil.rmtree(project / "bank")
    (project / "memaudit.toml").write_text(SETTINGS + GATE, "utf-8")
    return project


def test_a_plan_says_what_there_is_to_say_and_leaves_nothing(fresh: Path, command: Command) -> None:
    said = command("plan")
    assert said.returncode == 0, said.stderr
    assert "8 still to train" in said.stdout
    assert "assumed to be half" in said.stdout
    assert "tpr of lira-online at 0.1 FPR ≤ 0.3" in said.stdout
    assert not (fresh / "bank").exists()
    assert not (fresh / ledger.FILE).exists()


def test_a_plan_as_json_is_one_object(fresh: Path, command: Command) -> None:
    found = json.loads(command("plan", "--json").stdout)
    assert (found["shadows"], found["missing"], found["members"], found["nonmembers"]) == (8, 8, 100, 100)
    assert found["outlooks"][0]["limit"].startswith("tpr of lira-online")
    assert "examples.sha256" not in found["decides"]  # unkeyed, it would let a guess at the data be tested


def test_the_disk_that_is_planned_is_the_disk_that_is_taken(fresh: Path, command: Command) -> None:
    before = json.loads(command("plan", "--json").stdout)["cost"]["stored"]
    assert command("bank", "fill", "-q").returncode == 0
    taken = sum(file.stat().st_size for file in (fresh / "bank" / "models").rglob("*") if file.is_file()) / 8
    assert abs(before - taken) / taken < 0.1  # headers and checksums come on top, members vary
    after = json.loads(command("plan", "--json").stdout)
    assert after["missing"] == 0
    assert after["cost"]["source"] == "as recorded of 8 models in the bank"


def test_more_than_the_budget_is_refused_and_done_with_yes(fresh: Path, command: Command) -> None:
    settings = (fresh / "memaudit.toml").read_text("utf-8")
    (fresh / "memaudit.toml").write_text(f"{settings}[budget]\ndisk_gb = 1e-6\n", "utf-8")
    for call in (("bank", "fill", "-q"), ("plan", "-o", "plan.json")):
        refused = command(*call)
        assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert not (fresh / "bank").exists()
    assert not (fresh / "plan.json").exists()
    assert command("bank", "fill", "-q", "--yes").returncode == 0
    assert command("bank", "fill", "-q").returncode == 0  # nothing is missing, so nothing is spent


def test_a_budget_with_a_key_that_is_none_is_refused(fresh: Path, command: Command) -> None:
    (fresh / "memaudit.toml").write_text("[budget]\nhuors = 3\n", "utf-8")
    refused = command("plan")
    assert (refused.returncode, "did you mean 'hours'?" in refused.stderr) == (2, True)


# --- The plan that is kept to -----------------------------------------------------------------------------------------


def test_an_audit_that_keeps_to_its_plan_says_so_and_shows_that_the_plan_came_first(
    fresh: Path, command: Command
) -> None:
    assert command("plan", MODEL, "-o", "plan.json", "-q").returncode == 0
    done = command("audit", MODEL, "--plan", "plan.json", "-q")
    assert done.returncode in (0, 1, 3), done.stderr
    report = load(fresh / "audit" / "report.json")
    entries = ledger.read(fresh / ledger.FILE)
    assert report.plan is not None
    assert report.attempt is not None
    assert report.plan.audits_before == 0
    assert entries.hashes == (report.plan.entry, report.attempt.entry)
    assert report.plan.sha256 in (fresh / "audit" / "report.html").read_text("utf-8")
    verified = command("verify", "audit")
    assert verified.returncode == 0, verified.stderr
    assert "was entered before the audit" in verified.stdout


CHANGES = {
    "rates": (("--fpr", "0.2"), "fprs"),
    "shadows": (("--shadows", "6"), "shadows"),
    "limits": ((), "policy"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_an_audit_that_differs_from_its_plan_is_refused_by_name_before_anything_is_trained(
    fresh: Path, command: Command, what: str
) -> None:
    flags, named = CHANGES[what]
    assert command("plan", "-o", "plan.json", "-q").returncode == 0
    if what == "limits":
        (fresh / "memaudit.toml").write_text(SETTINGS + GATE.replace("0.3", "0.9"), "utf-8")
    refused = command("audit", MODEL, "--plan", "plan.json", "-q", *flags)
    assert refused.returncode == 2
    assert f"  {named}: " in refused.stderr
    assert not list((fresh / "bank" / "models").iterdir())


def test_a_plan_that_was_changed_or_is_in_no_ledger_is_refused(fresh: Path, command: Command) -> None:
    assert command("plan", "-o", "plan.json", "-q").returncode == 0
    whole = (fresh / "plan.json").read_bytes()
    (fresh / "plan.json").write_bytes(whole.replace(b'"assumed": true', b'"assumed": false'))
    assert "does not hold the plan" in command("audit", MODEL, "--plan", "plan.json", "-q").stderr
    (fresh / "plan.json").write_bytes(whole[:-9])
    assert "is no plan" in command("audit", MODEL, "--plan", "plan.json", "-q").stderr
    (fresh / "plan.json").write_bytes(whole)
    (fresh / ledger.FILE).unlink()
    assert "does not hold the plan" in command("audit", MODEL, "--plan", "plan.json", "-q").stderr
    missing = command("audit", MODEL, "--plan", "none.json", "-q")
    assert (missing.returncode, "memaudit plan -o writes one" in missing.stderr) == (2, True)


def test_a_plan_after_an_audit_says_after_how_many(fresh: Path, command: Command) -> None:
    command("audit", MODEL, "-q")
    assert load(fresh / "audit" / "report.json").plan is None
    assert "none was recorded in the ledger" in (fresh / "audit" / "report.html").read_text("utf-8")
    command("plan", "-o", "plan.json", "-q")
    command("audit", MODEL, "--plan", "plan.json", "-q")
    report = load(fresh / "audit" / "report.json")
    assert report.plan is not None
    assert report.plan.audits_before == 1
    assert report.attempt is not None
    assert report.attempt.number == 2


def test_a_plan_is_in_the_ledger_before_it_is_a_file(
    fresh: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever kills it: no plan lies there that an audit would refuse, or that was never entered."""

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("memaudit.auditing.planning.write_whole", killed)
    assert command("plan", "-o", "plan.json", "-q").returncode == 130
    assert not (fresh / "plan.json").exists()
    assert len(ledger.read(fresh / ledger.FILE).entries) == 1
