"""`memaudit.quick` of a language model: its texts as documents, and its tokenizer as their rendering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from memaudit.errors import EvidenceError, ModelError, SettingsError
from memaudit.recipe import Documents, Probes, Rendering, TextPopulation
from memaudit.recipe.pretrained import load_folder, require_fit

Array = np.ndarray

_CONTEXT = 512  # tokens in a row, at most, where no rendering is given
_LEAST = 10  # members, and non-members
_FIELDS = ("messages", "prompt", "instruction")  # of a text that is no string


def are_texts(data: Any) -> bool:
    """Return whether data are documents without labels: strings, prompts with completions, or messages."""
    return isinstance(data, list | tuple) and len(data) > 0 and all(map(_is_text, data))


def _is_text(one: Any) -> bool:
    return isinstance(one, str) or (isinstance(one, Mapping) and any(name in one for name in _FIELDS))


def documents(
    members: Sequence[Any], others: Sequence[Any], rendering: Rendering
) -> tuple[TextPopulation, Bool[Array, " units"]]:
    """Return the texts as a population without canaries and probes, and which units are members.

    Near-duplicates are one unit.

    Raises:
        MemauditError: A text is on both sides, exactly or nearly, or there are too few.
    """
    for name, side in (("members", members), ("non-members", others)):
        if len(side) < _LEAST:
            raise EvidenceError(f"there are {len(side)} {name}; an audit needs at least {_LEAST}")
    ids = [f"member-{row}" for row in range(len(members))] + [f"nonmember-{row}" for row in range(len(others))]
    texts = Documents([*members, *others], ids)
    inside = np.arange(len(ids)) < len(members)
    units = [np.bincount(texts.unit_of, mask, len(texts)) > 0 for mask in (inside, ~inside)]
    if both := int((units[0] & units[1]).sum()):
        raise EvidenceError(
            f"{both} texts are among the members and, exactly or as near-duplicates, among the non-members: leave them "
            "out of the non-members"
        )
    for name, mask in zip(("members", "non-members"), units, strict=True):
        if mask.sum() < _LEAST:
            raise EvidenceError(
                f"there are {int(mask.sum())} different {name}, without near-duplicates; an audit needs at least "
                f"{_LEAST}"
            )
    probes = Probes(canaries=0, secrets=0, watched=0, records=0, generated=0)
    return TextPopulation(texts, rendering, probes), units[0]


def language_model(model: Any, rendering: Rendering | None) -> tuple[Any, Rendering]:
    """Return a language model and how text becomes its rows.

    Args:
        model: A folder that `save_pretrained` wrote, with its tokenizer; or a transformers model and its tokenizer.
        rendering: Replaces the usual one: the tokenizer's BOS and EOS, and rows of at most 512 tokens.

    Raises:
        MemauditError: It is neither, or the tokenizer is not known.
    """
    tokenizer: Any = None
    if isinstance(model, str | Path):
        place = Path(model)
        if not place.is_dir():
            raise ModelError(
                f"there is no folder {place}; give a folder that save_pretrained wrote, or (model, tokenizer)"
            )
        model, tokenizer = load_folder(place, "causal" if rendering is None else rendering.objective), place
    elif isinstance(model, tuple) and len(model) == 2:
        model, given = model
        tokenizer = lambda: given  # noqa: E731
    if not hasattr(model, "config"):
        raise SettingsError(
            f"members are texts, and a {type(model).__name__} is no language model of the transformers library. Give "
            "its folder or (model, tokenizer); of a classifier of texts, give (texts, labels)"
        )
    if rendering is None and tokenizer is None:
        raise SettingsError(
            "which tokenizer does the language model have? Give (model, tokenizer), or "
            "rendering=memaudit.Rendering(...)"
        )
    return model, rendering or _usual(tokenizer, model.config)


def _usual(tokenizer: Any, config: Any) -> Rendering:
    from memaudit.recipe.rendering import Renderer

    loaded = Renderer(Rendering(tokenizer, bos=False, eos=False)).tokenizer
    positions = getattr(config, "max_position_embeddings", None) or _CONTEXT
    return Rendering(
        tokenizer,
        context=min(_CONTEXT, positions),
        bos=loaded.bos_token_id is not None,
        eos=loaded.eos_token_id is not None,
    )


def answers_of(model: Any, population: TextPopulation, device: str) -> dict[str, Array]:
    """Return what a language model says about every document, by name.

    Raises:
        ModelError: It is no model of the rendering's kind, or does not fit the tokenizer.
    """
    from memaudit.signals import measure

    require_fit(model, population, ModelError, "the model")
    return measure(model, population, device=device)
