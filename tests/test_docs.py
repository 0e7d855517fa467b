"""The documentation: every link leads somewhere, every code and name is there, and every snippet runs."""

import contextlib
import importlib.util
import inspect
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml
from loading import unregistered
from samples import sample_report

import memaudit
from memaudit import reports
from memaudit.checks import CHECKS, CONTROLS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
OTHERS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
MADE = ("codes.md", "api.md", "contributing.md", "changelog.md")  # by docs/hooks.py

Command = Callable[..., CompletedProcess[str]]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# ---- links


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=_name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [target for target in targets if target and not re.match(r"[a-z]+:", target)]
    missing = [t for t in local if not (page.parent / t).exists() and (page.parent / t).name not in MADE]
    assert not missing


def _places(node: Any) -> Iterator[str]:
    for entry in node:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        yield from [value] if isinstance(value, str) else _places(value)


def test_every_page_is_in_the_navigation() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    assert sorted(_places(nav)) == sorted([*(page.relative_to(DOCS).as_posix() for page in PAGES), *MADE])


# ---- pages that are made from code


@pytest.fixture(scope="module")
def hooks() -> Any:
    pytest.importorskip("mkdocs")
    return unregistered(DOCS / "hooks.py")


def test_every_code_is_explained_with_its_source_on_the_site_and_by_the_command(hooks: Any, command: Command) -> None:
    page = hooks.codes()
    every: list[Any] = [*CHECKS, *CONTROLS]
    assert len(every) > len({check.code for check in every}), "some are others without a bank"
    for check in every:
        section = page.partition(f" {{#{check.code.lower()}}}\n")[2].partition("\n### ")[0]
        assert "**Source:**" in section
        told = command("explain", check.code).stdout
        for line in (inspect.getdoc(check.run) or "none").split("\n"):
            assert line in told
            assert line.removeprefix("Source: ") in section


def test_every_name_of_the_package_is_in_the_api(hooks: Any) -> None:
    page = hooks.api()
    for name in memaudit.__all__:
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert (getattr(memaudit, name).__doc__ or "").split("\n")[0] in section
    assert "### Examples.from_dataset\n" in page
    assert "* `examples`: Returns the population.\n* `model`: " in page


def test_a_docstring_becomes_lists(hooks: Any) -> None:
    made = hooks._docstring(
        "Return it.\n\nArgs:\n    a: One\n        and more.\n    b: Two.\n\nRaises:\n    Error: No.\n\nSource: A."
    )
    listed = "**Args**\n\n* `a`: One\n  and more.\n* `b`: Two.\n\n**Raises**\n\n* `Error`: No."
    assert made == f"Return it.\n\n{listed}\n\n**Source:** A."


# ---- snippets


@dataclass(frozen=True)
class Snippet:
    """A block of code on a page, and the comment in front of it."""

    line: int
    note: str
    language: str
    text: str


def snippets(page: Path) -> list[Snippet]:
    text = page.read_text("utf-8")
    found = re.finditer(r"(?:<!-- ([^>]*) -->\n)?^```(\w*)[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [Snippet(text[: m.start()].count("\n") + 1, m[1] or "", m[2], m[3]) for m in found]


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=_name)
def test_every_snippet_of_python_compiles_and_names_what_exists(page: Path) -> None:
    for snippet in snippets(page):
        if snippet.language == "python":
            compile(snippet.text, f"{_name(page)}:{snippet.line}", "exec")
            for name in re.findall(r"\b(?:ma|memaudit)\.(\w+)", snippet.text):
                module = importlib.util.find_spec(f"memaudit.{name}")
                assert name in memaudit.__all__ or module, (page, snippet.line, name)


@contextlib.contextmanager
def _at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder as the working directory, whose modules can be imported."""
    before, path = set(sys.modules), list(sys.path)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(folder)):
                del sys.modules[name]


def _console(text: str, codes: tuple[int, ...], command: Command) -> None:
    for line in re.findall(r"^\$ ([^#\n]*)", text, re.MULTILINE):
        program, *arguments = line.split()
        if program == "python":
            runpy.run_path(arguments[0], run_name="__main__")
        else:
            assert program == "memaudit"
            done = command(*arguments)
            assert done.returncode in codes, done.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("page", [*TUTORIALS, DOCS / "trackers.md"], ids=_name)
def test_a_tutorial_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    """Its files are written, its commands and its Python are run, in this order and in one folder."""
    names: dict[str, Any] = {"__name__": "__main__"}
    (tmp_path / "audit").mkdir()
    if page.stem == "trackers":
        reports.save(sample_report(), tmp_path / "audit" / "report.json")
    with _at(tmp_path, monkeypatch):
        for snippet in snippets(page):
            if re.fullmatch(r"\w+\.(py|toml)", snippet.note):
                (tmp_path / snippet.note).write_text(snippet.text, "utf-8")
            elif snippet.language == "console":
                codes = tuple(map(int, re.findall(r"\d", snippet.note))) or (0,)
                _console(snippet.text, codes, command)
            elif snippet.language == "python" and snippet.note != "fragment":
                exec(compile(snippet.text, f"{_name(page)}:{snippet.line}", "exec"), names)
    if page.stem == "own-loop":
        watch = names["trainer"].callbacks[0].watch
        assert watch.error is None
        assert watch.audit.report.controls
    if page.stem == "classifier":
        assert names["audit"].report.results


# ---- the site


class _Resources(HTMLParser):
    """What a page makes a browser load."""

    def __init__(self, content: str):
        super().__init__()
        self.addresses: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.addresses.append(values.get("src") or "")
        if tag == "link" and values.get("rel") in ("stylesheet", "preload", "icon", "preconnect", "modulepreload"):
            self.addresses.append(values.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material")
    return _built(ROOT, tmp_path_factory.mktemp("site"))


def _built(root: Path, folder: Path) -> Path:
    """The site that `make docs` builds, warnings being errors."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    own = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=root, env=own, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return folder


@pytest.mark.slow
def test_the_site_is_built_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        addresses = _Resources(page.read_text("utf-8")).addresses
        assert addresses
        assert not [address for address in addresses if re.match(r"(https?:)?//", address)], page
    assert "CTL001" in (site / "codes" / "index.html").read_text("utf-8")
    assert not (site / "hooks.py").exists()


@pytest.mark.slow
@pytest.mark.parametrize("link", ["gone.md", "gate.md#no-such-heading", "../no/such/file"])
def test_a_broken_link_stops_the_build(link: str, tmp_path: Path) -> None:
    pytest.importorskip("material")
    root = tmp_path / "copy"
    root.mkdir()
    for name in ("memaudit", "examples", "integrations", "benchmarks"):
        (root / name).symlink_to(ROOT / name)
    shutil.copytree(DOCS, root / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("mkdocs.yml", "CONTRIBUTING.md", "CHANGELOG.md", "README.md"):
        shutil.copy(ROOT / name, root)
    with (root / "docs" / "index.md").open("a", encoding="utf-8") as file:
        file.write(f"\n[broken]({link})\n")
    with pytest.raises(RuntimeError, match=re.escape(link.partition("#")[0].removeprefix("../"))):
        _built(root, tmp_path / "site")
