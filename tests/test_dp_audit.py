"""The claim of differential privacy in an audit: DP001 to DP003, CAN004, ceilings, gates, and forged reports."""

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from loading import RECIPES, unregistered

import memaudit as ma
from memaudit import checks, privacy, reports
from memaudit.auditing.ground import ground
from memaudit.auditing.promised import promise_of
from memaudit.errors import EvidenceError, RecipeError, SettingsError
from memaudit.policy.consistency import contradictions
from memaudit.recipe.classifier_canaries import kind_of_canary
from memaudit.recipe.populations import population
from memaudit.types import UNBOUNDED_EPSILON, Edition, Finding, Limit, Report, Rung, Verdict

Fields = dict[str, Any]
DELTA = 1e-6
RECIPE = """
import numpy as np, torch
import memaudit as ma

def examples():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(160, 1000)).astype(np.float32), rng.integers(0, 2, 160)
    return ma.classifier_canaries(ma.Examples(x, y), mislabeled=60, blank=6, out_of_distribution=6, doses=(1, 1, 2))

def model():
    return torch.nn.Linear(1000, 2)

recipe = ma.ClassifierRecipe(examples, model, epochs=30, batch_size=100, optimizer=ma.SGD(lr=1.0))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with canaries, a bank of 12 shadow models, and a target whose members were drawn."""
    folder = tmp_path_factory.mktemp("dp")
    (folder / "recipe.py").write_text(RECIPE)
    name = f"{folder / 'recipe.py'}:recipe"
    members = ma.draw_members(name)
    ma.save_target(ma.train(name, members, seed=1, device="cpu"), folder / "model.safetensors", members)
    ma.fill(folder / "bank", name, 12, device="cpu", workers=1)
    return folder


def audited(place: Path, dp: ma.Dp | None, shadows: int | None = None, **more: Any) -> Report:
    settings: Fields = {"attacks": ["lira-online"], "fprs": [0.05], "evidence": "none", "device": "cpu"} | more
    ledger = place / f"{abs(hash(str(dp)))}.jsonl"
    bank = None if shadows == 0 else place / "bank"
    name = f"{place / 'recipe.py'}:recipe"
    return ma.audit(place / "model.safetensors", name, bank, dp=dp, shadows=shadows, ledger=ledger, **settings).report


@pytest.fixture(scope="module")
def report(place: Path) -> Report:
    limits = [Limit(metric="epsilon", max=0.1), Limit(metric="epsilon", max=50.0, id="loose")]
    return audited(place, ma.Dp(epsilon=0.05, delta=DELTA), limits=limits)


def found(report: Report, code: str) -> Finding:
    return next(result.finding for result in report.results if result.finding.code == code)


def reason(report: Report, code: str) -> str:
    return next(skipped.reason for skipped in report.skipped if skipped.code == code)


def test_a_claim_that_is_too_small_is_refuted(report: Report) -> None:
    claim = found(report, "DP001")
    assert claim.sentence.startswith("The claim ε = 0.05, δ = 1e-06 is refuted")
    assert claim.estimate.low > 0.05 and claim.estimate.high == UNBOUNDED_EPSILON
    verdicts = {r.limit.name: r.verdict for r in report.results if r.limit is not None}
    assert verdicts["epsilon"] is Verdict.FAIL
    assert verdicts["loose"] is Verdict.INCONCLUSIVE  # nothing bounds ε from above any more
    floors = [found(report, code).estimate.value for code in ("DP002", "DP003")]
    assert 0 < claim.estimate.value <= max(floors)  # the two share the probability of error


def test_the_bound_is_that_of_the_scores(place: Path, report: Report) -> None:
    """Oracle: DP002 from what the attack says of the canaries with one record, by the function that is tested alone."""
    from memaudit.attacks import Lira
    from memaudit.auditing import open_target

    target = open_target(place / "model.safetensors", f"{place / 'recipe.py'}:recipe", device="cpu")
    base = ground(target, place / "bank")
    kinds = [kind_of_canary(str(name)) for name in target.ids]
    single = np.bincount(target.population.unit_of) == 1  # type: ignore[union-attr]
    rows = np.array([bool(kind) for kind in kinds]) & single
    scores = Lira().scores(target.population.by_unit(target.recorded["phi"]), base.recordings)[rows]  # type: ignore
    expected = privacy.lower_bound(scores[None], target.members[None, rows], 0.05, DELTA)
    assert found(report, "DP002").estimate.value == pytest.approx(expected)
    assert found(report, "DP002").n == rows.sum()


def test_only_half_of_the_pairs_are_audited(report: Report) -> None:
    many = found(report, "DP003")
    assert "3 models, compared with 6 others" in many.notes[0]
    assert many.n == 3 * found(report, "DP002").n
    assert [row[1] for row in many.tables[1].rows] == ["none", "Gaussian trade-off"] * 2


def test_a_large_claim_stands_and_passes(place: Path) -> None:
    limits = [Limit(metric="epsilon", max=8.0), Limit(metric="epsilon", max=2.9, id="less")]
    report = audited(place, ma.Dp(epsilon=3.0, delta=DELTA), limits=limits)
    claim = found(report, "DP001")
    assert "is not refuted" in claim.sentence and claim.estimate.high == 3.0
    judged = {r.limit.name: r for r in report.results if r.limit is not None}
    assert judged["epsilon"].verdict is Verdict.PASS
    assert "claimed ε 3, not refuted by this audit" in judged["epsilon"].reason
    assert judged["less"].verdict is Verdict.INCONCLUSIVE
    assert not contradictions(report)


def test_a_claim_beyond_reach_is_not_kept(place: Path) -> None:
    """Nothing that could not have been refuted passes."""
    report = audited(place, ma.Dp(epsilon=50, delta=DELTA), limits=[Limit(metric="epsilon", max=60.0)])
    claim = found(report, "DP001")
    assert "cannot be tested" in claim.sentence and claim.estimate.high == UNBOUNDED_EPSILON
    judged = next(r for r in report.results if r.limit is not None)
    assert judged.verdict is Verdict.INCONCLUSIVE and "more canaries" in judged.needed


def test_ceilings_are_drawn_and_listed(report: Report) -> None:
    roc = next(f for r in report.results for f in r.finding.figures if f.kind == "roc")
    curve = roc.curves[-1]
    epsilon, delta = privacy.of_group(0.05, DELTA, 2)  # some canaries are in the training set twice
    assert curve.label == "most that ε = 0.05, δ = 1e-06 allows, up to 2 records a unit"
    np.testing.assert_allclose(curve.y, privacy.tpr_ceiling(np.array(curve.x), epsilon, delta))
    rows = found(report, "DP001").tables[0].rows
    assert [row[0] for row in rows] == [1, 2]
    assert "up to 2" in found(report, "DP001").notes[-1]


def test_of_units_the_claim_is_for_all_records(place: Path) -> None:
    per_unit = audited(place, ma.Dp(epsilon=0.05, delta=DELTA, unit="unit"))
    assert len(found(per_unit, "DP001").tables[0].rows) == 1
    per_record = audited(place, ma.Dp(epsilon=0.05, delta=DELTA))
    assert found(per_unit, "DP002").n > found(per_record, "DP002").n


@pytest.mark.parametrize(("context", "rows"), [(96, 1), (24, 2)])
def test_a_document_of_several_rows_has_several_records(context: int, rows: int) -> None:
    """A claim is about one row of a training set: what two rows leak together does not refute it."""
    language = unregistered(RECIPES / "language.py").recipe

    probes = ma.Probes(canaries=0, references=100, suffix=2, contexts=(4,), secrets=0, decoys=99, generated=0)
    text = population(replace(language, rendering=replace(language.rendering, context=context), probes=probes))
    counts = np.ones(len(text.ids), np.uint8)
    counts[3] = 3
    target = SimpleNamespace(population=text, counts=counts, ids=text.ids)
    base = SimpleNamespace(target=target, design=None, bank=None)
    records = promise_of(None, target, base).records  # type: ignore[arg-type]
    assert records[:5].tolist() == [rows, rows, rows, 3 * rows, rows]


def test_canaries_are_recognized(report: Report) -> None:
    finding = found(report, "CAN004")
    assert finding.metric == "canary-tpr" and finding.at_fpr == 0.05
    kinds = [row[0] for row in finding.tables[0].rows]
    assert set(kinds) == {"blank", "mislabeled", "out-of-distribution", "all"}
    assert finding.tables[0].rows[-1][2] == finding.n


def test_without_a_claim_nothing_is_said(place: Path) -> None:
    report = audited(place, None)
    codes = {r.finding.code for r in report.results} | {s.code for s in report.skipped}
    assert not {"DP001", "DP002", "DP003"} & codes
    assert "differential privacy" not in report.provenance
    limited = audited(place, None, limits=[Limit(metric="epsilon", max=8.0)])
    assert limited.verdict is Verdict.INCONCLUSIVE
    assert "[dp] epsilon" in next(s.needed for s in limited.skipped if s.limit is not None)


def test_without_a_bank_the_one_run_bound_remains(place: Path) -> None:
    report = audited(place, ma.Dp(epsilon=0.05, delta=DELTA), shadows=0, attacks=["global-threshold"])
    assert report.rung is Rung.TARGET
    assert found(report, "DP002").estimate.value >= 0
    assert "bank" in reason(report, "DP003") and "shadow models" in reason(report, "CAN004")
    assert found(report, "DP001").n == found(report, "DP002").n
    assert not contradictions(report)


def test_other_coins_are_refused(place: Path) -> None:
    report = audited(place, ma.Dp(epsilon=0.05, delta=DELTA, draw=7))
    assert "drawn independently" in reason(report, "DP002")
    assert found(report, "DP001").n == found(report, "DP003").n


def test_who_was_drawn_is_verified(place: Path) -> None:
    from memaudit.auditing import open_target

    target = open_target(place / "model.safetensors", f"{place / 'recipe.py'}:recipe", device="cpu")
    dp = ma.Dp(epsilon=1.0, delta=DELTA)
    base = ground(target)
    drawn = promise_of(dp, target, base).by_lot
    assert drawn is not None and drawn.all()
    one_more = target.counts.copy()
    one_more[np.flatnonzero(one_more == 0)[0]] = 1
    assert promise_of(dp, replace(target, counts=one_more), base).by_lot is None
    names = [str(name) for name in target.population.ids]
    canaries = [name for name in names if kind_of_canary(name)]
    recipe = f"{place / 'recipe.py'}:recipe"
    only = ma.draw_members(recipe, design=ma.Subsets(candidates=canaries))  # everything else is a member
    from memaudit.design import Design

    chosen_by_members = Design.for_members(np.arange(len(target.members)) < 20, 0)
    assert promise_of(dp, target, replace(base, design=chosen_by_members)).by_lot is None
    lot = promise_of(dp, replace(target, counts=np.asarray(only)), base).by_lot
    assert lot is not None
    np.testing.assert_array_equal(lot, [bool(kind_of_canary(str(name))) for name in target.ids])


def test_a_claim_has_possible_numbers(place: Path, tmp_path: Path) -> None:
    for wrong in ({"epsilon": -1.0}, {"epsilon": 700.0}, {"epsilon": float("nan")}, {"unit": "person"}, {"draw": -1}):
        with pytest.raises(SettingsError, match="dp:"):
            ma.Dp(delta=1e-5, **wrong)
    with pytest.raises(SettingsError, match="delta"):
        ma.Dp(epsilon=1.0, delta=1.0)
    with pytest.raises(EvidenceError, match="no accountant's record"):
        audited(place, ma.Dp(delta=1e-5))
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"history": [[2.0, 1.0, 10]]}))
    with pytest.raises(SettingsError, match="delta above 0"):
        ma.Dp(delta=0, record=record).claim(tmp_path)
    claim = ma.Dp(delta=1e-5, record=record).claim(tmp_path)
    assert claim.epsilon == pytest.approx(privacy.epsilon_of_steps(claim.history, 1e-5))
    assert claim.gaussian == pytest.approx(np.sqrt(10) / 2)
    assert "which the trainer states" in claim.origin
    declared = ma.Dp(epsilon=3.0, delta=1e-5, record=record).claim(tmp_path)
    assert declared.epsilon == 3 and "has ε ≤" in declared.origin


def test_forged_reports_are_refused(report: Report, tmp_path: Path) -> None:
    """Words and numbers agree; no finding is missing, and none is renamed."""
    from memaudit.policy.consistency import rules
    from memaudit.policy.judge import hold

    reports.save(report, tmp_path / "report.json")
    whole = json.loads((tmp_path / "report.json").read_bytes())

    def complaints(change: Callable[[Fields], None]) -> str:
        fields = copy.deepcopy(whole)
        fields["provenance"]["memaudit"] = "0.3.0"
        change(fields)
        (tmp_path / "forged.json").write_text(json.dumps({k: v for k, v in fields.items() if k != "verdict"}))
        forged = reports.load(tmp_path / "forged.json")
        return "; ".join(contradictions(hold(forged, rules(forged))))

    def of(fields: Fields, code: str) -> list[Fields]:
        return [r["finding"] for r in fields["results"] if r["finding"]["code"] == code]

    def without(code: str) -> Callable[[Fields], None]:
        return lambda f: f.update(results=[r for r in f["results"] if r["finding"]["code"] != code])

    def lowered(fields: Fields) -> None:
        for finding in of(fields, "DP001"):
            ends = finding["estimate"]
            for end in (ends, *ends["bounds"]):
                end.update({k: 0.01 for k in ("value", "low") if k in end} | {"high": 0.05})

    def reworded(fields: Fields) -> None:
        for finding in of(fields, "DP002"):
            finding["sentence"] = (
                "The training has ε ≥ 0.001 at δ = 1e-06, with 95% confidence (ε ≥ 0.0009 with 97.5%)."
            )

    def agreeing(fields: Fields) -> None:
        for finding in of(fields, "DP001"):
            ends = finding["estimate"]
            for end in (ends, *ends["bounds"]):
                end.update({k: 0.01 for k in ("value", "low") if k in end})
            finding["sentence"] = (
                "The claim ε = 0.05, δ = 1e-06 is not refuted: the audit shows ε ≥ 0.01 with 95% confidence (ε ≥ 0.01 "
                "with 97.5%). It could have shown up to 1."
            )

    def table_lowered(fields: Fields) -> None:
        for finding in of(fields, "DP002"):
            place = finding["tables"][0]["columns"].index("Lower bound on ε")
            for row in finding["tables"][0]["rows"]:
                row[place] = "0.01"

    def bounded(fields: Fields) -> None:
        for finding in of(fields, "DP001"):
            for end in (finding["estimate"], *finding["estimate"]["bounds"]):
                end["high"] = 600.0

    def boasting(fields: Fields) -> None:
        for finding in of(fields, "DP001"):
            finding["sentence"] += " It could have shown up to 99."

    def cleared(fields: Fields) -> None:
        for finding in of(fields, "DP001"):
            finding["sentence"] = finding["sentence"].replace("is refuted", "is not refuted")

    def renamed(fields: Fields) -> None:
        for finding in of(fields, "DP003"):
            finding["attack"] = "one-run"

    assert complaints(lambda fields: None) == ""
    for code in ("DP001", "DP002", "DP003", "CAN004"):
        assert f"{code} is missing" in complaints(without(code))
    assert "other numbers than its estimate" in complaints(lowered)
    assert "other numbers than its estimate" in complaints(reworded)
    assert "makes no attack" in complaints(renamed)
    assert "not the larger of those that it is made of" in complaints(agreeing)
    assert "not the largest of its table" in complaints(table_lowered)
    assert "neither the claimed ε nor unbounded" in complaints(bounded)
    assert "could not have shown as much" in complaints(boasting)
    assert "by its numbers the claim is refuted" in complaints(cleared)
    public = reports.editions.edition(report, Edition.PUBLIC)
    assert "differential privacy" in public.provenance and not found(public, "CAN004").tables


def test_settings_claim_it(place: Path, command: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    folder = tmp_path / "place"
    shutil.copytree(place, folder)
    (folder / "memaudit.toml").write_text(
        '[audit]\nshadows = 12\nfpr = [0.05]\nattacks = ["lira-online"]\n[dp]\nepsilon = 0.05\ndelta = 1e-6\n'
        '[[gate]]\nmetric = "epsilon"\nmax = 0.05\n'
    )
    done = command("audit", folder / "model.safetensors", "--config", folder / "memaudit.toml", "-q", "--device", "cpu")
    assert done.returncode == 1, done.stderr
    again = command("gate", folder / "audit" / "report.json", "--config", folder / "memaudit.toml")
    assert again.returncode == 1, again.stderr
    (folder / "memaudit.toml").write_text("[dp]\nepsilon = 0.05\n")
    done = command("audit", folder / "model.safetensors", "--config", folder / "memaudit.toml", "-q")
    assert done.returncode == 2 and "dp.delta" in done.stderr


@pytest.mark.parametrize("code", ["DP001", "DP002", "DP003", "CAN004"])
def test_each_code_is_explained(code: str) -> None:
    (check,) = checks.by_code()[code]
    assert "Source:" in (check.run.__doc__ or "")


def test_canaries_of_a_classifier() -> None:
    rng = np.random.default_rng(0)
    plain = ma.Examples(
        rng.integers(0, 255, (50, 4, 4)).astype(np.uint8), np.array(["a", "b", "c"])[rng.integers(0, 3, 50)]
    )
    found = ma.classifier_canaries(plain, mislabeled=10, blank=3, out_of_distribution=4, doses=(1, 3))
    kinds = np.array([kind_of_canary(str(name)) for name in found.ids])
    assert len(found) == 40 + 5 * 4 + (1 + 3 + 1) + 2 * 4
    assert found.units == 57 and found.class_names == ("a", "b", "c") and found.x.dtype == np.uint8
    blank = found.x[kinds == "blank"]
    assert (blank == blank[:, :1, :1]).all() and len(np.unique(blank)) == 3
    original = {bytes(x.tobytes()): y for x, y in zip(plain.x, plain.labels, strict=True)}
    mislabeled = np.flatnonzero(kinds == "mislabeled")
    assert all(original[found.x[row].tobytes()] != found.labels[row] for row in mislabeled)
    again = ma.classifier_canaries(plain, mislabeled=10, blank=3, out_of_distribution=4, doses=(1, 3))
    assert again.digest() == found.digest()
    assert (
        found.digest() != ma.classifier_canaries(plain, mislabeled=10, blank=3, out_of_distribution=4, seed=1).digest()
    )
    doses = np.bincount(found.unit_of)[found.unit_of[mislabeled]]
    assert sorted(set(doses.tolist())) == [1, 3]


def test_canaries_that_do_not_fit_are_refused() -> None:
    rng = np.random.default_rng(0)
    plain = ma.Examples(rng.normal(size=(20, 3)), rng.integers(0, 2, 20))
    for wrong in ({}, {"mislabeled": 11}, {"blank": -1}, {"blank": 1, "doses": (0,)}):
        with pytest.raises(RecipeError):
            ma.classifier_canaries(plain, **wrong)
    with pytest.raises(RecipeError, match="classes"):
        ma.classifier_canaries(ma.Examples(rng.normal(size=(20, 3)), rng.normal(size=20), task="regression"), blank=1)
    with pytest.raises(RecipeError, match="one array"):
        ma.classifier_canaries(ma.Examples(["a", "b", "c", "d"], [0, 1, 0, 1]), blank=1)


def test_the_page_runs(tmp_path: Path) -> None:
    """The snippets of docs/dp.md, with small data in the place of what they mention."""
    from test_docs import DOCS, snippets

    from memaudit.cli.settings import read

    rng = np.random.default_rng(0)
    names: Fields = {"ma": ma, "x": rng.normal(size=(900, 3)), "y": rng.integers(0, 2, 900)}
    found = snippets(DOCS / "dp.md")
    names |= {"examples": lambda: None, "model": lambda: None}
    for snippet in found:
        if snippet.language == "python":
            exec(snippet.text, names)
    assert names["recipe"].privacy == ma.DPSGD(2.3, 1.0)
    assert len(names["examples"]()) == 940
    (table,) = [snippet.text for snippet in found if snippet.language == "toml"]
    (tmp_path / "memaudit.toml").write_text(table, "utf-8")
    settings = read(tmp_path / "memaudit.toml")
    assert settings.dp is not None and settings.dp.epsilon == 8.0 and settings.limits()[0].metric == "epsilon"


def test_records_that_no_accountant_wrote(tmp_path: Path) -> None:
    """Numbers beyond any training are refused or harmless, and ten thousand steps that differ take seconds."""
    record = tmp_path / "record.json"

    def claim(*history: Any) -> privacy.Claim:
        record.write_text(json.dumps({"history": history}))
        return ma.Dp(delta=1e-5, record=record).claim(tmp_path)

    for wrong in ([1e300, 0.5, 10], [1, 0.5, 10**400], [1, 0.5, 10**13], [float("inf"), 0.5, 1]):
        with pytest.raises(EvidenceError, match="a history has entries"):
            claim(wrong)
    for tiny in (0.0, 1e-200, 1e-160):
        assert claim([tiny, 0.5, 1]).epsilon == UNBOUNDED_EPSILON
    assert str(claim([0, 0.5, 1])).startswith("ε = ∞")
    assert claim(*[[10, 0.01, 3]] * 5000).epsilon == pytest.approx(claim([10, 0.01, 15000]).epsilon)
    with pytest.raises(SettingsError, match="epsilon is a number"):
        ma.Dp(epsilon=True, delta=1e-5)
    with pytest.raises(SettingsError, match="draw is a whole number"):
        ma.Dp(epsilon=1.0, delta=1e-5, draw=1.5)  # type: ignore[arg-type]


def test_the_smallest_banks(place: Path) -> None:
    """Of 8 shadow models one is audited, as LiRA compares with three pairs; with 6 the reason says what is missing."""
    limit = Limit(metric="epsilon-floor", max=100.0)
    report = audited(place, ma.Dp(epsilon=0.05, delta=0.0), shadows=8, limits=[limit])
    many = found(report, "DP003")
    assert "1 shadow model shows" in many.sentence and "in 1 model, compared with 6 others" in many.notes[0]
    assert [row[2] for row in many.tables[1].rows if row[1] == "Gaussian trade-off"] == ["–", "–"]
    judged = next(r for r in report.results if r.limit is not None)
    assert "without an upper bound" in judged.reason and 'a limit on "epsilon"' in judged.needed
    assert "at least 8 shadow models" in reason(audited(place, ma.Dp(epsilon=0.05, delta=0.0), shadows=6), "DP003")


def test_a_pass_needs_a_reach_at_its_own_confidence(place: Path) -> None:
    """What could be refuted at 95 % confidence, and not at 99.95 %, is bounded at 95 % alone."""
    from memaudit.privacy import most_shown

    m = found(audited(place, ma.Dp(epsilon=0.05, delta=DELTA)), "DP003").n
    middle = (most_shown(m, 0.025, DELTA) + most_shown(m, 0.00025, DELTA)) / 2
    bounds = found(audited(place, ma.Dp(epsilon=middle, delta=DELTA)), "DP001").estimate.bounds
    assert bounds[0].high == middle and bounds[-1].high == UNBOUNDED_EPSILON
