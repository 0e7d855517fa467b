"""Filling a bank: the one place where models are trained."""

from memaudit.recipe.populations import population
from memaudit.training import derivations
from memaudit.training.deriving import derive, derive_target
from memaudit.training.filling import Progress, Shard, draw_members, fill, train
from memaudit.training.further import Further, measure_bank
from memaudit.training.importing import import_bank, import_models
from memaudit.training.machine import choose_device, device_name
from memaudit.training.poisoning import poisoned
from memaudit.training.timing import Timing, time_model

__all__ = [
    "Further",
    "Progress",
    "Shard",
    "Timing",
    "choose_device",
    "derivations",
    "derive",
    "derive_target",
    "device_name",
    "draw_members",
    "fill",
    "import_bank",
    "import_models",
    "measure_bank",
    "poisoned",
    "population",
    "time_model",
    "train",
]
