"""Nothing lost: killed, interrupted, damaged, shared or out of space, a fill ends in the same bank, bit for bit."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

import memaudit as ma
from memaudit.bank import Bank
from memaudit.errors import BankError, RecipeError, SettingsError
from memaudit.training import Progress

RECIPES = Path(__file__).parent / "recipes"
SHADOWS = 8

Command = Callable[..., CompletedProcess[str]]
Complaint = Callable[..., str]
Edit = Callable[[Path, str, str], None]


def contents(bank: Path) -> dict[str, Any]:
    """Returns all that a bank holds, byte for byte, but for the time that it took."""
    found: dict[str, Any] = {}
    for file in (f for f in bank.rglob("*") if f.is_file()):
        found[str(file.relative_to(bank))] = file.read_bytes()
        if file.name == "model.json":
            found[str(file.relative_to(bank))] = json.loads(file.read_bytes()) | {"seconds": None, "evaluation": None}
    return found


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that trains in a hundredth of a second."""
    folder = tmp_path_factory.mktemp("fill")
    text = (RECIPES / "tiny_recipe.py").read_text("utf-8")
    (folder / "quick.py").write_text(text.replace("epochs=40", "epochs=2"), "utf-8")
    return folder / "quick.py"


@pytest.fixture(scope="module")
def recipe(recipe_file: Path) -> Iterator[Any]:
    from memaudit.recipe import load_recipe

    path = list(sys.path)
    yield load_recipe(str(recipe_file))
    sys.path[:] = path
    del sys.modules["quick"]


@pytest.fixture(scope="module")
def whole(recipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank that was filled without any interruption."""
    folder = tmp_path_factory.mktemp("whole") / "bank"
    ma.fill(folder, recipe, SHADOWS, device="cpu")
    return folder


@pytest.fixture(scope="module")
def deaths(recipe_file: Path, recipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What killer.py saw."""
    folder = tmp_path_factory.mktemp("killer")
    ma.fill(folder / "reference", recipe, SHADOWS, device="cpu")
    (folder / "work").mkdir()
    arguments = map(str, [RECIPES / "killer.py", recipe_file, SHADOWS, folder / "work", folder / "reference"])
    done = subprocess.run([sys.executable, "-W", "ignore", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_twenty_kills_at_random_moments_change_no_bit_of_the_bank(deaths: Any) -> None:
    """Real processes, each a group of its own, die by a real SIGKILL while they fill; the next one goes on.

    What is simulated: the processes are forks of one that has imported torch already, so the kills fall into
    everything but imports. A power failure, where the page cache dies too, is not simulated. The moments have a fixed
    seed; where in the work they fall depends on the machine, and the law holds wherever that is.
    """
    seen = deaths["killed_at_random"]
    assert seen["found"] > 0, "no kill fell between the first and the last model"
    assert seen["damaged"] == []
    assert (seen["wrong"], seen["last"]) == (0, 0)
    assert seen["same"], "not bit-identical to the bank that was never interrupted"
    assert seen["swept"]


def test_a_kill_at_any_step_on_the_disk_leaves_nothing_half_written(deaths: Any) -> None:
    """The fill of one model dies once at every write (before, half-way, after), sync, link and rename that it does."""
    seen = deaths["killed_at_every_step"]
    assert seen["steps"] >= 20
    assert seen["left"] > 0, "no death left anything behind, so nothing was there to sweep"
    assert (seen["damaged"], seen["wrong"], seen["unswept"]) == ([], [], 0)


def test_two_fills_at_once_in_one_folder_both_end_well_and_make_the_same_bank(deaths: Any) -> None:
    assert deaths["two_at_once"] == {"codes": [0] * 4, "same": True}


def test_a_full_bank_is_not_touched(recipe: Any, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "bank")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "bank").rglob("*")}
    ma.fill(tmp_path / "bank", recipe, SHADOWS, device="cpu")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "bank").rglob("*")} == before


def test_a_bank_grows_into_the_larger_one(recipe: Any, whole: Path, tmp_path: Path) -> None:
    """8 grown to 16 is 16; the first 8 stay as they were."""
    shutil.copytree(whole, tmp_path / "grown")
    ma.fill(tmp_path / "grown", recipe, 16, device="cpu")
    ma.fill(tmp_path / "new", recipe, 16, device="cpu")
    assert contents(tmp_path / "grown") == contents(tmp_path / "new")
    assert contents(whole).items() <= contents(tmp_path / "grown").items()


def test_shards_make_the_whole(recipe: Any, whole: Path, tmp_path: Path) -> None:
    """1/2 and 2/2 hold half of the models each, and together the whole bank."""
    ma.fill(tmp_path / "bank", recipe, SHADOWS, shard=ma.Shard(2, 2), device="cpu")
    assert Bank.open(tmp_path / "bank").models() == [1, 3, 5, 7]
    ma.fill(tmp_path / "bank", recipe, SHADOWS, shard=ma.Shard(1, 2), device="cpu")
    assert contents(tmp_path / "bank") == contents(whole)


def test_two_workers_make_the_same_bank_as_one(recipe: Any, whole: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    ma.fill(tmp_path / "bank", recipe, SHADOWS, workers=2, device="cpu", progress=seen.append)
    assert contents(tmp_path / "bank") == contents(whole)
    assert (seen[0].done, seen[-1].done, seen[-1].total) == (0, SHADOWS, SHADOWS)


def test_progress_counts_up_to_the_total(recipe: Any, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "bank")
    shutil.rmtree(tmp_path / "bank" / "models" / "0002")
    shutil.rmtree(tmp_path / "bank" / "models" / "0005")
    seen: list[Progress] = []
    ma.fill(tmp_path / "bank", recipe, SHADOWS, device="cpu", progress=seen.append)
    assert [(now.done, now.fresh) for now in seen] == [(6, 0), (7, 1), (8, 2)]
    assert seen[0].remaining_seconds is None
    assert seen[-1].remaining_seconds == 0


DAMAGE: dict[str, Callable[[Path], object]] = {
    "signals truncated": lambda model: _rewrite(model / "signals.safetensors", lambda data: data[:-5]),
    "a byte of the signals flipped": lambda model: _rewrite(model / "signals.safetensors", _flipped),
    "a byte of the weights flipped": lambda model: _rewrite(model / "weights.safetensors", _flipped),
    "signals deleted": lambda model: (model / "signals.safetensors").unlink(),
    "weights deleted": lambda model: (model / "weights.safetensors").unlink(),
    "record deleted": lambda model: (model / "model.json").unlink(),
    "all deleted": shutil.rmtree,
    "emptied": lambda model: _emptied(model),
    "another model's": lambda model: _replaced(model, model.with_name("0004")),
}


def _rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _flipped(data: bytes) -> bytes:
    """Returns the data with one bit flipped in a random place, the header included."""
    changed = bytearray(data)
    changed[random.Random(data[-1]).randrange(len(data))] ^= 4
    return bytes(changed)


def _emptied(model: Path) -> None:
    shutil.rmtree(model)
    model.mkdir()


def _replaced(model: Path, other: Path) -> None:
    shutil.rmtree(model)
    shutil.copytree(other, model)


@pytest.mark.parametrize("spoil", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_model_is_trained_again_and_comes_out_the_same(
    recipe: Any, whole: Path, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    shutil.copytree(whole, tmp_path / "bank")
    spoil(tmp_path / "bank" / "models" / "0003")
    told: list[int] = []
    ma.fill(tmp_path / "bank", recipe, SHADOWS, device="cpu", repaired=lambda model, problem: told.append(model))
    assert contents(tmp_path / "bank") == contents(whole)
    assert told == ([3] if spoil is not shutil.rmtree else [])


def test_no_weights_means_the_same_signals_and_nothing_else(recipe: Any, whole: Path, tmp_path: Path) -> None:
    ma.fill(tmp_path / "bank", recipe, 2, weights=False, device="cpu")
    for model in ("0000", "0001"):
        assert {file.name for file in (tmp_path / "bank/models" / model).iterdir()} == {
            "model.json",
            "signals.safetensors",
        }
        for name in ("signals.safetensors",):
            assert (tmp_path / "bank/models" / model / name).read_bytes() == (
                whole / "models" / model / name
            ).read_bytes()


OTHER_RECIPES = {
    "epochs": (("epochs=2", "epochs=3"), [], ("recipe.epochs: 2 → 3", "source.recipe.py")),
    "data": (("default_rng(0)", "default_rng(1)"), [], ("examples.sha256", "source.recipe.py")),
    "fewer examples": (("200", "190"), [], ("examples.count: 200 → 190",)),
    "rate": (("lr=0.1", "lr=0.3"), [], ("SGD(lr=0.1", "→")),
    "network": (("nn.ReLU()", "nn.Tanh()"), [], ("recipe.model",)),
    "seed": (None, ["--seed", "7"], ("seed: 0 → 7",)),
}


@pytest.mark.parametrize(("change", "flags", "named"), OTHER_RECIPES.values(), ids=OTHER_RECIPES)
def test_a_bank_of_another_recipe_is_refused_and_stays_as_it_is(
    empty_bank: Path,
    edit: Edit,
    command: Command,
    complaint: Complaint,
    change: tuple[str, str] | None,
    flags: list[str],
    named: tuple[str, ...],
) -> None:
    assert command("bank", "fill", "--shadows", 2).returncode == 0
    before = contents(empty_bank)
    if change is not None:
        edit(empty_bank.parent / "recipe.py", *change)
    message = complaint("bank", "fill", "--shadows", 4, *flags)
    assert "was made by another recipe" in message
    assert all(part in message for part in named), message
    assert contents(empty_bank) == before


def test_comments_and_layout_do_not_make_another_recipe(empty_bank: Path, edit: Edit, command: Command) -> None:
    assert command("bank", "fill", "--shadows", 2).returncode == 0
    edit(empty_bank.parent / "recipe.py", "def model()", "# a comment\n\n\ndef   model( )")
    assert command("bank", "fill", "--shadows", 4).returncode == 0


@pytest.mark.parametrize("shadows", [-2, 0, 1, 3])
def test_an_odd_or_empty_bank_is_refused(recipe: Any, tmp_path: Path, shadows: int) -> None:
    with pytest.raises(SettingsError, match=f"shadows = {shadows}: .*even"):
        ma.fill(tmp_path / "bank", recipe, shadows)
    assert not (tmp_path / "bank").exists()


@pytest.mark.parametrize(("part", "of"), [(0, 2), (3, 2), (1, 0), (-1, 2)])
def test_a_shard_that_is_none_is_refused(part: int, of: int) -> None:
    with pytest.raises(SettingsError, match=f"got {part}/{of}"):
        ma.Shard(part, of)


def test_a_device_that_is_not_there_is_a_clear_error(recipe: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'cuda:77' is not available"):
        ma.fill(tmp_path / "bank", recipe, 2, device="cuda:77")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 160 KB: room for the description of a bank and a few models of it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode:
        pytest.skip(f"no right to mount a small disk here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_full_disk_ends_with_2_and_the_same_command_goes_on_when_there_is_room(
    empty_bank: Path, small_disk: Path, command: Command, complaint: Complaint, workers: int
) -> None:
    call = ("bank", "fill", "--shadows", 24, "--bank", small_disk / "bank", "--workers", workers)
    message = complaint(*call)
    assert "No space left on device" in message
    assert "run the same command again" in message
    bank = Bank.open(small_disk / "bank")
    kept = bank.models()
    assert 0 < len(kept) < 24
    assert not any(bank.damage(model) for model in kept)
    assert not list(bank.path.rglob(".*"))
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert command(*call).returncode == 0
    assert command("bank", "fill", "--shadows", 24).returncode == 0
    assert contents(bank.path) == contents(empty_bank)


def test_no_space_while_filling_ends_with_2(
    empty_bank: Path, command: Command, complaint: Complaint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same without a right to mount: the operating system's error is simulated at the ninth file."""
    import memaudit.files

    write, written = memaudit.files.write_synced, iter(range(100))

    def full(path: Path, data: bytes, *mode: int) -> None:
        write(path, data, *mode)
        if next(written) == 8:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(memaudit.files, "write_synced", full)
        assert "No space left on device" in complaint("bank", "fill", "--shadows", 6)
    assert len(Bank.open(empty_bank).models()) == 2
    assert command("bank", "fill", "--shadows", 6).returncode == 0
    assert len(Bank.open(empty_bank).models()) == 6


FAILING = {
    "model": ("    return nn.Sequential", "    raise RuntimeError('no luck')\n    return nn.Sequential"),
    "forward": ("nn.ReLU()", "nn.LayerNorm(7)"),
    "labels": ("nn.Linear(64, 10)", "nn.Linear(64, 2)"),
    "diverges": ("lr=0.1", "lr=1e30"),
    "exit": ("    return nn.Sequential", "    raise SystemExit(0)\n    return nn.Sequential"),
}


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("change", FAILING.values(), ids=FAILING)
def test_a_recipe_that_fails_in_training_says_which_model_and_where(
    empty_bank: Path, edit: Edit, complaint: Complaint, change: tuple[str, str], workers: int
) -> None:
    edit(empty_bank.parent / "recipe.py", *change)
    message = complaint("bank", "fill", "--shadows", 4, "--workers", workers)
    assert "shadow model " in message
    if "raise" in change[1]:
        assert f"{empty_bank.parent / 'recipe.py'}:15" in message
    assert Bank.open(empty_bank).models() == []


def test_a_corrected_recipe_fills_the_bank_that_the_failing_one_left_empty(
    empty_bank: Path, edit: Edit, complaint: Complaint, command: Command
) -> None:
    wrong, right = "nn.LayerNorm(7)", "nn.ReLU()"
    edit(empty_bank.parent / "recipe.py", right, wrong)
    complaint("bank", "fill", "--shadows", 2)
    edit(empty_bank.parent / "recipe.py", wrong, right)
    assert command("bank", "fill", "--shadows", 2).returncode == 0
    assert Bank.open(empty_bank).read().shape[0] == 1


NAMELESS = {
    "lambda": ("examples, model, epochs", "examples, lambda: model(), epochs"),
    "inner function": ("ma.SGD(lr=0.1, momentum=0.9)", "(lambda: (lambda p: ma.SGD(lr=0.1)(p)))()"),
}


@pytest.mark.parametrize("change", NAMELESS.values(), ids=NAMELESS)
def test_a_recipe_with_nameless_functions_trains_in_one_process_and_says_so_for_two(
    empty_bank: Path, edit: Edit, command: Command, complaint: Complaint, change: tuple[str, str]
) -> None:
    edit(empty_bank.parent / "recipe.py", *change)
    message = complaint("bank", "fill", "--shadows", 4, "--workers", 2)
    assert "top level" in message
    assert "--workers 1" in message
    assert command("bank", "fill", "--shadows", 4, "--workers", 1).returncode == 0


def test_a_recipe_that_cannot_be_sent_is_a_recipe_error(recipe: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(RecipeError, match="workers=1"):
        ma.fill(tmp_path / "bank", replace(recipe, model=lambda: recipe.model()), 4, workers=2)


def test_a_bank_that_cannot_be_made_is_a_clear_error(recipe: Any, tmp_path: Path) -> None:
    (tmp_path / "bank").write_text("a file", "utf-8")
    with pytest.raises(BankError, match="cannot be written"):
        ma.fill(tmp_path / "bank", recipe, 2)
