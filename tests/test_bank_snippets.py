"""The snippets on designs, derived models, proxies, observing and representations run, with small banks."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_docs import DOCS, _at, snippets
from torch import nn

import memaudit as ma

RECIPE = """
import numpy as np
from torch import nn

import memaudit as ma

ROWS = 200


def examples():
    rng = np.random.default_rng(0)
    return ma.Examples(rng.normal(size=(ROWS, 8)).astype(np.float32), rng.integers(0, 3, ROWS))


def model():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


recipe = ma.ClassifierRecipe(examples, model, epochs=3, batch_size=50, optimizer=ma.SGD(lr=0.3))
"""


def _smaller(text: str, sizes: dict[int, int]) -> str:
    """Return a snippet with smaller banks."""
    return re.sub(r"\b\d+\b", lambda found: str(sizes.get(int(found[0]), int(found[0]))), text)


def _run(page: str, names: dict[str, Any], sizes: dict[int, int], fragments: bool = False) -> int:
    """Run the snippets of a page in one namespace, fragments only where their names are given; return their number."""
    count = 0
    for snippet in snippets(DOCS / page):
        if snippet.language == "python" and "(...," not in snippet.text and (fragments or snippet.note != "fragment"):
            exec(compile(_smaller(snippet.text, sizes), f"{page}:{snippet.line}", "exec"), names)
            count += 1
    return count


@pytest.fixture
def names(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "recipe.py").write_text(RECIPE, "utf-8")
    found: dict[str, Any] = {}
    exec(compile(RECIPE, "recipe.py", "exec"), found)
    return found | {"memaudit": ma, "dataset": found["examples"]()}


@pytest.mark.slow
def test_designs(names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = list(names["dataset"].ids)
    names |= {"ids": ids[:60], "ids40": ids[:4]}
    with _at(tmp_path, monkeypatch):
        assert _run("designs.md", names, {64: 24, 410: 10}) == 2
        assert len(ma.Bank.open("bank-loo").models()) == 10


@pytest.mark.slow
def test_derived_models(names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    with _at(tmp_path, monkeypatch):
        assert _run("derived.md", {}, {64: 8}) == 4
        assert (tmp_path / "audit.html").exists()


def test_the_proxies_of_a_target(names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = next(s for s in snippets(DOCS / "proxies.md") if "observing(" in s.text)
    text = first.text.replace(
        'observe=ma.Observe("every epoch")', "batch_size=50, optimizer=ma.SGD(lr=0.1), observe=ma.Observe(2)"
    )
    with _at(tmp_path, monkeypatch):
        exec(compile(_smaller(text, {40: 4}), "proxies.md", "exec"), names)
        assert (tmp_path / "model.pt.observed.safetensors").exists()


@pytest.mark.slow
def test_representations(names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential()
    layers.add_module("layer3", nn.Linear(8, 5))
    with _at(tmp_path, monkeypatch):
        names |= {"network": layers, "examples": names["dataset"]}
        names["recipe"] = ma.ClassifierRecipe(lambda: names["dataset"], names["model"], 3, 50, ma.SGD(lr=0.3))
        assert _run("representations.md", names, {64: 16, 32: 8}, fragments=True) == 2
        assert np.isfinite(names["features"]).all()
        assert names["found"] is not None


def test_observing(names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two snippets that are whole but for the user's own loop; the first sets arguments alone."""
    loop, target = [s.text for s in snippets(DOCS / "observing.md") if "observe(" in s.text or "observing(" in s.text][
        -2:
    ]
    compile(loop, "observing.md", "exec")
    names["train_target"] = lambda _: ma.train(names["recipe"], names["members"], seed=1)
    names["members"] = ma.draw_members(names["recipe"], seed=1)
    with _at(tmp_path, monkeypatch):
        exec(compile(target, "observing.md", "exec"), names)
        assert (tmp_path / "model.pt").exists()
