"""What CONTRIBUTING.md shows is what is in examples/plugin, and it works: found by entry points, in a whole audit."""

import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import yaml
from samples import sample_report

from memaudit import reports
from memaudit.checks import all_checks
from memaudit.design import NullPairs, PairArrays, coins
from memaudit.errors import MemauditError
from memaudit.memorization import Observations
from memaudit.memorization.proxies import all_proxies
from memaudit.stats import auc
from memaudit.types import Report

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "examples" / "plugin"
PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
SHOWN = dict(re.findall(r"<!-- (examples/\S+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL))

Command = Callable[..., CompletedProcess[str]]
Array = np.ndarray


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package as pip installs it: its files on the path, its entry points in a dist-info."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text("utf-8"))["project"]
    about = tmp_path / "site" / "memaudit_example-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n", "utf-8")
    points = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in found.items())
        for group, found in project["entry-points"].items()
    ]
    (about / "entry_points.txt").write_text("\n".join(points), "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.syspath_prepend(str(PLUGIN))
    yield
    for name in [name for name in sys.modules if name.startswith("memaudit_example")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "path", sorted(p.relative_to(ROOT).as_posix() for p in PLUGIN.rglob("*.*") if p.suffix != ".pyc")
)
def test_every_file_of_the_plug_in_is_shown_as_it_is(path: str) -> None:
    content = (ROOT / path).read_text("utf-8")
    assert path.endswith("__init__.py") or SHOWN[path] == content


@pytest.mark.usefixtures("plugin")
def test_a_plug_in_takes_part_in_an_audit(project: Path, command: Command) -> None:
    (project / "memaudit.toml").write_text('[audit]\nfpr = [0.02]\n[[gate]]\nmetric = "tpr"\nmax = 0.9\n', "utf-8")
    done = command("audit", "model.safetensors", "--shadows", "16")
    assert done.returncode in (0, 1, 3), done.stderr
    results = json.loads((project / "audit" / "report.json").read_bytes())["results"]
    by_code = {result["finding"]["code"]: result for result in results}
    attack = by_code["XAT001"]["finding"]["estimate"]
    assert 0.6 < attack["value"] <= 1, "the model knows its training set by heart"
    assert attack["low"] < attack["value"] < attack["high"] or attack["high"] == 1
    assert by_code["XAT001"]["limit"]["max"] == 0.9, "a limit without an attack covers it"
    free = by_code["MEM004"]["finding"]["tables"][0]
    assert "Late loss" in [row[0] for row in free["rows"]]
    assert command("gate", "audit/report.json").returncode in (0, 1, 3)
    done = command("report", "audit/report.json", "-o", "csv=findings.csv")
    assert done.returncode == 0
    lines = (project / "findings.csv").read_text("utf-8").splitlines()
    assert len(lines) == len(results) + 1
    assert any(line.startswith("XAT001,") for line in lines)


@pytest.mark.usefixtures("plugin")
def test_a_plug_in_is_explained_and_named_in_errors(
    command: Command, complaint: Callable[..., str], tmp_path: Path
) -> None:
    assert "XAT001" in {check.code for check in all_checks()}
    assert "late-loss" in {proxy.name for proxy in all_proxies()}
    assert "score = φ − median φ_out" in command("explain", "xat001").stdout
    reports.save(sample_report(), tmp_path / "report.json")
    assert "did you mean 'csv'?" in complaint("report", tmp_path / "report.json", "-o", "cvs=x")


def test_without_the_plug_in_its_format_is_refused() -> None:
    with pytest.raises(MemauditError, match="there is no format 'csv'"):
        reports.render(sample_report(), "csv")


@pytest.mark.usefixtures("plugin")
def test_the_format_of_a_plug_in_sees_no_example(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def render(report: Report) -> bytes:
        seen.append(report)
        return b""

    monkeypatch.setattr(import_module("memaudit_example.table"), "render", render)
    reports.render(sample_report(), "csv")
    reports.render(sample_report(), "csv", "restricted")
    assert [str(report.edition) for report in seen] == ["internal", "restricted"]


# ---- the arithmetic of the examples


def _bank(pairs: int, examples: int, shift: float) -> PairArrays:
    rng = np.random.default_rng(3)
    centre = 2 * rng.normal(size=(examples, 1))
    inside, outside = centre + rng.normal(size=(2, pairs, examples, 1))
    return PairArrays(inside + shift, outside)


@pytest.mark.usefixtures("plugin")
def test_the_target_is_scored_as_a_shadow_is() -> None:
    attack = import_module("memaudit_example.attack").MedianDifference()
    bank = _bank(6, 50, 1)
    inside, outside = attack.leave_pair_out(bank)
    np.testing.assert_allclose(attack.scores(bank.inside[-1], bank), inside[-1], rtol=1e-5)
    for pair in range(6):
        for example in range(50):
            others = sorted(float(bank.outside[other, example, 0]) for other in range(6) if other != pair)
            assert np.isclose(outside[pair, example], bank.outside[pair, example, 0] - others[2], rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("plugin")
def test_the_attack_finds_a_leak_and_nothing_under_the_null() -> None:
    """Permuted membership: AUC 1/2, to 4 standard errors over examples; false alarm 6e-5."""
    attack = import_module("memaudit_example.attack").MedianDifference()
    bank = _bank(8, 2000, 2)
    inside, outside = attack.leave_pair_out(bank)
    assert auc(inside.ravel(), outside.ravel()) > 0.85
    inside, outside = attack.leave_pair_out(NullPairs(bank, coins(5, 8, 2000)))
    areas = [auc(inside[:, e], outside[:, e]) for e in range(2000)]
    assert np.mean(areas) == pytest.approx(0.5, abs=4 * np.std(areas) / np.sqrt(2000))


@pytest.mark.usefixtures("plugin")
def test_the_proxy_is_the_mean_of_the_late_looks() -> None:
    loss = np.random.default_rng(0).random((2, 4, 5))
    seen = Observations(epochs=np.array([1, 4, 5, 10.0]), members=np.ones((2, 5), np.uint8), loss=loss)
    found = import_module("memaudit_example.proxy").LATE_LOSS.score(seen)
    np.testing.assert_allclose(found, (loss[:, 2] + loss[:, 3]) / 2)


# ---- the files of the project


def test_the_citation_has_the_version_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors", "version"} <= citation.keys()
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == project["version"]
    assert all(author.keys() & {"name", "family-names"} for author in citation["authors"])


TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


@pytest.mark.parametrize("path", [path for path in TEMPLATES if path.stem != "config"], ids=lambda path: path.stem)
def test_an_issue_template_is_a_form_that_github_takes(path: Path) -> None:
    """By GitHub's "Syntax for issue forms"."""
    form = yaml.safe_load(path.read_text("utf-8"))
    assert {"name", "description", "body"} <= form.keys()
    kinds = {"markdown": {"value"}, "input": {"label"}, "textarea": {"label"}, "dropdown": {"label", "options"}}
    for element in form["body"]:
        assert kinds[element["type"]] <= element["attributes"].keys()
        assert ("id" in element) == (element["type"] != "markdown")
    ids = [element["id"] for element in form["body"] if "id" in element]
    assert len(ids) == len(set(ids)) > 0
    assert all(isinstance(option, str) for e in form["body"] for option in e["attributes"].get("options", ()))


def test_the_hooks_before_a_commit_are_the_checks_of_the_makefile() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    entries = {hook["entry"].removeprefix(".venv/bin/") for repo in config["repos"] for hook in repo["hooks"]}
    make = (ROOT / "Makefile").read_text("utf-8")
    for entry in entries:
        assert f"$(BIN)/{' '.join(part for part in entry.split() if not part.startswith('--'))}" in make


def test_every_make_target_that_the_page_names_exists() -> None:
    make = (ROOT / "Makefile").read_text("utf-8")
    named = set(re.findall(r"(?:\$ |`)make (\w+)", PAGE))
    assert named
    assert all(re.search(rf"^{target}:", make, re.MULTILINE) for target in named)
