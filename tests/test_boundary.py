"""The distance to the decision boundary, by labels alone."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import memaudit as ma
from memaudit.auditing.asked.access import highest, views_for
from memaudit.auditing.costs import cost_of_access
from memaudit.recipe import load_recipe
from memaudit.signals.views import VIEWS, Boundary
from memaudit.signals.views.boundary import _restored

FEATURES, ROWS = 8, 40
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, FEATURES)).astype(np.float32)
W, BIAS = RNG.normal(size=FEATURES).astype(np.float32), np.float32(0.3)
WRONG = np.arange(ROWS) < 6
Y = np.where(WRONG, X @ W + BIAS <= 0, X @ W + BIAS > 0).astype(int)
SCRIPT = """
import numpy as np, memaudit as ma
from torch import nn

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(60, 8)).astype("float32"), rng.integers(0, 2, 60)
SGD = ma.SGD(lr=0.3, momentum=0.9)

def examples():
    return ma.Examples(X, Y)

def model():
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))

recipe = ma.ClassifierRecipe(examples, model, epochs=20, batch_size=15, optimizer=SGD)
"""
FEW = Boundary(rounds=3, samples=20)


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.weight = nn.Parameter(torch.from_numpy(np.stack([0 * W, W])))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked += len(x)
        return x @ self.weight.T + torch.tensor([0, BIAS])


def examples(rows: np.ndarray | slice = slice(None)) -> ma.Examples:
    return ma.Examples(X[rows], Y[rows], ids=np.arange(ROWS)[rows].astype(str))


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, 2))


RECIPE = ma.ClassifierRecipe(examples, model, epochs=20, batch_size=15, optimizer=ma.SGD(lr=0.3, momentum=0.9))


@pytest.fixture(scope="module")
def library() -> None:
    pytest.importorskip("art.attacks.evasion", reason="needs adversarial-robustness-toolbox")


def _seen(view: Boundary, network: nn.Module, of: ma.Examples | None = None) -> np.ndarray:
    return view.see(network.eval(), RECIPE, examples() if of is None else of, "cpu")[:, 0]


def test_the_distance_of_a_linear_model_is_the_margin(library: None) -> None:
    """|w·x + b|/‖w‖ is the true distance: what is found is never less, and at most a quarter more with 5 rounds."""
    network = Linear()
    found, margin = _seen(Boundary(), network), np.abs(X @ W + BIAS) / np.linalg.norm(W)
    assert (found[WRONG] == 0).all()
    assert (found[~WRONG] >= margin[~WRONG] * (1 - 1e-4)).all()
    assert (found[~WRONG] <= 1.25 * margin[~WRONG]).all()
    assert network.asked <= ROWS * Boundary().queries


def test_more_rounds_find_a_nearer_boundary(library: None) -> None:
    one, five = (_seen(Boundary(rounds=rounds), Linear())[~WRONG] for rounds in (1, 5))
    assert five.mean() < one.mean()


def test_a_search_ends_when_its_queries_are_used_up(library: None) -> None:
    network = Linear()
    found, margin = _seen(replace(FEW, most=25), network), np.abs(X @ W + BIAS) / np.linalg.norm(W)
    assert network.asked <= ROWS * replace(FEW, most=25).queries
    assert np.isfinite(found).all() and (found[~WRONG] >= margin[~WRONG] * (1 - 1e-4)).all()


def test_neither_the_order_nor_the_state_of_the_generator_matters(library: None) -> None:
    order = np.random.default_rng(1).permutation(ROWS)
    first = _seen(FEW, Linear())
    with _restored():
        np.random.seed(5)  # noqa: NPY002
        before = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
        again = _seen(FEW, Linear(), examples(order))
        np.testing.assert_array_equal(np.random.get_state(legacy=False)["state"]["key"], before)  # noqa: NPY002
    np.testing.assert_allclose(again, first[order], rtol=1e-5)


def test_a_model_with_one_label_for_all_has_no_boundary(library: None) -> None:
    class Constant(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[1.0, 0.0]]).repeat(len(x), 1)

    found = _seen(FEW, Constant())
    np.testing.assert_allclose(found, np.where(Y == 0, np.ptp(X) * np.sqrt(FEATURES), 0), rtol=1e-6)


def test_inputs_that_cannot_vary_continuously_are_refused() -> None:
    tokens = ma.Examples(np.arange(200).reshape(20, 10), np.arange(20) % 2)
    images = ma.Examples(RNG.integers(0, 256, (20, 1, 5, 5)).astype(np.uint8), np.arange(20) % 2)
    parts = ma.Examples({"a": X[:20], "b": X[:20]}, np.arange(20) % 2)
    assert "noise would give inputs that cannot occur" in Boundary().lacks(RECIPE, tokens)
    assert "vary continuously" in Boundary().lacks(RECIPE, images)
    assert "one array of numbers" in Boundary().lacks(RECIPE, parts)
    assert "pip install 'memaudit-toolkit[boundary]'" in replace(FEW, library="").lacks(RECIPE, examples())


def test_answers_of_another_version_of_the_library_are_another_view() -> None:
    assert repr(replace(FEW, library="1.0")) != repr(replace(FEW, library="1.1"))
    try:
        assert Boundary().library == metadata.version("adversarial-robustness-toolbox")
    except metadata.PackageNotFoundError:
        assert Boundary().library == ""


@pytest.mark.parametrize(
    ("access", "searched"), [("labels", False), ("boundary", True), ("weights", False), ("all", True)]
)
def test_the_search_is_made_where_it_is_named(
    access: str, searched: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(VIEWS, "boundary", replace(FEW, library="1.0"))
    found = highest(access, examples())
    assert found is not None
    views, unseen = views_for(found[0], RECIPE, examples(), found[1])
    assert ("boundary" in [view.name for view in views]) is searched
    assert ("--access boundary or all" in unseen.get("boundary", "")) is not searched
    assert (cost_of_access(tmp_path, RECIPE, examples(), 8, access)[0] > FEW.queries) is searched


def test_the_command_line_makes_the_search(
    library: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., CompletedProcess[str]],
) -> None:
    """The rows of the table, with their queries, and a second audit that asks no model of the bank again."""
    quick = replace(FEW, rounds=1, samples=5)
    monkeypatch.setitem(VIEWS, "boundary", quick)
    (tmp_path / "recipe.py").write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(str(tmp_path / "recipe.py"))
    ma.fill(tmp_path / "bank", recipe, shadows=8, device="cpu")
    members = ma.draw_members(recipe, seed=7)
    ma.save_target(ma.train(recipe, members, seed=7, device="cpu"), tmp_path / "model.pt", members, recipe)
    call = ("audit", "model.pt", "--access", "boundary", "--shadows", 8, "--fpr", "0.1", "--out", "first")
    done = command(*call)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "first" / "report.json").read_bytes())
    (found,) = [result["finding"] for result in report["results"] if result["finding"]["code"] == "MIA020"]
    rows = {row[1]: row for row in found["tables"][0]["rows"]}
    for title in ("Boundary distance", "LiRA on the boundary distance"):
        assert rows[title][0] == "labels" and rows[title][2] == quick.queries
    assert not any("“boundary”" in note for note in found["notes"])
    kept = list((tmp_path / "bank" / "views").glob("boundary-*/*.safetensors"))
    assert len(kept) == 8
    searched = []

    def counted(self: Boundary, *of: Any) -> np.ndarray:
        searched.append(1)
        return np.zeros(len(of[3]))

    monkeypatch.setattr(Boundary, "_distances", counted)
    assert command(*call[:-1], "second").returncode == 0
    assert len(searched) == 1  # the target
