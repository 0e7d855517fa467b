"""A callback for the Trainer of Lightning."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.nn import Module

from memaudit.callbacks.seen import read_by
from memaudit.callbacks.watch import Watch, named
from memaudit.signals import observe


class ObserveCallback(Callback):
    """Shows the live model to whoever watches, before training and after every epoch: for a recipe's own `train()`.

        Trainer(callbacks=[ObserveCallback()]).fit(module, loader)

    Args:
        network: Returns the network that the recipe returns, of a LightningModule; by default the module itself.
    """

    def __init__(self, network: Callable[[LightningModule], Module] | None = None):
        self._network = network or _itself

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the model before its first step."""
        self._show(trainer, pl_module, 0)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the model."""
        self._show(trainer, pl_module, trainer.current_epoch + 1)

    def _show(self, trainer: Trainer, module: LightningModule, epoch: int) -> None:
        if trainer.is_global_zero:
            observe(self._network(module), epoch, _epochs(trainer))


class MemauditCallback(Callback):
    """Observes a model while it trains, then saves and audits it.

        callback = MemauditCallback("recipe.py:recipe", "model.pt", audit={"bank": "bank"})
        Trainer(callbacks=[callback]).fit(module, loader)
        callback.watch.audit.report

    Args:
        arguments: As of `memaudit.callbacks.watch.Watch`.
        network: Returns the network that the recipe's `model()` makes, of a LightningModule; by default the module
            itself.
        options: As of `memaudit.callbacks.watch.Watch`.
    """

    def __init__(self, *arguments: Any, network: Callable[[LightningModule], Module] | None = None, **options: Any):
        self.watch = Watch(*arguments, **options)
        self._network = network or _itself

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find out who the members are.

        Raises:
            EvidenceError: The trainer reads other examples than the members.
        """
        loader: Any = trainer.train_dataloader
        dataset, unknown = read_by(loader)
        if hasattr(loader, "__len__") and trainer.num_training_batches < len(loader):
            unknown = f"the trainer reads {trainer.num_training_batches} of {len(loader)} batches"
        self.watch.begin(dataset, unknown, _epochs(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Observe the model; the numbers go to all loggers of the trainer."""
        if not trainer.is_global_zero:
            return
        found = self.watch.observe(self._network(pl_module), trainer.current_epoch + 1)
        if found is not None:
            pl_module.log_dict(named(found), rank_zero_only=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save and audit the model."""
        if trainer.is_global_zero:
            batches, epoch = trainer.fit_loop.total_batch_idx + 1, trainer.num_training_batches  # infinite of a stream
            self.watch.end(self._network(pl_module), math.inf if math.isinf(epoch) else batches / epoch)


def _epochs(trainer: Trainer) -> int | None:
    """Return how many epochs there will be; None where only steps are counted, or nothing is."""
    return trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs > 0 else None


def _itself(module: LightningModule) -> Module:
    return module
