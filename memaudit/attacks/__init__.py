"""Membership inference as arithmetic: signals in, one score per example out, larger meaning "more likely a member"."""

from memaudit.attacks.blind import blind_scores
from memaudit.attacks.interface import Attack
from memaudit.attacks.lira import Lira, Side, Variance
from memaudit.attacks.loss import GlobalThreshold

DEFAULT = Lira()
_ALL: tuple[Attack, ...] = (*(Lira(side, variance) for side in Side for variance in Variance), GlobalThreshold())
ATTACKS: dict[str, Attack] = {attack.name: attack for attack in _ALL}

__all__ = ["ATTACKS", "DEFAULT", "Attack", "GlobalThreshold", "Lira", "Side", "Variance", "blind_scores"]
