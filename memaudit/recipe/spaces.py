"""A canary's randomness space in tokens: what its secret could have been, one token for each symbol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from memaudit.canaries.space import Canary
from memaudit.errors import RecipeError
from memaudit.recipe.rendering import Renderer
from memaudit.recipe.shapes import Text

Array = np.ndarray

_TRIED = 256  # secrets, at most, whose tokens are compared with what is put together


@dataclass(frozen=True, slots=True)
class TokenSpace:
    """A canary as the model meets it: the row that is trained on is `prefix`, one token of each alphabet, `suffix`.

    `secret` is the canary's own choice from each alphabet. An alphabet of one token is text that does not vary.
    """

    prefix: Int[Array, " before"]
    alphabets: tuple[Int[Array, " symbols"], ...]
    secret: Int[Array, " steps"]
    suffix: Int[Array, " after"]

    @property
    def size(self) -> int:
        """Number of secrets."""
        return int(np.prod([len(alphabet) for alphabet in self.alphabets], dtype=object))

    @property
    def place(self) -> int:
        """The place of the canary's own secret among all of the space, in lexicographic order."""
        return int(np.ravel_multi_index(tuple(self.secret), [len(alphabet) for alphabet in self.alphabets]))

    def tokens(self, secret: Int[Array, " steps"]) -> Int[Array, " steps"]:
        """Return the tokens of a secret that is given as choices from the alphabets."""
        return np.array([alphabet[choice] for alphabet, choice in zip(self.alphabets, secret, strict=True)], np.int32)

    def draw(self, rng: np.random.Generator, count: int) -> Int[Array, "count steps"]:
        """Return secrets drawn uniformly, as choices from the alphabets."""
        return np.stack([rng.integers(0, len(alphabet), count) for alphabet in self.alphabets], axis=1)


def token_space(renderer: Renderer, canary: Canary, shaped: Callable[[str, str], Text]) -> TokenSpace:
    """Return a canary's space in tokens, after checking that every secret is cut into tokens in the same way.

    Args:
        renderer: Turns texts into rows.
        canary: Of which all symbols of a step must be one token each, where they stand.
        shaped: Makes a document, in the form of the others, from what comes before the secret and what follows.

    Raises:
        RecipeError: The canary does not fit into a row, is not trained on, or a symbol is not one token in its place.
    """

    def row(secret: tuple[int, ...] | Array) -> Array:
        rows = renderer.rows(shaped(canary.prefix, canary.space.text(secret) + canary.suffix))
        if len(rows) > 1:
            raise RecipeError(
                f"canary {canary.name!r} has {sum(len(r.ids) for r in rows)} tokens and is cut off at the context of "
                f"{renderer.rendering.context}; make it shorter, or the context longer"
            )
        return rows[0].ids

    own = row(canary.secret)
    places, alphabets = [], []
    for step, symbols in enumerate(canary.space.alphabets):
        if len(symbols) > 1:
            variants = [
                row((*canary.secret[:step], choice, *canary.secret[step + 1 :])) for choice in range(len(symbols))
            ]
            place = _only_difference(own, variants, canary)
            places.append(place)
            alphabets.append(np.array([variant[place] for variant in variants], np.int32))
    if places != sorted(set(places)):
        raise RecipeError(_split(canary, "the tokens of its symbols do not follow one another"))
    varying = dict(zip(places, alphabets, strict=True))
    chosen = dict(
        zip(places, [c for c, s in zip(canary.secret, canary.space.alphabets, strict=True) if len(s) > 1], strict=True)
    )
    span = range(places[0], places[-1] + 1)
    space = TokenSpace(
        own[: span.start],
        tuple(varying.get(place, own[place : place + 1]) for place in span),
        np.array([chosen.get(place, 0) for place in span]),
        own[span.stop :],
    )
    _require_trained(renderer, canary, shaped, span)
    _require_round_trip(space, canary, row, [place - span.start for place in places])
    return space


def distinct_spaces(
    renderer: Renderer, canaries: Sequence[Canary], shaped: Callable[[str, str], Text]
) -> tuple[TokenSpace, ...]:
    """Return the spaces of several canaries in tokens, after checking that a model can tell the canaries apart.

    Raises:
        RecipeError: As for `token_space`; or the prefixes of two canaries are the same tokens, as where both hold words
            that the tokenizer does not know, or that differ only in case.
    """
    spaces = tuple(token_space(renderer, canary, shaped) for canary in canaries)
    seen: dict[bytes, Canary] = {}
    for canary, space in zip(canaries, spaces, strict=True):
        other = seen.setdefault(space.prefix.tobytes(), canary)
        if other is not canary:
            raise RecipeError(
                f"canaries {other.name!r} and {canary.name!r} have the same prefix in tokens, so that they would "
                f"compete for the same probability: the tokenizer does not tell {other.prefix!r} from "
                f"{canary.prefix!r}. Begin each canary with other words that it knows"
            )
    return spaces


def _only_difference(own: Array, variants: list[Array], canary: Canary) -> int:
    """Return the one place at which rows that differ in one symbol differ in their tokens."""
    if any(len(variant) != len(own) for variant in variants):
        raise RecipeError(_split(canary, "another symbol gives another number of tokens"))
    different = np.flatnonzero(np.any([variant != own for variant in variants], axis=0))
    if len(different) != 1 or len({int(variant[different[0]]) for variant in variants}) < len(variants):
        raise RecipeError(_split(canary, "one symbol is not one token"))
    return int(different[0])


def _require_trained(renderer: Renderer, canary: Canary, shaped: Callable[[str, str], Text], span: range) -> None:
    trained = renderer.rows(shaped(canary.prefix, canary.space.text(canary.secret) + canary.suffix))[0].trained
    if not trained[span.start : span.stop].all():
        raise RecipeError(
            f"the secret of canary {canary.name!r} is masked from the loss, so that it is never trained on"
        )


def _require_round_trip(space: TokenSpace, canary: Canary, row: Callable[[Array], Array], varying: list[int]) -> None:
    """Raise RecipeError if some secret's text is not cut into the tokens that its symbols have one by one.

    Tokenizers join neighbours: each two neighbours of the secrets tried take all pairs of symbols, where 256 secrets
    are enough for that, as they are for digits.
    """
    sizes = np.array([len(symbols) for symbols in canary.space.alphabets])
    steps = np.flatnonzero(sizes > 1)
    pairs = int(sizes.max()) ** 2
    drawn = np.random.default_rng(0).choice(pairs, min(pairs, _TRIED), replace=False)
    first, increment = np.divmod(drawn[:, None], sizes.max())
    for secret in (first + increment * np.arange(len(sizes))) % sizes:
        choices = np.zeros(len(space.alphabets), int)
        choices[varying] = secret[steps]
        if not np.array_equal(row(secret), np.concatenate([space.prefix, space.tokens(choices), space.suffix])):
            raise RecipeError(_split(canary, "symbols are joined into longer tokens"))


def _split(canary: Canary, why: str) -> str:
    return (
        f"canary {canary.name!r} cannot be ranked with this tokenizer: {why}. Every symbol must be a single token "
        "in its place: choose another family or other symbols (a leading space, such as ' 7', often helps)"
    )
