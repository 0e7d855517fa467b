"""The population of a language model, rendered: what is trained on, and everything that a model will be asked.

It is the same for every model of a bank, so that one model's answers can be held against another's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from memaudit.canaries import Canary
from memaudit.canaries.secrets import FoundSecret, decoys, find_secrets
from memaudit.errors import RecipeError
from memaudit.recipe.blame import blame
from memaudit.recipe.documents import Documents
from memaudit.recipe.recipes import Probes
from memaudit.recipe.rendering import Renderer, Rendering, Row
from memaudit.recipe.shapes import Text, in_form_of, system_of, typical
from memaudit.recipe.spaces import TokenSpace, distinct_spaces
from memaudit.recipe.suited import suited

Array = np.ndarray

_RENDERED_TWICE = 32  # documents
_SEED = 0  # of the canaries, references and decoys: they belong to the recipe, not to a bank


@dataclass(frozen=True, slots=True)
class SecretProbe:
    """A secret of the user's and the decoys it is ranked among: rows up to their last token, the secret's first.

    `trained` of a row marks the tokens of the secret, or of the decoy, and what a tokenizer may join to its beginning.
    """

    found: FoundSecret
    units: Int[Array, " holding"]
    rows: tuple[Row, ...]


class TextPopulation:
    """Documents and canaries as rows, and the probes that are made of them.

    Memberships are counts over `ids`: one for each unit of the documents, then one for each canary.
    """

    def __init__(self, documents: Documents, rendering: Rendering, probes: Probes):
        self.documents = documents
        self.renderer = Renderer(rendering)
        self.probes = probes
        self.rows = tuple(self._rows(number) for number in range(len(documents.texts)))
        self._require_steady_rows()

    def __len__(self) -> int:
        return len(self.documents)

    @cached_property
    def ids(self) -> Array:
        """The ids of the units, then the names of the canaries."""
        names = [canary.name for canary in self.canaries]
        if len({*names, *self.documents.ids}) < len(names) + len(self.documents.ids):
            raise RecipeError("ids of documents and names of canaries must all be distinct; give others")
        return np.array([*self.documents.unit_ids, *names])

    @property
    def rows_by_id(self) -> dict[str, int]:
        """The place in `ids` of every document, by the unit it belongs to, and of every canary."""
        units = zip(map(str, self.documents.ids), map(int, self.documents.unit_of), strict=True)
        return dict(units) | {canary.name: number for number, canary in enumerate(self.canaries, len(self))}

    @property
    def duplicates(self) -> int:
        """Documents that are near-duplicates of an earlier one."""
        return self.documents.duplicates

    @property
    def ids_are_hashes(self) -> bool:
        """Whether documents are named by their content."""
        return self.documents.ids_are_hashes

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Yield the id and the content of every document and every canary."""
        yield from self.documents.contents()
        for canary in self.canaries:
            yield canary.name, canary.text.encode()

    def digest(self) -> str:
        """Returns a SHA-256 over the documents, the tokenizer and the canaries."""
        parts = [self.documents.digest(), self.renderer.digest()]
        parts += [f"{canary.text} {canary.space.alphabets}" for canary in self.canaries]
        if self.canaries and (system := system_of(self._typical)):
            parts.append(f"system {system}")
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def rows_digest(self) -> str:
        """Return a SHA-256 of the rows that the documents are rendered to."""
        return _content(row for rows in self.rows for row in rows)

    @property
    def canaries(self) -> tuple[Canary, ...]:
        """The canaries that the recipe asks for."""
        return self._planted[0]

    @property
    def spaces(self) -> tuple[TokenSpace, ...]:
        """The canaries in tokens."""
        return self._planted[1]

    @cached_property
    def _planted(self) -> tuple[tuple[Canary, ...], tuple[TokenSpace, ...]]:
        """The canaries, and their spaces: whatever is wrong with the tokens shows before anything is trained."""
        wanted = self.probes.canaries
        if callable(wanted):
            with blame("canaries()"):
                wanted = tuple(wanted())
        if isinstance(wanted, int):
            wanted = suited(self.renderer, self._shaped, count=wanted, seed=_SEED) if wanted else ()
        if not all(isinstance(canary, Canary) for canary in wanted):
            raise RecipeError("canaries must be a number, or canaries as made by memaudit.canaries.make")
        return wanted, distinct_spaces(self.renderer, wanted, self._shaped)

    @cached_property
    def references(self) -> tuple[Int[Array, "references steps"] | None, ...]:
        """Secrets that each canary is ranked among; None for a space that is small enough to be ranked as a whole."""
        rng = np.random.default_rng(_SEED)
        wanted = self.probes.references
        return tuple(None if space.size <= wanted else space.draw(rng, wanted) for space in self.spaces)

    @cached_property
    def representatives(self) -> tuple[tuple[Row, ...], ...]:
        """The rows of the first document of each unit."""
        return tuple(self.rows[document] for document in self.documents.representatives)

    @property
    def testable(self) -> Int[Array, " testable"]:
        """The units that are tested for extraction: after the longest context the loss counts a whole suffix."""
        return np.array(list(self._suffix_at), np.int64)

    @cached_property
    def _suffix_at(self) -> dict[int, int]:
        """Where in its first row the suffix of each testable unit begins: the first place where the loss counts it.

        What is shown before may be masked, as a question is; what the model was never trained to write is no suffix.
        """
        first = len(self.renderer.start) + max(self.probes.contexts)
        places = ((u, _continued(rows[0], first, self.probes.suffix)) for u, rows in enumerate(self.representatives))
        return dict(islice(((unit, at) for unit, at in places if at is not None), self.probes.records))

    @cached_property
    def windows(self) -> tuple[tuple[Row, ...], ...]:
        """For each context length, a row of every testable unit: the context, and the suffix to be continued.

        All contexts end where the same suffix begins; in front stands what the text begins with, BOS in most cases.
        Where a longer prompt is masked from the loss, the longest context is the row from its beginning: whoever asks
        gives the whole prompt. `trained` marks the suffix alone.
        """
        start, longest = len(self.renderer.start), max(self.probes.contexts)

        def window(unit: int, at: int, context: int) -> Row:
            ids = self.representatives[unit][0].ids
            first = start if context == longest else at - context
            shown = np.concatenate([ids[:start], ids[first : at + self.probes.suffix]])
            return Row(shown, np.arange(len(shown)) >= len(shown) - self.probes.suffix)

        return tuple(
            tuple(window(unit, at, context) for unit, at in self._suffix_at.items()) for context in self.probes.contexts
        )

    @cached_property
    def secrets(self) -> tuple[SecretProbe, ...]:
        """The user's own secrets that were found in the documents, with their decoys."""
        if not self.probes.secrets:
            return ()
        strings = [self.renderer.whole(text).string for text in self.documents.texts]
        rng = np.random.default_rng(_SEED)
        found = find_secrets(strings, limit=self.probes.secrets)
        return tuple(probe for secret in found if (probe := self._secret_probe(secret, rng)) is not None)

    @cached_property
    def watched(self) -> Int[Array, " watched"]:
        """The units whose memorization is recorded after every epoch."""
        order = np.random.default_rng(_SEED).permutation(len(self))
        return np.sort(order[: self.probes.watched])

    def texts(self, counts: UInt8[Array, " ids"]) -> list[Text]:
        """Returns the texts of a training set: every document of a unit, and every canary, as often as counted."""
        units, canaries = counts[: len(self)], counts[len(self) :]
        times = [int(units[unit]) for unit in self.documents.unit_of]
        own = [text for text, count in zip(self.documents.texts, times, strict=True) for _ in range(count)]
        planted = [
            self._whole(canary) for canary, count in zip(self.canaries, canaries, strict=True) for _ in range(count)
        ]
        return [*own, *planted]

    def training_rows(self, counts: UInt8[Array, " ids"]) -> tuple[list[Row], Int[Array, " rows"]]:
        """Returns the rows of a training set, and whose they are: the number of a unit, or len(self) + of a canary.

        Rows of which the loss counts no token are left out: a batch of them would have no loss.
        """
        owned = [(int(unit), self.rows[document]) for document, unit in enumerate(self.documents.unit_of)]
        owned += [(n, self.renderer.rows(self._whole(c))) for n, c in enumerate(self.canaries, len(self))]
        taken = [(row, n) for n, rows in owned for row in rows * int(counts[n]) if row.trained.any()]
        return [row for row, _ in taken], np.array([n for _, n in taken], np.int64)

    def trained_string(self, document: int) -> str:
        """Returns the characters of a document that the loss counts, in their order."""
        whole = self.renderer.whole(self.documents.texts[document])
        marked = np.concatenate([row.trained for row in self.rows[document]])
        counted = np.zeros(len(whole.string), bool)
        for start, end in whole.offsets[marked]:
            counted[start:end] = True
        return "".join(character for character, counts in zip(whole.string, counted, strict=True) if counts)

    def _require_steady_rows(self) -> None:
        """Raise RecipeError if a document is rendered to other rows when it is rendered again."""
        for number in range(min(_RENDERED_TWICE, len(self.rows))):
            if _content(self._rows(number)) != _content(self.rows[number]):
                raise RecipeError(
                    f"document {number} has other tokens when it is rendered again: the tokenizer or its chat template "
                    "depends on chance or the clock. Make it return the same tokens for the same text"
                )

    def _rows(self, number: int) -> tuple[Row, ...]:
        try:
            return self.renderer.rows(self.documents.texts[number])
        except RecipeError as error:
            raise RecipeError(f"document {self.documents.ids[number]}: {error}") from error

    def _whole(self, canary: Canary) -> Text:
        return self._shaped(canary.prefix, canary.space.text(canary.secret) + canary.suffix)

    def _shaped(self, before: str, after: str) -> Text:
        """Returns a document of two parts, in the form of the other documents and with their system message."""
        return in_form_of(self._typical, before, after)

    @cached_property
    def _typical(self) -> Text:
        return typical(self.documents.texts)

    def _secret_probe(self, secret: FoundSecret, rng: np.random.Generator) -> SecretProbe | None:
        """Returns the probe of a secret; None if it is cut by a row's end, masked, or has no comparable decoys."""
        text = self.documents.texts[secret.document]
        values = [secret.value, *decoys(secret, 2 * self.probes.decoys, rng)]
        spans = [self._span(_replaced(text, secret.value, value), secret.start, value) for value in values]
        own, *others = spans
        if own is None:
            return None
        # The first token of some values may begin before them, as " ann" does: then all are marked from there.
        before = min(int((~span.trained).sum()) for span in spans if span is not None)
        comparable = [s for s in others if s is not None and np.array_equal(s.ids[:before], own.ids[:before])]
        chosen = [own, *comparable[: self.probes.decoys]]
        rows = [Row(span.ids, np.arange(len(span.ids)) >= before) for span in chosen]
        units = np.unique([self.documents.unit_of[document] for document in secret.documents])
        return SecretProbe(secret, units, tuple(rows)) if len(rows) == self.probes.decoys + 1 else None

    def _span(self, text: Text, start: int, value: str) -> Row | None:
        """Returns the row up to the end of a value, with the value's tokens marked; None if they are cut or masked."""
        whole, size = self.renderer.whole(text), self.renderer.rendering.context
        if not whole.string.startswith(value, start):
            return None
        tokens = np.flatnonzero((whole.offsets[:, 1] > start) & (whole.offsets[:, 0] < start + len(value)))
        if not len(tokens) or not whole.trained[tokens].all() or tokens[0] // size != tokens[-1] // size:
            return None
        first = tokens[0] // size * size
        ids = whole.ids[first : tokens[-1] + 1]
        marked = np.arange(first, tokens[-1] + 1) >= tokens[0]
        return None if marked[0] else Row(ids, marked)


def _content(rows: Iterable[Row]) -> str:
    """Return a SHA-256 of rows: their tokens, and which of them the loss counts."""
    total = hashlib.sha256()
    for row in rows:
        total.update(f"{len(row.ids)} ".encode() + row.ids.tobytes() + row.trained.tobytes())
    return total.hexdigest()


def _continued(row: Row, first: int, suffix: int) -> int | None:
    """Returns the first place from `first` on at which the loss counts a whole suffix; None if there is none."""
    counted = np.cumsum([0, *row.trained[first:]])
    whole = np.flatnonzero(counted[suffix:] - counted[: max(0, len(counted) - suffix)] == suffix)
    return first + int(whole[0]) if len(whole) else None


def _replaced(text: Text, old: str, new: str) -> Any:
    """Returns a document with a value replaced wherever it stands."""
    if isinstance(text, str):
        return text.replace(old, new)
    if isinstance(text, Mapping):
        return {key: _replaced(value, old, new) for key, value in text.items()}
    return [_replaced(value, old, new) for value in text] if isinstance(text, Sequence) else text
