"""A model's outputs to numbers per example."""

from memaudit.signals.evaluate import Signals, evaluate, measure, measure_by
from memaudit.signals.logits import cross_entropy, is_correct, scaled_logit

__all__ = ["Signals", "cross_entropy", "evaluate", "is_correct", "measure", "measure_by", "scaled_logit"]
