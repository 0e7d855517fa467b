"""Importing shadow models that were trained elsewhere: their outputs, or the models themselves."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from memaudit.bank.arrays import Arrays, digest_of, read_arrays
from memaudit.bank.imported import MODELS, Imported, import_outputs, import_signals, memberships
from memaudit.bank.peers import left_by_a_program
from memaudit.errors import EvidenceError, SettingsError
from memaudit.recipe import Examples, Recipe, load_recipe, load_target, members_beside, membership
from memaudit.recipe.populations import population
from memaudit.signals import Signals, measure_by
from memaudit.training.machine import choose_device

Array = np.ndarray

_MEMBERS = ".members.csv"


def import_bank(
    path: str | Path,
    source: str | Path | None = None,
    kind: str | None = None,
    *,
    outputs: Any = None,
    members: Any = None,
    labels: Any = None,
    ids: Any = None,
    inputs: Any = None,
    correct: Any = None,
    seed: int = 0,
) -> Imported:
    """Return the bank that the outputs of shadow models are imported into; goes on where it was interrupted.

    Args:
        path: Of the bank's folder; made if there is none.
        source: An archive (.npz, .safetensors), a folder of .npy files, a long table (.csv, .parquet), or the folder
            that another audit program left.
        kind: What the outputs are: "logits", "probabilities", "log-probabilities" or "one-vs-rest"; or of the true
            label "losses", "scaled-logits", "label-probabilities" or "label-log-probabilities".
        outputs: `[models, examples, classes]`, or `[models, examples]` of the true label; an array or a file, as are
            all that follow. They take the place of those in the source.
        members: Whether, or how often, each model was trained on each example, `[models, examples]`.
        labels: `[examples]`, whole numbers from 0.
        ids: `[examples]`.
        inputs: `[examples, …]`.
        correct: Whether each model classifies each example correctly, `[models, examples]`.
        seed: Of the matching of models that are no pairs, and of the audits' controls.

    Raises:
        SettingsError: It is not said what the outputs are.
        EvidenceError: Arrays do not fit together, are not what is stated, or support no audit.
        BankError: The folder holds another bank, or cannot be written.
    """
    given = {
        name: value
        for name, value in (
            *(("outputs", outputs), ("members", members), ("labels", labels), ("ids", ids)),
            *(("inputs", inputs), ("correct", correct)),
        )
        if value is not None
    }
    files = {name: Path(value) for name, value in given.items() if isinstance(value, str | Path)}
    values = {name: np.asarray(value) for name, value in given.items() if name not in files}
    place = None if source is None else Path(source)
    left = None if place is None else left_by_a_program(place, files)
    found = left.arrays if left is not None else read_arrays(place, files)
    if values:
        found = Arrays(found.values | values, _joined(found.sha256, digest_of(values)))
    stated = kind or ("" if left is None else left.kind)
    if not stated:
        raise SettingsError("what are the outputs? Say so with --kind (kind=): logits, probabilities, losses, …")
    return import_outputs(path, found, stated, seed=seed)


def import_models(
    path: str | Path,
    models: str | Path,
    recipe: Recipe | str,
    members: Any = None,
    *,
    seed: int = 0,
    device: str = "auto",
) -> Imported:
    """Return the bank that trained models are imported into: each is loaded by the recipe and run over its examples.

    Args:
        path: Of the bank's folder.
        models: The folder of the models' files, in the order of their names, numbers by their value.
        recipe: Whose examples they were trained on, and how their files are loaded; it trains nothing here.
        members: `[models, examples]`, an array or a file; by default each model's own file, `NAME.members.csv`.
        seed: Of the matching of models that are no pairs, and of the audits' controls.
        device: Where the models are run.

    Raises:
        RecipeError: The recipe failed.
        EvidenceError: A model cannot be loaded, or memberships do not fit.
        BankError: The folder holds another bank, or cannot be written.
    """
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    examples = population(recipe)
    if not isinstance(examples, Examples):
        raise EvidenceError("models are imported of classifiers; the recipe is one of a language model")
    files = _files(Path(models))
    matrix = _beside(files, examples) if members is None else _given(members, files, examples)

    def signals(model: int) -> Signals:
        loaded = load_target(files[model], recipe)
        found = measure_by(recipe, loaded, examples, choose_device(device))
        return Signals(found["phi"], found["correct"], "as the recipe says")

    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    made = {
        "origin": MODELS,
        "numbers": "measured on the imported models",
        "correct": "from the outputs",
        "recipe.imported": _joined(*digests),
    }
    return import_signals(path, examples, matrix, signals, made, seed)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise EvidenceError(f"{folder} is no folder of models")
    found = [
        f for f in folder.iterdir() if f.is_file() and not f.name.startswith(".") and not f.name.endswith(_MEMBERS)
    ]
    if not found:
        raise EvidenceError(f"{folder} holds no models")
    return sorted(found, key=lambda file: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", file.name)])


def _beside(files: list[Path], examples: Examples) -> UInt8[Array, "models examples"]:
    lacking = [file.name for file in files if not members_beside(file).is_file()]
    if lacking:
        raise EvidenceError(
            f"who was {lacking[0]} trained on? There is no {members_beside(files[0]).name} beside it; "
            "memaudit.save_target writes it. Or give the matrix [models, examples] with --members FILE"
        )
    return np.stack([membership(members_beside(file), examples).counts for file in files])


def _given(members: Any, files: list[Path], examples: Examples) -> UInt8[Array, "models examples"]:
    array = read_arrays(None, {"members": Path(members)})["members"] if isinstance(members, str | Path) else members
    found = memberships(np.asarray(array))
    if found.shape != (len(files), len(examples)):
        raise EvidenceError(
            f"members have shape {list(found.shape)}; there are {len(files)} models, in the order of their names "
            f"({files[0].name}, …), and {len(examples)} examples"
        )
    return found


def _joined(*digests: str) -> str:
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()
