"""A callback for the Trainer of the transformers library, and for those built on it, such as TRL's SFTTrainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.nn import Module
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from memaudit.callbacks.seen import read_by
from memaudit.callbacks.watch import Log, Watch, log, named
from memaudit.signals import observe


class ObserveCallback(TrainerCallback):
    """Shows the live model to whoever watches, before training and after every epoch: for a recipe's own `train()`.

        Trainer(..., callbacks=[ObserveCallback()]).train()

    Args:
        network: Returns the network that the recipe returns, of the trainer's model; by default the model itself.
    """

    def __init__(self, network: Callable[[Module], Module] | None = None):
        self._network = network

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Show the model before its first step."""
        self._show(args, state, given["model"])

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """Show the model."""
        self._show(args, state, given["model"])

    def _show(self, args: TrainingArguments, state: TrainerState, model: Module) -> None:
        if state.is_world_process_zero and not _is_sharded(args):
            network = model if self._network is None else self._network(model)
            observe(network, state.epoch or 0.0, state.num_train_epochs)


class MemauditCallback(TrainerCallback):
    """Observes a model while it trains, then saves and audits it.

        callback = MemauditCallback("recipe.py:recipe", "model", audit={"bank": "bank"})
        trainer = Trainer(..., callbacks=[callback])
        callback.log = trainer.log       # observations go to all trackers of the trainer
        trainer.train()
        callback.watch.audit.report

    Attach it where the released model is trained, not in the recipe's own `train()`: shadow models need no audit.

    Args:
        arguments: As of `memaudit.callbacks.watch.Watch`.
        log: Where observations go; by default to the trainer's `log_history` alone.
        options: As of `memaudit.callbacks.watch.Watch`.
    """

    def __init__(self, *arguments: Any, log: Log | None = None, **options: Any):
        self.watch = Watch(*arguments, **options)
        self.log = log

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Find out who the members are.

        Raises:
            EvidenceError: The trainer reads other examples than the members.
        """
        self._whole = _is_whole(args)
        self.watch.begin(*read_by(given.get("train_dataloader")), state.num_train_epochs)

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """Observe the model."""
        if not (state.is_world_process_zero and self._whole):
            return
        found = self.watch.observe(given["model"], state.epoch or 0.0)
        if found is None:
            return
        if self.log is not None:
            self.log(named(found))
        else:
            state.log_history.append({**named(found), "epoch": state.epoch, "step": state.global_step})

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """Save and audit the model."""
        if state.is_world_process_zero and self._whole:
            self.watch.end(given["model"], state.epoch or 0.0)


def _is_sharded(args: TrainingArguments) -> bool:
    """Return whether no process has the whole model."""
    return bool(getattr(args, "fsdp", None) or getattr(args, "deepspeed", None))


def _is_whole(args: TrainingArguments) -> bool:
    """Return whether every process has the whole model; with a warning if its weights are sharded."""
    sharded = _is_sharded(args)
    if sharded:
        log.warning(
            "memaudit: the weights are sharded (FSDP or DeepSpeed): the model is neither observed nor audited. Save it "
            "with memaudit.save_target and run memaudit.audit"
        )
    return not sharded
