"""What a limit can be expected to decide: against closed forms and against sums over every number of hits."""

from math import ceil, log

import pytest
from scipy.stats import beta, binom

from memaudit.policy import chances, least_broken, least_units, most_kept
from memaudit.stats import least_nonmembers, resolvable
from memaudit.types import Limit


def tpr(limit: float, confidence: float = 0.95) -> Limit:
    return Limit(metric="tpr", max=limit, confidence=confidence)


@pytest.mark.parametrize(("limit", "units"), [(0.05, 59), (0.01, 299), (0.005, 598), (0.001, 2_995), (0.0001, 29_956)])
def test_the_least_members_that_can_keep_a_limit(limit: float, units: int) -> None:
    """Known values: (1 − limit)ⁿ ≤ α, as many as no hit among them excludes the limit."""
    assert least_units(tpr(limit)) == units == ceil(log(0.05) / log(1 - limit))


@pytest.mark.parametrize("comparisons", [1, 2, 5])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_several_comparisons_take_as_many_as_their_share_of_the_confidence_asks_for(
    comparisons: int, confidence: float
) -> None:
    share = (1 - confidence) / comparisons
    assert least_units(tpr(0.02, confidence), comparisons) == ceil(log(share) / log(0.98))


def test_a_limit_that_no_number_can_keep_has_no_least_number() -> None:
    assert least_units(tpr(0.0)) is None
    assert least_units(tpr(1.0)) == 1


@pytest.mark.parametrize("units", [1, 59, 100, 1_000])
@pytest.mark.parametrize("comparisons", [1, 3])
def test_the_bounds_of_hits_are_those_of_clopper_and_pearson(units: int, comparisons: int) -> None:
    """The one-sided bounds by their definition, as Beta quantiles; the policy decides by p-values.

    At a limit of 5% one hit of one is a tie, p = α, which the policy takes for broken; hence a limit of 4%.
    """
    limit, alpha = 0.04, 0.05 / comparisons
    kept = [k for k in range(units) if beta.ppf(1 - alpha, k + 1, units - k) <= limit]
    broken = [k for k in range(1, units + 1) if beta.ppf(alpha, k, units - k + 1) > limit]
    assert most_kept(tpr(limit), units, comparisons) == max(kept, default=-1)
    assert least_broken(tpr(limit), units, comparisons) == min(broken, default=units + 1)


def test_chances_are_sums_over_hits_and_err_no_more_often_than_the_limit_says() -> None:
    for units in (10, 200, 1_000):
        for rate in (0.0, 0.01, 0.03, 0.05, 0.08, 1.0):
            found = chances(tpr(0.05), units, rate)
            kept, broken = most_kept(tpr(0.05), units), least_broken(tpr(0.05), units)
            assert found.passes == pytest.approx(sum(binom.pmf(k, units, rate) for k in range(kept + 1)))
            assert found.fails == pytest.approx(sum(binom.pmf(k, units, rate) for k in range(broken, units + 1)))
            assert found.passes + found.fails + found.undecided == pytest.approx(1)
            assert (found.passes if rate > 0.05 else found.fails) <= 0.05


@pytest.mark.parametrize(("fpr", "least"), [(0.01, 100), (0.001, 1_000), (1 / 49, 49), (0.3, 4), (0.0001, 10_000)])
def test_the_least_nonmembers_are_the_fewest_that_resolve_the_rate(fpr: float, least: int) -> None:
    assert least_nonmembers(fpr) == least
    assert resolvable(fpr, least) and not resolvable(fpr, least - 1)
