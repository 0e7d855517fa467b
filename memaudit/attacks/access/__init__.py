"""Attacks by how much of the model the adversary sees. An attack is one file and one entry in `ACCESS_ATTACKS`."""

from memaudit.attacks.access.entropy import ConfidenceEntropy
from memaudit.attacks.access.gap import Gap
from memaudit.attacks.access.interface import RECORDED, AccessAttack, Labelled, knowing
from memaudit.attacks.access.ties import untied

ACCESS_ATTACKS: dict[str, AccessAttack] = {attack.name: attack for attack in (Gap(), ConfidenceEntropy())}

__all__ = ["ACCESS_ATTACKS", "RECORDED", "AccessAttack", "ConfidenceEntropy", "Gap", "Labelled", "knowing", "untied"]
