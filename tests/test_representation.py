"""Features of named layers, and what is measured on them: probes, benign memorization, dilation, depth, gradients."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

import memaudit as ma
from memaudit.errors import EvidenceError, ModelError
from memaudit.memorization import (
    Memorizes,
    benign_memorization,
    dilation,
    nearest_labels,
    prediction_depth,
    standardized_by_class,
)
from memaudit.signals.gradient_spread import gradient_spread
from memaudit.signals.representation import layers

RNG = np.random.default_rng(3)
N, CLASSES = 90, 3


def points(count: int = N, seed: int = 0, apart: float = 2) -> ma.Examples:
    rng = np.random.default_rng(seed)
    y = np.arange(count) % CLASSES
    return ma.Examples((rng.normal(size=(count, 6)) + apart * np.eye(6)[y]).astype(np.float32), y)


def mlp(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, CLASSES))


class Twice(nn.Module):
    """Runs one ReLU twice, in another order than that of its modules."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.first, self.relu, self.unused = nn.Linear(8, 3), nn.Linear(6, 8), nn.ReLU(), nn.Linear(1, 1)
        self.pair = Pair()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.last(self.pair(self.relu(self.first(x)))[0]))


class Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, str]:
        return 2 * x, "other"


def fit(network: nn.Module, x: Any, y: Any, steps: int = 400, lr: float = 0.05) -> nn.Module:
    optimizer = torch.optim.Adam(network.parameters(), lr)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(np.asarray(y))
    for _ in range(steps):
        optimizer.zero_grad()
        loss: Any = nn.functional.cross_entropy(network(inputs), labels)
        loss.backward()
        optimizer.step()
    return network


# Features


def test_features_are_those_of_a_forward_pass_by_hand() -> None:
    examples, network = points(300), mlp().train()
    state = torch.get_rng_state()
    with torch.no_grad():
        hidden = network[1](network[0](torch.from_numpy(examples.x)))
    for layer, expected in (("1", hidden), ("2", hidden), ("3", network[3](hidden))):
        assert np.allclose(ma.features(network, examples, layer), expected.detach(), atol=1e-6)
    assert network.training and torch.equal(state, torch.get_rng_state())
    assert not any(module._forward_hooks for module in network.modules())


def test_runs_of_a_shared_layer_are_named_one_by_one() -> None:
    examples, network = points(), Twice()
    assert layers(network, examples) == ["first", "relu#1", "pair", "last", "relu#2"]
    with torch.no_grad():
        hidden = network.first(torch.from_numpy(examples.x)).relu()
        said = network.last(2 * hidden).relu()
    assert np.allclose(ma.features(network, examples, "relu#1"), hidden, atol=1e-6)
    assert np.allclose(ma.features(network, examples, "relu#2"), said, atol=1e-6)
    assert np.allclose(ma.features(network, examples, "pair"), 2 * hidden, atol=1e-6)
    with pytest.raises(ModelError, match="runs 2 times; name one run: relu#1, relu#2"):
        ma.features(network, examples, "relu")
    with pytest.raises(ModelError, match="does not run"):
        ma.features(network, examples, "unused")


def test_an_inplace_layer_does_not_change_what_the_one_before_it_returned() -> None:
    examples, network = points(), mlp()
    before = ma.features(network, examples, "0")
    network[1] = nn.ReLU(inplace=True)
    assert np.array_equal(ma.features(network, examples, "0"), before) and (before < 0).any()


def test_an_absent_layer_is_refused_with_the_list_of_those_that_there_are() -> None:
    with pytest.raises(ModelError, match=r"no layer 'head'.*Layers: 0, 1, 2, 3"):
        ma.features(mlp(), points(), "head")


def test_a_layer_without_a_row_for_each_example_is_refused() -> None:
    class Turned(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.T

    network = nn.Sequential(nn.Linear(6, 3), Turned(), Turned())
    with pytest.raises(ModelError, match="the layer '1' returns shape"):
        ma.features(network, points(), "1")
    with pytest.raises(ModelError, match="torch networks"):
        ma.features(KNeighborsClassifier(), points(), "1")


def test_a_layer_that_is_random_or_mixes_examples_is_refused() -> None:
    class Noise(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.randn_like(x)

    with pytest.raises(ModelError, match="random"):
        ma.features(nn.Sequential(nn.Linear(6, 3), Noise()), points(), "1")
    mixing = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3, track_running_stats=False))
    with pytest.raises(ModelError, match="depend on the others"):
        ma.features(mixing, points(), "1")


# The probe


@pytest.mark.parametrize("neighbours", [1, 5, 30])
def test_the_probe_is_that_of_scikit_learn(neighbours: int) -> None:
    support, queries = RNG.normal(size=(200, 5)) + 1e3, RNG.normal(size=(80, 5)) + 1e3
    labels = RNG.integers(0, 4, 200)
    slow = KNeighborsClassifier(neighbours, algorithm="brute").fit(support, labels)
    assert np.array_equal(nearest_labels(support, labels, queries, neighbours), slow.predict(queries))


def test_no_example_votes_on_its_own_unit() -> None:
    support, labels = RNG.normal(size=(60, 4)), RNG.integers(0, 3, 60)
    units = np.arange(60) // 2
    found = nearest_labels(support, labels, support, 3, (units, units))
    for row in range(60):
        rest = units != units[row]
        slow = KNeighborsClassifier(3, algorithm="brute").fit(support[rest], labels[rest])
        assert found[row] == slow.predict(support[row : row + 1])[0]


def test_the_probe_does_not_depend_on_the_order_of_equal_points() -> None:
    support = np.repeat(RNG.normal(size=(3, 4)), 40, axis=0)
    labels, queries = RNG.integers(0, 3, 120), support[::40] + 0.01
    expected = nearest_labels(support, labels, queries, 7)
    slow = [np.bincount(labels[group : group + 40], minlength=3).argmax() for group in (0, 40, 80)]
    assert np.array_equal(expected, slow)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(120)
        assert np.array_equal(nearest_labels(support[order], labels[order], queries, 7), expected)
    turned = np.linalg.qr(RNG.normal(size=(4, 4)))[0]
    assert np.array_equal(nearest_labels(3 * support @ turned + 5, labels, 3 * queries @ turned + 5, 7), expected)


def test_a_probe_that_cannot_be_made_is_refused() -> None:
    x, y = RNG.normal(size=(10, 2)), np.arange(10) % 2
    for given, told in (((x, y, x, 11), "11 neighbours"), ((x, y, np.full((1, 2), np.nan), 3), "NaN")):
        with pytest.raises(ValueError, match=told):
            nearest_labels(*given)
    with pytest.raises(ValueError, match="there are fewer"):
        nearest_labels(x, y, x, 6, (np.arange(10) // 5, np.arange(10) // 5))


# Prediction depth


def test_depth_is_that_of_the_definition() -> None:
    probed, predicted = RNG.integers(0, 3, (4, 500)), RNG.integers(0, 3, 500)
    found = prediction_depth(probed, predicted)
    for example in range(500):
        slow = next(k for k in range(5) if (probed[k:, example] == predicted[example]).all())
        assert found[example] == slow
    assert set(found) == {0, 1, 2, 3, 4}


def test_depth_of_a_network_is_that_of_probes_by_hand() -> None:
    examples, members = points(), np.arange(N) % 3 != 0
    network = fit(mlp(), examples.x[members], examples.y[members]).eval()
    found = ma.prediction_depth(network, examples, members, ["0", "1", "3"], neighbours=5)
    with torch.no_grad():
        hidden = [torch.from_numpy(examples.x)]
        for layer in network.children():
            hidden.append(layer(hidden[-1]))
    predicted, slow = hidden[-1].argmax(dim=1).numpy(), np.zeros(N, int)
    for number, of in enumerate((hidden[1], hidden[2], hidden[4]), 1):
        for row in range(N):
            rest = members & (np.arange(N) != row)
            away = np.linalg.norm(of[rest].double() - of[row].double(), axis=1)
            votes = examples.y[rest][away <= np.sort(away)[4] + 1e-6]  # a ReLU makes equal points
            if np.bincount(votes).argmax() != predicted[row]:
                slow[row] = number
    assert np.array_equal(found, slow) and len(set(found)) > 1
    assert ma.prediction_depth(network, examples, members, neighbours=5).max() <= 4


def test_wrong_labels_that_are_fitted_are_decided_later_than_others() -> None:
    examples = points(300)
    y = examples.y.copy()
    wrong = np.random.default_rng(1).permutation(300) < 45
    y[wrong] = (y[wrong] + 1) % CLASSES
    noisy = ma.Examples(examples.x, y)
    network = fit(
        nn.Sequential(nn.Linear(6, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 3)), noisy.x, y
    )
    depth = ma.prediction_depth(network, noisy, np.ones(300, bool))
    assert depth[wrong].mean() > depth[~wrong].mean() + 1


def test_members_must_be_one_for_each_example() -> None:
    with pytest.raises(EvidenceError, match="one for each of 90"):
        ma.prediction_depth(mlp(), points(), np.ones(5, bool))
    with pytest.raises(EvidenceError, match="30 neighbours of 3"):
        ma.prediction_depth(mlp(), points(), np.arange(N) < 3)


# Benign memorization


def test_the_change_of_the_probe_has_its_nominal_coverage_and_is_undecided_by_chance() -> None:
    """Two probes of equal accuracy, with dependent errors: BENIGN or MALIGN in 5 % of cases.

    Over 2,000 draws, the false-alarm probability of the bounds is below 1e-6 if the coverage is 95 %.
    """
    rng, kinds = np.random.default_rng(0), []
    for _ in range(2000):
        shared, one, other = rng.random((3, 200))
        base = shared < 0.5
        kinds.append(
            benign_memorization(
                np.ones(9, bool), base & (one < 0.7) | ~base & (one < 0.3), base & (other < 0.7) | ~base & (other < 0.3)
            ).kind()
        )
    share = np.mean([kind is not Memorizes.UNDECIDED for kind in kinds])
    assert 0.026 < share < 0.074
    assert {Memorizes.BENIGN, Memorizes.MALIGN} <= set(kinds)


def test_kinds_follow_the_definition() -> None:
    yes, no = np.ones(100, bool), np.zeros(100, bool)
    assert benign_memorization(yes, yes, no).kind() is Memorizes.BENIGN
    assert benign_memorization(yes, no, yes).kind() is Memorizes.MALIGN
    assert benign_memorization(yes, yes, yes).kind() is Memorizes.UNDECIDED
    almost = np.arange(100) > 0
    assert benign_memorization(almost, yes, no).kind() is Memorizes.UNFITTED
    assert benign_memorization(almost, yes, no).kind(0.99) is Memorizes.BENIGN


def test_an_encoder_that_drops_noise_is_benign_and_one_that_drops_the_class_is_malign() -> None:
    """The truth is built in: the encoder keeps the coordinates of the class, or those without it."""
    rng = np.random.default_rng(5)
    y = rng.integers(0, 2, 400)
    x = np.concatenate([y[:, None] + 0.3 * rng.normal(size=(400, 1)), 3 * rng.normal(size=(400, 9))], axis=1)
    x = x.astype(np.float32)
    given = rng.integers(0, 2, 200)
    trained, test = ma.Examples(x[:200], given), ma.Examples(x[200:], y[200:])

    class Knows(nn.Module):  # fits the random labels: it knows every training input
        def __init__(self, keep: list[int]) -> None:
            super().__init__()
            self.encoder, self.keep = nn.Linear(10, 10, bias=False), keep
            with torch.no_grad():
                self.encoder.weight.zero_()
                self.encoder.weight[keep, keep] = 1

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.encoder(x)
            nearest = torch.cdist(x, torch.from_numpy(trained.x)).argmin(dim=1)
            return nn.functional.one_hot(torch.from_numpy(given)[nearest], 2).float()

    whole, of_class, of_noise = Knows(list(range(10))), Knows([0]), Knows(list(range(1, 10)))
    call = partial(ma.benign_memorization, layer="encoder", trained=trained, clean=y[:200], test=test)
    found = call(of_class, whole)
    assert found.kind() is Memorizes.BENIGN and found.fitted == 1 and found.after > 0.9 > found.before
    assert call(of_noise, of_class).kind() is Memorizes.MALIGN
    assert call(whole, whole).change[0] == 0
    assert call(whole, whole).kind() is Memorizes.UNDECIDED


def test_labels_and_test_examples_that_do_not_fit_are_refused() -> None:
    trained = points()
    with pytest.raises(EvidenceError, match="clean label of each of the 90"):
        ma.benign_memorization(mlp(), mlp(), "1", trained, trained.y[:5], points(60, 1))
    with pytest.raises(EvidenceError, match="are in the training set"):
        ma.memorization_dilation(mlp(), "1", trained, trained.y, trained)


# Dilation


def test_dilation_is_equation_5() -> None:
    corrupted, classes = RNG.normal(size=(20, 3)), RNG.integers(0, 2, 20)
    test, test_classes = RNG.normal(size=(30, 3)), np.arange(30) % 2
    found = dilation(corrupted, classes, test, test_classes)
    slow = sum(
        np.linalg.norm(h - test[test_classes == k].mean(axis=0)) for h, k in zip(corrupted, classes, strict=True)
    )
    assert found.memorized == pytest.approx(slow)
    own = [
        np.linalg.norm(test[i] - test[(test_classes == test_classes[i]) & (np.arange(30) != i)].mean(axis=0))
        for i in range(30)
    ]
    assert np.allclose(found.unseen, own)
    within = sum(((test[test_classes == k] - test[test_classes == k].mean(axis=0)) ** 2).sum() for k in (0, 1))
    assert found.spread == pytest.approx(within / (((test - test.mean(axis=0)) ** 2).sum() - within))


def test_features_without_a_trace_have_an_excess_of_zero_at_the_nominal_coverage() -> None:
    """2,000 draws: the false-alarm probability of the bounds is below 1e-6 if the coverage is 95 %."""
    rng, covered = np.random.default_rng(2), 0
    for _ in range(2000):
        classes, test_classes = rng.integers(0, 3, 40), np.arange(120) % 3
        found = dilation(rng.normal(size=(40, 4)), classes, rng.normal(size=(120, 4)), test_classes)
        covered += found.excess[1] <= 0 <= found.excess[2]
    assert 0.926 < covered / 2000 < 0.974


def test_moved_examples_have_the_excess_that_they_were_moved_by() -> None:
    rng = np.random.default_rng(4)
    test_classes = np.arange(600) % 2
    test = 10.0 * np.eye(2)[test_classes] + 0.01 * rng.normal(size=(600, 2))
    corrupted = np.array([[10.0, 0]] * 5 + [[4.0, 0]] * 5)
    found = dilation(corrupted, np.zeros(10, int), test, test_classes)
    assert found.memorized == pytest.approx(30, abs=0.1) and found.excess[0] == pytest.approx(3, abs=0.05)
    assert found.spread < 1e-4
    with pytest.raises(ValueError, match="two wrong labels"):
        dilation(corrupted[:1], np.zeros(1, int), test, test_classes)


def test_a_network_that_fits_wrong_labels_dilates() -> None:
    clean, test = points(400, apart=4), points(400, 1, apart=4)  # of classes that the features can collapse to
    wrong = np.random.default_rng(9).random(400) < 0.1
    given = np.where(wrong, (clean.y + 1) % CLASSES, clean.y)
    trained = ma.Examples(clean.x, given)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, CLASSES))
    before = ma.memorization_dilation(network, "3", trained, clean.y, test)
    after = ma.memorization_dilation(fit(network, trained.x, given), "3", trained, clean.y, test)
    assert before.excess[1] < 0 < before.excess[2]
    assert after.excess[1] > 0 and after.spread < before.spread
    assert len(after.distance) == wrong.sum() and len(after.unseen) == 400


# Variance of gradients


def test_the_variance_of_gradients_is_that_of_the_authors_code() -> None:
    examples, networks = points(), [mlp(seed) for seed in range(4)]
    gradients = np.zeros((4, N, 6))
    for time, network in enumerate(networks):
        network.eval()
        for row in range(N):
            x = torch.from_numpy(examples.x[row : row + 1]).requires_grad_()
            (gradient,) = torch.autograd.grad(network(x)[0, examples.y[row]], x)
            gradients[time, row] = gradient.numpy()
    slow = gradients.std(axis=0).mean(axis=1)
    assert np.allclose(gradient_spread(iter(networks), examples), slow, atol=1e-6)
    found = ma.variance_of_gradients(networks, examples)
    for label in range(CLASSES):
        of = examples.y == label
        assert np.allclose(found[of], (slow[of] - slow[of].mean()) / slow[of].std(), atol=1e-3)


def test_the_same_network_again_has_no_variance() -> None:
    network = mlp()
    assert np.allclose(gradient_spread([network] * 3, points()), 0, atol=1e-9)
    assert not standardized_by_class(np.ones(6), np.arange(6) % 2).any()
    with pytest.raises(ModelError, match="two checkpoints, got 1"):
        ma.variance_of_gradients([network], points())


def test_inputs_without_a_gradient_are_refused() -> None:
    class Looked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(50, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.table(x).mean(dim=1)

    def twice() -> Iterator[nn.Module]:
        yield Looked()
        yield Looked()

    tokens = ma.Examples(RNG.integers(0, 50, (20, 4)), np.arange(20) % 3)
    with pytest.raises(ModelError, match="floating-point inputs"):
        ma.variance_of_gradients(twice(), tokens)
