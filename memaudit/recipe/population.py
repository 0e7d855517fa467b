"""The rendered population of a language model: training rows and the rows of every probe.

It is the same for every model of a bank, so models can be compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8

from memaudit.canaries import Canary
from memaudit.canaries.secrets import FoundSecret, decoys, find_secrets
from memaudit.errors import RecipeError
from memaudit.recipe.blame import blame
from memaudit.recipe.documents import Documents
from memaudit.recipe.recipes import Probes
from memaudit.recipe.rendering import Objective, Renderer, Rendering, Row
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

    Memberships are counts over `ids`: one for each unit of the documents, then one for each canary. `always` are the
    documents beside these that every model is trained on, where the population is that of a bank's candidates.
    `left_out` are documents that no model is trained on, although their units are members: de-duplication removed them.
    """

    always: Documents | None = None
    always_rows: tuple[tuple[Row, ...], ...] = ()
    left_out: frozenset[int] = frozenset()

    def __init__(
        self,
        documents: Documents,
        rendering: Rendering,
        probes: Probes,
        token_logprobs: Callable[..., Any] | None = None,
    ):
        self.documents = documents
        self.token_logprobs = token_logprobs
        self.renderer = Renderer(rendering)
        self.probes = probes
        self.rows = tuple(self._rows(number) for number in range(len(documents.texts)))
        self._require_steady_rows()
        if self.objective == "seq2seq" and len(probes.contexts) > 1:
            raise RecipeError(
                f"Probes(contexts={probes.contexts}): an encoder-decoder is always shown its whole input; give one "
                "number of tokens"
            )

    @property
    def objective(self) -> Objective:
        """What the models predict: "causal", "seq2seq" or "masked"."""
        return self.renderer.rendering.objective

    @property
    def longest(self) -> int:
        """The positions that a model needs: the context, or the longest input or output of an encoder-decoder."""
        if self.objective != "seq2seq":
            return self.renderer.rendering.context
        begins = ((self.renderer.begin(row.ids), len(row.ids)) for rows in self.rows for row in rows)
        return max(max(begin, length - begin) for begin, length in begins)

    @property
    def writes(self) -> bool:
        """Whether the models can be made to write text; if not, only given tokens are scored."""
        return self.objective != "masked" and self.token_logprobs is None

    @property
    def score(self) -> str:
        """What the signal of a document is, in words."""
        given = {
            "causal": "given the tokens before it",
            "seq2seq": "of the output, given the input and the output's tokens before it",
            "masked": "given all others but a seventh of them, which are masked with it (pseudo-log-likelihood)",
        }
        own = "" if self.token_logprobs is None else ", by the recipe's own token_logprobs()"
        return f"mean log-probability of each token {given[self.objective]}{own}"

    def of_units(self, units: Bool[Array, " units"], always: Bool[Array, " units"]) -> TextPopulation:
        """Return the population of some units, with the same canaries; its probes are chosen among these units."""
        chosen, rest = (np.flatnonzero(which[self.documents.unit_of]) for which in (units, always))
        other = object.__new__(TextPopulation)
        other.documents, other.renderer, other.probes = self.documents.take(chosen), self.renderer, self.probes
        other.rows = tuple(self.rows[document] for document in chosen)
        other.always, other.always_rows = self.documents.take(rest), tuple(self.rows[document] for document in rest)
        other._planted, other.token_logprobs = self._planted, self.token_logprobs
        return other

    def trained_on(self, texts: Sequence[Text] | None = None, left_out: Iterable[int] = ()) -> TextPopulation:
        """Return the population for models that are trained on prepared texts, and are asked about these ones.

        Args:
            texts: One for each document, in its place; by default the documents are trained on as they are.
            left_out: Documents that are not trained on.
        """
        kept = {name: getattr(self, name) for name in ("representatives", "_typical", "_planted")}
        other = copy(self)
        vars(other).update(kept)
        other.left_out = frozenset(left_out)
        if texts is not None:
            other.documents = self.documents.with_texts(texts)
            other.rows = tuple(other._rows(number) for number in range(len(texts)))
        return other

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
        """Return a SHA-256 over the documents, the tokenizer and the canaries."""
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
        """The rows of each unit: of its first document, and of all that are no near-duplicates of an earlier one."""
        return tuple(tuple(row for document in own for row in self.rows[document]) for own in self.documents.records)

    @property
    def testable(self) -> Int[Array, " testable"]:
        """The units that are tested for extraction: after the longest context the loss counts a whole suffix."""
        return np.array(list(self._suffix_at), np.int64)

    @cached_property
    def _suffix_at(self) -> dict[int, int]:
        """Where in its first row the suffix of each testable unit begins: the first place where the loss counts it.

        What is shown before may be masked, as a question is; what the model was never trained to write is no suffix.
        """
        if not self.writes:
            return {}
        first = len(self.renderer.start) + max(self.probes.contexts)
        places = ((u, _continued(rows[0], first, self.probes.suffix)) for u, rows in enumerate(self.representatives))
        return dict(islice(((unit, at) for unit, at in places if at is not None), self.probes.records))

    @cached_property
    def windows(self) -> tuple[tuple[Row, ...], ...]:
        """For each context length, a row of every testable unit: the context, and the suffix to be continued.

        All contexts end where the same suffix begins, and start with the start of the text, BOS in most cases. Where a
        longer prompt is masked from the loss, the longest context is the whole row before the suffix: an attacker has
        the whole prompt. `trained` marks the suffix alone.
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
        """The user's own secrets that were found in the documents, with their decoys.

        One that also occurs in a document that every model is trained on is left out: no model lacks it.
        """
        sought = self.probes.sought
        if not sought.most:
            return ()
        strings = [self.renderer.whole(text).string for text in self.documents.texts]
        rng = np.random.default_rng(_SEED)
        known = [self.renderer.whole(text).string for text in self.always.texts] if self.always is not None else []
        found = [
            secret
            for secret in find_secrets(strings, limit=sought.most, forms=sought.forms)
            if not any(secret.value in string for string in known)
        ]
        return tuple(probe for secret in found if (probe := self._secret_probe(secret, rng)) is not None)

    @cached_property
    def watched(self) -> Int[Array, " watched"]:
        """The units whose memorization is recorded after every epoch."""
        order = np.random.default_rng(_SEED).permutation(len(self))
        return np.sort(order[: self.probes.watched])

    def texts(self, counts: UInt8[Array, " ids"]) -> list[Text]:
        """Return the texts of a training set: every document of a unit, and every canary, as often as counted."""
        units, canaries = counts[: len(self)], counts[len(self) :]
        times = [0 if n in self.left_out else int(units[unit]) for n, unit in enumerate(self.documents.unit_of)]
        own = [text for text, count in zip(self.documents.texts, times, strict=True) for _ in range(count)]
        planted = [
            self._whole(canary) for canary, count in zip(self.canaries, canaries, strict=True) for _ in range(count)
        ]
        return [*own, *planted]

    def training_rows(self, counts: UInt8[Array, " ids"]) -> tuple[list[Row], Int[Array, " rows"]]:
        """Return the rows of a training set, and whose they are: the number of a unit, or len(self) + of a canary.

        Rows of which the loss counts no token are left out: a batch of them would have no loss.
        """
        owned = [(int(u), self.rows[n]) for n, u in enumerate(self.documents.unit_of) if n not in self.left_out]
        owned += [(n, self.renderer.rows(self._whole(c))) for n, c in enumerate(self.canaries, len(self))]
        taken = [(row, n) for n, rows in owned for row in rows * int(counts[n]) if row.trained.any()]
        return [row for row, _ in taken], np.array([n for _, n in taken], np.int64)

    def trained_string(self, document: int) -> str:
        """Return the characters of a document that the loss counts, in their order."""
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
                    "is random or depends on the clock. Make it return the same tokens for the same text"
                )

    def _rows(self, number: int) -> tuple[Row, ...]:
        try:
            return self.renderer.rows(self.documents.texts[number])
        except RecipeError as error:
            raise RecipeError(f"document {self.documents.ids[number]}: {error}") from error

    def _whole(self, canary: Canary) -> Text:
        return self._shaped(canary.prefix, canary.space.text(canary.secret) + canary.suffix)

    def _shaped(self, before: str, after: str) -> Text:
        """Return a document of two parts, in the form of the other documents and with their system message."""
        return in_form_of(self._typical, before, after)

    @cached_property
    def _typical(self) -> Text:
        return typical(self.documents.texts)

    def _secret_probe(self, secret: FoundSecret, rng: np.random.Generator) -> SecretProbe | None:
        """Return the probe of a secret; None if it is cut by a row's end, masked, or has no comparable decoys."""
        text = self.documents.texts[secret.document]
        values = [secret.value, *decoys(secret, 2 * self.probes.decoys, rng, self.probes.sought.forms)]
        spans = [self._span(_replaced(text, secret.value, value), secret.start, value) for value in values]
        own, *others = spans
        if own is None:
            return None
        # The first token of some values may begin before them, as " ann" does: then all are marked from there.
        before = min(int(span.trained.argmax()) for span in spans if span is not None)
        comparable = [s for s in others if s is not None and np.array_equal(s.ids[:before], own.ids[:before])]
        chosen = [own, *comparable[: self.probes.decoys]]
        rows = [Row(span.ids, _from(before, span.trained)) for span in chosen]
        units = np.unique([self.documents.unit_of[document] for document in secret.documents])
        return SecretProbe(secret, units, tuple(rows)) if len(rows) == self.probes.decoys + 1 else None

    def _span(self, text: Text, start: int, value: str) -> Row | None:
        """Return the row up to the end of a value, with the value's tokens marked; None if they are cut or masked.

        For a masked model, which reads what follows as well, it is the whole row.
        """
        whole, size = self.renderer.whole(text), self.renderer.rendering.context
        if not whole.string.startswith(value, start) or (self.objective == "seq2seq" and len(whole.ids) > size):
            return None
        tokens = np.flatnonzero((whole.offsets[:, 1] > start) & (whole.offsets[:, 0] < start + len(value)))
        if not len(tokens) or not whole.trained[tokens].all() or tokens[0] // size != tokens[-1] // size:
            return None
        first = tokens[0] // size * size
        stop = min(first + size, len(whole.ids)) if self.objective == "masked" else tokens[-1] + 1
        places = np.arange(first, stop)
        marked = (places >= tokens[0]) & (places <= tokens[-1])
        return None if marked[0] else Row(whole.ids[first:stop], marked)


def _content(rows: Iterable[Row]) -> str:
    """Return a SHA-256 of rows: their tokens, and which of them the loss counts."""
    total = hashlib.sha256()
    for row in rows:
        total.update(f"{len(row.ids)} ".encode() + row.ids.tobytes() + row.trained.tobytes())
    return total.hexdigest()


def _from(first: int, marked: Array) -> Array:
    """Return the marks from a place on up to the last marked token."""
    places = np.arange(len(marked))
    return np.asarray((places >= first) & (places <= np.flatnonzero(marked)[-1]))


def _continued(row: Row, first: int, suffix: int) -> int | None:
    """Return the first place from `first` on at which the loss counts a whole suffix; None if there is none."""
    counted = np.cumsum([0, *row.trained[first:]])
    whole = np.flatnonzero(counted[suffix:] - counted[: max(0, len(counted) - suffix)] == suffix)
    return first + int(whole[0]) if len(whole) else None


def _replaced(text: Text, old: str, new: str) -> Any:
    """Return a document with every occurrence of a value replaced."""
    if isinstance(text, str):
        return text.replace(old, new)
    if isinstance(text, Mapping):
        return {key: _replaced(value, old, new) for key, value in text.items()}
    return [_replaced(value, old, new) for value in text] if isinstance(text, Sequence) else text
