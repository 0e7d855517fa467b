"""Bad input through the real command line: exit code 2, one clear message that says where, and no traceback."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch

import memaudit

Command = Callable[..., CompletedProcess[str]]
Complaint = Callable[..., str]
Edit = Callable[[Path, str, str], None]

EXAMPLES = "return ma.Examples(rng.normal(size=(200, 12)).astype(np.float32), rng.integers(0, 10, 200))"
NETWORK = "nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 10))"

# what: (old, new) in recipe.py, and what the message must say

BAD_RECIPES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "raises in examples": (
        EXAMPLES,
        "raise OSError('no data')",
        ("recipe.py:11: examples() failed: OSError: no data",),
    ),
    "exits in examples": (EXAMPLES, "raise SystemExit(0)", ("recipe.py:11: examples() failed: SystemExit: 0",)),
    "raises in model": (f"return {NETWORK}", "raise KeyError('w')", ("recipe.py:15: model() failed: KeyError: 'w'",)),
    "returns arrays": (EXAMPLES, "return np.zeros(3), np.zeros(3)", ("examples() returned tuple", "memaudit.Examples")),
    "negative labels": (
        "rng.integers(0, 10, 200)",
        "rng.integers(-1, 3, 200)",
        ("recipe.py:11: labels must be whole",),
    ),
    "one class": ("rng.integers(0, 10, 200)", "np.ones(200)", ("recipe.py:11: all 200 examples have the label 1",)),
    "NaN inputs": ("np.float32), rng", "np.float32) / 0, rng", ("recipe.py:11: inputs hold NaN or infinity",)),
    "words": ("np.float32), rng", "str), rng", ("recipe.py:11: inputs must be numbers",)),
    "another length": ("rng.integers(0, 10, 200)", "rng.integers(0, 3, 199)", ("(200, 12)", "labels (199,)")),
    "other examples": ("default_rng(0)", "default_rng(1)", ("members.csv:2:", "100 of the 100 ids")),
    "another shape of model": ("Linear(12, 64)", "Linear(12, 65)", ("does not fit", "(64, 12)", "(65, 12)")),
    "another shape of inputs": ("size=(200, 12)", "size=(200, 13)", ("members.csv:2",)),
    "syntax error": ("def model()", "def model(", ("recipe.py:14: importing", "SyntaxError")),
    "missing import": (
        "import numpy as np",
        "import numpi as np",
        ("recipe.py:3: importing", "No module named 'numpi'"),
    ),
    "no variable": ("recipe = ma", "recipes = ma", ("defines no 'recipe'; did you mean 'recipes'",)),
    "not a recipe": ("recipe = ma.Cl", "recipe = 3; x = ma.Cl", ("is a int, not a recipe",)),
    "no epochs": ("epochs=40", "epochs=0", ("recipe.py:18: epochs and batch_size must be at least 1",)),
    "an odd schedule": ("epochs=40", "schedule='x', epochs=40", ("recipe.py:18: schedule must be",)),
}


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize(("old", "new", "said"), BAD_RECIPES.values(), ids=BAD_RECIPES)
def test_a_bad_recipe(
    project: Path, edit: Edit, complaint: Complaint, old: str, new: str, said: tuple[str, ...]
) -> None:
    edit(project / "recipe.py", old, new)
    message = complaint("audit", "model.safetensors")
    assert all(part in message for part in said), message


def test_a_label_that_the_model_has_no_output_for(project: Path, edit: Edit, complaint: Complaint) -> None:
    edit(
        project / "recipe.py",
        "rng.integers(0, 10, 200)",
        "np.where(np.arange(200) == 77, 12, rng.integers(0, 10, 200))",
    )
    (project / "mask.csv").write_text("member\n" + "1\n0\n" * 100, "utf-8")
    message = complaint("audit", "model.safetensors", "--members", "mask.csv")
    assert "model.safetensors: labels out of range: row 77 has label 12, the model has 10 classes" in message


BAD_CALLS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "three shadows": (["--shadows", "3"], ("--shadows", "multiple of 2", "3")),
    "fewer than no shadows": (["--shadows", "-2"], ("--shadows", "-2")),
    "half a shadow": (["--shadows", "2.5"], ("--shadows", "2.5")),
    "a rate of 2": (["--fpr", "2"], ("--fpr", "2")),
    "negative seed": (["--seed", "-1"], ("--seed", "-1")),
    "no workers": (["--workers", "0"], ("--workers", "0")),
    "a device that is none": (["--device", "abacus"], ("device 'abacus' is not available",)),
    "an unknown flag": (["--shadow", "8"], ("No such option", "--shadows")),
    "a word that is none": (["--evidence", "ful"], ("'ful'", "full")),
    "no recipe file": (["--recipe", "other.py:recipe"], ("there is no recipe file", "other.py", "memaudit init")),
    "no recipe module": (["--recipe", "other:recipe"], ("there is no module 'other'",)),
    "no settings": (["--config", "other.toml"], ("other.toml cannot be read",)),
    "no members file": (["--members", "ids.csv"], ("who was trained on?", "ids.csv")),
    "a folder as bank": (["--bank", "recipe.py"], ("recipe.py", "cannot be written")),
    "a file as report folder": (["--out", "recipe.py"], ("recipe.py", "cannot be written")),
}


@pytest.mark.parametrize(("flags", "said"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_a_bad_flag(project: Path, complaint: Complaint, flags: list[str], said: tuple[str, ...]) -> None:
    message = complaint("audit", "model.safetensors", *flags)
    assert all(part in message for part in said), message


BAD_MEMBERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "mask too short": ("member\n" + "1\n" * 199, ("the mask has 199 rows", "200 examples")),
    "mask too long": ("member\n" + "1\n" * 201, ("the mask has 201 rows", "200 examples")),
    "mask with a word": ("member\n" + "1\n" * 100 + "x\n" * 100, ("ids.csv:102:", "'x'")),
    "all members": ("member\n" + "1\n" * 200, ("there are 0 non-members among the 200",)),
    "no members": ("member\n" + "0\n" * 200, ("there are 0 members among the 200",)),
    "few members": ("member\n" + "1\n" * 3 + "0\n" * 197, ("there are 3 members", "at least 10")),
    "empty": ("", ("there are 0 members",)),
    "strangers": ("id\nalice\nbob\n", ("ids.csv:2:", "2 of the 2 ids")),
}


@pytest.mark.parametrize(("text", "said"), BAD_MEMBERS.values(), ids=BAD_MEMBERS)
def test_bad_members(project: Path, complaint: Complaint, text: str, said: tuple[str, ...]) -> None:
    (project / "ids.csv").write_text(text, "utf-8")
    message = complaint("audit", "model.safetensors", "--members", "ids.csv")
    assert all(part in message for part in said), message
    assert "alice" not in message


BAD_SETTINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "near miss": ("[audit]\nshadow = 8\n", ("memaudit.toml:2: audit.shadow:", "did you mean 'shadows'")),
    "wrong type": ("[audit]\n\nshadows = '8'\n", ("memaudit.toml:3: audit.shadows:", "'8'")),
    "broken": ("[audit\n", ("memaudit.toml", "line 1")),
    "odd": ("[audit]\nshadows = 9\n", ("memaudit.toml:2: audit.shadows:", "multiple of 2")),
    "unknown attack": ("[audit]\nattacks = ['lira-onlin']\n", ("'lira-onlin'", "did you mean 'lira-online'")),
    "unknown attack in a gate": (
        "[[gate]]\nmetric = 'tpr'\nattack = 'lira-onlin'\nmax = 0.1\n",
        ("'lira-onlin'", "did you mean 'lira-online'"),
    ),
    "unknown metric": ("[[gate]]\nmetric = 'auc'\nmax = 1.0\n", ("memaudit.toml:2: gate.0.metric:", "'auc'")),
    "no recipe": ("[audit]\nrecipe = 'else.py:recipe'\n", ("there is no recipe file", "else.py")),
    "two mistakes": ("[audit]\nshadow = 8\nseeds = 1\n", ("audit.shadow:", "audit.seeds:", "did you mean 'seed'")),
}


@pytest.mark.parametrize(("text", "said"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_bad_settings(project: Path, complaint: Complaint, text: str, said: tuple[str, ...]) -> None:
    (project / "memaudit.toml").write_text(text, "utf-8")
    message = complaint("audit", "model.safetensors")
    assert all(part in message for part in said), message


def _nan(project: Path) -> str:
    from safetensors.torch import load_file, save_file

    weights = load_file(project / "model.safetensors")
    weights["2.bias"][1] = float("nan")
    save_file(weights, project / "model.safetensors")
    return "model.safetensors"


def _pickled(project: Path) -> str:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {project / 'sprung'}",)

    (project / "model.pt").write_bytes(pickle.dumps(Trap(), 2))
    return "model.pt"


def _module(project: Path) -> str:
    torch.save(torch.nn.Linear(2, 2), project / "model.pt")
    return "model.pt"


BAD_MODELS: dict[str, tuple[Callable[[Path], str], tuple[str, ...]]] = {
    "missing": (lambda project: "model.pt", ("there is no model model.pt",)),
    "a folder": (lambda project: "bank", ("bank is a folder",)),
    "one byte": (lambda project: str((project / "m.pt").write_bytes(b"x") and "m.pt"), ("m.pt is ", "damaged")),
    "a trap": (_pickled, ("model.pt is a pickle that would run code", "memaudit.save_target")),
    "a module": (_module, ("would run code when loaded (torch.nn.modules.linear.Linear)", "memaudit.save_target")),
    "NaN outputs": (_nan, ("model.safetensors", "2.bias is NaN or infinite")),
}


@pytest.mark.parametrize(("make", "said"), BAD_MODELS.values(), ids=BAD_MODELS)
def test_a_bad_model(project: Path, complaint: Complaint, make: Callable[[Path], str], said: tuple[str, ...]) -> None:
    message = complaint("audit", make(project), "--members", "model.safetensors.members.csv")
    assert all(part in message for part in said), message
    assert not (project / "sprung").exists()


def test_nothing_is_written_when_nothing_can_be_said(project: Path, complaint: Complaint) -> None:
    before = sorted(project.rglob("*"))
    complaint("audit", _nan(project))
    assert sorted(path for path in project.rglob("*") if "__pycache__" not in path.parts) == before


def test_a_model_file_alone_gets_the_list_of_what_is_missing(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, complaint: Complaint
) -> None:
    shutil.copy(workplace / "model.safetensors", tmp_path / "model.pt")
    monkeypatch.chdir(tmp_path)
    message = complaint("audit", "model.pt")
    for part in ("model.pt (is there)", "recipe.py", "memaudit.toml", "model.pt.members.csv", "memaudit init"):
        assert part in message, message
    assert "other.pt (is missing)" in complaint("audit", "other.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_a_recipe_without_settings_is_enough(project: Path, command: Command, complaint: Complaint) -> None:
    """memaudit.toml has a default for everything; the members stand beside the model."""
    (project / "memaudit.toml").unlink()
    done = command("audit", "model.safetensors", "--shadows", 16, "--fpr", 0.02, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert "recipe.py" not in complaint("audit", "nowhere.safetensors")


@pytest.mark.parametrize("place", ["examples", "model", "training"])
def test_ctrl_c_ends_with_130_and_the_command_to_go_on(
    empty_bank: Path, edit: Edit, command: Command, place: str
) -> None:
    """The interrupt is raised by the recipe itself, at three places of a fill."""
    where = {"examples": EXAMPLES, "model": f"return {NETWORK}", "training": "nn.ReLU()"}[place]
    new = "Stop()" if place == "training" else "raise KeyboardInterrupt"
    edit(empty_bank.parent / "recipe.py", where, new)
    stop = "\n\nclass Stop(nn.Module):\n    def forward(self, x):\n        raise KeyboardInterrupt\n\n\nrecipe ="
    edit(empty_bank.parent / "recipe.py", "\n\nrecipe =", stop)
    done = command("bank", "fill", "--shadows", "4", "--bank", "my bank", "--workers", 1)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "  memaudit bank fill --shadows 4 --bank 'my bank' --workers 1"
    assert "Traceback" not in done.stderr


def test_a_defect_of_memaudit_says_so_and_shows_its_traceback_only_when_asked(
    project: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memaudit import reports

    def broken(path: Path) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(reports, "load", broken)
    done = command("report", "x.json", "-o", "x.md")
    assert done.returncode == 2
    assert "internal error: ZeroDivisionError: oops" in done.stderr
    assert "memaudit --traceback report x.json -o x.md" in done.stderr
    done = command("--traceback", "report", "x.json", "-o", "x.md")
    assert done.returncode == 2, "1 would say that a limit is broken"
    assert "Traceback" in done.stderr
    assert 'raise ZeroDivisionError("oops")' in done.stderr


def test_flags_are_relative_to_the_working_directory_and_keys_to_their_file(
    project: Path, command: Command, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = project / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    edit(project / "recipe.py", "epochs=40", "epochs=2")
    edit(project / "memaudit.toml", "shadows = 16", 'shadows = 2\nbank = "kept"')
    assert command("bank", "fill").returncode == 0
    assert (project / "kept" / "bank.json").is_file()
    assert command("bank", "fill", "--bank", "here", "--recipe", "../recipe.py:recipe").returncode == 0
    assert (below / "here" / "bank.json").is_file()


def test_status_says_what_is_there_and_what_is_damaged(project: Path, command: Command, complaint: Complaint) -> None:
    signals = project / "bank" / "models" / "0003" / "signals.safetensors"
    signals.write_bytes(signals.read_bytes()[:-1])
    done = command("bank", "status")
    assert done.returncode == 0
    assert "16 in 8 complete pairs, 1 damaged" in done.stdout
    assert "recipe.epochs" in done.stdout
    assert "model 3 is damaged" in done.stderr
    assert "there is no bank" in complaint("bank", "status", "--bank", "elsewhere")
    (project / "bank" / "bank.json").write_text("{", "utf-8")
    assert "bank.json is damaged" in complaint("bank", "status")


def test_an_audit_repairs_a_damaged_bank_and_says_so(project: Path, command: Command) -> None:
    signals = project / "bank" / "models" / "0003" / "signals.safetensors"
    whole = signals.read_bytes()
    signals.write_bytes(whole[: len(whole) // 2] + b"\0" + whole[len(whole) // 2 + 1 :])
    done = command("audit", "model.safetensors")
    assert done.returncode == 0, done.stderr
    assert "model 3 was damaged" in done.stderr
    assert signals.read_bytes() == whole


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1/0", "a/b", "1", "1/2/3", "-1/2"])
def test_a_shard_that_is_none(empty_bank: Path, complaint: Complaint, shard: str) -> None:
    assert shard in complaint("bank", "fill", f"--shard={shard}")


def test_shards_fill_one_folder(empty_bank: Path, command: Command) -> None:
    done = command("bank", "fill", "--shadows", 4, "--shard", "2/2")
    assert done.stdout.strip() == f"{empty_bank}: 2 shadow models"
    assert command("bank", "fill", "--shadows", 4, "--shard", "1/2").stdout.strip() == f"{empty_bank}: 4 shadow models"


def test_quiet_is_quiet_and_progress_goes_to_standard_error(empty_bank: Path, command: Command) -> None:
    loud = command("bank", "fill", "--shadows", 2)
    assert loud.stderr.strip() == "shadow models: 2 of 2"
    quiet = command("bank", "fill", "--shadows", 4, "-q")
    assert (quiet.stderr, quiet.stdout.count("\n")) == ("", 1)


def test_init_writes_files_once(tmp_path: Path, command: Command, complaint: Complaint) -> None:
    folder = tmp_path / "new" / "project"
    assert command("init", folder).returncode == 0
    assert {path.name for path in folder.iterdir()} == {"recipe.py", "memaudit.toml", "train.py"}
    (folder / "recipe.py").write_text("mine", "utf-8")
    assert "has a recipe.py already; --force" in complaint("init", folder)
    assert (folder / "recipe.py").read_text("utf-8") == "mine"
    assert command("init", folder, "--force").returncode == 0
    assert (folder / "recipe.py").read_text("utf-8") != "mine"


def test_the_doctor_finds_the_files_of_init_in_order_and_a_broken_recipe_not(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch, edit: Edit
) -> None:
    assert command("init", tmp_path).returncode == 0
    monkeypatch.chdir(tmp_path)
    done = command("doctor", "--workers", 1)
    assert done.returncode == 0, done.stdout
    assert "FAIL" not in done.stdout
    assert "1797 examples of 10 classes" in done.stdout
    edit(tmp_path / "recipe.py", "nn.Linear(128, 10)", "nn.Linear(129, 10)")
    done = command("doctor", "--workers", 1)
    assert done.returncode == 2
    assert "FAIL  recipe: " in done.stdout


@pytest.mark.slow
def test_the_files_of_init_are_an_audit(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("init", tmp_path).returncode == 0
    monkeypatch.chdir(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(Path(memaudit.__file__).parents[1])}
    subprocess.run([sys.executable, "train.py"], check=True, env=environment)
    done = command("audit", "model.safetensors", "--shadows", 8, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "audit" / "report.html").is_file()


def test_every_code_is_explained_with_its_source(command: Command, complaint: Complaint) -> None:
    codes = [line.split()[0] for line in command("explain").stdout.splitlines()]
    assert len(codes) == len(set(codes)) >= 9
    for code in codes:
        told = command("explain", code).stdout
        assert told.startswith(f"{code}\n\n")
        assert "Source: " in told
        assert command("explain", code.lower()).stdout == told
    assert "did you mean MIA0" in complaint("explain", "MIA0")
    assert "no check 'xyz'" in complaint("explain", "xyz")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("apb", "Accuracy per batch (ApB): "),
        ("c-score", "C-score: "),
        ("leave_one_out", "memaudit.leave_one_out("),
        ("banzhaf", "memaudit.memorization.banzhaf("),
    ],
)
def test_proxies_and_calls_are_explained_with_their_source(command: Command, name: str, said: str) -> None:
    told = command("explain", name).stdout
    assert told.startswith(said) and "Source: " in told


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    """Neither the list of commands nor a command's own help waits for torch, scipy, NumPy or a plotting library."""
    code = (
        "import sys; from memaudit.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'scipy', 'numpy', 'matplotlib', 'sklearn', 'jinja2', 'rich'} & sys.modules.keys()\n"
        "print('heavy:', sorted(heavy))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(memaudit.__file__).parents[1])}
    for arguments in (["--help"], ["audit", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            check=True,
        )
        assert "Usage: memaudit" in done.stdout
        assert done.stdout.splitlines()[-1] == "heavy: []"


def test_every_command_is_listed_and_has_help(command: Command) -> None:
    from memaudit.cli import cli

    told = command("--help").stdout
    for name, entry in cli.commands.items() or ((n, cli.get_command(None, n)) for n in cli.list_commands(None)):  # type: ignore[arg-type]
        assert f"\n  {name} " in told
        assert entry is not None
        assert entry.help
        done = command(name, "--help")
        assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_command_is_named(complaint: Complaint) -> None:
    assert "No such command 'audi'" in complaint("audi")


def test_a_reader_that_stops_reading_is_not_a_broken_limit(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(memaudit.__file__).parents[1])}
    shell = f"{sys.executable} -m memaudit explain MIA001 | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (2, "")


@pytest.mark.slow
def test_a_real_process_ends_with_2_and_a_message_alone(project: Path) -> None:
    """The console script's own path: nothing but the message on standard error, nothing on standard output."""
    environment = os.environ | {"PYTHONPATH": str(Path(memaudit.__file__).parents[1])}
    call = [sys.executable, "-m", "memaudit", "audit", "nowhere.pt"]
    done = subprocess.run(call, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "memaudit: error: there is no model nowhere.pt\n"


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(empty_bank: Path, edit: Edit) -> None:
    """SIGKILL to the parent alone, which cannot tell them; whoever is left of its process group can only be dead."""
    edit(empty_bank.parent / "recipe.py", "def model() -> nn.Module:\n", "def model() -> nn.Module:\n    nap()\n")
    nap = "\n\ndef nap() -> None:\n    import time\n    time.sleep(0.5)\n\n\nrecipe ="
    edit(empty_bank.parent / "recipe.py", "\n\nrecipe =", nap)
    environment = os.environ | {"PYTHONPATH": str(Path(memaudit.__file__).parents[1])}
    call = [sys.executable, "-m", "memaudit", "bank", "fill", "--shadows", "100", "--workers", "2"]
    process = subprocess.Popen(call, stderr=subprocess.DEVNULL, env=environment, process_group=0)
    deadline = time.monotonic() + 120
    while not list(empty_bank.glob("models/0*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while time.monotonic() < deadline:
        states = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
        alive = [line for line in states.splitlines() if line.split()[0] == str(process.pid) and "Z" not in line]
        if not alive:
            break
        time.sleep(0.1)
    else:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail("workers went on without their parent")
    assert len(list(empty_bank.glob("models/0*"))) < 100
