"""Attacks by how much of the model the adversary sees. An attack is one file and one entry in `ACCESS_ATTACKS`."""

from memaudit.attacks.access.entropy import ConfidenceEntropy
from memaudit.attacks.access.gap import Gap
from memaudit.attacks.access.interface import RECORDED, AccessAttack, Labelled, knowing
from memaudit.attacks.access.ties import untied
from memaudit.attacks.access.white_box import Combined, GradientNorm, StolenMemories

WHITE_BOX: tuple[AccessAttack, ...] = (
    GradientNorm(),
    Combined("gradients", "gradients"),
    StolenMemories(),
    Combined("last-layer", "last-layer"),
)
ACCESS_ATTACKS: dict[str, AccessAttack] = {attack.name: attack for attack in (Gap(), ConfidenceEntropy(), *WHITE_BOX)}

__all__ = ["ACCESS_ATTACKS", "RECORDED", "AccessAttack", "ConfidenceEntropy", "Gap", "Labelled", "knowing", "untied"]
