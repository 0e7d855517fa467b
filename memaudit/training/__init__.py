"""Filling a bank: the one place where models are trained."""

from memaudit.training.filling import Progress, Shard, choose_device, draw_members, fill, population, train

__all__ = ["Progress", "Shard", "choose_device", "draw_members", "fill", "population", "train"]
