"""The checks: each maps the evidence to findings, and its docstring is what `memaudit explain` prints."""

from memaudit.checks.access import ACCESS
from memaudit.checks.attacked import Attacked
from memaudit.checks.attribute import attribute_check
from memaudit.checks.classifier import ClassifierEvidence, ClassifierTargetEvidence
from memaudit.checks.classifier_canaries import classifier_canaries_check
from memaudit.checks.controls import BLIND, CONTROLS
from memaudit.checks.counterfactual import counterfactual_check, epoch_check
from memaudit.checks.discoverable import discoverable_check
from memaudit.checks.dp import DP
from memaudit.checks.evidence import Check, ControlCheck, Evidence, TargetEvidence
from memaudit.checks.exact import exact_check
from memaudit.checks.exposure import detection_check, exposure_check
from memaudit.checks.extraction_link import extraction_link_check
from memaudit.checks.facts import Attribute, Poisoned, RedrawnLabels, Release
from memaudit.checks.fidelity import fidelity_check
from memaudit.checks.generated_images import GENERATORS
from memaudit.checks.generation import generation_check
from memaudit.checks.held_out import held_out_check
from memaudit.checks.known import known_check
from memaudit.checks.ladder import out_of_reach
from memaudit.checks.learned import learning_check
from memaudit.checks.link import link_check
from memaudit.checks.membership import MEMBERSHIP
from memaudit.checks.memorized import memorization_check
from memaudit.checks.noisy_labels import contradicted_check
from memaudit.checks.own_secrets import own_secrets_check
from memaudit.checks.poisoned import poisoned_check
from memaudit.checks.probabilistic import probabilistic_check
from memaudit.checks.proxies import proxies_check
from memaudit.checks.risk import risk_check
from memaudit.checks.search import search_check
from memaudit.checks.snapshots import snapshots_check
from memaudit.checks.subgroups import subgroups_check
from memaudit.checks.tail import influence_check
from memaudit.checks.text import TextEvidence, TextTargetEvidence
from memaudit.checks.traced import information_check, traceability_check
from memaudit.plugins import with_plugins
from memaudit.reports.text import percent

CHECKS: tuple[Check, ...] = (
    *MEMBERSHIP,
    held_out_check,
    traceability_check,
    information_check,
    risk_check,
    subgroups_check,
    attribute_check,
    snapshots_check,
    poisoned_check,
    *ACCESS,
    memorization_check,
    known_check,
    counterfactual_check,
    epoch_check,
    influence_check,
    contradicted_check,
    proxies_check,
    learning_check,
    link_check,
    exposure_check,
    detection_check,
    own_secrets_check,
    exact_check,
    classifier_canaries_check,
    *DP,
    discoverable_check,
    probabilistic_check,
    extraction_link_check,
    search_check,
    generation_check,
    *GENERATORS,
)


def all_checks() -> tuple[Check, ...]:
    """Return the built-in checks, then those of installed packages, which name theirs as entry points.

        [project.entry-points."memaudit.checks"]
        anything = "their_package.module:check"

    Raises:
        SettingsError: An entry point is no Check, or has a code that is taken.
    """
    return with_plugins("memaudit.checks", Check, CHECKS, lambda check: check.code, "has the code")


def by_code() -> dict[str, tuple[Check | ControlCheck, ...]]:
    """Return the checks and controls of each code: two where a control is another one without a bank."""
    found: dict[str, tuple[Check | ControlCheck, ...]] = {}
    every: tuple[Check | ControlCheck, ...] = (*all_checks(), *CONTROLS)
    for check in every:
        found[check.code] = (*found.get(check.code, ()), check)
    return found


__all__ = [
    "BLIND",
    "CHECKS",
    "CONTROLS",
    "Attacked",
    "Attribute",
    "Check",
    "ClassifierEvidence",
    "ClassifierTargetEvidence",
    "ControlCheck",
    "Evidence",
    "Poisoned",
    "RedrawnLabels",
    "Release",
    "TargetEvidence",
    "TextEvidence",
    "TextTargetEvidence",
    "all_checks",
    "by_code",
    "fidelity_check",
    "out_of_reach",
    "percent",
]
