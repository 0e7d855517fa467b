"""What a fingerprint says about code and values: the lines of docs/fingerprint.md."""

from __future__ import annotations

import io
import json
import logging
import os
import random
import re
import subprocess
import sys
import threading
import tracemalloc
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tqdm import tqdm  # type: ignore[import-untyped]

import memaudit as ma
from memaudit.bank import Bank
from memaudit.errors import BankError
from memaudit.recipe import fingerprint, recipe_digest
from memaudit.recipe.contents import Contents
from memaudit.recipe.inventory import Inventory

TYPED = '''
"""A notebook."""
import enum, functools, json, re
from dataclasses import dataclass
import numpy as np, torch
from torch import nn
from torch.optim import SGD as Optimizer

EPOCHS = 1
CONFIG = {"rate": 0.1, "layers": [4, 2]}
TABLE = np.arange(6.0).reshape(2, 3)
EMBEDDING = torch.arange(4.0)
ENCODER = nn.Linear(2, 2)
nn.init.ones_(ENCODER.weight); nn.init.zeros_(ENCODER.bias)
WORDS = {"b", "a", "c"}
ACTIVATIONS = {"relu": lambda x: x.clamp(min=0)}
UNUSED = 1

class Mode(enum.Enum):
    FAST = 1

MODE = Mode.FAST

@dataclass
class Settings:
    width: int = 22

SETTINGS = Settings()

PATTERN = re.compile("a")
AVERAGE = np.sin

class Kind(type):
    limit = 1

class Special(metaclass=Kind):
    pass

class Base(nn.Module):
    slope = 1

class Net(Base):
    """A network."""
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)
    def forward(self, x):
        return self.layer(x) if "a" in {"a", "b"} else 0

def scaled(by):
    def scale(x):
        return x * by
    return scale

scale = scaled(2)
rescale = functools.partial(max, 3)

class Trainer:
    def __init__(self, rate):
        self.rate = rate
    def __call__(self, dataset, *, seed, device):
        return self.rate

TRAINER = Trainer(0.5)

@functools.lru_cache
def cached():
    return 1

def helper(net):
    """Train it."""
    used = (EPOCHS, CONFIG, TABLE, EMBEDDING, ENCODER, WORDS, ACTIVATIONS, MODE, SETTINGS, rescale, TRAINER)
    assert used, (PATTERN, AVERAGE, Special)
    return Optimizer(net.parameters(), lr=0.1), scale(1), cached(), [x + 1 for x in used]

def train(dataset, *, seed, device, rate=0.1):
    return helper(Net())
'''

CHANGES: dict[str, tuple[str, str, set[str]]] = {
    "global number": ("EPOCHS = 1", "EPOCHS = 500", {"global.notebook.EPOCHS"}),
    "type of a number": ("EPOCHS = 1", "EPOCHS = True", {"global.notebook.EPOCHS"}),
    "dict": ('"rate": 0.1', '"rate": 0.2', {"global.notebook.CONFIG"}),
    "nested list": ("[4, 2]", "[4, 3]", {"global.notebook.CONFIG"}),
    "array": ("np.arange(6.0)", "np.ones(6)", {"global.notebook.TABLE"}),
    "shape": ("reshape(2, 3)", "reshape(3, 2)", {"global.notebook.TABLE"}),
    "tensor": ("torch.arange(4.0)", "torch.arange(4.0) * 2", {"global.notebook.EMBEDDING"}),
    "dtype": ("torch.arange(4.0)", "torch.arange(4.0).double()", {"global.notebook.EMBEDDING"}),
    "module's weights": ("zeros_(ENCODER", "ones_(ENCODER", {"global.notebook.ENCODER"}),
    "set": ('"c"}', '"d"}', {"global.notebook.WORDS"}),
    "lambda in a dict": ("min=0", "min=1", {"code.notebook.<lambda>", "global.notebook.ACTIVATIONS"}),
    "enum": ("FAST = 1", "FAST = 2", {"code.notebook.Mode", "global.notebook.MODE"}),
    "instance": ("Settings()", "Settings(23)", {"global.notebook.SETTINGS"}),
    "class of an instance": ("dataset, *, seed, device):\n        return self.rate", "dataset, *, seed, device):\n"
                             "        return 2 * self.rate", {"code.notebook.Trainer.__call__"}),
    "state of a callable": ("Trainer(0.5)", "Trainer(0.6)", {"global.notebook.TRAINER"}),
    "partial": ("partial(max, 3)", "partial(max, 4)", {"global.notebook.rescale"}),
    "partial of another": ("partial(max, 3)", "partial(min, 3)", {"global.notebook.rescale"}),
    "closure": ("scaled(2)", "scaled(3)", {"code.notebook.scaled.<locals>.scale"}),
    "wrapped": ("    return 1\n", "    return 2\n", {"code.notebook.cached", "global.notebook.cached"}),
    "helper": ("lr=0.1)", "lr=10)", {"code.notebook.helper"}),
    "metaclass": ("class Kind(type):\n    limit = 1", "class Kind(type):\n    limit = 2", {"code.notebook.Kind"}),
    "pattern": ('compile("a")', 'compile("b")', {"global.notebook.PATTERN"}),
    "function of numpy": ("AVERAGE = np.sin", "AVERAGE = np.cos", {"global.notebook.AVERAGE"}),
    "nested code": ("x + 1", "x + 2", {"code.notebook.helper"}),
    "library's class": ("import SGD", "import Adam", {"global.notebook.Optimizer"}),
    "default": ("rate=0.1)", "rate=10)", {"code.notebook.train"}),
    "method": ("nn.Linear(4, 2)", "nn.Linear(4, 3)", {"code.notebook.Net.__init__"}),
    "base": ("class Net(Base)", "class Net(nn.Module)", {"code.notebook.Net", "code.notebook.Base"}),
    "attribute of a base": ("slope = 1", "slope = 2", {"code.notebook.Base"}),
    "docstring of a function": ('"""Train it."""', '"""Train it well."""', set()),
    "no docstring": ('    """A network."""\n', "", set()),
    "comment": ("EPOCHS = 1", "# why\n\nEPOCHS = 1", set()),
    "layout": ("Optimizer(net.parameters(), lr=0.1)", "Optimizer(\n net.parameters(),\n lr=0.1,\n)", set()),
    "order of a set": ('{"b", "a", "c"}', '{"c", "b", "a"}', set()),
    "order of a constant set": ('{"a", "b"}', '{"b", "a"}', set()),
    "global that is not used": ("UNUSED = 1", "UNUSED = 2", set()),
}  # fmt: skip


def typed(source: str) -> dict[str, Any]:
    """Return the globals of code that no file holds, as in a notebook."""
    module = types.ModuleType("notebook")
    sys.modules["notebook"] = module
    exec(compile(source, "<cell>", "exec"), vars(module))
    return vars(module)


def lines(source: str) -> dict[str, str]:
    return Inventory([typed(source)["train"]]).lines


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    sys.modules.pop("notebook", None)


@pytest.mark.parametrize(("old", "new", "differs"), CHANGES.values(), ids=CHANGES)
def test_code_that_no_file_holds_is_compared_by_content(old: str, new: str, differs: set[str]) -> None:
    """joblib/joblib#1287, #1498: a cache that does not see a changed helper, global or notebook cell."""
    assert TYPED.count(old) == 1, TYPED.count(old)
    before, after = lines(TYPED), lines(TYPED.replace(old, new))
    assert {name for name in before | after if before.get(name) != after.get(name)} == differs


def test_no_line_shows_an_address_or_a_text() -> None:
    """A global text may be a password, and a report shows the lines."""
    found = lines(TYPED.replace("EPOCHS = 1", "EPOCHS = 'hunter2'"))
    assert found["global.notebook.EPOCHS"].startswith("str ")
    assert not any("0x" in value or "hunter2" in value for value in found.values())


def test_lines_are_the_same_in_every_process(tmp_path: Path) -> None:
    script = TYPED + "\nfrom memaudit.recipe.inventory import Inventory\nprint(json.dumps(Inventory([train]).lines))\n"

    def run(*arguments: str, seed: int, **options: Any) -> dict[str, str]:
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True, text=True, check=True, env=os.environ | {"PYTHONHASHSEED": str(seed)}, **options,
        )  # fmt: skip
        return dict(json.loads(done.stdout))

    piped = run("-", seed=1, input=script)
    assert piped == run("-c", script, seed=2)
    assert {name.replace("__main__", "notebook"): value for name, value in piped.items()}.keys() == lines(TYPED).keys()
    for folder in ("one", "another"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "notebook.py").write_text(script, "utf-8")
    as_script = run(str(tmp_path / "one" / "notebook.py"), seed=3)
    imported = run("-c", "import notebook", seed=4, cwd=tmp_path / "another")
    assert as_script == imported
    assert "global.notebook.EPOCHS" in imported and "code.notebook.helper" not in imported, "the file holds the code"


def test_code_that_was_executed_without_a_name_is_covered() -> None:
    namespace: dict[str, Any] = {}
    exec("class Net:\n    size = 3\ndef train():\n    return Net", namespace)
    assert set(Inventory([namespace["train"]]).lines) == {"code.__main__.Net", "code.__main__.train"}


# --- Functions that a file holds ------------------------------------------------------------------------------------


MODULE = '''
import functools
from pathlib import Path
import settings
from settings import Config

EPOCHS = 1
ROOT = Path(__file__).parent
DATA = str(ROOT / "data.csv")
ABOVE = ROOT.parent

def train(dataset, *, seed, device, rate=0.1):
    """Train."""
    return EPOCHS, ROOT, DATA, ABOVE, settings.WIDTH, Config.depth, settings.nested.LIST
'''
SETTINGS = "import nested\nWIDTH = 2\nOTHER = 1\nclass Config:\n    depth = 3\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def load(folder: str) -> types.ModuleType:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        for name, text in (("module", MODULE), ("settings", SETTINGS), ("nested", "LIST = [1]\n")):
            (place / f"{name}.py").write_text(text, "utf-8")
            sys.modules.pop(name, None)
        monkeypatch.syspath_prepend(place)
        return __import__("module")

    yield load
    for name in ("module", "settings", "nested"):
        sys.modules.pop(name, None)


def test_values_that_were_changed_at_run_time_are_seen_in_functions_of_a_file(project: Any) -> None:
    module = project("project")
    before = Inventory([module.train]).lines
    assert {name for name in before if "OTHER" in name} == set()
    changes: dict[str, Any] = {
        "global.module.EPOCHS": lambda: setattr(module, "EPOCHS", 500),
        "global.settings.WIDTH": lambda: setattr(module.settings, "WIDTH", 3),
        "global.nested.LIST": lambda: module.settings.nested.LIST.append(2),
        "code.settings.Config": lambda: setattr(module.Config, "depth", 4),
        "code.module.train": lambda: setattr(module.train, "__kwdefaults__", {"rate": 10}),
    }
    for name, change in changes.items():
        change()
        after = Inventory([module.train]).lines
        assert {n for n in before | after if before.get(n) != after.get(n)} == {name}
        before = after


def test_a_function_whose_file_was_edited_after_its_import_counts_as_it_was_imported(project: Any) -> None:
    module = project("project")
    before = Inventory([module.train]).lines
    file = Path(str(module.__file__))
    file.write_text(file.read_text("utf-8").replace("return EPOCHS", "return 2 * EPOCHS"), "utf-8")
    after = Inventory([module.train]).lines
    assert after == before | {"code.module.train": after["code.module.train"]}
    file.write_text("# why\n\n" + MODULE.replace('"""Train."""', '"""Train a model."""'), "utf-8")
    assert Inventory([module.train]).lines == before


def test_which_of_two_functions_of_one_name_is_used_counts(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are in the file, whichever an environment variable chose when it was imported."""
    monkeypatch.setattr(
        sys.modules[__name__],
        "MODULE",
        "import os\nif os.environ.get('WIDE'):\n    def width():\n        return 9\n"
        "else:\n    def width():\n        return 2\n"
        "def train():\n    return width()\n",
    )
    before = Inventory([project("project").train]).lines
    monkeypatch.setenv("WIDE", "1")
    after = Inventory([project("project").train]).lines
    assert before.keys() == after.keys() == {"code.module.width"}
    assert before != after


def test_a_project_may_move(project: Any) -> None:
    assert Inventory([project("one").train]).lines == Inventory([project("two").train]).lines


# --- Recipes --------------------------------------------------------------------------------------------------------


def data() -> ma.Examples:
    rng = np.random.default_rng(0)
    return ma.Examples(rng.normal(size=(20, 4)).astype(np.float32), np.arange(20) % 2)


def test_a_long_parameter_of_an_estimator_is_compared_as_a_whole() -> None:
    """Its repr leaves out the middle."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    def lines_of(array: np.ndarray, shift: int) -> dict[str, str]:
        steps = make_pipeline(FunctionTransformer(lambda x: x + shift, kw_args={"a": array}), LogisticRegression())
        return fingerprint(ma.EstimatorRecipe(data, steps), data(), 0)

    array = np.zeros(5000)
    other = array.copy()
    other[2500] = 1
    assert lines_of(array, 1) == lines_of(array.copy(), 1)
    assert lines_of(array, 1) != lines_of(other, 1)
    assert lines_of(array, 1) != lines_of(array, 2)


def test_what_an_estimator_has_learned_does_not_count() -> None:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression().fit(data().x, data().y)
    recipes = [ma.EstimatorRecipe(data, estimator) for estimator in (LogisticRegression(), fitted)]
    assert fingerprint(recipes[0], data(), 0) == fingerprint(recipes[1], data(), 0)


CACHE: dict[str, int] = {}
COUNT = 0
RATE = 0.1


def counting_train(dataset: ma.Examples, *, seed: int, device: str) -> torch.nn.Module:
    global COUNT
    COUNT += 1
    CACHE[str(seed)] = COUNT
    assert RATE
    return torch.nn.Linear(4, 2)


def test_what_training_changes_of_its_own_globals_is_no_other_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = ma.CallableRecipe(data, train=counting_train)
    bank = ma.fill(tmp_path / "bank", recipe, 2, device="cpu")
    assert len(CACHE) == COUNT == 2
    ma.train(recipe, [str(name) for name in data().ids[:10]], device="cpu")
    assert len(ma.fill(tmp_path / "bank", recipe, 4, device="cpu").models()) == 4
    monkeypatch.setattr(sys.modules[__name__], "RATE", 0.2)
    with pytest.raises(BankError, match=r"global\.test_fingerprint\.RATE: 0\.1 → 0\.2"):
        ma.fill(tmp_path / "bank", recipe, 6, device="cpu")
    assert len(bank.models()) == 4


def test_what_cannot_be_read_counts_by_its_type() -> None:
    assert Contents().digest(threading.Lock()) == Contents().digest(threading.Lock())
    assert Contents().digest(threading.Lock()) != Contents().digest(threading.Condition())


def test_an_array_of_which_other_elements_are_masked_is_another() -> None:
    one, other = (
        Contents().digest(np.ma.masked_array([1, 2, 3], mask)) for mask in ([False, True, False], [False] * 3)
    )
    assert one != other


def test_an_attribute_of_a_function_is_its_own() -> None:
    before, after = (lines(TYPED + f"helper.rate = {rate}\n") for rate in (1, 2))
    assert {name for name in before if before[name] != after[name]} == {"code.notebook.helper"}


def test_large_bytes_are_not_written_out_to_be_compared() -> None:
    """As text they would take up to eight times their memory."""
    tracemalloc.start()
    digest = Contents().digest(large := bytes(2_000_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000
    assert digest != Contents().digest(bytearray(large))
    assert digest != Contents().digest(large + b"0")


def test_what_shows_a_training_counts_by_its_type() -> None:
    """It holds times: a new process would refuse the bank."""
    bars = [tqdm(total=3, initial=n, disable=None, file=io.StringIO()) for n in (0, 1)]
    handlers = [logging.StreamHandler(io.StringIO(text)) for text in ("a", "b")]
    assert Contents().digest(bars[0]) == Contents().digest(bars[1]) != Contents().digest(handlers[0])
    assert Contents().digest(handlers[0]) == Contents().digest(handlers[1])


def test_the_state_of_a_random_generator_does_not_count() -> None:
    """Models that differ by chance alone are of one kind."""
    made = [(random.Random(n), np.random.default_rng(n), torch.Generator().manual_seed(n)) for n in (0, 1)]
    assert Contents().digest(made[0]) == Contents().digest(made[1])


def test_values_that_hold_themselves_have_a_digest() -> None:
    one: list[Any] = [1]
    one.append(one)
    other: list[Any] = [2]
    other.append(other)
    assert Contents().digest(one) != Contents().digest(other)


# --- Other versions -------------------------------------------------------------------------------------------------

FIRST_VERSION = {
    "schema": "memaudit.bank/1",
    "examples": 20,
    "fingerprint": {
        "seed": "0",
        "examples.count": "20",
        "examples.sha256": "8a0b0c1a0d0e4c7f93b1f5b0c7d3e2f1a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1",
        "recipe.kind": "CallableRecipe",
        "recipe.examples": "data 1f0c3f2a9b7d",
        "recipe.train": "train 5d41402abc4b",
        "recipe.load": "None",
        "recipe.model": "<lambda> 7d793037a076",
        "recipe.queries": "()",
        "recipe.rendering": "None",
        "source.recipe.py": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        "environment.python": "3.11",
        "environment.numpy": "2.4.6",
        "environment.torch": "2.14.1",
    },
}


def test_a_bank_of_the_first_version_is_refused_with_the_way_out(tmp_path: Path) -> None:
    recipe = ma.CallableRecipe(data, train=counting_train, model=lambda: torch.nn.Linear(4, 2))
    ma.save_target(torch.nn.Linear(4, 2), tmp_path / "model.pt", data().ids[:10])
    bank = ma.fill(tmp_path / "bank", recipe, 2, device="cpu")
    (bank.path / "bank.json").write_text(json.dumps(FIRST_VERSION), "utf-8")
    with pytest.raises(BankError, match=r"filled by memaudit 0\.1\.0.*--bank FOLDER.*memaudit-toolkit==0\.1\.0"):
        ma.fill(tmp_path / "bank", recipe, 4, device="cpu")
    with pytest.raises(BankError, match=re.escape("memaudit 0.1.0")):
        ma.audit(tmp_path / "model.pt", recipe, bank.path)
    assert Bank.open(bank.path).models() == [0, 1]
    for model in (0, 1):
        bank.discard(model)
    assert len(ma.fill(tmp_path / "bank", recipe, 2, device="cpu").models()) == 2, "one without models is taken over"


# --- The digest of a recipe -----------------------------------------------------------------------------------------

LINES = {
    "seed": "0",
    "examples.count": "4",
    "examples.sha256": "a" * 64,
    "recipe.kind": "CallableRecipe",
    "recipe.train": "train 0123456789ab",
    "source.recipe.py": "b" * 64,
    "code.__main__.train": "c" * 64,
    "global.recipe.EPOCHS": "3",
    "environment.torch": "2.10.0",
}


def test_the_digest_of_a_recipe_depends_on_the_recipe_alone() -> None:
    digest = recipe_digest(LINES)
    other = {name for name in LINES if recipe_digest(LINES | {name: "other"}) != digest}
    assert other == {"recipe.kind", "recipe.train", "source.recipe.py", "code.__main__.train", "global.recipe.EPOCHS"}
    assert recipe_digest(dict(reversed(LINES.items()))) == digest


# --- The documentation ----------------------------------------------------------------------------------------------


def test_every_test_that_the_documentation_names_exists() -> None:
    root = Path(__file__).parent
    named = set(re.findall(r"`(test_\w+)`", (root.parent / "docs" / "fingerprint.md").read_text("utf-8")))
    files = ("test_fingerprint.py", "test_fingerprint_inputs.py", "test_variables.py", "test_rendering.py")
    defined = {n for file in files for n in re.findall(r"def (test_\w+)", (root / file).read_text("utf-8"))}
    assert named and named <= defined, named - defined
