"""Influence functions on the networks of benchmarks/memorization_truth.py: how much p(label) falls without an example.

To first order, removing example i moves the parameters by H⁻¹ gᵢ / n, where gᵢ is the gradient of its loss and H the
Hessian of the mean loss plus the weight decay. So p(label) becomes p gᵢᵀ H⁻¹ gᵢ / n less. The networks are linear
layers with a ReLU between them, and all of them have biases.

Source: Koh & Liang 2017 (ICML), equation 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import linalg, special

from memaudit.recipe import Examples

Array = np.ndarray
Layers = list[tuple[Array, Array]]  # weights [outputs, inputs] and biases


def of_last_layer(weights: Mapping[str, Array], examples: Examples, rows: Array, decay: float = 1e-4) -> Array:
    """Return how much p(label) of each row falls if its example is removed, with all layers but the last held fixed.

    The Hessian of a last layer is exact.
    """
    layers = _layers(weights)
    inputs, p = _forward(layers, examples.x)
    hidden, (n, classes) = inputs[-1], p.shape
    width = hidden.shape[1]
    parts = np.empty((classes, width, classes, width))
    for a in range(classes):
        for b in range(a + 1):
            part = (hidden.T * (p[:, a] * ((a == b) - p[:, b]))) @ hidden / n
            parts[a, :, b], parts[b, :, a] = part, part
    hessian = parts.reshape(classes * width, -1)
    hessian[np.diag_indices_from(hessian)] += decay
    errors = p[rows] - (examples.y[rows, None] == np.arange(classes))
    gradients = (errors[:, :, None] * hidden[rows, None]).reshape(len(rows), -1)
    solved = linalg.cho_solve(linalg.cho_factor(hessian, overwrite_a=True), gradients.T).T
    return np.asarray(p[rows, examples.y[rows]] * (gradients * solved).sum(axis=1) / n)


def of_all_layers(
    weights: Mapping[str, Array], examples: Examples, rows: Array, decay: float = 1e-4, most: int = 6000
) -> Array:
    """Return how much p(label) of each row falls if its example is removed, by all parameters.

    The Hessian is that of Gauss and Newton, BᵀB / n + decay I, where B has a row for each example and label: the
    gradient of that label's loss, times √p. It is inverted by the Gram matrix of those rows (Woodbury), so that nothing
    of the number of parameters squared is in memory. Of a network that fits its data nearly all rows are nearly zero:
    the `most` longest ones are kept. Dropping rows can only make an influence larger.

    Source: Martens 2020 (JMLR 21:146), section 9, on the Fisher matrix of a softmax as that of Gauss and Newton.
    """
    layers = _layers(weights)
    inputs, p = _forward(layers, examples.x)
    n, classes = p.shape
    roots = np.sqrt(p)[:, :, None] * (np.eye(classes) - p[:, None])
    every = _gradients(layers, inputs, roots.reshape(-1, classes), np.repeat(np.arange(n), classes))
    curvature = every.take(np.argsort(-every.squares(), kind="stable")[:most])
    own = _gradients(layers, inputs, p[rows] - (examples.y[rows, None] == np.arange(classes)), rows)
    gram, across = curvature.products(curvature), curvature.products(own)
    gram[np.diag_indices_from(gram)] += n * decay
    solved = linalg.cho_solve(linalg.cho_factor(gram, overwrite_a=True), across)
    left = own.squares() - (across * solved).sum(axis=0)
    return np.asarray(p[rows, examples.y[rows]] * left / (n * decay))


@dataclass(frozen=True)
class _Gradients:
    """Gradients in all parameters: of each layer, the outer product of errors and of the inputs of example `at`."""

    errors: list[Array]  # of each layer, [gradients, outputs]
    inputs: list[Array]  # of each layer, [examples, inputs and a 1]
    at: Array  # of each gradient

    def take(self, some: Array) -> _Gradients:
        return _Gradients([of[some] for of in self.errors], self.inputs, self.at[some])

    def squares(self) -> Array:
        """Return the squared length of each."""
        of_layers = zip(self.errors, self.inputs, strict=True)
        return np.asarray(sum((e**2).sum(axis=1) * (given**2).sum(axis=1)[self.at] for e, given in of_layers))

    def products(self, others: _Gradients) -> Array:
        """Return the inner products with others, [gradients, others]."""
        of_layers = zip(self.errors, others.errors, self.inputs, strict=True)
        return np.asarray(sum((a @ b.T) * (given[self.at] @ given[others.at].T) for a, b, given in of_layers))


def _layers(weights: Mapping[str, Array]) -> Layers:
    names = sorted({name.split(".")[0] for name in weights}, key=int)
    return [(weights[f"{name}.weight"].astype(float), weights[f"{name}.bias"].astype(float)) for name in names]


def _forward(layers: Layers, x: Array) -> tuple[list[Array], Array]:
    """Return the inputs of each layer, with a 1 for the bias, and the probabilities."""
    hidden, inputs = np.asarray(x, float), []
    for weight, bias in layers:
        inputs.append(np.column_stack([hidden, np.ones(len(hidden))]))
        outputs = hidden @ weight.T + bias
        hidden = np.maximum(outputs, 0)
    return inputs, special.softmax(outputs, axis=1)


def _gradients(layers: Layers, inputs: list[Array], errors: Array, at: Array) -> _Gradients:
    """Return the gradients whose errors in the outputs are given, by backpropagation."""
    found = [errors]
    for (weight, _), given in zip(layers[:0:-1], inputs[:0:-1], strict=True):
        found.insert(0, (found[0] @ weight) * (given[at, :-1] > 0))
    return _Gradients(found, inputs, at)
