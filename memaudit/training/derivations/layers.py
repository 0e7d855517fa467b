"""Where memorization sits: one layer is put back to an earlier epoch, and retrained on request."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from memaudit.errors import RecipeError, SettingsError, hint
from memaudit.recipe import ClassifierRecipe
from memaudit.recipe.recipes import Step


@dataclass(frozen=True, slots=True)
class ResetLayer(Step):
    """Put one layer of a network back to what it was after some epoch of its training, and leave the others.

    No checkpoints are needed: the training is repeated from its seed up to that epoch, on the same examples. On one
    thread of a CPU it is the same training bit for bit. Epoch 0 is the initialization.

    Args:
        recipe: The ClassifierRecipe that the bank was filled by.
        layer: Its name in the network, such as "layer2" or "0".
        epoch: That it is put back to.
        retrain: Epochs for which this layer alone is then trained again on the members, the others being frozen.
            Their batch statistics still move.

    Source: Zhang, Bengio & Singer 2022 (JMLR), "Are all layers created equal?" (re-initialization, rewinding); Maini et
    al. 2023 (ICML), layer rewinding and layer retraining.
    """

    recipe: ClassifierRecipe
    layer: str
    epoch: int = 0
    retrain: int = 0
    data: ClassVar[str] = "members"

    def __post_init__(self) -> None:
        if not isinstance(self.recipe, ClassifierRecipe):
            raise RecipeError(f"a {type(self.recipe).__name__} is not trained by memaudit's loop for classifiers")
        if not 0 <= self.epoch <= self.recipe.epochs or self.retrain < 0:
            raise SettingsError(
                f"epoch = {self.epoch}, retrain = {self.retrain}: go back to an epoch from 0 to {self.recipe.epochs}, "
                "and retrain for 0 epochs or more"
            )

    def __call__(self, model: Any, dataset: Any, *, seed: int, device: str) -> Any:
        """Return the network with the layer as it was."""
        from memaudit.signals.observing import unwatched
        from memaudit.training.classifier import train_classifier
        from memaudit.training.model import on_device

        data = (*on_device(dataset, device), np.ones(len(dataset), np.uint8), seed)
        with unwatched():
            earlier = train_classifier(self.recipe, *data, until=self.epoch, clients=dataset.unit_of).state_dict()
        own = model.state_dict()
        chosen = weights_of(own, self.layer)
        model.load_state_dict(own | {name: earlier[name] for name in chosen})
        if not self.retrain:
            return model
        with others_frozen(model, chosen):
            return train_classifier(
                replace(self.recipe, epochs=self.retrain), *data, network=model, clients=dataset.unit_of
            )


def weights_of(state: Any, layer: str) -> list[str]:
    """Return the names of a layer's tensors in a state dict; RecipeError if it has none."""
    if chosen := [name for name in state if name == layer or name.startswith(f"{layer}.")]:
        return chosen
    raise RecipeError(f"the network has no layer {layer!r} with weights; {hint(layer, layers_of(state))}")


def layers_of(state: Any) -> list[str]:
    """Return the names of the layers with weights, in the order of the state dict."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name in state if "." in name))


@contextmanager
def others_frozen(model: Any, chosen: Collection[str]) -> Iterator[None]:
    """Let training change the chosen parameters alone."""
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained[name] and name in chosen)
    yield
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained[name])
