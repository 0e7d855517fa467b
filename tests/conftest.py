"""Shape checking while testing, and the fixtures of the tests that run whole commands.

The import hook must stand before anything imports memaudit: it adds beartype checks of the `jaxtyping` shapes to the
array packages as they are loaded. A Protocol in such a signature has to be `runtime_checkable`. memaudit itself is
therefore imported inside the fixtures.

In each test the first calls of a function are checked, and some of the later ones: an audit makes 35,000 such calls,
nearly all in loops over arrays of one shape, and checking each of them takes two thirds of its time.
"""

import importlib
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial, wraps
from pathlib import Path
from subprocess import CompletedProcess
from types import CodeType
from typing import Any

import jaxtyping
import pytest
from hypothesis import settings

FIRST, LATER = 32, 64  # calls that are all checked; of those after them one in so many is
_calls: Counter[CodeType] = Counter()  # in this test
_jaxtyped = jaxtyping.jaxtyped  # checks every call


def _checked(*, typechecker: Callable[..., Any]) -> Callable[[Any], Any]:
    """What the hook decorates with in place of `jaxtyping.jaxtyped`; a function is prepared when it is first called."""

    def decorate(found: Any) -> Any:
        if isinstance(found, type):
            return _jaxtyped(typechecker=typechecker)(found)
        code, prepared = found.__code__, cache(lambda: _jaxtyped(typechecker=typechecker)(found))

        @wraps(found)
        def call(*arguments: Any, **named: Any) -> Any:
            _calls[code] = number = _calls[code] + 1
            return (found if number > FIRST and number % LATER else prepared())(*arguments, **named)

        return call

    return decorate


vars(jaxtyping)["jaxtyped"] = _checked
jaxtyping.install_import_hook(
    [
        "memaudit.attacks",
        "memaudit.canaries",
        "memaudit.design",
        "memaudit.extraction",
        "memaudit.memorization",
        "memaudit.privacy",
        "memaudit.stats",
        "memaudit.tokens",
    ],
    "beartype.beartype",
)


def pytest_runtest_setup() -> None:
    """Begins to count anew."""
    _calls.clear()


settings.register_profile("memaudit", deadline=None)  # a busy machine is no defect
settings.load_profile("memaudit")

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads cost more than they gain with models of this size
os.environ.pop("CI", None)  # where texts of exceptions are not shown, see test_logs.py

RECIPES = Path(__file__).parent / "recipes"


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Threads cost more than they give with models of the size that tests have."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sets this where its settings say so; the next test starts without."""
    monkeypatch.setenv("MEMAUDIT_SHARED", "")


@pytest.fixture(autouse=True, scope="module")
def _own_imports() -> Iterator[None]:
    """The next file finds no folder to import from, and no module called recipe, that this one left behind."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in {"recipe", "train", "helper", "lazy"} & (sys.modules.keys() - modules):
        del sys.modules[name]


@contextmanager
def _forgotten(below: Path) -> Iterator[None]:
    """Forgets at the end what was imported from a folder: the next test has another recipe.py."""
    before, modules = list(sys.path), set(sys.modules)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None)
            if isinstance(file, str) and Path(file).is_relative_to(below):
                del sys.modules[name]


@pytest.fixture(autouse=True)
def every_audit_agrees_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks for contradictions in every report that an audit of the test makes: an honest one must have none."""
    from memaudit import policy
    from memaudit.policy.consistency import contradictions
    from memaudit.types import Report

    hold = policy.hold

    def held(report: Report, *arguments: Any) -> Report:
        found = hold(report, *arguments)
        if "commitment.examples" in report.provenance:
            stated = {"memaudit": "0.3.0"}  # whatever version is installed
            judged = replace(found, provenance=found.provenance | stated)
            problems = [problem for problem in contradictions(judged) if not problem.startswith("attempt:")]
            assert not problems, problems
        return found

    monkeypatch.setattr(policy, "hold", held)


@pytest.fixture
def command(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., CompletedProcess[str]]:
    """Runs a memaudit command line in this process: exit code, standard output and error as of a process."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two recipes written within a second look alike to the cache

    def run(*arguments: object) -> CompletedProcess[str]:
        from memaudit.cli import main

        capsys.readouterr()
        with _forgotten(tmp_path_factory.getbasetemp()), pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        assert isinstance(end.value.code, int)
        return CompletedProcess([str(argument) for argument in arguments], end.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def complaint(command: Callable[..., CompletedProcess[str]]) -> Callable[..., str]:
    """Runs a command line that must end with exit code 2 and one message on standard error; returns the message."""

    def run(*arguments: object) -> str:
        done = command(*arguments)
        assert done.returncode == 2, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        assert "internal error" not in done.stderr
        assert done.stderr.lower().count("error:") - done.stderr.count("Error: ") <= 1, done.stderr
        return done.stderr

    return run


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user has it: recipe.py, memaudit.toml, a trained model with its members, and a full bank."""
    import numpy as np

    import memaudit as ma

    folder = tmp_path_factory.mktemp("workplace")
    shutil.copy(RECIPES / "tiny_recipe.py", folder / "recipe.py")
    (folder / "memaudit.toml").write_text("[audit]\nshadows = 16\nworkers = 1\nfpr = [0.02]\n", "utf-8")
    with _forgotten(folder):
        from memaudit.recipe import load_recipe
        from memaudit.training import population

        recipe = load_recipe(str(folder / "recipe.py"))
        ids = population(recipe).ids
        members = np.random.default_rng(5).permutation(ids)[: len(ids) // 2]
        ma.save_target(ma.train(recipe, members, seed=1, device="cpu"), folder / "model.safetensors", members)
        ma.fill(folder / "bank", recipe, 16, device="cpu")
    return folder


TWO_LIMITS = (
    '[[gate]]\nid = "found"\nmetric = "tpr"\nattack = "lira-online"\nat_fpr = 0.02\nmax = 0.5\n'
    '[[gate]]\nid = "memorized"\nmetric = "memorization"\nmax = 1.0\n'
)


@pytest.fixture(scope="session")
def two_limits() -> str:
    """Settings with one limit that the workplace's model breaks and one that it keeps."""
    return TWO_LIMITS


@pytest.fixture(scope="session")
def audited_place(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the workplace, audited under these limits: its report.json and ledger, beside model and bank."""
    from memaudit.auditing import audit
    from memaudit.cli.settings import read

    folder = tmp_path_factory.mktemp("audited") / "place"
    shutil.copytree(workplace, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "memaudit.toml").write_text(TWO_LIMITS, "utf-8")
    model, recipe = folder / "model.safetensors", f"{folder / 'recipe.py'}:recipe"
    limits = read(folder / "memaudit.toml").limits()
    with _forgotten(folder):
        audit(model, recipe, folder / "bank", fprs=[0.02], limits=limits, device="cpu").save(folder / "report.json")
    return folder


@pytest.fixture(scope="session")
def real_report(audited_place: Path) -> Any:
    """The JSON of a real audit: of 100 members more than 80 are found at 2 % false positives."""
    import json

    return json.loads((audited_place / "report.json").read_bytes())


@pytest.fixture
def drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws each picture once and in one theme: the other differs in its colours, and has tests of its own."""
    import memaudit.reports.figures as figures

    drawn = cache(partial(figures.render, theme=figures.Theme.LIGHT))
    monkeypatch.setattr(figures, "render", lambda figure, theme: drawn(figure))


@pytest.fixture
def project(workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workplace to spoil, as the working directory.

    Reports have empty pictures there: drawing takes half of an audit's time, and has tests of its own.
    """
    import memaudit.reports.figures

    monkeypatch.setattr(memaudit.reports.figures, "render", lambda figure, theme: b"<svg/>")
    folder = tmp_path / "project"
    shutil.copytree(workplace, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def edit() -> Callable[[Path, str, str], None]:
    """Replaces text in a file that must hold it."""

    def replace(path: Path, old: str, new: str) -> None:
        text = path.read_text("utf-8")
        assert old in text, f"{path} has no {old!r}"
        path.write_text(text.replace(old, new), "utf-8")

    return replace


@pytest.fixture
def empty_bank(project: Path, edit: Callable[[Path, str, str], None]) -> Path:
    """The project with a cheaper recipe and without a bank: where the bank would be."""
    shutil.rmtree(project / "bank")
    edit(project / "recipe.py", "epochs=40", "epochs=2")
    return project / "bank"
