"""The folder on disk: whole or not there, checked before it is used, and refused by name of what differs."""

import errno
import json
import os
import shutil
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import Popen
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

import memaudit.files
from memaudit.bank import Bank, recordings
from memaudit.design import half
from memaudit.errors import BankError

EXAMPLES = 30
FINGERPRINT = {"seed": "0", "recipe.epochs": "3", "source.recipe.py": "a" * 64}

Spoil = Callable[[Path], object]


def store(bank: Bank, model: int, weights: bytes | None = b"") -> None:
    rng = np.random.default_rng(model)
    signals = {
        "members": half(0, model, EXAMPLES),
        "phi": rng.normal(size=(EXAMPLES, 2)).astype(np.float32),
        "correct": rng.random(EXAMPLES) < 0.5,
    }
    weights = save({"w": rng.normal(size=5)}) if weights == b"" else weights
    bank.write(model, signals, weights, {"seed": model, "seconds": 0.1})


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    made = Bank.create(tmp_path / "bank", EXAMPLES, FINGERPRINT)
    for model in range(6):
        store(made, model)
    return made


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    """Flips one bit in the middle of the last third: a number, not the header."""
    data = bytearray(path.read_bytes())
    data[len(data) * 5 // 6] ^= 1
    path.write_bytes(data)


SPOILT = {
    "truncated signals": ("signals.safetensors", truncate),
    "empty signals": ("signals.safetensors", lambda path: path.write_bytes(b"")),
    "one bit of the signals": ("signals.safetensors", flip),
    "no signals": ("signals.safetensors", Path.unlink),
    "no record": ("model.json", Path.unlink),
    "truncated record": ("model.json", truncate),
    "a record that is a list": ("model.json", lambda path: path.write_text("[]", "utf-8")),
    "a record without checksums": ("model.json", lambda path: path.write_text('{"sha256": {}}', "utf-8")),
    "a record of null": ("model.json", lambda path: path.write_text("null", "utf-8")),
}


@pytest.mark.parametrize(("name", "spoil"), SPOILT.values(), ids=SPOILT)
def test_no_damaged_recording_is_read(bank: Bank, name: str, spoil: Spoil) -> None:
    spoil(bank.path / "models" / "0003" / name)
    assert bank.damage(3) is not None
    with pytest.raises(BankError, match=r"model 3 of .* is damaged .*bank fill"):
        bank.read()
    assert [m for m in bank.models() if bank.damage(m)] == [3]


@pytest.mark.parametrize("spoil", [truncate, flip, Path.unlink])
def test_damaged_weights_are_found_and_do_not_stop_an_audit_which_reads_none(bank: Bank, spoil: Spoil) -> None:
    spoil(bank.path / "models" / "0002" / "weights.safetensors")
    assert bank.damage(2) is not None
    assert bank.read().shape == (3, EXAMPLES, 2)


@pytest.mark.parametrize("source", ["this bank", "another bank"])
def test_a_model_that_was_copied_from_elsewhere_is_damage(bank: Bank, tmp_path: Path, source: str) -> None:
    """Its checksums are right, but another model's members, or another recipe's outputs, would be taken for it."""
    other = Bank.create(tmp_path / "other", EXAMPLES, FINGERPRINT | {"recipe.epochs": "4"})
    store(other, 5)
    copied = bank.path / "models" / "0004" if source == "this bank" else other.path / "models" / "0005"
    shutil.rmtree(bank.path / "models" / "0005")
    shutil.copytree(copied, bank.path / "models" / "0005")
    assert bank.damage(5) is not None
    with pytest.raises(BankError, match="model 5"):
        bank.read()


def test_a_discarded_model_is_gone_and_leaves_nothing(bank: Bank) -> None:
    bank.discard(3)
    bank.discard(3)
    assert bank.models() == [0, 1, 2, 4, 5]
    assert sorted(entry.name for entry in (bank.path / "models").iterdir()) == ["0000", "0001", "0002", "0004", "0005"]


def test_only_complete_pairs_are_read(bank: Bank) -> None:
    bank.discard(3)
    assert bank.pairs() == [0, 4]
    assert bank.read().shape == (2, EXAMPLES, 2)
    assert bank.pairs(shadows=4) == [0]
    assert bank.pairs(shadows=5) == [0]


def test_a_bank_without_a_pair_says_what_to_do(tmp_path: Path) -> None:
    bank = Bank.create(tmp_path / "bank", EXAMPLES, FINGERPRINT)
    store(bank, 0)
    with pytest.raises(BankError, match=r"no complete pair.*bank fill"):
        bank.read()


def test_a_bank_whose_models_folder_was_deleted_is_an_empty_bank(bank: Bank) -> None:
    shutil.rmtree(bank.path / "models")
    assert bank.models() == []
    assert Bank.create(bank.path, EXAMPLES, FINGERPRINT).models() == []
    store(bank, 0)
    assert bank.models() == [0]


def test_recordings_give_back_what_was_written_in_pair_form(bank: Bank) -> None:
    recordings = bank.read()
    members = np.stack([half(0, model, EXAMPLES) for model in range(6)])
    phi = np.stack([bank.tensors(model)["phi"] for model in range(6)])
    assert np.array_equal(recordings.members, members)
    assert recordings.correct.dtype == bool
    inside, outside = recordings.block(slice(7, 19))
    for t in range(3):
        for row in range(7, 19):
            first, second = (2 * t, 2 * t + 1) if members[2 * t, row] else (2 * t + 1, 2 * t)
            assert np.array_equal(inside[t, row - 7], phi[first, row])
            assert np.array_equal(outside[t, row - 7], phi[second, row])


def test_recordings_of_some_pairs_are_those_pairs(bank: Bank) -> None:
    recordings = bank.read()
    some = recordings.take(np.array([2, 0]))
    assert some.shape == (2, EXAMPLES, 2)
    assert np.array_equal(some.members, recordings.members[[4, 5, 0, 1]])


@pytest.mark.parametrize(("kept", "span"), [(2**28, 2**26), (0, 2**26), (0, 600), (0, 1), (700, 600)])
def test_recordings_are_the_same_however_much_of_them_is_read_at_once(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, kept: int, span: int
) -> None:
    """One model has 240 bytes of signals: all are kept, or one pair of three, or none."""
    whole = bank.read().block(slice(0, EXAMPLES))
    monkeypatch.setattr(recordings, "_KEPT", kept)
    monkeypatch.setattr(recordings, "_SPAN", span)
    read = bank.read()
    for pairs in ([0, 1, 2], [0, 2], [2, 0], [1, 1, 0], [1]):
        some = read.take(np.array(pairs))
        for start, stop in ((0, 5), (3, 30), (29, 30), (0, 30), (7, 9)):
            for side, all_ in zip(some.block(slice(start, stop)), whole, strict=True):
                assert np.array_equal(side, all_[pairs, start:stop])
    assert np.array_equal(read.block(slice(4, 8))[0], whole[0][:, 4:8])


def test_signals_are_read_once_from_every_file(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def counted(path: Path, framework: str) -> Any:
        opened.append(path)
        return safe_open(path, framework)

    monkeypatch.setattr(recordings, "safe_open", counted)
    read = bank.read()
    assert read.shape == (3, EXAMPLES, 2)
    for some in (read, read.take(np.array([0, 1])), read.take(np.array([2, 0]))):
        for start in range(0, EXAMPLES, 7):
            some.block(slice(start, start + 7))
        assert len(some.members) == 2 * some.shape[0]
    assert len(opened) == 1 + 6 + 6  # the shape, members and signals


def test_signals_that_are_kept_cannot_be_written_to(bank: Bank) -> None:
    inside, _ = bank.read().block(slice(0, 5))
    with pytest.raises(ValueError, match="read-only"):
        inside += 1


def test_a_file_that_goes_bad_after_it_was_checked_is_a_clear_error(bank: Bank) -> None:
    recordings = bank.read()
    (bank.path / "models" / "0001" / "signals.safetensors").write_bytes(b"short")
    with pytest.raises(BankError, match=r"0001.signals.safetensors cannot be read"):
        recordings.block(slice(0, 5))


def test_the_first_of_two_writers_wins_and_the_second_leaves_nothing(bank: Bank) -> None:
    before = (bank.path / "models" / "0001" / "signals.safetensors").read_bytes()
    bank.write(1, {"members": half(0, 1, EXAMPLES)}, None, {})
    assert (bank.path / "models" / "0001" / "signals.safetensors").read_bytes() == before
    assert not list((bank.path / "models").glob(".*"))


NOT_A_BANK = {
    "empty": b"",
    "truncated": b'{"schema": "memaudit.bank/1", "exam',
    "not UTF-8": b"\xff\xfe{}",
    "a list": b"[]",
    "null": b"null",
    "no fingerprint": b'{"schema": "memaudit.bank/1", "examples": 3}',
    "no number": b'{"schema": "memaudit.bank/1", "examples": null, "fingerprint": {}}',
    "a number in the fingerprint": b'{"schema": "memaudit.bank/1", "examples": 3, "fingerprint": {"seed": 0}}',
}


@pytest.mark.parametrize("content", NOT_A_BANK.values(), ids=NOT_A_BANK)
def test_a_damaged_description_is_a_clear_error(bank: Bank, content: bytes) -> None:
    (bank.path / "bank.json").write_bytes(content)
    with pytest.raises(BankError, match=r"bank\.json is damaged"):
        Bank.open(bank.path)
    with pytest.raises(BankError, match=r"bank\.json is damaged"):
        Bank.create(bank.path, EXAMPLES, FINGERPRINT)


def test_a_bank_of_a_later_format_is_refused(bank: Bank) -> None:
    description = json.loads((bank.path / "bank.json").read_bytes())
    (bank.path / "bank.json").write_text(json.dumps(description | {"schema": "memaudit.bank/9"}), "utf-8")
    with pytest.raises(BankError, match=r"memaudit\.bank/9; this version reads memaudit\.bank/1"):
        Bank.open(bank.path)


@pytest.mark.parametrize("place", ["missing", "file"])
def test_no_bank_there_says_how_to_make_one(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(BankError, match=r"there is no bank in .*bank fill"):
        Bank.open(tmp_path / place)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"recipe.epochs": "4"}, "recipe.epochs: 3 → 4"),
        ({"seed": "1"}, "seed: 0 → 1"),
        ({"source.recipe.py": "b" * 64}, "source.recipe.py: aaaaaaaaaaaa… → bbbbbbbbbbbb…"),
        ({"source.helper.py": "c" * 64}, "source.helper.py: (none) → cccccccccccc…"),
    ],
)
def test_a_bank_of_another_recipe_is_refused_by_name_of_what_differs(
    bank: Bank, changed: dict[str, str], named: str
) -> None:
    with pytest.raises(BankError) as error:
        Bank.create(bank.path, EXAMPLES, FINGERPRINT | changed)
    assert named in str(error.value)
    assert str(error.value).count(" → ") == 2, "the headline and one difference"


CORRECTED = FINGERPRINT | {"source.recipe.py": "b" * 64}


def test_a_bank_without_models_is_taken_over_by_a_corrected_recipe(tmp_path: Path) -> None:
    Bank.create(tmp_path / "bank", EXAMPLES, FINGERPRINT)
    taken = Bank.create(tmp_path / "bank", EXAMPLES + 1, CORRECTED)
    assert Bank.open(tmp_path / "bank") == taken
    assert (taken.examples, taken.fingerprint) == (EXAMPLES + 1, CORRECTED)
    store(taken, 0)
    with pytest.raises(BankError, match="made by another recipe"):
        Bank.create(tmp_path / "bank", EXAMPLES, FINGERPRINT)


def test_who_lost_the_bank_to_another_recipe_while_training_cannot_write_into_it(tmp_path: Path) -> None:
    lost = Bank.create(tmp_path / "bank", EXAMPLES, FINGERPRINT)
    taken = Bank.create(tmp_path / "bank", EXAMPLES, CORRECTED)
    with pytest.raises(BankError, match="made by another recipe"):
        store(lost, 0)
    assert not list((taken.path / "models").iterdir())


def test_a_model_that_slips_in_just_before_the_bank_is_taken_over_is_damage(tmp_path: Path) -> None:
    lost = Bank.create(tmp_path / "bank", EXAMPLES, FINGERPRINT)
    store(lost, 0)
    (lost.path / "models").rename(tmp_path / "models")
    taken = Bank.create(tmp_path / "bank", EXAMPLES, CORRECTED)
    (lost.path / "models").rmdir()
    (tmp_path / "models").rename(lost.path / "models")
    assert taken.damage(0) is not None


def test_several_fillers_of_the_corrected_recipe_take_a_bank_over_together(tmp_path: Path) -> None:
    def fill(model: int) -> None:
        taken = Bank.create(tmp_path / "bank", EXAMPLES, CORRECTED)
        taken.sweep()  # of drafts that others may be writing
        store(taken, model)

    Bank.create(tmp_path / "bank", EXAMPLES, FINGERPRINT)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(fill, range(16)))
    assert Bank.open(tmp_path / "bank").read().shape == (8, EXAMPLES, 2)


def _pid_of_the_dead() -> int:
    child = Popen(["true"])
    child.wait()
    return child.pid


def test_what_the_dead_left_is_swept_and_what_the_living_write_is_not(bank: Bank) -> None:
    here, models = socket.gethostname(), bank.path / "models"
    dead = [models / f".writing-0009-{here}-{_pid_of_the_dead()}-abcd", bank.path / ".bank.json-abcd"]
    dead[0].mkdir()
    (dead[0] / "signals.safetensors").write_bytes(b"half")
    dead[1].write_bytes(b"half")
    alive = [models / f".writing-0009-{here}-{os.getppid()}-abcd", models / ".writing-0009-else-where-1-abcd"]
    odd = [models / ".writing-", models / ".writing-0009", models / f".writing-0009-{here}-x"]
    for folder in alive + odd:
        folder.mkdir()
    bank.sweep()
    assert not any(path.exists() for path in dead)
    assert all(path.exists() for path in alive + odd)
    assert bank.models() == list(range(6))


@pytest.mark.parametrize("fatal", range(4))
def test_a_full_disk_is_a_clear_error_keeps_nothing_and_can_be_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fatal: int
) -> None:
    """No space at the first, second, third or fourth file: the description, the signals, the weights, the record."""
    whole = memaudit.files.write_synced
    written: list[Path] = []

    def write(path: Path, data: bytes, *mode: int) -> None:
        written.append(path)
        if len(written) == fatal + 1:
            whole(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(path, data)

    monkeypatch.setattr(memaudit.files, "write_synced", write)
    with pytest.raises(BankError, match=r"No space left on device.*MiB are free.*run the same command again"):
        store(Bank.create(tmp_path / "bank", EXAMPLES, FINGERPRINT), 0)
    found = [path.name for path in (tmp_path / "bank").rglob("*") if path.is_file()]
    assert found == (["bank.json"] if fatal else [])
    assert not list((tmp_path / "bank" / "models").iterdir())
    bank = Bank.create(tmp_path / "bank", EXAMPLES, FINGERPRINT)
    store(bank, 0)
    assert bank.damage(0) is None


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "bank").write_text("a file", "utf-8")
    with pytest.raises(BankError, match="cannot be written"):
        Bank.create(tmp_path / "bank", EXAMPLES, FINGERPRINT)


def test_weights_may_be_left_out(tmp_path: Path) -> None:
    bank = Bank.create(tmp_path / "bank", EXAMPLES, FINGERPRINT)
    store(bank, 0, weights=None)
    files: Any = sorted(path.name for path in (bank.path / "models" / "0000").iterdir())
    assert files == ["model.json", "signals.safetensors"]
    assert bank.damage(0) is None
