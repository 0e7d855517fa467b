"""Finished audits in experiment trackers: `loggers.mlflow`, `loggers.wandb` and `loggers.tensorboard`.

Each imports its library alone, so nothing is imported here. All log the same: see `loggers.content`.
"""
