"""What a command imports before it answers: a person, or every run of a CI, waits for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import memaudit
from memaudit.recipe.source_files import distributions

PAGES = {"matplotlib", "jinja2", "typst"}
TRAINING = {"torch", "sklearn", "memaudit.bank", "memaudit.recipe", "memaudit.signals"}
NUMBERS = {"numpy", "scipy"}
GATE = '[[gate]]\nmetric = "tpr"\nattack = "lira-online"\nat_fpr = 0.02\nmax = {}\n'
CODE = (
    "import json, sys; from memaudit.cli import main\n"
    "try: main(sys.argv[1:])\n"
    "except SystemExit as end: code = end.code or 0\n"
    "print(json.dumps([code, sorted(sys.modules)]))"
)


def imported(folder: Path, *arguments: str) -> tuple[int, set[str]]:
    """Return the exit code of a command, and the modules that it has imported at its end."""
    environment = os.environ | {"PYTHONPATH": str(Path(memaudit.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        check=True,
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    return code, set(modules)


def test_the_list_of_commands_imports_none_of_them(audited_place: Path) -> None:
    code, modules = imported(audited_place, "--help")
    assert code == 0
    assert not (NUMBERS | TRAINING | PAGES | {"pydantic", "rich", "memaudit.reports"}) & modules
    assert not [name for name in modules if name.startswith("memaudit.cli.") and name.endswith("_command")]


@pytest.mark.parametrize(("limit", "expected"), [(1.0, 0), (0.001, 1)])
def test_the_gate_imports_no_statistics_for_which_it_has_no_use(
    audited_place: Path, tmp_path: Path, limit: float, expected: int
) -> None:
    (tmp_path / "memaudit.toml").write_text(GATE.format(limit), "utf-8")
    code, modules = imported(tmp_path, "gate", str(audited_place / "report.json"))
    assert code == expected
    assert "scipy.special" in modules  # the intervals are computed again
    assert not (TRAINING | PAGES | {"scipy.stats", "scipy.optimize"}) & modules


def test_a_page_in_markdown_imports_no_numbers(audited_place: Path, tmp_path: Path) -> None:
    code, modules = imported(tmp_path, "report", str(audited_place / "report.json"), "-o", "report.md")
    assert code == 0
    assert (tmp_path / "report.md").exists()
    assert not (NUMBERS | TRAINING | PAGES) & modules


def test_settings_are_read_without_numbers(tmp_path: Path) -> None:
    (tmp_path / "memaudit.toml").write_text(GATE.format(0.1), "utf-8")
    code, modules = imported(tmp_path, "policy")
    assert code == 0
    assert not (NUMBERS | TRAINING | PAGES) & modules


def test_distributions_are_those_that_python_finds() -> None:
    names = ["numpy", "scipy", "sklearn", "torch", "PIL", "yaml", "click", "pydantic", "jinja2", "typing_extensions"]
    found = packages_distributions()
    expected = {name for module in names for name in found.get(module, ())}
    assert {"numpy", "scikit-learn", "torch", "typing_extensions"} <= expected
    assert set(distributions(names)) == expected
    assert distributions(["no_such_module"]) == {}
