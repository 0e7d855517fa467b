"""Remedies that come with memaudit, by the name that a [[variant]] table gives: one line each."""

from memaudit.whatif.base import Remedy
from memaudit.whatif.remedies.derived import Derived
from memaudit.whatif.remedies.edited import Edited
from memaudit.whatif.remedies.federated import Federated
from memaudit.whatif.remedies.outputs import Flattened, LabelsOnly, TopClasses
from memaudit.whatif.remedies.prepared import Deduplicated, Prepared, Scrubbed
from memaudit.whatif.remedies.processed import Processed, Pruned, Quantized, ReluPruned
from memaudit.whatif.remedies.retrained import (
    Augmented,
    DifferentiallyPrivate,
    Dropout,
    EarlyStopping,
    LabelSmoothing,
    Mixup,
    Retrained,
    WeightDecay,
)
from memaudit.whatif.remedies.unlearned import Unlearned
from memaudit.whatif.remedies.without import Without, WithoutHardest, WithoutMostExposed

REMEDIES: dict[str, type[Remedy]] = {
    "augmentation": Augmented,
    "deduplication": Deduplicated,
    "dp-sgd": DifferentiallyPrivate,
    "dropout": Dropout,
    "early-stopping": EarlyStopping,
    "federated": Federated,
    "flattened-outputs": Flattened,
    "label-smoothing": LabelSmoothing,
    "labels-only": LabelsOnly,
    "mixup": Mixup,
    "pruning": Pruned,
    "quantization": Quantized,
    "relu-pruning": ReluPruned,
    "scrubbing": Scrubbed,
    "top-classes": TopClasses,
    "unlearning": Unlearned,
    "weight-decay": WeightDecay,
    "without": Without,
    "without-hardest": WithoutHardest,
    "without-most-exposed": WithoutMostExposed,
}

__all__ = [
    "REMEDIES",
    "Augmented",
    "Deduplicated",
    "Derived",
    "DifferentiallyPrivate",
    "Dropout",
    "EarlyStopping",
    "Edited",
    "Federated",
    "Flattened",
    "LabelSmoothing",
    "LabelsOnly",
    "Mixup",
    "Prepared",
    "Processed",
    "Pruned",
    "Quantized",
    "ReluPruned",
    "Retrained",
    "Scrubbed",
    "TopClasses",
    "Unlearned",
    "WeightDecay",
    "Without",
    "WithoutHardest",
    "WithoutMostExposed",
]
