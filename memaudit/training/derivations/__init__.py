"""Derivations that come with memaudit: one file each. A function of your own is one, too."""

from memaudit.training.derivations.ascent import GradientAscent
from memaudit.training.derivations.continuing import ContinueTraining
from memaudit.training.derivations.last import RetrainLayers
from memaudit.training.derivations.layers import ResetLayer
from memaudit.training.derivations.pruning import Prune
from memaudit.training.derivations.quantization import Quantize
from memaudit.training.derivations.units import PruneUnits

STEPS = (Prune, PruneUnits, Quantize, ContinueTraining, GradientAscent, ResetLayer, RetrainLayers)

__all__ = [
    "STEPS",
    "ContinueTraining",
    "GradientAscent",
    "Prune",
    "PruneUnits",
    "Quantize",
    "ResetLayer",
    "RetrainLayers",
]
