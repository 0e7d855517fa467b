"""Attacks with the weights: views against loops and closed forms, leave-pair-out by hand, null, and a whole audit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import memaudit as ma
from memaudit.attacks import Lira
from memaudit.attacks.access import ACCESS_ATTACKS
from memaudit.attacks.access.white_box import Combined, _learned
from memaudit.design import PairArrays
from memaudit.stats import auc
from memaudit.types import Level

Array = np.ndarray
X = np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 120)


def examples() -> ma.Examples:
    return ma.Examples(X, Y)


def model() -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))


def headless() -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(6, 3), nn.Tanh())


RECIPE = ma.ClassifierRecipe(examples, model, epochs=30, batch_size=20, optimizer=ma.SGD(lr=0.3, momentum=0.9))


@pytest.fixture(scope="module")
def network() -> Any:
    return ma.train(RECIPE, ma.draw_members(RECIPE, seed=3), seed=3, device="cpu")


def test_gradient_norms_are_those_of_a_loop(network: Any) -> None:
    import torch

    from memaudit.signals.views import Gradients

    found = Gradients().see(network, RECIPE, examples(), "cpu")
    assert found.shape == (120, 6)
    for row in range(0, 120, 17):
        network.zero_grad()
        logits = network(torch.from_numpy(X[row : row + 1]))
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(Y[row : row + 1])).backward()  # type: ignore[no-untyped-call]
        norms = [float(p.grad.norm()) for p in network.parameters()]
        assert found[row, 1] == pytest.approx(np.log(np.linalg.norm(norms)), abs=1e-4)
        assert found[row, 2:] == pytest.approx(np.log(norms), abs=1e-4)
        z = logits[0].detach().double()
        rest = torch.logsumexp(z[torch.arange(3) != Y[row]], 0)
        assert found[row, 0] == pytest.approx(float(z[Y[row]] - rest), abs=1e-3)


def test_the_gradient_of_the_last_layer_has_its_closed_form(network: Any) -> None:
    """‖∂ℓ/∂W‖ = ‖p − e_y‖ ‖z‖ and ‖∂ℓ/∂b‖ = ‖p − e_y‖."""
    from scipy.special import softmax

    from memaudit.signals.views import Gradients
    from memaudit.signals.views.last_layer import last_features

    features = last_features(network, RECIPE, examples(), "cpu")
    weight, bias = (p.detach().double().numpy() for p in list(network.parameters())[2:])
    error = np.linalg.norm(softmax(features @ weight.T + bias, axis=1) - np.eye(3)[Y], axis=1)
    found = np.exp(Gradients(last=2).see(network, RECIPE, examples(), "cpu")[:, 2:])
    assert found[:, 0] == pytest.approx(error * np.linalg.norm(features, axis=1), rel=1e-3, abs=1e-5)
    assert found[:, 1] == pytest.approx(error, rel=1e-3, abs=1e-5)


def test_the_proxy_layer_is_a_cross_fitted_softmax_regression() -> None:
    """The oracle is scikit-learn's, with the same penalty and folds."""
    from sklearn.linear_model import LogisticRegression

    from memaudit.signals.views.last_layer import proxy_log_odds

    rng = np.random.default_rng(2)
    features, y = rng.normal(3, 2, (200, 4)), rng.integers(0, 3, 200)
    features[:, 0] += y
    seen = (features - features.mean(axis=0)) / features.std(axis=0)
    fold = np.random.default_rng(0).permutation(200) % 2
    expected = np.empty(200)
    for number in (0, 1):
        here = fold == number
        fitted = LogisticRegression(tol=1e-8, max_iter=1000).fit(seen[~here], y[~here])
        p = fitted.predict_proba(seen[here])[np.arange(here.sum()), y[here]]
        expected[here] = np.log(p) - np.log1p(-p)
    assert proxy_log_odds(features, y) == pytest.approx(expected, abs=1e-3)


def test_a_network_that_does_not_end_in_a_linear_layer_has_no_last_layer(network: Any) -> None:
    from torch import nn

    from memaudit.errors import ModelError
    from memaudit.signals.views import LastLayer
    from memaudit.signals.views.last_layer import last_features

    assert LastLayer().lacks(RECIPE, examples()) == ""
    own = ma.CallableRecipe(examples, train=lambda *a, **k: None, model=lambda: nn.Sequential(nn.Flatten(), nn.ReLU()))
    assert "no linear layer" in LastLayer().lacks(own, examples())
    with pytest.raises(ModelError, match="not those of its last linear layer"):
        last_features(headless(), RECIPE, examples(), "cpu")


def _pairs(seed: int, shift: float, pairs: int = 8, rows: int = 300, columns: int = 3) -> PairArrays:
    rng = np.random.default_rng(seed)
    mean = rng.normal(0, 2, (rows, columns))
    inside, outside = (mean + more + rng.normal(size=(pairs, rows, columns)) for more in (shift, 0))
    return PairArrays(inside.astype(np.float32), outside.astype(np.float32))


@pytest.mark.parametrize("name", [name for name, a in ACCESS_ATTACKS.items() if a.level is Level.WEIGHTS])
def test_a_shadow_is_scored_as_a_target_would_be(name: str) -> None:
    """The oracle puts each pair last, where it is no reference, and nothing is learned from it."""
    attack, pairs = ACCESS_ATTACKS[name], _pairs(0, 1.0)
    inside, outside = attack.leave_pair_out(pairs)
    for pair in (0, 5):
        order = pairs.take(np.array([*(p for p in range(8) if p != pair), pair]))
        assert attack.scores(pairs.inside[pair], order) == pytest.approx(inside[pair], abs=1e-3)
        assert attack.scores(pairs.outside[pair], order) == pytest.approx(outside[pair], abs=1e-3)


def test_the_linear_attack_weighs_columns_by_what_they_tell() -> None:
    """Two informative columns and noise: better than either alone, and noise has next to no weight."""
    pairs = _pairs(1, 0.0)
    pairs.inside[..., :2] += 1.0
    weights = _learned(pairs)
    assert (weights[:2] > 5 * np.abs(weights[2])).all()
    inside, outside = Combined("x", "gradients").leave_pair_out(pairs)
    alone = [auc(side[0].ravel(), side[1].ravel()) for side in [Lira().leave_pair_out(_one(pairs, c)) for c in (0, 1)]]
    assert auc(inside.ravel(), outside.ravel()) > max(alone) + 0.03


def test_the_weights_are_those_of_a_logistic_regression() -> None:
    """The oracle is scikit-learn's, with the same penalty on all weights, the intercept among them."""
    from sklearn.linear_model import LogisticRegression

    pairs = _pairs(2, 0.7)
    sides = zip(*(Lira().leave_pair_out(_one(pairs, column)) for column in range(3)), strict=True)
    x = np.concatenate([np.stack(side, axis=-1).reshape(-1, 3) for side in sides])
    x = np.column_stack([x, np.ones(len(x))])
    y = np.repeat([1, 0], len(x) // 2)
    fitted = LogisticRegression(C=1 / (2e-3 * len(x)), fit_intercept=False, tol=1e-8).fit(x, y)
    assert _learned(pairs) == pytest.approx(fitted.coef_[0], abs=1e-3)


def test_with_three_pairs_all_columns_weigh_the_same() -> None:
    pairs = _pairs(3, 1.0, pairs=3)
    inside, _ = Combined("x", "gradients").leave_pair_out(pairs)
    assert inside == pytest.approx(sum(Lira().leave_pair_out(_one(pairs, c))[0] for c in range(3)), abs=1e-3)


def _one(pairs: PairArrays, column: int) -> PairArrays:
    return PairArrays(pairs.inside[..., [column]], pairs.outside[..., [column]])


def test_null_nothing_is_found_where_there_is_nothing() -> None:
    """20 banks, 5 standard errors: the weights are learned on other examples than they score."""
    found = []
    for seed in range(20):
        inside, outside = Combined("x", "gradients").leave_pair_out(_pairs(seed, 0.0, pairs=6, rows=200))
        found.append(auc(inside.ravel(), outside.ravel()))
    assert abs(np.mean(found) - 0.5) < 5 * np.std(found, ddof=1) / np.sqrt(20)


def test_an_audit_with_weights(tmp_path: Path) -> None:
    """Random labels are learned by heart: every white-box attack finds members, at the level of weights."""
    ma.fill(tmp_path / "bank", RECIPE, shadows=16, device="cpu")
    members = ma.draw_members(RECIPE, seed=7)
    ma.save_target(ma.train(RECIPE, members, seed=7, device="cpu"), tmp_path / "model.pt", members, RECIPE)
    report = ma.audit(
        tmp_path / "model.pt", RECIPE, tmp_path / "bank", fprs=(0.1,), access="weights", device="cpu"
    ).report
    (table,) = (f.tables[0] for f in (r.finding for r in report.results) if f.code == "MIA020")
    rows = {row[1]: row for row in table.rows if row[0] == "weights"}
    assert len(rows) == 4
    for row in rows.values():
        assert float(str(row[4]).split()[0]) > 0.6, row
    (found,) = (r.finding for r in report.results if r.finding.code == "MIA023")
    assert found.attack in {"gradient-norm", "gradients", "stolen-memories", "last-layer"}
    assert found.estimate.low > 0.1
