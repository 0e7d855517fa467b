"""The privacy onion and localisation: models whose truth is built in, slow oracles, null and coverage tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lookup import Margins, rows
from torch import nn

import memaudit as ma
from memaudit import derivations as by
from memaudit.bank import Bank
from memaudit.errors import BankError, SettingsError
from memaudit.memorization import effect, exposure, privacy_onion
from memaudit.stats import threshold

UNITS, ROOM = 400, 20
RNG = np.random.default_rng(0)
ORDER = RNG.permutation(UNITS)  # ORDER[i]: how typical example i is; the least typical are memorized first
BASE, LABELS = RNG.normal(size=UNITS), RNG.integers(0, 2, UNITS)


def examples() -> ma.Examples:
    return rows(LABELS)


class Table(Margins):
    def __init__(self, margins: Any = (0.0,) * UNITS) -> None:
        super().__init__(LABELS, margins)


def memorizing(room: int | None) -> Callable[..., Table]:
    """Return a training that memorizes its `room` least typical members, or all of the 40 least typical examples."""

    def train(dataset: Any, *, seed: int, device: str) -> Table:
        rows = dataset.x[:, 0].astype(int)
        inside = rows[np.argsort(ORDER[rows])][:room] if room else rows[ORDER[rows] < 40]
        margins = BASE + 0.3 * np.random.default_rng(seed).normal(size=UNITS)
        margins[inside] += 6
        return Table(margins)

    return train


def recipe(room: int | None) -> Any:
    return ma.CallableRecipe(examples, train=memorizing(room), model=Table)


def onion(folder: Path, room: int | None) -> Any:
    made = recipe(room)
    bank = ma.fill(folder / "all", made, 16, device="cpu")
    gone = ma.most_exposed(bank, made, 0.1, shadows=8)
    again = ma.fill(folder / "rest", made, 8, device="cpu", design=ma.Subsets(removed=gone))
    found = ma.privacy_onion(bank, again, made, chosen_by=8)
    least_typical = {f"e{i}" for i in np.flatnonzero(ORDER < 40)}
    assert len(least_typical & set(gone)) >= (
        36 if room else 40
    )  # with room for 20, the 40th is memorized now and then
    assert (found.removed, found.pairs) == (40, 4)
    return found


def test_with_room_for_few_others_become_exposed_instead(tmp_path: Path) -> None:
    """20 of 200 members are memorized before and after: the truth is 20/200 and 20/180, and nobody in between."""
    found = onion(tmp_path, ROOM)
    assert found.baseline[0] == pytest.approx(ROOM / (UNITS / 2), abs=0.02)
    assert found.actual[0] == pytest.approx(ROOM / 180, abs=0.02)
    assert found.ideal[0] < 0.04
    assert found.onion[1] > 0.03 and found.gain[1] < 0 < found.gain[2]


def test_where_exposure_is_an_example_s_own_removal_reaches_the_ideal(tmp_path: Path) -> None:
    found = onion(tmp_path, None)
    assert found.baseline[0] == pytest.approx(0.1, abs=0.02)
    assert found.onion[1] < 0 < found.onion[2] and abs(found.onion[0]) < 0.02
    assert found.gain[1] > 0.05


def test_banks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    made = recipe(ROOM)
    bank = ma.fill(tmp_path / "all", made, 6, device="cpu")
    again = ma.fill(tmp_path / "rest", made, 6, device="cpu", design=ma.Subsets(removed=["e0"]))
    with pytest.raises(BankError, match="2 complete pairs among the first 4 models"):
        ma.most_exposed(bank, made, shadows=4)
    with pytest.raises(BankError, match="0 complete pairs from model 6 on"):
        ma.privacy_onion(bank, again, made, chosen_by=6)
    with pytest.raises(BankError, match="halves of all units but some"):
        ma.privacy_onion(bank, bank, made, chosen_by=0)
    with pytest.raises(BankError, match="not trained on halves of all units;"):
        ma.most_exposed(again, made, shadows=6)
    with pytest.raises(SettingsError, match="no attack 'lira'"):
        ma.most_exposed(bank, made, shadows=6, attack="lira")
    with pytest.raises(SettingsError, match="that leaves some"):
        ma.most_exposed(bank, made, 1.0, shadows=6)


def test_exposure_is_the_mean_percentile_by_hand() -> None:
    inside, outside = RNG.integers(0, 9, (2, 3, 20)) / 1.0
    every = outside.ravel()
    slow = [
        np.mean(
            [
                (every < a).mean() + (every == a).mean() / 2 - (every < b).mean() - (every == b).mean() / 2
                for a, b in zip(x, z, strict=True)
            ]
        )
        for x, z in zip(inside.T, outside.T, strict=True)
    ]
    assert np.allclose(exposure(inside, outside), slow)
    assert exposure(np.full((3, 5), 9.0), np.zeros((3, 5))) == pytest.approx(0.5)


def test_rates_are_those_by_hand() -> None:
    inside, outside = RNG.normal(1, 1, (5, 300)), RNG.normal(0, 1, (5, 300))
    stay = np.sort(RNG.permutation(300)[:200])
    again = RNG.normal(0.5, 1, (5, 200)), RNG.normal(0, 1, (5, 200))
    found = privacy_onion((inside, outside), again, stay, 0.05)
    for rate, (one, other) in (
        (found.baseline, (inside, outside)), (found.ideal, (inside[:, stay], outside[:, stay])), (found.actual, again)
    ):  # fmt: skip
        assert rate[0] == pytest.approx((one > threshold(other.ravel(), 0.05)).mean())
    assert found.gain[0] == pytest.approx(found.baseline[0] - found.actual[0])
    assert found.onion[0] == pytest.approx(found.actual[0] - found.ideal[0])
    with pytest.raises(ValueError, match="5 pairs of models before and 4 after"):
        privacy_onion((inside, outside), (again[0][:4], again[1][:4]), stay, 0.05)


def test_two_banks_of_one_kind_show_no_onion_in_95_percent_or_more() -> None:
    """Pairs differ in their members' mean, so that they, not examples, are the units.

    Over 600 draws, the false-alarm probability is below 1e-3 at a coverage of 95 %. The factor of
    `rate_by_pair` widens the intervals by 20 % for 6 pairs, Welch's degrees of freedom a little more; less than twice.
    """
    rng, values, widths, covered = np.random.default_rng(1), [], [], 0
    for _ in range(600):
        shifts = rng.normal(1, 0.2, (2, 6, 1))
        sides = [(shift + rng.normal(size=(6, 200)), rng.normal(size=(6, 200))) for shift in shifts]
        value, low, high = privacy_onion(sides[0], sides[1], np.arange(200), 0.05).onion
        covered += low <= 0 <= high
        values.append(value)
        widths.append(high - low)
    assert covered / 600 > 0.92
    assert np.mean(widths) < 2 * (2 * 1.96 * np.std(values))


# Localisation


def noisy_models(rng: Any, models: int, examples: int) -> Any:
    first = rng.integers(0, 2, (models // 2, examples), dtype=np.uint8)
    members = np.stack([first, 1 - first], axis=1).reshape(models, examples)
    redrawn = rng.random((models, examples)) < 0.2
    return members, redrawn


def test_effects_are_those_by_hand() -> None:
    members, redrawn = noisy_models(RNG, 6, 200)
    fitted, correct = (tuple(RNG.random((2, 6, 200)) < 0.5) for _ in range(2))
    found = effect(fitted, correct, redrawn, members, True)
    known: list[list[float]] = [[], []]
    clean: list[list[float]] = [[], []]
    unseen: list[list[float]] = [[], []]
    for now in (0, 1):
        for m in range(6):
            had, lacked = members[m] > 0, members[m] == 0
            known[now].append(fitted[now][m][redrawn[m] & had].mean() - fitted[now][m][redrawn[m] & lacked].mean())
            clean[now].append(correct[now][m][had & ~redrawn[m]].mean())
            unseen[now].append(correct[now][m][lacked].mean())
    for name, values in (("memorized", known), ("clean", clean), ("unseen", unseen)):
        of, (one, other) = getattr(found, name), np.array(values).reshape(2, 3, 2).mean(axis=2)
        assert (of.before, of.after) == (pytest.approx(one.mean()), pytest.approx(other.mean()))
        change = other - one
        half = 4.302652729911275 * change.std(ddof=1) / np.sqrt(3)  # Student's t, two degrees of freedom
        assert of.change == pytest.approx((change.mean(), change.mean() - half, change.mean() + half))


def test_an_intervention_that_does_nothing_has_the_nominal_coverage() -> None:
    """Models differ at random before and after; 95 % coverage over 1,000 draws, false-alarm probability below 1e-4."""
    rng, covered = np.random.default_rng(3), np.zeros(3)
    for _ in range(1000):
        members, redrawn = noisy_models(rng, 8, 120)
        right = [rng.random((8, 120)) < 0.6 for _ in range(4)]
        found = effect((right[0], right[1]), (right[2], right[3]), redrawn, members, True)
        covered += [of.change[1] <= 0 <= of.change[2] for of in (found.memorized, found.clean, found.unseen)]
    assert (covered / 1000 > 0.92).all() and (covered / 1000 < 0.98).all()


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Bank]:
    rng = np.random.default_rng(2)
    y = np.arange(240) % 3
    x = (rng.normal(size=(240, 12)) + 3 * np.eye(12)[y]).astype(np.float32)

    def network() -> nn.Module:
        return nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 3))

    made = ma.ClassifierRecipe(
        lambda: ma.Examples(x, y), network, epochs=60, batch_size=40, optimizer=ma.SGD(lr=0.2, momentum=0.9)
    )
    folder = tmp_path_factory.mktemp("noisy") / "bank"
    return made, ma.fill(folder, made, 6, device="cpu", design=ma.Subsets(label_noise=0.2))


def test_the_identity_leaves_everything_and_new_layers_leave_nothing(noisy: tuple[Any, Bank], tmp_path: Path) -> None:
    made, bank = noisy
    layers = {"nothing": "2", "first": "0"}
    children = {
        name: ma.derive(
            tmp_path / name, bank, made, by.ResetLayer(made, layer, epoch=60 if name == "nothing" else 0), device="cpu"
        )
        for name, layer in layers.items()
    }
    found = ma.localisation(bank, children, made)
    same, first = found.effects["nothing"], found.effects["first"]
    for of in (same.memorized, same.clean, same.unseen):
        assert of.before == of.after and of.change == (0, 0, 0)
    assert same.memorized.before > 0.5 and same.clean.before > 0.95
    assert first.memorized.change[2] < -0.3
    assert "nothing" in repr(found) and "Memorized labels" in repr(found)


def test_banks_without_redrawn_labels_or_another_s_children_are_refused(
    noisy: tuple[Any, Bank], tmp_path: Path
) -> None:
    made, bank = noisy
    plain = ma.fill(tmp_path / "plain", made, 6, device="cpu")
    children = ma.derive(tmp_path / "c", plain, made, by.Prune(0.5), device="cpu")
    with pytest.raises(BankError, match="are not redrawn"):
        ma.localisation(plain, {"pruned": children}, made)
    with pytest.raises(BankError, match="another bank"):
        ma.localisation(bank, {"pruned": children}, made)
    with pytest.raises(SettingsError, match="at least one"):
        ma.localisation(bank, {}, made)
