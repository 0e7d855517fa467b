"""What people read is plain, current English in the terms of the field: the worst of the old phrases stay out."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import samples

from memaudit import reports
from memaudit.cli import _COMMANDS

ROOT = Path(__file__).parents[1]
RARE = re.compile(
    r"\b(stands|lies|fares?|gives? away|given away|accus\w+|coins|by lot|by accident|put up with|held against"
    r"|made anew|answers for|unasked|likes best|of his own|is said|the price of)\b",
    re.IGNORECASE,
)
MORE = re.compile(r"\b(anew|likewise|one and the same|betray\w*|to be had|are? told|comes to light)\b", re.IGNORECASE)
CODE = sorted(ROOT.glob("memaudit/**/*.py"))


def _old(text: str) -> list[str]:
    return [match[0] for match in RARE.finditer(text)]


def _texts(path: Path) -> Iterator[str]:
    """All text of a module: messages, docstrings, which `explain` prints, and comments."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
    with tokenize.open(path) as file:
        yield from (token.string for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.COMMENT)


@pytest.mark.parametrize("words", [RARE, MORE], ids=["rare", "more"])
def test_messages_docstrings_and_comments_have_none_of_the_old_words(words: re.Pattern[str]) -> None:
    assert CODE
    found = {
        path.relative_to(ROOT).as_posix(): old
        for path in CODE
        if (old := [match[0] for text in _texts(path) for match in words.finditer(text)])
    }
    assert found == {}


def test_the_first_line_of_a_docstring_is_imperative() -> None:
    """ "Return …", not "Returns …", of whatever does something."""
    third = re.compile(r"[A-Z][a-z]+(?:[^s\W]s|es)\s(?:the|a|an|whether|what|how|every)\b")
    found = [
        f"{path.name}: {line}"
        for path in CODE
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and third.match(line := (ast.get_docstring(node) or "").split("\n")[0])
    ]
    assert found == []


def test_the_old_words_are_found_where_they_are(tmp_path: Path) -> None:
    module = tmp_path / "x.py"
    module.write_text(
        '"""Who accuses."""\nx = f"it {1} lies here, and is given away"\nfamilies = "standstill, welfare"  # by lot\n'
    )
    assert [word for text in _texts(module) for word in _old(text)] == ["accuses", "lies", "given away", "by lot"]


@pytest.mark.parametrize("name", ["html", "md", "modelcard", "junit", "sarif", "github", "gitlab"])
def test_a_rendered_report_has_none_of_the_old_words(name: str) -> None:
    page = re.sub(
        r"base64,[A-Za-z0-9+/=]+|<style>.*?</style>",
        "",
        reports.render(samples.sample_report(), name).decode(),
        flags=re.S,
    )
    assert _old(page) == []


def test_a_real_audit_has_none_of_the_old_words(audited_place: Path) -> None:
    loaded = reports.load(audited_place / "report.json")
    page = re.sub(r"base64,[A-Za-z0-9+/=]+", "", reports.render(loaded, "html").decode())
    assert _old(page) == []
    assert _old((audited_place / "report.json").read_text("utf-8")) == []


@pytest.mark.parametrize("name", ["", *_COMMANDS])
def test_help_has_none_of_the_old_words(name: str, command: Callable[..., CompletedProcess[str]]) -> None:
    done = command(*([name] if name else []), "--help")
    assert done.returncode == 0
    assert _old(done.stdout) == []


def test_no_page_has_any_of_the_old_words() -> None:
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = {path.relative_to(ROOT).as_posix(): old for path in files if (old := _old(path.read_text("utf-8")))}
    assert found == {}
