"""The population of a language model: all texts that may be in a training set, in units that go in or stay out whole.

Near-duplicates form one unit. Otherwise a copy of a document would train the models that are held to lack it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from memaudit.errors import RecipeError
from memaudit.recipe.duplicates import near_duplicates
from memaudit.recipe.identifiers import grouped, joined, named, numbered, require_ids
from memaudit.recipe.record_files import parsed, read, read_records
from memaudit.recipe.shapes import Text, document, picked, plain, shape

Array = np.ndarray


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Documents:
    """Texts with stable ids and the unit of each; `len` is the number of units, which membership is drawn for.

    A text is a string; or {"prompt": …, "completion": …}, both strings or both lists of messages; or {"messages":
    [{"role": …, "content": …}, …]}; or {"instruction": …, "input": …, "output": …}, as Alpaca has it. All have one
    shape. It is kept as it is. `unit_of` numbers the units by their first appearance, `record_of` the clusters of
    near-duplicates. A unit is asked about by the first document of each of its clusters: a person by all that differ.

    Args:
        texts: The documents.
        ids: One stable, unique name per document. Without it, a hash of the content; exact copies are then numbered.
        similarity: Documents are near-duplicates from this Jaccard similarity of their 5-word shingles on, whatever
            case and white space; their near-duplicates belong to the same unit too. In a text of fewer than 5 words,
            shingles are 5 characters. With None every document is its own unit, and so is an exact copy.
        groups: The person or source that each document belongs to: those of one group belong to the same unit too.

    Raises:
        RecipeError: A document is empty or no document, shapes are mixed, an id occurs twice, or units are too few.

    Source: MinHash, Broder 1997; near-duplicates at 0.8 of 5-grams as in Lee et al. 2022, "Deduplicating Training Data
    Makes Language Models Better".
    """

    texts: tuple[Text, ...]
    ids: Array
    unit_of: Int[Array, " documents"]
    record_of: Int[Array, " documents"]

    def __init__(
        self,
        texts: Iterable[Text],
        ids: Iterable[Any] | None = None,
        *,
        similarity: float | None = 0.8,
        groups: Iterable[Any] | None = None,
    ) -> None:
        if isinstance(texts, str | Mapping):
            raise RecipeError(f"texts must be a list of documents, got a single {type(texts).__name__}")
        rows = checked(texts, "row {}".format)
        names = numbered(list(map(_content_hash, rows))) if ids is None else named(ids)
        require_ids(names, len(rows))
        record_of = np.arange(len(rows)) if similarity is None else near_duplicates(list(map(plain, rows)), similarity)
        unit_of = record_of
        if groups is not None:
            unit_of = joined([unit_of.tolist(), grouped(groups, len(rows))])
        for name, value in zip(self.__slots__, (tuple(rows), names, unit_of, record_of), strict=True):
            object.__setattr__(self, name, value)
        if len(self) < 4:
            raise RecipeError(f"{len(self)} documents (without near-duplicates) are too few to audit anything")

    @classmethod
    def from_text_files(
        cls, place: str | Path | Iterable[str | Path], pattern: str = "*.txt", *, similarity: float | None = 0.8
    ) -> Documents:
        """Return one document per UTF-8 file, named like the file.

        Args:
            place: A folder, of which the files that match the pattern are read in alphabetical order; or the files.
            pattern: "**/*.txt" also reads folders within the folder.
            similarity: As for the constructor.

        Raises:
            RecipeError: There is no such file, it is not UTF-8, or see the constructor.
        """
        if isinstance(place, str | Path):
            folder = Path(place)
            files = sorted(path for path in folder.glob(pattern) if path.is_file())
            names = [path.relative_to(folder).as_posix() for path in files]
            if not files:
                raise RecipeError(f"{folder} holds no file that matches {pattern!r}")
        else:
            files = [Path(path) for path in place]
            names = [path.name for path in files]
        texts = checked(map(read, files), lambda row: str(files[row]))
        return cls(texts, names, similarity=similarity)

    @classmethod
    def from_jsonl(
        cls,
        path: str | Path,
        field: str = "text",
        ids: Iterable[Any] | None = None,
        *,
        similarity: float | None = 0.8,
    ) -> Documents:
        """Return one document per record of a file of JSON objects, one a line or all in one array.

        Of each, its field is read, or prompt and completion, messages, conversations, or instruction and output.

        Raises:
            RecipeError: Names file and line; see the constructor.
        """
        file = read_records(Path(path))
        rows = [
            picked(parsed(record, place), field, place) for record, place in zip(file.records, file.places, strict=True)
        ]
        return cls(checked(rows, lambda row: file.places[row]), ids, similarity=similarity)

    @classmethod
    def from_dataset(
        cls,
        dataset: Iterable[Any],
        field: str = "text",
        ids: Iterable[Any] | None = None,
        *,
        similarity: float | None = 0.8,
    ) -> Documents:
        """Return one document per row of a Hugging Face dataset, or of any sequence of mappings.

        Of each row, its field is read, or prompt and completion, messages, conversations, or instruction and output;
        other columns are left out.

        Raises:
            RecipeError: A row has none of them; see the constructor.
        """
        rows = [picked(row, field, f"row {number}") for number, row in enumerate(dataset)]
        return cls(rows, ids, similarity=similarity)

    def __len__(self) -> int:
        return int(self.unit_of.max(initial=-1)) + 1

    @property
    def representatives(self) -> Int[Array, " units"]:
        """The first document of each unit."""
        return np.unique(self.unit_of, return_index=True)[1]

    @property
    def records(self) -> tuple[Int[Array, " records"], ...]:
        """The documents that each unit is asked about by: the first of each of its clusters of near-duplicates."""
        firsts = np.unique(self.record_of, return_index=True)[1]
        order = firsts[np.lexsort((firsts, self.unit_of[firsts]))]
        return tuple(np.split(order, np.flatnonzero(np.diff(self.unit_of[order])) + 1))

    @property
    def copies(self) -> Int[Array, " units"]:
        """The number of documents in each unit."""
        return np.bincount(self.unit_of)

    def take(self, documents: Int[Array, " some"]) -> Documents:
        """Return some of the documents; their units are renumbered."""
        picked = object.__new__(Documents)
        units, records = (np.unique(of[documents], return_inverse=True)[1] for of in (self.unit_of, self.record_of))
        values = tuple(self.texts[document] for document in documents), self.ids[documents], units, records
        for name, value in zip(self.__slots__, values, strict=True):
            object.__setattr__(picked, name, value)
        return picked

    def with_texts(self, texts: Sequence[Text]) -> Documents:
        """Return the same documents with other texts, of the same ids and in the same units."""
        other = object.__new__(Documents)
        values = tuple(texts), self.ids, self.unit_of, self.record_of
        for name, value in zip(self.__slots__, values, strict=True):
            object.__setattr__(other, name, value)
        return other

    @property
    def unit_ids(self) -> Array:
        """The id of each unit: that of its first document."""
        return self.ids[self.representatives]

    @property
    def duplicates(self) -> int:
        """The number of documents that are not the first of their unit."""
        return len(self.texts) - len(self)

    @property
    def ids_are_hashes(self) -> bool:
        """Whether ids are hashes of the content, as they are if none are given: then they name content, not places."""
        return bool(str(self.ids[0]) == _content_hash(self.texts[0]))

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Yield the id and the content of every document: what a digest of it is taken of."""
        for name, text in zip(self.ids, self.texts, strict=True):
            yield str(name), _json(text)

    def digest(self) -> str:
        """Return a SHA-256 over texts, ids and units."""
        total = hashlib.sha256()
        for text, name, unit in zip(self.texts, self.ids, self.unit_of, strict=True):
            total.update(_json([text, str(name), int(unit)]) + b"\n")
        if len(np.unique(self.record_of)) > len(self):
            total.update(_json(["records", *self.record_of.tolist()]))
        return total.hexdigest()


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()


def _content_hash(text: Text) -> str:
    return hashlib.sha256(_json(text)).hexdigest()[:16]


def checked(texts: Iterable[Any], place: Callable[[int], str]) -> list[Text]:
    """Return the documents, plain mappings all of one shape; errors name the place of a row."""
    rows: list[Text] = []
    for row, text in enumerate(texts):
        rows.append(document(text, place(row)))
        if shape(rows[-1]) != shape(rows[0]):
            raise RecipeError(
                f"{place(row)} is {shape(rows[-1])}, but {place(0)} is {shape(rows[0])}; documents have one shape"
            )
    return rows
