"""A classifier that is trained by the Trainer of the transformers library, as target and as shadow."""

import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

import memaudit as ma


def examples() -> ma.Examples:
    rng = np.random.default_rng(0)
    return ma.Examples(rng.normal(size=(120, 8)).astype(np.float32), rng.integers(0, 4, 120))


class Net(nn.Module):
    """Two layers with dropout; with labels, its answer has a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 4))

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        logits = self.layers(x)
        return (
            {"logits": logits}
            if labels is None
            else {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}
        )


def trainer(dataset: Any, seed: int, callbacks: Sequence[TrainerCallback] = (), epochs: int = 12) -> Trainer:
    """Returns the trainer of a model on the examples of a dataset."""
    torch.manual_seed(seed)
    arguments = TrainingArguments(
        tempfile.gettempdir(),
        num_train_epochs=epochs,
        per_device_train_batch_size=12,
        learning_rate=0.02,
        lr_scheduler_type="constant",
        seed=seed,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    rows = [{"x": x, "labels": label} for x, label in dataset]
    return Trainer(Net(), arguments, train_dataset=rows, callbacks=list(callbacks))


def train(dataset: ma.Examples, *, seed: int, device: str) -> nn.Module:
    own = trainer(dataset, seed)
    own.train()
    assert isinstance(own.model, nn.Module)
    return own.model


recipe = ma.CallableRecipe(examples, train=train, model=Net)
