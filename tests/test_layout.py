"""What stands where: doors, names, and who may be waited for."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import memaudit

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["attacks", "canaries", "reports"])
def test_the_doors_lead_into_the_package(name: str) -> None:
    door = ROOT / name
    assert door.is_symlink()
    assert str(door.readlink()) == f"memaudit/{name}", "relative, so that a clone has it too"
    module = importlib.import_module(f"memaudit.{name}")
    assert door.resolve() == Path(str(module.__file__)).parent


@pytest.mark.parametrize("name", memaudit.__all__)
def test_every_exported_name_resolves_and_is_documented(name: str) -> None:
    assert getattr(memaudit, name).__doc__
    assert name in dir(memaudit)


def test_what_is_not_exported_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'memaudit' has no attribute 'audits'"):
        memaudit.audits  # noqa: B018


def test_the_names_for_type_checkers_are_the_names_at_run_time() -> None:
    """`from x import y as y` under TYPE_CHECKING and the table of homes are two lists of one thing."""
    text = (ROOT / "memaudit" / "__init__.py").read_text("utf-8")
    listed = [line.rpartition(" as ")[2] for line in text.splitlines() if line.startswith("    from memaudit.")]
    assert sorted(listed) == sorted(memaudit.__all__)


def _loaded(code: str) -> set[str]:
    """Returns the top-level packages that are imported after some code has run in a new process."""
    told = "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code + told],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import memaudit", {"torch", "scipy", "numpy", "click", "pydantic"}),
        ("import memaudit.types, memaudit.errors, memaudit.policy", {"torch", "scipy", "numpy"}),
        ("import memaudit.reports", {"torch", "scipy", "numpy", "matplotlib"}),
        ("import memaudit.recipe, memaudit.bank, memaudit.design", {"torch", "sklearn"}),
        ("import memaudit.attacks, memaudit.memorization, memaudit.checks, memaudit.signals", {"torch", "matplotlib"}),
        ("from memaudit import SGD, Examples, ClassifierRecipe, shift; SGD(lr=0.1)", {"torch", "sklearn"}),
    ],
)
def test_an_import_waits_for_nothing_that_it_does_not_use(code: str, absent: set[str]) -> None:
    assert not _loaded(code) & absent
