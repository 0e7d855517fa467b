"""The per-example evidence: who is how exposed. It is personal data and goes to a file of its own."""

from __future__ import annotations

import csv
import hmac
import io
import secrets
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from memaudit.attacks import DEFAULT
from memaudit.checks import ClassifierEvidence, Evidence
from memaudit.errors import BankError
from memaudit.files import write_first
from memaudit.types import Estimate, Exposed

Array = np.ndarray

_SHOWN = 20
_KEY_FILE, _KEY_BYTES = "evidence.key", 32


class EvidenceLevel(StrEnum):
    """How examples are named: not at all, by a keyed hash, or by their ids and with thumbnails."""

    NONE = "none"
    HASHED = "hashed"
    FULL = "full"


def identifiers(ids: Iterable[str], level: EvidenceLevel, bank: Path) -> list[str]:
    """Returns what examples are called in evidence: their ids, or keyed hashes of them.

    The key lies in the bank, not in the report; who holds it can tell which id a hash stands for, nobody else can.
    It stays the same for a bank, so that two audits can be compared.
    """
    if level is EvidenceLevel.FULL:
        return [str(i) for i in ids]
    key = _key(bank / _KEY_FILE)
    return [hmac.new(key, str(i).encode(), "sha256").hexdigest()[:16] for i in ids]


def table(evidence: Evidence, names: Sequence[str]) -> bytes:
    """Returns the evidence as CSV, one row per example: member, score, flagged, memorization, margin.

    There is a column of flags for each rate that the target's non-members can resolve.
    """
    attacked = evidence.attacked(DEFAULT.name)
    flags = {f"flagged_at_{fpr:g}": attacked.flagged(fpr) for fpr in evidence.resolved_fprs}
    scores, margins = evidence.memorization, evidence.margin
    columns: dict[str, Sequence[str] | Shaped[Array, " examples"]] = {
        "id": names,
        "member": evidence.members.astype(int),
        "attack_score": attacked.target,
        **{name: flag.astype(int) for name, flag in flags.items()},
        "memorization": scores.value,
        "memorization_se": scores.se,
        "memorization_low": scores.low,
        "memorization_high": scores.high,
        "margin_shift": margins.shift,
        "margin_separation": margins.separation,
    }
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows([_cell(v) for v in row] for row in zip(*columns.values(), strict=True))
    return file.getvalue().encode()


def most_exposed(evidence: Evidence, names: Sequence[str], pictures: bool) -> tuple[Exposed, ...]:
    """Returns the members with the highest attack scores, with a picture each where asked for and possible."""
    score = evidence.attacked(DEFAULT.name).target
    members = np.flatnonzero(evidence.members)
    top = members[np.argsort(-score[members], kind="stable")][:_SHOWN]
    scores = evidence.memorization
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
                method="Newcombe–Wilson",
            ),
            margin=float(evidence.margin.shift[i]),
            thumbnail=_thumbnail(evidence.x[i]) if pictures and isinstance(evidence, ClassifierEvidence) else "",
        )
        for i in top
    )


def _key(path: Path) -> bytes:
    """Returns the bank's key, made on first use and readable by its owner alone."""
    try:
        if not path.exists():
            write_first(path, secrets.token_hex(_KEY_BYTES).encode(), 0o600)
        key = bytes.fromhex(path.read_text("ascii"))
    except (OSError, ValueError) as error:
        raise BankError(f"the key of the hashes, {path}, cannot be had: {error}; try --evidence none") from error
    if len(key) != _KEY_BYTES:
        raise BankError(f"{path} is damaged: it holds no key of {_KEY_BYTES} bytes; remove it and a new one is made")
    return key


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _thumbnail(x: Shaped[Array, "..."]) -> str:
    """Returns an image as a PNG data URI; empty if the input has not the shape of an image."""
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
