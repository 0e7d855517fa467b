"""Whole audits of models that once had wrong numbers: in-place networks, sigmoids, nearest neighbours; the doctor."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.nn import functional as F

import memaudit as ma
from memaudit.recipe import SGD, CallableRecipe, ClassifierRecipe, EstimatorRecipe, Examples
from memaudit.types import Report

Command = Callable[..., CompletedProcess[str]]

SHADOWS, RATES = 16, (0.1, 0.05)


def two_classes() -> Examples:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    return Examples((rng.random((200, 12)) + 0.2 * y[:, None]).astype(np.float32), y)


class Net(nn.Module):
    """One logit; its inputs are normalised in place or not, and it ends in a sigmoid or not."""

    def __init__(self, in_place: bool, sigmoid: bool) -> None:
        super().__init__()
        self.in_place, self.sigmoid = in_place, sigmoid
        self.layers = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.layers(x.sub_(0.5).div_(0.5) if self.in_place else (x - 0.5) / 0.5)
        return z.sigmoid() if self.sigmoid else z


def net(in_place: bool = False, sigmoid: bool = False) -> nn.Module:
    return Net(in_place, sigmoid)


def loop(dataset: Examples, *, seed: int, device: str, sigmoid: bool) -> nn.Module:
    model = net(sigmoid=sigmoid)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    x, y = torch.tensor(dataset.x), torch.tensor(dataset.y, dtype=torch.float32)[:, None]
    for _ in range(50):
        loss = F.binary_cross_entropy_with_logits(net_logits(model, x), y)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model


def net_logits(model: Any, x: torch.Tensor) -> torch.Tensor:
    return model.layers((x - 0.5) / 0.5)


def classifier(in_place: bool) -> ClassifierRecipe:
    return ClassifierRecipe(
        two_classes, partial(net, in_place), epochs=30, batch_size=25, optimizer=SGD(lr=0.2, momentum=0.9)
    )


def own_loop(sigmoid: bool) -> CallableRecipe:
    return CallableRecipe(
        two_classes,
        partial(loop, sigmoid=sigmoid),
        model=partial(net, sigmoid=sigmoid),
        outputs="probabilities" if sigmoid else None,
    )


RECIPES: dict[str, Any] = {
    "out of place": lambda: classifier(in_place=False),
    "in place": lambda: classifier(in_place=True),
    "logit": lambda: own_loop(sigmoid=False),
    "sigmoid": lambda: own_loop(sigmoid=True),
    "nearest neighbour": lambda: EstimatorRecipe(two_classes, KNeighborsClassifier(1, algorithm="brute")),
}


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Report]:
    @cache
    def audit(name: str) -> Report:
        recipe, folder = RECIPES[name](), tmp_path_factory.mktemp("audit")
        ids = two_classes().ids
        members = np.random.default_rng(5).permutation(ids)[:100]
        path = folder / ("model.skops" if isinstance(recipe, EstimatorRecipe) else "model.safetensors")
        ma.save_target(ma.train(recipe, members, seed=1, device="cpu"), path, members)
        bank = ma.fill(folder / "bank", recipe, SHADOWS, device="cpu")
        return ma.audit(path, recipe, bank, fprs=RATES, device="cpu").report

    return audit


def numbers(report: Report) -> dict[tuple[str, str | None, float | None], float]:
    findings = [result.finding for result in report.results]
    return {(f.code, f.attack, f.at_fpr): f.estimate.value for f in findings if f.estimate is not None}


def test_an_in_place_network_has_the_report_of_its_twin(audited: Callable[[str], Report]) -> None:
    """pytorch/vision#680: a TPR of 17.7 % had become 2.7 %, and memorization of .278 .046."""
    assert numbers(audited("in place")) == numbers(audited("out of place"))
    assert numbers(audited("in place"))["MEM001", None, None] > 0.1


def test_a_sigmoid_that_is_called_so_has_the_report_of_its_logit(audited: Callable[[str], Report]) -> None:
    """csong27/membership-inference#10: memorization of .326 had become 0."""
    sigmoid, logit = numbers(audited("sigmoid")), numbers(audited("logit"))
    assert sigmoid.keys() == logit.keys()
    assert sigmoid["MEM001", None, None] == logit["MEM001", None, None] > 0.1
    for key in sigmoid:
        assert sigmoid[key] == pytest.approx(logit[key], abs=0.05), key


def test_a_nearest_neighbour_leaks_by_being_right(audited: Callable[[str], Report]) -> None:
    """krasserm/face-recognition#3: every attack had a TPR of 0, and the advice was to train more shadow models."""
    report = audited("nearest neighbour")
    found = numbers(report)
    assert found["MEM001", None, None] > 0.2
    assert found["MIA001", "lira-online", 0.1] > 0.15
    assert all(control.passed is not False for control in report.controls)
    tied = [skipped.reason for skipped in report.skipped if skipped.code == "MIA003"]
    assert len(tied) == len(RATES)
    assert all("the attack's scores are tied, and the nearest possible rates" in reason for reason in tied)


DOCTORED = {
    "logits": ("nn.Linear(64, 10)", "outputs are read as logits"),
    "log-probabilities": ("nn.Linear(64, 10), nn.LogSoftmax(1)", "outputs are read as log-probabilities"),
    "a softmax": ("nn.Linear(64, 10), nn.Softmax(1)", "FAIL  recipe: .*the network ends in a softmax"),
    "batch statistics": (
        "nn.BatchNorm1d(64, track_running_stats=False), nn.Linear(64, 10)",
        r"FAIL  recipe: .*depend on the others in its batch.*look at 2\)",
    ),
}


@pytest.mark.parametrize("case", DOCTORED)
def test_the_doctor_says_what_outputs_are_read_as(
    case: str, empty_bank: Path, command: Command, edit: Callable[[Path, str, str], None]
) -> None:
    layers, said = DOCTORED[case]
    edit(Path("recipe.py"), "nn.Linear(64, 10)", layers)
    done = command("doctor", "--workers", 1)

    assert re.search(said, done.stdout), done.stdout
    assert done.returncode == (2 if "FAIL" in said else 0)


def test_the_doctor_finds_who_rewrites_the_examples(empty_bank: Path, command: Command) -> None:
    Path("recipe.py").write_text(
        "import numpy as np\nimport memaudit as ma\nfrom torch import nn\n"
        "X = np.random.default_rng(0).random((60, 4)).astype(np.float32)\n"
        "def examples():\n    return ma.Examples(X, np.arange(60) % 2)\n"
        "def train(dataset, *, seed, device):\n    X[:] -= 0.5\n    return nn.Linear(4, 2)\n"
        "recipe = ma.CallableRecipe(examples, train)\n",
        "utf-8",
    )
    done = command("doctor", "--workers", 1)
    assert "FAIL  recipe: training changed the examples in place" in done.stdout
    assert done.returncode == 2
