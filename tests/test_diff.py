"""`memaudit diff`: a worse release is found, nothing is found where nothing changed, and only like is compared."""

import csv
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from scipy import stats as laws

import memaudit as ma
from memaudit.auditing.comparable import Side, open_side
from memaudit.auditing.diff import compare
from memaudit.auditing.flags import OF_MEMBERS, flag_column
from memaudit.errors import EvidenceError, MemauditError, SettingsError
from memaudit.recipe import load_recipe
from memaudit.reports import load, save
from memaudit.stats import clopper_pearson, mover_difference, newcombe_paired, newcombe_wilson
from memaudit.types import Control, Estimate, Finding, Limit, Report, Result, Subject, Verdict

Array = np.ndarray
Command = Callable[..., CompletedProcess[str]]

MEMBERS = 1000
PROVENANCE = {
    "memaudit": "1", "evidence": "hashed", "evidence.key": "k", "commitment.examples": "e", "commitment.members": "m",
    "bank.seed": "0", "bank.recipe.epochs": "40",
}  # fmt: skip


def finding(flags: Array, fpr: float = 0.01, attack: str = "lira-online") -> Finding:
    low, high = clopper_pearson(int(flags.sum()), len(flags))
    return Finding(
        code="MIA001",
        title=f"Membership inference, {attack}, at {fpr:g}",
        metric="tpr",
        attack=attack,
        at_fpr=fpr,
        estimate=Estimate(
            value=float(flags.mean()), low=float(low), high=float(high), unit="share", method="Clopper–Pearson"
        ),
        sentence="",
        n=len(flags),
        source="",
    )


def side(flags: Array, accused: Array | None = None, evidence: bool = True, limit: Limit | None = None) -> Side:
    """Returns the audit of a release whose members are found as flagged, named by its flags."""
    accused = np.zeros(len(flags), bool) if accused is None else accused
    report = Report(
        created="2026-11-23T10:00:00+00:00",
        subject=Subject(
            model="m.pt",
            sha256=hashlib.sha256(flags.tobytes()).hexdigest(),
            members=len(flags),
            nonmembers=len(accused),
            shadows=64,
        ),
        results=(Result(finding=finding(flags), limit=limit, verdict=Verdict.NOTED, reason=""),),
        skipped=(),
        controls=(),
        provenance=PROVENANCE,
    )
    rows = [(f"m{n}", "1", flag) for n, flag in enumerate(flags)] + [(f"n{n}", "0", f) for n, f in enumerate(accused)]
    table = {name: {"id": name, "member": m, flag_column(0.01, None): str(int(flag))} for name, m, flag in rows}
    return Side(Path("x"), report, table if evidence else None)


def pair(old: float, new: float, shared: float, rng: np.random.Generator) -> tuple[Side, Side]:
    """Returns two releases that find members at these rates; that share of both is found by the same luck."""
    luck = rng.random((3, 200))
    same = rng.random(200) < shared
    flags = [np.where(same, luck[0], luck[n]) < rate for n, rate in ((1, old), (2, new))]
    return side(flags[0]), side(flags[1])


# Estimates


def test_a_change_is_that_of_the_paired_table() -> None:
    """Newcombe 1998 (2635): 36, 12, 2 and 0 of 50; the published interval is 0.0569 to 0.3404."""
    new = np.repeat([True, True, False, False], [36, 12, 2, 0])
    old = np.repeat([True, False, True, False], [36, 12, 2, 0])
    (change,) = compare(side(old), side(new)).changes
    assert (change.old, change.new, change.pairs) == (38 / 50, 48 / 50, 50)
    assert change.change.value == pytest.approx(10 / 50)
    assert np.round([change.change.low, change.change.high], 4).tolist() == [0.0569, 0.3404]
    assert change.verdict is Verdict.FAIL


def test_pairs_show_what_two_intervals_side_by_side_do_not() -> None:
    """300 of 1,000 are found in both, 25 more in the new one: by McNemar's exact test p is 6e-8."""
    old = np.arange(MEMBERS) < 300
    new = np.arange(MEMBERS) < 325
    assert laws.binomtest(0, 25).pvalue < 1e-7
    found = compare(side(old), side(new))
    assert found.verdict is Verdict.FAIL
    assert found.changes[0].change.low > 0
    without = compare(side(old, evidence=False), side(new))
    assert without.verdict is Verdict.INCONCLUSIVE
    assert without.changes[0].pairs is None
    assert "Not paired: there is no evidence.csv beside x" in without.notes[0]
    assert "take the two audits for independent" in without.notes[0]
    assert compare(side(new), side(old)).verdict is Verdict.PASS


def test_without_evidence_the_intervals_of_the_reports_are_combined() -> None:
    rng = np.random.default_rng(0)
    old, new = (side(rng.random(MEMBERS) < rate, evidence=False) for rate in (0.1, 0.2))
    (change,) = compare(old, new).changes
    one, other = (s.report.results[0].finding.estimate for s in (new, old))
    ends = mover_difference((one.value, one.low, one.high), (other.value, other.low, other.high))
    expected = [float(end) for end in ends]
    assert (change.change.low, change.change.high) == pytest.approx(expected)
    assert change.change.level == 0.95


def test_the_combination_of_wilson_intervals_is_newcombes() -> None:
    from memaudit.stats import wilson

    hits, trials = np.array([3, 40, 0]), np.array([50, 50, 20])
    both = [(k / n, *wilson(k, n)) for k, n in zip(hits.tolist(), trials.tolist(), strict=True)]
    for one in range(3):
        expected = newcombe_wilson(hits[one : one + 1], trials[one : one + 1], hits[1:2], trials[1:2])
        assert mover_difference(both[one], both[1]) == pytest.approx([float(end[0]) for end in expected])


def test_counts_of_a_million_do_not_overflow() -> None:
    low, high = newcombe_paired(300_000, 290_000, 280_000, 1_000_000)
    # Of such numbers the interval is the normal one of the paired difference.
    half = 1.959964 * np.sqrt((20_000 + 10_000) / 1e6 - 0.01**2) / 1e3
    assert (float(low), float(high)) == pytest.approx((0.01 - half, 0.01 + half), abs=half / 100)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.0, 0.9])
def test_the_intervals_cover_and_a_regression_is_seldom_seen_where_there_is_none(shared: float) -> None:
    """300 pairs of releases, both at 30% of 200: coverage .95 within five errors (.013), regressions at most .025 and
    five (.009); false alarm 6e-7 each.
    """
    rng = np.random.default_rng(1)
    found = [compare(*pair(0.3, 0.3, shared, rng)) for _ in range(300)]
    changes = [f.changes[0].change for f in found]
    assert np.mean([c.low <= 0 <= c.high for c in changes]) == pytest.approx(0.95, abs=0.065)
    assert np.mean([f.verdict is Verdict.FAIL for f in found]) < 0.025 + 0.045
    assert not any(f.verdict is Verdict.PASS and f.changes[0].change.high > 0 for f in found)


@pytest.mark.slow
def test_several_changes_share_the_chance_of_a_false_alarm() -> None:
    """Twenty independent attacks on releases alike: a regression in about 1 of 40 comparisons, not in 20 of 40.

    200 comparisons: at most .025 and five errors (.011), false alarm 6e-7. Each interval covers 1 − 0.05/20.
    """
    rng = np.random.default_rng(2)
    names = [f"a{n}" for n in range(20)]

    def release() -> Side:
        flags = {name: rng.random(300) < 0.3 for name in names}
        one = side(flags["a0"], evidence=False)
        results = tuple(
            Result(finding=finding(f, attack=name), verdict=Verdict.NOTED, reason="") for name, f in flags.items()
        )
        return replace(one, report=replace(one.report, results=results))

    found = [compare(release(), release()) for _ in range(200)]
    assert {c.change.level for f in found for c in f.changes} == {1 - 0.05 / 20}
    assert np.mean([f.verdict is Verdict.FAIL for f in found]) < 0.025 + 0.055


def test_the_margin_moves_the_decision() -> None:
    old, new = side(np.arange(MEMBERS) < 300), side(np.arange(MEMBERS) < 325)
    (change,) = compare(old, new).changes
    low, high = change.change.low, change.change.high
    for margin, verdict in (
        (0.0, Verdict.FAIL),
        (low - 1e-6, Verdict.FAIL),
        (low + 1e-6, Verdict.INCONCLUSIVE),
        (high - 1e-6, Verdict.INCONCLUSIVE),
        (high + 1e-6, Verdict.PASS),
    ):
        assert compare(old, new, margin).verdict is verdict
    for margin in (-0.01, float("nan"), float("inf")):
        with pytest.raises(SettingsError, match="0 or more"):
            compare(old, new, margin)


def test_false_positives_are_compared_beside() -> None:
    flags = np.arange(MEMBERS) < 300
    few, many = np.arange(500) < 5, np.arange(500) < 50
    (change,) = compare(side(flags, few), side(flags | (np.arange(MEMBERS) == 999), many)).changes
    assert change.flagged is not None
    assert change.flagged.value == pytest.approx(0.09)
    assert change.flagged.low > 0


def test_training_sets_that_differ_are_compared_on_what_they_share() -> None:
    old, new = side(np.arange(MEMBERS) < 300), side(np.arange(MEMBERS) < 350)
    assert new.evidence is not None
    moved = {name: row | {"member": "0"} if int(name[1:]) >= 900 else row for name, row in new.evidence.items()}
    provenance = PROVENANCE | {"commitment.members": "other"}
    other = replace(new, evidence=moved, report=replace(new.report, provenance=provenance))
    found = compare(old, other)
    assert found.changes[0].pairs == 900
    assert (found.changes[0].old, found.changes[0].new) == pytest.approx((300 / 900, 350 / 900))
    assert any("The training sets differ; pairs are of the 900 examples" in note for note in found.notes)
    nobody = {name: row | {"member": str(1 - int(row["member"]))} for name, row in new.evidence.items()}
    found = compare(old, replace(other, evidence=nobody))
    assert "no example is a member of both" in found.notes[0]


def test_one_and_the_same_model_has_no_change() -> None:
    one = side(np.arange(MEMBERS) < 300)
    found = compare(one, replace(one, place=Path("y")))
    assert found.verdict is Verdict.PASS
    assert (found.changes[0].change.low, found.changes[0].change.high) == (0, 0)


def test_a_failed_control_leaves_nothing_decided_but_a_regression() -> None:
    low, high = side(np.arange(MEMBERS) < 300), side(np.arange(MEMBERS) < 325)
    failed = Control(code="CTL002", title="Permuted", passed=False, sentence="")

    def spoilt(one: Side) -> Side:
        return replace(one, report=replace(one.report, controls=(failed,)))

    assert compare(spoilt(high), low).verdict is Verdict.INCONCLUSIVE
    assert compare(high, spoilt(low)).verdict is Verdict.INCONCLUSIVE
    assert compare(spoilt(low), spoilt(high)).verdict is Verdict.FAIL
    assert compare(high, spoilt(low)).failed_controls == ("x: Permuted",)


def test_what_has_a_limit_decides_and_the_rest_is_noted() -> None:
    limit = Limit(metric="tpr", attack="lira-online", at_fpr=0.01, max=0.5)
    other = Result(
        finding=finding(np.arange(MEMBERS) < 300, attack="global-threshold"), verdict=Verdict.NOTED, reason=""
    )
    worse = replace(other, finding=finding(np.arange(MEMBERS) < 900, attack="global-threshold"))

    def with_(one: Side, *results: Result) -> Side:
        return replace(one, evidence=None, report=replace(one.report, results=(*one.report.results, *results)))

    flags = np.arange(MEMBERS) < 300
    old, new = side(flags, limit=limit), side(flags | (np.arange(MEMBERS) == 500), limit=limit)
    twice = replace(new.report.results[0], limit=replace(limit, max=0.6))  # two limits on one finding
    found = compare(with_(old, other), with_(new, twice, worse))
    assert [change.verdict for change in found.changes] == [Verdict.INCONCLUSIVE, Verdict.NOTED]
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.changes[0].change.level == 0.95
    assert compare(with_(side(flags), other), with_(side(new_flags(flags)), worse)).verdict is Verdict.FAIL


def new_flags(flags: Array) -> Array:
    return flags | (np.arange(len(flags)) == 500)


# What cannot be compared


def _provenance(**change: str | None) -> Callable[[Report], Report]:
    named = {name.replace("__", "."): value for name, value in change.items()}
    return lambda report: replace(
        report, provenance={k: v for k, v in (report.provenance | named).items() if v is not None}
    )


def _finding(**change: object) -> Callable[[Report], Report]:
    def changed(report: Report) -> Report:
        (result,) = report.results
        return replace(report, results=(replace(result, finding=replace(result.finding, **change)),))  # type: ignore[arg-type]

    return changed


DIFFERENT: dict[str, tuple[Callable[[Report], Report], str]] = {
    "examples": (_provenance(commitment__examples="f"), "the examples: not the same"),
    "key": (_provenance(evidence__key="l"), "the bank's key: not the same"),
    "seed": (_provenance(bank__seed="1"), "bank.seed: 0 → 1"),
    "recipe": (_provenance(bank__recipe__epochs=None), r"bank.recipe.epochs: 40 → \(none\)"),
    "an old report": (_provenance(commitment__examples=None), "the examples: missing from a report that is old"),
    "shadows": (
        lambda report: replace(report, subject=replace(report.subject, shadows=32)),
        "shadow models: 64 → 32",
    ),
    "attack": (_finding(attack="lira-offline"), "only in the old audit\n.*only in the new audit|only in the new"),
    "rate": (_finding(at_fpr=0.001), "only in the (old|new) audit"),
    "nothing measured": (lambda report: replace(report, results=()), "MIA001 .* only in the old audit"),
    "unit": (
        _finding(estimate=Estimate(value=0.3, low=0.2, high=0.4, unit="bits", method="Clopper–Pearson")),
        "another unit, level or method",
    ),
}


@pytest.mark.parametrize(("change", "said"), DIFFERENT.values(), ids=DIFFERENT)
def test_what_is_not_alike_is_refused_and_named(change: Callable[[Report], Report], said: str) -> None:
    old, new = side(np.arange(MEMBERS) < 300), side(np.arange(MEMBERS) < 325)
    with pytest.raises(EvidenceError, match=said):
        compare(old, replace(new, report=change(new.report)))


def test_all_that_differs_is_named_at_once() -> None:
    old, new = side(np.arange(MEMBERS) < 300), side(np.arange(MEMBERS) < 325)
    report = _provenance(bank__seed="1", commitment__examples="f")(new.report)
    with pytest.raises(EvidenceError) as told:
        compare(old, replace(new, report=report))
    assert str(told.value).count("\n") == 2


@pytest.mark.parametrize(
    "metric", ["memorization", "useful-memorization", "known-memorization", "forgetting", "membership-information"]
)
def test_shadows_of_another_law_are_noticed(metric: str) -> None:
    """Memorization is measured on the bank alone: where it differs, so do the shadows."""
    old, new = side(np.arange(MEMBERS) < 300), side(np.arange(MEMBERS) < 325)

    def with_(one: Side, value: float) -> Side:
        estimate = Estimate(value=value, low=0.1, high=0.9, unit="share", method="bootstrap")
        memorized = replace(one.report.results[0].finding, code="MEM001", metric=metric, estimate=estimate)
        result = Result(finding=memorized, verdict=Verdict.NOTED, reason="")
        return replace(one, report=replace(one.report, results=(*one.report.results, result)))

    assert len(compare(with_(old, 0.5), with_(new, 0.5)).changes) == 1, "nothing of the bank can change"
    with pytest.raises(EvidenceError, match=r"0\.5 → 0\.51, by other shadow models"):
        compare(with_(old, 0.5), with_(new, 0.51))


def test_evidence_that_is_named_otherwise_or_about_others() -> None:
    old, new = side(np.arange(MEMBERS) < 300), side(np.arange(MEMBERS) < 325)
    ids = replace(new, report=_provenance(evidence="ids")(new.report))
    assert "one audit names examples by ids, the other by hashes" in compare(old, ids).notes[0]
    assert compare(ids, replace(old, report=_provenance(evidence="full")(old.report))).changes[0].pairs == MEMBERS
    assert new.evidence is not None
    fewer = dict(list(new.evidence.items())[1:])
    with pytest.raises(EvidenceError, match="evidence on different examples"):
        compare(old, replace(new, evidence=fewer))
    lacking = {
        name: {k: v for k, v in row.items() if not k.startswith("flagged")} for name, row in new.evidence.items()
    }
    with pytest.raises(EvidenceError, match=r"no column flagged_at_0\.01 of 0 and 1"):
        compare(old, replace(new, evidence=lacking))


# The command line


@pytest.fixture(scope="module")
def releases(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of a user with the audits of two releases of one recipe, and of the first again; without pictures."""
    import shutil
    import sys

    import memaudit.reports.figures

    folder = tmp_path_factory.mktemp("releases") / "project"
    shutil.copytree(workplace, folder, ignore=shutil.ignore_patterns("__pycache__"))
    path = list(sys.path)
    recipe: Any = load_recipe(str(folder / "recipe.py"))
    members = (folder / "model.safetensors.members.csv").read_text("utf-8").split()[1:]
    ma.save_target(ma.train(recipe, members, seed=9, device="cpu"), folder / "new.safetensors", members)
    for name, out in (("model", "old"), ("new", "new"), ("model", "again")):
        done = ma.audit(folder / f"{name}.safetensors", recipe, folder / "bank", fprs=[0.02])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(memaudit.reports.figures, "render", lambda figure, theme: b"<svg/>")
            done.write(folder / out)
    sys.path[:] = path
    del sys.modules["recipe"]
    return folder


@pytest.fixture
def place(releases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import shutil

    for name in ("old", "new", "again"):
        shutil.copytree(releases / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_two_audits_are_compared_example_by_example(place: Path, command: Command) -> None:
    done = command("diff", "old", "new")
    assert done.returncode == 3, done.stderr
    rows = [list(csv.DictReader(io.StringIO((place / s / "evidence.csv").read_text("utf-8")))) for s in ("old", "new")]
    found = [load(place / s / "report.json") for s in ("old", "new")]
    assert [row["id"] for row in rows[0]] == [row["id"] for row in rows[1]]
    expected = compare(open_side(place / "old"), open_side(place / "new"))
    for change in expected.changes:
        values = [
            next(r.finding.estimate.value for r in report.results if r.finding.title == change.finding.title)
            for report in found
        ]
        assert (change.old, change.new) == pytest.approx(values)
        assert change.pairs == (100 if change.finding.metric in OF_MEMBERS else None)
    assert {change.finding.attack for change in expected.changes if change.pairs} == {
        *("slira", "lira-online", "lira-offline", "rmia", "global-threshold")
    }
    text = " ".join(done.stdout.split())
    assert "undecided The audits cannot decide whether the new release leaks more than the old one." in text
    assert "99% interval, 100 pairs" in " ".join(command("diff", "old", "new", "-v").stdout.split())
    lines = done.stdout.splitlines()
    head = next(n for n, line in enumerate(lines) if line.startswith("Finding"))
    assert lines[head].split() == ["Finding", "Old", "New", "Change", "95%", "CI", "FPR", "change", "Verdict"]
    shown = [line for line in lines[head + 1 : lines.index("", head)] if " points " in line]
    assert len(shown) == len(expected.changes)
    assert {row.split()[-1] for row in shown} <= {"undecided", "regression", "noted"}
    assert all(("(99% CI)" in row) is not row.endswith("noted") for row in shown)


def test_the_exit_code_is_the_decision(place: Path, command: Command, complaint: Callable[..., str]) -> None:
    assert command("diff", "old", "new", "--margin", 0.5).returncode == 0
    assert command("diff", "old", "again").returncode == 0
    assert command("diff", "old/report.json", "new/report.json").returncode == 3
    assert "0 or more" in complaint("diff", "old", "new", "--margin", "-1")
    assert "nowhere" in complaint("diff", "old", "nowhere")


def test_a_regression_exits_1(place: Path, command: Command) -> None:
    """The old release with only half of its finds: its report and evidence made to agree, in a folder without sums."""
    path = place / "old" / "evidence.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
    for number, row in enumerate(rows):
        for column in (name for name in row if name.startswith("flagged")):
            row[column] = "0" if number % 2 and row["member"] == "1" else row[column]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    content = json.loads((place / "old" / "report.json").read_bytes())
    for result in content["results"]:
        told = result["finding"]
        if told["metric"] in ("tpr", "traceability"):
            column = flag_column(told["at_fpr"], told["attack"])
            told["estimate"]["value"] = np.mean([row[column] == "1" for row in rows if row["member"] == "1"])
    (place / "old" / "report.json").write_text(json.dumps(content), "utf-8")
    (place / "old" / "SHA256SUMS").unlink()
    done = command("diff", "old/report.json", "new")
    assert done.returncode == 1, done.stdout
    text = " ".join(done.stdout.split())
    assert "regression The new release leaks more than the old one; the difference is significant." in text
    done = command("diff", "old/report.json", "new", "--markdown")
    assert done.returncode == 1
    assert done.stdout.startswith("# Privacy of two releases: regression\n")


def test_markdown_has_a_row_for_each_change_and_names_nobody(place: Path, command: Command) -> None:
    done = command("diff", "old", "new", "--markdown")
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 8
    assert {line.count(" | ") for line in table if line[1] == " "} == {6}
    rows = csv.DictReader(io.StringIO((place / "old" / "evidence.csv").read_text("utf-8")))
    names = [row["id"] for row in rows]
    plain = command("diff", "old", "new").stdout
    assert not any(name in done.stdout + plain for name in names)


def test_a_folder_that_was_changed_is_not_compared(place: Path, complaint: Callable[..., str]) -> None:
    with (place / "new" / "evidence.csv").open("a", encoding="utf-8") as file:
        file.write("x")
    for path in ("new", "new/report.json"):
        message = complaint("diff", "old", path)
        assert "new is not as it was written" in message
        assert "'evidence.csv' was changed" in message


def test_evidence_that_is_not_the_reports_is_not_compared(place: Path, complaint: Callable[..., str]) -> None:
    (place / "new" / "evidence.csv").write_bytes((place / "old" / "evidence.csv").read_bytes().replace(b",1,", b",0,"))
    (place / "new" / "SHA256SUMS").unlink()
    assert "is not the evidence of" in complaint("diff", "old", "new/report.json")


def test_a_report_alone_is_compared_without_pairs(place: Path, command: Command) -> None:
    save(load(place / "new" / "report.json"), place / "alone.json")
    done = command("diff", "old", "alone.json")
    assert done.returncode == 3
    assert "Not paired: there is no evidence.csv beside alone.json" in " ".join(done.stdout.split())


def test_names_that_are_markup_stay_text(place: Path, command: Command) -> None:
    content = json.loads((place / "new" / "report.json").read_bytes())
    content["subject"]["model"] = "<script>|\x1b[31m\u202e"
    (place / "alone.json").write_text(json.dumps(content), "utf-8")
    shown = command("diff", "old", "alone.json", "--markdown").stdout
    assert "<script>" not in shown
    for text in (shown, command("diff", "old", "alone.json").stdout):
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_reports_of_another_bank_are_refused(place: Path, complaint: Callable[..., str]) -> None:
    report = load(place / "new" / "report.json")
    save(replace(report, provenance=report.provenance | {"bank.seed": "7\x1b[31m\n"}), place / "alone.json")
    message = complaint("diff", "old", "alone.json")
    assert "bank.seed: 0 → 7‹U+001B›[31m" in message


def test_a_report_that_cannot_be_read_is_an_error(place: Path) -> None:
    (place / "x.json").write_text("{}", "utf-8")
    with pytest.raises(MemauditError, match="schema"):
        open_side(place / "x.json")
