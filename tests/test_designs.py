"""Designs other than halves: what is drawn, what a bank keeps of it, what estimates are then about.

Random tests fix their seed; each states the probability of a false alarm under a fresh one. `methods.md` T8.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier
from test_memorization import _exact_outside_accuracy, _neighbours, _noisy_points, _train_and_test

import memaudit as ma
from memaudit import files
from memaudit.auditing.left_out import cells
from memaudit.bank import Bank
from memaudit.bank.matching import design_of, matched
from memaudit.checks import ClassifierEvidence
from memaudit.design import Design, Draw, PairArrays, Role, Subsets, by_pair, redrawn, target_in_units
from memaudit.design.subsets import _number
from memaudit.errors import BankError, EvidenceError, MemauditError, RecipeError, SettingsError
from memaudit.memorization import known_memorization, memorization, paired_memorization
from memaudit.policy.complete import incomplete
from memaudit.policy.consistency import contradictions
from memaudit.recipe import Examples
from memaudit.signals import measure
from memaudit.stats import cluster_mean_interval
from memaudit.training import population
from memaudit.training.designing import require_models, resolved

Array = np.ndarray
Command = Callable[..., CompletedProcess[str]]

UNITS = 240
X = np.random.default_rng(0).normal(size=(UNITS, 12))
Y = (X[:, 0] + np.random.default_rng(1).normal(size=UNITS) > 0).astype(int)
IDS = [f"p{i}" for i in range(UNITS)]
RECIPE = ma.EstimatorRecipe(lambda: Examples(X, Y, ids=IDS), LogisticRegression(C=100.0))
PEOPLE = IDS[:40]
SINGLE = np.arange(UNITS)
ASKED = {
    "share": Subsets(share=0.7),
    "candidates": Subsets(candidates=PEOPLE),
    "candidates at a share": Subsets(candidates=PEOPLE, share=0.7),
    "removed": Subsets(removed=PEOPLE),
    "candidates and removed": Subsets(candidates=PEOPLE, removed=IDS[200:]),
    "noise": Subsets(label_noise=0.2),
    "noise at a share": Subsets(label_noise=0.2, share=0.6),
    "leave-one-out": Subsets(leave_one_out=IDS[:3], removed=IDS[200:]),
}


def _rows(design: Design, models: int, seed: int = 5) -> Array:
    return np.stack([design.row(seed, model, SINGLE, Y) for model in range(models)])


def _independent(roles: Array, share: float) -> Design:
    return Design(roles, Draw.INDEPENDENT, share)


# --- What is drawn ----------------------------------------------------------------------------------------------------


def test_each_candidate_is_in_a_model_with_the_probability_that_was_asked_for() -> None:
    """2,000 models: each unit's rate within 5.5 SE of 0.7, 240 units (1e-5); all within 5 SE; the rest by its role."""
    roles = np.full(UNITS, Role.CANDIDATE, np.uint8)
    roles[:20], roles[20:50] = Role.NEVER, Role.ALWAYS
    rows = _rows(_independent(roles, 0.7), 2000)
    assert (rows[:, :20] == 0).all() and (rows[:, 20:50] == 1).all()
    rates, error = rows[:, 50:].mean(axis=0), np.sqrt(0.21 / 2000)
    assert np.abs(rates - 0.7).max() < 5.5 * error
    assert abs(rates.mean() - 0.7) < 5 * error / np.sqrt(190)


def test_models_and_examples_are_drawn_independently() -> None:
    """Correlations of 60 models over 240 units are N(0, 1/239): χ² of their squares, both tails at 1e-4."""
    rows = _rows(Design(Design.halves(UNITS).roles, Draw.INDEPENDENT, 0.7), 60)
    for matrix, length in ((rows, UNITS), (rows.T[:60], 60)):
        found = np.corrcoef(matrix)[np.triu_indices(60, 1)]
        assert 1e-4 < stats.chi2.cdf((found**2).sum() * (length - 1), len(found)) < 1 - 1e-4


def test_a_training_set_of_one_class_is_drawn_again() -> None:
    """Of 240 examples 3 are of class 1; at 0.5 one set in 8 lacks them: none of 100 does."""
    labels = (SINGLE < 3).astype(int)
    design = _independent(Design.halves(UNITS).roles, 0.5)
    rows = [design.row(1, model, SINGLE, labels) for model in range(100)]
    assert all(row[:3].any() for row in rows)


def test_units_are_in_or_out_as_a_whole() -> None:
    unit_of, labels = np.repeat(np.arange(80), 3), Y
    for draw in (Draw.INDEPENDENT, Draw.LEAVE_ONE_OUT):
        for model in range(5):
            row = Design(Design.halves(80).roles, draw, 0.7).row(0, model, unit_of, labels).reshape(80, 3)
            assert (row == row[:, :1]).all()


def test_leave_one_out_has_a_model_with_all_and_one_without_each_in_every_round() -> None:
    design = resolved(ASKED["leave-one-out"], population(RECIPE))
    rows = _rows(design, 8)
    assert design.round == 4
    assert np.array_equal(rows[:4], rows[4:])
    assert (rows[0] == (SINGLE < 200)).all()
    for cell in (1, 2, 3):
        assert np.flatnonzero(rows[cell] != rows[0]).tolist() == [cell - 1]
    assert design.measured.sum() == 200, "the models are asked about all that some model has"


@pytest.mark.parametrize("name", ASKED)
def test_a_design_is_named_by_its_fingerprint_and_read_from_it(name: str) -> None:
    found = resolved(ASKED[name], population(RECIPE))
    read = Design.read(found.roles, found.lines())
    assert read.lines() == found.lines()
    assert (read.draw, read.inclusion, read.label_noise, read.chosen) == (
        *(found.draw, found.inclusion, found.label_noise, found.chosen),
    )
    others = [resolved(asked, population(RECIPE)).lines() for other, asked in ASKED.items() if other != name]
    assert found.lines() not in [*others, {}]
    with pytest.raises(ValueError, match="checksum"):
        Design.read(np.roll(found.roles, 1) if not found.candidates.all() else 0 * found.roles, found.lines())


def test_who_is_no_candidate_is_in_or_out_as_in_the_target() -> None:
    members = np.arange(UNITS) % 3 > 0
    design = resolved(Subsets(candidates=PEOPLE), population(RECIPE), members)
    assert design.misfits(members) == 0
    assert design.count(Role.CANDIDATE) == 40
    assert np.array_equal(design.roles[40:] == Role.ALWAYS, members[40:])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"share": 1.0}, "share = 1.0"),
        ({"share": 0.0}, "share = 0.0"),
        ({"label_noise": 1.5}, "label_noise = 1.5"),
        ({"leave_one_out": PEOPLE, "share": 0.7}, "leave_one_out and share exclude"),
        ({"leave_one_out": PEOPLE, "label_noise": 0.1}, "leave_one_out and label_noise exclude"),
        ({"leave_one_out": PEOPLE, "candidates": PEOPLE}, "leave_one_out and candidates exclude"),
        ({"candidates": PEOPLE, "removed": IDS[30:50]}, "10 of the removed examples"),
        ({"removed": IDS}, "leaves no candidate"),
        ({"candidates": ["nobody"]}, "candidates: "),
        ({"candidates": []}, "candidates"),
        ({"candidates": "nowhere.csv"}, "candidates: there is no file nowhere.csv"),
        ({"candidates": IDS[:19]}, "19 candidates.*at least 20"),
    ],
)
def test_what_contradicts_itself_is_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        resolved(Subsets(**asked), population(RECIPE))


@pytest.mark.parametrize("value", ["0.7", None, [0.7]])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(SettingsError, match=r"share = .*: give a number"):
        _number("share", value)


def test_a_share_of_numpy_s_kind_can_be_read_again(tmp_path: Path) -> None:
    ma.fill(tmp_path, RECIPE, 3, design=Subsets(share=np.float64(0.7), label_noise=np.float64(0.25)))
    assert len(ma.fill(tmp_path, RECIPE, 4, design=Subsets(share=0.7, label_noise=0.25)).models()) == 4


def test_a_design_that_leaves_one_class_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"a single class.*units are candidates.*another share"):
        ma.fill(tmp_path / "bank", RECIPE, 4, design=Subsets(removed=Y == 0))


def test_label_noise_is_for_classes_alone() -> None:
    y = np.random.default_rng(2).normal(size=UNITS)
    recipe = ma.EstimatorRecipe(lambda: Examples(X, y, task="regression"), LinearRegression())
    with pytest.raises(SettingsError, match="one class each"):
        resolved(Subsets(label_noise=0.1), population(recipe))


@pytest.mark.parametrize(("shadows", "fits"), [(4, True), (8, True), (0, False), (6, False), (-4, False)])
def test_a_leave_one_out_bank_has_whole_rounds(shadows: int, fits: bool) -> None:
    design = resolved(ASKED["leave-one-out"], population(RECIPE))
    if fits:
        require_models(shadows, design)
        return
    with pytest.raises(SettingsError, match=r"a round of this design is 4 models.*such as [48]"):
        require_models(shadows, design)


def test_a_number_of_models_that_is_proposed_is_one_that_the_settings_take() -> None:
    design = resolved(Subsets(leave_one_out=IDS[:2]), population(RECIPE))
    with pytest.raises(SettingsError, match=r"such as 6$"):
        require_models(4, design)


# --- Redrawn labels ---------------------------------------------------------------------------------------------------


def test_labels_are_replaced_by_another_class_with_the_stated_probability() -> None:
    """20,000 units of 5 classes: the share within 5 SE; the four other classes alike by χ² (1e-4); none its own."""
    y = np.random.default_rng(3).integers(0, 5, 20_000)
    given = redrawn(0, 1, y, np.arange(20_000), 5, 0.2)
    changed = given != y
    assert abs(changed.mean() - 0.2) < 5 * np.sqrt(0.16 / 20_000)
    shifts = np.bincount((given - y)[changed] % 5, minlength=5)
    assert shifts[0] == 0
    assert stats.chisquare(shifts[1:]).pvalue > 1e-4
    assert given.dtype == y.dtype


def test_labels_are_redrawn_anew_in_each_model_and_alike_in_a_unit() -> None:
    unit_of, y = np.repeat(np.arange(100), 2), np.repeat(np.arange(100) % 4, 2)
    draws = [redrawn(0, model, y, unit_of, 4, 0.5) for model in (None, 0, 1, 2)]
    assert all((draw[0::2] == draw[1::2]).all() for draw in draws), "exact copies agree"
    assert len({draw.tobytes() for draw in draws}) == 4
    assert np.array_equal(draws[1], redrawn(0, 0, y, unit_of, 4, 0.5))
    assert np.array_equal(y, redrawn(0, 0, y, unit_of, 4, 0.0))


def test_a_bank_with_label_noise_records_what_its_models_were_trained_on(tmp_path: Path) -> None:
    """A model trained by hand on the recorded labels is the bank's, and `correct` is about the examples' own."""
    bank = ma.fill(tmp_path, RECIPE, 4, design=Subsets(label_noise=0.3))
    for found in map(bank.tensors, bank.models()):
        inside = found["members"] > 0
        model = LogisticRegression(C=100.0).fit(X[inside], found["given"][inside])
        assert np.array_equal(model.predict(X) == Y, found["correct"])
        assert np.array_equal(model.predict(X) == found["given"], found["fitted"])
        assert 0.15 < (found["given"] != Y).mean() < 0.45
    assert (bank.tensors(0)["given"] != bank.tensors(1)["given"]).any()
    plain = ma.fill(tmp_path / "plain", RECIPE, 4)
    assert all(np.array_equal(plain.tensors(m)["members"], bank.tensors(m)["members"]) for m in range(4))


def test_known_memorization_of_the_nearest_neighbour_against_a_loop(tmp_path: Path) -> None:
    """It predicts every label that it was trained on; of others what its nearest member was given."""
    recipe = ma.EstimatorRecipe(lambda: Examples(X, Y, ids=IDS), KNeighborsClassifier(1))
    bank = ma.fill(tmp_path, recipe, 6, design=Subsets(label_noise=0.3))
    recorded = [bank.tensors(model) for model in bank.models()]
    fitted, members, given = (np.stack([found[name] for found in recorded]) for name in ("fitted", "members", "given"))
    found = known_memorization(fitted, given != Y, members, np.arange(6) // 2)
    near = _neighbours(X)
    for model in range(6):
        hits = []
        for i in np.flatnonzero((members[model] == 0) & (given[model] != Y)):
            nearest = next(j for j in near[i] if members[model, j])
            hits.append(given[model, nearest] == given[model, i])
        assert found.outside[model] == pytest.approx(np.mean(hits), abs=1e-12)
    assert (found.inside == 1).all()
    assert found.gains == pytest.approx([1 - found.outside[2 * t : 2 * t + 2].mean() for t in range(3)])


def test_nothing_is_known_of_labels_that_no_model_was_trained_on() -> None:
    """Memberships that have nothing to do with the outputs: 200 banks, mean 0 within 4 SE (6e-5)."""
    rng = np.random.default_rng(6)
    gains = []
    for _ in range(200):
        fitted, noisy = rng.random((8, 300)) < 0.3, rng.random((8, 300)) < 0.3
        members = rng.integers(0, 2, (8, 300)).astype(np.uint8)
        gains.append(known_memorization(fitted, noisy, members, np.arange(8) // 2).gains.mean())
    assert abs(np.mean(gains)) < 4 * np.std(gains) / np.sqrt(200)


def test_the_interval_of_known_memorization_covers() -> None:
    """Models differ in how much they fit, pairs are independent: 600 banks of 8 pairs, coverage ≥ 0.95 − 4 SE."""
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(600):
        members = np.repeat(rng.integers(0, 2, (8, 200)), 2, axis=0)
        members[1::2] = 1 - members[1::2]
        level = np.repeat(rng.beta(4, 4, 8), 2)[:, None]
        fitted = rng.random((16, 200)) < np.where(members > 0, level, 0.2)
        found = known_memorization(fitted, rng.random((16, 200)) < 0.2, members.astype(np.uint8), np.arange(16) // 2)
        low, high = cluster_mean_interval(found.gains)
        covered += bool(low <= 0.3 <= high)
    assert covered / 600 > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 600)


def test_too_few_redrawn_labels_are_refused() -> None:
    members = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], np.uint8)
    noisy = np.array([[True, False, False, True], [True, False, False, False]])
    with pytest.raises(ValueError, match="model 1 has no redrawn label"):
        known_memorization(noisy, noisy, members, np.arange(2))


# --- What estimates are about: the nearest neighbour, whose memorization is known exactly ----------------------------


def _estimated(x: Array, y: Array, design: Design, banks: int, models: int) -> tuple[Array, Array]:
    """Return the mean memorization of each unit over some banks of 1-NN models, and its standard error."""
    found = []
    for seed in range(banks):
        rows = np.stack([design.row(seed, model, np.arange(len(y)), y.astype(int)) for model in range(models)])
        here = design.candidates
        found.append(memorization(_train_and_test(x, y, rows)[:, here], rows[:, here]).value)
    return np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(banks)


def test_memorization_at_a_share_of_70_percent_is_unbiased_for_its_estimand() -> None:
    """30 banks of 60 models on 120 points: z-scores against the closed form, all below 6; 1e-5 with t of 29 dof.

    The closed form at r = 0.5 is another number: the same z-scores against it are far off.
    """
    x, y = _noisy_points(120, np.random.default_rng(84))
    mean, error = _estimated(x, y, _independent(Design.halves(120).roles, 0.7), 30, 60)
    truth, other = (1 - _exact_outside_accuracy(x, y, r) for r in (0.7, 0.5))
    certain = error < 1e-9
    assert mean[certain] == pytest.approx(truth[certain], abs=0.02)
    z = (mean - truth)[~certain] / error[~certain]
    assert np.abs(z).max() < 6.5
    assert np.abs(z.mean()) < 4 * z.std() / np.sqrt(10)  # points share neighbours
    assert np.abs((mean - other)[~certain] / error[~certain]).max() > 10


def _outside_among_known(x: Array, y: Array, roles: Array, r: float) -> Array:
    """P[1-NN right on i | i outside] where neighbours that are always in end the walk: by a loop over neighbours."""
    near, right = _neighbours(x), np.zeros(len(y))
    for i in range(len(y)):
        reach = 1.0
        for j in near[i]:
            weight = reach * (1.0 if roles[j] == Role.ALWAYS else r)
            right[i] += weight * (y[j] == y[i])
            reach -= weight
            if reach <= 0:
                break
    return right


@pytest.mark.parametrize("share", [None, 0.7])
def test_candidates_are_resampled_within_all_others(share: float | None) -> None:
    """pLOO_improved (seed 001, section 5.1): 30 of 120 points are resampled, the others are in every model."""
    x, y = _noisy_points(120, np.random.default_rng(85))
    people = Examples(x, y.astype(int), ids=IDS[:120])
    design = resolved(Subsets(candidates=IDS[:30], share=share), people)
    mean, error = _estimated(x, y, design, 30, 40)
    truth = 1 - _outside_among_known(x, y, design.roles, 0.5 if share is None else share)[:30]
    certain = error < 1e-9
    assert mean[certain] == pytest.approx(truth[certain], abs=0.02)
    assert np.abs((mean - truth)[~certain] / error[~certain]).max() < 6.5


def test_leave_one_out_of_the_nearest_neighbour_is_exact(tmp_path: Path) -> None:
    """LOO memorization of 1-NN is 1 if the nearest other point has another label, else 0: here with one round."""
    x, y = _noisy_points(60, np.random.default_rng(86))
    recipe = ma.EstimatorRecipe(lambda: Examples(x, y.astype(int), ids=IDS[:60]), KNeighborsClassifier(1))
    bank = ma.fill(tmp_path, recipe, 21, design=Subsets(leave_one_out=IDS[10:30]))
    with pytest.raises(EvidenceError, match=r"needs 2 or more\. Fill another round: 21 more models"):
        ma.leave_one_out(bank, recipe)
    bank = ma.fill(tmp_path, recipe, 42)
    truth = (y[_neighbours(x)[:, 0]] != y).astype(float)[10:30]
    assert np.array_equal(ma.leave_one_out(tmp_path, recipe).scores.value, truth)
    assert ma.leave_one_out(bank, recipe).ids == tuple(IDS[10:30])
    found = cells(bank, recipe, 21)
    assert found.ids == tuple(IDS[10:30])
    assert found.chosen.tolist() == list(range(10, 30))
    assert (found.members[0] == 1).all()
    for cell, point in enumerate(found.chosen, 1):
        assert np.flatnonzero(found.members[cell] == 0).tolist() == [point]
        gain = int(found.correct[0, point]) - int(found.correct[cell, point])
        assert gain == int(y[_neighbours(x)[point, 0]] != y[point])


def test_an_attack_with_a_bank_at_70_percent_keeps_its_false_positive_rate() -> None:
    """60 audits, 24 shadows, LiRA at 0.1: mean measured FPR within 4 SE of 0.1 (t, 59 dof: 2e-4), SE below 0.012."""
    fprs, design = [], _independent(np.full(160, Role.CANDIDATE, np.uint8), 0.7)
    for seed in range(60):
        rng = np.random.default_rng([9, seed])
        x = rng.normal(size=(160, 20))
        people = Examples(x, (x[:, 0] + rng.normal(size=160) > 0).astype(int))
        own = target_in_units(seed, people.unit_of, people.y, 0.7) > 0
        rows = np.stack([design.row(seed, m, people.unit_of, people.y) for m in range(24)]) > 0
        phi = np.stack([_phi(people, row) for row in [*rows, own]])
        found = design_of(rows)
        couples, columns = matched(rows, found, seed), np.arange(len(found.kept))
        signals = phi[:-1][:, found.kept]
        facts = ClassifierEvidence(
            bank=_Matched(signals[couples.inside, columns], signals[couples.outside, columns]),
            matched=couples,
            phi=phi[-1][found.kept],
            correct=phi[-1][found.kept, 0] > 0,
            members=own[found.kept],
            x=x[found.kept],
            y=people.y[found.kept],
        )
        fprs.append(facts.attacked("lira-online").flagged(0.1)[~facts.members].mean())
    error = np.std(fprs, ddof=1) / np.sqrt(60)
    assert error < 0.012
    assert abs(np.mean(fprs) - 0.1) < 4 * error


class _Matched(PairArrays):
    @property
    def members(self) -> Array:
        raise AssertionError

    correct = members


def _phi(people: Examples, row: Array) -> Array:
    return measure(LogisticRegression(C=100.0).fit(people.x[row], people.y[row]), people)["phi"]


# --- The bank ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["share", "candidates at a share", "noise", "leave-one-out"])
def test_a_bank_grows_and_resumes_without_being_told_its_design_again(tmp_path: Path, name: str) -> None:
    design = ASKED[name]
    ma.fill(tmp_path / "a", RECIPE, 4, design=design)
    grown = ma.fill(tmp_path / "a", RECIPE, 8)
    whole = ma.fill(tmp_path / "b", RECIPE, 8, design=design)
    assert grown.fingerprint == whole.fingerprint
    for model in range(8):
        for tensor, values in whole.tensors(model).items():
            assert np.array_equal(values, grown.tensors(model)[tensor]), (model, tensor)


def test_a_bank_of_another_design_is_refused(tmp_path: Path) -> None:
    ma.fill(tmp_path / "halves", RECIPE, 2)
    with pytest.raises(BankError, match="has another design"):
        ma.fill(tmp_path / "halves", RECIPE, 4, design=Subsets(share=0.7))
    ma.fill(tmp_path / "share", RECIPE, 3, design=Subsets(share=0.7))
    with pytest.raises(BankError, match=r"probability 0\.7, independently.*probability 0\.6"):
        ma.fill(tmp_path / "share", RECIPE, 4, design=Subsets(share=0.6))
    assert len(Bank.open(tmp_path / "share").models()) == 3


# --- The audit --------------------------------------------------------------------------------------------------------


def _audit(
    folder: Path, asked: Subsets, shadows: int = 16, *, recipe: Any = RECIPE, fprs: tuple[float, ...] = (0.1,)
) -> Any:
    own = ma.draw_members(recipe, seed=3, design=asked)
    ma.save_target(ma.train(recipe, own, seed=1, label_noise=asked.label_noise), folder / "m.skops", own, recipe)
    bank = ma.fill(folder / "bank", recipe, shadows, design=asked)
    return ma.audit(folder / "m.skops", recipe, bank, fprs=fprs, evidence="ids")


@pytest.mark.parametrize(("share", "least"), [(None, 6), (0.5, 14), (0.7, 23), (0.3, 23), (0.9, 73)])
def test_how_many_models_an_audit_needs(tmp_path: Path, share: float | None, least: int) -> None:
    """The least number of which 98 % of the examples are in three and lacking in three, by the binomial law."""
    design = resolved(Subsets(share=share), population(RECIPE))
    assert design.least == least
    if share is not None:
        law = [stats.binom(models, share) for models in (least, least - 1)]
        enough = [each.cdf(models - 3) - each.cdf(2) for each, models in zip(law, (least, least - 1), strict=True)]
        assert enough[0] >= 0.98 > enough[1]


def test_too_few_models_for_an_audit_are_refused_before_they_are_trained(tmp_path: Path) -> None:
    own = ma.draw_members(RECIPE, seed=3, design=ASKED["share"])
    with pytest.raises(SettingsError, match="needs at least 23 shadow models, and there are 16"):
        ma.fill(tmp_path / "bank", RECIPE, 16, members=own, design=ASKED["share"])
    assert not (tmp_path / "bank").exists()
    bank = ma.fill(tmp_path / "bank", RECIPE, 16, design=ASKED["share"])
    ma.save_target(ma.train(RECIPE, own, seed=1), tmp_path / "m.skops", own, RECIPE)
    with pytest.raises(SettingsError, match="--shadows 24"):
        ma.audit(tmp_path / "m.skops", RECIPE, bank)


@pytest.mark.parametrize("name", [name for name in ASKED if name != "leave-one-out"])
def test_a_target_that_fits_the_design_is_audited(tmp_path: Path, name: str) -> None:
    done = _audit(tmp_path, ASKED[name], 23 if "share" in name else 16)
    report, design = done.report, resolved(ASKED[name], population(RECIPE))
    own = ma.draw_members(RECIPE, seed=3, design=ASKED[name]) > 0
    assert design.misfits(own) == 0
    assert all(control.passed is not False for control in report.controls), report.controls
    about, candidates = report.subject, design.count(Role.CANDIDATE)
    assert candidates * 0.9 <= about.members + about.nonmembers <= candidates
    assert (about.always, about.never) == (design.count(Role.ALWAYS), design.count(Role.NEVER))
    assert {"MIA001", "MEM001"} <= {result.finding.code for result in report.results}
    known = [result.finding for result in report.results if result.finding.code == "MEM008"]
    assert len(known) == (design.label_noise > 0)
    told = " ".join(report.limitations)
    assert ("were chosen, so that the figures describe no others" in told) == design.chosen
    assert ("independently" in told) == (design.draw is Draw.INDEPENDENT)
    assert ("20% of the labels were replaced" in told) == (design.label_noise > 0)
    assert report.provenance["bank.design"] == design.words
    assert "drawn at random" not in told
    assert not [*contradictions(report), *incomplete(report)]


@pytest.mark.parametrize(
    ("estimator", "asked", "models"),
    [(KNeighborsClassifier(1), Subsets(share=0.3), 24), (DecisionTreeClassifier(), Subsets(), 16)],
)
def test_a_report_about_tied_scores_or_a_low_share_holds_together(
    tmp_path: Path, estimator: Any, asked: Subsets, models: int
) -> None:
    """With a low share some models are matched on one side alone; with ties the first attack may have no result."""
    recipe = ma.EstimatorRecipe(lambda: Examples(X, Y, ids=IDS), estimator)
    report = _audit(tmp_path, asked, models, recipe=recipe, fprs=(0.05,)).report
    found = [result.finding for result in report.results if result.finding.metric == "tpr"]
    assert sum(table.title == "All attacks" for finding in found for table in finding.tables) == 1
    assert not [*contradictions(report), *incomplete(report)]


def test_left_out_examples_are_counted(tmp_path: Path) -> None:
    report = _audit(tmp_path, ASKED["share"], 24).report
    left_out = UNITS - report.subject.members - report.subject.nonmembers
    assert 0 < left_out <= 0.05 * UNITS
    assert f"{left_out} examples were left out" in " ".join(report.limitations)


def test_a_leave_one_out_bank_is_refused_for_an_audit_before_anything_is_trained(tmp_path: Path) -> None:
    own = ma.draw_members(RECIPE, seed=3)
    ma.save_target(ma.train(RECIPE, own, seed=1), tmp_path / "m.skops", own, RECIPE)
    bank = ma.fill(tmp_path / "bank", RECIPE, 8, design=ASKED["leave-one-out"])
    with pytest.raises(BankError, match=r"leave out one example each.*support no audit.*Fill a bank"):
        ma.audit(tmp_path / "m.skops", RECIPE, bank)
    with pytest.raises(BankError, match="support no audit"):
        ma.fill(tmp_path / "bank", RECIPE, 12, members=own)
    assert len(bank.models()) == 8
    with pytest.raises(SettingsError, match="no target to draw members for"):
        ma.draw_members(RECIPE, design=ASKED["leave-one-out"])
    with pytest.raises(BankError, match="leaves no single examples out"):
        cells(ma.fill(tmp_path / "halves", RECIPE, 2), RECIPE)


@pytest.mark.parametrize("name", ["candidates", "removed", "share"])
def test_a_target_that_does_not_fit_is_refused(tmp_path: Path, name: str) -> None:
    """Of 240 coin flips hardly ever all 200 are heads, or no removed example is in, or 70 % are members."""
    bank = ma.fill(tmp_path / "bank", RECIPE, 6, design=ASKED[name])
    own = ma.draw_members(RECIPE, seed=3)
    ma.save_target(ma.train(RECIPE, own, seed=1), tmp_path / "m.skops", own, RECIPE)
    with pytest.raises(MemauditError, match=r"filled for another (training set|share)"):
        ma.audit(tmp_path / "m.skops", RECIPE, bank)


def test_a_share_that_is_not_the_models_is_named_before_there_is_a_bank(tmp_path: Path) -> None:
    """`plan --share` and `fill --share` of a new bank: nothing was filled yet, and the words must not say so."""
    own = ma.draw_members(RECIPE, seed=3)
    (tmp_path / "own.csv").write_text("\n".join(np.array(IDS)[own > 0]), "utf-8")
    said = r"share = 0\.9: 1\d\d of the design's 240 .* --share 0\.\d"
    with pytest.raises(SettingsError, match=said):
        ma.plan(RECIPE, tmp_path / "bank", shadows=80, members=tmp_path / "own.csv", design=Subsets(share=0.9))
    with pytest.raises(SettingsError, match=said):
        ma.fill(tmp_path / "bank", RECIPE, 80, members=own, design=Subsets(share=0.9))
    with pytest.raises(SettingsError, match="no shadow model, or of the others in every one"):
        ma.fill(tmp_path / "bank", RECIPE, 8, members=own, design=Subsets(removed=PEOPLE))
    assert not (tmp_path / "bank").exists()


class Killed(BaseException):
    pass


@pytest.mark.parametrize("name", [name for name in ASKED if name != "leave-one-out"])
@pytest.mark.parametrize("step", ["the roles", "bank.json", "the first model"])
def test_a_fill_that_is_killed_before_its_first_model_does_not_lose_its_design(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, step: str
) -> None:
    """Killed before each write: another fill, which is not told the design, keeps it or refuses to guess."""
    own = ma.draw_members(RECIPE, seed=3, design=ASKED[name])
    places = {
        "the roles": (files, "write_whole"),
        "bank.json": (files, "write_first"),
        "the first model": (Bank, "write"),
    }

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(*places[step], killed)
        ma.fill(tmp_path / "bank", RECIPE, 24, members=own, design=ASKED[name])
    if step == "the first model":
        again = ma.fill(tmp_path / "bank", RECIPE, 24, members=own)
        whole = ma.fill(tmp_path / "whole", RECIPE, 24, members=own, design=ASKED[name])
        assert again.fingerprint == whole.fingerprint
    elif step == "bank.json":
        for members in (None, own):
            with pytest.raises(BankError, match=r"an earlier fill was killed before it began\. Repeat its options"):
                ma.fill(tmp_path / "bank", RECIPE, 24, members=members)
        assert ma.fill(tmp_path / "bank", RECIPE, 24, members=own, design=ASKED[name]).models()
    else:
        assert not list((tmp_path / "bank").rglob("*.*")), "nothing is left that could be forgotten"


def test_a_fill_for_members_that_is_killed_goes_on_without_a_design(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The design follows from the members, so that nothing was forgotten."""
    own = ma.draw_members(RECIPE, seed=3, share=0.8)

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(files, "write_first", killed)
        ma.fill(tmp_path / "bank", RECIPE, 6, members=own)
    assert list((tmp_path / "bank").glob("design-*.npy"))
    assert ma.fill(tmp_path / "bank", RECIPE, 6, members=own).models()


def test_a_share_beside_a_design_is_refused() -> None:
    with pytest.raises(SettingsError, match="the design says which share"):
        ma.draw_members(RECIPE, share=0.3, design=ASKED["share"])
    assert 0.6 < ma.draw_members(RECIPE, design=ASKED["share"]).mean() < 0.8


def test_drawing_half_of_the_candidates_is_what_it_was() -> None:
    assert np.array_equal(ma.draw_members(RECIPE, seed=3), ma.draw_members(RECIPE, seed=3, share=0.5))


# --- Language models --------------------------------------------------------------------------------------------------


def test_documents_are_left_out_one_at_a_time_with_the_same_canaries() -> None:
    from memaudit.recipe import load_recipe
    from memaudit.training.model import Workshop

    stories = load_recipe(str(Path(__file__).parent / "recipes" / "language.py") + ":recipe")
    people: Any = population(stories)
    design = resolved(Subsets(leave_one_out=people.documents.unit_ids[:2].tolist()), people)
    shop = Workshop(stories, people, 0, "cpu", design=design)
    rows = np.stack([shop.counts(model) for model in range(6)])
    documents, doses = rows[:, : len(people)], rows[:, len(people) :]
    assert (doses == doses[0]).all()
    assert documents.sum(axis=1).tolist() == [len(people), len(people) - 1, len(people) - 1] * 2
    assert shop.measured is people
    with pytest.raises(SettingsError, match="documents have no label"):
        resolved(Subsets(label_noise=0.1), people)


@pytest.fixture(scope="module")
def stories() -> Any:
    from memaudit.recipe import load_recipe

    found: Any = load_recipe(str(Path(__file__).parent / "recipes" / "language.py") + ":recipe")
    return replace(found, epochs=1, probes=replace(found.probes, canaries=2, secrets=0))


def test_memorization_of_documents_at_a_share_is_the_difference_of_means(stories: Any, tmp_path: Path) -> None:
    bank = ma.fill(tmp_path / "bank", stories, 14, design=Subsets(share=0.6), device="cpu")
    found = ma.subset_memorization(bank, stories)
    tensors = [bank.tensors(model) for model in range(14)]
    assert 0.5 < np.mean([of["members"] for of in tensors]) < 0.7
    for unit in range(len(found.ids)):
        sides = [[float(of["correct"][unit]) for of in tensors if of["members"][unit] == side] for side in (1, 0)]
        mean = [sum(side) / len(side) for side in sides]
        assert found.scores.value[unit] == pytest.approx(mean[0] - mean[1], abs=1e-6)
    assert found.ids == tuple(population(stories).ids[: len(found.ids)])
    members = ma.draw_members(stories, seed=1)
    with pytest.raises(BankError, match=r"random share of the documents: .*subset_memorization"):
        ma.fill(tmp_path / "bank", stories, 16, members=members, device="cpu")
    with pytest.raises(BankError, match="random share of the documents"):
        ma.fill(tmp_path / "other", stories, 16, members=members, design=Subsets(share=0.6), device="cpu")
    model = ma.train(stories, members, device="cpu")
    ma.save_target(model, tmp_path / "model", members, stories)
    with pytest.raises(BankError, match="random share of the documents"):
        ma.audit(tmp_path / "model", stories, bank, device="cpu")


def test_leave_one_out_of_documents_is_in_the_share_of_their_tokens(stories: Any, tmp_path: Path) -> None:
    whole: Any = population(stories)
    bank = ma.fill(
        tmp_path, stories, 6, design=Subsets(leave_one_out=whole.documents.unit_ids[:2].tolist()), device="cpu"
    )
    found = ma.leave_one_out(bank, stories)
    correct = np.stack([bank.tensors(model)["correct"] for model in range(6)]).astype(float)
    for place, cell in ((0, 1), (1, 2)):
        assert found.scores.value[place] == pytest.approx(
            correct[[0, 3], place].mean() - correct[[cell, cell + 3], place].mean(), abs=1e-6
        )
    with pytest.raises(BankError, match="leave out one example each"):
        ma.subset_memorization(bank, stories)


def test_memorization_without_a_target_is_that_of_the_audit(tmp_path: Path) -> None:
    for name, estimator in (("pairs", paired_memorization), ("share", memorization)):
        bank = ma.fill(tmp_path / name, RECIPE, 20, design=None if name == "pairs" else Subsets(share=0.6))
        found = ma.subset_memorization(bank, RECIPE)
        members, correct = (np.stack([bank.tensors(m)[of] for m in range(20)]) for of in ("members", "correct"))
        if name == "pairs":
            expected = estimator(*by_pair(correct.astype(bool), members))
        else:
            expected = estimator(correct.astype(bool), members)
        rows = population(RECIPE).representatives
        assert np.array_equal(found.scores.value, expected.value[rows])
