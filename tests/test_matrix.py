"""Recipe × model × output × data × members × bank size, through the command line: a right number, or a refusal.

A number is right if it is the one that this test computes by itself: from the models' own outputs and predictions, in
float64, with none of memaudit's arithmetic. A refusal comes before the first shadow model is stored.
"""

import csv
import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_tensors
from sklearn.base import clone

import memaudit as ma
from memaudit.recipe import load_recipe

Array = np.ndarray
Command = Callable[..., CompletedProcess[str]]

RECIPES = Path(__file__).parent / "recipes" / "matrix.py"
FPR = 0.1
SIZES = (6, 8, 16)
FORMS = ("saved", "ids", "ids under a heading", "mask", "times")

SUFFIX = {"estimator-xgboost": ".json", "estimator-lightgbm": ".txt"}
REFUSED = {
    "classifier-always-dropping": "",
    "classifier-batch-mates": "",
    "classifier-complex": "",
    "classifier-constant": "",
    "classifier-noise": "",
    "classifier-sigmoid": "",
    "classifier-softmax": "",
    "classifier-tuple": "",
    "loop-always-dropping": "",
    "loop-batch-mates": "",
    "loop-complex": "",
    "loop-constant": "",
    "loop-noise": "",
    "loop-sigmoid": "",
    "loop-tuple": "",
}


def where(name: str) -> str:
    return f"{RECIPES}:{name.replace('-', '_')}"


@cache
def recipe(name: str) -> Any:
    return load_recipe(where(name))


def names() -> list[str]:
    return [name for name in recipe_table() if name not in REFUSED]


@cache
def recipe_table() -> dict[str, Any]:
    load_recipe(f"{RECIPES}:classifier")
    return dict(sys.modules["matrix"].RECIPES)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory; pictures have tests of their own."""
    import memaudit.reports.figures

    monkeypatch.setattr(memaudit.reports.figures, "render", lambda figure, theme: b"<svg/>")
    (tmp_path / "memaudit.toml").write_text(
        '[audit]\nattacks = ["slira", "lira-online", "global-threshold"]\n', "utf-8"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


CELLS = [(name, FORMS[n % len(FORMS)], SIZES[n % 2]) for n, name in enumerate(names())]
ALL = [(name, form, size) for name in names() for form in FORMS for size in SIZES]


@pytest.mark.parametrize(("name", "form", "size"), CELLS)
def test_a_cell_has_the_right_numbers(name: str, form: str, size: int, place: Path, command: Command) -> None:
    audited(name, form, size, place, command)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form", "size"), [cell for cell in ALL if cell not in CELLS])
def test_every_cell_has_the_right_numbers(name: str, form: str, size: int, place: Path, command: Command) -> None:
    audited(name, form, size, place, command)


@pytest.mark.parametrize("name", REFUSED)
def test_a_cell_is_refused_before_anything_is_stored(name: str, place: Path, command: Command) -> None:
    done = command("bank", "fill", "--recipe", where(name), "--shadows", 6, "--workers", 1)
    assert (done.returncode, "internal" in done.stderr) == (2, False), done.stderr
    assert REFUSED[name] in done.stderr
    assert not list(place.glob("bank/models/[0-9]*"))


def audited(name: str, form: str, size: int, place: Path, command: Command) -> None:
    """Audits a cell and compares its report with what is computed here."""
    members = ma.draw_members(recipe(name), seed=3)
    target = ma.train(recipe(name), members, seed=1, device="cpu")
    networks = isinstance(target, torch.nn.Module)
    path = place / f"model{'.pt' if networks else SUFFIX.get(name, '.skops')}"
    ma.save_target(target, path, members)
    listed = place / f"{path.name}.members.csv"
    if form != "saved":
        listed.unlink()
        listed = write_members(place / "list.csv", form, name, members)
    how = ("--recipe", where(name), "--workers", 1, "--shadows", size)
    done = command("audit", path, *how, "--members", listed, "--fpr", FPR)
    assert done.returncode == 0, done.stderr
    report = json.loads((place / "audit" / "report.json").read_text("utf-8"))
    assert not [control for control in report["controls"] if control["passed"] is False]
    inside = members > 0
    assert (report["subject"]["members"], report["subject"]["nonmembers"]) == (inside.sum(), (~inside).sum())
    stored = [load_file(place / "bank" / "models" / f"{m:04d}" / "signals.safetensors") for m in range(size)]
    shadows = [shadow(name, place, m, stored[m]["members"] > 0) for m in range(size)]
    masks = np.stack([signals["members"] > 0 for signals in stored])
    correct = np.stack([predicted(name, model) for model in shadows]) == labels(name)
    memorized = (correct & masks).sum() / masks.sum() - (correct & ~masks).sum() / (~masks).sum()
    assert found(report, "memorization") == pytest.approx(memorized, abs=1e-6)
    phi = [confidence(name, model) for model in shadows] if networks else [s["phi"][:, 0] for s in stored]
    for model, own, signals in zip(shadows, phi, stored, strict=True):
        np.testing.assert_allclose(signals["phi"][:, 0], own, rtol=1e-3, atol=1e-3)
        consistent(name, model, signals["phi"][:, 0])
    outside = np.sort(np.stack(phi)[~masks])[::-1]
    cut = outside[int(FPR * outside.size + 1e-9)]
    scores = confidence(name, target) if networks else None
    if scores is not None:
        assert found(report, "tpr", "global-threshold") == pytest.approx((scores[inside] > cut).mean(), abs=1e-6)


def write_members(path: Path, form: str, name: str, members: Array) -> Path:
    ids = population(name).ids[members > 0]
    forms: dict[str, list[list[Any]]] = {
        "ids": [[name] for name in ids],
        "ids under a heading": [["id"], *([name] for name in ids)],
        "mask": [["member"], *([int(count > 0)] for count in members)],
        "times": [["times"], *([int(count)] for count in members)],
    }
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(forms[form])
    return path


def found(report: dict[str, Any], metric: str, attack: str | None = None) -> float:
    findings = [result["finding"] for result in report["results"]]
    (one,) = (f for f in findings if (f["metric"], f["attack"]) == (metric, attack))
    return float(one["estimate"]["value"])


@cache
def population(name: str) -> ma.Examples:
    examples: ma.Examples = recipe(name).examples()
    return examples


def labels(name: str) -> Array:
    return population(name).y


def shadow(name: str, place: Path, number: int, members: Array) -> Any:
    """Returns a model of the bank: from its stored weights, or fitted again."""
    own, folder = recipe(name), place / "bank" / "models" / f"{number:04d}"
    if (folder / "weights.safetensors").exists():
        network = (own.model or torch.nn.Module)() if own.model else sys.modules["matrix"].Network()
        network.load_state_dict(load_tensors(folder / "weights.safetensors"), strict=False)
        return network.eval()
    seed = json.loads((folder / "model.json").read_text("utf-8"))["seed"]
    estimator = clone(own.estimator if hasattr(own, "estimator") else own.train.keywords["estimator"])
    random = [key for key in estimator.get_params() if key.rpartition("__")[2] == "random_state"]
    estimator.set_params(**dict.fromkeys(random, seed))
    np.random.seed(seed)  # noqa: NPY002  # as for an estimator that draws from the global state
    return estimator.fit(population(name).x[members], labels(name)[members])


def predicted(name: str, model: Any) -> Array:
    if not isinstance(model, torch.nn.Module):
        return np.asarray(model.predict(population(name).x))
    z = outputs(name, model)
    return (z[:, 0] > 0).astype(int) if z.shape[1] == 1 else z.argmax(axis=1)


def confidence(name: str, network: torch.nn.Module) -> Array:
    """Returns log(p/(1 − p)) of the true label, from a softmax of the last layer in float64."""
    z, y = outputs(name, network), labels(name)
    z = np.column_stack([np.zeros(len(z)), z]) if z.shape[1] == 1 else z
    terms = np.exp(z - z.max(axis=1, keepdims=True))
    true = terms[np.arange(len(y)), y]
    others = np.array([np.delete(row, label).sum() for row, label in zip(terms, y, strict=True)])
    return np.log(true) - np.log(others)


def outputs(name: str, network: Any) -> Array:
    """Returns the last layer's outputs, whatever the network makes of them in the end."""
    x = torch.as_tensor(population(name).x).clone()
    x = (x - 0.5) / 2 if network.end == "in place" else x.float() / 64 - 2 if network.end == "bytes" else x
    with torch.no_grad():
        z = network.body(x.flatten(1).to(network.body[-1].weight.dtype))
    return np.asarray(z.double())


def consistent(name: str, model: Any, phi: Array) -> None:
    """A label of more than even odds is the predicted one; probabilities, where there are no others, give φ."""
    assert ((predicted(name, model) == labels(name)) | (phi <= 1e-3)).all()
    if isinstance(model, torch.nn.Module) or hasattr(model, "decision_function"):
        return
    p = model.predict_proba(population(name).x)[np.arange(len(phi)), labels(name)]
    between = (p > 0.1) & (p < 0.9)
    np.testing.assert_allclose(phi[between], np.log(p[between] / (1 - p[between])), rtol=1e-4, atol=1e-4)
