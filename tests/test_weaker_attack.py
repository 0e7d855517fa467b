"""A limit that names one attack: which other attacks of the same report exceed it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import samples

from memaudit import reports
from memaudit.attack_names import USUAL_ATTACKS
from memaudit.cli import settings
from memaudit.policy import hold
from memaudit.reports.document import document
from memaudit.reports.uncovered import uncovered
from memaudit.types import Finding, Limit, Verdict

ROOT = Path(__file__).parents[1]


found, audited = samples.found, samples.audited
ONLINE = Limit(metric="tpr", attack="lira-online", at_fpr=0.01, max=0.05)
WEAK, STRONG = found("lira-online", 10), found("lira-offline", 200)


def test_a_limit_on_the_weaker_attack_passes_and_every_first_page_says_which_attack_is_above_it() -> None:
    held = audited([ONLINE], WEAK, STRONG)
    assert held.verdict is Verdict.PASS
    assert document(held).headline.endswith("Not every attack has a limit.")
    ((label, words),) = uncovered(held)
    assert label == "above a limit"
    assert words == (
        "The limit “tpr of lira-online at 0.01 FPR ≤ 0.05” covers lira-online alone. In this report lira-offline "
        "reaches 20% (95% CI 18–23%), which is above that limit. A limit without “attack” covers every attack."
    )
    assert "lira-offline reaches 20%" in str(document(held).alerts).replace("\N{NO-BREAK SPACE}", " ")
    for name in ("md", "modelcard", "github", "html"):
        page = reports.render(held, name).decode().replace("\N{NO-BREAK SPACE}", " ").replace("%25", "%")
        assert "lira-offline reaches 20%" in page, name


def test_a_limit_without_an_attack_covers_the_strongest() -> None:
    held = audited([replace(ONLINE, attack=None)], WEAK, STRONG)
    assert held.verdict is Verdict.FAIL
    assert uncovered(held) == ()


@pytest.mark.parametrize(
    ("limits", "findings", "attacks"),
    [
        ([ONLINE], [WEAK], []),
        ([ONLINE], [WEAK, found("lira-offline", 50)], []),  # at the limit is not above it
        ([ONLINE], [WEAK, found("lira-offline", 200, fpr=0.1)], []),  # at a higher rate more is found anyway
        ([ONLINE], [WEAK, found("lira-offline", 200, fpr=0.001)], ["lira-offline"]),  # even at a lower rate
        ([replace(ONLINE, attack=None)], [WEAK, found("lira-offline", 200, fpr=0.001)], ["lira-offline"]),
        ([replace(ONLINE, at_fpr=None)], [WEAK, found("lira-offline", 200, fpr=0.001)], ["lira-offline"]),
        ([ONLINE], [WEAK, STRONG, found("rmia", 300)], ["rmia", "lira-offline"]),
        ([ONLINE, replace(ONLINE, attack="lira-offline")], [WEAK, STRONG], []),  # fails by itself
        ([ONLINE, replace(ONLINE, attack=None, max=0.1)], [WEAK, STRONG], ["lira-offline"]),
        ([ONLINE], [STRONG], ["lira-offline"]),  # the named attack was not even run
        ([Limit(metric="memorization", max=0.1)], [WEAK, STRONG], []),
    ],
)
def test_which_attacks_are_above_a_limit(limits: list[Limit], findings: list[Finding], attacks: list[str]) -> None:
    told = " ".join(words for _, words in uncovered(audited(limits, *findings)))
    places = [told.find(f" {attack} reaches") for attack in attacks]
    assert -1 not in places
    assert places == sorted(places)
    assert told.count(" reaches ") == len(attacks)


def test_the_gate_names_the_stronger_attack(tmp_path: Path, command: Callable[..., CompletedProcess[str]]) -> None:
    reports.save(audited([], WEAK, STRONG), tmp_path / "report.json")
    toml = tmp_path / "memaudit.toml"
    toml.write_text('[[gate]]\nmetric = "tpr"\nattack = "lira-online"\nat_fpr = 0.01\nmax = 0.05\n', "utf-8")
    done = command("gate", tmp_path / "report.json", "--config", toml)
    assert done.returncode == 0
    assert "above a limit The limit “tpr of lira-online at 0.01 FPR ≤ 0.05” covers lira-online alone." in done.stdout
    toml.write_text('[[gate]]\nmetric = "tpr"\nat_fpr = 0.01\nmax = 0.05\n', "utf-8")
    done = command("gate", tmp_path / "report.json", "--config", toml)
    assert done.returncode == 1
    assert "above a limit" not in done.stdout


def test_no_template_or_example_names_an_attack() -> None:
    files = [*ROOT.glob("examples/*/*.toml"), *ROOT.glob("memaudit/cli/templates/*/memaudit.toml")]
    assert len(files) >= 6
    assert not [file for file in files if "attack =" in file.read_text("utf-8")]
    limits = [limit for file in files for limit in settings.read(file).limits() if limit.metric == "tpr"]
    assert [limit.attack for limit in limits] == [None, None]


def test_usual_attacks_that_the_audit_was_not_asked_for_are_named() -> None:
    """Otherwise a limit without “attack” would be kept by whoever asks for the weakest attack alone."""
    report = audited([], found("lira-offline", 5))
    report = replace(report, provenance=report.provenance | {"attacks": "lira-offline"})
    limit = Limit(metric="tpr", max=0.5)
    ((label, words),) = uncovered(hold(report, [limit]))
    assert label == "not attacked"
    assert "ran only lira-offline, and" in words
    assert "slira, lira-online, rmia, global-threshold may find more" in words
    assert uncovered(hold(report, [Limit(metric="memorization", max=0.5)])) == ()
    usual = replace(report, provenance={"attacks": ", ".join(USUAL_ATTACKS)})
    assert uncovered(hold(usual, [limit])) == ()
    assert "NOT ATTACKED" in reports.render(hold(report, [limit]), "html").decode()
    assert "**Not attacked.**" in reports.render(hold(report, [limit]), "md").decode()
