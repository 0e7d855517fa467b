"""Filling a bank: the one place where models are trained."""

from memaudit.training.filling import Progress, Shard, draw_members, fill, population, require_shadows, train
from memaudit.training.machine import choose_device
from memaudit.training.timing import Timing, time_model

__all__ = [
    "Progress",
    "Shard",
    "Timing",
    "choose_device",
    "draw_members",
    "fill",
    "population",
    "require_shadows",
    "time_model",
    "train",
]
