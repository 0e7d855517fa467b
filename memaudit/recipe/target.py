"""The audited model: its file, loaded without running anybody's code."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memaudit.errors import ModelError, RecipeError
from memaudit.files import write_whole
from memaudit.recipe.blame import blame
from memaudit.recipe.members import Listed, members_beside, write_members
from memaudit.recipe.population import TextPopulation
from memaudit.recipe.populations import Population
from memaudit.recipe.pretrained import adapters_of, load_folder, load_language_model, quietly, require_fit
from memaudit.recipe.recipes import CallableRecipe, EstimatorRecipe, LanguageModelRecipe, Recipe

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

# Compiled parts of scikit-learn's own classifiers, which skops leaves to its callers to trust.
_TRUSTED = {
    "sklearn._loss._loss.CyHalfBinomialLoss",
    "sklearn._loss._loss.CyHalfMultinomialLoss",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.linear_model._sgd_fast.Hinge",
    "sklearn.linear_model._sgd_fast.Log",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.tree._tree.Tree",
}
_WEIGHT_FILES = (".safetensors", ".pt", ".pth")
_WAY_OUT = 'save the weights alone: memaudit.save_target(model, "model.safetensors", members)'


def save_target(model: Any, path: str | Path, members: Listed, examples: Population | Recipe | None = None) -> None:
    """Writes a trained model's weights and, beside them, who was trained on.

    The members are written last, and those of an earlier model at the same place are removed first: whenever it is
    killed, no model stands beside the members of another.

    Args:
        model: A torch network (`.safetensors`, `.pt`), a scikit-learn estimator (`.skops`), or a language model of the
            transformers or peft library (a folder).
        path: The weights go here, the members to `<path>.members.csv`.
        members: What `draw_members` returned, the ids of the training examples, a mask over all examples, how often
            each was trained on (`Counts`), or the training set that `train()` was given.
        examples: The recipe, or its examples: with it, the file holds a digest of each member's content, and an audit
            refuses an id that is another example by then. What `draw_members` returned brings them along.

    Raises:
        ModelError: The suffix does not go with the model.
        EvidenceError: The members do not fit the examples.
    """
    path = Path(path)
    if path.suffix != ".skops" and not hasattr(model, "state_dict"):
        raise ModelError(f"{path}: a {type(model).__name__} has no weights to save; a scikit-learn estimator is .skops")
    folder = hasattr(model, "save_pretrained") and path.suffix not in (".skops", *_WEIGHT_FILES)
    if not folder and path.suffix not in (".skops", *_WEIGHT_FILES):
        raise ModelError(f"{path}: a network goes to .safetensors or .pt, a scikit-learn estimator to .skops")
    members_beside(path).unlink(missing_ok=True)
    if folder:
        with quietly():
            model.save_pretrained(path)
    else:
        write_whole(path, _content(model, path.suffix))
    write_members(path, members, examples)


def _content(model: Any, suffix: str) -> bytes:
    if suffix == ".skops":
        from skops import io

        return io.dumps(model)
    if suffix == ".safetensors":
        from safetensors.torch import save

        return save(weights_of(model))
    import torch

    file = BytesIO()
    torch.save(model.state_dict(), file)
    return file.getvalue()


def weights_of(network: Module) -> dict[str, Tensor]:
    """Returns a network's weights as safetensors takes them: on the CPU, contiguous, none sharing memory.

    Of a base with adapters, the adapters alone.
    """
    weights = adapters_of(network) or network.state_dict()
    return {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}


def put_weights(network: Module, path: Path) -> None:
    """Gives a network the weights in a file that hold what `weights_of` took from another one of its kind.

    Raises:
        ModelError: They are a network's of another kind.
    """
    weights, adapters = _read_weights(path), adapters_of(network)
    if adapters is None:
        _fit(path, network, weights)
        return
    from peft import set_peft_model_state_dict

    if {n: w.shape for n, w in adapters.items()} != {n: w.shape for n, w in weights.items()}:
        raise ModelError(f"{path} holds other adapters than the network's")
    set_peft_model_state_dict(network, weights)


def load_target(path: str | Path, recipe: Recipe, population: TextPopulation | None = None) -> Any:
    """Returns the model of a file, or of a language model's folder, in evaluation mode; no code from it is run.

    Args:
        path: The file or folder.
        recipe: How the model was made.
        population: Of a language model.

    Raises:
        ModelError: The file is missing, is a program rather than weights, is damaged, or does not fit the recipe.
    """
    path = Path(path)
    require_model_file(path)
    if isinstance(recipe, LanguageModelRecipe):
        assert population is not None
        return load_language_model(path, recipe, population)
    if population is not None and path.is_dir() and getattr(recipe, "load", None) is None:
        whole = load_folder(path).eval()
        require_fit(whole, population, ModelError, str(path))
        return whole
    if path.is_dir() and population is None:
        raise ModelError(f"{path} is a folder; give the file that holds the weights")
    if isinstance(recipe, EstimatorRecipe):
        return _load_estimator(path)
    if isinstance(recipe, CallableRecipe) and recipe.load is not None:
        with blame(f"load({str(path)!r})"):
            return recipe.load(str(path))
    if recipe.model is None:
        raise RecipeError("a CallableRecipe needs load=... or model=..., so that the audited file can be loaded")
    with blame("model()"):
        network = recipe.model()
    return _fit(path, network, _read_weights(path))


def require_model_file(path: Path) -> None:
    """Raises ModelError unless a model is there and made of plain files: a pipe or a device would be read for ever."""
    if not path.exists():
        raise ModelError(f"there is no model {path}")
    for file in (path, *(sorted(path.rglob("*")) if path.is_dir() else ())):
        if not (file.is_file() or file.is_dir()):
            raise ModelError(
                f"{file} is no file but a pipe, a device or a link to nowhere; a model is made of plain files"
            )


def _load_estimator(path: Path) -> Any:
    from skops import io

    if path.suffix != ".skops":
        raise ModelError(
            f"{path}: a scikit-learn model is read from a .skops file; pickle and joblib files run code when loaded. "
            'Write one where the model is trained: memaudit.save_target(estimator, "model.skops", members)'
        )
    try:
        if unknown := sorted(set(io.get_untrusted_types(file=path)) - _TRUSTED):
            raise ModelError(f"{path} holds types that are not known to be harmless: {', '.join(unknown)}")
        return io.load(path, trusted=sorted(_TRUSTED))
    except ModelError:
        raise
    except Exception as error:  # what a damaged file makes of the reader is any of a dozen kinds
        raise ModelError(f"{path} is not a skops file: {error}") from error


def _read_weights(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except Exception as error:  # its own, and KeyError for a type of number that torch has not
            raise ModelError(f"{path} is not a safetensors file: {error}") from error
    _refuse_programs(path)
    return _state_dict(path, _load_weights_only(path))


def _refuse_programs(path: Path) -> None:
    """Raises for TorchScript and exported programs, which are code by nature; plain checkpoints go through."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        return  # an old checkpoint, or damaged: torch will tell
    if any(name.startswith("code/") for name in names) or "constants.pkl" in names:
        raise ModelError(f"{path} is a TorchScript program, which runs code when loaded; {_WAY_OUT}")
    if path.suffix == ".pt2" or "archive_format" in names:
        raise ModelError(f"{path} is an exported program, which can run code when loaded; {_WAY_OUT}")


def _load_weights_only(path: Path) -> Any:
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):  # about pickles that are refused in the next line
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        try:
            globals_ = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        except Exception:
            globals_ = []
        named = f" ({', '.join(globals_)})" if globals_ else ", or damaged"
        raise ModelError(
            f"{path} is a pickle that would run code when loaded{named}, and is refused; {_WAY_OUT}"
        ) from error
    except Exception as error:  # what a damaged file makes of the unpickler is any of a dozen kinds
        reason = next(iter(str(error).splitlines()), "")
        raise ModelError(f"{path} is damaged or no checkpoint: {type(error).__name__} {reason}; {_WAY_OUT}") from error


def _state_dict(path: Path, content: Any) -> dict[str, Any]:
    """Returns the weights of a checkpoint: the content itself, or its entry state_dict, model_state_dict or model."""
    import torch

    inner = [content.get(k) for k in ("state_dict", "model_state_dict", "model")] if isinstance(content, dict) else []
    for entry in [content, *inner]:
        if isinstance(entry, dict) and entry and all(isinstance(v, torch.Tensor) for v in entry.values()):
            return entry
    raise ModelError(
        f"{path} holds no weights: neither a state dict nor a checkpoint with the key 'state_dict'; {_WAY_OUT}"
    )


def _fit(path: Path, network: Module, weights: dict[str, Any]) -> Module:
    own = network.state_dict()
    problems = [f"{name} is missing" for name in own if name not in weights]
    problems += [f"{name} is not in the network" for name in weights if name not in own]
    problems += [
        f"{name} is {tuple(weights[name].shape)} in the file and {tuple(own[name].shape)} in the network"
        for name in own
        if name in weights and own[name].shape != weights[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ModelError(f"{path} does not fit the recipe's model(): {'; '.join(problems[:3])}{more}")
    network.load_state_dict(weights)
    return network.eval()
