"""Shadow models that were trained elsewhere: their arrays in every format, and what contradicts what is stated."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import outputs
import pytest
from safetensors.numpy import save_file

import memaudit
from memaudit.auditing.planning import write_plan
from memaudit.bank import Bank
from memaudit.bank.arrays import read_arrays
from memaudit.bank.imported import Imported
from memaudit.errors import BankError, EvidenceError, MemauditError, SettingsError
from memaudit.signals import scaled_logit
from memaudit.signals.recorded import KINDS, recorded_signals
from memaudit.training import import_bank, import_models

Array = np.ndarray
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def made() -> outputs.Made:
    return outputs.made(outputs.pairs(6, 120))


def phis(found: Imported) -> Array:
    return np.stack([found.bank.tensors(model)["phi"] for model in found.bank.models()])


# --- formats ----------------------------------------------------------------------------------------------------------


def _table(path: Path, made: outputs.Made) -> Path:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["model", "example", "member", "label", *(f"logit_{c}" for c in range(outputs.CLASSES))])
        for example in range(120):
            for model in range(6):
                own = made.members[model, example], made.labels[example]
                rows.writerow([f"m{model}", f"e{example}", *own, *map(repr, map(float, made.logits[model, example]))])
    return path


def _npz(folder: Path, made: outputs.Made) -> Path:
    return made.write(folder)[0]


def _safetensors(folder: Path, made: outputs.Made) -> Path:
    save_file({name: np.ascontiguousarray(value) for name, value in made.shadows.items()}, folder / "s.safetensors")
    return folder / "s.safetensors"


def _folder(folder: Path, made: outputs.Made) -> Path:
    for name, value in made.shadows.items():
        np.save(folder / f"{name}.npy", value)
    return folder


def _csv(folder: Path, made: outputs.Made) -> Path:
    return _table(folder / "shadows.csv", made)


def _parquet(folder: Path, made: outputs.Made) -> Path:
    pytest.importorskip("pyarrow")
    from pyarrow import csv as reader  # type: ignore[import-untyped]
    from pyarrow import parquet

    parquet.write_table(reader.read_csv(_csv(folder, made)), folder / "shadows.parquet")
    return folder / "shadows.parquet"


@pytest.mark.parametrize("write", [_npz, _safetensors, _folder, _csv, _parquet])
def test_every_format_gives_the_same_bank(write: object, made: outputs.Made, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    found = import_bank(tmp_path / "bank", write(tmp_path / "in", made), "logits")  # type: ignore[operator]
    order = found.design.order
    expected = [scaled_logit(made.logits[model], made.labels) for model in order]
    assert np.allclose(phis(found)[..., 0], expected, rtol=1e-6)
    stored = np.stack([found.bank.tensors(place)["members"] for place in range(6)])
    assert np.array_equal(stored, made.members[order])
    assert found.bank.fingerprint["origin"] == "imported outputs"
    assert (stored[0::2] + stored[1::2] == 1).all()


def test_arrays_and_files_of_their_own_take_the_place_of_those_in_a_source(made: outputs.Made, tmp_path: Path) -> None:
    np.savez(tmp_path / "wrong.npz", **made.shadows | {"members": 1 - made.shadows["members"]})
    np.save(tmp_path / "members.npy", made.shadows["members"])
    by_file = import_bank(tmp_path / "a", tmp_path / "wrong.npz", "logits", members=tmp_path / "members.npy")
    in_memory = import_bank(tmp_path / "b", kind="logits", **made.shadows)
    assert np.array_equal(phis(by_file), phis(in_memory))


@pytest.mark.parametrize("name", ["arrays.pkl", "arrays.pt", "arrays.joblib"])
def test_pickles_are_refused_with_the_way_out(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04\x95")
    with pytest.raises(EvidenceError, match=r"runs code when it is loaded.*numpy\.savez"):
        import_bank(tmp_path / "bank", tmp_path / name, "logits")


def test_pickled_objects_in_an_archive_are_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'sprung'}",)

    trap = np.array([Trap()], object)
    np.savez(tmp_path / "a.npz", outputs=trap, members=trap, labels=trap)
    np.save(tmp_path / "outputs.npy", trap, allow_pickle=True)
    for source in ("a.npz", "outputs.npy"):
        with pytest.raises(EvidenceError, match="run code when they are loaded"):
            import_bank(tmp_path / "bank", tmp_path / source, "logits")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.npz", b"PK\x03\x04"), ("a.safetensors", b"\0" * 20), ("outputs.npy", b"\x93NUMPY"), ("a.csv", b"a,b\n1\n")],
)
def test_damaged_files_are_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EvidenceError, match=name.replace(".", r"\.")):
        import_bank(tmp_path / "bank", tmp_path / name, "logits")


def test_a_table_that_lacks_a_row_or_has_two_labels_is_refused(made: outputs.Made, tmp_path: Path) -> None:
    lines = _table(tmp_path / "t.csv", made).read_text().splitlines()
    (tmp_path / "short.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(EvidenceError, match="719 rows; 6 models and 120 examples"):
        import_bank(tmp_path / "bank", tmp_path / "short.csv", "logits")
    cells = lines[1].split(",")
    other = ",".join([*cells[:3], str((int(cells[3]) + 1) % 4), *cells[4:]])
    (tmp_path / "two.csv").write_text("\n".join([lines[0], other, *lines[2:]]))
    with pytest.raises(EvidenceError, match="different labels"):
        import_bank(tmp_path / "bank", tmp_path / "two.csv", "logits")


# --- what numbers are -------------------------------------------------------------------------------------------------


def _as(kind: str, made: outputs.Made) -> Array:
    p = outputs.softmax(made.logits)
    own = np.take_along_axis(p, made.labels[None, :, None].repeat(len(p), 0), axis=2)[..., 0]
    return {
        "logits": made.logits,
        "probabilities": p,
        "log-probabilities": np.log(p),
        "one-vs-rest": 1 / (1 + np.exp(-made.logits)),
        "losses": -np.log(own),
        "scaled-logits": np.log(own) - np.log1p(-own),
        "label-probabilities": own,
        "label-log-probabilities": np.log(own),
    }[kind]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "one-vs-rest"])
def test_all_kinds_of_numbers_give_the_same_signal(kind: str, made: outputs.Made) -> None:
    values = _as(kind, made)[0]
    found = recorded_signals(values, made.labels, kind)
    assert np.allclose(found.phi[:, 0], scaled_logit(made.logits[0], made.labels), rtol=1e-4, atol=1e-4)


def test_one_vs_rest_is_the_label_s_own_logit(made: outputs.Made) -> None:
    found = recorded_signals(_as("one-vs-rest", made)[0], made.labels, "one-vs-rest")
    assert np.allclose(found.phi[:, 0], made.logits[0, np.arange(120), made.labels], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("stated", "really"),
    [
        ("logits", "probabilities"),
        ("logits", "one-vs-rest"),
        ("probabilities", "logits"),
        ("probabilities", "log-probabilities"),
        ("probabilities", "one-vs-rest"),
        ("log-probabilities", "logits"),
        ("log-probabilities", "probabilities"),
        ("one-vs-rest", "logits"),
        ("losses", "scaled-logits"),
        ("losses", "label-log-probabilities"),
        ("losses", "label-probabilities"),
        ("scaled-logits", "label-probabilities"),
        ("scaled-logits", "label-log-probabilities"),
        ("label-probabilities", "losses"),
        ("label-probabilities", "scaled-logits"),
        ("label-log-probabilities", "losses"),
        ("label-log-probabilities", "scaled-logits"),
        ("label-log-probabilities", "label-probabilities"),
        ("scaled-logits", "losses"),
    ],
)
def test_what_is_found_by_looking_contradicts_what_is_stated(
    stated: str, really: str, made: outputs.Made, tmp_path: Path
) -> None:
    """Losses are told from scaled logits, and probabilities from losses, by what members have more of."""
    with pytest.raises(EvidenceError):
        import_bank(tmp_path / "bank", kind=stated, **made.shadows | {"outputs": _as(really, made)[:6]})
    bank = tmp_path / "bank"
    assert not bank.exists() or not Bank.open(bank).models(), "nothing stays that an audit could use"


def test_members_that_are_marked_by_zero_are_refused(made: outputs.Made, tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="members are marked by 0"):
        import_bank(tmp_path / "bank", kind="logits", **made.shadows | {"members": 1 - made.shadows["members"]})


@pytest.mark.parametrize("heading", ["", "Unnamed: 0", "__index_level_0__", "b"])
def test_a_column_of_a_table_that_is_no_output_is_refused(heading: str, tmp_path: Path) -> None:
    """An index that pandas wrote, or a heading that occurs twice."""
    rows = [f"{row},{row % 2},{row % 2},{row},0.5" for row in range(20)]
    (tmp_path / "t.csv").write_text("\n".join([f"example,member,label,{heading},b", *rows]))
    with pytest.raises(EvidenceError, match=r"is an index rather than outputs|several columns 'b'"):
        read_arrays(tmp_path / "t.csv", {})


def test_a_folder_with_two_files_of_an_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "outputs.npy", np.zeros((3, 2)))
    (tmp_path / "outputs.csv").write_text("1,2\n3,4\n5,6\n")
    with pytest.raises(EvidenceError, match=r"both outputs\.npy and outputs\.csv"):
        read_arrays(tmp_path, {})


def test_labels_of_other_examples_are_refused(made: outputs.Made, tmp_path: Path) -> None:
    big = outputs.made(outputs.pairs(6, 2000), leak=6.0)
    wrong = (big.labels + 1) % outputs.CLASSES
    with pytest.raises(EvidenceError, match="is right about"):
        import_bank(tmp_path / "bank", kind="logits", **big.shadows | {"labels": wrong})


def test_without_a_word_on_correctness_it_is_a_label_s_probability_above_one_half(
    made: outputs.Made, tmp_path: Path
) -> None:
    arrays = made.shadows | {"outputs": _as("losses", made)[:6]}
    found = import_bank(tmp_path / "a", kind="losses", **arrays)
    assert np.array_equal(found.bank.tensors(0)["correct"], phis(found)[0, :, 0] > 0)
    assert "above 1/2" in found.bank.fingerprint["correct"]
    right = np.random.default_rng(0).random(made.shadows["members"].shape) < 0.6
    found = import_bank(tmp_path / "b", kind="losses", correct=right, **arrays)
    assert np.array_equal(found.bank.tensors(0)["correct"], right[found.design.order[0]])
    assert found.bank.fingerprint["correct"] == "given"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": np.ones((6, 119))}, r"outputs have shape \[6, 120, 4\] and members \[6, 119\]"),
        ({"members": np.ones((120, 6))}, "one of them is transposed"),
        ({"members": np.full((6, 120), 0.5)}, "whole numbers"),
        ({"labels": np.arange(119) % 4}, "119 labels for 120 examples"),
        ({"labels": np.arange(120) % 9}, "has label"),
        ({"labels": np.arange(120) % 4 + 0.5}, "whole numbers from 0"),
        ({"ids": ["a"] * 120}, "ids must be unique"),
        ({"outputs": np.full((6, 120, 4), np.nan)}, "model 0: outputs are NaN"),
        ({"outputs": np.zeros((6, 120))}, "have shape"),
        ({"outputs": np.full((6, 120, 4), "a")}, "outputs are numbers"),
        ({"correct": np.ones((6, 119))}, "correct has shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    changes: dict[str, Array], message: str, made: outputs.Made, tmp_path: Path
) -> None:
    with pytest.raises(EvidenceError, match=message):
        import_bank(tmp_path / "bank", kind="logits", **made.shadows | changes)


def test_a_missing_array_and_a_missing_kind_are_named(made: outputs.Made, tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="the array 'members' is missing; there are: labels, outputs"):
        import_bank(tmp_path / "bank", kind="logits", outputs=made.logits[:6], labels=made.labels)
    with pytest.raises(SettingsError, match="the kind of the outputs is not known"):
        import_bank(tmp_path / "bank", **made.shadows)
    with pytest.raises(EvidenceError, match="kind 'odds'"):
        import_bank(tmp_path / "bank", kind="odds", **made.shadows)


# --- the bank ---------------------------------------------------------------------------------------------------------


def test_an_import_goes_on_where_it_stopped(made: outputs.Made, tmp_path: Path) -> None:
    whole = import_bank(tmp_path / "whole", kind="logits", **made.shadows)
    part = import_bank(tmp_path / "part", kind="logits", **made.shadows)
    for model in (1, 4):
        part.bank.discard(model)
    with pytest.raises(BankError, match=r"the import into .* is not finished: 4 of 6"):
        part.bank.read()
    again = import_bank(tmp_path / "part", kind="logits", **made.shadows)
    assert np.array_equal(phis(again), phis(whole))
    assert again.bank.fingerprint == whole.bank.fingerprint


_KILLED = """
import os, sys, numpy as np
from pathlib import Path
from typing import Any
import memaudit.bank.imported as imported
from memaudit.bank import Bank
from memaudit.bank.arrays import read_arrays
write = Bank.write
def stop(self, model, *rest):
    if model == 3:
        (self.path / "models" / f".writing-0003-{os.uname().nodename}-{os.getpid()}-x").mkdir()
        os.kill(os.getpid(), 9)
    write(self, model, *rest)
Bank.write = stop
import memaudit
memaudit.import_bank(sys.argv[1], sys.argv[2], "logits")
"""


def test_a_killed_import_leaves_nothing_that_is_read(made: outputs.Made, tmp_path: Path) -> None:
    source, bank = made.write(tmp_path)[0], tmp_path / "bank"
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(bank), str(source)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert Bank.open(bank).models() == [0, 1, 2]
    with pytest.raises(BankError, match="not finished"):
        Bank.open(bank).read()
    found = import_bank(bank, source, "logits")
    assert found.bank.read().shape == (3, 120, 1)
    assert not list((bank / "models").glob(".writing-*"))


def test_another_import_does_not_mix_with_one_that_is_there(made: outputs.Made, tmp_path: Path) -> None:
    import_bank(tmp_path / "bank", kind="logits", **made.shadows)
    with pytest.raises(BankError, match=r"recipe\.imported"):
        import_bank(tmp_path / "bank", kind="logits", **made.shadows | {"outputs": made.logits[:6] + 1})


def test_an_imported_bank_is_not_filled(made: outputs.Made, tmp_path: Path) -> None:
    import_bank(tmp_path / "bank", kind="logits", **made.shadows)
    with pytest.raises(BankError, match="were imported: no recipe can add to them"):
        Bank.open(tmp_path / "bank").require({"seed": "0"})


def test_arrays_in_any_order_of_memory_are_stored_as_they_are(made: outputs.Made, tmp_path: Path) -> None:
    """A row of an array in Fortran's order is not contiguous, and safetensors writes its neighbours instead."""
    fortran: dict[str, Any] = {name: np.asfortranarray(values) for name, values in made.shadows.items()}
    found = import_bank(tmp_path / "bank", kind="logits", **fortran)
    stored = np.stack([found.bank.tensors(place)["members"] for place in range(6)])
    assert np.array_equal(stored, made.members[found.design.order])


def test_nobody_else_may_read_it(made: outputs.Made, tmp_path: Path) -> None:
    found = import_bank(tmp_path / "bank", kind="logits", **made.shadows)
    assert (found.bank.path.stat().st_mode & 0o077) == 0


def test_damage_is_found(made: outputs.Made, tmp_path: Path) -> None:
    found = import_bank(tmp_path / "bank", kind="logits", **made.shadows)
    file = tmp_path / "bank" / "models" / "0002" / "signals.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(BankError, match="model 2"):
        found.bank.read()


# --- a folder of models -----------------------------------------------------------------------------------------------

_RECIPE = """
import numpy as np
from torch import nn
import memaudit as ma

def examples():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5)).astype(np.float32)
    return ma.Examples(x, (x[:, 0] + rng.normal(size=200) > 0).astype(int))

recipe = ma.ClassifierRecipe(examples, lambda: nn.Linear(5, 2), epochs=20, batch_size=20, optimizer=ma.SGD(lr=0.3))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with recipe.py, and with six models and the lists of their members in models/."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "recipe.py").write_text(_RECIPE)
    (folder / "models").mkdir()
    recipe = memaudit.recipe.load_recipe(f"{folder / 'recipe.py'}:recipe")
    members = outputs.pairs(6, 200, seed=5)
    for number, row in enumerate(members):
        model = memaudit.train(recipe, row, seed=number)
        memaudit.save_target(model, folder / "models" / f"model-{number}.safetensors", row, recipe)
    np.save(folder / "members.npy", members)
    drawn = memaudit.draw_members(recipe, seed=1)
    memaudit.save_target(memaudit.train(recipe, drawn, seed=9), folder / "model.safetensors", drawn, recipe)
    return folder


def test_a_folder_of_models_is_loaded_by_the_recipe(trained: Path, tmp_path: Path) -> None:
    recipe = f"{trained / 'recipe.py'}:recipe"
    beside = import_models(tmp_path / "a", trained / "models", recipe)
    given = import_models(tmp_path / "b", trained / "models", recipe, trained / "members.npy")
    assert beside.design.pairs and np.array_equal(phis(beside), phis(given))
    assert beside.bank.fingerprint["origin"] == "imported models"
    matrix = np.load(trained / "members.npy")
    with pytest.raises(EvidenceError, match="there are 6 models, in the order of their names"):
        import_models(tmp_path / "c", trained / "models", recipe, matrix[:5])
    done = memaudit.audit(trained / "model.safetensors", recipe, beside.bank, fprs=[0.1], attacks=["lira-online"])
    assert {c.code: c.passed for c in done.report.controls}["CTL003"] is not None, "inputs are those of the recipe"


_TWO_HEADS = """
import numpy as np
from torch import nn
import memaudit as ma

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(5, 2)

    def forward(self, x):
        z = self.body(x)
        return {"logits": 0 * z + x[:, :2], "own": z}

def examples():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5)).astype(np.float32)
    return ma.Examples(x, (x[:, 0] + rng.normal(size=200) > 0).astype(int))

recipe = ma.ClassifierRecipe(examples, Net, epochs=5, batch_size=20, optimizer=ma.SGD(lr=0.3), output="own")
"""


def test_an_audit_with_an_imported_bank_can_be_planned(trained: Path, tmp_path: Path) -> None:
    """Nothing is trained or timed; the audit keeps to the plan, which was entered in the ledger before it."""
    recipe = memaudit.recipe.load_recipe(f"{trained / 'recipe.py'}:recipe")
    bank = import_models(tmp_path / "bank", trained / "models", recipe).bank
    asked: dict[str, Any] = {
        "fprs": [0.1],
        "attacks": ["lira-online"],
        "limits": [memaudit.Limit(metric="tpr", max=0.5)],
    }
    planned = memaudit.plan(recipe, bank.path, members=trained / "model.safetensors.members.csv", **asked)
    assert (planned.shadows, planned.missing, planned.cost.source) == (6, 0, "imported")
    assert (planned.assumed, planned.warnings, planned.design) == (False, (), bank.fingerprint["design"])
    write_plan(planned, tmp_path / "plan.json", bank.path, recipe, memaudit.training.population(recipe))
    assert Bank.open(bank.path).imported
    done = memaudit.audit(trained / "model.safetensors", recipe, bank, plan=tmp_path / "plan.json", **asked)
    assert done.report.plan is not None
    subject = done.report.subject
    assert (subject.members, subject.nonmembers) == (planned.members, planned.nonmembers)


def test_imported_models_and_references_are_asked_for_the_output_that_the_recipe_names(tmp_path: Path) -> None:
    """A network returns a part called logits, which the recipe does not mean."""
    from memaudit.auditing import open_target
    from memaudit.auditing.ground import ground

    (tmp_path / "recipe.py").write_text(_TWO_HEADS)
    recipe = memaudit.recipe.load_recipe(f"{tmp_path / 'recipe.py'}:recipe")
    (tmp_path / "models").mkdir()
    for number, row in enumerate(outputs.pairs(6, 200, seed=5)):
        model = memaudit.train(recipe, row, seed=number)
        memaudit.save_target(model, tmp_path / "models" / f"model-{number}.safetensors", row, recipe)
    first = open_target(tmp_path / "models" / "model-0.safetensors", recipe)
    found = import_models(tmp_path / "bank", tmp_path / "models", recipe)
    place = int(np.flatnonzero(found.design.order == 0)[0])
    np.testing.assert_array_equal(found.bank.tensors(place)["phi"], first.recorded["phi"])
    other = open_target(tmp_path / "models" / "model-1.safetensors", recipe)
    base = ground(first, references=[tmp_path / "models" / "model-1.safetensors"])
    assert base.references is not None
    np.testing.assert_allclose(base.references.phi[0], other.recorded["phi"][:, 0], rtol=1e-6)


def test_models_are_imported_in_the_order_of_their_numbers(trained: Path, tmp_path: Path) -> None:
    from memaudit.training.importing import _files

    for name in ("m-10.pt", "m-9.pt", "m-9.pt.members.csv", ".hidden"):
        (tmp_path / name).touch()
    assert [file.name for file in _files(tmp_path)] == ["m-9.pt", "m-10.pt"]


def test_a_pickled_model_in_the_folder_is_refused(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for number in range(6):
        (tmp_path / "models" / f"{number}.pt").write_bytes(b"\x80\x04\x95")
    with pytest.raises(MemauditError, match=r"model 0: .*pickle"):
        import_models(tmp_path / "bank", tmp_path / "models", f"{trained}/recipe.py:recipe", trained / "members.npy")


# --- what other programs leave ----------------------------------------------------------------------------------------


def test_a_log_folder_of_privacy_meter(made: outputs.Made, tmp_path: Path) -> None:
    """`signals/rmia_signals.npy` has a column for each model, `memberships.npy` a row; labels are in neither."""
    (tmp_path / "log" / "signals").mkdir(parents=True)
    np.save(
        tmp_path / "log" / "signals" / "rmia_signals.npy", _as("label-probabilities", made)[:6].T.astype(np.float32)
    )
    np.save(tmp_path / "log" / "memberships.npy", made.shadows["members"].astype(bool))
    (tmp_path / "log" / "models_metadata.json").write_text("{}")
    found = import_bank(tmp_path / "bank", tmp_path / "log")
    expected = [scaled_logit(made.logits[model], made.labels) for model in found.design.order]
    assert np.allclose(phis(found)[..., 0], expected, atol=1e-3)
    assert found.bank.fingerprint["numbers"] == "label-probabilities"
    np.save(tmp_path / "log" / "signals" / "loss_signals.npy", np.zeros(3))
    with pytest.raises(EvidenceError, match="several files of signals"):
        import_bank(tmp_path / "bank2", tmp_path / "log")


def test_the_cache_of_leakpro(made: outputs.Made, tmp_path: Path) -> None:
    """Logits are in `sm_0_HASH_logits.npy`, in the order of `sm_0_HASH_indices.npy`; members are in pickles."""
    numbers = np.random.default_rng(1).permutation(120)
    for model in range(6):
        np.save(tmp_path / f"sm_{model}_ab_logits.npy", made.logits[model, numbers])
        np.save(tmp_path / f"sm_{model}_ab_indices.npy", numbers + 1000)
    with pytest.raises(EvidenceError, match=r"pickles .*--members(.|\n)*numpy\.isin\(indices, m\.train_indices\)"):
        import_bank(tmp_path / "bank", tmp_path)
    np.save(tmp_path / "members.npy", made.shadows["members"])
    found = import_bank(tmp_path / "bank", tmp_path, members=tmp_path / "members.npy", labels=made.labels)
    assert np.allclose(phis(found)[0, :, 0], scaled_logit(made.logits[found.design.order[0]], made.labels), rtol=1e-6)
    np.save(tmp_path / "sm_3_ab_indices.npy", numbers + 2000)
    with pytest.raises(EvidenceError, match="shadow model 3 are of other examples"):
        import_bank(tmp_path / "bank", tmp_path, members=tmp_path / "members.npy", labels=made.labels)


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_imports_and_says_the_design(
    made: outputs.Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from memaudit.cli import main

    made.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    for arguments, code, words in (
        (["bank", "import", "shadows.npz", "--kind", "logits"], 0, "3 complementary pairs"),
        (["bank", "status"], 0, "imported outputs"),
        (["bank", "import"], 2, "name a SOURCE"),
        (["bank", "import", "shadows.npz"], 2, "the kind of the outputs is not known"),
        (["bank", "import", "shadows.npz", "--models", "m"], 2, "--models FOLDER goes with"),
        (["bank", "import", "no.npz", "--kind", "logits"], 2, "there is no no.npz"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        told = capsys.readouterr()
        assert ended.value.code == code, told
        assert words in told.out + told.err
    content = json.loads((tmp_path / "bank" / "bank.json").read_text())
    digest = hashlib.sha256((tmp_path / "shadows.npz").read_bytes()).hexdigest()
    assert content["fingerprint"]["recipe.imported"] == digest


# --- docs/import.md ---------------------------------------------------------------------------------------------------


def test_every_snippet_of_the_page_runs(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python in the order of the page; commands after it, with the arrays that it wrote."""
    onnxruntime = pytest.importorskip("onnxruntime")
    skl2onnx = pytest.importorskip("skl2onnx")
    assert onnxruntime
    from sklearn.linear_model import LogisticRegression

    from memaudit.cli import main

    page = (ROOT / "docs" / "import.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    made = outputs.made(outputs.pairs(6, 200))
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    model = LogisticRegression().fit(x, made.labels)
    graph = skl2onnx.to_onnx(model, x[:1], options={id(model): {"zipmap": False}}, target_opset=17)
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    (tmp_path / "signals").mkdir()
    np.save(tmp_path / "signals" / "rmia_signals.npy", _as("label-probabilities", made).T)
    np.save(tmp_path / "memberships.npy", made.members.astype(bool))
    names = {"target_outputs": made.logits[-1], "target_members": made.members[-1], "x": x} | made.shadows
    for snippet in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(snippet, names)
    assert names["recorded"].shape == (200, 4)
    assert (tmp_path / "audit.html").is_file() and "complementary pairs" in capsys.readouterr().out
    for name in ("recipe.py", "models", "model.safetensors", "model.safetensors.members.csv"):
        (tmp_path / name).symlink_to(trained / name)
    commands = [
        line[2:] for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL) for line in block.splitlines()
    ]
    assert len(commands) == 4
    for command in commands:
        with pytest.raises(SystemExit) as ended:
            main([*command.split()[1:], *(["--fpr", "0.05", "-q"] if " audit " in command else [])])
        assert ended.value.code == 0, (command, capsys.readouterr())


def test_the_page_names_every_kind_and_option() -> None:
    page = (ROOT / "docs" / "import.md").read_text("utf-8")
    assert all(f"`{kind}`" in page for kind in KINDS)
    assert all(f"`--{name}`" in page for name in ("outputs", "members", "labels", "ids", "inputs", "correct"))
