"""The risk of each record: p-values, false-discovery rates and their intervals, against laws that are known.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from memaudit.checks.classifier import ClassifierEvidence
from memaudit.checks.risk import FDR, _Spread, risk_check, risks
from memaudit.design import PairArrays, halves
from memaudit.policy import compare
from memaudit.stats import Couples, benjamini_hochberg, benjamini_yekutieli, rank_p_values
from memaudit.types import Limit

Array = np.ndarray


class _Bank(PairArrays):
    """A bank of models whose signals are Gaussian around each example's own mean; `leak` is what training adds."""

    def __init__(self, rng: np.random.Generator, pairs: int, mean: Array, leak: Array, run: float):
        examples = len(mean)
        members = halves(int(rng.integers(2**31)), 2 * pairs, examples)
        phi = np.stack([_model(rng, mean, leak * row, run) for row in members])
        first = members[0::2].astype(bool)
        inside, outside = np.where(first, phi[0::2], phi[1::2]), np.where(first, phi[1::2], phi[0::2])
        super().__init__(inside[..., None], outside[..., None])
        object.__setattr__(self, "members", members)
        object.__setattr__(self, "correct", np.ones(members.shape, bool))


def _model(rng: np.random.Generator, mean: Array, shift: Array, run: float) -> Array:
    """Return one model's signals; `run` is the spread of the scale between training runs."""
    scale = np.exp(run * rng.normal())
    return (mean + scale * (shift + rng.normal(size=len(mean)))).astype(np.float32)


def _evidence(
    seed: int, pairs: int = 3, share: float = 0.1, leak: float = 5.0, run: float = 0.0, examples: int = 600
) -> ClassifierEvidence:
    rng = np.random.default_rng((seed, pairs))
    mean, own = rng.normal(2, 2, examples), (rng.random(examples) < share) * leak
    bank = _Bank(rng, pairs, mean, own, run)
    members = rng.random(examples) < 0.5
    return ClassifierEvidence(
        phi=_model(rng, mean, own * members, run)[:, None],
        correct=np.ones(examples, bool),
        members=members,
        attacks=("lira-online",),
        fprs=(0.1,),
        bank=bank,  # type: ignore[arg-type]
        x=rng.normal(size=(examples, 2)),
        y=rng.integers(0, 2, examples),
    )


def _slow_benjamini_hochberg(p: list[float], level: float) -> set[int]:
    """Return what the step-up procedure rejects, by its definition."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    last = max((k for k in range(1, len(p) + 1) if p[order[k - 1]] <= level * k / len(p)), default=0)
    return set(order[:last])


@pytest.mark.parametrize("level", [0.01, 0.05, 0.2, 1.0])
def test_q_values_reject_what_the_definition_and_scipy_reject(level: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        p = np.round(rng.random(25) ** 3, 2)  # with ties
        assert set(np.flatnonzero(benjamini_hochberg(p) <= level)) == _slow_benjamini_hochberg(p.tolist(), level)
        assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))
        assert benjamini_yekutieli(p) == pytest.approx(stats.false_discovery_control(p, method="by"))


def test_rank_p_values_count_and_are_super_uniform() -> None:
    """P(p ≤ j/(n + 1)) is exactly j/(n + 1) without ties, and less with ties; 20,000 draws, 5 standard errors."""
    null, scores = np.array([1.0, 2.0, 2.0, 4.0]), np.array([0.0, 2.0, 3.0, 4.0, 5.0])
    assert rank_p_values(null, scores).tolist() == [1.0, 0.8, 0.4, 0.4, 0.2]
    rng = np.random.default_rng(1)
    for values in (rng.normal(size=(20_000, 8)), rng.integers(0, 3, (20_000, 8)).astype(float)):
        p = np.array([rank_p_values(row[1:], row[:1])[0] for row in values])
        for j in range(1, 9):
            error = 5 * np.sqrt(j / 8 * (1 - j / 8) / 20_000)
            assert (p <= j / 8 + 1e-9).mean() <= j / 8 + error
            if len(np.unique(values)) > 3:
                assert (p <= j / 8 + 1e-9).mean() >= j / 8 - error


def test_p_values_of_records_are_super_uniform_over_nonmembers_with_the_fewest_shadows() -> None:
    """Over 60 audits with 6 shadow models and nothing leaked: P(p ≤ u) is at most u, within 5 standard errors."""
    p = np.concatenate([risks(_evidence(seed, share=0)).p for seed in range(60)])
    for u in (0.001, 0.01, 0.05, 0.2, 0.5):
        assert (p <= u).mean() <= u + 5 * np.sqrt(u / len(p)) + 0.01 * u


@pytest.mark.parametrize("run", [0.0, 0.15])
@pytest.mark.parametrize(("share", "leak"), [(0.0, 0.0), (0.1, 5.0), (0.5, 3.0)])
def test_the_false_discovery_rate_holds_with_the_fewest_shadows(share: float, leak: float, run: float) -> None:
    """The mean share of non-members among the identified, over 60 audits with 6 shadow models, is below 5 %.

    It is about 2.5 %, the level times the share of non-members, with a standard error of about 0.4 %.
    """
    wrong = []
    for seed in range(60):
        evidence = _evidence(seed, share=share, leak=leak, run=run)
        identified = risks(evidence).q <= FDR
        wrong.append((identified & ~evidence.members).sum() / max(1, identified.sum()))
    assert np.mean(wrong) <= FDR
    assert share == 0 or np.mean(wrong) > 0


@pytest.mark.slow
@pytest.mark.parametrize(("pairs", "share", "leak"), [(3, 0.1, 5.0), (3, 0.5, 3.0), (8, 0.1, 5.0), (8, 0.5, 3.0)])
@pytest.mark.parametrize("run", [0.0, 0.1])
def test_the_interval_covers_the_expected_share(pairs: int, share: float, leak: float, run: float) -> None:
    """At least 89 of 100 intervals hold the mean share over banks and runs; at 95 %, fewer come with p = .01."""
    values, ends = [], []
    for seed in range(100):
        evidence = _evidence(seed, pairs, share, leak, run, 1000)
        (finding,), _ = risk_check.run(evidence)
        values.append(finding.estimate.value)
        ends.append((finding.estimate.low, finding.estimate.high))
    low, high = np.array(ends).T
    assert ((low <= np.mean(values)) & (np.mean(values) <= high)).sum() >= 89


@pytest.mark.slow
@pytest.mark.parametrize(("share", "leak"), [(0.1, 5.0), (0.5, 3.0)])
def test_gates_keep_their_error_rates_with_the_fewest_shadows(share: float, leak: float) -> None:
    """Of 120 audits with 6 shadow models and the limit at the true share, at most 14 pass, and at most 14 fail.

    At 5 % each, more have probability 1e-3.
    """
    found = [risk_check.run(_evidence(seed, share=share, leak=leak, run=0.1))[0][0] for seed in range(120)]
    limit = Limit(metric="risk", max=float(np.mean([finding.estimate.value for finding in found])))
    compared = [compare(limit, finding) for finding in found]
    assert sum(each.p_kept <= 0.0501 for each in compared) <= 14
    assert sum(each.p_broken <= 0.0501 for each in compared) <= 14


def test_a_gate_on_no_risk_is_not_broken_where_nothing_leaks() -> None:
    """In at most 6 of 40 audits with 6 shadow models; at 5 %, more have probability .003."""
    limit = Limit(metric="risk", max=0.0)
    found = [risk_check.run(_evidence(seed, share=0))[0][0] for seed in range(100, 140)]
    assert sum(compare(limit, finding).p_broken <= 0.0501 for finding in found) <= 6


def test_nothing_is_identified_where_nothing_leaks() -> None:
    """In at most 6 of 40 audits does anybody get identified; at 5 %, more have probability .003."""
    found = [risk_check.run(_evidence(seed, share=0))[0][0] for seed in range(40)]
    assert sum(finding.estimate.value > 0 for finding in found) <= 6
    assert sum(finding.estimate.low > 0 for finding in found) <= 6


def test_the_finding_counts_members_and_nonmembers() -> None:
    evidence = _evidence(5, pairs=8, share=0.5, leak=5.0)
    (finding,), skipped = risk_check.run(evidence)
    identified = risks(evidence).q <= FDR
    hits, wrong = int((identified & evidence.members).sum()), int((identified & ~evidence.members).sum())
    assert not skipped and hits > 50
    assert finding.n == evidence.members.sum() and finding.estimate.value == hits / finding.n
    assert (
        f"identifies {hits} of {finding.n} members" in finding.sentence
        and f"{wrong} are non-members" in finding.sentence
    )
    assert finding.tables[0].rows[1][1:4] == (hits + wrong, hits, wrong)
    assert finding.estimate.low < finding.estimate.value < finding.estimate.high


def test_shadow_models_are_scored_as_the_target_is() -> None:
    """The share that each shadow model would have identified, one by one and by brute force."""
    evidence = _evidence(2, pairs=4, share=0.5, leak=4.0, examples=200)
    attacked = evidence.attacked("lira-online")
    spread = _Spread.of(attacked, evidence.couples, evidence.members, risks(evidence).q <= FDR)
    shares = []
    for model, row in enumerate(evidence.bank.members.astype(bool)):
        pair = model // 2
        scores = np.where(row, attacked.inside[pair], attacked.outside[pair])
        null = np.delete(attacked.outside, pair, axis=0).ravel()
        p = [(1 + (null >= score).sum()) / (1 + len(null)) for score in scores]
        rejected = _slow_benjamini_hochberg(p, FDR)
        shares.append(len(rejected & set(np.flatnonzero(row).tolist())) / row.sum())
    assert sorted(spread.runs) == pytest.approx(sorted(shares))
    assert spread.freedom == 3


def test_the_probability_is_calibrated() -> None:
    """Among records of fresh models with a stated risk around r, a share of about r are members: within 5 errors."""
    evidence = _evidence(3, pairs=16, share=0.5, leak=2.0, examples=4000)
    found = risks(evidence)
    for low, high in ((0.0, 0.4), (0.4, 0.6), (0.6, 0.9), (0.9, 1.0)):
        here = (found.probability >= low) & (found.probability < high)
        if (count := int(here.sum())) > 30:
            told, true = found.probability[here].mean(), evidence.members[here].mean()
            assert abs(told - true) < 5 * np.sqrt(max(told * (1 - told), 0.01) / count) + 0.02


def test_risks_ignore_who_is_a_member() -> None:
    evidence = _evidence(4, share=0.5)
    other = replace(evidence, members=~evidence.members)
    assert (risks(evidence).q == risks(other).q).all()


def test_a_bank_without_pairs_is_measured_too() -> None:
    """Couples of single models, each a cluster of its own: the same counts as for pairs; the spread is by model."""
    evidence = _evidence(6, pairs=6, share=0.5, leak=5.0)
    couples = Couples.of_pairs(evidence.bank.members[0::2] > 0)
    single = Couples(couples.inside, couples.outside, np.arange(12, dtype=np.int32))
    (own,), _ = risk_check.run(evidence)
    (finding,), _ = risk_check.run(replace(evidence, matched=single))
    assert finding.estimate.value == own.estimate.value
    assert finding.estimate.low < finding.estimate.value < finding.estimate.high


def test_null_scores_of_the_learned_attack_serve_as_null() -> None:
    """SLiRA's scores, too: nothing leaked, hardly anything identified."""
    evidence = replace(_evidence(8, pairs=4, share=0.0, examples=400), attacks=("slira",))
    assert (risks(evidence).q <= FDR).mean() <= 0.01


def test_its_interval_is_plausible_to_the_gate() -> None:
    """It is wider than Clopper-Pearson's, as it has the variance between training runs."""
    from memaudit.policy.plausible import of_finding
    from memaudit.types import Report, Subject

    evidence = _evidence(0, run=0.3)
    (finding,), _ = risk_check.run(evidence)
    members = int(evidence.members.sum())
    subject = Subject(model="m", sha256="ab", members=members, nonmembers=len(evidence.members) - members, shadows=6)
    report = Report(created="", subject=subject, results=(), skipped=(), controls=(), provenance={})
    assert not list(of_finding(finding, report))
