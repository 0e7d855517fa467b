"""Unlearning: what is drawn to be forgotten, how it is forgotten, and the audit of it, by slow oracles and nulls."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import memaudit as ma
from memaudit.auditing.unlearned import nearest_retained
from memaudit.bank import Bank
from memaudit.errors import BankError, RecipeError, SettingsError
from memaudit.memorization import forgetting_quality, unlearned_tpr, unlearning
from memaudit.memorization.forgetting_quality import kolmogorov_smirnov
from memaudit.stats import rate_by_pair
from memaudit.stats.roc import threshold
from memaudit.whatif.base import Base
from memaudit.whatif.configured import variant
from memaudit.whatif.remedies import ReluPruned, Unlearned

Array = np.ndarray

SHADOWS = 6


def examples() -> ma.Examples:
    rng = np.random.default_rng(0)
    return ma.Examples(rng.normal(size=(160, 12)).astype(np.float32), rng.integers(0, 10, 160))


def network() -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 10))


RECIPE = ma.ClassifierRecipe(examples, network, epochs=40, batch_size=20, optimizer=ma.SGD(lr=0.1, momentum=0.9))


def retrained(model: Any, dataset: Any, *, seed: int, device: str) -> Any:
    from memaudit.training.classifier import train_classifier
    from memaudit.training.model import on_device

    return train_classifier(RECIPE, *on_device(dataset, device), np.ones(len(dataset), np.uint8), seed + 1)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return ma.fill(tmp_path_factory.mktemp("unlearned") / "bank", RECIPE, SHADOWS, device="cpu")


def base(bank: Bank) -> Base:
    own = {"device": "cpu"}
    return Base(recipe=RECIPE, examples=examples(), bank=bank, shadows=SHADOWS, seed=0, training=own)


def pairs(rng: np.random.Generator, count: int, columns: int) -> Any:
    first = rng.integers(0, 2, (count, columns), dtype=np.uint8)
    return np.stack([first, 1 - first], axis=1).reshape(2 * count, columns)


# ---- what is forgotten


def test_so_many_members_are_drawn_and_the_rest_is_retained() -> None:
    whole, members = examples(), np.random.default_rng(1).integers(0, 2, 160, dtype=np.uint8)
    draws = []
    for seed in range(20):
        gone, kept = (ma.Forgotten(7, rest=rest)(whole, members, seed) for rest in (False, True))
        assert gone.sum() == 7
        assert np.array_equal(gone + kept, members)
        draws.append(gone)
    assert np.array_equal(draws[3], ma.Forgotten(7)(whole, members, 3))
    assert len({draw.tobytes() for draw in draws}) == 20
    often = np.mean(draws, axis=0)[members > 0]
    assert np.isclose(often.mean(), 7 / members.sum())


def test_those_that_may_be_drawn_are_named_by_their_ids() -> None:
    whole, members = examples(), np.ones(160, np.uint8)
    some = [str(name) for name in whole.ids[:9]]
    assert set(np.flatnonzero(ma.Forgotten(5, among=tuple(some))(whole, members, 0))) <= set(range(9))
    with pytest.raises(RecipeError, match="9 members that it can forget"):
        ma.Forgotten(10, among=tuple(some))(whole, members, 0)
    with pytest.raises(RecipeError, match="there is no example 'nobody'"):
        ma.Forgotten(1, among=("nobody",))(whole, members, 0)
    with pytest.raises(RecipeError, match="159 members that it can forget"):
        ma.Forgotten(160)(whole, members, 0)
    with pytest.raises(SettingsError, match="at least one"):
        ma.Forgotten(0)


def test_a_unit_is_forgotten_as_a_whole() -> None:
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    grouped = ma.Examples(x, np.arange(30) % 3, groups=np.arange(30) // 3)
    gone = ma.Forgotten(2)(grouped, np.repeat(np.arange(10) % 2, 3).astype(np.uint8), 5)
    assert gone.sum() == 6
    assert (gone.reshape(10, 3).std(axis=1) == 0).all()


def test_of_texts_documents_are_forgotten_and_canaries_retained() -> None:
    from memaudit.recipe.population import TextPopulation

    texts = object.__new__(TextPopulation)
    texts.documents = ma.Documents([f"text {number}" for number in range(12)])
    texts.rows = ((),) * 12
    members = np.ones(15, np.uint8)  # twelve documents and three canaries
    gone, kept = (ma.Forgotten(4, rest=rest)(texts, members, 2) for rest in (False, True))
    assert gone.sum() == 4
    assert not gone[12:].any()
    assert np.array_equal(gone + kept, members)


# ---- how it is forgotten


def test_the_last_layer_is_trained_anew_and_the_others_stay() -> None:
    import torch

    torch.manual_seed(0)
    models = [network() for _ in range(3)]
    models[1].load_state_dict(models[0].state_dict() | {"2.weight": models[2].state_dict()["2.weight"]})
    first = models[0].state_dict()["0.weight"].clone()
    step = ma.derivations.RetrainLayers(RECIPE, 3)
    one, other = (step(model, examples(), seed=4, device="cpu") for model in models[:2])
    assert torch.equal(one.state_dict()["0.weight"], first)
    assert torch.equal(one.state_dict()["2.weight"], other.state_dict()["2.weight"]), "the old one plays no part"
    assert all(parameter.requires_grad for parameter in one.parameters())
    kept = ma.derivations.RetrainLayers(RECIPE, 3, reset=False)(models[2], examples(), seed=4, device="cpu")
    assert not torch.equal(kept.state_dict()["2.weight"], one.state_dict()["2.weight"])
    with pytest.raises(RecipeError, match="no layer 'head' with weights"):
        ma.derivations.RetrainLayers(RECIPE, 1, ("head",))(models[0], examples(), seed=4, device="cpu")
    with pytest.raises(SettingsError, match="at least one"):
        ma.derivations.RetrainLayers(RECIPE, 0)


def test_the_units_that_are_most_often_zero_are_removed() -> None:
    import torch

    torch.manual_seed(1)
    model, whole = network(), examples()
    with torch.no_grad():
        before = model[1](model[0](torch.from_numpy(whole.x)))
    least = (before > 0).sum(dim=0).argsort(stable=True)[:19]  # 0.3 of 64, rounded down
    child = ma.derivations.PruneUnits(0.3)(model, whole, seed=0, device="cpu")
    with torch.no_grad():
        after = child[1](child[0](torch.from_numpy(whole.x)))
    expected = before.clone()
    expected[:, least] = 0
    assert torch.equal(after, expected)


def test_channels_behind_a_normalization_are_removed_and_sums_are_left_alone() -> None:
    import torch
    from torch import nn

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.norm, self.first = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()
            self.other, self.second, self.last = nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            x = self.first(self.norm(self.convolution(x)))
            return self.last(self.second(self.other(x) + x).mean(dim=(2, 3)))

    torch.manual_seed(0)
    model = Sum().eval()
    x = np.random.default_rng(0).normal(size=(40, 1, 5, 5)).astype(np.float32)
    other = model.other.weight.clone()
    child = ma.derivations.PruneUnits(0.5)(model, ma.Examples(x, np.arange(40) % 3), seed=0, device="cpu")
    assert int((child.norm.weight == 0).sum()) == 3
    assert torch.equal(child.other.weight, other)
    with torch.no_grad():
        channels = child.first(child.norm(child.convolution(torch.from_numpy(x))))
    assert int((channels.amax(dim=(0, 2, 3)) == 0).sum()) == 3


def test_a_network_without_relu_modules_and_a_derivation_without_data_are_refused() -> None:
    from torch import nn

    plain = nn.Sequential(nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 10))
    with pytest.raises(RecipeError, match="no ReLU module"):
        ma.derivations.PruneUnits(0.5)(plain, examples(), seed=0, device="cpu")
    with pytest.raises(RecipeError, match="looks at activations"):
        ma.derivations.PruneUnits(0.5)(network(), None, seed=0, device="cpu")
    with pytest.raises(SettingsError, match="between 0 and 1"):
        ma.derivations.PruneUnits(1)


# ---- how well it is forgotten


def simulated(
    rng: np.random.Generator, count: int = 6, columns: int = 120, left: float = 0.0, whole: float = 0.0
) -> Any:
    """Return (parents, children, members, forgotten): members have 1.5 more; children keep a share `left` of it.

    Models differ as a whole by a normal number with standard deviation `whole`.
    """
    members = pairs(rng, count, columns)
    hard = 2 * rng.normal(size=columns)
    forgotten = (members > 0) & (rng.random(members.shape) < 0.3)
    made = []
    for share in (np.ones_like(members, float), np.where(forgotten, left, 1.0)):
        level = whole * rng.normal(size=(2 * count, 1))
        made.append(hard + level + rng.normal(size=members.shape) + 1.5 * members * share)
    return *made, members, forgotten


def test_the_two_sample_test_is_exact() -> None:
    """Against every way in which two samples can be ordered."""
    from itertools import combinations
    from math import comb

    n = 5
    distances = []
    for own in combinations(range(2 * n), n):
        one = np.array(own, float)
        distances.append(kolmogorov_smirnov(one, np.setdiff1d(np.arange(2.0 * n), one)))
    assert len(distances) == comb(2 * n, n)
    values = np.array(distances)
    for distance, p_value in set(distances):
        assert np.isclose(p_value, np.mean(values[:, 0] >= distance - 1e-9))
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 30))
    expected = stats.ks_2samp(one, other, method="exact")
    assert np.allclose(kolmogorov_smirnov(one, other), (expected.statistic, expected.pvalue))
    assert kolmogorov_smirnov(one, one) == (0, 1)


def test_the_distance_is_that_of_a_slow_twin() -> None:
    never, after, members, forgotten = simulated(np.random.default_rng(0), 4, 60, 0.5)
    found = forgetting_quality(never, after, members, forgotten)
    distances, excess, p_values, false = [], [], [], []
    for m in range(8):
        who = [int(i) for i in np.flatnonzero(forgotten[m])]

        def level(i: int, *without: int) -> float:
            return float(np.mean([never[d, i] for d in range(8) if not members[d, i] and d // 2 not in without]))

        one = [after[m, i] - level(i, m // 2) for i in who]
        two = [never[m ^ 1, i] - level(i, m // 2) for i in who]
        test = kolmogorov_smirnov(np.array(one), np.array(two))
        distances.append(test[0])
        p_values.append(test[1])
        own = []
        for d in range(8):
            lacked = [i for i in who if not members[d, i]]
            if d // 2 != m // 2 and len(lacked) > 1:
                values = [
                    np.array([s[i] - level(i, m // 2, d // 2) for i in lacked])
                    for s in (after[m], never[d], never[m ^ 1])
                ]
                null = kolmogorov_smirnov(values[1], values[2])
                own.append(kolmogorov_smirnov(values[0], values[2])[0] - null[0])
                false.append(null[1] < 0.05)
        excess.append(np.mean(own))
    assert np.isclose(found.distance[0], np.mean(distances))
    assert np.isclose(found.excess[0], np.mean(excess))
    assert np.isclose(found.p_values.min(), min(1, 8 * min(p_values)))
    assert found.false_alarms == np.mean(false)


@pytest.mark.slow
def test_models_that_never_had_the_examples_are_not_told_from_others() -> None:
    rng, held, told, false = np.random.default_rng(3), 0, 0, []
    for _ in range(150):
        found = forgetting_quality(*simulated(rng))
        held += found.excess[1] <= 0 <= found.excess[2]
        told += found.told > 0
        false.append(found.false_alarms)
    assert 0.9 <= held / 150 <= 0.99
    assert told / 150 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 150)
    assert np.mean(false) <= 0.05


def test_what_is_left_is_told_and_models_that_differ_as_a_whole_show_in_the_false_alarms() -> None:
    rng = np.random.default_rng(4)
    left = forgetting_quality(*simulated(rng, columns=300, left=1.0))
    assert left.excess[1] > 0.2
    assert left.told == 12
    moved = forgetting_quality(*simulated(rng, whole=3.0))
    assert moved.excess[1] < 0 < moved.excess[2]
    assert moved.false_alarms > 0.2


def test_an_example_alone_cannot_be_compared() -> None:
    never, after, members, forgotten = simulated(np.random.default_rng(0))
    forgotten &= np.cumsum(forgotten, axis=1) <= 1
    with pytest.raises(ValueError, match="forgets too few examples"):
        forgetting_quality(never, after, members, forgotten)


def test_a_rate_is_about_those_that_count() -> None:
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(1, size=(5, 40)), rng.normal(size=(5, 40))
    counted = np.zeros((5, 40), bool)
    counted[:, 3:17] = True
    rates, influence = rate_by_pair(inside, outside, 0.05, counted)
    cut = threshold(outside.ravel(), 0.05)
    assert np.allclose(rates, (inside[:, 3:17] > cut).mean(axis=1))
    assert np.isclose(influence.mean(), rates.mean())
    assert all(
        map(np.array_equal, rate_by_pair(inside, outside, 0.05), rate_by_pair(inside, outside, 0.05, counted | True))
    )


def test_forgotten_members_are_found_at_the_false_positive_rate() -> None:
    never, after, members, forgotten = simulated(np.random.default_rng(1), 10, 1500)
    found = unlearned_tpr(never, after, members, forgotten, 0.05)
    assert found.after[1] <= 0.05 <= found.after[2]
    assert found.before[1] > 0.2
    assert found.change[2] < -0.1


def test_the_neighbours_are_the_nearest_retained_members() -> None:
    rng = np.random.default_rng(0)
    x, members = rng.normal(size=(40, 3)), pairs(rng, 1, 40)
    forgotten = (members > 0) & (rng.random((2, 40)) < 0.2)
    near = nearest_retained(x, members, forgotten, 2)
    for m in range(2):
        retained = [i for i in range(40) if members[m, i] and not forgotten[m, i]]
        expected = set()
        for i in np.flatnonzero(forgotten[m]):
            expected |= set(sorted(retained, key=lambda j: float(((x[i] - x[j]) ** 2).sum()))[:2])
        assert set(np.flatnonzero(near[m])) == expected


# ---- the audit


def test_retraining_forgets_and_further_training_does_not(parent: Bank, tmp_path: Path) -> None:
    again = ma.Derivation(retrained, ma.Forgotten(20, rest=True))
    children = ma.derive(tmp_path / "retrained", parent, RECIPE, again, device="cpu")
    found = ma.audit_unlearning(parent, children, RECIPE)
    assert found.forgotten == 20
    assert found.models == SHADOWS
    assert found.area == ma.unlearning(parent, children)
    assert found.quality_before.excess[1] > 0.3
    assert found.area.before[1] > 0.8
    assert found.quality.told == 0
    assert found.quality.excess[1] <= 0
    assert "not shown to differ" in repr(found)
    assert "Nor are the models before" not in repr(found)
    assert "<table" in found._repr_html_()
    further = Unlearned("continued", 20, 1, 0.01).derivation(base(parent))
    kept = ma.audit_unlearning(parent, ma.derive(tmp_path / "kept", parent, RECIPE, further, device="cpu"), RECIPE)
    assert "The unlearned models differ" in kept.sentence
    assert kept.quality.told == SHADOWS
    assert kept.area.after[1] > 0.8


def test_ascent_is_audited_when_it_is_named(parent: Bank, tmp_path: Path) -> None:
    up = Unlearned("ascent", 10, 3, 0.05).derivation(base(parent))
    children = ma.derive(tmp_path / "up", parent, RECIPE, up, device="cpu")
    with pytest.raises(BankError, match="give ascent=True"):
        ma.audit_unlearning(parent, children, RECIPE)
    found = ma.audit_unlearning(parent, children, RECIPE, ascent=True, neighbours=1)
    assert found.forgotten == 10
    assert found.area.change[0] < 0
    with pytest.raises(SettingsError, match="one neighbour or more"):
        ma.audit_unlearning(parent, children, RECIPE, neighbours=0)


def test_parents_compared_with_themselves_have_changed_nothing() -> None:
    never, _, members, forgotten = simulated(np.random.default_rng(2))
    assert unlearning(never, never, members, forgotten).change == (0, 0, 0)
    assert unlearned_tpr(never, never, members, forgotten, 0.05).change == (0, 0, 0)


# ---- the remedies


def test_the_remedies_make_banks_that_resume(parent: Bank, tmp_path: Path) -> None:
    for remedy in (Unlearned("last-layer", 5, 2), ReluPruned(0.5)):
        made = remedy.make(base(parent), tmp_path / type(remedy).__name__)
        assert made.on_top
        assert len(made.bank.models()) == SHADOWS
        again = remedy.make(base(parent), tmp_path / type(remedy).__name__)
        assert np.array_equal(again.bank.tensors(0)["phi"], made.bank.tensors(0)["phi"])


def test_the_remedies_are_named_in_settings(tmp_path: Path) -> None:
    found = variant("u", {"remedy": "unlearning", "by": "ascent", "rate": 0.01}, tmp_path).remedy
    assert found == Unlearned("ascent", rate=0.01)
    assert variant("r", {"remedy": "relu-pruning", "share": 0.2}, tmp_path).remedy == ReluPruned(0.2)
    with pytest.raises(SettingsError, match="unlearn by one of"):
        Unlearned("prayer")  # type: ignore[arg-type]


def unnamed(weights: Any) -> Any:
    import torch

    return torch.optim.SGD(weights, lr=0.1)


def test_a_rate_needs_an_optimizer_that_has_one(parent: Bank) -> None:
    own = dataclasses.replace(base(parent), recipe=dataclasses.replace(RECIPE, optimizer=unnamed))
    with pytest.raises(RecipeError, match="rate is set in an optimizer"):
        Unlearned(rate=0.1).derivation(own)
