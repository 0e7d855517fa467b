"""Memorization proxies: numbers per example that are cheaper than memorization, larger = more memorized."""

from memaudit.memorization.proxies.accuracy import APB, APB_BATCH
from memaudit.memorization.proxies.confidence import FINAL_CONFIDENCE, MEAN_CONFIDENCE
from memaudit.memorization.proxies.curvature import CURVATURE
from memaudit.memorization.proxies.distances import DISTANCE, ISOLATION
from memaudit.memorization.proxies.entropy import FINAL_ENTROPY, MEAN_ENTROPY
from memaudit.memorization.proxies.error_norm import EL2N, EL2N_EARLY
from memaudit.memorization.proxies.events import FORGETTING, FSLT, LEARNING, forgetting, learned_for_good, learning
from memaudit.memorization.proxies.gradients import CSG, GRADIENT, GRAND
from memaudit.memorization.proxies.interface import Data, Of, Others, Proxy
from memaudit.memorization.proxies.losses import CSL, FINAL_LOSS, LT_IQR
from memaudit.memorization.proxies.others import C_SCORE, DISAGREEMENT, OTHERS_CONFIDENCE, PVI
from memaudit.plugins import with_plugins

PROXIES = (
    APB,
    APB_BATCH,
    MEAN_CONFIDENCE,
    FINAL_CONFIDENCE,
    CSL,
    FINAL_LOSS,
    LT_IQR,
    MEAN_ENTROPY,
    FINAL_ENTROPY,
    EL2N,
    EL2N_EARLY,
    FORGETTING,
    LEARNING,
    FSLT,
    GRAND,
    GRADIENT,
    CSG,
    CURVATURE,
    C_SCORE,
    DISAGREEMENT,
    OTHERS_CONFIDENCE,
    PVI,
    DISTANCE,
    ISOLATION,
)


def all_proxies() -> tuple[Proxy, ...]:
    """Return the built-in proxies, then those of installed packages, which name theirs as entry points.

        [project.entry-points."memaudit.proxies"]
        anything = "their_package.module:PROXY"

    Raises:
        SettingsError: An entry point is no Proxy, or has a name that is taken.
    """
    return with_plugins("memaudit.proxies", Proxy, PROXIES, lambda proxy: proxy.name, "is called")


__all__ = [
    "PROXIES",
    "Data",
    "Of",
    "Others",
    "Proxy",
    "all_proxies",
    "forgetting",
    "learned_for_good",
    "learning",
]
