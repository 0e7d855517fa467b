"""ClassifierRecipe(privacy=DPSGD(...)): sampling, clipping and noise of Opacus, the record, and the fingerprint."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import memaudit as ma
from memaudit.errors import EvidenceError, RecipeError
from memaudit.recipe import fingerprint
from memaudit.recipe.privacy_record import read_record, record_beside

pytest.importorskip("opacus")
Array = np.ndarray


def examples() -> ma.Examples:
    rng = np.random.default_rng(1)
    return ma.Examples(rng.normal(size=(60, 8)).astype(np.float32), rng.integers(0, 2, 60))


def linear() -> torch.nn.Module:
    return torch.nn.Linear(8, 2)


def of(noise: float = 1.0, clip: float = 1.0, **changes: Any) -> ma.ClassifierRecipe:
    recipe = ma.ClassifierRecipe(
        examples, linear, epochs=3, batch_size=10, optimizer=ma.SGD(lr=0.5), privacy=ma.DPSGD(noise, clip)
    )
    return replace(recipe, **changes)


def weights(model: Any) -> Array:
    return np.asarray(model.weight.detach().numpy())


MEMBERS = np.arange(60) < 30


def test_the_record_is_that_of_the_steps(tmp_path: Path) -> None:
    recipe = of(noise=1.5)
    model = ma.train(recipe, MEMBERS, seed=1, device="cpu")
    ma.save_target(model, tmp_path / "m.safetensors", MEMBERS, recipe)
    assert read_record(record_beside(tmp_path / "m.safetensors")) == [(1.5, 1 / 3, 9)]
    ma.save_target(linear(), tmp_path / "m.safetensors", MEMBERS, recipe)  # another model at the same place
    assert not record_beside(tmp_path / "m.safetensors").exists()


def test_training_is_repeatable_and_depends_on_the_seed() -> None:
    one, again, other = (weights(ma.train(of(), MEMBERS, seed=seed, device="cpu")) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.01


def test_without_noise_each_gradient_is_clipped_by_itself() -> None:
    """Oracle: DP-SGD by hand, with the batches of the same generator. One example in every other step is left out."""
    clip, recipe = 0.3, of(noise=0.0, clip=0.3)
    found = ma.train(recipe, MEMBERS, seed=4, device="cpu")
    torch.manual_seed(4)
    network, generator, data = linear(), torch.Generator().manual_seed(4), examples()
    x, y = torch.from_numpy(data.x[MEMBERS]), torch.from_numpy(data.y[MEMBERS])
    for _ in range(9):
        taken = torch.rand(30, generator=generator) < 1 / 3
        total = [torch.zeros_like(p) for p in network.parameters()]
        for row in torch.nonzero(taken)[:, 0]:
            loss = torch.nn.functional.cross_entropy(network(x[row][None]), y[row][None])
            own = torch.autograd.grad(loss, list(network.parameters()))
            norm = torch.sqrt(sum((g**2).sum() for g in own))  # type: ignore[arg-type]
            total = [t + g * min(1.0, clip / (float(norm) + 1e-6)) for t, g in zip(total, own, strict=True)]
        torch.normal(0.0, 1.0, (0,), generator=generator)
        with torch.no_grad():
            for parameter, gradient in zip(network.parameters(), total, strict=True):
                parameter.sub_(0.5 * gradient / 10)
    np.testing.assert_allclose(weights(found), weights(network), atol=1e-5)


def test_noise_has_the_stated_size() -> None:
    """With a learning rate of 1 and gradients that are clipped to almost nothing, steps are noise alone."""
    recipe = of(noise=2.0, clip=1e-3, model=lambda: torch.nn.Linear(8, 2), optimizer=ma.SGD(lr=1.0))
    moved = []
    for seed in range(40):
        torch.manual_seed(seed)
        start = weights(linear())
        moved.append(weights(ma.train(recipe, MEMBERS, seed=seed, device="cpu")) - start)
    spread = np.std(moved)
    expected = 2.0 * 1e-3 / 10 * 3  # σC/batch, and the root of 9 steps
    assert spread == pytest.approx(expected, rel=0.15)  # 640 numbers, and what little the gradients add


def test_an_empty_batch_is_a_step_of_noise() -> None:
    few = np.arange(60) < 2  # each is taken with probability 1/2 in one of two steps
    model = ma.train(of(batch_size=1, epochs=8), few, seed=2, device="cpu")
    assert np.isfinite(weights(model)).all()


def test_layers_that_mix_examples_are_refused() -> None:
    mixing = of(model=lambda: torch.nn.Sequential(torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2)))
    with pytest.raises(RecipeError, match="cannot be trained with DP-SGD"):
        ma.train(mixing, MEMBERS, device="cpu")
    with pytest.raises(RecipeError, match="max_grad_norm above 0"):
        ma.DPSGD(1.0, 0.0)


def test_the_fingerprint_has_it_and_only_where_it_is() -> None:
    plain = fingerprint(of(privacy=None), examples(), 0)
    private, more = (fingerprint(of(noise=noise), examples(), 0) for noise in (1, 2.0))
    assert "recipe.privacy" not in plain and "environment.opacus" in private
    assert private["recipe.privacy"] == "DPSGD(noise_multiplier=1.0, max_grad_norm=1.0)" != more["recipe.privacy"]


def test_observing_changes_nothing() -> None:
    seen = of(observe=ma.Observe(4))
    with ma.observing(seen):
        watched = ma.train(seen, MEMBERS, seed=1, device="cpu")
    np.testing.assert_array_equal(weights(watched), weights(ma.train(of(), MEMBERS, seed=1, device="cpu")))


def test_an_accountants_state_is_read(tmp_path: Path) -> None:
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    for _ in range(5):
        accountant.step(noise_multiplier=1.0, sample_rate=0.25)
    for given in (accountant, accountant.state_dict()):
        ma.save_target(linear(), tmp_path / "m.safetensors", MEMBERS, privacy=given)
        assert read_record(tmp_path / "m.safetensors.privacy.json") == [(1.0, 0.25, 5)]
    (tmp_path / "own.json").write_text(json.dumps(accountant.state_dict()))
    assert read_record(tmp_path / "own.json") == [(1.0, 0.25, 5)]
    with pytest.raises(EvidenceError, match="give the accountant"):
        ma.save_target(linear(), tmp_path / "m.safetensors", MEMBERS, privacy=3)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"history": 3}', '{"history": []}', '{"history": [[1, 2, 3]]}', '{"history": [[-1, 0.5, 3]]}',
        '{"history": [[1, 0.5, 3.5]]}', '{"history": [[NaN, 0.5, 3]]}', '{"history": [["x", 0.5, 3]]}',
        '{"history": [[1, 0.5]]}', "[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_record_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(EvidenceError, match=r"record|history"):
        read_record(tmp_path / "r.json")


class Centred(torch.nn.Linear):
    """Mixes the examples of a batch in training, and in training alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x - x.mean(0) if self.training else x)


def test_what_mixes_examples_in_training_is_refused() -> None:
    """Neither layers nor Opacus show it: a network's own forward(), or an augmentation such as mixup."""
    mixup = of(augment=lambda batch, generator: (batch + batch.roll(1, 0)) / 2)
    for recipe in (of(model=lambda: Centred(8, 2)), mixup):
        with pytest.raises(RecipeError, match="depends on the others in its batch"):
            ma.train(recipe, MEMBERS, seed=1, device="cpu")
    dropout = of(model=lambda: torch.nn.Sequential(torch.nn.Dropout(0.5), linear()))
    jitter = of(augment=lambda batch, generator: batch + torch.randn(batch.shape, generator=generator))
    for recipe in (dropout, jitter):
        ma.train(recipe, MEMBERS, seed=1, device="cpu")


def test_a_parameter_without_a_part_is_named() -> None:
    def model() -> torch.nn.Module:
        network = torch.nn.ModuleDict({"used": linear(), "spare": linear()})
        network.forward = lambda x: network["used"](x)
        return network

    with pytest.raises(RecipeError, match="takes no part in its outputs"):
        ma.train(of(model=model), MEMBERS, seed=1, device="cpu")
    for wrong in ({"noise": float("inf")}, {"clip": float("inf")}):
        with pytest.raises(RecipeError, match="both finite"):
            of(**wrong)
