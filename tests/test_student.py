"""Regression with Student-t errors: its gradient, its optimum, known parameters, its density, and data that tie.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

from memaudit.attacks.student import StudentRegression, fit_student

Array = np.ndarray

RIDGE = 1e-4


def _data(seed: int, rows: int, dof: float) -> tuple[Array, Array, Array]:
    """Return values, design and spread: location 1 − 2a, log scale 0.3 + 0.5b."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, rows))
    one = np.ones(rows)
    x = 1 - 2 * a + np.exp(0.3 + 0.5 * b) * rng.standard_t(dof, rows)
    return x, np.column_stack([one, a]), np.column_stack([one, b])


def _loss(parameters: Array, x: Array, design: Array, spread: Array) -> float:
    """Return the mean negative log likelihood with the ridge, from scipy's density. Last parameter: log(dof − 1)."""
    location, log_scale, dof = parameters[:2], parameters[2:4], 1 + np.exp(parameters[4])
    density = stats.t.logpdf(x, dof, design @ location, np.exp(spread @ log_scale))
    return float(RIDGE * log_scale[1] ** 2 - density.mean())


def test_the_gradient_is_that_of_the_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against central differences, and the value against scipy's density, at points all over the place."""
    seen: list[tuple[Callable[[Array], tuple[float, Array]], Array]] = []
    minimize = optimize.minimize

    def spied(loss: Callable[[Array], tuple[float, Array]], start: Array, **how: Any) -> Any:
        seen.append((loss, start))
        return minimize(loss, start, **how)

    monkeypatch.setattr(optimize, "minimize", spied)
    data = _data(1, 200, 4)
    fit_student(*data)
    ((loss, start),) = seen
    rng = np.random.default_rng(2)
    for _ in range(20):
        point = start + rng.normal(size=5)
        value, gradient = loss(point)
        assert value == pytest.approx(_loss(point, *data), rel=1e-9)
        steps = 1e-5 * np.eye(5)
        differences = [(loss(point + step)[0] - loss(point - step)[0]) / 2e-5 for step in steps]
        assert gradient == pytest.approx(differences, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("dof", [2.0, 5.0, 30.0])
def test_the_fit_is_the_optimum_that_a_search_without_gradient_finds(dof: float) -> None:
    data = _data(3, 400, dof)
    law = fit_student(*data)
    found = np.array([*law.location, *law.log_scale, np.log(law.dof - 1)])
    best = optimize.minimize(
        _loss, np.array([0.5, -1.0, 0.0, 0.0, 1.0]), data, "Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-6}
    )
    assert _loss(found, *data) <= best.fun + 1e-6
    assert found[:4] == pytest.approx(best.x[:4], abs=0.01)
    assert 1 / law.dof == pytest.approx(1 / (1 + np.exp(best.x[4])), abs=0.005)


@pytest.mark.parametrize("dof", [3.0, 8.0])
def test_known_parameters_are_recovered(dof: float) -> None:
    """Within 4 SE of the Fisher information (Lange, Little & Taylor 1989). False alarm over 10 parameters: 6e-4."""
    x, design, spread = _data(4, 20_000, dof)
    law = fit_student(x, design, spread)
    weighted = design / np.exp(spread @ np.array([0.3, 0.5]))[:, None]
    information = np.zeros((5, 5))
    information[:2, :2] = (dof + 1) / (dof + 3) * weighted.T @ weighted
    information[2:4, 2:4] = 2 * dof / (dof + 3) * spread.T @ spread
    information[2:4, 4] = information[4, 2:4] = -2 / ((dof + 1) * (dof + 3)) * spread.sum(axis=0)
    trigammas = special.polygamma(1, dof / 2) - special.polygamma(1, (dof + 1) / 2)
    information[4, 4] = len(x) * (trigammas / 4 - (dof + 5) / (2 * dof * (dof + 1) * (dof + 3)))
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    off = np.array([*law.location, *law.log_scale, law.dof]) - [1, -2, 0.3, 0.5, dof]
    assert errors.max() < 0.5
    assert np.abs(off / errors).max() < 4


def test_normal_errors_have_many_degrees_of_freedom() -> None:
    """The dof of 20,000 normal values: 1/dof is below 0.03, the others within 4 SE. False alarm: 2e-4."""
    rng = np.random.default_rng(5)
    one = np.ones((20_000, 1))
    law = fit_student(rng.normal(3, 2, 20_000), one, one)
    assert 1 / law.dof < 0.03
    assert law.location[0] == pytest.approx(3, abs=4 * 2 / np.sqrt(20_000))
    assert law.log_scale[0] == pytest.approx(np.log(2), abs=0.04)


@pytest.mark.parametrize("dof", [1.5, 4.0, 1e6])
@pytest.mark.parametrize("log_scale", [-2.0, 0.0, 3.0])
def test_the_density_is_students_and_integrates_to_one(dof: float, log_scale: float) -> None:
    law = StudentRegression(np.array([0.5, 2.0]), np.array([log_scale]), dof)
    row, one = np.array([[1.0, -1.0]]), np.ones((1, 1))

    def density(x: float) -> float:
        return float(np.exp(law.log_density(np.array([x]), row, one))[0])

    scale, centre = float(np.exp(log_scale)), -1.5
    halves = (integrate.quad(lambda z, s=sign: scale * density(centre + s * scale * z), 0, np.inf) for sign in (-1, 1))
    assert sum(half[0] for half in halves) == pytest.approx(1, abs=1e-6)
    x = centre + scale * np.array([-30.0, -1.0, 0.0, 0.4, 12.0])
    found = law.log_density(x, np.repeat(row, 5, axis=0), np.ones((5, 1)))
    assert found == pytest.approx(stats.t.logpdf(x, dof, centre, scale), rel=1e-9)


@pytest.mark.parametrize("kind", ["constant", "two values", "one outlier", "ceiling", "huge"])
def test_tied_and_wild_data_stay_finite(kind: str) -> None:
    rng = np.random.default_rng(6)
    x = {
        "constant": np.full(200, 5.0),
        "two values": np.repeat([-1.0, 1.0], 100),
        "one outlier": np.r_[np.zeros(199), 1e9],
        "ceiling": np.minimum(rng.normal(2, 1, 200), 1.5),
        "huge": 1e12 * rng.normal(size=200),
    }[kind]
    both = np.column_stack([np.ones(200), rng.normal(size=200)])
    for design in (both, both[:, :1]):  # a constant alone leaves residuals of exactly 0
        law = fit_student(x, design, design)
        assert np.isfinite([*law.location, *law.log_scale, law.dof]).all()
        for values in (x, x + 1, x - 1e6):
            assert np.isfinite(law.log_density(values, design, design)).all()


def test_the_fit_is_deterministic_and_follows_the_unit() -> None:
    """Twice the values: twice the location, log 2 more log scale, the same degrees of freedom."""
    x, design, spread = _data(7, 2_000, 4)
    law, again, doubled = (fit_student(values, design, spread) for values in (x, x, 2 * x))
    assert np.array_equal(law.location, again.location) and law.dof == again.dof
    assert doubled.location == pytest.approx(2 * law.location, rel=1e-2)
    assert doubled.log_scale == pytest.approx(law.log_scale + np.array([np.log(2), 0]), abs=1e-2)
    assert doubled.dof == pytest.approx(law.dof, rel=2e-2)
