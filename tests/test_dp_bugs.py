"""DP-SGD with planted bugs: its claim is refuted. The same training without a bug is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import memaudit as ma
from memaudit.privacy import epsilon_of_gaussian
from memaudit.types import Finding, Verdict

FEATURES = 1000
NOISE, CLIP, STEPS, RATE, DELTA = 20.0, 1.0, 20, 0.02, 1e-6
CLAIMED = epsilon_of_gaussian(np.sqrt(STEPS) / NOISE, DELTA)  # of all steps, each on all examples


def examples() -> ma.Examples:
    """200 points with many features and random labels, which only a model that was trained on them can know."""
    rng = np.random.default_rng(0)
    return ma.Examples(rng.normal(size=(200, FEATURES)).astype(np.float32), rng.integers(0, 2, 200))


def gradients(weights: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The gradient of each example's loss: logistic regression, `[examples, 2 classes, features]`."""
    error = torch.softmax(x @ weights.T, dim=1) - torch.nn.functional.one_hot(y, 2)
    return error[:, :, None] * x[:, None, :]


def clipped(gradient: Tensor) -> Tensor:
    norms = gradient.flatten(1).norm(dim=1)
    return gradient * (CLIP / norms).clamp(max=1)[:, None, None]


def noise(generator: torch.Generator) -> Tensor:
    return NOISE * CLIP * torch.randn(2, FEATURES, generator=generator)


def honest(gradient: Tensor, generator: torch.Generator) -> Tensor:
    return (clipped(gradient).sum(0) + noise(generator)) / len(gradient)


def without_noise(gradient: Tensor, generator: torch.Generator) -> Tensor:
    return clipped(gradient).mean(0)


def clips_the_batch(gradient: Tensor, generator: torch.Generator) -> Tensor:
    """Clips the mean gradient: that of one example can be as large as it likes."""
    mean = clipped(gradient.mean(0, keepdim=True))[0]
    return mean + noise(generator) / len(gradient)


def reuses_noise(gradient: Tensor, generator: torch.Generator) -> Tensor:
    """Draws from a generator that is seeded anew in every step: who knows the seed can subtract it."""
    return (clipped(gradient).sum(0) + noise(torch.Generator().manual_seed(0))) / len(gradient)


def recipe_of(step: Callable[[Tensor, torch.Generator], Tensor]) -> ma.CallableRecipe:
    def train(dataset: ma.Examples, *, seed: int, device: str) -> torch.nn.Module:
        generator = torch.Generator().manual_seed(seed)
        x, y = torch.from_numpy(dataset.x), torch.from_numpy(dataset.y)
        weights = torch.zeros(2, FEATURES)
        for _ in range(STEPS):
            weights -= RATE * step(gradients(weights, x, y), generator)
        network = torch.nn.Linear(FEATURES, 2, bias=False)
        network.weight.data = weights
        return network

    return ma.CallableRecipe(examples, train=train, model=lambda: torch.nn.Linear(FEATURES, 2, bias=False))


def claim_of(step: Any, folder: Path) -> tuple[Finding, Verdict]:
    """The finding DP001 of a model and a bank that are trained in the same way, and its verdict under a limit."""
    recipe = recipe_of(step)
    bank = ma.fill(folder / "bank", recipe, 16, device="cpu", workers=1)
    members = ma.draw_members(recipe)
    ma.save_target(ma.train(recipe, members, seed=3, device="cpu"), folder / "model.safetensors", members)
    done = ma.audit(
        folder / "model.safetensors",
        recipe,
        bank,
        attacks=["lira-online"],
        fprs=[0.05],
        evidence="none",
        device="cpu",
        dp=ma.Dp(epsilon=CLAIMED, delta=DELTA),
        limits=[ma.Limit(metric="epsilon", max=CLAIMED)],
    )
    found = next(r for r in done.report.results if r.finding.code == "DP001")
    return found.finding, found.verdict


@pytest.mark.parametrize("bug", [without_noise, clips_the_batch, reuses_noise])
def test_a_bug_is_refuted(bug: Any, tmp_path: Path) -> None:
    finding, verdict = claim_of(bug, tmp_path)
    assert "is refuted" in finding.sentence
    assert finding.estimate.bounds[-1].low > CLAIMED  # at the strictest confidence of a report, too
    assert verdict is Verdict.FAIL


def test_without_a_bug_nothing_is_refuted(tmp_path: Path) -> None:
    """False alarms: at most 5 in 100 audits; this one has fixed seeds."""
    finding, verdict = claim_of(honest, tmp_path)
    assert "is not refuted" in finding.sentence
    assert finding.estimate.low <= CLAIMED == finding.estimate.high
    assert verdict in (Verdict.PASS, Verdict.INCONCLUSIVE)  # the controls decide


@pytest.mark.slow
def test_a_loop_of_opacus_is_not_refuted(tmp_path: Path) -> None:
    """The user's own loop with Opacus' PrivacyEngine and Poisson sampling; its accountant's record is read."""
    pytest.importorskip("opacus")
    pytest.importorskip("sklearn")
    recipe = ma.CallableRecipe(digits, train=by_opacus, model=lambda: torch.nn.Linear(64, 10))
    bank = ma.fill(tmp_path / "bank", recipe, 16, device="cpu", workers=1)
    members = ma.draw_members(recipe)
    model = ma.train(recipe, members, seed=3, device="cpu")
    ma.save_target(model, tmp_path / "model.safetensors", members, privacy=ACCOUNTANTS[-1])
    done = ma.audit(tmp_path / "model.safetensors", recipe, bank, attacks=["lira-online"], dp=ma.Dp(delta=1e-5))
    finding = next(r.finding for r in done.report.results if r.finding.code == "DP001")
    assert "is not refuted" in finding.sentence
    assert "100 steps with noise multiplier 3" in finding.notes[0]
    from opacus.accountants import RDPAccountant

    by_renyi = RDPAccountant()
    by_renyi.history = ACCOUNTANTS[-1].history
    assert finding.estimate.high == pytest.approx(by_renyi.get_epsilon(1e-5), rel=0.03)
    assert ACCOUNTANTS[-1].get_epsilon(1e-5) <= finding.estimate.high  # by PRV, which is tighter


ACCOUNTANTS: list[Any] = []


def digits() -> ma.Examples:
    from sklearn.datasets import load_digits

    data = load_digits()
    plain = ma.Examples((data.data[:600] / 16).astype(np.float32), data.target[:600])
    return ma.classifier_canaries(plain, mislabeled=150)


def by_opacus(dataset: ma.Examples, *, seed: int, device: str) -> torch.nn.Module:
    import warnings

    from opacus import PrivacyEngine

    pairs = torch.utils.data.TensorDataset(torch.from_numpy(dataset.x), torch.from_numpy(dataset.y))
    network: Any = torch.nn.Linear(64, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about secure random numbers, and hooks
        engine = PrivacyEngine()
        network, optimizer, loader = engine.make_private(
            module=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
            data_loader=torch.utils.data.DataLoader(pairs, batch_size=-(-len(pairs) // 5)),
            noise_multiplier=3.0,
            max_grad_norm=1.0,
        )
        for _ in range(20):
            for x, y in loader:
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(network(x), y).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    ACCOUNTANTS.append(engine.accountant)
    return network.to_standard_module()
