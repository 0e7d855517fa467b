"""Planted secrets: made, planted, found again in training, and how far a model gives them away, in bits."""

from memaudit.canaries.doses import DoseCurve, dose_curve, doses, mean_at_dose
from memaudit.canaries.exposure import (
    NULL_MEAN_BITS,
    P_EXPOSED_BITS,
    Exposure,
    calibrated,
    exact_exposure,
    fisher,
    mean_exposure,
    null_survival,
    rank_exposure,
    sampled_exposure,
)
from memaudit.canaries.families import FAMILIES, Family, drawn_by, make
from memaudit.canaries.images import ImageCanaries, image_canaries
from memaudit.canaries.manifest import Manifest, verify
from memaudit.canaries.planting import plant, randomised_doses
from memaudit.canaries.skew_normal import Extrapolated, extrapolated_exposure
from memaudit.canaries.space import Canary, Space, redacted
from memaudit.canaries.survival import Survival, require_survival, survival

__all__ = [
    "FAMILIES",
    "NULL_MEAN_BITS",
    "P_EXPOSED_BITS",
    "Canary",
    "DoseCurve",
    "Exposure",
    "Extrapolated",
    "Family",
    "ImageCanaries",
    "Manifest",
    "Space",
    "Survival",
    "calibrated",
    "dose_curve",
    "doses",
    "drawn_by",
    "exact_exposure",
    "extrapolated_exposure",
    "fisher",
    "image_canaries",
    "make",
    "mean_at_dose",
    "mean_exposure",
    "null_survival",
    "plant",
    "randomised_doses",
    "rank_exposure",
    "redacted",
    "require_survival",
    "sampled_exposure",
    "survival",
    "verify",
]
