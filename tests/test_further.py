"""What a bank's models say about examples that none was trained on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import memaudit as ma
from memaudit.errors import BankError, ModelError
from memaudit.memorization import influence
from memaudit.signals import measure
from memaudit.training import measure_bank

SEEN = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
TEST = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)


def examples() -> ma.Examples:
    return ma.Examples(SEEN, (SEEN[:, 0] > 0).astype(np.int64))


def model() -> nn.Module:
    return nn.Linear(4, 2)


RECIPE = ma.ClassifierRecipe(examples, model, epochs=3, batch_size=10, optimizer=ma.SGD(lr=0.5))


def further() -> ma.Examples:
    return ma.Examples(TEST, (TEST[:, 0] > 0).astype(np.int64), ids=[f"test{i}" for i in range(30)])


def test_further_examples_are_measured_once_and_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = ma.fill(tmp_path / "bank", RECIPE, shadows=4)
    found = measure_bank(bank, RECIPE, further(), device="cpu")
    assert found.members.shape == (4, 60) and found.phi.shape == (4, 30, 1) and found.correct.shape == (4, 30)
    assert found.correct.mean() > 0.7
    assert influence(found.correct, found.members).block(slice(None)).shape == (60, 30)
    files = sorted((tmp_path / "bank" / "further").rglob("*.safetensors"))
    assert len(files) == 4
    files[2].write_bytes(files[2].read_bytes()[:-4] + b"\0\0\0\0")  # asked again
    asked = []

    def counting(*args: Any, **more: Any) -> dict[str, np.ndarray]:
        asked.append(1)
        return measure(*args, **more)

    monkeypatch.setattr("memaudit.training.further.measure", counting)
    again = measure_bank(bank, RECIPE, further(), device="cpu")
    np.testing.assert_array_equal(again.phi, found.phi)
    assert len(asked) == 1  # model 2 alone


def test_the_same_examples_say_what_was_recorded(tmp_path: Path) -> None:
    """An oracle: the bank's own examples under other names give the bank's own recordings."""
    bank = ma.fill(tmp_path / "bank", RECIPE, shadows=2)
    same = ma.Examples(SEEN, examples().y, ids=[f"again{i}" for i in range(60)])
    found = measure_bank(bank, RECIPE, same, device="cpu")
    for place, recorded in enumerate(bank.verified([0, 1])):
        np.testing.assert_allclose(found.phi[place], recorded["phi"], atol=1e-4)
        np.testing.assert_array_equal(found.correct[place], recorded["correct"])


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    bank = ma.fill(tmp_path / "bank", RECIPE, shadows=2)
    with pytest.raises(ModelError, match="have ids of the bank's own"):
        measure_bank(bank, RECIPE, examples(), device="cpu")
    bare = ma.fill(tmp_path / "bare", RECIPE, shadows=2, weights=False)
    with pytest.raises(BankError, match="keeps no weights of model 0"):
        measure_bank(bare, RECIPE, further(), device="cpu")
    file = next((tmp_path / "bank" / "models" / "0001").glob("weights*"))
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    with pytest.raises(BankError, match=r"model 1 of .* is damaged"):
        measure_bank(bank, RECIPE, further(), device="cpu")
