"""Memorization proxies: numbers per example that are cheaper than memorization, larger = more memorized."""

from importlib.metadata import entry_points

from memaudit.errors import SettingsError
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
    found = {proxy.name: proxy for proxy in PROXIES}
    for point in sorted(entry_points(group="memaudit.proxies"), key=lambda point: point.name):
        proxy = point.load()
        if not isinstance(proxy, Proxy):
            raise SettingsError(f"the plug-in {point.value} is a {type(proxy).__name__}, not a Proxy")
        if proxy.name in found:
            raise SettingsError(f"the plug-in {point.value} is called {proxy.name!r}, which is taken")
        found[proxy.name] = proxy
    return tuple(found.values())


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
