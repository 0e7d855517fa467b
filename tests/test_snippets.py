"""The snippets of README and docs run, with small things in the place of what they mention.

`test_docs` runs the tutorials; here are the other pages. Every snippet of Python or of a console is run by one of the
two, or is named in `NOT_RUN` with the reason.
"""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import outputs
import pytest
from test_docs import DOCS, OTHERS, PAGES, ROOT, TUTORIALS, Snippet, _at, _name, snippets

Array = np.ndarray
Command = Callable[..., CompletedProcess[str]]

RUNS = ("python", "console", "bash", "sh")
NOT_RUN = {
    "README.md": ("$ make", "examples/", "$ python train.py", "# in another"),
    "CONTRIBUTING.md": ("",),  # `test_contributing` runs its plug-in; the rest are make targets
    "docs/ci.md": ("git init",),  # a pipeline's clone of the gate
    "docs/install.md": ("$ pip",),
    "docs/language-models.md": ("import",),  # `test_language_docs`
    "docs/signing.md": ("$ cosign", "openssl"),
    "docs/clusters.md": ("",),  # `test_clusters_page`
    "docs/canaries.md": ("",),  # `test_canaries_page`
    "docs/architecture.md": ("",),  # `test_contributing` runs the proxy that it shows
    "docs/derived.md": ("",),  # `test_bank_snippets`
    "docs/dp.md": ("",),  # `test_dp_audit`
    "docs/access.md": ("",),  # `test_access_audit` audits with every level
    "docs/white-box.md": ("",),  # `test_white_box`, `test_snapshots` and `test_poisoned` do what it shows
    "docs/generative.md": ("def planted",),  # `tests/recipes/generators.py` is alike
    "docs/designs.md": ("",),  # `test_bank_snippets`
    "docs/observing.md": ("",),  # `test_bank_snippets`
    "docs/proxies.md": ("",),  # `test_bank_snippets`, `test_contributing`
    "docs/representations.md": ("",),  # `test_bank_snippets`
    "docs/federated.md": ("",),  # `test_federated` does what it shows
    "docs/whatif.md": ("",),  # `test_whatif_command` does what it shows
    "docs/memorization.md": ("",),  # `test_memorization_page`
}
PAGES_OF_AN_AUDIT = ("plan.md", "signing.md", "gate.md", "ledger.md")


def _runnable(page: Path) -> list[Snippet]:
    skipped = NOT_RUN.get(_name(page), ())
    here = [s for s in snippets(page) if s.language in RUNS and s.note != "fragment"]
    return [
        s for s in here if not any(s.text.lstrip().startswith(start) or s.note.startswith(start) for start in skipped)
    ]


def test_a_page_whose_snippets_are_not_run_is_named() -> None:
    """A new page with snippets must be run here, or by the tests of the tutorials, or be named."""
    run = {DOCS / name for name in (*PAGES_OF_AN_AUDIT, "import.md", "members.md", "trackers.md")} | {*TUTORIALS}
    run |= {ROOT / "README.md", DOCS / "people.md", DOCS / "generative.md"}
    unnamed = [_name(page) for page in (*PAGES, *OTHERS) if _runnable(page) and page not in run]
    assert not unnamed


def _python(page: Path, names: dict[str, Any], only: str = "") -> int:
    """Run the snippets of Python that are no files, in one namespace; return their number."""
    count = 0
    for snippet in _runnable(page):
        if snippet.language == "python" and only in snippet.text and not snippet.note.endswith(".py"):
            exec(compile(snippet.text, f"{_name(page)}:{snippet.line}", "exec"), names)
            count += 1
    return count


def _console(text: str, command: Command, codes: tuple[int, ...] = (0,)) -> int:
    """Run the commands of memaudit in a snippet; return their number."""
    lines = re.findall(r"^\$ memaudit ([^#\n]*)", text, re.MULTILINE)
    for line in lines:
        done = command(*shlex.split(line))
        assert done.returncode in codes, (line, done.stderr)
    return len(lines)


def test_the_first_snippet_of_the_readme_audits_an_estimator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 5)), rng.integers(0, 2, 400)
    names = {"x_train": x[:200], "y_train": y[:200], "x_test": x[200:], "y_test": y[200:]}
    with _at(tmp_path, monkeypatch):
        names["model"] = LogisticRegression().fit(x[:200], y[:200])
        assert _python(ROOT / "README.md", names, "memaudit.quick(") == 1
        assert (tmp_path / "audit.html").stat().st_size > 10_000


def test_the_page_on_import_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    made = outputs.made(outputs.coins(16, 300), leak=2.0)
    names: dict[str, Any] = dict(made.shadows) | {f"target_{name}": value for name, value in made.target.items()}
    page = DOCS / "import.md"
    with _at(tmp_path, monkeypatch):
        first, second, third, *_ = _runnable(page)
        for snippet in (second, third):
            exec(compile(snippet.text, f"{_name(page)}:{snippet.line}", "exec"), names)
        assert _console(first.text, command, codes=(0, 1)) == 2
        assert (tmp_path / "audit.html").exists()


def test_the_page_on_members_writes_a_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import memaudit

    rng = np.random.default_rng(0)
    names = {"memaudit": memaudit, "x_train": rng.normal(size=(20, 3)), "y_train": rng.integers(0, 2, 20)}
    with _at(tmp_path, monkeypatch):
        assert _python(DOCS / "members.md", names, "write_manifest") == 1
        assert (tmp_path / "training-set.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES_OF_AN_AUDIT)
def test_the_commands_of_a_page_run_on_an_audited_model(
    name: str, project: Path, command: Command, two_limits: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a folder with a recipe, a bank and an audited model: all commands of the page, in order."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "audits").mkdir()
    with (project / "memaudit.toml").open("a", encoding="utf-8") as settings:
        settings.write(two_limits)
    if name == "gate.md":  # which shows the gate of the page on signing
        _console("$ memaudit key audit.pem\n$ memaudit audit model.safetensors --sign audit.pem\n", command, (0, 1, 3))
    model = next(path for path in project.iterdir() if path.suffix in (".safetensors", ".pt"))
    ran = 0
    for snippet in _runnable(DOCS / name):
        if snippet.language == "console":
            text = re.sub(r"\bmodel\.(safetensors|pt)\b", model.name, snippet.text)
            ran += _console(text, command, codes=(0, 1, 3))
    assert ran


def test_the_page_on_people_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    import pandas as pd  # type: ignore[import-untyped]

    import memaudit as ma

    (tmp_path / "recipe.py").write_text(PEOPLE)
    rng = np.random.default_rng(0)
    x, y = pd.DataFrame({"marital-status": rng.integers(0, 3, 120), "age": rng.normal(40, 9, 120)}), [0, 1] * 60
    names: dict[str, Any] = {"ma": ma, "x": x, "y": y, "sex": ["f", "m", "m"] * 40, "bands": [20, 40, 60, 80] * 30}
    page = DOCS / "people.md"
    with _at(tmp_path, monkeypatch):
        names |= {"recipe": "recipe.py:recipe", "bank": ma.fill("bank", "recipe.py:recipe", 6, workers=1)}
        members = ma.draw_members("recipe.py:recipe", seed=1)
        trained = ma.train("recipe.py:recipe", members, seed=1)
        ma.save_target(trained, "model.skops", members, "recipe.py:recipe")
        Path("memaudit.toml").write_text("[audit]\nshadows = 6\nworkers = 1\nfpr = [0.1]\n")
        console = [s for s in _runnable(page) if s.language == "console"]
        assert [_console(snippet.text, command) for snippet in console] == [1]
        (snippet,) = (s for s in _runnable(page) if s.language == "python")
        text = snippet.text.replace("model.pt", "model.skops")
        exec(compile(text, f"{_name(page)}:{snippet.line}", "exec"), names)


PEOPLE = """
import numpy as np, pandas as pd
import memaudit as ma
from sklearn.tree import DecisionTreeClassifier

def examples():
    rng = np.random.default_rng(0)
    x = pd.DataFrame({"marital-status": rng.integers(0, 3, 120), "age": rng.normal(40, 9, 120)})
    return ma.Examples(x, rng.integers(0, 2, 120))

recipe = ma.EstimatorRecipe(examples, DecisionTreeClassifier(random_state=0))
"""


def test_the_page_on_generators_makes_a_recipe(tmp_path: Path) -> None:
    from loading import RECIPES, unregistered

    import memaudit as ma

    made = unregistered(RECIPES / "generators.py")
    functions = {"train": made.remember, "sample": made.sample, "loss": made.loss, "Denoiser": made.Memory}
    names: dict[str, Any] = {"ma": ma, "examples": made.examples, **functions}
    assert _python(DOCS / "generative.md", names) == 1
    assert ma.draw_members(names["recipe"], seed=0).sum() > 10
