"""Derivations that come with memaudit: one file each. A function of your own is one, too."""

from memaudit.training.derivations.ascent import GradientAscent
from memaudit.training.derivations.continuing import ContinueTraining
from memaudit.training.derivations.layers import ResetLayer
from memaudit.training.derivations.pruning import Prune
from memaudit.training.derivations.quantization import Quantize

STEPS = (Prune, Quantize, ContinueTraining, GradientAscent, ResetLayer)

__all__ = ["STEPS", "ContinueTraining", "GradientAscent", "Prune", "Quantize", "ResetLayer"]
