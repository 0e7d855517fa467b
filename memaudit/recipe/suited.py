"""Canaries that suit a tokenizer: every symbol of their secrets is one token in its place."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from memaudit.canaries import Canary, make
from memaudit.canaries.space import stream
from memaudit.errors import RecipeError
from memaudit.recipe.rendering import Renderer
from memaudit.recipe.shapes import Text
from memaudit.recipe.spaces import distinct_spaces

_WORDS, _STREAM = 64, 15  # the alphabet of "tokens"; canaries.space has the other streams of a seed
_LEAST_LETTERS = 3


def suited(
    renderer: Renderer,
    shaped: Callable[[str, str], Text],
    *,
    count: int = 16,
    family: str = "numeric",
    spaced: bool | None = None,
    seed: int,
    **options: Any,
) -> tuple[Canary, ...]:
    """Return canaries whose secrets can be ranked: of bare symbols, or else of symbols with a leading space each.

    Where the tokenizer does not tell the invented names of the canaries apart, words of its vocabulary name them.

    Args:
        renderer: Turns texts into rows.
        shaped: As for `token_space`.
        count: Number of canaries.
        family: As for `make`; "tokens" has 64 words of the tokenizer as its symbols.
        spaced: Try only symbols with a leading space, or only bare ones. Words are not tried bare unless asked for.
        seed: Of words, names and secrets.
        options: The others of `make`.

    Raises:
        RecipeError: Neither suits; the message says why not.
    """
    problem: RecipeError | None = None
    leadings = (spaced,) if spaced is not None else (True,) if family == "tokens" else (False, True)
    for invented, leading in product((True, False), leadings):
        symbols = words(renderer, seed, leading) if family == "tokens" else None
        try:
            names = None if invented else _names(renderer, seed, count)
            canaries = make(count, family=family, spaced=leading, seed=seed, symbols=symbols, names=names, **options)
            distinct_spaces(renderer, canaries, shaped)
        except RecipeError as error:
            problem = error if invented else problem
        else:
            return canaries
    raise RecipeError(f"no {family} canary suits this tokenizer: {problem}")


def _names(renderer: Renderer, seed: int, count: int) -> tuple[str, ...]:
    found = words(renderer, seed, most=count)
    if len(found) < count:
        raise RecipeError(f"the tokenizer has {len(found)} words that are one token each, for {count} canaries")
    return found


def words(renderer: Renderer, seed: int, spaced: bool = True, most: int = _WORDS) -> tuple[str, ...]:
    """Return words of the vocabulary, drawn at random, that are one token each, also behind one another.

    Args:
        renderer: Whose tokenizer it is.
        seed: Of the draw.
        spaced: Whether a word is to be one token together with a leading space; it is returned without.
        most: Number of words, at most.

    Raises:
        RecipeError: There are not two.
    """
    before = "name:"
    start = renderer.encode(before)[0]
    found: dict[str, None] = {}
    for token in stream(seed, _STREAM).permutation(sorted(renderer.tokenizer.get_vocab().values())).tolist():
        word = renderer.tokenizer.decode([token]).strip()
        if len(word) < _LEAST_LETTERS or not word.isalpha():
            continue
        if np.array_equal(renderer.encode(before + 2 * f"{' ' * spaced}{word}")[0], [*start, token, token]):
            found[word] = None
        if len(found) == most:
            break
    if len(found) < 2:
        raise RecipeError("the tokenizer has no words that are one token each; choose another family than tokens")
    return tuple(found)
