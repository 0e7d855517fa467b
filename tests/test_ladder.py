"""Audits with less than a bank: what they say, what they cannot pass, and what they refuse."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import torch

import memaudit as ma
from memaudit import policy
from memaudit.checks import CONTROLS, ClassifierTargetEvidence, all_checks
from memaudit.checks.evidence import estimate
from memaudit.checks.held_out import METHOD
from memaudit.errors import MemauditError
from memaudit.policy.consistency import contradictions
from memaudit.reports import load
from memaudit.types import Control, Estimate, Finding, Limit, Report, Result, Rung, Subject, Verdict, Why

Array = np.ndarray
Command = Callable[..., CompletedProcess[str]]
Edit = Callable[[Path, str, str], None]

RECIPES = Path(__file__).parent / "recipes"
GATE = '\n[[gate]]\nmetric = "tpr"\n{}at_fpr = 0.1\nmax = {}\n'
NAMED = 'attack = "global-threshold"\n'


def reported(project: Path) -> Report:
    return load(project / "audit" / "report.json")


def gates(project: Path, *gates: str) -> None:
    with (project / "memaudit.toml").open("a", encoding="utf-8") as file:
        file.write("".join(gates))


def nobody(project: Path) -> str:
    """Members that the model was not trained on more than on others: there is no leak about them."""
    rows = (project / "model.safetensors.members.csv").read_text("utf-8").splitlines()
    names = [row.split(",")[0] for row in rows[1:]]
    from memaudit.recipe import load_recipe
    from memaudit.training import population

    everybody = [str(i) for i in population(load_recipe(str(project / "recipe.py"))).ids]
    others = [name for name in everybody if name not in names]
    (project / "drawn.csv").write_text("\n".join(["id", *names[:50], *others[:50]]) + "\n", "utf-8")
    return "drawn.csv"


def codes(report: Report) -> set[str]:
    return {r.finding.code for r in report.results} | {s.code for s in report.skipped}


# --- rung 0 -----------------------------------------------------------------------------------------------------------


def test_no_shadows_are_needed_and_none_are_trained(project: Path, command: Command) -> None:
    shutil.rmtree(project / "bank")
    done = command("audit", "model.safetensors", "--shadows", "0", "--fpr", "0.1")
    assert done.returncode == 0, done.stderr
    assert "No shadow models were used (rung 0; a bank is rung 2)" in " ".join(done.stderr.split())
    assert not (project / "bank").exists()
    report = reported(project)
    assert report.rung is Rung.TARGET
    assert report.subject.shadows == report.subject.references == 0
    assert report.attempt is not None and report.attempt.number == 1
    assert contradictions(report) == ()
    leak = next(r.finding for r in report.results if r.finding.attack == "global-threshold")
    assert leak.estimate.low > 0.5
    assert {"MEM001", "LNK001"} <= codes(report)
    assert all("bank of shadow models" in s.reason for s in report.skipped if s.code in ("MEM001", "LNK001"))
    assert report.untested[0].startswith("Attacks with shadow models")
    for name in ("html", "md"):
        text = (project / "audit" / f"report.{name}").read_text("utf-8")
        assert "rung 0" in text
        assert "0 shadow models" not in text
        assert "shadow models are kept" not in text
    with (project / "audit" / "evidence.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200
    flagged = [row["flagged_at_0.1_by_global-threshold"] == "1" for row in rows if row["member"] == "1"]
    assert np.mean(flagged) == leak.estimate.value
    assert not any(name.startswith("memorization") for name in rows[0])


def test_a_bank_that_is_there_is_left_alone(project: Path, command: Command) -> None:
    before = sorted(path.name for path in (project / "bank").rglob("*"))
    assert command("audit", "model.safetensors", "--shadows", "0").returncode == 0
    assert sorted(path.name for path in (project / "bank").rglob("*")) == before
    assert reported(project).rung is Rung.TARGET


def test_python_needs_no_bank(project: Path) -> None:
    done = ma.audit(project / "model.safetensors", f"{project / 'recipe.py'}:recipe", fprs=[0.05])
    assert done.report.rung is Rung.TARGET
    assert (project / "memaudit.ledger.jsonl").exists()


def test_a_recipe_that_trains_nothing(project: Path, command: Command, edit: Edit, complaint: Any) -> None:
    text = (project / "recipe.py").read_text("utf-8")
    (project / "recipe.py").write_text(
        text[: text.index("recipe = ")] + "recipe = ma.CallableRecipe(examples, model=model)\n", "utf-8"
    )
    edit(project / "memaudit.toml", "shadows = 16\n", "")
    shutil.rmtree(project / "bank")
    done = command("audit", "model.safetensors")
    assert done.returncode == 0, done.stderr
    assert reported(project).rung is Rung.TARGET
    for arguments in (("audit", "model.safetensors", "--shadows", "8"), ("bank", "fill", "--shadows", "8")):
        assert "no train function, so no shadow model can be trained" in complaint(*arguments)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_a_leak_that_is_shown_fails_a_limit_on_any_attack(project: Path, command: Command) -> None:
    gates(project, GATE.format("", 0.2))
    assert command("audit", "model.safetensors", "--shadows", "0").returncode == 1
    assert command("gate", "audit/report.json").returncode == 1


def test_a_limit_on_any_attack_cannot_pass_and_one_on_an_attack_can(project: Path, command: Command) -> None:
    members = nobody(project)
    gates(project, GATE.format("", 0.9))
    assert command("audit", "model.safetensors", "--shadows", "0", "--members", members).returncode == 3
    assert command("gate", "audit/report.json").returncode == 3
    results = [r for r in reported(project).results if r.limit is not None]
    assert {r.verdict for r in results} == {Verdict.INCONCLUSIVE}
    assert {r.why for r in results} == {Why.RUNG}
    assert {r.needed for r in results} == {"a bank of shadow models: memaudit bank fill --shadows 64"}
    text = (project / "memaudit.toml").read_text("utf-8")
    (project / "memaudit.toml").write_text(text.replace('metric = "tpr"\n', f'metric = "tpr"\n{NAMED}'), "utf-8")
    assert command("gate", "audit/report.json").returncode == 0
    assert command("audit", "model.safetensors", "--shadows", "0", "--members", members).returncode == 0
    assert reported(project).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("limit", "needed"),
    [
        (Limit(metric="tpr", attack="slira", at_fpr=0.05, max=0.9), "a bank of shadow models"),
        (Limit(metric="memorization", max=0.9), "a bank of shadow models"),
        (Limit(metric="tpr", attack="rmia-offline", at_fpr=0.05, max=0.9), "reference models (--reference PATH)"),
    ],
)
def test_a_limit_that_needs_more_says_so(project: Path, limit: Limit, needed: str) -> None:
    recipe = f"{project / 'recipe.py'}:recipe"
    report = ma.audit(project / "model.safetensors", recipe, fprs=[0.05], limits=[limit]).report
    open_limit = next(skipped for skipped in report.skipped if skipped.limit == limit)
    assert open_limit.verdict is Verdict.INCONCLUSIVE
    assert open_limit.needed.startswith(needed)
    assert report.verdict is Verdict.INCONCLUSIVE


# --- rung 1 -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def reference(project: Path) -> Path:
    """A network of the recipe's kind that was trained on other data."""
    import torch
    from torch import nn

    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 10))
    torch.save(network.state_dict(), project / "reference.pt")
    return project / "reference.pt"


def test_reference_models_are_a_rung(project: Path, command: Command, reference: Path) -> None:
    gates(project, GATE.format("", 0.9999))
    done = command("audit", "model.safetensors", "--shadows", "0", "--reference", reference.name)
    assert done.returncode == 3, done.stderr
    report = reported(project)
    assert (report.rung, report.subject.shadows, report.subject.references) == (Rung.REFERENCES, 0, 1)
    assert contradictions(report) == ()
    assert {"rmia-offline", "reference"} <= {r.finding.attack for r in report.results}
    assert next(c for c in report.controls if c.code == "CTL014").passed
    assert "compared with 1 reference model" in (project / "audit" / "report.md").read_text("utf-8")
    assert report.provenance["reference.1"].startswith("reference.pt ")


def test_references_in_the_settings(project: Path, command: Command, edit: Edit, reference: Path) -> None:
    edit(project / "memaudit.toml", "shadows = 16\n", f'shadows = 0\nreferences = ["{reference.name}"]\n')
    assert command("audit", "model.safetensors").returncode == 0
    assert reported(project).rung is Rung.REFERENCES


@pytest.mark.parametrize("shadows", [2, 4])
def test_a_few_shadows_are_reference_models(project: Path, command: Command, shadows: int) -> None:
    done = command("audit", "model.safetensors", "--shadows", shadows, "--fpr", "0.1")
    assert done.returncode == 0, done.stderr
    report = reported(project)
    assert (report.rung, report.subject.shadows, report.subject.references) == (Rung.REFERENCES, shadows, 0)
    assert contradictions(report) == ()
    found = {r.finding.attack: r.finding.estimate for r in report.results if r.finding.at_fpr == 0.1}
    assert found["rmia-offline"].low > 0.5
    assert ("slira" in found) is (shadows >= 4)
    assert "No shadow models were used" not in (project / "audit" / "report.md").read_text("utf-8")


def test_slira_from_four_shadows_can_fail_a_limit_but_not_keep_one(project: Path) -> None:
    """It is weaker than with a bank, so that what it misses says little."""
    verdicts = []
    for most in (0.1, 0.9999):
        limit = Limit(metric="tpr", attack="slira", at_fpr=0.1, max=most)
        recipe = f"{project / 'recipe.py'}:recipe"
        call: dict[str, Any] = {"shadows": 5, "fprs": [0.1], "attacks": ["slira"], "limits": [limit]}
        report = ma.audit(project / "model.safetensors", recipe, project / "bank", **call).report
        assert [r.finding.code for r in report.results] == ["MIA010"]
        verdicts.append((report.results[0].verdict, report.results[0].why))
    assert verdicts[0] == (Verdict.FAIL, None)
    assert verdicts[1][0] is Verdict.INCONCLUSIVE
    assert policy.rung_of(limit) is Rung.BANK


def test_one_shadow_is_no_reference_for_what_it_was_trained_on(project: Path) -> None:
    recipe = f"{project / 'recipe.py'}:recipe"
    with pytest.raises(
        MemauditError,
        match=r"\d+ of the 200 examples were in the training sets of all shadow models that are used \(1 of",
    ):
        ma.audit(project / "model.safetensors", recipe, project / "bank", shadows=1)


class Heads(torch.nn.Module):
    """Two outputs: the first are the logits of another head, which the recipe does not name."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(4, 2), torch.nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.first(x), "other": self.second(x)}


def test_every_model_is_asked_for_the_output_that_the_recipe_names(tmp_path: Path) -> None:
    """The same weights under `output="other"`, and as a model of that output alone: references say the same."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4)).astype(np.float32)
    examples = ma.Examples(x, (x[:, 0] > 0).astype(int))
    reports = []
    for name, model, output in (("both", Heads, "other"), ("one", partial(torch.nn.Linear, 4, 2), None)):
        recipe = ma.CallableRecipe(lambda: examples, model=model, output=output)
        for number, file in enumerate(("model.pt", "reference.pt")):
            torch.manual_seed(number)
            first, second = torch.nn.Linear(4, 2), torch.nn.Linear(4, 2)
            network = Heads() if name == "both" else second
            if isinstance(network, Heads):
                network.first, network.second = first, second
            (tmp_path / name).mkdir(exist_ok=True)
            torch.save(network.state_dict(), tmp_path / name / file)
        call: dict[str, Any] = {"members": np.arange(200) < 100, "fprs": [0.1], "ledger": tmp_path / "ledger.jsonl"}
        references = [tmp_path / name / "reference.pt"]
        reports.append(ma.audit(tmp_path / name / "model.pt", recipe, references=references, **call).report)
    both, one = ([(r.finding.attack, r.finding.estimate) for r in report.results] for report in reports)
    assert both == one
    assert "rmia-offline" in dict(both)


@pytest.mark.parametrize("shadows", [4, 16])
def test_a_shadow_model_is_no_target_of_its_own_bank(project: Path, shadows: int) -> None:
    """Its members are as stated and every control would pass: nothing but its own place in the bank is wrong."""
    from memaudit.bank import Bank

    recipe = f"{project / 'recipe.py'}:recipe"
    bank = Bank.open(project / "bank")
    shutil.copy(project / "bank" / "models" / "0005" / "weights.safetensors", project / "shadow.safetensors")
    inside = bank.tensor(5, "members") > 0
    with pytest.raises(MemauditError, match="the audited model is shadow model 5 of the bank"):
        ma.audit(project / "shadow.safetensors", recipe, bank, members=inside, shadows=shadows)
    done = ma.audit(project / "shadow.safetensors", recipe, members=inside, fprs=[0.05])
    assert done.report.rung is Rung.TARGET


def test_six_shadows_are_a_bank(project: Path) -> None:
    recipe = f"{project / 'recipe.py'}:recipe"
    assert ma.audit(project / "model.safetensors", recipe, project / "bank", shadows=6).report.rung is Rung.BANK


def test_an_attack_without_a_bank_can_be_asked_for_beside_one(project: Path, command: Command) -> None:
    """Its threshold is the non-members' own; the findings of the bank stay as they were."""
    assert command("audit", "model.safetensors", "--fpr", "0.1").returncode == 0
    alone = reported(project)
    gates(project, GATE.format('attack = "quantile-regression"\n', 0.9999))
    done = command("audit", "model.safetensors", "--fpr", "0.1")
    assert done.returncode == 3, done.stderr
    report = reported(project)
    assert (report.rung, contradictions(report)) == (Rung.BANK, ())
    own = [r for r in report.results if r.finding.code == "MIA010"]
    assert [r.finding.attack for r in own] == ["quantile-regression"]
    kept = [r.finding.estimate for r in report.results if r.finding.code != "MIA010"]
    assert kept == [r.finding.estimate for r in alone.results]
    assert b"flagged_at_0.1_by_quantile-regression" in (project / "audit" / "evidence.csv").read_bytes()


def test_references_that_are_refused(project: Path, complaint: Any, reference: Path) -> None:
    call = ("audit", "model.safetensors", "--shadows", "0")
    shutil.copy(project / "model.safetensors", project / "same.safetensors")
    assert "is the audited model itself" in complaint(*call, "--reference", "same.safetensors")
    six = [part for _ in range(6) for part in ("--reference", reference.name)]
    assert "6 reference models were given, and 5 at most are used" in complaint(*call, *six)
    assert "there is no model" in complaint(*call, "--reference", "nowhere.pt")
    shutil.copy(reference, project / "again.pt")
    twice = ("--reference", reference.name, "--reference", "again.pt")
    assert "again.pt is the same model as reference.pt" in complaint(*call, *twice)
    assert "leave --reference out" in complaint("audit", "model.safetensors", "--reference", reference.name)


@pytest.mark.parametrize(("side", "overstates"), [(True, ()), (False, ("tpr",))])
def test_references_that_know_one_side_are_found_out(side: bool, overstates: tuple[str, ...]) -> None:
    from memaudit.attacks import References

    rng = np.random.default_rng(0)
    facts = evidence(0)
    phi = rng.normal(size=(1, 300)) + 1.0 * (facts.members == side)
    control = next(control for control in CONTROLS if control.code == "CTL014")
    assert not control.wanted(facts)
    told = control.run(replace(facts, references=References(phi, np.ones((1, 300), bool))))
    assert (told.passed, told.overstates) == (False, overstates)
    fine = control.run(replace(facts, references=References(rng.normal(size=(1, 300)), np.ones((1, 300), bool))))
    assert fine.passed


# --- what a report can say --------------------------------------------------------------------------------------------


FORGED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a bank": (lambda report: report.update(rung=2), "0 shadow models; a bank has pairs"),
    "references": (lambda report: report.update(rung=1), "rung 1: there are 0 shadow models and 0 reference models"),
    "shadows that were not used": (lambda report: report["subject"].update(shadows=4), "rung 0: there are 4 shadow"),
    "seven references": (lambda report: report["subject"].update(references=7), "7 reference models"),
    "a bank's attack": (
        lambda report: report["results"][0]["finding"].update(code="MIA005", attack="slira"),
        "MIA005 needs rung 2, and the report is of rung 0",
    ),
    "no blind baseline": (
        lambda report: report.update(controls=[c for c in report["controls"] if c["code"] != "CTL003"]),
        "the control CTL003 is missing",
    ),
    "no word on memorization": (
        lambda report: report.update(skipped=[s for s in report["skipped"] if s["code"] != "MEM001"]),
        "the check MEM001 is missing",
    ),
}


@pytest.fixture(scope="module")
def honest(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON of an audit without a bank."""
    folder = tmp_path_factory.mktemp("rung0")
    for name in ("recipe.py", "model.safetensors", "model.safetensors.members.csv"):
        shutil.copy(workplace / name, folder / name)
    done = ma.audit(folder / "model.safetensors", f"{folder / 'recipe.py'}:recipe", fprs=[0.05])
    done.save(folder / "report.json")
    return dict(json.loads((folder / "report.json").read_text("utf-8")))


@pytest.mark.parametrize(("change", "said"), FORGED.values(), ids=FORGED)
def test_a_report_that_claims_more_than_it_holds(
    honest: dict[str, Any], tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    content = json.loads(json.dumps(honest))
    (tmp_path / "honest.json").write_text(json.dumps(content), "utf-8")
    assert contradictions(load(tmp_path / "honest.json")) == ()
    change(content)
    (tmp_path / "forged.json").write_text(json.dumps(content), "utf-8")
    assert any(said in problem for problem in contradictions(load(tmp_path / "forged.json")))


def test_older_reports_are_of_a_bank(real_report: dict[str, Any], tmp_path: Path) -> None:
    old = {name: value for name, value in real_report.items() if name != "rung"}
    old["subject"] = {name: value for name, value in old["subject"].items() if name != "references"}
    (tmp_path / "old.json").write_text(json.dumps(old), "utf-8")
    report = load(tmp_path / "old.json")
    assert (report.rung, report.subject.references) == (Rung.BANK, 0)
    assert contradictions(report) == ()


def test_checks_name_the_lowest_rung_that_they_need() -> None:
    needs = {check.code: check.rung for check in all_checks()}
    lowest = {code for code, rung in needs.items() if rung is Rung.TARGET}
    of_texts = {"CAN003", "CAN010", "EXT001", "EXT002", "EXT003", "EXT004"}
    assert lowest == {"MIA010", "DP001", "DP002", "GEN001", "GEN003", *of_texts}
    for code, rung in needs.items():
        assert policy.plausible.MEASURES[code].rung is rung, code


# --- error rates ------------------------------------------------------------------------------------------------------


def evidence(seed: int, n: int = 300, shift: float = 0.0) -> ClassifierTargetEvidence:
    """Half members, whose signal is higher by `shift`."""
    rng = np.random.default_rng(seed)
    members = rng.permutation(n) < n // 2
    return ClassifierTargetEvidence(
        phi=(rng.normal(size=(n, 1)) + shift * members[:, None]).astype(np.float32),
        correct=rng.random(n) < 0.5,
        members=members,
        x=rng.normal(size=(n, 3)).astype(np.float32),
        y=rng.integers(0, 3, n),
        fprs=(0.05,),
        attacks=("global-threshold",),
        seed=seed,
    )


def judged(facts: ClassifierTargetEvidence, *limits: Limit) -> Report:
    """The finding alone is made, without tables and pictures; the controls are taken to pass."""
    rate = facts.held_out("global-threshold", 0.05)
    finding = Finding(
        code="MIA010",
        title="Membership inference",
        metric="tpr",
        attack="global-threshold",
        at_fpr=0.05,
        estimate=estimate(rate.value, rate.interval, "share", METHOD),
        sentence="",
        n=len(rate.inside),
        source="",
    )
    n = int(facts.members.sum())
    report = Report(
        created="2026-01-01T00:00:00+00:00",
        subject=Subject(model="m", sha256="0" * 64, members=n, nonmembers=len(facts.members) - n, shadows=0),
        results=(Result(finding=finding, verdict=Verdict.NOTED, reason=""),),
        skipped=(),
        controls=tuple(Control(code=c, title=c, passed=True, sentence="") for c in ("CTL002", "CTL003", "CTL005")),
        provenance={},
        rung=facts.rung,
    )
    return policy.hold(report, limits)


def test_limits_are_broken_and_kept_no_oftener_than_they_promise() -> None:
    """60 audits of nothing under a limit at the chance rate, and 60 of a leak under a limit at its true rate.

    More than 8 errors of 60 have a probability of 0.5 % at the nominal 5 %, for one attack.
    """
    from scipy import stats

    truth = float(stats.norm.sf(stats.norm.isf(0.05) - 1))
    chance = Limit(metric="tpr", attack="global-threshold", at_fpr=0.05, max=0.05)
    leak = replace(chance, max=truth - 1e-6)
    broken = sum(judged(evidence(seed), chance).results[0].verdict is Verdict.FAIL for seed in range(60))
    kept = sum(judged(evidence(seed, shift=1.0), leak).results[0].verdict is Verdict.PASS for seed in range(60))
    assert broken <= 8
    assert kept <= 8
    assert judged(evidence(0, 3000, 3.0), leak).results[0].verdict is Verdict.FAIL


def test_raw_exposure_breaks_no_limit() -> None:
    """Any model may prefer a real address to made-up ones: without shadow models that is no proof of a leak."""
    finding = Finding(
        code="CAN003",
        title="Secrets",
        metric="secrets",
        estimate=Estimate(value=1.0, low=0.83, high=1.0, unit="share", method="Clopper–Pearson"),
        sentence="",
        n=20,
        source="",
    )
    report = judged(evidence(0))
    report = replace(report, results=(Result(finding=finding, verdict=Verdict.NOTED, reason=""),))
    result = policy.hold(report, [Limit(metric="secrets", max=0.1)]).results[0]
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.needed == "a bank of shadow models: memaudit bank fill --shadows 64"
    banked = replace(report, rung=Rung.BANK)
    assert policy.hold(banked, [Limit(metric="secrets", max=0.1)]).results[0].verdict is Verdict.FAIL


# --- texts ------------------------------------------------------------------------------------------------------------


def test_a_language_model_without_shadows(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Extraction has held-out texts as its control, secrets their decoys; both say what shadows would add."""
    from memaudit.recipe import load_recipe

    shutil.copy(RECIPES / "language.py", tmp_path / "recipe_without_shadows.py")
    monkeypatch.chdir(tmp_path)
    place = "recipe_without_shadows.py:recipe"
    recipe = load_recipe(f"{tmp_path}/{place}")
    members = ma.draw_members(recipe, seed=5)
    ma.save_target(ma.train(recipe, members, seed=1, device="cpu"), tmp_path / "model", members)
    done = command("audit", "model", "--recipe", place, "--shadows", "0", "--fpr", "0.1")
    assert done.returncode == 0, done.stderr
    report = reported(tmp_path)
    assert report.rung is Rung.TARGET
    assert contradictions(report) == ()
    found = {result.finding.code for result in report.results}
    assert {"MIA010", "CAN003", "EXT001", "EXT002", "EXT003"} <= found, [s.reason for s in report.skipped]
    assert {"zlib", "min-k", "min-k++", "global-threshold"} <= {r.finding.attack for r in report.results}
    assert {"MEM002", "MEM003", "LNK001", "LNK002", "CAN001", "CAN002"} <= {s.code for s in report.skipped}
    assert "shadow" not in " ".join(r.finding.sentence for r in report.results)
    text = (tmp_path / "audit" / "report.html").read_text("utf-8")
    assert "Shadows with the text" not in text
    assert "in models without them" not in text


def test_shadows_that_all_saw_an_example_are_no_references_for_it(project: Path, tmp_path: Path) -> None:
    """Half a pair, as of a bank whose filling was stopped, leaves half of the examples without a reference."""
    recipe = f"{project / 'recipe.py'}:recipe"
    with pytest.raises(ma.MemauditError, match="were in the training sets of all shadow models that are used"):
        ma.audit(project / "model.safetensors", recipe, project / "bank", shadows=1)
