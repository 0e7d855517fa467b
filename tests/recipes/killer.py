"""Fills banks in forked children and kills them; prints what was seen as JSON. Run by test_fill.py.

One process imports torch once and then only forks, so that a hundred deaths take seconds. A child is a process (and a
process group) of its own that does all that `memaudit bank fill` does after its imports, and dies by SIGKILL.

    killer.py RECIPE SHADOWS FOLDER REFERENCE
"""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import memaudit.files
from memaudit.bank import Bank
from memaudit.recipe import load_recipe
from memaudit.training import Shard, fill

KILLS = 20

torch.set_num_threads(1)  # a pool of threads would not survive the forks
recipe = load_recipe(sys.argv[1])
shadows = int(sys.argv[2])
ONE_MODEL = Shard(1, shadows)
folder, reference = Path(sys.argv[3]), Path(sys.argv[4])


def forked(work: Callable[[], Any]) -> int:
    """Starts a child that does some work, and returns its process id."""
    child = os.fork()
    if child:
        with contextlib.suppress(OSError):  # the child has done it, and may be gone
            os.setpgid(child, child)
        return child
    os.setpgid(0, 0)
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def ended(child: int) -> int:
    """Returns how a child ended: its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def filling(path: Path, shard: Shard | None = None) -> Callable[[], Any]:
    return lambda: fill(path, recipe, shadows, shard=shard, device="cpu")


def contents(path: Path) -> dict[str, Any]:
    """Returns all that a bank holds, byte for byte, but for the time that it took."""
    found: dict[str, Any] = {}
    for file in (f for f in path.rglob("*") if f.is_file()):
        data = file.read_bytes()
        found[str(file.relative_to(path))] = data
        if file.name == "model.json":
            found[str(file.relative_to(path))] = json.loads(data) | {"seconds": None, "evaluation": None}
    return found


def visible_damage(path: Path) -> list[str]:
    """Returns what is wrong with the models that a reader would see just now."""
    if not (path / "bank.json").exists():
        return []
    bank = Bank.open(path)
    return [problem for model in bank.models() if (problem := bank.damage(model))]


def state(path: Path) -> tuple[tuple[str, bytes], ...]:
    """Returns all that the next fill finds, but for names made up for temporary files, and times."""

    def named(entry: Path) -> str:
        return re.sub(r"(/\.[a-z.]+-)[^/]+", r"\1", f"/{entry.relative_to(path)}")

    def held(entry: Path) -> bytes:
        return re.sub(rb"\d+\.\d+", b"", entry.read_bytes()) if entry.is_file() else b"a folder"

    return tuple(sorted((named(entry), held(entry)) for entry in path.rglob("*")))


def leftovers(path: Path) -> int:
    return sum(1 for entry in path.rglob(".*") if entry.name.startswith((".writing-", ".bank.json-")))


def killed_at_random() -> dict[str, Any]:
    """Twenty kills at moments drawn from the time of a whole fill; a bank that gets full is compared and emptied."""
    path, moments = folder / "random", random.Random(20260731)
    filling(folder / "warm", ONE_MODEL)()  # whatever is imported late is here before the first fork
    started = time.perf_counter()
    ended(forked(filling(folder / "timed")))
    span = time.perf_counter() - started
    kills, wrong, found = 0, 0, 0
    damaged: list[str] = []
    while kills < KILLS:
        child = forked(filling(path))
        time.sleep(moments.uniform(0, span))
        os.killpg(child, signal.SIGKILL)
        if ended(child) == -signal.SIGKILL:
            kills += 1
            found += (path / "bank.json").exists() and 0 < len(Bank.open(path).models()) < shadows
            damaged += visible_damage(path)
        else:
            wrong += contents(path) != contents(reference)
            shutil.rmtree(path)
    last = ended(forked(filling(path)))
    swept = leftovers(path) == 0
    same = contents(path) == contents(reference)
    return {"last": last, "damaged": damaged, "wrong": wrong, "same": same, "swept": swept, "found": found}


def killed_at_every_step() -> dict[str, Any]:
    """Kills a fill of one model at every step that it takes on the disk, a file half-written included."""
    reports: dict[str, Any] = {"steps": 0, "damaged": [], "wrong": [], "left": 0, "unswept": 0}
    whole, seen = folder / "warm", set[tuple[tuple[str, bytes], ...]]()
    for step in range(1000):
        path = folder / f"step{step}"
        if ended(forked(lambda path=path, step=step: _fill_and_die(path, step))) == 0:  # type: ignore[misc]
            return reports
        reports["steps"] += 1
        reports["damaged"] += visible_damage(path)
        reports["left"] += leftovers(path)
        if (found := state(path)) in seen:
            continue  # the next fill finds what an earlier one has found
        seen.add(found)
        if ended(forked(filling(path, ONE_MODEL))) != 0 or contents(path) != contents(whole):
            reports["wrong"].append(step)
        reports["unswept"] += leftovers(path)
    raise RuntimeError("a fill of one model does not take a thousand steps")


def _fill_and_die(path: Path, fatal: int) -> None:
    steps = iter(range(10_000))

    def step() -> None:
        if next(steps) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def write(file: Path, data: bytes, mode: int = 0o666) -> None:
        step()
        with file.open("xb") as handle:
            handle.write(data[: len(data) // 2])
            handle.flush()
            step()
            handle.write(data[len(data) // 2 :])
        step()

    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        def surrounded(*arguments: Any) -> Any:
            step()
            result = function(*arguments)
            step()
            return result

        return surrounded

    patch = {"write_synced": write}
    for name in ("write_first", "move_folder", "sync_folder"):
        patch[name] = around(getattr(memaudit.files, name))
    vars(memaudit.files).update(patch)
    filling(path, ONE_MODEL)()


def two_at_once() -> dict[str, Any]:
    """Two fills of one new folder, started together, three times."""
    codes, same = [], True
    for turn in range(2):
        path = folder / f"together{turn}"
        children = [forked(filling(path)) for _ in range(2)]
        codes += [ended(child) for child in children]
        same &= contents(path) == contents(reference)
    return {"codes": codes, "same": same}


if __name__ == "__main__":
    print(json.dumps({work.__name__: work() for work in (killed_at_random, killed_at_every_step, two_at_once)}))
