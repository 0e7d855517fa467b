"""The statistics of the access table: coverage of the loss of access, and which attacks count as dominated."""

import numpy as np
import pytest

from memaudit.attacks.access import ACCESS_ATTACKS
from memaudit.checks.access import Row, _dominated, _loss
from memaudit.checks.attacked import Attacked
from memaudit.types import Level

Array = np.ndarray

PAIRS, EXAMPLES, FPR = 12, 400, 0.05


def _row(name: str, level: Level, inside: Array, outside: Array) -> Row:
    attacked = Attacked(ACCESS_ATTACKS["gap"], outside[0], inside, outside)
    return Row(name, name, level, attacked, "", 1, 0.0)


def _rows(seed: int, strengths: tuple[float, float], pairs: int = PAIRS, examples: int = EXAMPLES) -> list[Row]:
    """Two attacks on the same models: a shared part of examples and models, and a leak of their own strength."""
    rng = np.random.default_rng(seed)
    hard, runs = rng.normal(size=(1, examples)), 0.3 * rng.normal(size=(2, pairs, 1))
    noise = rng.normal(size=(2, pairs, examples))
    rows = []
    for name, level, strength in zip("ab", (Level.LABELS, Level.LOG_ODDS), strengths, strict=True):
        own = noise + rng.normal(size=noise.shape) + 0.5 * hard
        rows.append(_row(name, level, own[0] + strength + runs[0], own[1] + runs[1]))
    return rows


def _found(rows: list[Row]) -> tuple[float, float, float]:
    draws = {row.name: row.draws(FPR) for row in rows}
    found = _loss([rows[1]], [rows[0]], draws, FPR)
    return found.value, found.low, found.high


@pytest.mark.slow
@pytest.mark.parametrize("strengths", [(0.5, 1.5), (1.0, 1.0)])
def test_the_loss_of_access_is_covered(strengths: tuple[float, float]) -> None:
    """Of 100 intervals, 88 or more hold the true difference: fewer have p = 0.15 % at a coverage of 95 %."""
    true, _, _ = _found(_rows(10**6, strengths, 200, 4000))
    covered = [low <= true <= high for _, low, high in (_found(_rows(seed, strengths)) for seed in range(100))]
    assert sum(covered) >= 88


def test_without_a_difference_nothing_is_lost() -> None:
    value, low, high = _found(_rows(3, (1.0, 1.0)))
    assert low <= 0 <= high and abs(value) < 0.05


def test_an_attack_that_is_shown_to_be_weaker_is_dominated() -> None:
    weak, strong = _rows(0, (0.2, 2.0))
    draws = {row.name: row.draws(FPR) for row in (weak, strong)}
    same = Row("a", "a", Level.LOG_ODDS, weak.attacked, "", 1, 0.0)
    assert _dominated(same, [same, strong], draws, FPR) == "b"
    assert _dominated(strong, [same, strong], draws, FPR) == ""
    assert _dominated(weak, [weak, strong], draws, FPR) == ""  # the stronger one needs more access


def test_equal_attacks_are_hardly_ever_dominated() -> None:
    """At 5 % over all comparisons, two-sided: of 40 banks, 5 or more would have a probability of 0.1 %."""
    marked = 0
    for seed in range(40):
        one, other = _rows(seed, (1.0, 1.0), 8, 200)
        draws = {row.name: row.draws(FPR) for row in (one, other)}
        rows = [Row(row.name, row.name, Level.LABELS, row.attacked, "", 1, 0.0) for row in (one, other)]
        marked += any(_dominated(row, rows, draws, FPR) for row in rows)
    assert marked < 7
