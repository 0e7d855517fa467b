"""What the last layer of a network makes of its features, beside what one fitted to all examples would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from memaudit.recipe import Examples, Recipe
from memaudit.recipe.recipes import asking
from memaudit.signals.evaluate import measure
from memaudit.signals.views.asking import lacks_classes
from memaudit.signals.views.interface import Unseen
from memaudit.types import Level

Array = np.ndarray

_BATCH, _FOLDS, _STEPS = 1024, 2, 200
_PENALTY = 1.0  # on the squared weights of the fitted layer, relative to the sum of the losses (sklearn's C = 1)
_LEAST = 1e-30


@dataclass(frozen=True, slots=True)
class LastLayer:
    """Columns: the label's log-odds; the same under the proxy layer; their difference; the log of the features' norm.

    The proxy is a softmax regression on the network's own features, fitted to all audited examples: the adversary has
    them, and not who is a member. It is cross-fitted, so that no example is in its proxy. Evidence for the label that
    the network's last layer sees in the features, and a layer fitted to the population does not, is idiosyncratic: it
    was learned from the training set.

    Source: Leino & Fredrikson 2020 (USENIX Security), sections 4 and 5, the displacement of a layer from a proxy that
    is fitted to the same internal features; here of the last layer alone.
    """

    name: str = "last-layer"
    level: Level = Level.WEIGHTS
    queries: int = 0

    def lacks(self, recipe: Recipe, examples: Examples) -> str:
        """Return why there is no last layer to compare; empty if there is one."""
        if reason := lacks_classes(examples):
            return reason
        if getattr(recipe, "outputs", None) not in (None, "logits"):
            return "the network does not return logits of a linear layer"
        make = getattr(recipe, "model", None)
        return "" if make is not None and _last(make()) is not None else "the network has no linear layer"

    def see(self, network: Any, recipe: Recipe, examples: Examples, device: str) -> Float[Array, "examples columns"]:
        """Return the four columns, float32.

        Raises:
            Unseen: The outputs are not those of the last linear layer.
        """
        features = last_features(network, recipe, examples, device)
        own = measure(network, examples, device=device, **asking(recipe))["phi"][:, 0].astype(np.float64)
        proxy = proxy_log_odds(features, examples.y)
        size = np.log(np.maximum(np.linalg.norm(features, axis=1), _LEAST))
        return np.stack([own, proxy, own - proxy, size], axis=1).astype(np.float32)


def last_features(network: Any, recipe: Recipe, examples: Examples, device: str) -> Float[Array, "examples features"]:
    """Return what the last linear layer of a network is given, float64.

    Raises:
        Unseen: The network has no linear layer, or its outputs are not those of the last one.
    """
    import torch

    from memaudit.signals.network import asked

    layer = _last(network)
    if layer is None:
        raise Unseen("the network has no linear layer")
    ask, heard = asked(network, examples.inputs, device, asking(recipe)["output"]), []
    hook = layer.register_forward_hook(lambda module, given, answer: heard.append((given[0].detach(), answer.detach())))
    parts = []
    try:
        for start in range(0, len(examples), _BATCH):
            heard.clear()
            rows = slice(start, min(start + _BATCH, len(examples)))
            outputs = ask(rows)
            if len(heard) != 1 or not torch.allclose(heard[0][1].float().cpu(), torch.from_numpy(outputs).float()):
                raise Unseen("the network's outputs are not those of its last linear layer")
            parts.append(heard[0][0].double().cpu().numpy())
    finally:
        hook.remove()
    return np.concatenate(parts)


def proxy_log_odds(
    features: Float[Array, "examples features"], y: Int[Array, " examples"]
) -> Float[Array, " examples"]:
    """Return the label's log-odds under a softmax regression on standardized features, fitted to the other half."""
    seen = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-9)
    fold = np.random.default_rng(0).permutation(len(y)) % _FOLDS
    found = np.empty(len(y))
    for number in range(_FOLDS):
        here = fold == number
        logits = _regression(seen[~here], y[~here], int(y.max()) + 1)(seen[here])
        own = np.take_along_axis(logits, y[here][:, None], axis=1)
        others = np.where(np.arange(logits.shape[1]) == y[here][:, None], -np.inf, logits)
        top = others.max(axis=1, keepdims=True)
        found[here] = (own - top)[:, 0] - np.log(np.exp(others - top).sum(axis=1))
    return found


def _regression(x: Array, y: Array, classes: int) -> Any:
    """Return a function from features to the logits of a softmax regression with a ridge penalty, by L-BFGS."""
    import torch

    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    weights = torch.zeros(x.shape[1], classes, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([weights, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Any:
        search.zero_grad()
        fit = torch.nn.functional.cross_entropy(inputs @ weights + bias, labels, reduction="sum")
        total = (fit + _PENALTY / 2 * weights.square().sum()) / len(labels)
        total.backward()  # type: ignore[no-untyped-call]
        return total

    with torch.enable_grad():
        search.step(loss)  # type: ignore[no-untyped-call]
    return lambda some: some @ weights.detach().numpy() + bias.detach().numpy()


def _last(network: Any) -> Any:
    """Return the linear layer that is defined last; None if there is none."""
    from torch import nn

    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else None
