"""What training reads: files, environment variables, modules and installed packages."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

import memaudit as ma
from memaudit.bank import Bank
from memaudit.bank.inputs import require_own_checkpoints
from memaudit.errors import BankError, RecipeError
from memaudit.recipe import fingerprint, load_recipe, sources
from memaudit.recipe.reads import inputs, reading
from memaudit.training import population

RECIPE = '''
import json, os, pathlib
import numpy as np, torch
import memaudit as ma

def examples():
    rng = np.random.default_rng(0)
    return ma.Examples(rng.normal(size=(20, 4)).astype(np.float32), np.arange(20) % 2)

def train(dataset, *, seed, device):
    """READ"""
    return torch.nn.Linear(4, 2)

def model():
    return torch.nn.Linear(4, 2)

recipe = ma.CallableRecipe(examples, train=train, model=model)
'''
CONFIG = "json.loads(pathlib.Path('config.json').read_text())"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes recipe.py, whose train() reads something, and loads it; each time as a new process would."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(read: str = "", **files: str) -> ma.CallableRecipe:
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text, "utf-8")
        (folder / "recipe.py").write_text(RECIPE.replace('"""READ"""', read or "pass"), "utf-8")
        for name in ("recipe", "helper", "lazy", *files):
            sys.modules.pop(name, None)
        found = load_recipe("recipe.py", folder)
        assert isinstance(found, ma.CallableRecipe)
        return found

    yield load
    for name in ("recipe", "helper", "lazy", "named"):
        sys.modules.pop(name, None)


def write(name: str, text: str) -> None:
    """Write a file as of a minute ago: what is written while a model is trained is no input."""
    Path(name).write_text(text, "utf-8")
    os.utime(name, (before := time.time() - 60, before))


def fill(recipe: ma.Recipe, shadows: int) -> Bank:
    return ma.fill("bank", recipe, shadows, device="cpu")


@pytest.mark.parametrize(
    "read",
    [
        CONFIG,
        "\n    with open('config.json') as file:\n        json.load(file)",
        "np.loadtxt('config.json', dtype=str)",
        "np.fromfile('config.json', np.uint8)",
    ],
)
def test_a_file_that_training_reads_and_that_changed_is_refused_by_name(project: Any, read: str) -> None:
    """numba/numba PR#8359: other files are not tracked."""
    recipe = project(read)
    write("config.json", '{"epochs":2}')
    bank = fill(recipe, 2)
    assert list(bank.record(0)["inputs"]) == ["file config.json"]
    fill(project(read), 4)
    write("config.json", '{"epochs":200}')
    with pytest.raises(BankError, match=r"reads the file config\.json, which changed since model 0 was trained"):
        fill(project(read), 6)
    assert len(bank.models()) == 4
    with pytest.raises(BankError, match=r"config\.json"):
        ma.save_target(recipe.model(), "model.pt", recipe.examples().ids[:10])
        ma.audit("model.pt", project(read), bank)
    write("config.json", '{"epochs":2}')
    assert len(fill(project(read), 6).models()) == 6


def test_an_environment_variable_that_changed_is_refused_by_name(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read = "int(os.getenv('EPOCHS', '2')); os.environ.get('API_TOKEN'); dict(os.environ); os.environ.copy()"
    bank = fill(project(read), 2)
    assert list(bank.record(0)["inputs"]) == ["environment variable EPOCHS"]
    monkeypatch.setenv("API_TOKEN", "other")
    fill(project(read), 4)
    monkeypatch.setenv("EPOCHS", "200")
    with pytest.raises(BankError, match="reads the environment variable EPOCHS, which changed since model 0"):
        fill(project(read), 6)
    assert type(os.environ).__name__ == "_Environ"


@pytest.mark.parametrize(
    "read",
    [
        "os.environ.setdefault('WORKERS', '1')",
        "os.environ['RUN_SEED'] = str(seed); int(os.environ['RUN_SEED'])",
        "os.environ['SET'] = '1'; os.environ.pop('SET'); os.environ.get('SET')",
    ],
)
def test_a_variable_that_training_sets_itself_counts_as_it_was_before(
    project: Any, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    names = ("WORKERS", "RUN_SEED", "SET")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    fill(project(read), 4)
    for name in names:  # a new process
        monkeypatch.delenv(name, raising=False)
    assert len(fill(project(read), 6).models()) == 6
    name = next(name for name in names if name in read)
    monkeypatch.setenv(name, "7")
    if "setdefault" in read:
        with pytest.raises(BankError, match=f"reads the environment variable {name}, which changed since model"):
            fill(project(read), 8)


def test_the_environment_as_a_global_is_no_value_of_the_recipe(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = (
        "from os import environ\nfrom sys import argv, path\ndef rate():\n    return environ.get('RATE'), argv, path\n"
    )
    bank = fill(project("__import__('helper').rate()", helper=helper), 2)
    assert list(bank.record(0)["inputs"]) == ["environment variable RATE"]
    monkeypatch.setenv("UNRELATED", "1")
    monkeypatch.setattr(sys, "argv", ["other"])
    fill(project("__import__('helper').rate()", helper=helper), 4)
    monkeypatch.setenv("RATE", "1")
    with pytest.raises(BankError, match="environment variable RATE"):
        fill(project("__import__('helper').rate()", helper=helper), 6)


def test_a_script_that_training_starts_and_its_settings_are_inputs(project: Any) -> None:
    recipe = project("__import__('subprocess').run([sys.executable, 'script.py', '--config=x', 'config.json'])")
    text = Path("recipe.py").read_text("utf-8").replace("import json, os", "import json, os, sys")
    Path("recipe.py").write_text(text, "utf-8")
    sys.modules.pop("recipe")
    recipe = load_recipe("recipe.py")
    write("script.py", "print(open('config.json').read())")
    write("config.json", "{}")
    assert list(fill(recipe, 2).record(0)["inputs"]) == ["file config.json", "file script.py"]
    write("script.py", "pass")
    with pytest.raises(BankError, match=r"the file script\.py, which changed"):
        fill(recipe, 4)


def test_a_bank_whose_inputs_are_elsewhere_now_is_readable(project: Any) -> None:
    write("config.json", "{}")
    fill(project(CONFIG), 2)
    Path("config.json").unlink()
    assert len(fill(project(CONFIG), 2).models()) == 2
    write("config.json", "[]")
    with pytest.raises(BankError, match=r"the file config\.json, which changed"):
        fill(project(CONFIG), 2)


def test_a_file_that_was_not_there_is_an_input_too(project: Any) -> None:
    read = "\n    try:\n        open('local.yaml')\n    except FileNotFoundError:\n        pass"
    fill(project(read), 2)
    write("local.yaml", "epochs: 200")
    with pytest.raises(BankError, match=r"the file local\.yaml, which changed"):
        fill(project(read), 4)


def test_a_file_that_is_read_once_in_a_process_is_an_input_of_every_model(project: Any) -> None:
    helper = f"import functools, json, pathlib\n@functools.lru_cache\ndef cached():\n    return {CONFIG}\n"
    write("config.json", "{}")
    recipe = project("__import__('helper').cached()", helper=helper)
    ma.train(recipe, recipe.examples().ids[:10], device="cpu")
    bank = fill(recipe, 2)
    assert [bank.record(model)["inputs"].keys() for model in (0, 1)] == 2 * [{"file config.json"}]


def test_a_file_that_changes_while_a_model_is_trained_stores_no_model(project: Any) -> None:
    write("config.json", "{}")
    recipe = project(f"{CONFIG}; os.system('echo [1, 2, 3] > config.json')")
    with pytest.raises(BankError, match=r"the file config\.json changed while model . was trained.*run the same"):
        fill(recipe, 2)
    assert not Bank.open("bank").models()


@pytest.mark.parametrize(
    "build", ["pathlib.Path('cache.json').write_text('1')", "torch.save([1], 'cache.json')"], ids=["python", "torch"]
)
def test_a_cache_that_training_looks_for_and_makes_is_no_change(project: Any, build: str) -> None:
    look = "pathlib.Path('cache.json').read_bytes()"
    read = f"\n    try:\n        {look}\n    except FileNotFoundError:\n        {build}; {look}"
    fill(project(read), 4)
    assert len(fill(project(read), 6).models()) == 6


def test_a_checkpoint_that_training_goes_on_from_is_refused(project: Any) -> None:
    """Each model would begin where the one before it ended."""
    read = "\n    try:\n        torch.load('last.pt')\n    except FileNotFoundError:\n        pass"
    with pytest.raises(BankError, match=r"the file last\.pt changed while model . was trained"):
        fill(project(f"{read}\n    torch.save({{'seed': seed}}, 'last.pt')"), 2)


LAST = "torch.save({'seed': seed}, 'last.pt'); __import__('time').sleep(1); torch.load('last.pt')"


def test_workers_that_overwrite_each_others_checkpoint_are_refused(project: Any) -> None:
    """A model would be stored as that of another half: the attack would find nobody."""
    recipe = project(LAST)
    with pytest.raises(BankError, match=r"models . and . of bank .* both wrote last\.pt and read it back.*--workers 1"):
        ma.fill("bank", recipe, 4, workers=2, device="cpu")
    with pytest.raises(BankError, match=r"both wrote last\.pt"):
        fill(recipe, 4)


def test_workers_that_write_checkpoints_of_their_own_are_not_refused(project: Any) -> None:
    own = LAST.replace("'last.pt'", "f'{seed}.pt'")
    assert len(ma.fill("bank", project(own), 2, workers=2, device="cpu").models()) == 2
    assert len(ma.fill("other", project(LAST.replace("sleep(1)", "sleep(0)")), 4, device="cpu").models()) == 4


def test_machines_that_overwrite_each_others_checkpoint_on_a_shared_disk_are_refused(project: Any) -> None:
    """Two hosts of a cluster, at the same time: a file beside the bank is one file, on disks of their own it is two."""
    bank = ma.fill("bank", project(LAST.replace("sleep(1)", "sleep(0)")), 2, device="cpu")
    first, second = (bank.record(model) for model in (0, 1))
    assert first["checkpoints"]["shared"] == second["checkpoints"]["shared"] == ["last.pt"]
    assert first["checkpoints"]["disk"] == second["checkpoints"]["disk"]
    second["checkpoints"] = first["checkpoints"] | {"host": "node7"}
    write("bank/models/0001/model.json", json.dumps(second))
    with pytest.raises(BankError, match=r"models 0 and 1 of .* both wrote last\.pt"):
        require_own_checkpoints(bank)
    second["checkpoints"] |= {"disk": "that of another bank, whose models were pulled"}
    write("bank/models/0001/model.json", json.dumps(second))
    require_own_checkpoints(bank)


def test_a_command_that_cannot_be_split_is_the_users_to_start(project: Any) -> None:
    read = (
        "\n    try:\n        __import__('subprocess').Popen(\"no'such\")\n    except FileNotFoundError:\n        pass"
    )
    assert len(fill(project(read), 2).models()) == 2


def test_hidden_files_of_other_programs_are_no_input(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "project"
    folder.mkdir(parents=True)
    for path in (tmp_path / "home" / ".netrc", tmp_path / "home" / ".env", folder / ".env", folder / ".params"):
        path.write_text("", "utf-8")
        os.utime(path, (1, 1))
    with reading("hidden"):
        for path in tmp_path.rglob(".*"):
            path.read_text("utf-8")
    assert set(inputs("hidden", folder)) == {"file ../.env", "file .env", "file .params"}


def test_what_training_wrote_itself_and_what_python_reads_is_no_input(project: Any) -> None:
    read = "torch.save({}, 'last.pt'); torch.load('last.pt'); __import__('lazy')"
    Path(".cache").mkdir()
    Path(".cache/fonts.json").write_text("{}", "utf-8")
    bank = fill(
        project(
            f"{read}; pathlib.Path('.cache/fonts.json').read_bytes(); pathlib.Path('/proc/version').read_text()",
            lazy="import colorsys\n",
        ),
        2,
    )
    assert bank.record(0).get("inputs") is None


def test_of_what_examples_read_only_settings_are_inputs(project: Any) -> None:
    """The content of the examples has a digest of its own; settings may be kept for the training."""
    project(helper="from pathlib import Path\nSETTINGS = [Path(n).read_text() for n in ('data.csv', 'model.toml')]\n")
    text = Path("recipe.py").read_text("utf-8")
    Path("recipe.py").write_text(text.replace("    rng =", "    import helper\n    rng ="), "utf-8")
    for name in ("data.csv", "model.toml"):
        write(name, "")
    sys.modules.pop("recipe")
    assert list(fill(load_recipe("recipe.py"), 2).record(0)["inputs"]) == ["file model.toml"]


def test_a_project_with_its_inputs_may_move(project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("conf").mkdir()
    for name, where in (("a.json", "conf/a.json"), ("b.json", "../b.json")):
        Path(where).write_text(name, "utf-8")
    names = []
    for folder in (tmp_path / "project", tmp_path / "elsewhere" / "project"):
        folder.mkdir(parents=True, exist_ok=True)
        with reading(str(folder)):
            for path in ("conf/a.json", "../b.json"):
                (folder / path).parent.mkdir(exist_ok=True)
                if not (folder / path).exists():
                    (folder / path).write_bytes(Path(path).read_bytes())
                os.utime(folder / path, (1, 1))
                (folder / path).read_bytes()
        names.append(inputs(str(folder), folder))
    assert {"file ../b.json", "file conf/a.json"} <= names[0].keys()


# --- Modules --------------------------------------------------------------------------------------------------------


def test_modules_that_a_function_imports_are_sources(project: Any) -> None:
    recipe = project(
        "\n    import lazy\n    from package.inner import value\n    __import__('importlib').import_module('named')",
        lazy="import helper\n", helper="DEPTH = 1\n", named="", UNUSED="",
    )  # fmt: skip
    Path("package").mkdir()
    Path("package/__init__.py").write_text("from .outer import other\n", "utf-8")
    for name in ("inner", "outer"):
        Path(f"package/{name}.py").write_text("value = other = 1\n", "utf-8")
    names = {"recipe.py", "lazy.py", "helper.py", "named.py", "__init__.py", "inner.py", "outer.py"}
    assert {path.name for path in sources(recipe)} == names
    assert "lazy" not in sys.modules, "nothing is imported to find out"
    before = fingerprint(recipe, population(recipe), 0)
    Path("helper.py").write_text("DEPTH = 2\n", "utf-8")
    after = fingerprint(recipe, population(recipe), 0)
    assert {name for name in before if before[name] != after[name]} == {"source.helper.py"}


def test_a_module_with_the_name_of_a_standard_one_is_the_users_own(project: Any) -> None:
    helper = Path("parts/profile.py")
    helper.parent.mkdir()
    helper.write_text("value = 1\n", "utf-8")
    recipe = project("\n    from parts.profile import value")
    assert "profile.py" in {path.name for path in sources(recipe)}


def test_docstrings_comments_and_layout_are_no_other_source(project: Any) -> None:
    """joblib/joblib#1587: changing comments or docstrings invalidates the cache."""
    before = fingerprint(recipe := project("pass"), population(recipe), 0)
    text = 'def train(dataset, *, seed, device):\n    """Train."""\n    # why\n\n    ...'
    Path("recipe.py").write_text(
        RECIPE.replace('def train(dataset, *, seed, device):\n    """READ"""', f'"""A recipe."""\n\n{text}'), "utf-8"
    )
    sys.modules.pop("recipe")
    recipe = load_recipe("recipe.py")
    assert fingerprint(recipe, population(recipe), 0) == before


# --- Libraries ------------------------------------------------------------------------------------------------------


def environment(recipe: ma.Recipe) -> set[str]:
    return {n.removeprefix("environment.") for n in fingerprint(recipe, population(recipe), 0) if n.startswith("env")}


def test_the_libraries_that_a_recipes_modules_import_are_named(project: Any) -> None:
    """lightgbm-org/LightGBM#4627: other scores after an upgrade."""
    assert environment(project()) == {"python", "numpy", "torch"}
    found = environment(project("\n    import lazy", lazy="from yaml import safe_load\nimport xgboost.sklearn\n"))
    assert found == {"python", "numpy", "torch", "PyYAML", "xgboost-cpu"}


def test_the_library_of_an_estimator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightgbm import LGBMClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    namespace: dict[str, Any] = {"__name__": "typed"}
    exec(RECIPE, namespace)
    recipe = ma.EstimatorRecipe(namespace["examples"], make_pipeline(StandardScaler(), LGBMClassifier(n_estimators=2)))
    before = fingerprint(recipe, population(recipe), 0)
    assert before["environment.lightgbm"]
    monkeypatch.setattr("memaudit.recipe.source_files.version", lambda name: "9.9" if name == "lightgbm" else "1.0")
    after = fingerprint(recipe, population(recipe), 0)
    with pytest.raises(BankError, match=r"environment\.lightgbm: .* → 9\.9"):
        Bank(Path(), 20, before).require(after)


# --- Worker processes -----------------------------------------------------------------------------------------------


def test_a_worker_that_imports_other_values_is_refused_before_it_trains(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = project("WIDTH", helper="")
    monkeypatch.setattr(sys.modules["recipe"], "WIDTH", 3, raising=False)
    with pytest.raises(RecipeError, match=r"(?s)worker process.*global\.recipe\.WIDTH: 3 → \(none\).*--workers 1"):
        ma.fill("bank", recipe, 2, workers=2, device="cpu")
    assert not Bank.open("bank").models()


def test_a_global_that_keeps_the_model_is_no_other_recipe(project: Any) -> None:
    """Scoring puts the model into evaluation mode."""
    project("\n    global NET\n    NET = torch.nn.Linear(4, 2)\n    return NET")
    text = Path("recipe.py").read_text("utf-8").replace("def examples", "NET = None\ndef examples")
    Path("recipe.py").write_text(text, "utf-8")
    sys.modules.pop("recipe")
    recipe = load_recipe("recipe.py")
    fill(recipe, 2)
    assert len(fill(recipe, 4).models()) == 4


def test_a_global_that_training_counts_up_is_no_other_recipe_in_a_worker(project: Any) -> None:
    """Whichever worker trains more than one model."""
    project("\n    global COUNT\n    COUNT += 1")
    text = Path("recipe.py").read_text("utf-8").replace("def examples", "COUNT = 0\ndef examples")
    Path("recipe.py").write_text(text, "utf-8")
    sys.modules.pop("recipe")
    recipe = load_recipe("recipe.py")
    assert len(ma.fill("bank", recipe, 4, workers=2, device="cpu").models()) == 4


def test_a_cache_that_the_examples_filled_is_no_other_recipe_in_a_worker(project: Any) -> None:
    Path("helper.py").write_text("CACHE = []\ndef cached():\n    CACHE.append(1)\n    return CACHE\n", "utf-8")
    recipe = project("helper.cached()")
    text = Path("recipe.py").read_text("utf-8").replace("import json, os, pathlib", "import json, os, pathlib, helper")
    Path("recipe.py").write_text(text.replace("    rng =", "    helper.cached()\n    rng ="), "utf-8")
    sys.modules.pop("recipe")
    recipe = load_recipe("recipe.py")
    assert len(ma.fill("bank", recipe, 2, workers=2, device="cpu").models()) == 2


def test_the_command_line_names_the_file(
    project: Any, complaint: Callable[..., str], command: Callable[..., CompletedProcess[str]]
) -> None:
    project(CONFIG)
    write("config.json", "{}")
    arguments = ("bank", "fill", "--recipe", "recipe.py", "--bank", "bank", "--workers", "1", "--device", "cpu")
    assert command(*arguments, "--shadows", 2).returncode == 0
    write("config.json", '{"epochs": 3}')
    assert "the file config.json, which changed since model 0 was trained" in complaint(*arguments, "--shadows", 4)
