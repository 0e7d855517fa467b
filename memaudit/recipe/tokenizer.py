"""The tokenizer of a language model, from its folder or from the user's function; no code of others is run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memaudit.errors import LANGUAGE_EXTRA, RecipeError
from memaudit.recipe.blame import blame
from memaudit.recipe.filekinds import refuse_pointer


def load_tokenizer(place: str | Path | Callable[[], Any]) -> Any:
    """Return the fast tokenizer that a function returns, or that is in a folder.

    Raises:
        RecipeError: transformers is not installed, or there is no fast tokenizer that can be loaded without its code.
    """
    try:
        from transformers import AutoTokenizer
    except ModuleNotFoundError as error:
        raise RecipeError(f"{LANGUAGE_EXTRA} ({error})") from error
    if callable(place):
        with blame("tokenizer()"):
            found = place()
    else:
        found = _load_tokenizer(Path(place), AutoTokenizer)
    if not getattr(found, "is_fast", False):
        raise RecipeError(f"the tokenizer is a {type(found).__name__}; a fast one is needed, which knows its offsets")
    return found


def _load_tokenizer(folder: Path, loader: Any) -> Any:
    if not (folder / "tokenizer.json").is_file():
        raise RecipeError(
            f"{folder} holds no tokenizer.json; save a fast tokenizer there with save_pretrained{_of_slow(folder)}"
        )
    for file in sorted(folder.glob("*.json")):
        refuse_pointer(file, RecipeError)
    settings = folder / "tokenizer_config.json"
    try:
        if settings.is_file() and "auto_map" in json.loads(settings.read_text("utf-8")):
            raise RecipeError(f"the tokenizer in {folder} needs trust_remote_code, which runs its code; it is refused")
        return loader.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except RecipeError:
        raise
    except Exception as error:  # what a damaged folder makes of the loader is any of a dozen kinds
        raise RecipeError(f"the tokenizer in {folder} cannot be read: {type(error).__name__} {error}") from error


def _of_slow(folder: Path) -> str:
    """Return what a folder has of a tokenizer that is no fast one, and what it takes to convert that."""
    for ending, package in ((".tiktoken", "tiktoken"), (".model", "sentencepiece")):
        if found := sorted(file.name for file in folder.glob(f"*{ending}")):
            return f". It holds {found[0]}: with {package} installed, AutoTokenizer.from_pretrained(folder) converts it"
    return ""
