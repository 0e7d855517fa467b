"""The parts of benchmarks.memorization_truth: influence functions against refits, errors compared, and one small table.

Random tests fix their seed.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize, special
from sklearn.datasets import load_digits
from torch import nn

import memaudit as ma
from benchmarks.memorization_truth import less_error, section
from benchmarks.truth_banks import Banks, Task
from benchmarks.truth_influence import of_all_layers, of_last_layer
from benchmarks.truth_recipes import texts
from benchmarks.truth_scores import Estimate
from memaudit.memorization import LeaveOneOut

Array = np.ndarray


def _digits() -> ma.Examples:
    x, y = load_digits(return_X_y=True)
    return ma.Examples((x[:110] / 16).astype(np.float32), y[:110])


def _net() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))


def _recipe(data: Path, observe: ma.Observe) -> ma.ClassifierRecipe:
    return ma.ClassifierRecipe(_digits, _net, epochs=4, batch_size=16, optimizer=ma.SGD(lr=0.5), observe=observe)


def _fitted(hidden: Array, y: Array, n: int, decay: float) -> Array:
    """Return the last layer that minimizes Σ loss / n + decay/2 |θ|², by L-BFGS."""
    classes = int(y.max()) + 1

    def loss(theta: Array) -> tuple[float, Array]:
        logits = hidden @ theta.reshape(classes, -1).T
        p = special.softmax(logits, axis=1)
        told = -(logits[np.arange(len(y)), y] - special.logsumexp(logits, axis=1)).sum() / n
        errors = p - (y[:, None] == np.arange(classes))
        return told + decay / 2 * theta @ theta, (errors.T @ hidden / n).ravel() + decay * theta

    minimize: Any = optimize.minimize  # its stubs refuse functions of arrays of any shape
    found = minimize(
        lambda theta: loss(theta)[0],
        np.zeros(classes * hidden.shape[1], np.float64),
        jac=lambda theta: loss(theta)[1],
        method="L-BFGS-B",
        tol=1e-15,
    )
    return np.asarray(found.x)


def _refitted(hidden: Array, y: Array, rows: Array, decay: float) -> tuple[Array, Array]:
    """Return the last layer that is fitted to everything, and how much p(label) of each row falls without it."""
    n = len(y)
    last = _fitted(hidden, y, n, decay).reshape(3, -1)
    expected = []
    for i in rows:
        kept = np.arange(n) != i
        without = _fitted(hidden[kept], y[kept], n, decay).reshape(3, -1)
        p = [special.softmax(hidden[i] @ of.T)[y[i]] for of in (last, without)]
        expected.append(p[0] - p[1])
    return last, np.array(expected)


def test_influence_on_the_last_layer_is_that_of_refits() -> None:
    """Last layers refitted without each example: to first order in 1/n, which at n = 150 leaves up to a tenth."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(150, 5)), rng.integers(3, size=150)
    lower = {"0.weight": rng.normal(size=(4, 5)), "0.bias": rng.normal(size=4)}
    hidden = np.column_stack([np.maximum(x @ lower["0.weight"].T + lower["0.bias"], 0), np.ones(150)])
    decay, rows = 0.05, np.arange(0, 150, 15)
    last, expected = _refitted(hidden, y, rows, decay)
    found = of_last_layer(lower | {"2.weight": last[:, :-1], "2.bias": last[:, -1]}, ma.Examples(x, y), rows, decay)
    assert np.corrcoef(found, expected)[0, 1] > 0.99
    np.testing.assert_allclose(found, expected, rtol=0.15)


def test_influence_of_a_linear_model_is_that_of_refits() -> None:
    """Of one layer, the Hessian of Gauss and Newton is the Hessian, so that both functions are exact to first order."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(150, 5)), rng.integers(3, size=150)
    decay, rows = 0.05, np.arange(0, 150, 15)
    layer, expected = _refitted(np.column_stack([x, np.ones(150)]), y, rows, decay)
    weights = {"0.weight": layer[:, :-1], "0.bias": layer[:, -1]}
    found = of_all_layers(weights, ma.Examples(x, y), rows, decay)
    np.testing.assert_allclose(found, expected, rtol=0.15)
    np.testing.assert_allclose(found, of_last_layer(weights, ma.Examples(x, y), rows, decay), rtol=1e-9)


def test_influence_of_all_layers_is_that_of_a_dense_matrix() -> None:
    """The oracle: Jacobians by automatic differentiation, and JᵀSJ of all parameters, inverted as it is."""
    torch.manual_seed(0)
    network, decay = (
        nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double(),
        0.01,
    )
    x, y = torch.randn(20, 4, dtype=torch.double), torch.arange(20) % 3
    parameters = {name: value.detach() for name, value in network.named_parameters()}

    def outputs(given: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.func.functional_call(network, given, (x,))

    jacobians = torch.func.jacrev(outputs)(parameters).values()
    jacobian = torch.cat([part.flatten(2) for part in jacobians], dim=2).numpy()
    p = network(x).detach().softmax(dim=1).numpy()
    spread = np.einsum("ni,ij->nij", p, np.eye(3)) - np.einsum("ni,nj->nij", p, p)
    hessian = np.einsum("nia,nij,njb->ab", jacobian, spread, jacobian) / 20 + decay * np.eye(jacobian.shape[2])
    gradients = np.einsum("ni,nia->na", p - np.eye(3)[y], jacobian)
    expected = p[np.arange(20), y] * np.einsum("na,na->n", gradients, np.linalg.solve(hessian, gradients.T).T) / 20
    weights = {name: value.numpy() for name, value in parameters.items()}
    rows = np.array([0, 7, 19])
    found = of_all_layers(weights, ma.Examples(x.numpy(), y.numpy()), rows, decay)
    np.testing.assert_allclose(found, expected[rows], rtol=1e-8)
    fewer = of_all_layers(weights, ma.Examples(x.numpy(), y.numpy()), rows, decay, most=30)
    assert (fewer > found).all()


def test_texts_differ_in_how_much_others_teach(tmp_path: Path) -> None:
    """Text 195 shares 9 words with others, text 5 none; no two are alike."""
    words = [f"{a}{b}{c}" for a in "abcdefgh" for b in "aeiou" for c in "nrstl"]
    (tmp_path / "book.txt").write_text("\n\n".join(" ".join(words[i : i + 30]) for i in range(0, 150, 10)))
    found = [str(text).split() for text in texts(tmp_path).texts]
    assert len({tuple(text) for text in found}) == 200 and {len(text) for text in found} == {10}
    assert all(found[i][: i // 20] == found[190 + i % 10][: i // 20] for i in range(200))


def test_less_error_on_the_examples_of_the_better_one() -> None:
    """Errors of 0.4 against 0.1 are 75 % less; what the other is wrong about elsewhere does not count."""
    none = np.zeros(10)
    truth = LeaveOneOut(none, none, none, none, np.zeros((2, 10)), (np.zeros(2),) * 10)
    plain = Estimate("plain", 100, np.arange(10), np.r_[np.full(5, 0.4), np.full(5, 9.0)])
    better = Estimate("better", 10, np.arange(5), np.full(5, -0.1))
    assert less_error(plain, better, truth) == pytest.approx((0.75, 0.75, 0.75))


@pytest.mark.slow
def test_a_table_of_digits(tmp_path: Path) -> None:
    """All pieces fit together, and the second call trains nothing."""
    task = Task(_recipe, without=2, chosen=16, estimate=20, select=8, runs=4, gradients=2)
    banks = Banks(task, tmp_path, tmp_path / "banks", workers=1)
    lines = list(section(banks))
    assert len(banks.chosen) == 16 and banks.candidates[banks.chosen].sum() == 8 and banks.candidates.sum() == 22
    assert 0 not in banks.chosen
    rows = [line.split(" | ")[0].strip("| ") for line in lines if line.startswith("| ")]
    for name in ("pLOO, r = 0.5", "pLOO, r = 0.7", "pLOO_improved", "influence function, all layers", "apb", "fslt"):
        assert name in rows
    for name in ("curvature", "gradient", "c-score", "isolation", "random numbers"):
        assert name in rows
    again = Banks(task, tmp_path, tmp_path / "banks", workers=1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "banks").rglob("model.json")}
    assert list(section(again)) == lines
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "banks").rglob("model.json")} == before
