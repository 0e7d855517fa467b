"""How results of membership attacks look: one form, with and without a bank."""

import re

import numpy as np

from memaudit.attack_names import OF_REFERENCES
from memaudit.attacks import TARGET_ATTACKS
from memaudit.checks.attack_results import cells, curve, roc, tied, title_at, unresolved
from memaudit.stats import Reached
from memaudit.types import Rung


def test_the_text_of_a_roc_figure_quotes_the_rate_that_it_read() -> None:
    """With 50 non-members no rate is 1 %: the lowest one, 2 %, is quoted, and not the end of the curve."""
    rates = np.geomspace(1 / 50, 1, 24)
    figure = roc((curve("lira-online", rates, np.linspace(0.3, 1, 24).tolist()),), "the shadow models", 50)
    assert "At a 2% FPR: LiRA (online) identifies 30% of members." in figure.alt
    fine = np.array([0.001, 0.005, 0.01, 0.1])
    assert "At a 1% FPR: SLiRA identifies 30%" in roc((curve("slira", fine, [0.1, 0.2, 0.3, 0.4]),), "", 1000).alt


def test_a_band_is_drawn_where_there_are_intervals() -> None:
    rates = np.array([0.1, 0.2])
    assert curve("slira", rates, [0.3, 0.4]).low == ()
    banded = curve("slira", rates, [0.3, 0.4], lambda fpr: (np.array(fpr), np.array(2 * fpr)))
    assert (banded.low, banded.high) == ((0.1, 0.2), (0.2, 0.4))


def test_a_chosen_rate_is_written_exactly() -> None:
    """0.123 % must not become 0.12 %: the policy looks for the rate that was asked for."""
    assert title_at("slira", 0.00123) == "Membership inference, slira, at 0.123% FPR"
    assert re.search(r", slira, at 0\.000005% ", title_at("slira", 5e-8))
    assert "a 0.123% FPR" in tied(0.00123, Reached(below=0.0, above=0.1))
    assert "a 0.123% FPR" in unresolved(0.00123, 100)


def test_ties_leave_a_cell_without_numbers() -> None:
    shares = ((0.3, 0.2, 0.4), (0.01, 0.0, 0.02))
    assert cells(None, lambda: shares) == ("30% (20–40%)", "1% (0–2%)")
    assert cells(Reached(below=0.0, above=0.1), lambda: shares) == ("not reachable (ties)", "0% or 10%")


def test_the_policy_knows_which_attacks_need_reference_models() -> None:
    made = {name for name, attack in TARGET_ATTACKS.items() if attack.rung is Rung.REFERENCES}
    assert made == set(OF_REFERENCES)
