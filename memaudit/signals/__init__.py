"""A model's outputs to numbers per example."""

from memaudit.signals.evaluate import Signals, evaluate, measure
from memaudit.signals.logits import cross_entropy, is_correct, scaled_logit
from memaudit.signals.observing import observe, observing

__all__ = ["Signals", "cross_entropy", "evaluate", "is_correct", "measure", "observe", "observing", "scaled_logit"]
