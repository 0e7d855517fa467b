"""Attacks by how much of the model the adversary sees. An attack is one file and one entry in `ACCESS_ATTACKS`."""

from memaudit.attacks.access.boundary import BoundaryDistance
from memaudit.attacks.access.direction import Merlin, Morgan
from memaudit.attacks.access.entropy import ConfidenceEntropy
from memaudit.attacks.access.gap import Gap
from memaudit.attacks.access.gmia import Gmia
from memaudit.attacks.access.interface import RECORDED, AccessAttack, Labelled, knowing
from memaudit.attacks.access.lira import (
    AUGMENTATION_LIRA,
    BOUNDARY_LIRA,
    CONFIDENCE_LIRA,
    NOISE_LIRA,
    TOP1_LIRA,
    TOP3_LIRA,
    LabelLira,
)
from memaudit.attacks.access.risk import PrivacyRisk
from memaudit.attacks.access.ties import untied
from memaudit.attacks.access.trained import AUGMENTATION, SALEM, SHOKRI, Trained
from memaudit.attacks.access.votes import NoiseVotes
from memaudit.attacks.access.white_box import Combined, GradientNorm, StolenMemories

_ALL: tuple[AccessAttack, ...] = (
    Gap(),
    LabelLira(),
    NoiseVotes(),
    NOISE_LIRA,
    AUGMENTATION,
    AUGMENTATION_LIRA,
    BoundaryDistance(),
    BOUNDARY_LIRA,
    SALEM,
    TOP1_LIRA,
    TOP3_LIRA,
    ConfidenceEntropy(),
    PrivacyRisk(),
    SHOKRI,
    Gmia(),
    Merlin(),
    Morgan(),
    CONFIDENCE_LIRA,
    GradientNorm(),
    Combined("gradients", "gradients"),
    StolenMemories(),
    Combined("last-layer", "last-layer"),
)
ACCESS_ATTACKS: dict[str, AccessAttack] = {attack.name: attack for attack in _ALL}


def needs_pairs(attack: AccessAttack) -> bool:
    """Return whether an attack learns from other examples, so that rows of `Pairs` must be pairs of models.

    Where the models are no pairs, a row has other models for other examples, and a model would be scored by what was
    learned from itself.
    """
    return isinstance(attack, Trained | Morgan | PrivacyRisk)


__all__ = ["ACCESS_ATTACKS", "RECORDED", "AccessAttack", "Labelled", "PrivacyRisk", "knowing", "needs_pairs", "untied"]
