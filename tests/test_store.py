"""A bank on object storage: what is not whole does not exist, what is damaged is refused, and nobody overwrites."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from test_fill import contents

import memaudit as ma
from memaudit.bank import Bank, Store
from memaudit.design import Role
from memaudit.errors import BankError, SettingsError

Command = Callable[..., CompletedProcess[str]]
Complaint = Callable[..., str]
fsspec: Any = pytest.importorskip("fsspec")
RECIPES = Path(__file__).parent / "recipes"
SHADOWS = 4


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a recipe is that trains in a hundredth of a second."""
    folder = tmp_path_factory.mktemp("store")
    text = (RECIPES / "tiny_recipe.py").read_text("utf-8")
    (folder / "stored.py").write_text(text.replace("epochs=40", "epochs=2"), "utf-8")
    yield f"{folder / 'stored.py'}:recipe"
    sys.modules.pop("stored", None)


@pytest.fixture(scope="module")
def whole(quick: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "bank"
    ma.fill(folder, quick, SHADOWS, device="cpu")
    return folder


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server that runs as long as this file's tests."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty store."""
    name = hashlib.sha256(str(tmp_path).encode()).hexdigest()[:20]
    if request.param == "memory":
        return f"memory://{name}/bank"
    for variable, value in {
        "AWS_ENDPOINT_URL": request.getfixturevalue("s3"),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(variable, value)
    system = fsspec.filesystem("s3", skip_instance_cache=True)
    system.mkdir(name)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    return f"s3://{name}/bank"


def objects(url: str) -> dict[str, bytes]:
    system, root = fsspec.url_to_fs(url)
    system.invalidate_cache()
    return {str(name)[len(root) :].lstrip("/"): system.cat_file(name) for name in system.find(root)}


def put(url: str, name: str, data: bytes) -> None:
    system, root = fsspec.url_to_fs(url)
    system.pipe_file(f"{root}/{name}", data)


def remove(url: str, name: str) -> None:
    system, root = fsspec.url_to_fs(url)
    system.rm_file(f"{root}/{name}")


def of_model(url: str, model: int, file: str) -> str:
    """The name of an object that a marker names."""
    marker = json.loads(objects(url)[f"models/{model:04d}.json"])
    return f"models/{model:04d}/{marker['sha256']['model.json']}/{file}"


def test_what_is_pulled_is_what_was_pushed(url: str, whole: Path, tmp_path: Path) -> None:
    store = Store(url)
    assert store.pull(tmp_path / "none") is None
    assert store.push(Bank.open(whole)) == [0, 1, 2, 3]
    assert store.push(Bank.open(whole)) == []
    pulled = store.pull(tmp_path / "bank")
    assert pulled is not None
    assert contents(pulled.path) == contents(whole)
    assert [pulled.damage(model) for model in pulled.models()] == [None] * SHADOWS
    assert store.pull(tmp_path / "bank") == pulled


def test_a_push_that_is_killed_at_any_object_leaves_no_half_model(
    url: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut before each object that is written: what is pulled then is whole, and the next push completes it."""
    write, steps = Store._write, 0
    for fatal in range(2 + 4 * SHADOWS):
        place = f"{url}{fatal}"
        left = iter(range(fatal))

        def dies(self: Store, name: str, data: bytes, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            write(self, name, data)

        with monkeypatch.context() as patched:
            patched.setattr(Store, "_write", dies)
            try:
                Store(place).push(Bank.open(whole))
                break
            except KeyboardInterrupt:
                steps += 1
        there = Store(place).models()
        pulled = Store(place).pull(tmp_path / f"bank{fatal}")
        assert (pulled.models() if pulled else []) == there == list(range(max(fatal - 1, 0) // 4))
        if pulled:
            assert contents(pulled.path).items() <= contents(whole).items()
    assert steps == 1 + 4 * SHADOWS, "bank.json, and three files and a marker of each model"
    Store(f"{url}7").push(Bank.open(whole))
    again = Store(f"{url}7").pull(tmp_path / "again")
    assert again is not None
    assert contents(again.path) == contents(whole)


DAMAGE: dict[str, Callable[[str], None]] = {
    "a byte of the signals": lambda url: _flip(url, of_model(url, 1, "signals.safetensors")),
    "a byte of the record": lambda url: _flip(url, of_model(url, 1, "model.json")),
    "weights are gone": lambda url: remove(url, of_model(url, 1, "weights.safetensors")),
    "half a marker": lambda url: put(url, "models/0001.json", objects(url)["models/0001.json"][:40]),
    "a marker of no files": lambda url: _mark(url, sha256={}),
    "a marker that leads elsewhere": lambda url: _mark(url, sha256={"../../x": "0" * 64}),
    "a digest that leads elsewhere": lambda url: _mark(url, sha256={"signals.safetensors": "..", "model.json": "/"}),
    "the marker of another model": lambda url: _mark(url, model=2),
    "the marker of another bank": lambda url: _mark(url, bank="0" * 64),
    "the files of another model": lambda url: _swap(url),
}


def _flip(url: str, name: str) -> None:
    data = bytearray(objects(url)[name])
    data[len(data) // 2] ^= 1
    put(url, name, bytes(data))


def _mark(url: str, **changed: Any) -> None:
    marker = json.loads(objects(url)["models/0001.json"]) | changed
    put(url, "models/0001.json", json.dumps(marker).encode())


def _swap(url: str) -> None:
    """Give model 1 the files of model 2, with a marker that has their digests."""
    other = json.loads(objects(url)["models/0002.json"])
    for name in other["sha256"]:
        data = objects(url)[of_model(url, 2, name)]
        put(url, f"models/0001/{other['sha256']['model.json']}/{name}", data)
    put(url, "models/0001.json", json.dumps(other | {"model": 1}).encode())


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_is_refused_by_name_and_can_be_pushed_again(
    damage: str, whole: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"memory://{hashlib.sha256(damage.encode()).hexdigest()[:20]}/bank"
    Store(url).push(Bank.open(whole))
    DAMAGE[damage](url)
    with pytest.raises(BankError, match=r"models/0001.* is damaged .*Remove .*models/0001\.json"):
        Store(url).pull(tmp_path / "bank")
    assert Bank.open(tmp_path / "bank").models() == [0]
    remove(url, "models/0001.json")
    assert Store(url).push(Bank.open(whole)) == [1]
    pulled = Store(url).pull(tmp_path / "bank")
    assert pulled is not None
    assert contents(pulled.path) == contents(whole)


def test_two_pushers_of_one_model_leave_one_of_them_whole(
    url: str, quick: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second pushes all of its own while the first is between two objects of the same model."""
    ma.fill(tmp_path / "other", quick, SHADOWS, device="cpu")
    record = tmp_path / "other" / "models" / "0000" / "model.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"seconds": 1e6}))  # on a slower machine
    write, interrupted = Store._write, False

    def both(self: Store, name: str, data: bytes) -> None:
        nonlocal interrupted
        if name.startswith("models/0000/") and not interrupted:
            interrupted = True
            Store(url).push(Bank.open(tmp_path / "other"))
        write(self, name, data)

    monkeypatch.setattr(Store, "_write", both)
    Store(url).push(Bank.open(whole))
    pulled = Store(url).pull(tmp_path / "bank")
    assert interrupted
    assert pulled is not None
    assert [pulled.damage(model) for model in pulled.models()] == [None] * SHADOWS
    assert contents(pulled.path) == contents(whole)


def test_another_recipe_is_refused_and_overwrites_nothing(url: str, whole: Path, quick: str, tmp_path: Path) -> None:
    Store(url).push(Bank.open(whole))
    before = objects(url)
    ma.fill(tmp_path / "other", quick, 2, seed=7, device="cpu")
    with pytest.raises(BankError, match=r"has another bank than this folder.*\n.*seed"):
        Store(url).push(Bank.open(tmp_path / "other"))
    with pytest.raises(BankError, match="was made by another recipe"):
        Store(url).pull(tmp_path / "other")
    assert objects(url) == before


def test_a_damaged_model_is_not_pushed(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "bank")
    signals = tmp_path / "bank" / "models" / "0002" / "signals.safetensors"
    signals.write_bytes(signals.read_bytes()[:-1])
    with pytest.raises(BankError, match=r"model 2 of .* is damaged"):
        Store("memory://unsound/bank").push(Bank.open(tmp_path / "bank"))
    assert Store("memory://unsound/bank").models() == [0, 1]


def test_the_design_of_a_bank_travels_with_it(quick: str, tmp_path: Path) -> None:
    design = ma.Subsets(candidates=np.arange(200) < 40)
    bank = ma.fill(tmp_path / "bank", quick, 2, design=design, device="cpu")
    Store("memory://designed/bank").push(bank)
    pulled = Store("memory://designed/bank").pull(tmp_path / "pulled")
    assert pulled is not None
    assert contents(pulled.path) == contents(bank.path)
    assert pulled.design(200).count(Role.CANDIDATE) == 40


@pytest.mark.parametrize("damage", ["missing", "cut", "another"])
def test_a_damaged_design_is_refused_and_can_be_pushed_again(damage: str, quick: str, tmp_path: Path) -> None:
    url, design = f"memory://design-{damage}/bank", ma.Subsets(candidates=np.arange(200) < 40)
    bank = ma.fill(tmp_path / "bank", quick, 2, design=design, device="cpu")
    Store(url).push(bank)
    (name,) = (name for name in objects(url) if name.startswith("design-"))
    if damage == "missing":
        remove(url, name)
    else:
        data = objects(url)[name]
        put(url, name, data[:-9] if damage == "cut" else data[:-9] + bytes(9))
    with pytest.raises(BankError, match=r"design-.* is damaged .*Remove .*design-"):
        Store(url).pull(tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()
    if damage != "missing":
        remove(url, name)
    Store(url).push(bank)
    assert Store(url).pull(tmp_path / "pulled") is not None


def test_a_record_that_is_none_is_refused(whole: Path, tmp_path: Path) -> None:
    url = "memory://record/bank"
    Store(url).push(Bank.open(whole))
    marker = json.loads(objects(url)["models/0001.json"])
    for record in (b"[]", b"{", b"{}", b"\xff"):
        digest = hashlib.sha256(record).hexdigest()
        for file in marker["sha256"]:
            put(url, f"models/0001/{digest}/{file}", objects(url)[of_model(url, 1, file)])
        put(url, f"models/0001/{digest}/model.json", record)
        marker["sha256"]["model.json"] = digest
        put(url, "models/0001.json", json.dumps(marker).encode())
        with pytest.raises(BankError, match="contradicts"):
            Store(url).pull(tmp_path / "bank")


def test_a_store_that_cannot_be_used_is_named(tmp_path: Path, whole: Path) -> None:
    with pytest.raises(SettingsError, match="a store is a URL"):
        Store("bucket/folder")
    with pytest.raises(BankError, match=r"the store nothing://x cannot be used: ValueError"):
        Store("nothing://x").models()
    with pytest.raises(BankError, match=r"cannot be used.*No such file"):
        Store(f"file://{tmp_path}/nowhere/bank").push(Bank.open(whole))


# --- Commands ---------------------------------------------------------------------------------------------------------


def test_machines_that_share_no_folder_fill_one_bank_by_shards(
    url: str, command: Command, complaint: Complaint, empty_bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its own folder; the models come as they end, and the audit pulls what the machines have pushed."""
    for part in ("1/2", "2/2"):
        done = command("bank", "fill", "--shadows", 8, "--bank", f"of{part[0]}", "--shard", part, "--store", url)
        assert done.returncode == 0, done.stderr
        assert len(Bank.open(f"of{part[0]}").models()) == 4
    assert Store(url).models() == list(range(8))
    trained = command("bank", "fill", "--shadows", 8, "--bank", "third", "--store", url)
    assert "shadow models: 8 of 8" not in trained.stderr, "nothing was trained: all was pulled"
    assert command("bank", "pull", "--bank", "fourth", "--store", url).stdout.endswith("8 shadow models\n")
    assert contents(Path("third")) == contents(Path("fourth"))
    assert "8 in all" in command("bank", "push", "--bank", "fourth", "--store", url).stdout
    assert "there is no bank in memory://none" in complaint("bank", "pull", "--store", "memory://none")
    assert "name the store" in complaint("bank", "push", "--bank", "fourth")
    assert "Name object storage as the store" in complaint("bank", "fill", "--bank", url)


def test_an_audit_pulls_from_the_store_of_its_settings(command: Command, project: Path) -> None:
    Store("memory://audited/bank").push(Bank.open("bank"))
    shutil.rmtree("bank")
    settings = Path("memaudit.toml")
    settings.write_text(f'{settings.read_text()}store = "memory://audited/bank"\n')
    done = command("audit", "model.safetensors")
    assert done.returncode == 0, done.stderr
    assert "shadow models:" not in done.stderr, "nothing was trained"
    assert len(Bank.open("bank").models()) == 16


def test_models_are_pushed_while_others_are_trained(
    command: Command, empty_bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is taken away loses the model that it trains, not those that it has trained."""
    counts: list[int] = []
    push = Store.push

    def counted(self: Store, bank: Bank) -> list[int]:
        counts.append(len(bank.models()))
        return push(self, bank)

    monkeypatch.setattr(Store, "push", counted)
    command("bank", "fill", "--shadows", 4, "--store", "memory://while/bank")
    assert counts == [1, 2, 3, 4, 4]


def test_a_push_that_fails_ends_no_training_but_is_told_at_the_end(
    command: Command, complaint: Complaint, empty_bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Store, bank: Bank) -> list[int]:
        raise BankError("the network is away")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "push", fails)
        assert "the network is away" in complaint("bank", "fill", "--shadows", 4, "--store", "memory://away/bank")
    assert len(Bank.open(empty_bank).models()) == 4
    assert command("bank", "fill", "--shadows", 4, "--store", "memory://away/bank").returncode == 0
    assert Store("memory://away/bank").models() == [0, 1, 2, 3]
