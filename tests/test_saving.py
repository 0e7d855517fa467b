"""Saving a target: whatever kills it, no model stands beside the members of another, and no half of either is read."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import memaudit.files
from memaudit.recipe import Examples, members_beside, read_members, save_target

PEOPLE = Examples(np.arange(24, dtype=np.float32).reshape(12, 2), np.arange(12) % 2, ids=[f"p{i}" for i in range(12)])
OLD, NEW = ["p1", "p2"], [f"p{i}" for i in range(3, 12)]


def network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Linear(2, 2)


def estimator(seed: int) -> Any:
    return LogisticRegression().fit(PEOPLE.x + seed, PEOPLE.y)


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.mark.parametrize(
    ("name", "made"), [("m.safetensors", network), ("m.pt", network), ("m.skops", estimator)], ids=["st", "pt", "skops"]
)
def test_a_kill_at_any_step_leaves_a_whole_pair_or_no_members(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, made: Callable[[int], Any]
) -> None:
    path = tmp_path / name
    seen = set()
    for step in range(10):
        save_target(made(0), path, OLD)
        old, left = path.read_bytes(), step

        def steps(before: Callable[..., Any]) -> Callable[..., Any]:
            def stepped(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    raise Killed
                return before(*args, **kwargs)

            return stepped

        with monkeypatch.context() as patched:
            patched.setattr(memaudit.files, "write_synced", steps(memaudit.files.write_synced))
            patched.setattr(Path, "replace", steps(Path.replace))
            patched.setattr(Path, "unlink", steps(Path.unlink))
            with contextlib.suppress(Killed):
                save_target(made(1), path, NEW)
        is_old = path.read_bytes() == old
        listed = members_beside(path)
        members = int(read_members(listed, PEOPLE).sum()) if listed.exists() else None
        assert (is_old, members) in {(True, 2), (True, None), (False, None), (False, 9)}
        seen.add((is_old, members))
    assert seen == {(True, 2), (True, None), (False, None), (False, 9)}


def test_what_cannot_be_saved_leaves_what_is_there(tmp_path: Path) -> None:
    save_target(network(0), tmp_path / "m.pt", OLD)
    with pytest.raises(Exception, match=r"goes to \.safetensors or \.pt"):
        save_target(network(1), tmp_path / "m.onnx", NEW)
    assert read_members(members_beside(tmp_path / "m.pt"), PEOPLE).sum() == 2
