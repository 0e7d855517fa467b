"""The loop: seeded, equal to arithmetic by hand, and no trace of it in the caller's randomness."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

import memaudit as ma
from memaudit.bank import Bank
from memaudit.design import half
from memaudit.errors import RecipeError
from memaudit.recipe import CallableRecipe, ClassifierRecipe, EstimatorRecipe, Examples, Recipe, flip
from memaudit.recipe.recipes import SGD, AdamW
from memaudit.training.classifier import train_classifier
from memaudit.training.model import Workshop

Array = np.ndarray
COUNT = 40


def data() -> Examples:
    rng = np.random.default_rng(3)
    return Examples(rng.normal(size=(COUNT, 5)), np.arange(COUNT) % 3)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


class Noisy(nn.Module):
    """Draws from torch's own randomness in every forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


RECIPE = ClassifierRecipe(data, network, epochs=4, batch_size=7, optimizer=SGD(lr=0.1, momentum=0.9))


def tensors(examples: Examples) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.as_tensor(examples.x).float(), torch.as_tensor(examples.y)


def trained(recipe: ClassifierRecipe, counts: Array, seed: int = 0) -> nn.Module:
    return train_classifier(recipe, *tensors(recipe.examples()), counts, seed)


def weights(model: nn.Module) -> Array:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).numpy()


def test_one_step_is_the_update_by_hand() -> None:
    """Softmax regression from given weights, one full batch: W − lr · (∇ + weight decay · W)."""
    start = torch.linspace(-1, 1, 18).reshape(3, 6)

    def model() -> nn.Module:
        layer = nn.Linear(5, 3)
        layer.weight.data, layer.bias.data = start[:, :5].clone(), start[:, 5].clone()
        return layer

    recipe = ClassifierRecipe(data, model, epochs=1, batch_size=COUNT, optimizer=SGD(lr=0.3, weight_decay=0.01))
    counts = (np.arange(COUNT) % 4 != 0).astype(np.uint8)
    layer = trained(recipe, counts)
    x, y = data().x[counts > 0], data().y[counts > 0]
    old = start.numpy().astype(float)
    design = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    z = design @ old.T
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    new = old - 0.3 * ((p - np.eye(3)[y]).T @ design / len(x) + 0.01 * old)
    state = {name: value.numpy() for name, value in layer.state_dict().items()}
    found = np.concatenate([state["weight"], state["bias"][:, None]], axis=1)
    np.testing.assert_allclose(found, new, atol=1e-6)


def test_an_example_that_counts_thrice_is_trained_on_thrice() -> None:
    counts = np.zeros(COUNT, dtype=np.uint8)
    counts[[2, 5, 9]] = 1, 3, 2
    seen: list[float] = []

    def spy(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.extend(x[:, 0].tolist())
        return x

    trained(replace(RECIPE, augment=spy, epochs=1), counts)
    np.testing.assert_allclose(sorted(seen), sorted(np.repeat(data().x[:, 0], counts)), rtol=1e-6)


def test_members_alone_shape_the_model() -> None:
    counts = half(0, 0, COUNT)
    x, y = tensors(data())
    other = x.clone()
    other[counts == 0] = 100.0
    models = [train_classifier(RECIPE, inputs, y, counts, 5) for inputs in (x, other)]
    assert np.array_equal(weights(models[0]), weights(models[1]))


@pytest.mark.parametrize("change", [{}, {"model": Noisy}, {"optimizer": AdamW()}, {"schedule": "cosine"}])
def test_the_seed_decides_everything(change: dict[str, Any]) -> None:
    recipe, counts = replace(RECIPE, **change), half(0, 0, COUNT)
    torch.manual_seed(1)
    first, again, other = (trained(recipe, counts, seed) for seed in (5, 5, 6))
    assert np.array_equal(weights(first), weights(again))
    assert not np.array_equal(weights(first), weights(other))


def test_every_epoch_has_its_own_order() -> None:
    """Seen through an optimizer that records: the batches of 40 rows differ from epoch to epoch, and are all rows."""
    seen: list[Array] = []

    def spy(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.append(x[:, 0].numpy().copy())
        return x

    trained(replace(RECIPE, augment=spy, epochs=3, batch_size=10), np.ones(COUNT, dtype=np.uint8))
    epochs = [np.concatenate(seen[4 * e : 4 * e + 4]) for e in range(3)]
    assert all(np.array_equal(np.sort(epoch), np.sort(data().x[:, 0].astype(np.float32))) for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])


def rates(schedule: Any, epochs: int) -> list[float]:
    """Returns the rate of every step, seen through a model whose gradient is always 1."""
    seen: list[float] = []

    class Recorder(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            seen.append(self.param_groups[0]["lr"])
            return super().step(closure)

    recipe = replace(
        RECIPE, schedule=schedule, epochs=epochs, batch_size=10, optimizer=lambda p: Recorder(p, lr=0.5), augment=None
    )
    trained(recipe, np.ones(COUNT, dtype=np.uint8))
    return seen


def test_the_schedule_is_constant_or_half_a_cosine_per_step() -> None:
    """Full at the first step, half in the middle, and one step short of zero at the last."""
    assert rates("constant", 2) == [0.5] * 8
    cosine = rates("cosine", 2)
    assert cosine[0] == 0.5
    assert cosine[4] == pytest.approx(0.25)
    assert cosine[7] == pytest.approx(0.25 * (1 + np.cos(np.pi * 7 / 8)))
    assert cosine == sorted(cosine, reverse=True)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_one_logit_is_trained_as_two(smoothing: float) -> None:
    """A net of one output z and a net of outputs (0, z) are the same model."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.z = nn.Linear(5, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = self.z(x)
            return torch.cat([torch.zeros_like(z), z], dim=1)

    class Flat(Two):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.z(x)[:, 0]

    def binary() -> Examples:
        return Examples(data().x, np.arange(COUNT) % 2)

    counts = half(0, 0, COUNT)
    kinds: tuple[Callable[[], nn.Module], ...] = (lambda: nn.Linear(5, 1), Two, Flat)
    made = [
        trained(replace(RECIPE, examples=binary, model=kind, label_smoothing=smoothing), counts, 3) for kind in kinds
    ]
    for model in made[1:]:
        np.testing.assert_allclose(weights(model), weights(made[0]), atol=1e-5)


@pytest.mark.parametrize(("rows", "batch", "sizes"), [(21, 10, [10, 11]), (20, 10, [10, 10]), (3, 1, [1, 1, 1])])
def test_batch_statistics_survive_a_last_batch_of_one(rows: int, batch: int, sizes: list[int]) -> None:
    seen: list[int] = []

    def spy(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.append(len(x))
        return x

    normalised = replace(
        RECIPE,
        model=lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4) if batch > 1 else nn.ReLU(), nn.Linear(4, 3)),
        batch_size=batch,
        epochs=1,
        augment=spy,
    )
    model = trained(normalised, (np.arange(COUNT) < rows).astype(np.uint8))
    assert seen == sizes
    assert np.isfinite(weights(model)).all()


def test_augmentation_is_of_training_alone() -> None:
    """Of inputs that it makes 0, the first layer's weights learn nothing, and the last layer's biases do."""
    recipe = replace(RECIPE, augment=lambda x, generator: x * 0)
    model = trained(recipe, np.ones(COUNT, dtype=np.uint8))
    torch.manual_seed(0)
    before, after = list(network().parameters()), list(model.parameters())
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[3], after[3])
    assert not model.training


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"optimizer": SGD(lr=1e30)}, "training diverged: the loss is NaN or infinite in epoch [12]"),
        ({"model": lambda: nn.Linear(5, 2)}, "labels out of range: row 2 has label 2, the model has 2 classes"),
        ({"model": lambda: nn.Linear(5, 1)}, "labels out of range: row 2 has label 2, the model has 2 classes"),
    ],
)
def test_training_that_cannot_work_is_a_recipe_error(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        trained(replace(RECIPE, **change), np.ones(COUNT, dtype=np.uint8))


def own_loop(dataset: Examples, *, seed: int, device: str) -> nn.Module:
    """A user's loop, which draws from every global source of randomness that there is."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1 + random.random() / 100 + np.random.rand() / 100)  # noqa: NPY002
    x, y = tensors(dataset)
    for batch in torch.split(torch.randperm(len(dataset)), 8):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model


RECIPES: dict[str, Recipe] = {
    "classifier": replace(RECIPE, model=Noisy),
    "own loop": CallableRecipe(data, train=own_loop, model=network),
    "forest": EstimatorRecipe(data, RandomForestClassifier(5)),
    "pipeline": EstimatorRecipe(data, make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss"))),
    "margins": EstimatorRecipe(data, LinearSVC()),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_bank_leaves_the_callers_randomness_alone_and_does_not_depend_on_it(recipe: Recipe, tmp_path: Path) -> None:
    banks = []
    for turn in range(2):
        torch.manual_seed(turn)
        np.random.seed(turn)  # noqa: NPY002
        random.seed(turn)
        before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
        banks.append(ma.fill(tmp_path / str(turn), recipe, 4, device="cpu"))
        assert torch.equal(before[0], torch.get_rng_state())
        assert all(np.array_equal(a, b) for a, b in zip(before[1], np.random.get_state(), strict=True))  # noqa: NPY002
        assert before[2] == random.getstate()
    for model in range(4):
        first, second = (bank.tensors(model) for bank in banks)
        assert first.keys() == second.keys()
        assert all(np.array_equal(first[name], second[name]) for name in first)
    phi = np.stack([banks[0].tensors(model)["phi"] for model in range(4)])
    assert len(np.unique(phi, axis=0)) == 4


def test_what_a_bank_keeps_of_a_classifier(tmp_path: Path) -> None:
    """Members, signals and observations, which fit together, and weights that give those signals."""
    bank = ma.fill(tmp_path / "bank", replace(RECIPE, observe=ma.Observe(2)), 2, seed=9, device="cpu")
    tensors_ = bank.tensors(1)
    members = half(9, 1, COUNT)
    assert np.array_equal(tensors_["members"], members)
    assert tensors_["observed.epochs"].tolist() == [1, 4]
    assert tensors_["observed.loss"].shape == tensors_["observed.correct"].shape == (2, COUNT)
    assert tensors_["phi"].shape == (COUNT, 1)
    assert tensors_["phi"].dtype == np.float32
    model = network()
    stored = load((bank.path / "models/0001/weights.safetensors").read_bytes())
    model.load_state_dict({name: torch.as_tensor(value) for name, value in stored.items()})
    from memaudit.signals import evaluate

    assert np.array_equal(evaluate(model, data()).phi, tensors_["phi"])
    assert np.array_equal(evaluate(model, data()).correct, tensors_["correct"].astype(bool))
    assert {"model": 1, "device": "cpu"}.items() <= Bank.open(bank.path).record(1).items()


def test_estimators_have_no_weights_and_no_observations(tmp_path: Path) -> None:
    bank = ma.fill(tmp_path / "bank", RECIPES["forest"], 2, device="cpu")
    assert bank.tensors(0).keys() == {"members", "phi", "correct"}
    assert not (bank.path / "models/0000/weights.safetensors").exists()


def test_a_pipelines_nested_random_state_is_set_and_the_users_estimator_is_not_touched() -> None:
    inner = SGDClassifier(loss="log_loss")
    recipe = EstimatorRecipe(data, make_pipeline(StandardScaler(), inner))
    shop = Workshop(recipe, data(), 0, "cpu")
    counts = half(0, 0, COUNT)
    models = [shop.train(counts, seed)[0] for seed in (1, 1, 2)]
    assert [model.get_params()["sgdclassifier__random_state"] for model in models] == [1, 1, 2]
    assert np.array_equal(models[0][-1].coef_, models[1][-1].coef_)
    assert not np.array_equal(models[0][-1].coef_, models[2][-1].coef_)
    assert inner.random_state is None
    assert not hasattr(inner, "coef_")


def test_randomness_that_is_no_random_state_of_an_estimator_is_seeded_too() -> None:
    """A splitter inside an estimator is out of reach of set_params, and draws from NumPy's global state."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    search = GridSearchCV(LogisticRegression(), {"C": [0.01, 1.0, 100.0]}, cv=ShuffleSplit(3, test_size=0.3))
    shop = Workshop(EstimatorRecipe(data, search), data(), 0, "cpu")
    scores = [shop.train(half(0, 0, COUNT), 1)[0].cv_results_["mean_test_score"] for _ in range(3)]
    assert np.array_equal(scores[0], scores[1])
    assert np.array_equal(scores[0], scores[2])


@pytest.mark.parametrize("returned", [None, 3, lambda x: x])
def test_a_loop_that_returns_no_model_is_a_recipe_error(returned: object, tmp_path: Path) -> None:
    recipe = CallableRecipe(data, train=lambda dataset, *, seed, device: returned)
    with pytest.raises(RecipeError, match=r"shadow model \d: .*train\(\) returned .*; return the trained network"):
        ma.fill(tmp_path / "bank", recipe, 2, device="cpu")


def test_a_loop_gets_its_training_set_alone_with_seed_and_device(tmp_path: Path) -> None:
    seen: list[tuple[list[str], int, str]] = []

    def loop(dataset: Examples, *, seed: int, device: str) -> nn.Module:
        seen.append((sorted(dataset.ids), seed, device))
        return network()

    ma.fill(tmp_path / "bank", CallableRecipe(data, train=loop), 4, device="cpu")
    ids = data().ids
    expected = [sorted(ids[half(0, model, COUNT) > 0]) for model in range(4)]
    assert sorted(seen[n][0] for n in range(4)) == sorted(expected)
    assert len({seed for _, seed, _ in seen}) == 4
    assert {device for *_, device in seen} == {"cpu"}


def test_a_target_is_made_as_its_shadows_are() -> None:
    """`train` with a shadow's members and seed gives that shadow; members are ids or a mask."""
    from memaudit.design import training_seed

    members, seed = half(0, 1, COUNT) > 0, training_seed(0, 1)
    made = [ma.train(RECIPE, who, seed=seed, device="cpu") for who in (members, list(data().ids[members]))]
    shadow, _ = Workshop(RECIPE, data(), 0, "cpu").train(half(0, 1, COUNT), seed)
    for model in made:
        np.testing.assert_array_equal(weights(model), weights(shadow))


def test_flips_reach_the_network_image_by_image() -> None:
    seen: list[torch.Tensor] = []

    class Eye(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(x.detach())
            return self.layer(x.flatten(1))

    def pictures() -> Examples:
        x = np.stack([np.arange(COUNT), -1 - np.arange(COUNT)], axis=1).astype(np.float32)
        return Examples(x.reshape(COUNT, 1, 1, 2), np.arange(COUNT) % 2)

    recipe = ClassifierRecipe(pictures, Eye, epochs=1, batch_size=COUNT, optimizer=SGD(lr=0.0), augment=flip)
    trained(recipe, np.ones(COUNT, dtype=np.uint8))
    mirrored = seen[0][:, 0, 0, 0] < 0
    assert 3 < int(mirrored.sum()) < COUNT - 3, "Binomial(40, ½): outside with p < 1e-8"
