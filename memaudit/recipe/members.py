"""Who a model was trained on: ids, a mask or counts in memory, and as a file beside the model."""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from memaudit.errors import EvidenceError
from memaudit.files import write_whole
from memaudit.recipe.documents import Documents
from memaudit.recipe.examples import Examples
from memaudit.recipe.filekinds import refuse_pointer
from memaudit.recipe.identifiers import elements
from memaudit.recipe.members_file import ID, MASK, TIMES, Line, Lines, digest, parsed, whole, with_column, with_ids
from memaudit.recipe.population import TextPopulation
from memaudit.recipe.populations import Population, population
from memaudit.recipe.recipes import MOST_COPIES, Recipe

Array = np.ndarray


Listed = Iterable[Any] | Examples | Documents  # ids, a mask, counts, or a training set
Values = Array | list[Any]  # counts, or what members were listed as


class Counts(np.ndarray):
    """How often a model is trained on each example of a population, and on each canary: an array of uint8.

    What `draw_members` returns. Wrap an array of your own in it to say that it holds counts and not ids.

    Args:
        counts: For each example, 0 to 255.
        population: Whose they are, if they are to be checked against it and saved with digests of its content.
    """

    population: Population | None = None

    def __new__(cls, counts: Any, population: Population | None = None) -> Counts:
        """Return the counts.

        Raises:
            EvidenceError: They are no whole numbers from 0 to 255.
        """
        values = np.asarray(counts)
        if values.dtype.kind not in "bui" or values.ndim != 1 or not ((values >= 0) & (values <= MOST_COPIES)).all():
            raise EvidenceError(f"counts are whole numbers from 0 to {MOST_COPIES}, one for each example")
        found = values.astype(np.uint8).view(cls)
        found.population = population
        return found

    def __array_finalize__(self, source: Any) -> None:
        """Keep the population of an array of the same length."""
        same = source is not None and np.shape(source) == self.shape
        self.population = getattr(source, "population", None) if same else None


@dataclass(frozen=True, slots=True)
class Membership:
    """How often each example was trained on, and what shows that the examples are those of the training.

    Of `listed` ids, the content of `compared` was compared with the example of that id: by a digest beside it, or by
    an id that is itself a hash of the content. `split` is the number of units, copies or a group, of which some but not
    all were trained on. `sha256` is that of the members file, if it has a salt: with a hash of bare ids, someone
    who knows all members but one could test candidates for the last.
    """

    counts: UInt8[Array, " ids"]
    listed: int
    compared: int
    split: int = 0
    sha256: str | None = None


def members_beside(path: str | Path) -> Path:
    """Return where `save_target` writes the members of the model at `path`."""
    path = Path(path)
    return path.with_name(f"{path.name}.members.csv")


def write_members(model: str | Path, members: Listed, examples: Population | Recipe | None = None) -> None:
    """Write who was trained on beside a model: ids with a salted digest of each example's content, where it is known.

    Without examples there are no digests, and a mask or counts are written as a column.
    """
    if isinstance(members, Examples | Documents):
        _write_ids(model, [str(name) for name in members.ids], members)
        return
    whole = getattr(members, "population", None) if examples is None else examples
    whole = whole if whole is None or isinstance(whole, Examples | TextPopulation) else population(whole)
    values = _values(members)
    numbers = _numbers(values)
    if whole is not None:
        _write_ids(model, _listed(values, whole), whole)
    elif numbers is not None and numbers.dtype in (bool, np.uint8):
        heading = MASK if numbers.dtype == bool else TIMES
        write_whole(members_beside(model), with_column(heading, map(int, numbers)), private=True)
    else:
        _write_ids(model, [str(value) for value in values], None)


def _write_ids(model: str | Path, listed: list[str], whole: Population | Documents | None) -> None:
    salt, wanted = secrets.token_hex(16), set(listed)
    contents = () if whole is None else whole.contents()
    digests = {name: digest(salt, content) for name, content in contents if name in wanted}
    rows = [(name, digests.get(name, "")) for name in listed]
    write_whole(members_beside(model), with_ids(rows, salt), private=True)


def read_members(path: str | Path, population: Population) -> UInt8[Array, " ids"]:
    """Return how often each example was trained on, by a file.

    Raises:
        EvidenceError: As for `membership`.
    """
    return membership(Path(path), population).counts


def member_counts(members: Listed, population: Population) -> UInt8[Array, " ids"]:
    """Return how often each example was trained on, from ids, a mask, or counts.

    Raises:
        EvidenceError: As for `membership`.
    """
    return membership(members, population).counts


def membership(members: str | Path | Listed, population: Population) -> Membership:
    """Return who was trained on, by a file or by ids, a mask or counts in memory.

    A file has an id in each line, or a column `member` or `times` with a line for each example; `save_target` writes
    it. An id that occurs in several lines was trained on as often. Ids are compared exactly: no blank is ignored.

    Raises:
        EvidenceError: There is no such file, a column has another length, an id is no example's, a digest is that of
            another example, or whole numbers may be ids as well as counts.
    """
    if not isinstance(members, str | Path):
        return _in_memory(members, population)
    path = Path(members)
    if not path.is_file():
        raise EvidenceError(
            f"who was trained on? There is no {path}; give --members FILE with the ids of the training examples, one a "
            "line, or save the model with memaudit.save_target(model, path, members), which writes it"
        )
    refuse_pointer(path, EvidenceError)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EvidenceError(f"the members in {path} cannot be read: {error.strerror}") from error
    found = parsed(path, data)
    sha256 = hashlib.sha256(data).hexdigest() if found.salt else None
    if found.doubtful and found.kind in population.rows_by_id:
        raise EvidenceError(
            f"{path}: the first line, {found.kind!r}, is a heading and also the id of an example. Save the members "
            "with memaudit.save_target(model, path, members, recipe)"
        )
    if found.kind != ID:
        counts = _column(path, found.lines, len(population.ids), found.kind)
        return replace(_positional(counts, population, compared=False), sha256=sha256)
    return replace(_by_id(found, population), sha256=sha256)


def _by_id(found: Lines, population: Population) -> Membership:
    counts = _counts_of(found.lines, population)
    return Membership(counts, len(found.lines), _compared(found, population), _split(found.lines, counts, population))


def _positional(counts: UInt8[Array, " ids"], population: Population, compared: bool) -> Membership:
    listed = int((counts > 0).sum())
    return Membership(counts, listed, listed if compared else 0, _split((), counts, population))


def _split(lines: Sequence[Line], counts: UInt8[Array, " ids"], population: Population) -> int:
    """Return the number of units of which only a part was trained on.

    Documents can be listed unit by unit, by the id of the first, or one by one: then another id than a first occurs.
    """
    if isinstance(population, Examples):
        unit_of, trained = population.unit_of, counts > 0
    else:
        unit_of, names = population.documents.unit_of, {line.value for line in lines}
        trained = np.array([str(name) in names for name in population.documents.ids])
        if trained.sum() == trained[population.documents.representatives].sum():
            return 0
    inside = np.bincount(unit_of, trained)
    return int(((inside > 0) & (inside < np.bincount(unit_of))).sum())


def _in_memory(members: Listed, population: Population) -> Membership:
    if isinstance(members, Examples | Documents):
        lines = [Line(f"members[{n}]", name, digest("", c)) for n, (name, c) in enumerate(members.contents())]
        return _by_id(Lines(ID, "", lines, False), population)
    values = _values(members)
    if _are_ids(values, population):
        lines = [Line(f"members[{n}]", str(value)) for n, value in enumerate(values)]
        return _by_id(Lines(ID, "", lines, False), population)
    counts = np.asarray(values).astype(np.uint8)
    if len(counts) != len(population.ids):
        raise EvidenceError(
            f"members: the mask has {len(counts)} entries, but the recipe has {len(population.ids)} examples"
        )
    own = getattr(members, "population", None)
    if own is not None and own is not population and own.digest() != population.digest():
        raise EvidenceError(
            "members: the counts were drawn for other examples, or for the same in another order; examples() must "
            "return the same rows in the same order whenever it is called"
        )
    return _positional(counts, population, compared=own is not None)


def _values(members: Iterable[Any]) -> Values:
    """Return what members were given as: counts as they are, anything else as a list of its elements.

    Raises:
        EvidenceError: It has none, or is a table of several columns.
    """
    if isinstance(members, Counts):
        return members
    if hasattr(members, "columns") or not (isinstance(members, Iterable) or hasattr(members, "__getitem__")):
        raise EvidenceError(
            f"members: {type(members).__name__} is no list of them; give ids, a mask, or one column of a table"
        )
    return elements(members)


def _numbers(values: Values) -> Array | None:
    """Return a mask, counts or other whole numbers as an array; None for everything else."""
    kinds = (bool, int, np.bool_, np.integer)
    return np.asarray(values) if len(values) and all(isinstance(value, kinds) for value in values) else None


def _are_ids(values: Values, population: Population) -> bool:
    """Return whether members are ids; False for a mask and for counts.

    Raises:
        EvidenceError: They are whole numbers that may be either, or a mask that is written in whole numbers.
    """
    numbers = _numbers(values)
    if numbers is None:
        return True
    if numbers.dtype == bool or isinstance(values, Counts):
        return False
    row_of = population.rows_by_id
    known = all(str(value) in row_of for value in values)
    byte, fits = numbers.dtype == np.uint8, len(numbers) == len(population.ids)
    repeats = bool(numbers.min() >= 0) and len(np.unique(numbers)) < len(numbers)
    counts = (fits and (byte or repeats)) or (byte and not known)
    if known and counts:
        raise EvidenceError(
            f"members: these {len(numbers)} whole numbers may be ids of examples, or say for each example how often it "
            "was trained on. Give ids as strings, a mask as bool (members.astype(bool)), counts as "
            "memaudit.Counts(members)"
        )
    if counts and not byte:
        raise EvidenceError(
            f"members: {len(numbers)} whole numbers, one for each example, look like a mask or like counts; give "
            "a mask as bool (members.astype(bool)), counts as memaudit.Counts(members)"
        )
    return not counts


def _listed(values: Values, population: Population) -> list[str]:
    """Return the ids of all rows that are trained on: of a unit of documents, of each document."""
    if _are_ids(values, population):
        return [str(value) for value in values]
    counts = member_counts(values, population)
    own = population.documents.ids if isinstance(population, TextPopulation) else population.ids
    names = [*map(str, own), *map(str, population.ids[len(population) :])]
    return [name for name in names for _ in range(int(counts[population.rows_by_id[name]]))]


def _column(path: Path, lines: list[Line], count: int, kind: str) -> UInt8[Array, " ids"]:
    if len(lines) != count:
        raise EvidenceError(f"{path}: the mask has {len(lines)} rows, but the recipe has {count} examples")
    return np.array([whole(line.place, line.value, kind) for line in lines], np.uint8)


def _counts_of(lines: Sequence[Line], population: Population) -> UInt8[Array, " ids"]:
    """Return the counts of ids."""
    row_of = population.rows_by_id
    unknown = [line for line in lines if line.value not in row_of]
    if unknown:
        raise EvidenceError(
            f"{unknown[0].place}: this id is no example's, and so for {len(unknown)} of the {len(lines)} ids; "
            + _why(unknown, lines, row_of)
        )
    counts = np.zeros(len(population.ids), dtype=np.uint8)
    for name, times in Counter(line.value for line in lines).items():
        row = row_of[name]
        counts[row] = max(counts[row], min(times, MOST_COPIES))  # copies of one document are one unit
    return counts


def _why(unknown: list[Line], lines: Sequence[Line], row_of: dict[str, int]) -> str:
    """Return what may be wrong with ids that are no example's."""
    values = {line.value for line in lines}
    if len(lines) == len(row_of) and values <= {"0", "1", "0.0", "1.0", "True", "False"}:
        return "they look like a mask; give it as bool: members.astype(bool), or in a file under the heading `member`"
    if all(value.isdecimal() and value.isascii() and int(value) < len(row_of) for value in values):
        return "numbers of rows are no ids: give examples.ids[rows]"
    like = Counter(map(_plain, row_of))
    if all(like[_plain(line.value)] for line in unknown):
        return (
            "but for blanks, line ends or other invisible characters at its ends, or for the way in which accents are "
            "encoded, it is. Ids are compared exactly: write them as examples() returns them"
        )
    if len(unknown) == 1 < len(lines) and unknown[0] is lines[0] and unknown[0].place.endswith(":1"):
        return "if the first line is a heading, write it as `id`"
    if len(unknown) == len(lines):
        return "none of them is: the list is of other examples, or examples() gives them other ids"
    return "the recipe's examples() must hold the whole training set, under the same ids"


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip(" \t\r\n\v\f\xa0\u200b\u2060\ufeff\u2028\u2029'\"")


def _compared(found: Lines, population: Population) -> int:
    """Return for how many members the content is known to be that of the training.

    Raises:
        EvidenceError: An id is another example now.
    """
    if not any(line.digest for line in found.lines):
        return len(found.lines) if population.ids_are_hashes else 0
    wanted = {line.value for line in found.lines if line.digest}
    now = {name: digest(found.salt, content) for name, content in population.contents() if name in wanted}
    other = [line for line in found.lines if line.digest and now.get(line.value) != line.digest]
    if other:
        raise EvidenceError(
            f"{other[0].place}: this id is another example now than at training, and so for {len(other)} of the "
            f"{len(found.lines)} ids. The order of examples() is not stable, or its content changed: seed what is "
            "random in it, name examples by stable ids, and train the model again if it was trained on other rows than "
            "the list says"
        )
    return sum(1 for line in found.lines if line.digest)
