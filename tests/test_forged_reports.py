"""Reports altered by somebody who wants to pass: refused by the gate, each by its name; no honest one is."""

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from memaudit import checks, reports
from memaudit.attack_names import ATTACKS_BY_METRIC
from memaudit.auditing.folder import DIGEST
from memaudit.policy.consistency import contradictions
from memaudit.policy.plausible import MEASURES
from memaudit.policy.waivers import self_approved
from memaudit.reports import editions
from memaudit.types import Edition

Command = Callable[..., CompletedProcess[str]]
Complaint = Callable[..., str]
Fields = dict[str, Any]


@pytest.fixture
def fields(real_report: Fields, two_limits: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fields:
    """A copy to forge; the working directory has the same limits."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "memaudit.toml").write_text(two_limits, "utf-8")
    return copy.deepcopy(real_report)


def _tpr(fields: Fields) -> Fields:
    named = (r for r in fields["results"] if r["finding"]["attack"] == "lira-online" and r["limit"])
    result: Fields = next(named)
    return result


def _estimate(fields: Fields) -> Fields:
    estimate: Fields = _tpr(fields)["finding"]["estimate"]
    return estimate


def _memorization(fields: Fields) -> Fields:
    result = next(r for r in fields["results"] if r["limit"] and r["finding"]["metric"] == "memorization")
    estimate: Fields = result["finding"]["estimate"]
    return estimate


def _scaled(estimate: Fields, by: float) -> None:
    for ends in (estimate, *estimate["bounds"]):
        for name in {"value", "low", "high"} & ends.keys():
            ends[name] *= by


def _set(place: str, value: Any) -> Callable[[Fields], None]:
    """Sets a place of the report; `tpr.` begins at the finding that breaks the limit."""

    def change(fields: Fields) -> None:
        node: Any = fields
        *way, last = place.split(".")
        for step in way:
            node = _tpr(fields)["finding"] if step == "tpr" else node[int(step) if step.isdigit() else step]
        assert last in node
        node[last] = value

    return change


def _bounds_lowered(fields: Fields) -> None:
    for bounds in _estimate(fields)["bounds"]:
        bounds["low"], bounds["high"] = 0.0, 0.01


def _all_lowered(fields: Fields) -> None:
    _scaled(_estimate(fields), 0.1)


def _swapped(fields: Fields) -> None:
    estimate = _estimate(fields)
    estimate["low"], estimate["high"] = estimate["high"], estimate["low"]


def _seven_times(fields: Fields) -> None:
    estimate = _estimate(fields)
    for ends in (estimate, *estimate["bounds"]):
        for name in {"value", "low", "high"} & ends.keys():
            ends[name] = 7.0


def _negative(fields: Fields) -> None:
    _scaled(_estimate(fields), -1)


def _many_units(fields: Fields) -> None:
    from memaudit.stats import clopper_pearson

    finding = _tpr(fields)["finding"]
    finding["n"], n = 10**9, 10**9
    hits = round(0.001 * n)
    estimate = finding["estimate"] | {"value": hits / n, "method": "Clopper–Pearson", "bounds": []}
    estimate["low"], estimate["high"] = map(float, clopper_pearson(hits, n))
    finding["estimate"] = estimate


def _passed(fields: Fields) -> None:
    _tpr(fields)["verdict"] = "pass"
    fields["verdict"] = "pass"


def _noted(fields: Fields) -> None:
    for result in fields["results"]:
        result["verdict"] = "noted"
    fields["verdict"] = "noted"


def _limit_raised(fields: Fields) -> None:
    """A limit of 50 % rewritten to 100 %, with the verdict that would then follow left out."""
    for result in fields["results"]:
        if result["limit"] and result["limit"]["metric"] == "tpr":
            result["limit"]["max"] = 1.0


def _excused(fields: Fields) -> None:
    _tpr(fields)["waiver"] = {
        "gate": "found", "subject": fields["subject"]["sha256"], "cap": 1.0, "reason": "r", "owner": "a",
        "approved_by": "b", "expires": "2027-01-01",
    }  # fmt: skip


def _second_control(fields: Fields) -> None:
    fields["controls"].append(fields["controls"][0] | {"passed": True})


def _skipped_as_passed(fields: Fields) -> None:
    fields["skipped"].append(
        {"code": "MIA001", "title": "t", "reason": "r", "verdict": "pass", "limit": None, "needed": ""}
    )


FORGED: dict[str, tuple[Callable[[Fields], object], str]] = {
    "bounds lowered": (_bounds_lowered, "does not hold the value"),
    "bounds and value lowered": (_all_lowered, "is no 0.95 interval of"),
    "a value lowered": (lambda f: _estimate(f).update(value=0.01), "does not hold the value"),
    "a value that is no share of 100": (_set("tpr.estimate.value", 0.9999), "is no share of 100 training examples"),
    "an interval turned round": (_swapped, "does not hold the value"),
    "an interval narrowed": (
        lambda f: _estimate(f).update(low=_estimate(f)["value"], high=_estimate(f)["value"]),
        "contradict each other",
    ),
    "a true-positive rate of 700 %": (_seven_times, "7 to 7 is no share"),
    "negative shares": (_negative, "a share is not between 0 and 1"),
    "memorization below −1": (lambda f: _scaled(_memorization(f), -9), "is no share"),
    "a billion units beside 100 members": (_many_units, "it is about 1,000,000,000 members, the report about 100"),
    "no units": (_set("tpr.n", 0), "the number of training examples is 0"),
    "a level of 0": (_set("tpr.estimate.level", 0.0), "a confidence is not between 0 and 1"),
    "another unit": (_set("tpr.estimate.unit", "bits"), "measures tpr as a share"),
    "another metric": (_set("tpr.metric", "extraction"), "measures tpr as a share, not 'extraction'"),
    "another attack": (_set("tpr.attack", "slira"), "MIA001 makes no attack 'slira'"),
    "an attack that there is not": (_set("tpr.attack", "lira-online-best"), "makes no attack 'lira-online-best'"),
    "a code that there is not": (_set("tpr.code", "MIA999"), "there is no check 'MIA999'"),
    "a rate of 0": (_set("tpr.at_fpr", 0.0), "its false-positive rate is 0"),
    "no rate": (_set("tpr.at_fpr", None), "its false-positive rate is None"),
    "−5 members": (_set("subject.members", -5), "subject: -5 members"),
    "no non-members": (_set("subject.nonmembers", 0), "subject: 0 non-members"),
    "other members": (_set("subject.members", 200), "it is about 100 members, the report about 200"),
    "three shadow models": (_set("subject.shadows", 3), "a bank has pairs"),
    "no model": (_set("subject.sha256", "unknown"), "the model's digest is no SHA-256"),
    "made in 1999": (_set("created", "1999-12-31T23:59:59+00:00"), "is before there was a memaudit"),
    "made in the future": (
        _set("created", (datetime.now(UTC) + timedelta(days=3)).isoformat()),
        "is in the future",
    ),
    "made at no time": (_set("created", "yesterday"), "created: no time"),
    "made before its plan": (
        _set("plan", {
            "sha256": "ab" * 32, "created": (datetime.now(UTC) + timedelta(days=1)).isoformat(), "entry": "cd" * 32,
            "audits_before": 0,
        }),
        "it was not made before the audit",
    ),
    "the attempt removed": (_set("attempt", None), "the number of the attempt is missing"),
    "another number of attempts": (_set("attempt.number", 7), "attempt: number 7 after 0 others"),
    "an attempt's verdict that is none": (
        lambda f: f["attempt"].update(number=2, earlier=["fine"], of_model=2),
        "'fine' is no verdict",
    ),
    "no entry": (_set("attempt.entry", ""), "the entry of the ledger is no SHA-256"),
    "a verdict rewritten": (_passed, "its verdict is pass, but fail follows"),
    "all verdicts rewritten": (_noted, "noted under a limit"),
    "a limit rewritten": (_limit_raised, "its verdict is fail, but"),
    "an excuse": (_excused, "excused by a waiver that was not applied"),
    "a control twice": (_second_control, "occurs twice"),
    "a control of nobody": (lambda f: f["controls"][0].update(code="CTL"), "'CTL' is no control"),
    "a pass without a measurement": (_skipped_as_passed, "pass, but nothing was measured"),
}  # fmt: skip


def save(fields: Fields) -> None:
    Path("report.json").write_text(json.dumps(fields), "utf-8")


def test_the_real_report_is_judged_and_no_edition_of_it_is_refused(fields: Fields, command: Command) -> None:
    save(fields)
    done = command("gate", "report.json")
    assert done.returncode == 1, done.stderr
    report = reports.load("report.json")
    for edition in Edition:
        reports.save(editions.edition(report, edition), "edition.json")
        assert command("gate", "edition.json").returncode in (1, 3)


@pytest.mark.parametrize(("forge", "said"), FORGED.values(), ids=FORGED)
def test_a_forged_report_is_refused(
    fields: Fields, complaint: Complaint, forge: Callable[[Fields], object], said: str
) -> None:
    forge(fields)
    save(fields)
    assert said in complaint("gate", "report.json")


def test_every_byte_counts_where_the_digest_is_beside_it(fields: Fields, complaint: Complaint) -> None:
    """A change that contradicts nothing, such as another model's SHA-256."""
    from memaudit.auditing.folder import seal

    save(fields)
    seal(Path(), ["report.json"])
    fields["subject"]["sha256"] = "ab" * 32
    save(fields)
    message = complaint("gate", "report.json")
    assert "report.digest is not the digest of report.json" in message
    assert "report.json was changed after SHA256SUMS was written" in message
    Path(DIGEST).unlink()
    assert "was changed after SHA256SUMS" in complaint("gate", "report.json")


def _linked(place: Path) -> None:
    (place / DIGEST).rename(place / "moved")
    (place / DIGEST).symlink_to("moved")


def _unlisted(place: Path) -> None:
    sums = place / "SHA256SUMS"
    sums.write_text("".join(line for line in sums.read_text("utf-8").splitlines(True) if "report.json" not in line))


def _upper(place: Path) -> None:
    (place / "SHA256SUMS").write_text((place / "SHA256SUMS").read_text("utf-8").upper(), "utf-8")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_linked, "report.digest is no plain file"),
        (lambda place: (place / DIGEST).unlink(), "report.digest is missing, but SHA256SUMS lists it"),
        (_unlisted, "SHA256SUMS does not list report.json"),
        (_upper, "SHA256SUMS does not list report.json"),
        (lambda place: (place / "SHA256SUMS").rename("x") and (place / "SHA256SUMS").symlink_to("x"), "no plain file"),
    ],
)
def test_digest_and_sums_are_taken_as_they_were_written_or_not_at_all(
    fields: Fields, complaint: Complaint, command: Command, spoil: Callable[[Path], object], said: str
) -> None:
    from memaudit.auditing.folder import seal

    save(fields)
    seal(Path(), ["report.json"])
    assert command("gate", "report.json").returncode == 1
    spoil(Path())
    assert said in complaint("gate", "report.json")


def test_sums_of_something_else_say_nothing_of_a_report(fields: Fields, command: Command) -> None:
    save(fields)
    Path("SHA256SUMS").write_text(f"{'a' * 64}  dist/wheel.whl\n", "utf-8")
    assert command("gate", "report.json").returncode == 1


def test_another_models_report_is_refused_where_the_model_is_given(
    fields: Fields, audited_place: Path, command: Command, complaint: Complaint
) -> None:
    save(fields)
    model = audited_place / "model.safetensors"
    assert "checked       the report is about" in command("gate", "report.json", "--model", model).stdout
    fields["subject"]["sha256"] = "ab" * 32
    save(fields)
    assert "about a model with another SHA-256" in complaint("gate", "report.json", "--model", model)
    assert "there is no model nowhere.pt" in complaint("gate", "report.json", "--model", "nowhere.pt")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"members": 100', '"members": 100, "members": 100000', "the key 'members' occurs twice"),
        ('"value": ', '"value": NaN, "was": ', "NaN is not a finite number"),
        ('"value": ', '"value": -Infinity, "was": ', "-Infinity is not a finite number"),
        ('"value": ', '"value": 1e999, "was": ', "inf is not a finite number"),
        ('"members": 100', f'"members": {10**400}', "a whole number that no double holds"),
        ('"members": 100', f'"members": {"1" * 5000}', "not a memaudit report"),
        ('"members": 100', '"members": 100.5', "subject.members: not as in a memaudit report"),
        ('"members": 100', '"members": true', "subject.members: not as in a memaudit report"),
        ('"members": 100', '"members": "100"', "subject.members: not as in a memaudit report"),
        ('"members": 100', '"members": 100, "mem\\u001bbers": 1', "subject.mem‹U+001B›bers"),
    ],
)
def test_json_that_readers_take_in_different_ways_is_refused(
    fields: Fields, complaint: Complaint, old: str, new: str, said: str
) -> None:
    text = json.dumps(fields)
    assert old in text
    Path("report.json").write_text(text.replace(old, new, 1), "utf-8")
    message = complaint("gate", "report.json")
    assert said in message
    assert len(message) < 1000


def test_five_hundred_attempts_are_named(fields: Fields, command: Command) -> None:
    counts = dict.fromkeys(("number", "of_model", "of_policy", "in_all"), 500)
    fields["attempt"] |= counts | {"earlier": ["fail"] * 499}
    save(fields)
    done = command("gate", "report.json")
    assert "\nattempt       attempt 500 " in done.stdout
    assert ", before it: fail, fail" in done.stdout


def test_a_ledger_that_does_not_hold_the_audit_refuses_it(
    fields: Fields, audited_place: Path, command: Command, complaint: Complaint, tmp_path: Path
) -> None:
    save(fields)
    ledger = audited_place / "memaudit.ledger.jsonl"
    assert "the chain of" in command("gate", "report.json", "--ledger", ledger).stdout
    (tmp_path / "new.jsonl").touch()
    assert "does not contain this audit" in complaint("gate", "report.json", "--ledger", "new.jsonl")
    fields["attempt"] |= {"number": 2, "earlier": ["pass"], "of_model": 2}
    save(fields)
    assert "differs from report.json" in complaint("gate", "report.json", "--ledger", ledger)


# ---- waivers


@pytest.mark.parametrize(
    ("owner", "approved_by"),
    [
        ("ann", "ann"), ("Ann Roe", " ann  roe "), ("ann.roe", "Ann Roe"), ("Ann", "Аnn"), ("Ännä", "Anna"),
        ("ＡＮＮ", "ann"), ("𝐀nn", "ann"), ("ann\u200b", "ann"), ("Straße", "STRASSE"), ("…", "!"), ("ann", "anո"),
        ("ᴀnn", "ann"), ("ann", "ⲁnn"), ("Øle", "øLE"),
    ],
)  # fmt: skip
def test_one_name_is_one_name_however_it_is_written(owner: str, approved_by: str) -> None:
    assert self_approved(owner, approved_by)


@pytest.mark.parametrize(
    ("owner", "approved_by"),
    [("ann", "bob"), ("Ann Roe", "Ann Poe"), ("o", "a"), ("李", "王"), ("Anna", "Мария"), ("Ørsted", "Ann Poe")],
)
def test_two_names_are_two(owner: str, approved_by: str) -> None:
    assert not self_approved(owner, approved_by)


def test_a_waiver_that_its_owner_approved_excuses_nothing(
    fields: Fields, two_limits: str, command: Command, complaint: Complaint
) -> None:
    save(fields)
    day = (datetime.now(UTC).date() + timedelta(days=30)).isoformat()
    waiver = (
        f'[[waiver]]\ngate = "found"\nsubject = "{fields["subject"]["sha256"]}"\ncap = 1.0\nreason = "r"\n'
        f'owner = "Ann"\napproved_by = "{{}}"\nexpires = {day}\n'
    )
    Path("memaudit.toml").write_text(two_limits + waiver.format("Bob"), "utf-8")
    assert command("gate", "report.json").returncode == 0
    assert command("policy").returncode == 0
    Path("memaudit.toml").write_text(two_limits + waiver.format("ANN"), "utf-8")
    done = command("gate", "report.json")
    assert done.returncode == 1
    assert "owner Ann, approved by ANN: void: its owner approved it" in done.stdout
    assert "waiver.0.approved_by: 'ANN' is the owner; another person must approve the waiver" in complaint("policy")


# ---- what is known


def test_every_check_and_its_metric_is_known() -> None:
    assert {code: measure.metric for code, measure in MEASURES.items()} == {c.code: c.metric for c in checks.CHECKS}


def test_every_attack_belongs_to_a_check() -> None:
    for metric, attacks in ATTACKS_BY_METRIC.items():
        begin = tuple(b for measure in MEASURES.values() if measure.metric == metric for b in measure.attacks)
        assert all(attack.startswith(begin) for attack in attacks)


def test_a_report_of_the_first_version_without_newer_fields_is_no_contradiction(fields: Fields) -> None:
    del fields["plan"], fields["context"], fields["waivers"], fields["edition"]
    for control in fields["controls"]:
        del control["overstates"], control["attacks"]
    save(fields)
    assert contradictions(reports.load("report.json")) == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f["subject"].update(shadows=64),
        _set("created", "2026-01-01T00:00:00+00:00"),
        lambda f: f["provenance"].update({"commitment.examples": "ab" * 32}),
        lambda f: [r["limit"].update(confidence=0.96) for r in f["results"] if r["limit"]],
    ],
    ids=["shadow models", "date", "examples", "limits"],
)
def test_what_the_ledger_says_of_an_audit_is_what_the_report_says(
    fields: Fields, audited_place: Path, complaint: Complaint, change: Callable[[Fields], object]
) -> None:
    change(fields)
    save(fields)
    ledger = audited_place / "memaudit.ledger.jsonl"
    assert "differs from report.json" in complaint("gate", "report.json", "--ledger", ledger)


def test_the_clocks_of_two_machines_differ(fields: Fields, command: Command) -> None:
    """A report that is five minutes ahead of the gate, and a plan that is ahead of the audit."""
    created = datetime.now(UTC) + timedelta(minutes=5)
    fields["created"] = created.isoformat(timespec="seconds")
    plan = {"sha256": "ab" * 32, "created": (created + timedelta(minutes=5)).isoformat(), "entry": "cd" * 32}
    fields["plan"] = plan | {"audits_before": 0}
    save(fields)
    assert command("gate", "report.json").returncode == 1


def test_the_gate_says_which_report_it_held_against_which_limits_and_what_came_of_the_controls(
    fields: Fields, command: Command
) -> None:
    next(control for control in fields["controls"] if control["code"] == "CTL007")["passed"] = None
    save(fields)
    told = (line.split(maxsplit=1) for line in command("gate", "report.json").stdout.splitlines())
    lines = {parts[0]: parts[1] for parts in told if len(parts) == 2}
    digest = fields["subject"]["sha256"]
    assert lines["report"].startswith(f"report.json: place/model.safetensors (SHA-256 {digest}), audited 20")
    assert lines["report"].endswith(" on 100 members and 100 non-members with 16 shadow models (rung 2)")
    assert lines["limits"] == str(Path("memaudit.toml").resolve())
    assert lines["controls"] == "passed: CTL001, CTL002, CTL005, CTL003, CTL004; not run: CTL007"
