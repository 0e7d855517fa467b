"""An attack that needs no bank, made on every model of one, so that its threshold comes from shadow models, too."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np

from memaudit.attacks import TARGET_ATTACKS, Attack
from memaudit.checks.attacked import Attacked
from memaudit.checks.classifier import ClassifierEvidence
from memaudit.design import by_pair

Array = np.ndarray


def by_own_nonmembers(evidence: ClassifierEvidence, name: str) -> Attacked | None:
    """Return the scores of the target and of every shadow model, each by what was fitted to its own non-members.

    The adversary has data that the attacked model was not trained on. Of these, an example is scored by what was fitted
    to the others. None where the attack does not fit, or the shadow models are no complementary pairs.
    """
    attack, answers = TARGET_ATTACKS[name], evidence.answers
    if evidence.matched is not None or not attack.fits(answers):
        return None
    members = evidence.bank.members > 0
    sides = evidence.bank.block(slice(0, evidence.bank.shape[1]))
    inside, outside = (side.mean(axis=2, dtype=np.float64) for side in sides)
    scores = np.stack(
        [
            attack.score(replace(answers, phi=np.where(own, inside[model // 2], outside[model // 2]), members=own))
            for model, own in enumerate(members)
        ]
    )
    seen = slice(None, None, evidence.step)
    sides = by_pair(scores[:, seen], evidence.bank.members[:, seen])
    return Attacked(cast(Attack, attack), attack.score(answers), *sides, step=evidence.step)
