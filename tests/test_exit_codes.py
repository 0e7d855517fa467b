"""Each exit code through the real command line: real training, real reports, and real processes for each of the codes.

All seeds are fixed. With others, the sound model is called inconclusive when a control gives a false alarm: fidelity
and calibration do at 1 % each, the blind baseline at 0.1 %. Otherwise it passes: an adversary finds 1 % of its members
or a little more, and up to 12 of 200 keep the limit of 10 % (at most 6 in 40 targets beside one bank).
"""

import contextlib
import io
import json
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from memaudit.cli import main

ROOT = Path(__file__).parents[1]
SHADOWS = 8
SETTINGS = f"""
[audit]
shadows = {SHADOWS}
workers = 1
device = "cpu"
fpr = [0.01]
"""
GATE = '[[gate]]\nmetric = "tpr"\nattack = "lira-online"\nat_fpr = {}\nmax = {}\n'
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
MEMAUDIT = [sys.executable, "-m", "memaudit"]
GATE_WITHOUT_TORCH = """
import sys
from memaudit.cli import main
try:
    main(sys.argv[1:])
finally:
    print("torch" in sys.modules)
"""


def call(name: str, bank: Path, out: Path) -> list[str]:
    """The arguments that audit one of the models."""
    model = [f"{name}.safetensors", "--recipe", f"three_models.py:{name}"]
    return ["audit", *model, "--bank", str(bank), "--out", str(out)]


def run(folder: Path, *arguments: str) -> CompletedProcess[str]:
    return subprocess.run(
        [*MEMAUDIT, *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def run_here(folder: Path, *arguments: str) -> CompletedProcess[str]:
    """Runs the command in this process: half of what a process of its own costs is its start."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
        main(list(arguments))
    assert isinstance(end.value.code, int)
    return CompletedProcess(list(arguments), end.value.code, out.getvalue(), err.getvalue())


def report(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "report.json").read_text("utf-8"))
    return content


def findings(folder: Path) -> list[Any]:
    """All that an audit found; examples without their names, which every bank hides under a key of its own."""
    found = report(folder)
    exposed = [example | {"identifier": ""} for example in found["exposed"]]
    return [exposed, *(found[part] for part in ("subject", "results", "skipped", "controls"))]


def state(bank: Path) -> dict[Path, tuple[int, int]]:
    """The files of the models that a bank holds, with what changes if one is written again."""
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in bank.glob("models/0*/*")}


def models(files: Iterable[Path]) -> int:
    return len({file.parent for file in files})


@dataclass(frozen=True)
class Stopped:
    """An audit that was interrupted while shadow models were being trained."""

    bank: Path
    arguments: list[str]
    ended: CompletedProcess[str]
    kept: dict[Path, tuple[int, int]]

    @property
    def printed(self) -> list[str]:
        """The arguments of the command that was printed."""
        program, *arguments = shlex.split(self.ended.stderr.splitlines()[-1])
        assert program == "memaudit"
        return arguments

    def require_resumed(self, resumed: CompletedProcess[str]) -> None:
        """Holds the interruption, and how the printed command ended, against what was promised."""
        assert (self.ended.returncode, self.ended.stdout) == (130, ""), self.ended.stderr
        assert "Traceback" not in self.ended.stderr
        assert self.printed == self.arguments
        assert 0 < models(self.kept) < SHADOWS
        assert resumed.returncode == 1, resumed.stderr
        now = state(self.bank)
        assert models(now) == SHADOWS
        assert self.kept == {file: now[file] for file in self.kept}  # not trained again
        assert not list(self.bank.rglob(".*"))


def stop(folder: Path, bank: Path, arguments: list[str]) -> Stopped:
    """Starts an audit as a terminal does, in a process group of its own, and sends that SIGINT after a model."""
    (folder / "slow").touch()  # no setting of the training: it would make another bank
    process = subprocess.Popen(
        [*MEMAUDIT, *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    try:
        deadline = time.monotonic() + 120
        while not state(bank) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        output, told = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        (folder / "slow").unlink()
    return Stopped(bank, arguments, CompletedProcess(arguments, process.returncode, output, told), state(bank))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three trained models with their recipes, and a limit of 10 % at 1 % false positives."""
    folder = tmp_path_factory.mktemp("exit_codes")
    shutil.copy(ROOT / "tests" / "recipes" / "three_models.py", folder)
    (folder / "memaudit.toml").write_text(SETTINGS + GATE.format(0.01, 0.1), "utf-8")
    with contextlib.chdir(folder):
        runpy.run_path("three_models.py", run_name="__main__")
    return folder


@pytest.fixture(scope="module")
def few(folder: Path) -> CompletedProcess[str]:
    return run_here(folder, *call("few", folder / "bank-few", folder / "few"))


@pytest.fixture(scope="module")
def sound(folder: Path) -> CompletedProcess[str]:
    return run_here(folder, *call("sound", folder / "bank-sound", folder / "sound"))


@pytest.fixture(scope="module")
def stopped(folder: Path) -> Stopped:
    bank = folder / "bank-leaky"
    return stop(folder, bank, call("leaky", bank, folder / "leaky"))


@pytest.fixture(scope="module")
def leaky(folder: Path, stopped: Stopped) -> CompletedProcess[str]:
    return run(folder, *stopped.printed)


def test_a_model_that_gives_nobody_away_passes(folder: Path, sound: CompletedProcess[str]) -> None:
    assert sound.returncode == 0, sound.stderr
    assert sound.stdout == f"pass: {folder / 'sound' / 'report.html'}\n"
    found = report(folder / "sound")
    assert {control["code"]: control["passed"] for control in found["controls"]} == {
        f"CTL00{number}": True for number in (1, 2, 3, 4, 5, 7)
    }


def test_a_model_that_leaks_fails(folder: Path, leaky: CompletedProcess[str]) -> None:
    assert leaky.returncode == 1, leaky.stderr
    assert leaky.stdout == f"fail: {folder / 'leaky' / 'report.html'}\n"


def test_too_few_outsiders_are_inconclusive_and_the_number_that_is_asked_for_decides(
    folder: Path, few: CompletedProcess[str], leaky: CompletedProcess[str]
) -> None:
    """The two populations differ by that number of outsiders alone."""
    assert few.returncode == 3, few.stderr
    assert few.stdout == f"inconclusive: {folder / 'few' / 'report.html'}\n"
    asked = re.search(r"needed:\s+(\d+)\s+more\s+non-members", few.stderr)
    assert asked is not None, few.stderr
    before, after = report(folder / "few")["subject"], report(folder / "leaky")["subject"]
    assert before["members"] + before["always"] == after["members"] + after["always"]
    assert after["nonmembers"] == before["nonmembers"] + int(asked[1])
    assert leaky.returncode == 1


@pytest.mark.parametrize(("name", "code"), [("sound", 0), ("leaky", 1), ("few", 3)])
def test_the_gate_agrees_with_the_audit_and_needs_no_torch(
    folder: Path, name: str, code: int, request: pytest.FixtureRequest
) -> None:
    assert request.getfixturevalue(name).returncode == code
    process = [sys.executable, "-c", GATE_WITHOUT_TORCH, "gate", f"{name}/report.json"]
    done = subprocess.run(process, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    *_, verdict, torch = done.stdout.splitlines()
    assert verdict.endswith(f": exit code {code}")
    assert torch == "False"


def test_a_broken_configuration_is_2_even_where_a_limit_is_broken(
    folder: Path, leaky: CompletedProcess[str], tmp_path: Path
) -> None:
    assert leaky.returncode == 1
    settings = tmp_path / "broken.toml"
    settings.write_text(SETTINGS + GATE.format(0.01, 0.1).replace("online", "onlin") + "maxi = 0.2\n", "utf-8")
    for arguments in (["gate", "leaky/report.json"], call("leaky", tmp_path / "bank", tmp_path / "out")):
        done = run(folder, *arguments, "--config", str(settings))
        assert (done.returncode, done.stdout) == (2, "")
        assert "gate.0.attack: there is no attack 'lira-onlin' on tpr; did you mean 'lira-online'?" in done.stderr
        assert "gate.0.maxi: there is no such key; did you mean 'max'?" in done.stderr
        assert "internal error" not in done.stderr
    assert list(tmp_path.iterdir()) == [settings]


BOTH = GATE.format(0.01, 0.1) + GATE.format(0.001, 0.1)  # nobody can resolve 1 in 1,000 with so few outsiders


@pytest.mark.parametrize(("name", "code"), [("leaky", 1), ("sound", 3)])
@pytest.mark.parametrize("again", ["gate", pytest.param("audit", marks=pytest.mark.slow)])
def test_broken_comes_before_undecided_and_undecided_before_kept(
    folder: Path, tmp_path: Path, name: str, code: int, again: str, request: pytest.FixtureRequest
) -> None:
    assert request.getfixturevalue(name).returncode in (0, 1)
    settings = tmp_path / "both.toml"
    settings.write_text(SETTINGS + BOTH, "utf-8")
    arguments = ["gate", f"{name}/report.json"]
    if again == "audit":
        arguments = call(name, folder / f"bank-{name}", tmp_path / "out")
    done = run(folder, *arguments, "--config", str(settings))
    assert done.returncode == code, done.stderr


def test_ctrl_c_ends_with_130_and_the_printed_command_goes_on(
    folder: Path, stopped: Stopped, leaky: CompletedProcess[str]
) -> None:
    stopped.require_resumed(leaky)


@pytest.mark.slow
def test_an_interrupted_audit_finds_what_an_uninterrupted_one_finds(
    folder: Path, leaky: CompletedProcess[str], tmp_path: Path
) -> None:
    done = run(folder, *call("leaky", tmp_path / "bank", tmp_path / "out"))
    assert done.returncode == leaky.returncode == 1
    assert findings(tmp_path / "out") == findings(folder / "leaky")


@pytest.mark.slow
def test_ctrl_c_with_two_workers(folder: Path, leaky: CompletedProcess[str], tmp_path: Path) -> None:
    bank, out = tmp_path / "a bank", tmp_path / "out"
    stopped = stop(folder, bank, [*call("leaky", bank, out), "--workers", "2"])
    stopped.require_resumed(run(folder, *stopped.printed))
    assert findings(out) == findings(folder / "leaky")
