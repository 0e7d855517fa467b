"""The whole audit of a language model, through the command line, on a model that is trained in a second."""

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

import memaudit as ma
from memaudit.checks import TextEvidence

RECIPE = Path(__file__).parent / "recipes" / "language.py"
Command = Callable[..., CompletedProcess[str]]
Edit = Callable[[Path, str, str], None]


@contextmanager
def forgotten() -> Iterator[None]:
    """The recipe is imported under its own name from one folder after another."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before
        sys.modules.pop("recipe_of_language", None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a language model's recipe, a target, its members, and a bank of twelve."""
    folder = tmp_path_factory.mktemp("language")
    shutil.copy(RECIPE, folder / "recipe_of_language.py")
    (folder / "memaudit.toml").write_text(
        '[audit]\nrecipe = "recipe_of_language.py:recipe"\nshadows = 12\nworkers = 1\nfpr = [0.05]\n', "utf-8"
    )
    from memaudit.recipe import load_recipe

    with forgotten():
        recipe = load_recipe(str(folder / "recipe_of_language.py"))
        members = ma.draw_members(recipe, seed=5)
        ma.save_target(ma.train(recipe, members, seed=1, device="cpu"), folder / "model", members)
        ma.fill(folder / "bank", recipe, 12, device="cpu")
    return folder


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to spoil, as the working directory; pictures have tests of their own."""
    import memaudit.reports.figures

    monkeypatch.setattr(memaudit.reports.figures, "render", lambda figure, theme: b"<svg/>")
    folder = tmp_path / "place"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(folder)
    return folder


def report(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "audit" / "report.json").read_text("utf-8")))


def codes(folder: Path) -> set[str]:
    content = report(folder)
    results, skipped = content["results"], content["skipped"]
    assert isinstance(results, list)
    assert isinstance(skipped, list)
    return {result["finding"]["code"] for result in results} | {one["code"] for one in skipped}


def test_an_audit_says_everything_shows_no_text_and_keeps_or_breaks_a_limit(
    place: Path, command: Command, edit: Edit
) -> None:
    """That an audit without a limit ends with 0 is seen below, with full evidence."""
    settings = place / "memaudit.toml"
    settings.write_text(settings.read_text("utf-8") + '\n[[gate]]\nmetric = "exposure"\nmax = 0.01\n', "utf-8")
    done = command("audit", "model")
    assert done.returncode == 1, done.stderr
    assert codes(place) == {
        *("MIA005", "MIA001", "MIA002", "MIA003", "MIA004", "MIA006", "MIA011", "MIA012", "MIA026"),
        *("MEM002", "MEM003", "MEM004", "MEM009", "LNK001", "LNK002"),
        *("CAN001", "CAN002", "CAN003", "CAN010", "EXT001", "EXT002", "EXT003", "EXT004"),
    }
    texts = [text for text in RECIPE.read_text("utf-8").split('"') if "@" in text]
    assert texts, "the recipe's documents hold addresses"
    from memaudit.recipe import load_recipe

    with forgotten():
        documents = load_recipe(str(place / "recipe_of_language.py")).documents()  # type: ignore[union-attr]
    for path in (place / "audit").iterdir():
        content = path.read_text("utf-8")
        assert "@example.org" not in content, path
        for text in documents.texts:
            assert " ".join(str(text).split()[:4]) not in content, path
            assert str(text) not in content
    edit(settings, "max = 0.01", "max = 7.0")  # more than the 6.66 bits that 100 references can show
    assert command("gate", "audit/report.json").returncode == 3
    edit(settings, "max = 7.0", "max = 13.3")  # log2 of the 10,000 secrets that there are
    assert command("gate", "audit/report.json").returncode == 0


def test_full_evidence_shows_how_exposed_documents_begin(place: Path, command: Command) -> None:
    assert command("audit", "model", "--evidence", "full").returncode == 0
    exposed = report(place)["exposed"]
    assert isinstance(exposed, list)
    assert re.fullmatch(r"(\w+ ?){5,}.*", exposed[0]["label"])


@pytest.mark.parametrize(
    ("attacks", "said"),
    [
        ('["base"]', "the attack 'base' is for language models that start from a base"),
        ('["mink"]', "there is no attack 'mink' on tpr; did you mean 'min-k'"),
    ],
)
def test_an_attack_that_does_not_fit_is_refused(
    place: Path, complaint: Callable[..., str], edit: Edit, attacks: str, said: str
) -> None:
    edit(place / "memaudit.toml", "fpr = [0.05]", f"fpr = [0.05]\nattacks = {attacks}")
    assert said in complaint("audit", "model")


def test_a_classifier_has_no_language_scores(project: Path, complaint: Callable[..., str], edit: Edit) -> None:
    edit(project / "memaudit.toml", "fpr = [0.02]", 'fpr = [0.02]\nattacks = ["zlib"]')
    assert "the attack 'zlib' is for language models" in complaint("audit", "model.safetensors")


def test_a_bank_of_other_probes_is_refused_by_name(place: Path, complaint: Callable[..., str], edit: Edit) -> None:
    edit(place / "recipe_of_language.py", "suffix=4", "suffix=5")
    assert "recipe.probes.suffix: 4 → 5" in complaint("audit", "model")


def test_members_that_differ_from_others_have_no_membership_figures(place: Path) -> None:
    """Membership by a word that the text holds: the blind adversary knows, and the headline is refused."""
    from memaudit.auditing.examination import examine
    from memaudit.types import Subject

    with forgotten():
        facts = _evidence(place)
    subject = Subject(model="m", sha256="0", members=1, nonmembers=1, shadows=12)
    report = examine(facts, subject, (), (), {})
    blind = next(control for control in report.controls if control.code == "CTL003")
    assert blind.passed is False
    assert not any(result.finding.metric == "tpr" for result in report.results)
    assert all("without the model" in one.reason for one in report.skipped if one.code.startswith("MIA"))
    assert any(result.finding.code == "CAN001" for result in report.results), "canaries are drawn by lot all the same"


def _evidence(place: Path) -> TextEvidence:
    from dataclasses import replace

    from memaudit.auditing import open_target
    from memaudit.auditing.facts import facts_of
    from memaudit.auditing.ground import Ground
    from memaudit.bank import Bank

    target = open_target("model", "recipe_of_language.py:recipe")
    bank = Bank.open("bank")
    facts = facts_of(Ground(target, bank, recordings=bank.read(), shadows=12), (0.05,), ("lira-online",), "cpu")
    assert isinstance(facts, TextEvidence)
    marked = np.arange(60) % 2 == 0
    texts = tuple(f"{text} zebra" if mark else text for text, mark in zip(facts.strings, marked, strict=True))
    marked_facts = replace(facts, members=marked)
    marked_facts.__dict__["strings"] = texts
    return marked_facts


def test_the_status_and_the_explanations_know_language_models(place: Path, command: Command) -> None:
    assert "12 in 6 complete pairs" in command("bank", "status").stdout
    for code in ("MIA004", "MEM002", "MEM003", "CAN001", "CAN002", "CAN003", "EXT001", "EXT002", "EXT003", "EXT004",
                 "LNK002", "CTL006"):  # fmt: skip
        said = command("explain", code).stdout
        assert "Source:" in said, code


@pytest.mark.slow
def test_the_doctor_trains_a_language_model(place: Path, command: Command) -> None:
    done = command("doctor")
    assert done.returncode == 0, done.stdout
    assert "60 documents" in done.stdout
