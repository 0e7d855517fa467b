"""What a log of a CI run shows of an error in the user's code: its type and line, but no text, which may hold data."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from memaudit.errors import shown

SECRET = "row 17: Jane Doe"

RECIPE = f"""
import os
import numpy as np
import memaudit as ma

def fail():
    raise ValueError({SECRET!r})

class Rows:
    def __len__(self):
        return 40
    def __getitem__(self, row):
        return np.zeros(2), int({SECRET!r}) if os.environ["FAIL"] == "a label" else 0

def examples():
    if os.environ["FAIL"] == "examples()":
        fail()
    if os.environ["FAIL"] == "a label":
        return ma.Examples.from_dataset(Rows())
    return ma.Examples(np.arange(80.0).reshape(40, 2), np.arange(40) % 2)

class Model:
    def predict_proba(self, x):
        if os.environ["FAIL"] == "evaluating the model":
            fail()
        return np.full((len(x), 2), 0.5)

def train(dataset, *, seed, device):
    if os.environ["FAIL"] == "train()":
        fail()
    return Model()

recipe = ma.CallableRecipe(examples, train=train, load=lambda path: Model())
if os.environ["FAIL"] == "importing":
    fail()
"""
STEPS = ["importing", "examples()", "a label", "train()", "evaluating the model"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "recipe.py").write_text(RECIPE, "utf-8")
    (tmp_path / "memaudit.toml").write_text("[audit]\nshadows = 8\nworkers = 1\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("call", "step"), [*((("bank", "fill"), step) for step in STEPS), (("plan",), "train()")])
def test_in_ci_no_text_of_the_users_exceptions_is_shown(
    folder: Path, command: Callable[..., subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch,
    call: tuple[str, ...], step: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("FAIL", step)
    monkeypatch.setenv("CI", "true")
    done = command(*call)
    assert done.returncode == 2
    assert "Jane" not in done.stdout + done.stderr
    assert re.search(r"ValueError \(its text may hold data", done.stdout + done.stderr)
    if step != "a label":
        assert re.search(r"recipe\.py:\d+: ", done.stdout + done.stderr)
    monkeypatch.setenv("CI", "false")
    assert SECRET in "".join([(again := command(*call)).stdout, again.stderr])


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_the_whole_is_shown_with_traceback_and_workers_show_no_more(folder: Path, workers: int) -> None:
    (folder / "recipe.py").write_text(RECIPE.replace("load=lambda path: Model()", "load=Model"), "utf-8")
    environment = os.environ | {"CI": "1", "FAIL": "train()"}

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "memaudit", *options, "bank", "fill", "--workers", str(workers)]
        return subprocess.run(line, capture_output=True, text=True, env=environment, check=False)

    done = run()
    assert done.returncode == 2
    assert "Jane" not in done.stdout + done.stderr
    assert re.search(r"recipe\.py:\d+: train\(\) failed: ValueError \(", done.stderr)
    assert SECRET in run("--traceback").stderr


def test_an_internal_error_shows_no_text_either(
    folder: Path, command: Callable[..., subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import memaudit.recipe

    def broken(*_: object) -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr(memaudit.recipe, "load_recipe", broken)
    monkeypatch.setenv("CI", "true")
    done = command("plan")
    assert done.returncode == 2
    assert "internal error: KeyError (its text" in done.stderr
    assert "Jane" not in done.stderr


@pytest.mark.parametrize(
    ("value", "hidden"), [("true", True), ("1", True), ("0", False), ("False", False), ("", False)]
)
def test_ci_is_what_calls_itself_so(monkeypatch: pytest.MonkeyPatch, value: str, hidden: bool) -> None:
    monkeypatch.setenv("CI", value)
    assert (SECRET not in shown(ValueError(SECRET))) == hidden
