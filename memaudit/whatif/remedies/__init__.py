"""Remedies that come with memaudit, by the name that a [[variant]] table gives: one line each."""

from memaudit.whatif.base import Remedy
from memaudit.whatif.remedies.derived import Derived
from memaudit.whatif.remedies.edited import Edited
from memaudit.whatif.remedies.federated import Federated
from memaudit.whatif.remedies.processed import Processed, Pruned, Quantized
from memaudit.whatif.remedies.retrained import (
    Augmented,
    DifferentiallyPrivate,
    Dropout,
    EarlyStopping,
    LabelSmoothing,
    Retrained,
    WeightDecay,
)
from memaudit.whatif.remedies.without import Without, WithoutMostExposed

REMEDIES: dict[str, type[Remedy]] = {
    "augmentation": Augmented,
    "dp-sgd": DifferentiallyPrivate,
    "dropout": Dropout,
    "early-stopping": EarlyStopping,
    "federated": Federated,
    "label-smoothing": LabelSmoothing,
    "pruning": Pruned,
    "quantization": Quantized,
    "weight-decay": WeightDecay,
    "without": Without,
    "without-most-exposed": WithoutMostExposed,
}

__all__ = [
    "REMEDIES",
    "Augmented",
    "Derived",
    "DifferentiallyPrivate",
    "Dropout",
    "EarlyStopping",
    "Edited",
    "Federated",
    "LabelSmoothing",
    "Processed",
    "Pruned",
    "Quantized",
    "Retrained",
    "WeightDecay",
    "Without",
    "WithoutMostExposed",
]
