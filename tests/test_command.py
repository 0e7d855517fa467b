"""The command in a report's provenance is the command that was run."""

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from safetensors.torch import load_file

import memaudit as ma
from memaudit.recipe import load_recipe
from memaudit.reports import load

Command = Callable[..., CompletedProcess[str]]


@pytest.mark.parametrize(
    "arguments",
    [
        ["audit", "model.safetensors", "-q"],
        ["audit", "--shadows", "6", "./model.safetensors", "--evidence=ids", "--out", "my audit", "--fpr", "0.05"],
    ],
)
def test_the_command_is_told_as_it_was_typed(project: Path, arguments: list[str], command: Command) -> None:
    assert command(*arguments).returncode == 0
    out = "my audit" if "my audit" in arguments else "audit"
    told = load(project / out / "report.json").provenance["command"]
    assert shlex.split(told) == ["memaudit", *arguments]


def test_a_call_from_python_is_told_as_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    recipe = load_recipe(str(project / "recipe.py"))
    done = ma.audit("model.safetensors", recipe, "bank", fprs=(0.02,), shadows=6)
    sys.modules.pop("recipe")
    assert done.report.provenance["command"] == (
        "memaudit.audit('model.safetensors', recipe, 'bank', shadows=6, fprs=(0.02,))"
    )


def test_a_model_whose_name_is_no_text_is_audited(project: Path, command: Command) -> None:
    name = os.fsdecode(b"model\xff.pt")
    torch.save(load_file(project / "model.safetensors"), project / "plain.pt")
    shutil.move(project / "plain.pt", project / name)
    done = command("audit", name, "--members", "model.safetensors.members.csv")
    assert done.returncode == 0, done.stderr
    report = load(project / "audit" / "report.json")
    assert report.subject.model == r"model\udcff.pt"
    assert r"model\udcff.pt" in report.provenance["command"]
