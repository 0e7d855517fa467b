"""Exact tests of planted secrets: null distribution, power, intervals, the check and its control.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from loading import RECIPES, unregistered
from scipy import stats

import memaudit as ma
from memaudit.canaries import fisher, make
from memaudit.canaries.exact import exact_p, mean_interval, null_mean, planted_p, rank_share
from memaudit.canaries.families import drawn_by
from memaudit.checks.exact import Ranked, exact_check, unplanted
from memaudit.policy.judge import hold
from memaudit.recipe import Probes, Rendering, TextPopulation
from memaudit.types import Limit, Report, Result, Subject, Verdict

Array = np.ndarray


# --- arithmetic -------------------------------------------------------------------------------------------------------


def by_enumeration(rank: list[int], of: list[int], steps: int = 64) -> float:
    """The p-value from its definition: the share of all combinations of ranks whose sum of scores is as large."""

    def score(ranks: tuple[int, ...]) -> int:
        return sum(math.floor(math.log2(size / r) * steps) for r, size in zip(ranks, of, strict=True))

    every = [score(ranks) for ranks in itertools.product(*(range(1, size + 1) for size in of))]
    return sum(each >= score(tuple(rank)) for each in every) / len(every)


@pytest.mark.parametrize(
    ("rank", "of"),
    [
        ([1], [2]),
        ([2], [2]),
        ([1, 1], [7, 7]),
        ([3, 2], [7, 5]),
        ([1, 9, 4], [11, 9, 11]),
        ([2, 1, 3, 1], [4, 4, 4, 6]),
    ],
)
def test_the_p_value_is_the_share_of_all_outcomes_that_are_as_extreme(rank: list[int], of: list[int]) -> None:
    assert exact_p(np.array(rank), np.array(of)) == pytest.approx(by_enumeration(rank, of), rel=1e-12)


def test_one_canary_has_its_rank_as_p_value() -> None:
    """Rounding to 1/64 bit joins neighbours of the last ranks; it never makes a p-value smaller."""
    for rank in (1, 2, 5, 40, 500, 1000):
        p = exact_p(np.array([rank]), np.array([1000]))
        assert rank / 1000 <= p <= 1.02 * rank / 1000


def test_all_in_front_has_the_smallest_p_value_and_all_behind_one() -> None:
    of = np.full(32, 1001)
    assert exact_p(np.ones(32, int), of) == pytest.approx(1001.0**-32, rel=1e-9)
    assert exact_p(of, of) == pytest.approx(1.0, rel=1e-12)
    assert exact_p(np.ones(0, int), np.ones(0, int)) == 1.0


@pytest.mark.parametrize("references", [1, 3, 10, 100, 1000])
@pytest.mark.parametrize("canaries", [1, 2, 8, 32])
def test_p_values_are_uniform_or_larger_under_the_null(canaries: int, references: int) -> None:
    """At any level α, P[p ≤ α] ≤ α: 1,000 audits, 5 standard errors, false alarm < 1e-6 for each of 5 levels."""
    rng, of = np.random.default_rng([canaries, references]), np.full(canaries, references + 1)
    rounds = 1000 if canaries * references < 10_000 else 200
    p = np.array([exact_p(rng.integers(1, of + 1), of) for _ in range(rounds)])
    for alpha in (0.001, 0.01, 0.05, 0.2, 0.5):
        assert (p <= alpha).mean() <= alpha + 5 * math.sqrt(alpha * (1 - alpha) / rounds) + 1 / rounds
    if canaries * math.log2(references + 1) > 6:  # enough outcomes to be nearly uniform
        assert (p <= 0.5).mean() > 0.5 - 5 * 0.5 / math.sqrt(rounds) - 0.1


@pytest.mark.parametrize("values", [1, 2, 5])
def test_ties_only_make_p_values_larger(values: int) -> None:
    """Costs of so few values tie all the time; each tie counts against the canary. 1,000 audits, 5 errors."""
    rng, of = np.random.default_rng(values), np.full(8, 101)
    p = []
    for _ in range(1000):
        costs = rng.integers(0, values, (8, 101))
        p.append(exact_p((costs <= costs[:, :1]).sum(axis=1), of))
    for alpha in (0.01, 0.05, 0.2):
        assert (np.array(p) <= alpha).mean() <= alpha + 5 * math.sqrt(alpha * (1 - alpha) / 1000)
    assert values > 1 or min(p) == pytest.approx(1.0, rel=1e-12)


def test_the_chi_square_approximation_agrees_in_large_spaces_and_loses_in_small_ones() -> None:
    rng = np.random.default_rng(0)
    of = np.full(16, 100_000)
    rank = rng.integers(1, 20_000, 16)
    rounded = 2 ** (16 / 64) - 1  # each score loses less than 1/64 bit
    assert exact_p(rank, of) == pytest.approx(float(fisher(np.log2(of / rank))), rel=rounded)
    small = np.full(16, 2)
    assert exact_p(np.ones(16, int), small) == 2.0**-16
    assert fisher(np.ones(16)) > 100 * 2.0**-16


def test_a_leak_of_three_bits_is_found() -> None:
    """Ranks uniform in the best eighth: 12 canaries have 52.9 ± 5.0 bits, and 36.9 are p = 0.001 (χ², 24 degrees)."""
    rng, of = np.random.default_rng(3), np.full(12, 1001)
    assert np.mean([exact_p(rng.integers(1, 126, 12), of) < 0.001 for _ in range(100)]) >= 0.95


@pytest.mark.parametrize("rank", [0, 12])
def test_ranks_outside_of_the_space_are_refused(rank: int) -> None:
    with pytest.raises(ValueError, match="between 1 and"):
        exact_p(np.array([rank]), np.array([11]))


def test_planting_by_lot_is_tested_whatever_the_secrets_are() -> None:
    """Canaries that any model ranks first: the rank test is fooled by such secrets, the permutation test is not."""
    of, planted = np.full(20, 1001), np.arange(20) % 2 == 0
    chosen = np.ones(20, int)
    assert exact_p(chosen[planted], of[planted]) < 1e-20
    assert planted_p(chosen, of, planted, seed=0) == 1.0
    leaked = np.where(planted, 1, np.random.default_rng(0).integers(1, 1002, 20))
    p = planted_p(leaked, of, planted, seed=0)
    assert p is not None
    assert p == pytest.approx(1e-4)
    assert planted_p(leaked, of, np.ones(20, bool), seed=0) is None


def test_the_permutation_test_keeps_its_level() -> None:
    """500 null audits of 12 canaries, 6 of them planted: 5 errors above the level, false alarm < 1e-6."""
    rng, of = np.random.default_rng(5), np.full(12, 101)
    planted = np.arange(12) < 6
    p = np.array([planted_p(rng.integers(1, 102, 12), of, rng.permutation(planted), seed=n) for n in range(500)])
    for alpha in (0.01, 0.05, 0.2):
        assert (p <= alpha).mean() <= alpha + 5 * math.sqrt(alpha * (1 - alpha) / 500)


@pytest.mark.parametrize("size", [2, 5, 1001])
def test_the_null_mean_is_that_of_uniform_ranks(size: int) -> None:
    assert null_mean(np.full(3, size)) == pytest.approx(np.log2(size / np.arange(1, size + 1)).mean())


def test_the_rank_share_covers() -> None:
    """Canaries of unequal shares; the interval of their mean, from 8 × 100 references: 1,000 rounds, 5 errors."""
    rng, shares, of = np.random.default_rng(7), np.array([0.0, 0.01, 0.1, 0.2, 0.4, 0.5, 0.9, 1.0]), np.full(8, 100)
    ends = [rank_share(rng.binomial(100, shares), of)[1:] for _ in range(1000)]
    covered = np.mean([low <= shares.mean() <= high for low, high in ends])
    assert covered >= 0.95 - 5 * math.sqrt(0.05 * 0.95 / 1000)


def _null(rng: np.random.Generator, count: int) -> Array:
    return np.log2(1001 / rng.integers(1, 1002, count))


def _some_memorized(rng: np.random.Generator, count: int) -> Array:
    return np.where(rng.random(count) < 0.2, np.log2(1001), _null(rng, count))


def _half_memorized(rng: np.random.Generator, count: int) -> Array:
    return np.where(rng.random(count) < 0.5, np.log2(1001), _null(rng, count))


@pytest.mark.parametrize("law", [_null, _some_memorized, _half_memorized])
@pytest.mark.parametrize("canaries", [1, 4, 16])
def test_either_end_of_the_mean_exposure_holds(law: object, canaries: int) -> None:
    """One-sided at 97.5 %: 300 audits, each end may miss 2.5 % + 5 standard errors = 7 %; false alarm < 1e-6."""
    assert callable(law)
    rng = np.random.default_rng(canaries)
    mean = float(law(rng, 400_000).mean())
    rounds = [law(rng, canaries) for _ in range(300)]
    ends = np.array([mean_interval(bits, bits, math.log2(1001), 0.95) for bits in rounds])
    assert (ends[:, 0] > mean).mean() <= 0.07
    assert (ends[:, 1] < mean).mean() <= 0.07
    assert all(low <= bits.mean() <= high for (low, high), bits in zip(ends, rounds, strict=True))


def test_surer_intervals_are_wider_and_order_does_not_matter() -> None:
    bits = _some_memorized(np.random.default_rng(0), 16)
    low, high = mean_interval(bits, bits, math.log2(1001), np.array([0.9, 0.95, 0.99]))
    assert (np.diff(low) < 0).all()
    assert (np.diff(high) > 0).all()
    again = mean_interval(bits[::-1], bits[::-1], math.log2(1001), np.array([0.9, 0.95, 0.99]))
    assert np.allclose(low, again[0])
    assert np.allclose(high, again[1])


def test_the_interval_of_the_mean_is_a_test_by_betting() -> None:
    """Written out for one bound: the average of the products of bets exceeds 1/α below it and not above it."""
    x = np.array([0.1, 0.4, 0.9])
    low = float(mean_interval(x, x, 1.0, 0.95)[0])
    bets = [0.05 + 0.1 * n for n in range(10)]

    def capital(mean: float) -> float:
        return sum(math.prod(1 + c * (each - mean) / mean for each in x) for c in bets) / len(bets)

    assert capital(low) == pytest.approx(40)
    assert capital(0.9 * low) > 40 > capital(1.1 * low)


def test_the_seed_shows_whether_secrets_were_drawn() -> None:
    canaries = make(6, seed=2**90)
    assert drawn_by(2**90, canaries)
    assert not drawn_by(2**90 + 1, canaries)
    chosen = replace(canaries[2], secret=(1, 2, 3, 4))
    assert not drawn_by(2**90, (*canaries[:2], chosen, *canaries[3:]))
    assert not drawn_by(2**90, canaries[::-1])


# --- the check --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """What the check reads, and no more."""

    population: TextPopulation
    recorded: dict[str, Array]
    doses: Array
    seed: int = 0


@pytest.fixture(scope="module")
def population() -> TextPopulation:
    module = unregistered(RECIPES / "language.py")
    probes = Probes(canaries=24, references=500, secrets=0, contexts=(4,), suffix=4)
    return TextPopulation(module.documents(), Rendering(module.tokenizer, context=128), probes)


def asked(population: TextPopulation, gain: float, seed: int = 0, planted: int = 12) -> Asked:
    """Returns costs of a model: normal, and smaller by the gain for each planted canary's own secret."""
    rng = np.random.default_rng(seed)
    doses = np.repeat([0, 1, 4], [24 - planted, planted - planted // 2, planted // 2]).astype(np.uint8)
    costs = rng.normal(0, 1, (24, 501))
    costs[:, 0] -= gain * (doses > 0)
    found = {"search_found": np.ones(24, bool), "search_rank": np.where(doses > 0, 1, 5000)}
    return Asked(population, {"canary_cost": costs[:, 0], "reference_cost": costs[:, 1:].ravel(), **found}, doses)


def test_a_model_that_has_seen_them_is_found_out(population: TextPopulation) -> None:
    evidence = asked(population, gain=6.0)
    (finding,), skipped = exact_check.run(evidence)
    assert not skipped
    assert (finding.code, finding.metric, finding.attack, finding.n) == ("CAN010", "planted-exposure", "raw", 12)
    assert finding.estimate.value == pytest.approx(math.log2(501), rel=0.02)
    assert finding.estimate.high == pytest.approx(math.log2(10_000), rel=0.02), "references cannot show all of it"
    assert "Exact p-value" in finding.sentence
    by_dose, guesses = finding.tables
    assert [row[0] for row in by_dose.rows] == [0, 1, 4, "all planted"]
    assert float(str(by_dose.rows[0][5])) > 0.001
    assert float(str(by_dose.rows[1][5])) < 1e-12
    assert [row[:2] for row in guesses.rows] == [(1, 12), (10, 12), (100, 12), (1000, 12)]
    assert any("p = 0.0001" in note for note in finding.notes)
    assert unplanted(evidence).passed


def test_the_p_value_is_that_of_the_ranks(population: TextPopulation) -> None:
    evidence = asked(population, gain=1.0, seed=4)
    ranked = Ranked.of_model(evidence)
    costs = np.column_stack([evidence.recorded["canary_cost"], evidence.recorded["reference_cost"].reshape(24, 500)])
    for canary in range(24):
        assert ranked.rank[canary] == sum(cost <= costs[canary, 0] for cost in costs[canary])
    here = evidence.doses > 0
    (finding,), _ = exact_check.run(evidence)
    assert f"{exact_p(ranked.rank[here], ranked.of[here]):.2g}." in finding.sentence
    assert finding.estimate.value == pytest.approx(np.log2(501 / ranked.rank[here]).mean())


def test_small_spaces_are_ranked_as_a_whole(population: TextPopulation) -> None:
    probes = replace(population.probes, canaries=make(3, length=2, seed=1), references=100)
    whole = TextPopulation(population.documents, population.renderer.rendering, probes)
    costs = np.random.default_rng(0).normal(size=(3, 100))
    place = [int(10 * space.secret[0] + space.secret[-1]) for space in whole.spaces]
    costs[np.arange(3), place] = -9
    evidence = Asked(
        whole, {"canary_cost": costs[np.arange(3), place], "reference_cost": costs.ravel()}, np.ones(3, np.uint8)
    )
    ranked = Ranked.of_model(evidence)
    assert ranked.whole.all()
    assert (ranked.rank.tolist(), ranked.of.tolist()) == ([1, 1, 1], [100, 100, 100])
    (finding,), _ = exact_check.run(evidence)
    assert "1e-06" in finding.sentence
    assert finding.estimate.value == pytest.approx(math.log2(100))
    assert unplanted(evidence).passed is None


def test_the_null_gives_uniform_p_values_and_intervals_that_hold(population: TextPopulation) -> None:
    """40 models that saw nothing: at 5 % each, P[more than 9 of 40] < 1e-4, for small p-values and missed means."""
    findings = [exact_check.run(asked(population, gain=0.0, seed=seed))[0][0] for seed in range(40)]
    p = [float(finding.sentence.rsplit(": ", 1)[1][:-1]) for finding in findings]
    assert sum(each <= 0.05 for each in p) <= 9
    assert stats.kstest(p, "uniform").pvalue > 1e-4
    held = sum(finding.estimate.low <= 1.43 <= finding.estimate.high for finding in findings)
    assert held >= 31


@pytest.mark.parametrize(("planted", "reason"), [(0, "no canary was planted")])
def test_without_planted_canaries_nothing_is_found(population: TextPopulation, planted: int, reason: str) -> None:
    findings, (skipped,) = exact_check.run(asked(population, gain=0.0, planted=planted))
    assert not findings
    assert reason in skipped.reason


def test_the_control_sees_secrets_that_nobody_drew(population: TextPopulation) -> None:
    evidence = asked(population, gain=0.0)
    favourites = evidence.recorded | {"canary_cost": np.full(24, -9.0)}
    failed = unplanted(replace(evidence, recorded=favourites))
    assert (failed.code, failed.passed) == ("CTL006", False)
    assert "planted-exposure" in failed.overstates


def _judged(population: TextPopulation, gain: float, limit: float) -> Result:
    evidence = asked(population, gain=gain)
    (finding,), _ = exact_check.run(evidence)
    report = Report(
        created="",
        subject=Subject(model="m", sha256="0", members=30, nonmembers=30, shadows=0),
        results=(Result(finding=finding, verdict=Verdict.NOTED, reason=""),),
        skipped=(),
        controls=(unplanted(evidence),),
        provenance={},
    )
    (result,) = hold(report, [Limit(metric="planted-exposure", max=limit)]).results
    return result


def test_a_limit_is_broken_by_the_lower_bound_alone(population: TextPopulation) -> None:
    assert _judged(population, gain=6.0, limit=3.0).verdict is Verdict.FAIL
    undecided = _judged(population, gain=0.0, limit=2.0)
    assert undecided.verdict is Verdict.INCONCLUSIVE
    assert "more planted canaries" in undecided.needed


# --- from the command line --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("drawn_once")
def test_an_audit_without_a_bank_judges_planted_canaries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., CompletedProcess[str]]
) -> None:
    """A model trained on 24 canaries at doses 0 to 16, then a limit that is broken, and one that no model can break."""
    monkeypatch.chdir(tmp_path)
    source = (RECIPES / "language.py").read_text("utf-8").replace("canaries=4", "canaries=24")
    Path("recipe_of_canaries.py").write_text(source, "utf-8")
    recipe = unregistered(tmp_path / "recipe_of_canaries.py").recipe
    members = ma.draw_members(recipe, seed=7)
    ma.save_target(ma.train(recipe, members, seed=1), "model", members)
    for most, code in ((0.01, 1), (13.3, 0)):
        Path("memaudit.toml").write_text(
            '[audit]\nrecipe = "recipe_of_canaries.py:recipe"\nfpr = [0.1]\n\n'
            f'[[gate]]\nmetric = "planted-exposure"\nmax = {most}\n',
            "utf-8",
        )
        if code:  # the second limit is held against the same audit
            done = command("audit", "model", "--shadows", 0)
            assert done.returncode == code, done.stdout + done.stderr
        assert command("gate", "audit/report.json").returncode == code
    report = json.loads(Path("audit/report.json").read_text("utf-8"))
    finding = next(r["finding"] for r in report["results"] if r["finding"]["code"] == "CAN010")
    p = float(finding["sentence"].rsplit(": ", 1)[1].rstrip("."))
    assert p < 1e-3, "the model has seen them up to 16 times"
    assert {c["code"]: c["passed"] for c in report["controls"]}["CTL006"] is True
    page = Path("audit/report.html").read_text("utf-8")
    assert "Exact p-value" in page
    assert "Guessing the planted secrets" in page
