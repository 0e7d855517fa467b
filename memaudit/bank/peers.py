"""What other audit programs leave behind, as far as it is in safe files: one function for each.

A function returns None where the folder is not of its program.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memaudit.bank.arrays import Arrays, read_arrays
from memaudit.errors import EvidenceError

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Left:
    """What a program left: its name, its arrays, and what the numbers are."""

    program: str
    arrays: Arrays
    kind: str


def left_by_a_program(source: Path, single: dict[str, Path]) -> Left | None:
    """Return what a program of those known here left in a folder or file; None if it is of none of them.

    Args:
        source: The folder or file.
        single: Files of further arrays by name, which the program does not leave.

    Raises:
        EvidenceError: It is one, and something is missing.
    """
    found = (program(source, single) for program in PROGRAMS)
    return next((left for left in found if left is not None), None)


def privacy_meter(folder: Path, single: dict[str, Path]) -> Left | None:
    """Return what ML Privacy Meter leaves in its log folder.

    `signals/*_signals.npy` holds the probability of the true label, a column for each model, and `memberships.npy` a
    row for each model. Labels are in neither, and need not be given.
    """
    signals = sorted((folder / "signals").glob("*_signals.npy"))
    if not (folder / "memberships.npy").is_file() or not signals:
        return None
    if len(signals) > 1:
        names = ", ".join(path.name for path in signals)
        raise EvidenceError(f"{folder}/signals has several files of signals ({names}); keep only the one to import")
    own = {"outputs": signals[0], "members": folder / "memberships.npy"}
    found = read_arrays(None, own | single)
    if "outputs" not in single:
        found.values["outputs"] = np.ascontiguousarray(found["outputs"].T)
    return Left("Privacy Meter", found, "label-probabilities")


def leakpro(folder: Path, single: dict[str, Path]) -> Left | None:
    """Return what LeakPro leaves in its cache: `sm_0_…_logits.npy` with `sm_0_…_indices.npy`, for each shadow model.

    Who each model was trained on is in pickles, which run code when they are loaded: members and labels have to be
    given. Rows are put into the order of the examples' numbers.
    """
    files = {
        int(match[1]): path for path in folder.glob("sm_*_logits.npy") if (match := re.match(r"sm_(\d+)_", path.name))
    }
    if not files:
        return None
    if "members" not in single:
        raise EvidenceError(
            f"{folder} has the logits of LeakPro's {len(files)} shadow models; who they were trained on is in pickles "
            "(metadata_0.pkl, …), which run code when they are loaded. Where you trust them, write the members into an "
            "array and give it with --members:\n"
            "  indices = numpy.sort(numpy.load('sm_0_…_indices.npy'))\n"
            "  meta = [pickle.load(open(f'metadata_{i}.pkl', 'rb')) for i in range(models)]\n"
            "  numpy.save('members.npy', [numpy.isin(indices, m.train_indices) for m in meta])"
        )
    read = [_in_order(files[number]) for number in sorted(files)]
    ids = read[0][1]["ids"]
    if other := next((n for n, (_, values) in enumerate(read) if not np.array_equal(values["ids"], ids)), None):
        raise EvidenceError(f"{folder}: the logits of shadow model {other} are of other examples than those of model 0")
    given = read_arrays(None, single)
    own = {"outputs": np.stack([values["outputs"] for _, values in read]), "ids": ids}
    return Left("LeakPro", Arrays(own | given.values, _joined(*(digest for digest, _ in read), given.sha256)), "logits")


def _in_order(path: Path) -> tuple[str, dict[str, Array]]:
    """Return the digest of a model's files, and its logits in the order of the examples' numbers."""
    found = read_arrays(None, {"outputs": path, "ids": path.with_name(path.name.replace("_logits", "_indices"))})
    order = np.argsort(found["ids"], kind="stable")
    ids = np.array([str(int(number)) for number in found["ids"][order]])
    return found.sha256, {"outputs": found["outputs"][order], "ids": ids}


def sacro(path: Path, single: dict[str, Path]) -> Left | None:
    """Return the audited model's signals as SACRO-ML's likelihood-ratio attack leaves them, with `report_individual`.

    `report_arrays_…_instance_0.npz` holds for each record `individual.member`, `individual.label` and
    `individual.target_logit`, the scaled logit of the true label. The shadow models' signals are not kept.
    """
    if path.suffix != ".npz" or not path.is_file():
        return None
    found = read_arrays(path, single)
    if "individual.target_logit" not in found.values:
        return None
    own = {"outputs": "individual.target_logit", "labels": "individual.label", "members": "individual.member"}
    values = {ours: found[theirs] for ours, theirs in own.items()}
    return Left("SACRO-ML", Arrays(values, found.sha256), "scaled-logits")


def _joined(*digests: str) -> str:
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


PROGRAMS: tuple[Callable[[Path, dict[str, Path]], Left | None], ...] = (privacy_meter, leakpro, sacro)
