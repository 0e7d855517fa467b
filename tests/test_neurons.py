"""Neurons that hold a prediction: built-in ones, finite differences, a null, and labels learned by heart."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import memaudit as ma
from memaudit.errors import EvidenceError, ModelError, SettingsError

Array = np.ndarray


def network(*sizes: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    parts: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        parts += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def fit(model: nn.Module, examples: ma.Examples, steps: int = 500) -> nn.Module:
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    x, y = torch.from_numpy(examples.inputs.features()), torch.from_numpy(examples.y)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model


def points(count: int = 200, wrong: int = 0, seed: int = 0) -> ma.Examples:
    """Two classes apart in the first of ten numbers; the first `wrong` have the other label."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 2
    x = rng.normal(size=(count, 10)).astype(np.float32)
    x[:, 0] += np.where(y, 3, -3)
    return ma.Examples(x, np.r_[1 - y[:wrong], y[wrong:]])


def test_the_one_neuron_that_an_example_hangs_on_is_found() -> None:
    """Neuron 3 sees the second number alone, which only example 0 has; without it, the example is of class 0."""
    x = np.zeros((6, 2), np.float32)
    x[:, 0], x[0, 1] = [-1, -1.1, -1.2, 1, 1.1, 1.2], 1
    examples = ma.Examples(x, np.array([1, 0, 0, 1, 1, 1]))
    model = network(2, 4, 2)
    weights = {
        "0.weight": [[1.0, 0], [-1, 0], [0.1, 0], [0, 1]],
        "0.bias": [0.0, 0, 0, 0],
        "2.weight": [[0.0, 2, 0, 0], [2, 0, 0, 5]],
        "2.bias": [0.0, 0],
    }
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = ma.neurons_to_flip(model, examples, [0], [1, 2, 3, 4, 5])
    assert (found.removed.tolist(), found.flipped.tolist(), found.first) == ([1], [True], (("0", 3),))
    assert (found.accuracy.tolist(), found.neurons) == ([1.0], 4)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model[0]._forward_hooks, "the network is as it was"


@pytest.mark.parametrize("row", range(4))
def test_the_first_neuron_is_the_one_that_finite_differences_say(row: int) -> None:
    """The factor of each neuron is lowered by 1e-6 in its weights and bias; a ReLU passes the factor on."""
    model, examples, others = network(10, 8, 5, 2, seed=row).double(), points(20), np.arange(4, 20)
    x, y = torch.from_numpy(examples.inputs.features()).double(), torch.from_numpy(examples.y)
    with torch.no_grad():
        y[row] = model(x)[row].argmax()
    examples = ma.Examples(x.numpy(), y.numpy())

    def excess() -> float:
        with torch.no_grad():
            loss = nn.functional.cross_entropy(model(x), y, reduction="none").numpy()
        return float(loss[row] - loss[others].mean())

    gains = {}
    for name in ("0", "2"):
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        for neuron in range(layer.out_features):
            kept, start = (layer.weight.data.clone(), layer.bias.data.clone()), excess()
            layer.weight.data[neuron] *= 1 - 1e-6
            layer.bias.data[neuron] *= 1 - 1e-6
            gains[name, neuron] = excess() - start
            layer.weight.data, layer.bias.data = kept
    found = ma.neurons_to_flip(model, examples, [row], others.tolist(), most=1)
    assert found.first[0] == max(gains, key=lambda key: gains[key])


def test_labels_learned_by_heart_hang_on_fewer_neurons_and_random_groups_do_not() -> None:
    """Of 200 labels 20 are wrong, and fitted: they flip earlier than right ones, by a rank test below 1e-4.

    The null: right labels in two random groups, whose p-value is below 0.001 in one of 1,000 data sets.
    """
    examples = points(wrong=20)
    model = fit(network(10, 64, 64, 2), examples)
    with torch.no_grad():
        assert (model(torch.from_numpy(examples.inputs.features())).argmax(dim=1).numpy() == examples.y).all()
    others = np.arange(100, 200).tolist()
    found = ma.neurons_to_flip(model, examples, range(60), others, most=128)
    assert found.neurons == 128
    wrong, right = found.removed[:20], found.removed[20:]
    assert stats.mannwhitneyu(wrong, right, alternative="less").pvalue < 1e-4
    assert stats.mannwhitneyu(right[0::2], right[1::2]).pvalue > 0.001
    assert found.accuracy[:20].mean() > 0.8


def test_a_wrong_prediction_takes_no_neuron_and_channels_are_neurons() -> None:
    torch.manual_seed(1)
    x = np.random.default_rng(1).normal(size=(12, 1, 6, 6)).astype(np.float32)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    with torch.no_grad():
        said = model(torch.from_numpy(x)).argmax(dim=1).numpy()
    y = said.copy()
    y[0] = 1 - said[0]
    found = ma.neurons_to_flip(model, ma.Examples(x, y), [0, 1], range(2, 12), most=2)
    assert (found.removed[0], found.flipped[0], found.first[0], found.neurons) == (0, True, None, 3)
    assert found.removed[1] <= 2 and found.first[1] is not None and found.first[1][0] == "0"


def test_what_cannot_be_asked_is_refused() -> None:
    model, examples = network(10, 4, 2), points(20)
    with pytest.raises(SettingsError, match="none can be both"):
        ma.neurons_to_flip(model, examples, [1], [1, 2])
    with pytest.raises(ModelError, match="no linear layer or convolution '1'"):
        ma.neurons_to_flip(model, examples, [1], [2], ["1"])
    with pytest.raises(ModelError, match="has no neurons"):
        ma.neurons_to_flip(network(10, 2), examples, [1], [2])
    with pytest.raises(EvidenceError, match="one class each"):
        ma.neurons_to_flip(
            model, ma.Examples(examples.inputs.features(), np.linspace(0, 1, 20), task="regression"), [1], [2]
        )
