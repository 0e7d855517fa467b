"""Membership inference as arithmetic: signals in, one score per example out, larger meaning "more likely a member"."""

from dataclasses import replace

from memaudit.attacks.answers import Answers, References, TargetAttack
from memaudit.attacks.bavaria import Bavaria, Predictive
from memaudit.attacks.blind import blind_scores, blind_text_scores
from memaudit.attacks.calibration import Sablayrolles
from memaudit.attacks.few import BASE, REFERENCE, RMIA_OFFLINE, SLIRA
from memaudit.attacks.interface import Attack, Signal, taught
from memaudit.attacks.language import OF_DISTRIBUTION, STATISTICS, Calibrated, zlib_bytes
from memaudit.attacks.lira import Lira, Side, Variance
from memaudit.attacks.loss import GlobalThreshold
from memaudit.attacks.population import AttackP, AttackR
from memaudit.attacks.quantile import QUANTILE
from memaudit.attacks.rmia import Rmia
from memaudit.attacks.slira import Slira
from memaudit.attacks.thresholds import BY_CLASS, GLOBAL, MODIFIED_ENTROPY, of_statistic

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
BANK_ATTACKS = (*ATTACKS, *STATISTICS, "base")  # that shadow models can set the thresholds of
_WITHOUT_BANK: tuple[TargetAttack, ...] = (
    QUANTILE,
    BY_CLASS,
    MODIFIED_ENTROPY,
    GLOBAL,
    SLIRA,
    RMIA_OFFLINE,
    REFERENCE,
    BASE,
    *map(of_statistic, STATISTICS),
)
TARGET_ATTACKS: dict[str, TargetAttack] = {attack.name: attack for attack in _WITHOUT_BANK}


def attack(name: str, signal: Signal = Signal.SCALED_LOGIT) -> Attack:
    """Return an attack by its name, for signals of a unit.

    Raises:
        KeyError: There is no such attack.
    """
    found = ATTACKS[name]
    return replace(found, signal=signal) if isinstance(found, Slira | Rmia) else found


__all__ = [
    "ATTACKS",
    "BANK_ATTACKS",
    "DEFAULT",
    "OF_DISTRIBUTION",
    "STATISTICS",
    "TARGET_ATTACKS",
    "Answers",
    "Attack",
    "AttackP",
    "AttackR",
    "Bavaria",
    "Calibrated",
    "GlobalThreshold",
    "Lira",
    "References",
    "Rmia",
    "Sablayrolles",
    "Side",
    "Signal",
    "Slira",
    "TargetAttack",
    "Variance",
    "attack",
    "blind_scores",
    "blind_text_scores",
    "taught",
    "zlib_bytes",
]
