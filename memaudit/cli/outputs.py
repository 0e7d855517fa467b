"""`--out json=report.json,junit=report.xml,md=-`: several formats at once, each with its place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memaudit import reports
from memaudit.cli.terminal import deliver
from memaudit.errors import MemauditError, SettingsError
from memaudit.types import Report

HELP = f"FORMAT=PATH,… with - for standard output; formats: {', '.join(reports.FORMATS)}."


@dataclass(frozen=True)
class Output:
    """A format of reports.FORMATS, and the file it goes to; None is standard output."""

    name: str
    path: Path | None


def parse(values: Sequence[str]) -> tuple[tuple[Output, ...], tuple[str, ...]]:
    """Return the outputs that the values name, and those of the values that are only a path.

    A path may hold commas and equals signs: what counts is a lower-case word, an equals sign and a path, at the
    beginning or after a comma.

    Raises:
        SettingsError: A format does not exist, what should be a folder is a file, or two outputs have one place.
    """
    found: list[Output] = []
    paths: list[str] = []
    for value in values:
        for part in re.split(r",(?=[a-z]+=)", value):
            named = re.match(r"([a-z]+)=(.*)", part, re.DOTALL)
            if named is None:
                paths.append(part)
            else:
                found.append(_output(*named.groups()))
    for output, count in Counter(o.path for o in found).items():
        if count > 1:
            raise SettingsError(f"--out: two outputs cannot both go to {output or 'standard output'}")
    return tuple(found), tuple(paths)


def by_suffix(path: str) -> Output:
    """Return the output for a path whose suffix names its format.

    Raises:
        SettingsError: It names none.
    """
    name = reports.SUFFIXES.get(Path(path).suffix.lower())
    if name is None:
        raise SettingsError(
            f"{path}: the suffix names no format; use one of {', '.join(reports.SUFFIXES)}, or FORMAT={path} with one "
            f"of {', '.join(reports.FORMATS)}"
        )
    return _output(name, path)


def write(report: Report, outputs: Sequence[Output], edition: str | None = None) -> bool:
    """Return whether standard output was written to, after writing the report to its outputs and making folders.

    Without an edition, pages for people are internal and everything else is whole.

    Raises:
        MemauditError: The report cannot be rendered, or a file cannot be written.
    """
    for output in outputs:
        if output.path is not None:
            _make_folder(output.path.parent)
            reports.save(report, output.path, output.name, edition)
    for output in outputs:
        if output.path is None:
            deliver(reports.render(report, output.name, edition))
    return any(output.path is None for output in outputs)


def _output(name: str, path: str) -> Output:
    try:
        reports.renderer(name)
    except MemauditError as error:
        raise SettingsError(f"--out: {error}") from error
    if not path:
        raise SettingsError(f"--out: {name}= names no file; use - for standard output")
    place = None if path == "-" else Path(path)
    around = next((folder for folder in place.parents if folder.exists()), None) if place is not None else None
    if around is not None and not around.is_dir():
        raise SettingsError(f"--out: {path}: {around} is no folder")
    return Output(name, place)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MemauditError(f"the folder {folder} cannot be made: {error.strerror}") from error
