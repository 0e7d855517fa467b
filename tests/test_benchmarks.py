"""`python -m benchmarks`: blocks of RESULTS.md, the registry, and runs that fail or take too long."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks import __main__ as command
from benchmarks import bank_tables, blocks, machine, peers, registry, running
from benchmarks.gpu_tests import counted
from benchmarks.peer_adapters import Bank
from benchmarks.registry import Benchmark
from memaudit.attacks import ATTACKS
from memaudit.design import PairArrays, by_pair

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
PAGE = (
    "# Results\n\n## First\n\n<!-- a: begin -->\nold a\n<!-- a: end -->\n\n"
    "## Second\n\nwords é\r\n<!-- b: begin -->\nold b\n<!-- b: end -->\n"
)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_bytes(PAGE.encode())
    return path


# --- the page and the registry ----------------------------------------------------------------------------------------


def test_every_block_is_a_benchmark_and_every_benchmark_has_a_block() -> None:
    assert sorted(blocks.names(RESULTS.read_text("utf-8"))) == sorted(b.name for b in registry.BENCHMARKS)


def test_every_table_of_the_page_is_in_a_block() -> None:
    page = RESULTS.read_text("utf-8")
    for name in blocks.names(page):
        page = page.replace(blocks.content(page, name), "")
    assert not [line for line in page.splitlines() if line.startswith(("|", "```"))]


@pytest.mark.parametrize("benchmark", registry.BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_every_benchmark_is_a_module(benchmark: Benchmark) -> None:
    flag, module = benchmark.argv[:2]
    assert flag == "-m" and importlib.util.find_spec(module) is not None
    placeholders = {"DIR": bool(benchmark.needs), "PEERS": benchmark.peers}
    for name, needed in placeholders.items():
        assert any(word.split("/")[0] == name for word in benchmark.argv) == needed, name


def test_what_needs_a_gpu_takes_ten_minutes_at_most() -> None:
    assert sum(b.limit or 1e9 for b in registry.chosen(["gpu"])) <= 575  # and what is around them


def test_a_name_is_a_benchmark_or_the_beginning_of_several() -> None:
    assert [b.name for b in registry.chosen(["peers"])] == ["peers"]
    assert {b.name for b in registry.chosen(["gpu"])} >= {"gpu-tests", "gpu-cifar10"}
    assert [b.name for b in registry.chosen(["gates"])] == ["gates"]
    assert len(registry.chosen([])) == len(registry.BENCHMARKS)
    with pytest.raises(ValueError, match="no benchmark peer;"):
        registry.chosen(["peer"])


def test_the_list_names_each_with_its_section() -> None:
    listed = registry.listed(registry.BENCHMARKS, RESULTS.read_text("utf-8"))
    assert len(listed.splitlines()) == len(registry.BENCHMARKS) + 2
    assert "| gpu-lora | 1.5 | stories15m, gutenberg, peft, a GPU | On a GPU |" in listed


# --- blocks -----------------------------------------------------------------------------------------------------------


def test_rewriting_touches_one_block_and_no_other_byte(page: Path) -> None:
    blocks.rewrite(page, "b", "\n| new |\n")
    assert page.read_bytes().decode() == PAGE.replace("old b", "| new |")
    assert blocks.content(page.read_bytes().decode(), "b") == "| new |\n"
    assert blocks.section(PAGE, "a") == "First" and blocks.section(PAGE, "b") == "Second"


def test_rewriting_is_whole_or_not_at_all(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path, target: Path) -> None:
        raise OSError("the machine stops here")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="stops here"):
        blocks.rewrite(page, "a", "new")
    assert page.read_bytes() == PAGE.encode() and list(page.parent.iterdir()) == [page]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PAGE.replace("<!-- a: end -->", ""), "not pairs of begin and end"),
        (PAGE.replace("a: ", "b: "), "occur twice: b"),
        (PAGE.replace("<!-- a: end -->\n", "").replace("old b", "<!-- a: end -->"), "not pairs"),
    ],
)
def test_markers_that_do_not_match_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        blocks.names(text)


def test_a_block_that_is_missing_or_a_marker_in_the_text_is_refused(page: Path) -> None:
    with pytest.raises(ValueError, match="no block c"):
        blocks.rewrite(page, "c", "new")
    with pytest.raises(ValueError, match="contains a marker"):
        blocks.rewrite(page, "a", "<!-- b: begin -->\n")
    assert page.read_bytes() == PAGE.encode()


# --- runs -------------------------------------------------------------------------------------------------------------


class _Script(Benchmark):
    """A benchmark that is a few lines of Python."""

    @property
    def argv(self) -> list[str]:
        return ["-c", self.command]


def _run(tmp_path: Path, page: Path, code: str, limit: float | None = None) -> int:
    places = running.Places(tmp_path, tmp_path, None, "cpu")
    return command.refreshed(_Script("a", code, 0, limit=limit), places, page)


def test_a_block_has_the_command_the_machine_the_versions_and_what_was_printed(tmp_path: Path, page: Path) -> None:
    assert _run(tmp_path, page, "print('| 1 |')") == 0
    block = blocks.content(page.read_bytes().decode(), "a")
    assert block.startswith("```console\n$ python -c 'print") and block.endswith("\n\n| 1 |\n")
    assert machine.described() in block and machine.versions() in block and running.today() in block
    assert f"Python {sys.version.split()[0]}, torch" in block and "of processor time" in block


@pytest.mark.parametrize("code", ["print('| 1 |'); raise SystemExit(3)", "raise ValueError"])
def test_a_benchmark_that_fails_leaves_its_block(
    tmp_path: Path, page: Path, code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert _run(tmp_path, page, code) == 1
    assert page.read_bytes() == PAGE.encode()
    assert "its block is left as it was" in capfd.readouterr().err


def test_a_time_limit_keeps_what_was_printed(tmp_path: Path, page: Path) -> None:
    code = "import time; print('| 1 |'); time.sleep(60)"
    assert _run(tmp_path, page, code, limit=1) == 0
    block = blocks.content(page.read_bytes().decode(), "a")
    assert "| 1 |" in block and "Stopped by its time limit of 1 s: the figures are partial." in block


def test_a_time_limit_without_a_figure_leaves_the_block(tmp_path: Path, page: Path) -> None:
    assert _run(tmp_path, page, "import time; time.sleep(60)", limit=0.5) == 1
    assert page.read_bytes() == PAGE.encode()


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    places = running.Places(tmp_path, tmp_path, None, "cpu")
    lacking = Benchmark("a", "scoring", 1, ("no-data/file",), ("no_package",), peers=True)
    assert running.lacking(lacking, places) == "no-data/file, --peers DIR, the package no_package"
    assert running.lacking(lacking, running.Places(None, tmp_path, None)) == "--data DIR with no-data/file"
    assert running.lacking(Benchmark("a", "scoring", 1), places) == ""


def test_folders_replace_their_names_in_the_command_and_not_in_the_page(tmp_path: Path) -> None:
    benchmark = Benchmark("a", "x --data DIR/one --banks BANKS --redirect", 1, threads=1)
    assert (
        running.shown(benchmark) == "OMP_NUM_THREADS=1 python -m benchmarks.x --data DIR/one --banks BANKS --redirect"
    )
    assert running.Places(tmp_path, tmp_path, None)("DIR/one") == f"{tmp_path}/one"


def test_toy_figures_do_not_get_into_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "gpu", "--toy"])
    with pytest.raises(SystemExit):
        command.main()


def test_the_tests_on_a_gpu_are_counted() -> None:
    assert counted("...\n24 passed, 1 failed in 69.20s\n").splitlines() == [
        *("| tests | passed | failed | s |", "| --- | --- | --- | --- |", "| on the GPU | 24 | 1 | 69.20 |")
    ]


# --- banks within a time limit, and other toolkits --------------------------------------------------------------------


class _Bank:
    """A bank of so many models."""

    def __init__(self, count: int) -> None:
        self.count = count

    def models(self) -> list[int]:
        return list(range(self.count))

    def record(self, model: int) -> dict[str, object]:
        return {"seconds": 2.0, "evaluation": 0.0, "device": "cpu"}


@pytest.mark.parametrize(
    ("most", "seconds", "asked"),
    [(256, 100.0, [8, 16, 32, 50]), (20, 1e9, [8, 16, 20]), (256, 1.0, [8]), (4, None, [4]), (128, None, [128])],
)
def test_a_bank_grows_while_the_time_suffices(
    most: int, seconds: float | None, asked: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model takes 2 s, and one that is there takes none."""
    counts: list[int] = []

    def fill(folder: Path, recipe: object, count: int, **_: object) -> _Bank:
        counts.append(count)
        return _Bank(count)

    monkeypatch.setattr("memaudit.fill", fill)
    monkeypatch.setattr("time.perf_counter", lambda: 2.0 * counts[-1] if counts else 0.0)
    recipe: Any = None
    assert len(bank_tables.filled(recipe, tmp_path, most, "cpu", seconds).models()) == asked[-1]
    assert counts == asked


def test_a_rate_that_few_non_members_cannot_show_is_a_dash() -> None:
    inside, outside = np.random.default_rng(0).normal(size=(2, 4, 60))
    assert bank_tables.rate_cell(inside, outside, 1e-3) == "–"
    assert re.fullmatch(r"\d+\.\d % \(\d+\.\d-\d+\.\d\)", bank_tables.rate_cell(inside, outside, 0.1))


def test_scores_of_other_toolkits_are_compared_before_they_are_timed() -> None:
    """Against scipy's normal law; a law that differs in its centre, or another order, is refused."""
    signals, members = peers.drawn(34, 400)
    bank = Bank(signals[:32], members[:32].astype(bool), signals[-1], members[-1].astype(bool))
    padded = PairArrays(*by_pair(signals[:, :, None], members))
    mean, median, rmia = (
        ATTACKS[name].scores(bank.target[:, None], padded)
        for name in ("lira-online-per-example", "lira-online-reference", "rmia-offline")
    )
    naive = [
        norm.logpdf(x, np.median(column[kept]), column[kept].std())
        - norm.logpdf(x, np.median(column[~kept]), column[~kept].std())
        for x, column, kept in zip(bank.target, bank.phi.T.astype(float), bank.keep.T, strict=True)
    ]
    assert peers.agrees("lira-online-reference", bank, median, np.array(naive)) == "equal"
    assert peers.agrees("lira-online-per-example", bank, mean, peers.normal_law(bank)).startswith("rank correlation")
    assert peers.agrees("rmia-offline", bank, rmia, np.argsort(np.argsort(rmia)) // 20 / 20) == "same order"
    for attack, ours, theirs in (
        ("lira-online-reference", mean, np.array(naive)),
        ("lira-online-per-example", mean, np.array(naive)),
        ("rmia-offline", rmia, -rmia),
    ):
        with pytest.raises(AssertionError):
            peers.agrees(attack, bank, ours, theirs)


@pytest.mark.slow
def test_what_needs_a_gpu_runs_at_toy_size_on_a_cpu(tmp_path: Path) -> None:
    """CIFAR-10 of random pixels; the other data are not there, and are skipped by name."""
    rng = np.random.default_rng(0)
    for name in ("cifar10", "cscores"):
        (tmp_path / name).mkdir()
    images, labels = rng.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, 200)
    np.savez(tmp_path / "cifar10" / "cifar10.npz", x_train=images, y_train=labels)
    np.savez(tmp_path / "cscores" / "cifar10-cscores-orig-order.npz", scores=rng.random(200))
    done = subprocess.run(
        ["sh", "benchmarks/gpu.sh", str(tmp_path), str(tmp_path / "results.md")],
        cwd=ROOT,
        env=os.environ | {"TOY": "1", "DEVICE": "cpu", "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "gpu-lora: skipped, it needs stories15m, gutenberg" in done.stderr
    page = (tmp_path / "results.md").read_text("utf-8")
    block = blocks.content(page, "gpu-cifar10")
    assert "| 6 | cpu |" in block and "| lira-online | 0." in block and "Published" in block
    assert str(tmp_path) not in page
