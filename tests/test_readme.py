"""The README shows files that exist, letter by letter, and commands that there are."""

import re
from pathlib import Path

import pytest

from memaudit.cli import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
SHOWN = re.findall(r"<!-- (examples/\S+) -->\n```\w+\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize(("path", "text"), SHOWN, ids=[path for path, _ in SHOWN])
def test_a_file_that_the_readme_shows_is_the_file(path: str, text: str) -> None:
    assert (ROOT / path).read_text("utf-8") == text


def test_the_readme_shows_the_example_and_it_is_short() -> None:
    lines = {path: text.count("\n") for path, text in SHOWN}
    assert lines["examples/fashion_mnist/recipe.py"] < 40
    assert lines["examples/fashion_mnist/memaudit.toml"] < 15


def test_every_command_of_the_readme_exists() -> None:
    named = set(re.findall(r"memaudit (\w+)", "\n".join(re.findall(r"`(memaudit [^`]+)`", README))))
    assert named
    assert named <= set(cli.commands) | set(cli.list_commands(None))  # type: ignore[arg-type]
