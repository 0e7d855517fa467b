"""Membership inference as arithmetic: signals in, one score per example out, larger meaning "more likely a member"."""

from dataclasses import replace

from memaudit.attacks.bavaria import Bavaria, Predictive
from memaudit.attacks.blind import blind_scores, blind_text_scores
from memaudit.attacks.calibration import Sablayrolles
from memaudit.attacks.interface import Attack, Signal, taught
from memaudit.attacks.language import OF_DISTRIBUTION, STATISTICS, Calibrated, zlib_bytes
from memaudit.attacks.lira import Lira, Side, Variance
from memaudit.attacks.loss import GlobalThreshold
from memaudit.attacks.population import AttackP, AttackR
from memaudit.attacks.rmia import Rmia
from memaudit.attacks.slira import Slira

DEFAULT = Slira()
_ALL: tuple[Attack, ...] = (
    DEFAULT,
    *(Lira(side, variance) for side in Side for variance in Variance),
    Rmia(),
    Rmia(offline=True),
    *(Bavaria(predictive) for predictive in Predictive),
    Calibrated(),
    Sablayrolles(),
    AttackP(),
    AttackR(),
    GlobalThreshold(),
)
ATTACKS: dict[str, Attack] = {attack.name: attack for attack in _ALL}


def attack(name: str, signal: Signal = Signal.SCALED_LOGIT) -> Attack:
    """Return an attack by its name, for signals of a unit.

    Raises:
        KeyError: There is no such attack.
    """
    found = ATTACKS[name]
    return replace(found, signal=signal) if isinstance(found, Slira | Rmia) else found


__all__ = [
    "ATTACKS",
    "DEFAULT",
    "OF_DISTRIBUTION",
    "STATISTICS",
    "Attack",
    "AttackP",
    "AttackR",
    "Bavaria",
    "Calibrated",
    "GlobalThreshold",
    "Lira",
    "Rmia",
    "Sablayrolles",
    "Side",
    "Signal",
    "Slira",
    "Variance",
    "attack",
    "blind_scores",
    "blind_text_scores",
    "taught",
    "zlib_bytes",
]
