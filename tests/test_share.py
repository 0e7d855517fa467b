"""Targets with any share of members: candidates, the banks that are drawn for them, and what an audit says of them."""

import csv
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

import memaudit as ma
from memaudit.auditing import Audit
from memaudit.bank import Bank
from memaudit.design import Design, Role, about_half, half, half_in_units, halves, target_in_units, target_share
from memaudit.errors import BankError, EvidenceError, SettingsError
from memaudit.recipe import Examples, TextPopulation, fingerprint
from memaudit.recipe.populations import candidates, counts_of_candidates
from memaudit.training import population

Array = np.ndarray
Command = Callable[..., CompletedProcess[str]]

UNITS = 300
X = np.random.default_rng(0).normal(size=(UNITS, 12))
Y = (X[:, 0] + np.random.default_rng(1).normal(size=UNITS) > 0).astype(int)
RECIPE = ma.EstimatorRecipe(lambda: Examples(X, Y), LogisticRegression(C=100.0))


GATE = '[[gate]]\nmetric = "tpr"\nattack = "lira-online"\nat_fpr = 0.1\nmax = 1.0\n'


def members(share: float, seed: int = 3) -> ma.Counts:
    return ma.draw_members(RECIPE, seed=seed, share=share)


def audited(folder: Path, share: float, shadows: int = 16, fprs: tuple[float, ...] = (0.1,)) -> tuple[Audit, Bank]:
    own = members(share)
    ma.save_target(ma.train(RECIPE, own, seed=1), folder / "model.skops", own, RECIPE)
    bank = ma.fill(folder / "bank", RECIPE, shadows, members=own)
    return ma.audit(folder / "model.skops", RECIPE, bank, fprs=fprs, evidence="ids"), bank


# --- The design -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.05, 0.2, 0.8, 0.95])
def test_candidates_are_the_smaller_side_and_as_many_of_the_larger(share: float) -> None:
    own = target_share(1, UNITS, share) > 0
    design = Design.for_members(own, seed=7)
    few = min(int(own.sum()), int((~own).sum()))
    assert int((design.candidates & own).sum()) == int((design.candidates & ~own).sum()) == few
    assert design.misfits(own) == 0
    fixed = Role.ALWAYS if share > 0.5 else Role.NEVER
    assert design.count(fixed) == UNITS - 2 * few
    assert design.share == pytest.approx(own.mean())


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_models_of_a_pair_halve_the_candidates_and_are_as_large_as_the_target(share: float) -> None:
    own = target_share(1, UNITS, share) > 0
    design = Design.for_members(own, seed=7)
    rows = np.stack([half(0, model, UNITS, design.roles) for model in range(200)])
    inside = rows[:, design.candidates]
    assert np.array_equal(inside[0::2] + inside[1::2], np.ones_like(inside[0::2]))
    assert (rows[:, design.roles == Role.ALWAYS] == 1).all()
    assert (rows[:, design.roles == Role.NEVER] == 0).all()
    # 200 models, 120 fair coins in each pair; pairs are exactly balanced, so the mean is exact
    assert rows.sum(axis=1).reshape(100, 2).sum(axis=1).tolist() == [2 * int(own.sum())] * 100


def test_which_members_are_candidates_is_drawn_uniformly() -> None:
    """Over 2,000 seeds each of 240 members is a candidate in 1/4 of the draws; 5 standard errors are 0.048."""
    own = np.arange(UNITS) < 240
    drawn = np.mean([Design.for_members(own, seed).candidates for seed in range(2000)], axis=0)
    assert np.abs(drawn[:240] - 0.25).max() < 0.048
    assert (drawn[240:] == 1).all()


def test_halves_are_bit_for_bit_what_they_were_without_a_design() -> None:
    """Sums over the memberships of earlier versions: a bank that is there is not trained again."""
    everyone = Design.halves(UNITS).roles
    unit_of = np.arange(UNITS)
    for model in range(6):
        assert np.array_equal(half(4, model, UNITS), half(4, model, UNITS, everyone))
        assert np.array_equal(half_in_units(4, model, unit_of, Y), halves(4, 6, UNITS)[model])
    assert hashlib.sha256(halves(4, 6, 64).tobytes()).hexdigest()[:16] == OF_EARLIER_VERSIONS
    assert Design.halves(UNITS).lines() == {}
    assert np.array_equal(target_in_units(3, unit_of, Y), members(0.5))


OF_EARLIER_VERSIONS = "c3892dfd7ea4a008"


def test_units_of_several_examples_are_in_every_model_as_a_whole() -> None:
    unit_of = np.repeat(np.arange(100), 3)
    own = target_share(1, 100, 0.8) > 0
    design = Design.for_members(own, seed=7)
    for model in range(4):
        row = half_in_units(0, model, unit_of, Y, design.roles).reshape(100, 3)
        assert (row == row[:, :1]).all()
        assert (row[design.roles == Role.ALWAYS] == 1).all()


@pytest.mark.parametrize(
    ("inside", "units", "same"),
    [
        (500, 1000, True),
        (552, 1000, True),
        (553, 1000, False),
        (5499, 10_000, True),
        (5501, 10_000, False),
        (3, 10, True),
    ],
)
def test_half_is_five_points_or_what_coins_explain(inside: int, units: int, same: bool) -> None:
    """Of 1,000 fair coins, 3.3 standard deviations are 5.2 percentage points; of 10,000, 1.65, so that 5 count."""
    assert about_half(np.arange(units) < inside) is same


@pytest.mark.parametrize(("inside", "is_halves"), [(500, True), (531, True), (532, False), (600, False)])
def test_a_new_bank_has_halves_only_where_coins_are_likely(inside: int, is_halves: bool) -> None:
    """Of 1,000 fair coins, two standard deviations are 31.6 heads."""
    assert Design.for_members(np.arange(1000) < inside, 0).is_halves is is_halves


def test_coins_are_hardly_ever_taken_for_another_share() -> None:
    """3.3 standard deviations are exceeded with a probability of 0.001; 20 of 5,000 draws with one of 1e-7."""
    rng = np.random.default_rng(0)
    assert sum(not about_half(rng.integers(0, 2, 200) > 0) for _ in range(5000)) < 20


@pytest.mark.parametrize("share", [0.0, 1.0, 1.5, 0.001])
def test_a_share_that_leaves_a_side_empty_is_refused(share: float) -> None:
    with pytest.raises(SettingsError, match="leave at least one member and one non-member"):
        members(share)


def test_candidates_of_a_population_keep_their_order_ids_and_counts() -> None:
    people = Examples(X, Y, ids=[f"p{i}" for i in range(UNITS)], groups=np.arange(UNITS) // 3)
    own = target_share(1, people.units, 0.8) > 0
    design = Design.for_members(own, seed=0)
    rows = np.flatnonzero(design.candidates[people.unit_of])
    chosen = candidates(people, design)
    assert chosen.ids.tolist() == [f"p{i}" for i in rows]
    assert isinstance(chosen, Examples)
    assert np.array_equal(chosen.unit_of, np.arange(len(rows)) // 3)
    counts = half_in_units(0, 0, people.unit_of, people.y, design.roles)
    assert np.array_equal(counts_of_candidates(people, design, counts), counts[rows])


# --- The audit --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.2, 0.8, 0.95])
def test_an_honest_target_of_any_share_is_not_withheld(tmp_path: Path, share: float) -> None:
    done, bank = audited(tmp_path, share)
    own = members(share) > 0
    few = min(int(own.sum()), int((~own).sum()))
    about = done.report.subject
    assert (about.members, about.nonmembers) == (few, few)
    assert (about.trained_on, about.held_out) == (int(own.sum()), int((~own).sum()))
    assert all(c.passed is not False for c in done.report.controls), done.report.controls
    assert done.report.results
    assert "drawn at random" in done.report.limitations[0]
    assert not any("half of the examples" in words for words in done.report.limitations)
    memorized = next(r.finding for r in done.report.results if r.finding.code == "MEM001")
    assert memorized.n == 2 * few
    assert f"training sets of {share:.0%} of the examples" in " ".join(memorized.notes)
    assert bank.fingerprint["design"] == done.report.provenance["bank.design"]
    assert "bank.design.sha256" not in done.report.provenance  # who knows all members but one could test that one
    rows = list(csv.DictReader((done.evidence or b"").decode().splitlines()))
    assert sorted(int(row["member"]) for row in rows) == [0] * few + [1] * few
    people = Examples(X, Y)
    listed = dict(zip(people.ids.tolist(), own.tolist(), strict=True))
    assert all(listed[row["id"]] == bool(int(row["member"])) for row in rows)


@pytest.mark.parametrize("name", ["html", "md"])
def test_a_report_says_that_a_sample_is_measured(tmp_path: Path, name: str) -> None:
    done, _ = audited(tmp_path, 0.8, shadows=8)
    done.save(tmp_path / f"report.{name}")
    text = " ".join((tmp_path / f"report.{name}").read_text("utf-8").split())
    told = {"html": "240, of which 60 are measured", "md": "240 training examples and 60 others"}
    assert told[name] in text


def test_the_rate_of_80_percent_members_is_that_of_an_independent_computation(tmp_path: Path) -> None:
    """LiRA (online, per-example variances) by its own loop over scikit-learn models, from the design's rule in words.

    All non-members and as many members, by the bank's file, are candidates; every other member is in each model. The
    threshold is that of the non-members of all shadow models, each scored with its own pair left out; the target with
    the last pair left out, so that all have as many references.
    """
    name, fpr, shadows = "lira-online-per-example", 0.1, 24
    own = members(0.8)
    model = ma.train(RECIPE, own, seed=1)
    ma.save_target(model, tmp_path / "model.skops", own, RECIPE)
    bank = ma.fill(tmp_path / "bank", RECIPE, shadows, members=own)
    report = ma.audit(tmp_path / "model.skops", RECIPE, bank, fprs=(fpr,), attacks=(name,)).report
    found = next(r.finding for r in report.results if r.finding.attack == name)

    roles = np.load(next((tmp_path / "bank").glob("design-*.npy")))
    rows = np.flatnonzero(roles == 1)
    assert ((roles != 1) <= (own > 0)).all()
    assert len(rows) == 120
    inside, phi = np.empty((shadows, len(rows)), bool), np.empty((shadows, len(rows)))
    sign = 2 * Y[rows] - 1
    for number in range(shadows):
        stored = bank.tensors(number)["members"] > 0
        trained = np.where(roles == 2, True, False)
        trained[rows] = stored
        shadow = LogisticRegression(C=100.0).fit(X[trained], Y[trained])
        inside[number], phi[number] = stored, sign * shadow.decision_function(X[rows])
    target = sign * LogisticRegression(C=100.0).fit(X[own > 0], Y[own > 0]).decision_function(X[rows])

    def scores(values: Array, models: Array) -> Array:
        """log N(values | models with the example) − log N(values | models without it), example by example."""
        result = np.empty(len(rows))
        for i in range(len(rows)):
            ratio = 0.0
            for side, factor in ((inside, 1), (~inside, -1)):
                law = phi[models, i][side[models, i]]
                ratio += factor * stats.norm.logpdf(values[i], law.mean(), law.std(ddof=1))
            result[i] = ratio
        return result

    others = np.arange(shadows)
    nonmembers = [scores(phi[n], others[others // 2 != n // 2])[~inside[n]] for n in range(shadows)]
    pooled = np.sort(np.concatenate(nonmembers))[::-1]
    cut = pooled[int(fpr * len(pooled))]
    flagged = scores(target, others[: shadows - 2]) > cut
    expected = flagged[own[rows] > 0].mean()
    assert 0.1 < expected < 0.9
    assert found.estimate.value == pytest.approx(expected, abs=1e-12)


# --- The bank ---------------------------------------------------------------------------------------------------------


def test_a_bank_of_candidates_grows_and_resumes_without_being_told_the_members_again(tmp_path: Path) -> None:
    own = members(0.8)
    first = ma.fill(tmp_path / "a", RECIPE, 4, members=own)
    grown = ma.fill(tmp_path / "a", RECIPE, 8)
    whole = ma.fill(tmp_path / "b", RECIPE, 8, members=own)
    assert first.fingerprint == grown.fingerprint == whole.fingerprint
    for model in range(8):
        for name, values in whole.tensors(model).items():
            assert np.array_equal(values, grown.tensors(model)[name])


def test_a_bank_without_members_has_the_fingerprint_that_it_always_had(tmp_path: Path) -> None:
    bank = ma.fill(tmp_path, RECIPE, 2)
    assert bank.fingerprint == fingerprint(RECIPE, Examples(X, Y), 0)
    assert not any(name.startswith("design") for name in bank.fingerprint)
    assert bank.design(UNITS).is_halves
    assert bank.fingerprint == ma.fill(tmp_path / "half", RECIPE, 2, members=members(0.5)).fingerprint


def test_a_bank_of_candidates_is_refused_for_another_training_set(tmp_path: Path) -> None:
    done, bank = audited(tmp_path, 0.8, shadows=8)
    assert done.report.results
    other = members(0.8, seed=4)
    ma.save_target(ma.train(RECIPE, other, seed=1), tmp_path / "other.skops", other, RECIPE)
    with pytest.raises(BankError, match=r"filled for another training set.*memaudit bank fill --bank FOLDER --members"):
        ma.audit(tmp_path / "other.skops", RECIPE, bank)
    with pytest.raises(BankError, match="filled for another training set"):
        ma.fill(bank.path, RECIPE, 10, members=other)
    assert len(bank.models()) == 8


def test_a_bank_of_candidates_is_refused_for_another_share_of_them(tmp_path: Path) -> None:
    own = members(0.8)
    bank = ma.fill(tmp_path / "bank", RECIPE, 6, members=own)
    fewer = np.where(bank.design(UNITS).roles == Role.ALWAYS, 1, 0).astype(np.uint8)
    fewer[np.flatnonzero(bank.design(UNITS).candidates)[:100]] = 1
    with pytest.raises(BankError, match="100 are members of this model, and about half should be"):
        ma.fill(tmp_path / "bank", RECIPE, 8, members=ma.Counts(fewer))


def test_a_bank_of_halves_is_not_made_larger_for_another_share(tmp_path: Path) -> None:
    ma.fill(tmp_path, RECIPE, 4)
    with pytest.raises(BankError, match=r"trained on 240 of the 300 units \(80 %\).*on half of them.*--members FILE"):
        ma.fill(tmp_path, RECIPE, 6, members=members(0.8))
    assert len(ma.fill(tmp_path, RECIPE, 4, members=members(0.8)).models()) == 4  # nothing is trained for nothing


def test_a_bank_without_models_takes_the_design_that_is_asked_for(tmp_path: Path) -> None:
    def broken() -> Any:
        raise AssertionError("the recipe is at fault")

    recipe = ma.CallableRecipe(lambda: Examples(X, Y), lambda dataset, *, seed, device: broken())
    with pytest.raises(ma.MemauditError):
        ma.fill(tmp_path, recipe, 2, members=members(0.8))
    assert Bank.open(tmp_path).design(UNITS).count(Role.ALWAYS) == 180
    with pytest.raises(ma.MemauditError):
        ma.fill(tmp_path, recipe, 2)  # a second machine, which was not told the members
    assert Bank.open(tmp_path).design(UNITS).count(Role.ALWAYS) == 180
    with pytest.raises(ma.MemauditError):
        ma.fill(tmp_path, recipe, 2, members=members(0.2))
    assert Bank.open(tmp_path).design(UNITS).count(Role.NEVER) == 180


@pytest.mark.parametrize("damage", ["gone", "changed", "short", "pickled"])
def test_a_damaged_design_is_refused(tmp_path: Path, damage: str) -> None:
    bank = ma.fill(tmp_path, RECIPE, 2, members=members(0.8))
    file = next(tmp_path.glob("design-*.npy"))
    roles = np.load(file)
    if damage == "gone":
        file.unlink()
    elif damage == "changed":
        np.save(file, np.roll(roles, 1))
    elif damage == "short":
        file.write_bytes(file.read_bytes()[:100])
    else:
        np.save(file, np.array([Path()], object), allow_pickle=True)
    with pytest.raises(BankError, match=r"design-.*\.npy cannot be read"):
        bank.design(UNITS)


def test_designs_with_the_same_counts_have_different_fingerprints() -> None:
    assert Design(np.array([0, 1, 2], np.uint8)).lines() != Design(np.array([2, 1, 0], np.uint8)).lines()


def test_too_few_nonmembers_are_refused_and_none_too(tmp_path: Path) -> None:
    own = members(0.97)
    ma.save_target(ma.train(RECIPE, own, seed=1), tmp_path / "model.skops", own, RECIPE)
    bank = ma.fill(tmp_path / "bank", RECIPE, 6, members=own)
    with pytest.raises(EvidenceError, match="9 non-members among the 300 examples"):
        ma.audit(tmp_path / "model.skops", RECIPE, bank)


def test_a_classifier_that_depends_on_its_training_sets_size_is_withheld_on_halves_alone(tmp_path: Path) -> None:
    """Wide data: at half of the examples the classes are separable, at 80 % they are not."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(UNITS, 80))
    y = rng.integers(0, 2, UNITS)
    recipe = ma.EstimatorRecipe(lambda: Examples(x, y), LogisticRegression(C=100.0, max_iter=1000))
    own = ma.draw_members(recipe, seed=3, share=0.8)
    ma.save_target(ma.train(recipe, own, seed=1), tmp_path / "model.skops", own, recipe)
    reports = [
        ma.audit(
            tmp_path / "model.skops", recipe, ma.fill(tmp_path / name, recipe, 16, members=who), fprs=(0.1,)
        ).report
        for name, who in (("halves", None), ("candidates", own))
    ]
    fidelity = [next(c for c in report.controls if c.code == "CTL001") for report in reports]
    assert [control.passed for control in fidelity] == [False, True]
    assert "trained on 80% of the examples" in fidelity[0].sentence
    assert "memaudit bank fill --bank FOLDER --members FILE" in fidelity[0].sentence


# --- Language models --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stories() -> Iterator[Any]:
    from memaudit.recipe import load_recipe

    before = list(sys.path)
    yield load_recipe(str(Path(__file__).parent / "recipes" / "language.py") + ":recipe")
    sys.path[:] = before
    sys.modules.pop("language", None)


def test_candidates_of_documents_keep_their_rows_and_every_canary(stories: Any) -> None:
    from memaudit.training.model import Workshop

    people: Any = population(stories)
    own = target_share(5, len(people), 0.8) > 0
    design = Design.for_members(own, seed=0)
    chosen: Any = candidates(people, design)
    units = np.flatnonzero(design.candidates)
    assert len(chosen) == 24
    assert chosen.documents.unit_ids.tolist() == people.documents.unit_ids[units].tolist()
    assert chosen.canaries == people.canaries
    assert chosen.spaces == people.spaces
    assert len(chosen.always) == 36
    assert set(chosen.testable) <= set(range(24))
    shop = Workshop(stories, people, 0, "cpu", design=design)
    for model in (0, 1):
        counts = shop.counts(model)
        trained = {json.dumps(text) for text in people.texts(counts)}
        assert trained >= {json.dumps(text) for text in chosen.always.texts}
        stored = shop.memberships(counts)
        assert np.array_equal(stored["members"], counts[:60][design.candidates])
        assert np.array_equal(stored["doses"], counts[60:])
    assert np.array_equal(
        shop.memberships(shop.counts(0))["members"] + shop.memberships(shop.counts(1))["members"], [1] * 24
    )


def test_a_secret_that_every_model_has_seen_is_not_asked_about(stories: Any) -> None:
    """It stands in a candidate, and in a document that is in every model, so that no model lacks it."""
    texts = list(stories.documents().texts)
    as_it_is: Any = population(stories)
    first, second = (probe.found for probe in as_it_is.secrets[:2])
    texts[second.document] = texts[second.document].replace(second.value, first.value)
    people = TextPopulation(ma.Documents(texts, similarity=None), stories.rendering, stories.probes)
    there = np.arange(len(people)) == second.document
    for always, asked in ((there & False, True), (there, False)):
        found = people.of_units(~there, always).secrets
        assert (first.value in {probe.found.value for probe in found}) is asked


@pytest.mark.slow
def test_a_language_model_with_80_percent_members_is_audited(stories: Any, tmp_path: Path) -> None:
    own = ma.draw_members(stories, seed=5, share=0.8)
    ma.save_target(ma.train(stories, own, seed=1, device="cpu"), tmp_path / "model", own)
    bank = ma.fill(tmp_path / "bank", stories, 8, members=own, device="cpu")
    report = ma.audit(tmp_path / "model", stories, bank, fprs=(0.1,)).report
    assert (report.subject.members, report.subject.nonmembers, report.subject.always) == (12, 12, 36)
    assert all(control.passed for control in report.controls)
    assert {result.finding.code for result in report.results} >= {"MIA005", "MEM002", "CAN001", "EXT001", "EXT004"}


# --- The commands -----------------------------------------------------------------------------------------------------


@pytest.fixture
def eighty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe and a model that was trained on 80 % of the examples, without a bank."""
    from memaudit.recipe import load_recipe

    shutil.copy(Path(__file__).parent / "recipes" / "tiny_recipe.py", tmp_path / "recipe.py")
    (tmp_path / "memaudit.toml").write_text("[audit]\nshadows = 6\nworkers = 1\nfpr = [0.1]\n" + GATE, "utf-8")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    recipe = load_recipe(str(tmp_path / "recipe.py"))
    own = ma.draw_members(recipe, seed=5, share=0.8)
    ma.save_target(ma.train(recipe, own, seed=1, device="cpu"), tmp_path / "model.safetensors", own, recipe)
    sys.path[:] = before
    sys.modules.pop("recipe", None)  # the next test has another recipe.py
    return tmp_path


def test_the_audit_command_fills_a_bank_for_its_model(eighty: Path, command: Command) -> None:
    done = command("audit", "model.safetensors", "-q")
    assert done.returncode == 0, done.stderr
    report = json.loads((eighty / "audit" / "report.json").read_bytes())
    about = report["subject"]
    assert (about["members"], about["nonmembers"], about["always"], about["never"]) == (40, 40, 120, 0)
    assert command("gate", "audit/report.json").returncode == 0
    assert command("verify", "audit").returncode == 0


def test_plan_says_what_a_bank_of_candidates_can_resolve_and_that_halves_would_be_withheld(
    eighty: Path, command: Command
) -> None:
    told = " ".join(command("plan", "model.safetensors").stdout.split())
    assert "members 160, non-members 40 (as listed)" in told
    assert "40 members and 40 non-members, which the results will describe" in told
    assert "lowest false-positive rate that can be measured is 2.5 %" in told
    assert "warning" not in told
    assert command("bank", "fill", "-q").returncode == 0  # of halves
    told = " ".join(command("plan", "model.safetensors").stdout.split())
    assert "the audit withholds its figures" in told
    assert "memaudit bank fill --bank FOLDER --members FILE" in told
    assert (
        command("bank", "fill", "-q", "--bank", "other", "--members", "model.safetensors.members.csv").returncode == 0
    )
    assert "warning" not in command("plan", "model.safetensors", "--bank", "other").stdout


def test_an_audit_keeps_to_a_plan_with_candidates(eighty: Path, command: Command) -> None:
    assert command("plan", "model.safetensors", "-o", "plan.json", "-q").returncode == 0
    done = command("audit", "model.safetensors", "--plan", "plan.json", "-q")
    assert done.returncode == 0, done.stderr
    assert json.loads((eighty / "audit" / "report.json").read_bytes())["plan"]


@pytest.mark.slow
def test_boosted_trees_of_any_share_are_not_withheld(tmp_path: Path) -> None:
    recipe = ma.EstimatorRecipe(lambda: Examples(X, Y), GradientBoostingClassifier(n_estimators=20, random_state=0))
    for share in (0.2, 0.8):
        own = ma.draw_members(recipe, seed=3, share=share)
        folder = tmp_path / str(share)
        folder.mkdir()
        ma.save_target(ma.train(recipe, own, seed=1), folder / "model.skops", own, recipe)
        bank = ma.fill(folder / "bank", recipe, 16, members=own)
        report = ma.audit(folder / "model.skops", recipe, bank, fprs=(0.1,)).report
        assert all(c.passed is not False for c in report.controls)
