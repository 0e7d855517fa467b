"""CTL008: are the members the whole training set?"""

from __future__ import annotations

from memaudit.checks.evidence import ControlCheck, TargetEvidence
from memaudit.types import Control, Table


def _whole(evidence: TargetEvidence) -> Control:
    """Training set: are the members the whole training set?

    Leaving identified members out of the list and the examples makes a model look safer, and no shadow model reveals
    it. A data manifest, written by the data owner, states the number of training rows and a digest of their
    contents. The control compares both with the members among the examples, and fails on any difference.

    Source: the manifest alone; its value depends on who may write it.
    """
    assert evidence.manifest is not None
    stated, found = evidence.manifest
    passed = stated == found
    if passed:
        sentence = f"The {found.rows} training rows among the examples match the data manifest."
    elif stated.rows != found.rows:
        sentence = (
            f"The data manifest states {stated.rows} training rows, but {found.rows} are among the examples: members "
            "may have been left out, or others listed. Audit the model with its whole training set."
        )
    else:
        sentence = (
            f"The {found.rows} training rows among the examples do not match the data manifest: the digests differ. "
            "Audit the model with its whole training set."
        )
    rows = tuple((name, part.rows, part.sha256[:16]) for name, part in (("stated", stated), ("found", found)))
    return Control(
        code="CTL008",
        title="Training set: the members are all of it",
        passed=passed,
        sentence=sentence,
        source="data manifest",
        tables=(Table(title="Training rows", columns=("", "Rows", "SHA-256"), rows=rows),),
    )


training_set_check = ControlCheck(
    "CTL008", "Training set", _whole, TargetEvidence, wanted=lambda evidence: evidence.manifest is not None
)
