"""The audited model: its file, written whole and loaded without running anybody's code."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from memaudit.errors import EvidenceError, ModelError, RecipeError
from memaudit.files import write_whole
from memaudit.recipe.blame import blame
from memaudit.recipe.checkpoints import holds_safetensors, read_checkpoint
from memaudit.recipe.estimators import SUFFIXES, estimator_content, load_estimator
from memaudit.recipe.filekinds import folder_refusal, refuse_pointer
from memaudit.recipe.fingerprint import training
from memaudit.recipe.fitting import fit
from memaudit.recipe.generator import GeneratorRecipe
from memaudit.recipe.locate import load_recipe
from memaudit.recipe.members import Listed, members_beside, write_members
from memaudit.recipe.observed import observed_beside, write_observed
from memaudit.recipe.population import TextPopulation
from memaudit.recipe.populations import Population
from memaudit.recipe.pretrained import load_classifier_folder, load_folder, load_language_model, quietly, require_fit
from memaudit.recipe.privacy_record import record_beside, record_of, write_record
from memaudit.recipe.recipes import CallableRecipe, EstimatorRecipe, LanguageModelRecipe, Recipe
from memaudit.recipe.weights import stored

_WEIGHT_FILES = (".safetensors", ".pt", ".pth")


def save_target(
    model: Any,
    path: str | Path,
    members: Listed,
    examples: Population | Recipe | str | None = None,
    *,
    trusted: Iterable[str] = (),
    observed: Any = None,
    privacy: Any = None,
) -> None:
    """Write a trained model's weights and, beside them, its members.

    The members of an earlier model at the same place are removed first and the new ones are written last: if the
    process is killed, no model is beside the members of another. Nothing is written that `load_target` would refuse.

    Args:
        model: A torch network (`.safetensors`, `.pt`), a scikit-learn estimator (`.skops`), a classifier of XGBoost
            (`.json`, `.ubj`), LightGBM (`.txt`) or CatBoost (`.cbm`), or a model of the transformers or peft
            library (a folder).
        path: The weights go here, the members to `<path>.members.csv`.
        members: What `draw_members` returned, the ids of the training examples, a mask over all examples, how often
            each was trained on (`Counts`), or the training set that `train()` was given.
        examples: The recipe, where it is (`recipe.py:recipe`), or its examples: with it, the file holds a digest of
            each member's content, and an audit refuses an id that is another example by then. What `draw_members`
            returned brings them along.
        trusted: Of an estimator: types of yours in it, as the recipe names them (`EstimatorRecipe(trusted=...)`).
        observed: What `memaudit.observing(recipe)` saw while the model was trained, for the proxies of memorization: it
            goes to `<path>.observed.safetensors`.
        privacy: Of DP-SGD: the accountant of Opacus, `privacy_engine.accountant`, or its `state_dict()`. Its record
            goes to `<path>.privacy.json`. A model that memaudit trained with `DPSGD(...)` brings it along.

    Raises:
        ModelError: The suffix does not go with the model, or the model cannot be stored so that it can be loaded.
        EvidenceError: The members do not fit the examples.
    """
    path = Path(path)
    examples = load_recipe(examples) if isinstance(examples, str) else examples
    if path.suffix not in SUFFIXES and not hasattr(model, "state_dict"):
        raise ModelError(f"{path}: a {type(model).__name__} has no weights to save; a scikit-learn estimator is .skops")
    folder = hasattr(model, "save_pretrained") and path.suffix not in (*SUFFIXES, *_WEIGHT_FILES)
    if not folder and path.suffix not in (*SUFFIXES, *_WEIGHT_FILES):
        raise ModelError(f"{path}: a network goes to .safetensors or .pt, a scikit-learn estimator to .skops")
    if observed is not None and not callable(getattr(observed, "of", None)):
        raise EvidenceError(
            f"observed is a {type(observed).__name__}; give what `with memaudit.observing(recipe) as` is"
        )
    seen = None if observed is None else observed.of(model)
    steps = record_of(model, privacy)
    content = None if folder else _content(model, path, trusted)
    for beside in (members_beside(path), observed_beside(path), record_beside(path)):
        beside.unlink(missing_ok=True)
    if content is None:
        with quietly():
            model.save_pretrained(path)
    else:
        write_whole(path, content)
    if seen is not None:
        write_observed(path, seen)
    if steps is not None:
        write_record(path, steps)
    write_members(path, members, examples)


def _content(model: Any, path: Path, trusted: Iterable[str]) -> bytes:
    if path.suffix in SUFFIXES:
        return estimator_content(model, path, trusted)
    if path.suffix == ".safetensors":
        from safetensors.torch import save

        return save(stored(model.state_dict()))
    import torch

    file = BytesIO()
    torch.save(stored(model.state_dict()), file)
    return file.getvalue()


def load_target(
    path: str | Path, recipe: Recipe, population: TextPopulation | None = None, state_dict: str | None = None
) -> Any:
    """Return the model of a file, or of a language model's folder, in evaluation mode; no code from it is run.

    Args:
        path: The file, or the folder that `save_pretrained` wrote.
        recipe: How the model was made.
        population: Of a language model.
        state_dict: Which of several sets of weights in a checkpoint is the model, such as "model_ema".

    Raises:
        ModelError: The file is missing, is a program rather than weights, is damaged, does not fit the recipe, or holds
            several sets of weights that do.
    """
    path = Path(path)
    require_model_file(path)
    refuse_pointer(path)
    own_loader = isinstance(recipe, CallableRecipe | GeneratorRecipe) and recipe.load is not None
    if state_dict is not None and (path.is_dir() or own_loader or isinstance(recipe, EstimatorRecipe)):
        raise ModelError(f"--state-dict {state_dict}: it is for a network's checkpoint; {path} is read otherwise")
    if isinstance(recipe, LanguageModelRecipe):
        assert population is not None
        return load_language_model(path, recipe, population)
    if population is not None and path.is_dir() and not own_loader:
        whole = load_folder(path, population.objective).eval()
        require_fit(whole, population, ModelError, str(path))
        return whole
    model = None if isinstance(recipe, EstimatorRecipe) else recipe.model
    saved = any((path / f"{name}.json").is_file() for name in ("config", "adapter_config"))
    if model is not None and saved and not own_loader:
        with blame("model()"), training(recipe):
            made = model()
        return load_classifier_folder(path, made)
    if path.is_dir() and not own_loader and (isinstance(recipe, EstimatorRecipe) or not holds_safetensors(path)):
        raise ModelError(folder_refusal(path) or f"{path} is a folder; give the file that holds the weights")
    if isinstance(recipe, EstimatorRecipe):
        return load_estimator(path, recipe)
    if isinstance(recipe, CallableRecipe | GeneratorRecipe) and recipe.load is not None:
        with blame(f"load({str(path)!r})"), training(recipe, without=path):
            return recipe.load(str(path))
    if recipe.model is None:
        raise RecipeError(
            f"a {type(recipe).__name__} needs load=... or model=..., so that the audited file can be loaded"
        )
    with blame("model()"), training(recipe):
        network = recipe.model()
    return fit(path, network, read_checkpoint(path), state_dict)


def require_model_file(path: Path) -> None:
    """Raise ModelError unless a model is there and made of plain files: a pipe or a device would be read for ever."""
    if not path.exists():
        raise ModelError(f"there is no model {path}")
    for file in (path, *(sorted(path.rglob("*")) if path.is_dir() else ())):
        if not (file.is_file() or file.is_dir()):
            raise ModelError(
                f"{file} is no file but a pipe, a device or a link to nowhere; a model is made of plain files"
            )
