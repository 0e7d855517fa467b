"""Running a torch network over a population; the only place here that needs torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch.nn.modules.batchnorm import _BatchNorm

from memaudit.recipe.blame import blame
from memaudit.recipe.inputs import Inputs
from memaudit.recipe.networks import answer_of, each, evaluated, inputs_for, last_layer, outputs_of, precision, tensors
from memaudit.recipe.recipes import Output
from memaudit.signals.steady import require_steady

Array = np.ndarray
View = Callable[[Any], Any]


@dataclass(slots=True)
class Asked:
    """A network in evaluation mode that is asked about one view of some inputs, a batch of rows at a time.

    Whatever the network or the view does in place, it does to a copy. `kind` is the type of the latest outputs, which
    under autocast is not the weights'.
    """

    network: torch.nn.Module
    x: Inputs
    device: str
    view: View | None = None
    output: Output | None = None
    kind: torch.dtype = torch.float32

    def __call__(self, rows: slice) -> Float[Array, "rows classes"]:
        """Return the outputs for a batch, in single precision or, of a network in double precision, in double."""
        with torch.no_grad(), blame("evaluating the model"):
            outputs = outputs_of(answer_of(self.network, self.inputs(rows)), self.output)
        self.kind = outputs.dtype
        return (outputs if outputs.dtype == torch.float64 else outputs.float()).cpu().numpy()

    def last_layer(self, rows: slice) -> str:
        """Return what the outputs come from, as `recipe.networks.last_layer` names it."""
        try:
            with torch.enable_grad():
                inputs = each(self.inputs(rows), _traced)
                return last_layer(outputs_of(answer_of(self.network, inputs), self.output))
        except Exception:  # a forward that cannot be differentiated is no fault
            return ""

    def inputs(self, rows: slice) -> Any:
        """Return what the network is given of some rows, on its device and in its precision."""
        inputs = each(inputs_for(self.network, tensors(self.x.take(rows))), lambda part: part.to(self.device))
        return inputs if self.view is None else self.view(inputs)


def _traced(part: torch.Tensor) -> torch.Tensor:
    """Return a tensor that autograd follows: a network whose weights are frozen leaves no trace otherwise."""
    return part.requires_grad_().clone() if part.is_floating_point() else part


def steady(network: torch.nn.Module, ask: Callable[[slice], Array], first: Float[Array, "batch numbers"]) -> None:
    """Refuse a network that is random or that mixes the examples of a batch; as `require_steady`."""
    suspects = [
        name or type(module).__name__
        for name, module in network.named_modules()
        if module.training or (isinstance(module, _BatchNorm) and module.running_mean is None)
    ]
    epsilon = max(torch.finfo(kind).eps for kind in (precision(network), getattr(ask, "kind", torch.float32)))
    require_steady(ask, first, suspects, epsilon)


def asked(network: torch.nn.Module, x: Inputs, device: str, output: Output | None = None) -> Asked:
    """Return the network on a device and in evaluation mode, ready to be asked about inputs."""
    with blame("evaluating the model"):
        network.to(device)
        evaluated(network)
    return Asked(network, x, device, output=output)
