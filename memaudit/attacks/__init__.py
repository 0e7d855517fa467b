"""Membership inference as arithmetic: signals in, one score per example out, larger meaning "more likely a member"."""

from memaudit.attacks.blind import blind_scores, blind_text_scores
from memaudit.attacks.interface import Attack
from memaudit.attacks.language import STATISTICS, Calibrated, zlib_bytes
from memaudit.attacks.lira import Lira, Side, Variance
from memaudit.attacks.loss import GlobalThreshold

DEFAULT = Lira()
_ALL: tuple[Attack, ...] = (
    *(Lira(side, variance) for side in Side for variance in Variance),
    Calibrated(),
    GlobalThreshold(),
)
ATTACKS: dict[str, Attack] = {attack.name: attack for attack in _ALL}

__all__ = [
    "ATTACKS",
    "DEFAULT",
    "STATISTICS",
    "Attack",
    "Calibrated",
    "GlobalThreshold",
    "Lira",
    "Side",
    "Variance",
    "blind_scores",
    "blind_text_scores",
    "zlib_bytes",
]
