"""The per-example evidence: how exposed each example is. It is personal data and has its own file."""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from memaudit.attacks import DEFAULT
from memaudit.auditing.flags import flag_column
from memaudit.cells import neutral
from memaudit.checks import ClassifierEvidence, Evidence, TargetEvidence, TextEvidence
from memaudit.checks.attacked import Attacked
from memaudit.checks.noisy_labels import suspected_labels
from memaudit.checks.risk import risks
from memaudit.checks.tail import lacking
from memaudit.errors import BankError
from memaudit.files import write_first
from memaudit.recipe import Population
from memaudit.stats import right_without
from memaudit.types import Estimate, Exposed

Array = np.ndarray

FILE = "evidence.csv"
_SHOWN = 20
_KEY_FILE, _KEY_BYTES = "evidence.key", 32


class EvidenceLevel(StrEnum):
    """How examples are named: not at all, by a keyed hash, by their ids, or by their ids and with what they are."""

    NONE = "none"
    HASHED = "hashed"
    IDS = "ids"
    FULL = "full"


class Key:
    """A bank's secret, which is in the bank and never in a report; of a report it says who holds the same key.

    Who holds it can tell which id a hash in the evidence belongs to, and show which examples an audit was about. To
    everybody else hashes and commitments say nothing, not even to somebody who knows an example and looks for it. It
    stays the same for a bank, so that two audits can be compared.
    """

    def __init__(self, bank: Path, make: bool = True, ledger: Path | None = None):
        """Read a bank's key. If there is none, it is made, and readable by its owner alone.

        Args:
            bank: The bank's folder.
            make: Whether it may be made.
            ledger: The key of this ledger replaces that of a bank which has none and cannot be written.

        Raises:
            BankError: It is damaged, or missing and must not be made, or can be written in neither place.
        """
        path = bank / _KEY_FILE
        if ledger is not None and not path.exists() and not (make and os.access(bank, os.W_OK)):
            path = _beside(ledger)
        self._key = _key(path, make)

    @staticmethod
    def made(bank: Path, ledger: Path | None = None) -> bool:
        """Return whether a bank has a key, and so was audited or planned with; a ledger's may replace it, as above."""
        if (bank / _KEY_FILE).exists():
            return True
        return ledger is not None and not os.access(bank, os.W_OK) and _beside(ledger).exists()

    @property
    def name(self) -> str:
        """What this key is called in reports; another key is called otherwise."""
        return self._mac("key", b"")[:16]

    def hashed(self, identifier: str) -> str:
        """Return what an example is called where its id is not shown: 64 bits in hexadecimal."""
        return self._mac("id", identifier.encode("utf-8", "surrogatepass"))[:16]

    def commitments(self, population: Population, counts: UInt8[Array, " ids"] | None = None) -> dict[str, str]:
        """Return what binds a report to its data without showing them: to the examples, and to who was trained on.

        `commitment.examples` is an HMAC-SHA-256 over ids and contents in their order, `commitment.members` one over
        that and `counts`, how often each example was trained on.
        """
        ids = json.dumps([str(i) for i in population.ids]).encode()
        examples = self._mac("examples", population.digest().encode() + hashlib.sha256(ids).digest())
        if counts is None:
            return {"commitment.examples": examples}
        members = self._mac("members", examples.encode() + counts.astype(np.uint8).tobytes())
        return {"commitment.examples": examples, "commitment.members": members}

    def _mac(self, purpose: str, content: bytes) -> str:
        # The purpose comes first, so that no hash of one kind can be passed off as one of another.
        return hmac.new(self._key, f"memaudit {purpose}\0".encode() + content, "sha256").hexdigest()


class LedgerKey(Key):
    """A ledger's secret, in a file beside it: it stays the same when banks change, so that data are recognized."""

    def __init__(self, ledger: Path):
        """Read a ledger's key, or makes it.

        Raises:
            BankError: It is damaged, or cannot be written.
        """
        self._key = _key(_beside(ledger), make=True)


def identifiers(ids: Iterable[str], level: EvidenceLevel, key: Key) -> list[str]:
    """Return what examples are called in evidence: their ids, or keyed hashes of them."""
    named = level in (EvidenceLevel.IDS, EvidenceLevel.FULL)
    return [str(i) if named else key.hashed(str(i)) for i in ids]


def table(evidence: Evidence, names: Sequence[str], full: bool = False) -> bytes:
    """Return the evidence as CSV, one row per example: member, score, flagged, memorization, margin.

    Where examples have labels, `label_suspicion` is larger the more models without the example contradict its label,
    and `c_score` is the accuracy of these models: larger = more typical.
    There is a column of flags for each attack and each rate that the target's non-members can resolve. A flag does not
    have that rate as its probability of error: for the default attack, `shadows_flagged…` is the share of the shadow
    models without the example in which the same threshold flags it, its own false-positive rate; of a very large bank
    the cell is empty where the shadows were not scored on the example. `risk` is the
    probability of membership given the score, `p_value` that of such a score without it, `q_value` the least
    false-discovery rate at which the record is identified (see MIA026). With `full`,
    the column `content` holds the text, or of the most exposed members the picture as a data URI, as a JSON string:
    that takes one line, and no spreadsheet reads it as a formula. Tables of numbers have no such column. An id that a
    spreadsheet would read as a formula has an apostrophe in front. `influences` is the other example whose accuracy an
    example raises most, `influence` by how much; the two columns are there if any influence is beyond chance.
    """
    attacks = dict.fromkeys([DEFAULT.name, *evidence.with_bank])
    rates = evidence.resolved_fprs
    flags = {flag_column(fpr, a): evidence.attacked(a).flagged(fpr) for a in attacks for fpr in rates}
    flags |= _flags_without_bank(evidence)
    default = evidence.attacked(DEFAULT.name)
    own = {f"shadows_{flag_column(fpr, DEFAULT.name)}": _own_rates(default, fpr) for fpr in rates}
    scores, margins = evidence.memorization, evidence.margin
    contents = _contents(evidence) if full else []
    columns: dict[str, Sequence[str] | Shaped[Array, " examples"]] = {
        "id": list(map(neutral, names)),
        "member": evidence.members.astype(int),
        "attack_score": evidence.attacked(DEFAULT.name).target,
        **{name: flag.astype(int) for name, flag in flags.items()},
        **own,
        **_risk(evidence),
        "memorization": scores.value,
        "memorization_low": scores.low,
        "memorization_high": scores.high,
        "margin_shift": margins.shift,
        "margin_separation": margins.separation,
        **(_influence(evidence, names) if isinstance(evidence, ClassifierEvidence) else {}),
        **(_of_labels(evidence) if isinstance(evidence, ClassifierEvidence) and evidence.has_labels else {}),
        **({"content": contents} if any(contents) else {}),
    }
    return _csv(columns, names)


def _own_rates(attacked: Attacked, fpr: float) -> Sequence[str] | Float[Array, " examples"]:
    """Return each example's own false-positive rate; empty cells where the shadows were not scored on it."""
    rates = attacked.shadows_flagged(fpr)[1].mean(axis=0)
    if attacked.step == 1:
        return rates
    cells = [""] * len(attacked.target)
    cells[:: attacked.step] = map(_cell, rates.tolist())
    return cells


def _influence(evidence: ClassifierEvidence, names: Sequence[str]) -> dict[str, list[str]]:
    """Return whom each example influences most, by name, and how much; empty cells where nothing is beyond chance."""
    if lacking(evidence) is not None:
        return {}
    found = evidence.influences
    whom, value = [""] * len(names), [""] * len(names)
    for k in np.argsort(found.value, kind="stable"):  # so that the largest is the last to be written
        row = evidence.every[found.training[k]]
        whom[row], value[row] = neutral(names[evidence.every[found.measured[k]]]), _cell(float(found.value[k]))
    return {"influences": whom, "influence": value} if len(found.value) else {}


def _of_labels(evidence: ClassifierEvidence) -> dict[str, Float[Array, " examples"]]:
    """Return what models without each example say of its label."""
    right, models = right_without(evidence.bank.correct, evidence.bank.members)
    return {"label_suspicion": suspected_labels(evidence)[1], "c_score": right / models}


def _risk(evidence: Evidence) -> dict[str, Shaped[Array, " examples"]]:
    found = risks(evidence)
    return {"risk": found.probability, "p_value": found.p, "q_value": found.q}


def _csv(columns: Mapping[str, Sequence[str] | Shaped[Array, " examples"]], names: Sequence[str]) -> bytes:
    data = io.BytesIO()
    file = io.TextIOWrapper(data, "utf-8", "backslashreplace", newline="", write_through=True)
    odd = any(set(name) & set(";\t") for name in names)  # where people write decimal commas, ; parts cells
    rows = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL)
    rows.writerow(columns)
    rows.writerows([_cell(v) for v in row] for row in zip(*columns.values(), strict=True))
    file.flush()
    return data.getvalue()


def flags_table(evidence: TargetEvidence, names: Sequence[str]) -> bytes:
    """Return the evidence of an audit without a bank as CSV: who is a member, and flagged by which attack.

    Nothing ranks single examples: without shadow models an example that is easy looks like one that is memorized.
    """
    flags = _flags_without_bank(evidence)
    members = {"member": evidence.members.astype(int)}
    return _csv({"id": list(map(neutral, names)), **members, **{n: f.astype(int) for n, f in flags.items()}}, names)


def _flags_without_bank(evidence: TargetEvidence) -> dict[str, Shaped[Array, " examples"]]:
    """Return which examples each attack flags whose thresholds the target's non-members set, by column."""
    return {
        flag_column(fpr, name): evidence.scores(name) > evidence.held_out(name, fpr).threshold
        for name in evidence.without_bank
        if not evidence.lacks(name)
        for fpr in evidence.resolved_fprs
    }


def most_exposed(evidence: Evidence, names: Sequence[str], pictures: bool) -> tuple[Exposed, ...]:
    """Return the members with the highest attack scores, with a picture each where asked for and possible."""
    score, scores = evidence.attacked(DEFAULT.name).target, evidence.memorization
    return tuple(
        Exposed(
            identifier=names[i],
            label=evidence.label(int(i), pictures),
            member=True,
            score=float(score[i]),
            memorization=Estimate(
                value=float(scores.value[i]),
                low=float(scores.low[i]),
                high=float(scores.high[i]),
                unit="share",
                method=scores.method,
            ),
            margin=float(evidence.margin.shift[i]),
            thumbnail=_thumbnail(evidence.x[i]) if pictures and isinstance(evidence, ClassifierEvidence) else "",
        )
        for i in _top(evidence)
    )


def _top(evidence: Evidence) -> Shaped[Array, " shown"]:
    score, members = evidence.attacked(DEFAULT.name).target, np.flatnonzero(evidence.members)
    return members[np.argsort(-score[members], kind="stable")][:_SHOWN]


def _contents(evidence: Evidence) -> list[str]:
    """Return what examples are, as JSON strings: all texts, or the pictures of the most exposed; otherwise empty."""
    contents = list(evidence.strings) if isinstance(evidence, TextEvidence) else [""] * len(evidence.members)
    if isinstance(evidence, ClassifierEvidence):
        for i in _top(evidence):
            contents[i] = _thumbnail(evidence.x[i])
    return [json.dumps(content) if content else "" for content in contents]


def _beside(ledger: Path) -> Path:
    return ledger.with_suffix(".key")


def _key(path: Path, make: bool) -> bytes:
    try:
        if make and not path.exists():
            write_first(path, secrets.token_hex(_KEY_BYTES).encode())
        key = bytes.fromhex(path.read_text("ascii"))
    except (OSError, ValueError) as error:
        raise BankError(
            f"the key of hashes and commitments, {path}, cannot be read or made: {error}. The first audit with a "
            "bank makes it: it must be able to write into the bank or beside the ledger of audits (--ledger FILE)"
        ) from error
    if len(key) != _KEY_BYTES:
        raise BankError(f"{path} is damaged: it holds no key of {_KEY_BYTES} bytes; remove it and a new one is made")
    return key


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _thumbnail(x: Shaped[Array, "..."]) -> str:
    """Return an image as a PNG data URI; empty if the input has not the shape of an image."""
    import base64

    from matplotlib.image import imsave

    image = np.moveaxis(x, 0, -1) if x.ndim == 3 and x.shape[0] in (1, 3) else x
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[-1] != 3) or min(image.shape[:2]) < 4:
        return ""
    spread = float(np.ptp(image)) or 1.0
    file = io.BytesIO()
    imsave(file, (image - image.min()) / spread, format="png", cmap="gray")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
