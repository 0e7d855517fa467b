"""What attacks are called, by the metrics of their results, and what they need."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Access(StrEnum):
    """What an attack needs beside the data, from little to much."""

    OUTPUTS = "model outputs"
    SHADOWS = "shadow models"
    BASE = "weights or base model"


@dataclass(frozen=True, slots=True)
class KnownAttack:
    """What people call an attack, and what it needs."""

    title: str
    access: Access = Access.SHADOWS


ATTACKS_BY_METRIC = {  # what a limit on a metric can name
    "tpr": {
        "slira": KnownAttack("SLiRA"),
        "lira-online": KnownAttack("LiRA (online)"),
        "lira-online-per-example": KnownAttack("LiRA (online, per-example variance)"),
        "lira-online-pooled": KnownAttack("LiRA (online, pooled variance)"),
        "lira-online-reference": KnownAttack("LiRA (online, reference code)"),
        "lira-online-reference-fixed": KnownAttack("LiRA (online, reference code, fixed variance)"),
        "lira-offline": KnownAttack("LiRA (offline)"),
        "lira-offline-per-example": KnownAttack("LiRA (offline, per-example variance)"),
        "lira-offline-pooled": KnownAttack("LiRA (offline, pooled variance)"),
        "lira-offline-reference": KnownAttack("LiRA (offline, reference code)"),
        "lira-offline-reference-fixed": KnownAttack("LiRA (offline, reference code, fixed variance)"),
        "rmia": KnownAttack("RMIA (online)"),
        "rmia-offline": KnownAttack("RMIA (offline)"),
        "bavaria-t": KnownAttack("BaVarIA-t"),
        "bavaria-n": KnownAttack("BaVarIA-n"),
        "reference": KnownAttack("Reference-calibrated loss"),
        "sablayrolles": KnownAttack("Sablayrolles (per-example threshold)"),
        "attack-p": KnownAttack("Attack P", Access.OUTPUTS),
        "attack-r": KnownAttack("Attack R"),
        "global-threshold": KnownAttack("Loss threshold", Access.OUTPUTS),
        "zlib": KnownAttack("Loss / zlib", Access.OUTPUTS),
        "min-k": KnownAttack("Min-K% Prob", Access.OUTPUTS),
        "min-k++": KnownAttack("Min-K%++", Access.OUTPUTS),
        "base": KnownAttack("Base-calibrated loss", Access.BASE),
        "class-threshold": KnownAttack("Confidence threshold per class", Access.OUTPUTS),
        "modified-entropy": KnownAttack("Modified-entropy threshold per class", Access.OUTPUTS),
        "quantile-regression": KnownAttack("Quantile regression", Access.OUTPUTS),
    },
    "extraction": {
        "greedy": KnownAttack("Greedy extraction", Access.OUTPUTS),
        "sampling": KnownAttack("Extraction by sampling", Access.OUTPUTS),
        "search": KnownAttack("Canary search", Access.OUTPUTS),
        "untargeted": KnownAttack("Untargeted extraction", Access.OUTPUTS),
    },
    "exposure": {
        "calibrated": KnownAttack("Calibrated exposure"),
        "raw": KnownAttack("Raw exposure", Access.OUTPUTS),
    },
    "canaries": {
        "calibrated": KnownAttack("Canaries, calibrated"),
        "raw": KnownAttack("Canaries, raw", Access.OUTPUTS),
    },
    "snapshots": {
        "added": KnownAttack("Two releases: added records"),
        "removed": KnownAttack("Two releases: removed records"),
    },
    "poisoning": {"lira-online": KnownAttack("LiRA (online), poisoned records")},
    "planted-exposure": {"raw": KnownAttack("Raw exposure, exact test", Access.OUTPUTS)},
    "access": {  # the attacks of `attacks.access`
        "gap": KnownAttack("Gap (is the label right?)", Access.OUTPUTS),
        "label-lira": KnownAttack("LiRA on the label"),
        "noise-votes": KnownAttack("Noise-vote attack", Access.OUTPUTS),
        "noise-lira": KnownAttack("LiRA on noise votes"),
        "augmentation-votes": KnownAttack("Augmentation-vote attack"),
        "augmentation-lira": KnownAttack("LiRA on augmentation votes"),
        "boundary-distance": KnownAttack("Boundary distance", Access.OUTPUTS),
        "boundary-lira": KnownAttack("LiRA on the boundary distance"),
        "salem": KnownAttack("Attack classifier, top 3 (Salem)"),
        "top1-lira": KnownAttack("LiRA on the top confidence"),
        "top3-lira": KnownAttack("LiRA on the top 3"),
        "confidence-entropy": KnownAttack("Modified entropy", Access.OUTPUTS),
        "privacy-risk": KnownAttack("Privacy risk score"),
        "shokri": KnownAttack("Attack classifier per class (Shokri)"),
        "gmia": KnownAttack("GMIA (p-value per example)"),
        "merlin": KnownAttack("Merlin", Access.OUTPUTS),
        "morgan": KnownAttack("Morgan"),
        "confidence-lira": KnownAttack("LiRA on confidences"),
        "gradient-norm": KnownAttack("Gradient norm (LiRA)", Access.BASE),
        "gradients": KnownAttack("Gradient attack, last layers", Access.BASE),
        "stolen-memories": KnownAttack("Stolen-memories attack", Access.BASE),
        "last-layer": KnownAttack("Last-layer attack with proxy", Access.BASE),
    },
    "epsilon-floor": {
        "one-run": KnownAttack("Lower bound from this model", Access.OUTPUTS),
        "many-run": KnownAttack("Lower bound from shadow models"),
    },
}
OF_REFERENCES = ("slira", "rmia-offline", "reference", "base")  # what one to five other models are enough for
USUAL_ATTACKS = ("slira", "lira-online", "lira-offline", "rmia", "global-threshold")  # on every kind of model
