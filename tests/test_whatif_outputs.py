"""Showing less of the outputs: the signal by hand, the same models, and the same predictions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import memaudit as ma
from memaudit.errors import RecipeError, SettingsError
from memaudit.training import fill
from memaudit.whatif.base import Base
from memaudit.whatif.measuring import Field, difference
from memaudit.whatif.remedies import Flattened, LabelsOnly, Pruned, TopClasses
from memaudit.whatif.seen import Seen

Array = np.ndarray
COUNT, CLASSES, MODELS = 120, 4, 8


def points() -> ma.Examples:
    """Random labels: a network that fits them memorizes."""
    rng = np.random.default_rng(0)
    return ma.Examples(rng.normal(size=(COUNT, 12)).astype(np.float32), rng.integers(0, CLASSES, COUNT))


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, CLASSES))


RECIPE = ma.ClassifierRecipe(points, network, epochs=15, batch_size=16, optimizer=ma.SGD(0.1, 0.9))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    bank = fill(tmp_path_factory.mktemp("base"), RECIPE, MODELS, device="cpu")
    return Base(
        recipe=RECIPE, examples=points(), bank=bank, shadows=MODELS, seed=0, training={"workers": 1, "device": "cpu"}
    )


def logs(*p: float) -> Array:
    return np.log(np.array(p))


def logit(p: float) -> float:
    return float(np.log(p) - np.log1p(-p))


# --- signals by hand --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 3.0, 20.0])
def test_an_adversary_undoes_the_temperature(temperature: float) -> None:
    columns = logs(0.7, 0.2, 0.07, 0.03)
    assert Flattened(temperature=temperature).signal(columns) == pytest.approx(logit(0.7), abs=1e-4)


def test_rounding_by_hand() -> None:
    """0.994, 0.004, 0.002 are shown as 0.99, 0, 0; each 0 is taken for 0.0025."""
    assert Flattened(decimals=2).signal(logs(0.994, 0.004, 0.002)) == pytest.approx(np.log(0.99 / 0.005))
    close = [float(Flattened(decimals=2).signal(logs(p, 1 - p))) for p in (0.9961, 0.9999)]
    assert close[0] == close[1]


def test_the_likeliest_classes_by_hand() -> None:
    assert TopClasses(2).signal(logs(0.3, 0.5, 0.15, 0.05)) == pytest.approx(logit(0.3))
    assert TopClasses(1).signal(logs(0.3, 0.5, 0.15, 0.05)) == pytest.approx(logit(0.5 / 3))


def test_labels_alone_by_hand() -> None:
    assert LabelsOnly("moved").signal(np.array([1.0, 1, 1, 0, 1, 1])) == pytest.approx(np.log(5.5 / 1.5))


# --- the remedies -----------------------------------------------------------------------------------------------------


def test_temperature_changes_nothing_and_predictions_stay(base: Base, tmp_path: Path) -> None:
    made = {
        "exact": Flattened(temperature=1 + 1e-9).make(base, tmp_path / "exact"),
        "flat": Flattened(temperature=4).make(base, tmp_path / "flat"),
    }
    field = Field(made, base.examples, MODELS, "lira-online", 0.1)
    one, other = field.both("exact", "flat")
    assert np.array_equal(one.utility, other.utility)
    assert abs(difference(one.leak, other.leak, 0.0).value) < 0.01
    assert not any(tmp_path.iterdir())


def test_less_is_shown_less_leaks_and_labels_leak_still(base: Base, tmp_path: Path) -> None:
    """Random labels that are learned by heart: the label alone tells members."""
    made = {
        "all": Flattened(temperature=2).make(base, tmp_path / "all"),
        "labels": LabelsOnly().make(base, tmp_path / "labels"),
        "rounded": Flattened(decimals=1).make(base, tmp_path / "rounded"),
    }
    field = Field(made, base.examples, MODELS, "lira-online", 0.1)
    rates = {name: float(field.alone(name).leak.mean()) for name in made}
    assert rates["labels"] > 0.3 and rates["rounded"] > 0.3
    assert rates["labels"] < rates["all"]
    assert [field.units(name) for name in made] == [COUNT] * 3


def test_signals_are_those_of_the_models_of_a_pair(base: Base) -> None:
    """Inside is the model that has the example, of any interface."""
    recordings = base.bank.recordings(range(MODELS))
    seen = Seen(recordings, recordings.stacked("phi")[:, :, 0])
    for part in (seen, seen.take(np.array([1, 3]))):
        expected = recordings if part is seen else recordings.take(np.array([1, 3]))
        for one, other in zip(part.block(slice(5, 50)), expected.block(slice(5, 50)), strict=True):
            assert np.array_equal(one, other)
        assert part.shape == expected.shape


def test_a_comparison_has_them_beside_others(base: Base, tmp_path: Path) -> None:
    variants = [ma.Variant("labels", LabelsOnly()), ma.Variant("top", TopClasses()), ma.Variant("pruned", Pruned(0.5))]
    found = ma.compare_variants(RECIPE, variants, tmp_path, bank=base.bank.path, shadows=MODELS, fpr=0.1, device="cpu")
    labels, top = found.rows[1:3]
    for row in (labels, top):
        assert row.utility_change is not None and row.leak_change is not None
        assert row.utility_change.value == 0 and row.seconds_ratio == 1
    assert not (tmp_path / "labels").exists()


@pytest.mark.parametrize(
    ("remedy", "words"),
    [
        (TopClasses(CLASSES), "and not all"),
        (TopClasses(0), "at least 1"),
        (Flattened(), "changes nothing"),
        (Flattened(temperature=-1), "above 0"),
        (Flattened(decimals=0), "at least 1"),
        (LabelsOnly("all"), "choose"),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused(base: Base, tmp_path: Path, remedy: Any, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        remedy.make(base, tmp_path)


def test_images_are_needed_to_move_them(base: Base, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no images"):
        LabelsOnly("moved").make(base, tmp_path)
