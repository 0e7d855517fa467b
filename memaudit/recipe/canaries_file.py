"""Canaries on disk: the file that holds them, and the training data that they are planted into."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from memaudit.canaries import Canary, Manifest, Survival, plant, survival
from memaudit.errors import RecipeError, SettingsError
from memaudit.recipe.documents import checked
from memaudit.recipe.record_files import RecordFile, read_records, value_of
from memaudit.recipe.rendering import Renderer, Row
from memaudit.recipe.shapes import COLUMNS, Text, in_form_of, picked, plain, typical
from memaudit.recipe.spaces import distinct_spaces

_LARGEST = 256 * 2**20  # bytes of a manifest; one of 100,000 canaries has a fifth of it
CHECKED = "checked_with"  # beside a manifest's own keys: SHA-256 of the tokenizer that the canaries suit, or null


class Line(NamedTuple):
    """A record of a file: its place, its JSON as written, its value, and its training text.

    `row` is its number in the file, None for a canary that was planted.
    """

    place: str
    line: str
    record: Any
    text: Text
    row: int | None = None


def read_canaries(path: str | Path) -> tuple[Canary, ...]:
    """Return the canaries of a file that `memaudit canary` wrote: canaries.json, or the manifest of what was planted.

    In a recipe: `Probes(canaries=read_canaries("planted.manifest.json"))`, beside documents without the canaries.

    Raises:
        SettingsError: There is no such file, or it holds no canaries, was changed, or is the public half.
    """
    return read_manifest(path).canaries


def read_manifest(path: str | Path) -> Manifest:
    """Return the manifest in a file, which has no doses and positions before the canaries are planted.

    Raises:
        SettingsError: As for `read_canaries`.
    """
    document = read_json(path)
    if isinstance(document, dict):
        document.pop(CHECKED, None)
        if "seed_commitment" in document and "seed" not in document:
            raise SettingsError(f"{path} is the public half, which holds no secrets; give the manifest itself")
    try:
        return Manifest.from_json(document)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def read_json(path: str | Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        SettingsError: There is no such file, or it is not JSON, or too much of it.
    """
    try:
        if Path(path).exists() and not Path(path).is_file():  # a device would be read for ever
            raise SettingsError(f"{path} cannot be read as JSON: it is no file")
        with Path(path).open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise SettingsError(f"{path} cannot be read as JSON: it has more than {_LARGEST // 2**20} MiB")
        return json.loads(content)
    except RecursionError as error:
        raise SettingsError(f"{path} cannot be read as JSON: it is nested too deeply") from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read as JSON: {error}") from error


def read_lines(path: Path, field: str = "text") -> list[Line]:
    """Return the records of a file of JSON objects or strings, one a line or all in one array.

    Raises:
        RecipeError: Names file and line: it is not JSON, not a document, or of another form than the first.
    """
    return lines_of(read_records(path), field)


def lines_of(file: RecordFile, field: str = "text") -> list[Line]:
    """Return the records of a file that was read.

    Raises:
        RecipeError: As for `read_lines`; or there are none.
    """
    if not file.records:
        raise RecipeError(f"{file.path} holds no records among which canaries could be planted")
    records = [value_of(record, place) for record, place in zip(file.records, file.places, strict=True)]
    picked = (_picked_one(record, field, place) for record, place in zip(records, file.places, strict=True))
    texts = checked(picked, lambda row: file.places[row])
    rows = zip(file.places, file.records, records, texts, strict=True)
    return [Line(*parts, row) for row, parts in enumerate(rows)]


def plant_lines(
    lines: Sequence[Line],
    canaries: Sequence[Canary],
    doses: Mapping[str, int],
    *,
    seed: int,
    field: str = "text",
    dumped: Callable[[Any], str] = json.dumps,
) -> tuple[list[Line], Manifest]:
    """Return the lines, as they were, with every canary among them as often as its dose says, and the manifest.

    Args:
        lines: Of one form, as `read_lines` returns them.
        canaries: As for `plant`; so are doses, seed and field.
        doses: By name.
        seed: Of the rows and the salts.
        field: The column of records that are one text each.
        dumped: Writes a record as JSON.

    Raises:
        RecipeError: A canary's prefix is in the data already.
    """
    for line in lines:
        for canary in canaries:
            if canary.prefix in plain(line.text):
                raise RecipeError(
                    f"{line.place} holds the prefix of canary {canary.name!r}; plant into data that has no canaries yet"
                )
    records, manifest = plant([line.record for line in lines], canaries, doses, seed=seed, field=field)
    at = {row: canary for canary, own in zip(canaries, manifest.positions, strict=True) for row in own}
    originals = iter(lines)

    def planted(row: int) -> Line:
        if row not in at:
            return next(originals)
        place, record = f"canary {at[row].name!r}", records[row]
        return Line(place, dumped(record), record, _picked_one(record, field, place))

    return [planted(row) for row in range(len(records))], manifest


def occurrences(lines: Sequence[Line], canaries: Sequence[Canary]) -> list[int]:
    """Return how many times each canary's text occurs in the records, from the prefix to the end of the suffix."""
    like = lines[0].text
    joint = "" if isinstance(like, str) or isinstance(like.get("prompt"), str) else "\n"
    texts = [plain(line.text) for line in lines]
    wholes = [canary.prefix + joint + canary.secret_text + canary.suffix for canary in canaries]
    return [sum(text.count(whole) for text in texts) for whole in wholes]


def planted_survival(renderer: Renderer, lines: Sequence[Line], canaries: Sequence[Canary]) -> Survival:
    """Return how often each canary occurs in the rows that the lines are rendered to, from its first token on.

    Raises:
        RecipeError: A canary is cut off, masked, or has no space in tokens, two share a prefix; or a line cannot be
            rendered.
    """
    like = typical([line.text for line in lines])

    def shaped(before: str, after: str) -> Text:
        return in_form_of(like, before, after)

    spaces = distinct_spaces(renderer, canaries, shaped)
    needles = [np.concatenate([space.prefix, space.tokens(space.secret)]) for space in spaces]
    return survival(_rows(renderer, lines), needles, [len(space.prefix) for space in spaces])


def _picked_one(record: Any, field: str, place: str) -> Any:
    """Return of a record what is trained on, if only one thing can be."""
    if isinstance(record, str):
        return record
    forms = ((field,), *COLUMNS)
    there = [" and ".join(form) for form in forms if all(record.get(column) is not None for column in form)]
    if len(there) > 1:
        raise RecipeError(f"{place} has {', and '.join(there)}: which is trained on? Drop the other, or give --field")
    return picked(record, field, place)


def _rows(renderer: Renderer, lines: Sequence[Line]) -> Iterator[Row]:
    for line in lines:
        try:
            yield from renderer.rows(line.text)
        except RecipeError as error:
            raise RecipeError(f"{line.place}: {error}") from error
