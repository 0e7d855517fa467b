"""Which commit a recipe is at, and whether it is as it was committed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from memaudit.auditing import provenance
from memaudit.auditing.provenance import revision

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A file in a git repository of its own, as it was committed."""
    file = tmp_path / "recipe.py"
    file.write_text("x = 1\n")
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    for arguments in (("init", "-q"), ("add", "recipe.py"), (*who, "commit", "-q", "-m", "first")):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    return file


def _head(folder: Path) -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@needs_git
def test_a_recipe_as_it_was_committed(recipe: Path) -> None:
    (recipe.parent / "notes.txt").write_text("of no concern to the recipe")
    assert revision([recipe]) == f"{_head(recipe.parent)}; the recipe’s files are as committed"


@needs_git
def test_a_recipe_that_was_changed_or_never_committed(recipe: Path) -> None:
    other = recipe.with_name("data.py")
    other.write_text("y = 2\n")
    assert revision([recipe, other]) == f"{_head(recipe.parent)}; the recipe’s files are not as committed"
    (recipe.parent / ".gitignore").write_text("data.py\n")
    assert revision([recipe, other]).endswith("are not as committed")  # ignored is not committed either
    recipe.write_text("x = 2\n")
    assert revision([recipe]).endswith("are not as committed")


@needs_git
def test_a_recipe_outside_of_any_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert revision([tmp_path / "recipe.py"]).startswith("none: the recipe is in no git repository")


def test_a_recipe_from_no_file_and_a_machine_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert revision([]) == "not known: the recipe comes from no file"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert revision([tmp_path / "recipe.py"]).startswith("none: ")


def test_a_package_that_is_absent_is_said_to_be() -> None:
    assert provenance._version("no-such-package") == "not installed"
