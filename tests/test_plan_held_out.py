"""What a plan says of audits without a bank."""

import pytest

from memaudit.policy import held_out_outlooks
from memaudit.stats import clopper_pearson
from memaudit.types import Limit, Rung

NAMED = Limit(metric="tpr", attack="global-threshold", at_fpr=0.1, max=0.05)


def can_pass(limit: Limit, members: int, nonmembers: int, rung: Rung = Rung.TARGET) -> bool | None:
    return held_out_outlooks([limit], ["global-threshold"], [0.1], members, nonmembers, rung)[0].can_pass


def test_a_limit_can_pass_from_the_members_on_with_which_no_hit_keeps_it() -> None:
    """One comparison at 95 %, half of whose error is the threshold's: the upper end at no hit, one-sided 97.5 %."""
    least = next(n for n in range(10, 500) if clopper_pearson(0, n, 0.95)[1] <= 0.05)
    assert (can_pass(NAMED, least, 500), can_pass(NAMED, least - 1, 500)) == (True, False)


def test_too_few_non_members_have_no_loose_threshold() -> None:
    assert can_pass(NAMED, 10_000, 5) is False


@pytest.mark.parametrize("attack", [None, "slira", "lira-online"])
def test_what_needs_a_bank_cannot_pass_below(attack: str | None) -> None:
    limit = Limit(metric="tpr", attack=attack, at_fpr=0.1, max=0.9)
    assert can_pass(limit, 10_000, 10_000, Rung.REFERENCES) is False
