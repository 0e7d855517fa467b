"""A data manifest: how large a training set is and what it holds, as stated by the data owner."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from memaudit.errors import EvidenceError
from memaudit.files import write_whole
from memaudit.recipe.documents import Documents
from memaudit.recipe.examples import Examples
from memaudit.recipe.population import TextPopulation
from memaudit.recipe.populations import Population

Array = np.ndarray

SCHEMA = "memaudit.manifest/1"


class Manifest(NamedTuple):
    """The number of rows of a training set, and a SHA-256 over their contents in an order that depends on them alone.

    Ids do not count. The digest says nothing about a row to anybody who does not know all others.
    """

    rows: int
    sha256: str


def write_manifest(path: str | Path, examples: Examples | Documents) -> None:
    """Write the manifest of a whole training set. The data owner should do it, not the person who trains the model."""
    found = _manifest((content, 1) for _, content in examples.contents())
    write_whole(Path(path), json.dumps({"schema": SCHEMA, **found._asdict()}, indent=2).encode() + b"\n")


def read_manifest(path: str | Path) -> Manifest:
    """Return a manifest.

    Raises:
        EvidenceError: There is none, or it is damaged.
    """
    try:
        content = json.loads(Path(path).read_bytes())
        if content["schema"] != SCHEMA:
            raise EvidenceError(f"{path} has the format {content['schema']!r}; this version reads {SCHEMA}")
        found = Manifest(content["rows"], content["sha256"])
    except OSError as error:
        raise EvidenceError(f"the data manifest {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EvidenceError(f"{path} is not a data manifest; memaudit.write_manifest writes one") from error
    if type(found.rows) is not int or found.rows < 0 or not isinstance(found.sha256, str):
        raise EvidenceError(f"{path}: a data manifest has a number of rows and a sha256")
    return found


def manifest_of(population: Population, counts: UInt8[Array, " ids"]) -> Manifest:
    """Return the manifest of the members of a population, canaries left out: those are memaudit's, not the data's."""
    if isinstance(population, TextPopulation):
        times = counts[population.documents.unit_of]
        contents = population.documents.contents()
    else:
        times, contents = counts, population.contents()
    return _manifest((content, int(n)) for (_, content), n in zip(contents, times, strict=True))


def _manifest(rows: Iterable[tuple[bytes, int]]) -> Manifest:
    hashes = sorted(hashed for content, n in rows if n for hashed in [hashlib.sha256(content).digest()] * n)
    return Manifest(len(hashes), hashlib.sha256(b"".join(hashes)).hexdigest())
