"""Models and data as people have them: a right number, or a refusal that names the way out, before anything is trained.

A number is right if it is the one that this test computes by itself, in float64, from the model's own outputs on the
data as the recipe's functions made it, with none of memaudit's arithmetic and none of its adapters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loading import RECIPES as FOLDER
from loading import unregistered
from safetensors.numpy import load_file
from torch import nn

import memaudit as ma
from memaudit.auditing import open_target
from memaudit.design import training_seed
from memaudit.errors import MemauditError

Array = np.ndarray

pd = pytest.importorskip("pandas")

doors = unregistered(FOLDER / "doors.py")
FEW, MANY = 2, 6  # shadow models
VOTES = {"frame": 12, "polars": 12, "labels-forest": 12, "strings-as-labels": 4, "labels-neighbours": 4}


def raw(name: str) -> Any:
    """Returns the inputs of a recipe without memaudit."""
    if name in ("frame", "polars"):
        return doors.frame().drop(columns="income")
    if name.startswith("text"):
        return doors.texts()
    if name.startswith("sparse"):
        return doors.of_sparse().x.toarray()  # another form than the model was trained on
    if name in ("tokens", "rows-of-datasets", "bert", "distilbert"):
        return {k: torch.as_tensor(v) for k, v in doors.tokens().items()}
    if name == "vit":
        rng = np.random.default_rng(6)
        return {"pixel_values": torch.as_tensor(rng.random((doors.N, 1, 8, 8)).astype(np.float32))}
    if name == "ragged":
        rng = np.random.default_rng(7)
        return [rng.normal(size=rng.integers(3, 9)).astype(np.float32) for _ in range(doors.N)]
    return doors.numbers()[0]


def truth(name: str) -> Array:
    """Returns the labels as numbers, of classes by their alphabetical order: Eel, cat, dog."""
    if name.startswith("labels"):
        return doors.several_labels()
    if name.startswith("amounts"):
        return doors.amounts()
    y = doors.numbers()[1]
    if name in ("frame", "polars"):
        return (doors.frame()["income"] == ">50K").to_numpy().astype(int)
    if name in ("named-classes", "categories", "text-pipeline", "strings-as-labels"):
        return np.array([1, 2, 0])[y]
    return (y > 0).astype(int) if name in ("booleans", "one-sigmoid-named") else y


def answered(name: str, model: Any) -> Array:
    """Returns a model's outputs in float64: probabilities, logits, or predictions."""
    x = raw(name)
    if not isinstance(model, nn.Module):
        if name.startswith("amounts"):
            return np.asarray(model.predict(x), float)
        if name == "labels-forest" or name == "labels-neighbours":
            return np.stack([p[:, 1] for p in model.predict_proba(x)], axis=1)
        return np.asarray(getattr(model, METHOD.get(name, "predict_proba"))(x), float)
    model = model.double().eval()
    if name.endswith("named") and name != "strings-as-labels":  # probabilities are as rounded as the network's
        return single(model.float(), x)
    with torch.no_grad():
        if isinstance(x, dict):
            found = model(**{k: v.double() if v.is_floating_point() else v for k, v in x.items()})
        elif isinstance(x, list):
            found = model.float()(x)
        elif name == "two-inputs":
            both = torch.as_tensor(x).double()
            found = model(both[:, :2], both[:, 2:])
        else:
            found = model(torch.as_tensor(x).double())
    if name in ("dict-by-name", "dict-by-function", "dict"):
        return np.asarray(found["scores"])
    if isinstance(found, tuple):
        return np.asarray(found[0])
    return np.asarray(found if isinstance(found, torch.Tensor) else found["logits"]).astype(float)


def single(model: nn.Module, x: Array) -> Array:
    with torch.no_grad():
        found = model(torch.as_tensor(x))
    return np.asarray(found[0] if isinstance(found, tuple) else found, float)


METHOD = {"sparse": "predict_proba", "sparse-svc": "decision_function"}


def confidence(name: str, model: Any) -> tuple[Array, Array]:
    """Returns (φ, correctness) by plain formulas."""
    out, y = answered(name, model), truth(name)
    rows = np.arange(len(y))
    if name.startswith("amounts"):
        error = np.abs(out.reshape(-1) - y) / y.std()
        return -error, 1 - np.minimum(1, error**2)
    if name.startswith("labels"):
        p = out if name.endswith(("forest", "neighbours", "network", "named")) else 1 / (1 + np.exp(-out))
        if name == "labels-one-vs-rest":
            p = model.predict_proba(raw(name))
        predicted = p > 0.5
        if name in VOTES:
            votes = VOTES[name]
            p = (votes * p + 0.5) / (votes + 1)
        joint = np.where(y == 1, p, 1 - p).prod(axis=1)
        return np.log(joint) - np.log1p(-joint), (predicted == (y == 1)).mean(axis=1)
    if name in VOTES:
        votes = VOTES[name]
        own = (votes * out[rows, y] + 0.5) / (votes + 1)
        return np.log(own / (1 - own)), out.argmax(axis=1) == y
    if name == "sparse-svc" or (isinstance(model, nn.Module) and "softmax" not in name and "sigmoid" not in name):
        out = np.exp(out - out.max(axis=1, keepdims=True))
        out /= out.sum(axis=1, keepdims=True)
    if out.shape[1] == 1:
        out = np.concatenate([1 - out, out], axis=1)
    own = out[rows, y]
    others = np.where(np.arange(out.shape[1]) == y[:, None], 0, out).sum(axis=1)
    return np.log(own) - np.log(others), out.argmax(axis=1) == y


def saved(name: str, place: Path) -> tuple[Any, Path, Any]:
    """Trains and saves a target as its owner would: transformers as a folder, networks and estimators as files."""
    recipe = doors.RECIPES[name]
    members = ma.draw_members(recipe, seed=3)
    model = ma.train(recipe, members, seed=1, device="cpu")
    suffix = "" if hasattr(model, "save_pretrained") else ".safetensors" if isinstance(model, nn.Module) else ".skops"
    ma.save_target(model, place / f"model{suffix}", members)
    return model, place / f"model{suffix}", members


def shadow(name: str, members: Array, number: int) -> Any:
    return ma.train(doors.RECIPES[name], members, seed=training_seed(0, number), device="cpu")


@pytest.mark.parametrize("name", doors.RECIPES)
def test_a_door_gives_the_right_numbers(name: str, tmp_path: Path) -> None:
    if name in ("bert", "distilbert", "vit"):
        pytest.importorskip("transformers")
    model, path, _ = saved(name, tmp_path)
    target = open_target(path, doors.RECIPES[name], device="cpu")
    bank = ma.fill(tmp_path / "bank", doors.RECIPES[name], shadows=FEW, device="cpu", workers=1)
    signals = load_file(bank.path / "models" / "0001" / "signals.safetensors")
    made = shadow(name, signals["members"] > 0, 1)
    for who, recorded in ((model, target.recorded), (made, signals)):
        phi, correct = confidence(name, who)
        np.testing.assert_allclose(recorded["phi"][:, 0], phi, rtol=1e-3, atol=2e-3)
        np.testing.assert_allclose(recorded["correct"], correct, atol=1e-5)
    assert np.ptp(phi) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", doors.RECIPES)
def test_a_door_leads_to_a_report_with_the_right_memorization(name: str, tmp_path: Path) -> None:
    _, path, members = saved(name, tmp_path)
    bank = ma.fill(tmp_path / "bank", doors.RECIPES[name], shadows=MANY, device="cpu", workers=1)
    done = ma.audit(path, doors.RECIPES[name], bank, fprs=(0.1,), device="cpu")
    stored = [load_file(bank.path / "models" / f"{m:04d}" / "signals.safetensors") for m in range(MANY)]
    masks = np.stack([signals["members"] > 0 for signals in stored])
    correct = np.stack([confidence(name, shadow(name, masks[m], m))[1] for m in range(MANY)])
    memorized = (correct * masks).sum(axis=0) / masks.sum(axis=0) - (correct * ~masks).sum(axis=0) / (~masks).sum(
        axis=0
    )
    found = {result.finding.code: result.finding for result in done.report.results}
    assert found["MEM001"].estimate.value == pytest.approx(memorized.mean(), abs=1e-5)
    assert done.report.subject.members == int((np.asarray(members) > 0).sum())
    told = " ".join(done.report.limitations)
    assert ("all of its labels together" in told, "the error of its prediction" in told) == (
        name.startswith("labels"),
        name.startswith("amounts"),
    )
    for kind in ("html", "json", "md"):
        done.save(tmp_path / f"report.{kind}")


@pytest.mark.parametrize(("recipe", "said"), doors.REFUSED.values(), ids=doors.REFUSED)
def test_what_cannot_be_read_is_refused_before_a_model_is_stored(recipe: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(MemauditError, match=said) as caught:
        ma.fill(tmp_path / "bank", recipe, shadows=2, device="cpu", workers=1)
    assert "internal" not in str(caught.value)
    assert not list(tmp_path.glob("bank/models/[0-9]*"))


def test_a_table_is_what_the_pipeline_is_given() -> None:
    """Names, types and missing values arrive as they are: a pipeline that asks for a column by its name finds it."""
    examples = doors.of_frame()
    pd.testing.assert_frame_equal(examples.take(np.arange(5)).x, doors.frame().drop(columns="income").iloc[:5])
    assert examples.class_names == ("<=50K", ">50K")
    assert examples.labels.tolist() == doors.frame()["income"].tolist()
