"""Two releases of one model: the score against densities, the couples by counting, null and coverage by simulation."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from scipy import stats

from memaudit.attacks import Lira, releases
from memaudit.attacks.releases import Change, Holds, Signs, Simulated
from memaudit.checks.classifier import ClassifierEvidence
from memaudit.checks.facts import Release
from memaudit.checks.snapshots import Compared, snapshots_check
from memaudit.design import PairArrays, halves
from memaudit.policy.plausible import of_finding
from memaudit.policy.words import otherwise_said

Array = np.ndarray
RECIPES = Path(__file__).parent / "recipes"
Command = Callable[..., CompletedProcess[str]]


@pytest.mark.parametrize("change", list(Change))
def test_the_score_is_the_likelihood_ratio_of_changed_against_unchanged(change: Change) -> None:
    rng = np.random.default_rng(0)
    old, new, never = rng.normal(size=50), rng.normal(size=50), 0.3

    def density(x: Array, member: bool) -> Array:
        return np.asarray(stats.norm.pdf(x, 1.5 * member))

    def signs(x: Array) -> Signs:
        return Signs(np.log(density(x, True) / density(x, False)), x)

    changed = density(old, change is Change.REMOVED) * density(new, change is Change.ADDED)
    never_in, kept = (density(old, side) * density(new, side) for side in (False, True))
    expected = np.log(changed / (never * never_in + (1 - never) * kept))
    assert releases.change_score(change, Holds.BOTH, signs(old), signs(new), never) == pytest.approx(expected)


def test_where_nothing_is_kept_or_never_a_member_the_score_is_that_of_one_release() -> None:
    old, new = (Signs(np.array(values), np.zeros(2)) for values in ([1.0, -2.0], [3.0, 0.5]))
    assert releases.score(Holds.BOTH, old, new, 1.0) == pytest.approx(new.ratio)
    assert releases.score(Holds.BOTH, old, new, 0.0) == pytest.approx(-old.ratio)


def test_simulated_releases_are_scored_without_either_of_their_pairs() -> None:
    """The oracle takes both pairs out by hand; a target is scored with as many references."""
    rng = np.random.default_rng(1)
    bank = PairArrays(*rng.normal(size=(2, 7, 40, 2)).astype(np.float32))
    found = Simulated.of(bank)
    assert found.inside.ratio.shape == (6, 40)
    for row in range(6):
        others = [pair for pair in range(7) if pair not in (row, row ^ 1)]
        references = bank.take(np.array([*others, 0]))  # the last one is left out
        assert np.array_equal(found.inside.ratio[row], Lira().scores(bank.inside[row], references))
        assert np.array_equal(found.outside.ratio[row], Lira().scores(bank.outside[row], references))
    alone = bank.take(np.arange(6))
    assert np.array_equal(releases.signs(bank.inside[6], bank).ratio, Lira().scores(bank.inside[6], alone))
    with pytest.raises(ValueError, match="at least 6 pairs"):
        Simulated.of(bank.take(np.arange(5)))


def test_couples_name_the_models_that_the_scores_come_from() -> None:
    """A model says its own number: the score of a simulated release must be that of the models that are named."""
    rng = np.random.default_rng(2)
    pairs, examples = 7, 30
    first = rng.random((pairs, examples)) < 0.5
    kept = rng.random((6, examples)) < 0.4
    numbers = np.arange(2 * pairs).reshape(pairs, 2)
    inside = np.where(first, numbers[:, :1], numbers[:, 1:])
    outside = np.where(first, numbers[:, 1:], numbers[:, :1])
    couples = releases.couples(first, kept)
    assert couples.models == 24 and couples.groups == 3 and couples.share == 0.25
    other = np.arange(6) ^ 1
    for named, has in ((couples.inside, None), (couples.outside, kept)):
        row, models = named // 4, named % 4
        assert (row == np.arange(6)[:, None]).all()
        without, of = numbers[row, models // 2], numbers[row ^ 1, models % 2]
        if has is None:
            assert (without == outside[:6]).all() and (of == inside[other]).all()
        else:
            assert (without == np.where(has, inside[:6], outside[:6])).all()
            assert (of == np.where(has, inside[other], outside[other])).all()


class _Bank(PairArrays):
    """A bank of Gaussian signals, of examples that differ in difficulty, with a shift for members."""

    def __init__(self, rng: np.random.Generator, pairs: int, mean: Array, shift: float):
        size = (pairs, len(mean), 1)
        inside, outside = (mean[:, None] + more + rng.normal(size=size) for more in (shift, 0.0))
        super().__init__(inside.astype(np.float32), outside.astype(np.float32))
        object.__setattr__(self, "members", halves(int(rng.integers(1000)), 2 * pairs, len(mean)))
        object.__setattr__(self, "correct", np.ones((2 * pairs, len(mean)), bool))


def _evidence(seed: int, shift: float, examples: int = 1500, pairs: int = 10, share: float = 0.3) -> ClassifierEvidence:
    rng = np.random.default_rng(seed)
    mean = rng.normal(0, 2, examples)
    was = rng.random(examples) < 0.5
    now = was ^ (rng.random(examples) < share)

    def phi(members: Array) -> Array:
        return (mean + shift * members + rng.normal(size=examples)).astype(np.float32)[:, None]

    right = np.ones(examples, bool)
    return ClassifierEvidence(
        phi=phi(now),
        correct=right,
        members=now,
        attacks=("lira-online",),
        fprs=(0.05,),
        bank=_Bank(rng, pairs, mean, shift),  # type: ignore[arg-type]
        before=Release(phi(was), right, was),
        x=rng.normal(size=(examples, 2)),
        y=rng.integers(0, 2, examples),
    )


def _exact(shift: float, never: float, fpr: float, holds: Holds) -> float:
    """The true-positive rate at an exact false-positive rate, where the laws are known: by 2,000,000 draws."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, 2_000_000))
    kept = rng.random(noise.shape[1]) >= never

    def scores(old: Array | float, new: Array | float) -> Array:
        phi = noise[0] + shift * old, noise[1] + shift * new
        signs = [Signs(shift * x - shift**2 / 2, x) for x in phi]
        return releases.score(holds, signs[0], signs[1], never)

    cut = np.quantile(scores(kept, kept), 1 - fpr)
    return float((scores(0, 1) > cut).mean())


@pytest.mark.slow
@pytest.mark.parametrize("holds", [Holds.BOTH, Holds.WITH])
def test_the_interval_holds_the_rate_of_known_laws(holds: Holds) -> None:
    """With 40 pairs, estimated laws are nearly the known ones; misses of 30 at 5 %: more than 5 have probability 3e-3.

    The scores of 10 pairs are worse than the exact ones, so that their rate is compared with its own mean below.
    """
    misses = 0
    for seed in range(30):
        evidence = _evidence(seed, 2.5, examples=800, pairs=40)
        compared = Compared.of(evidence)
        exact = _exact(2.5, compared.never, 0.05, holds)
        low, high = compared.rate(Change.ADDED, holds, 0.05).interval()
        misses += not low - 0.02 <= exact <= high + 0.02  # 0.02: what 39 references lose
    assert misses <= 5


def test_null_changed_records_are_flagged_as_often_as_unchanged_ones() -> None:
    """Without any leak the rate is the false-positive rate: 20 releases, 5 standard errors of the mean."""
    rates = []
    for seed in range(20):
        compared = Compared.of(_evidence(seed, 0.0, examples=600, pairs=6))
        rates.append([compared.rate(change, Holds.BOTH, 0.05).value for change in Change])
    mean, error = np.mean(rates), np.std(np.mean(rates, axis=1), ddof=1) / np.sqrt(20)
    assert abs(mean - 0.05) < 5 * error


def test_both_releases_identify_more_than_either() -> None:
    evidence = _evidence(3, 3.0)
    findings, skipped = snapshots_check.run(evidence)
    assert not skipped and [f.attack for f in findings] == ["added", "removed"]
    for finding, change in zip(findings, Change, strict=True):
        assert not list(of_finding(finding, _report(evidence)))
        compared = Compared.of(evidence)
        assert finding.n == compared.changed(change).sum()
        single = max(compared.rate(change, holds, 0.05).value for holds in (Holds.WITH, Holds.WITHOUT))
        assert finding.estimate.low > single
        assert "percentage points more" in finding.notes[0]
        wrong = compared.flagged(change, Holds.BOTH, 0.05)[compared.unchanged].mean()
        assert abs(wrong - 0.05) < 0.03


def _report(evidence: ClassifierEvidence) -> Any:
    from memaudit.types import Report, Subject

    members = int(evidence.members.sum())
    subject = Subject(model="m", sha256="ab", members=members, nonmembers=len(evidence.members) - members, shadows=20)
    return Report(
        created="2026-11-28T00:00:00+00:00", subject=subject, results=(), skipped=(), controls=(), provenance={}
    )


def test_what_cannot_be_compared_is_refused_with_its_reason() -> None:
    evidence = _evidence(4, 2.0)
    assert evidence.before is not None

    def reasons(before: Release, **more: Any) -> list[str]:
        findings, skipped = snapshots_check.run(replace(evidence, before=before, **more))
        assert not findings
        return [each.reason for each in skipped]

    same = replace(evidence.before, members=evidence.members)
    assert "same members" in reasons(same)[0]
    few = evidence.members.copy()
    few[np.flatnonzero(few)[:5]] = False
    few_phi = np.where(few != evidence.members, evidence.phi[:, 0] - 2, evidence.phi[:, 0])[:, None]
    refused = reasons(replace(evidence.before, members=few, phi=few_phi.astype(np.float32)))
    assert "5 records were added" in refused[0] and "0 records were removed" in refused[1]
    strange = replace(evidence.before, phi=evidence.before.phi + 3)
    assert "does not look like the shadow models" in reasons(strange)[0]
    assert "cannot resolve" in reasons(evidence.before, fprs=(1e-5,))[0]
    assert not snapshots_check.wanted(replace(evidence, before=None))


def _forged(result: Any) -> Any:
    """The same result with a lower number, in the words alone."""
    said = re.sub(r"identify [\d.]+%", "identify 0.3%", result.finding.sentence, count=1)
    return replace(result, finding=replace(result.finding, sentence=said))


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A folder with a recipe and two releases: a fifth of the members was replaced."""
    import sys

    import memaudit as ma
    from memaudit.recipe import load_recipe

    folder = tmp_path_factory.mktemp("releases")
    shutil.copy(RECIPES / "tiny_recipe.py", folder / "released.py")
    path = list(sys.path)
    recipe = load_recipe(str(folder / "released.py"))
    old = np.asarray(ma.draw_members(recipe, seed=1))
    rng = np.random.default_rng(0)
    new = np.where(rng.random(len(old)) < 0.3, 1 - old, old).astype(np.uint8)
    for name, members, seed in (("old", old, 5), ("new", new, 6)):
        model = ma.train(recipe, members, seed=seed, device="cpu")
        ma.save_target(model, folder / f"{name}.pt", members, recipe)
    ma.fill(folder / "bank", recipe, 12, device="cpu")
    yield folder, recipe
    sys.path[:] = path
    del sys.modules["released"]


def test_an_audit_compares_two_releases(released: Any) -> None:
    import memaudit as ma
    from memaudit.policy.complete import incomplete
    from memaudit.policy.consistency import contradictions

    folder, recipe = released
    done = ma.audit(folder / "new.pt", recipe, folder / "bank", before=folder / "old.pt", fprs=(0.1,), device="cpu")
    said = [r.finding for r in done.report.results if r.finding.code == "MIA024"]
    refused = [s for s in done.report.skipped if s.code == "MIA024"]
    assert len(said) + len(refused) == 2 and said
    assert any("Three or more releases" in line for line in done.report.untested)
    assert not contradictions(done.report) and not list(otherwise_said(done.report))
    without = tuple(r for r in done.report.results if r.finding.code != "MIA024")
    hidden = replace(done.report, results=without, skipped=tuple(s for s in done.report.skipped if s.code != "MIA024"))
    assert any("MIA024 is missing: the audit was asked about earlier release" in line for line in incomplete(hidden))
    lost = next(r for r in done.report.results if r.finding.code == "MIA024")
    kept = replace(done.report, results=tuple(r for r in done.report.results if r is not lost))
    assert f"MIA024 has no result for {lost.finding.attack} records at 0.1 FPR" in list(incomplete(kept))
    better = tuple(_forged(r) if r.finding.code == "MIA024" else r for r in done.report.results)
    assert any(
        "other numbers than its estimate" in line for line in otherwise_said(replace(done.report, results=better))
    )
    (control,) = (control for control in done.report.controls if control.code == "CTL004")
    assert {r.attack for r in said} <= {str(row[0]) for row in control.tables[0].rows}  # thresholds keep their rates
    alone = ma.audit(folder / "new.pt", recipe, folder / "bank", fprs=(0.1,), device="cpu").report
    assert "MIA024" not in {r.finding.code for r in alone.results} | {s.code for s in alone.skipped}
    with pytest.raises(ma.MemauditError, match="is the audited model itself"):
        ma.audit(folder / "new.pt", recipe, folder / "bank", before=folder / "new.pt", device="cpu")
    shutil.copy(folder / "old.pt", folder / "unknown.pt")
    with pytest.raises(ma.MemauditError, match="give --before-members"):
        ma.audit(folder / "new.pt", recipe, folder / "bank", before=folder / "unknown.pt", device="cpu")
    with pytest.raises(ma.MemauditError, match="bank of complementary pairs"):
        ma.audit(folder / "new.pt", recipe, before=folder / "old.pt", device="cpu")


@pytest.mark.usefixtures("drawn_once")
def test_the_command_compares_two_releases(released: Any, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = released
    monkeypatch.chdir(folder)
    done = command(
        *("audit", "new.pt", "--before", "old.pt", "--recipe", "released.py:recipe", "--shadows", "12"),
        *("--fpr", "0.1", "--bank", "bank"),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((folder / "audit" / "report.json").read_text("utf-8"))
    assert "MIA024" in {r["finding"]["code"] for r in report["results"]}
    assert "earlier release" in report["provenance"]
