"""Subgroups: who is compared, which groups may be shown, and that intervals and tests keep their level.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from scipy import stats
from sklearn import ensemble

import memaudit as ma
from memaudit.auditing import Audit
from memaudit.checks.classifier import ClassifierEvidence
from memaudit.checks.subgroups import _shown, permutation_p_value, simultaneous, subgroups_check
from memaudit.design import PairArrays, halves
from memaudit.errors import MemauditError
from memaudit.policy.consistency import contradictions
from memaudit.policy.plausible import of_finding
from memaudit.recipe import load_recipe
from memaudit.recipe.subgroups import Subgroups, subgroups_of
from memaudit.reports import editions
from memaudit.stats import shown_groups
from memaudit.types import Edition, Rung, Subject

Array = np.ndarray


class _Bank(PairArrays):
    """A bank of Gaussian signals; `leak` is what training adds to each example's."""

    def __init__(self, rng: np.random.Generator, pairs: int, leak: Array):
        members = halves(int(rng.integers(2**31)), 2 * pairs, len(leak))
        phi = (rng.normal(size=members.shape) + leak * members).astype(np.float32)
        first = members[0::2].astype(bool)
        inside, outside = np.where(first, phi[0::2], phi[1::2]), np.where(first, phi[1::2], phi[0::2])
        super().__init__(inside[..., None], outside[..., None])
        object.__setattr__(self, "members", members)
        object.__setattr__(self, "correct", (phi > 1.0))


def _evidence(
    seed: int, leaks: tuple[float, ...], pairs: int = 4, examples: int = 400, share: tuple[float, ...] | None = None
) -> ClassifierEvidence:
    """Groups A, B, … of one column, of which each leaks by as much; and a column that has nothing to do with it."""
    rng = np.random.default_rng((seed, len(leaks)))
    group = rng.choice(len(leaks), examples, p=share)
    leak = np.array(leaks)[group]
    members = rng.random(examples) < 0.5
    names = tuple("ABCDEFGH"[: len(leaks)])
    other = rng.integers(0, 3, examples)
    return ClassifierEvidence(
        phi=(rng.normal(size=examples) + leak * members).astype(np.float32)[:, None],
        correct=np.ones(examples, bool),
        members=members,
        attacks=("lira-online",),
        fprs=(0.1,),
        bank=_Bank(rng, pairs, leak),  # type: ignore[arg-type]
        x=rng.normal(size=(examples, 2)),
        y=rng.integers(0, 2, examples),
        subgroups=(Subgroups("leak", names, group), Subgroups("other", ("x", "y", "z"), other)),
    )


def _recovered(columns: list[Array], side: Array, shown: list[list[int]], least: int) -> list[int]:
    """Sizes below `least` that follow from the totals, the shown groups and differences of two of them."""
    whole = int(side.sum())
    sets = [
        frozenset(np.flatnonzero(side & (c == g)).tolist()) for c, own in zip(columns, shown, strict=True) for g in own
    ]
    found = [len(group) for group in sets]
    found += [
        whole - sum(int((side & (c == g)).sum()) for g in own) for c, own in zip(columns, shown, strict=True) if own
    ]
    found += [len(a - b) for a, b in itertools.permutations(sets, 2) if b < a]
    return [size for size in found if 0 < size < least]


def test_no_small_group_follows_from_what_is_shown() -> None:
    """By brute force, over 300 random tables, some nested; and a column whose groups are all large is shown whole."""
    rng, some = np.random.default_rng(0), 0
    for _ in range(300):
        examples = int(rng.integers(60, 400))
        first = rng.choice(5, examples, p=rng.dirichlet(np.ones(5)))
        nested = np.where(rng.random(examples) < 0.03, 0, first % 3)
        columns, members = [first, nested, rng.integers(0, 2, examples)], rng.random(examples) < 0.5
        shown = shown_groups(columns, members, 10)
        some += bool(shown[0])
        for side in (members, ~members):
            assert _recovered(columns, side, shown, 10) == []
    assert some > 30
    large = np.repeat([0, 1, 2], 40)
    assert shown_groups([large], np.tile([True, False], 60), 10) == [[0, 1, 2]]


def test_a_single_small_group_takes_the_next_one_with_it() -> None:
    column = np.repeat([0, 1, 2, 3], [100, 60, 40, 8])
    assert shown_groups([column], np.tile([True, False], 104), 10) == [[0, 1]]
    assert shown_groups([np.repeat([0, 1], [100, 8])], np.tile([True, False], 54), 10) == [[]]
    assert shown_groups([np.repeat([0, 1, 2, 3, 4], [100, 60, 12, 12, 8])], np.tile([True, False], 96), 10) == [[0, 1]]
    almost = np.repeat([0, 1], [103, 105])
    assert shown_groups([column[:100], column[:100] * 0], np.tile([True, False], 50), 10) == [[], []]
    shown = shown_groups([np.repeat([0, 1], [100, 108]), almost], np.tile([True, False], 104), 10)
    assert sorted(shown) == [[], [0, 1]]  # two columns that differ by three people: one of them


def test_the_group_that_leaks_is_named_and_the_test_finds_it() -> None:
    (finding,), skipped = subgroups_check.run(_evidence(1, (0.0, 0.0, 4.0), pairs=8))
    assert not skipped and finding.metric == "subgroup" and finding.at_fpr == 0.1
    assert "the members with “leak = C”" in finding.sentence and "The groups of “leak” differ" in finding.sentence
    rows = {row[0]: row for row in finding.tables[0].rows}
    assert list(rows) == ["leak = A", "leak = B", "leak = C", "other = x", "other = y", "other = z"]
    assert sum(float(str(rows[f"leak = {name}"][1])) for name in "ABC") == finding.n
    (figure,) = finding.figures
    assert figure.ticks == ("leak", "A", "B", "C", "other", "x", "y", "z")
    assert figure.curves[0].y[2] == finding.estimate.value == max(figure.curves[0].y)
    assert max(figure.curves[0].low) == finding.estimate.low and max(figure.curves[0].high) == finding.estimate.high
    leaking, other = (float(str(row[2])) for row in finding.tables[1].rows)
    assert leaking < 0.05 < other


def test_the_tpr_of_a_group_is_its_share_of_flagged_members() -> None:
    evidence = _evidence(2, (0.0, 3.0))
    (finding,), _ = subgroups_check.run(evidence)
    flagged = evidence.attacked("lira-online").flagged(0.1)
    rates = [flagged[evidence.members & group.rows].mean() for group in _shown(evidence)]
    assert finding.estimate.value == max(rates)
    assert finding.estimate.low < max(rates) < finding.estimate.high


@pytest.mark.parametrize("leaks", [(0.0, 0.0, 0.0, 0.0), (0.5, 1.0, 1.5, 3.0)])
def test_the_interval_of_the_highest_rate_holds_with_few_models_and_small_groups(leaks: tuple[float, ...]) -> None:
    """With 6 shadow models and groups of about 15 members: 94 % or more of 80 intervals hold; fewer: p < .05 each.

    True rates are those of the attack that knows the law: a threshold at the 90th percentile is as good as LiRA's on
    equal Gaussians. LiRA's own rate is lower, as its statistics are few: the truth is its mean over the audits.
    """
    found, ends = [], []
    for seed in range(80):
        evidence = _evidence(seed, leaks, pairs=3, examples=240, share=(0.125, 0.125, 0.25, 0.5))
        if not (done := subgroups_check.run(evidence)[0]):
            continue
        rows = {row[0]: float(str(row[3]).split("%")[0]) / 100 for row in done[0].tables[0].rows}
        found.append(rows)
        ends.append((done[0].estimate.low, done[0].estimate.high))
    means = {name: np.mean([rows[name] for rows in found if name in rows]) for rows in found for name in rows}
    truth = max(means.values())
    assert len(found) > 40
    assert np.mean([low <= truth <= high for low, high in ends]) >= 0.94


def test_permutation_p_values_are_uniform_and_exact_for_two_groups() -> None:
    """Super-uniform under the null over 500 tables (5 standard errors); of two groups, near Fisher's exact test."""
    rng = np.random.default_rng(3)
    p = [permutation_p_value(rng.random(80) < 0.1, rng.integers(0, 4, 80), rng) for _ in range(500)]
    for u in (0.05, 0.2, 0.5):
        assert np.mean(np.array(p) <= u) <= u + 5 * np.sqrt(u * (1 - u) / 500)
    hits, group = np.repeat([1, 0, 1, 0], [12, 28, 4, 36]).astype(bool), np.repeat([0, 1], 40)
    exact = stats.fisher_exact(np.array([[12, 28], [4, 36]]))[1]
    assert permutation_p_value(hits, group, rng) == pytest.approx(exact, abs=0.03)
    assert permutation_p_value(np.zeros(80, bool), group, rng) == 1


def test_levels_add_up() -> None:
    assert 1 - simultaneous(0.95, 5) == pytest.approx(0.01)


def _frame(rows: int = 40) -> pd.DataFrame:
    return pd.DataFrame({"age": np.arange(rows) % 4 * 10.0, "sex": list("mf") * (rows // 2), "y": [0, 1] * (rows // 2)})


def test_columns_are_read_from_examples_tables_and_arrays() -> None:
    examples = ma.Examples.from_frame(_frame().assign(n=range(40)), "y", subgroups=["sex"])
    assert list(examples.x.columns) == ["age", "sex", "n"]
    (sex,) = subgroups_of(examples)
    assert sex.names == ("f", "m") and sex.of[:3].tolist() == [1, 0, 1]
    (age,) = subgroups_of(examples, ["age"])
    assert age.names == ("0", "10", "20", "30")
    assert examples.take(np.arange(3)).subgroups["sex"].tolist() == ["m", "f", "m"]
    given = ma.Examples(
        np.arange(8.0)[:, None], [0, 1] * 4, subgroups={"band": ["a", None, float("nan"), 1.0, *"aaaa"]}
    )
    assert subgroups_of(given)[0].names == ("1", "a", "not stated")


def test_subgroups_change_no_digest() -> None:
    x, y = np.arange(8.0)[:, None], [0, 1] * 4
    plain, grouped = ma.Examples(x, y), ma.Examples(x, y, subgroups={"sex": list("mfmfmfmf")})
    assert plain.digest() == grouped.digest() and list(plain.contents()) == list(grouped.contents())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sex": ["m"]}, "has 1 values for 8"),
        ({"": list("mfmfmfmf")}, "cannot name a column"),
        ({"a, b": list("mfmfmfmf")}, "cannot name a column"),
        ({"sex": ["m\n"] * 4 + ["\x00"] * 4}, "cannot be printed"),
    ],
)
def test_columns_that_make_no_groups_are_refused(given: dict[str, list[str]], message: str) -> None:
    with pytest.raises(MemauditError, match=message):
        ma.Examples(np.arange(8.0)[:, None], [0, 1] * 4, subgroups=given)


def test_too_many_groups_are_refused() -> None:
    with pytest.raises(MemauditError, match="give it in bands"):
        ma.Examples(np.arange(60.0)[:, None], [0, 1] * 30, subgroups={"age": range(60)})


def test_a_person_with_several_values_is_refused() -> None:
    x, y = np.arange(12.0)[:, None], [0, 1] * 6
    people = ma.Examples(x, y, groups=np.arange(12) // 2, unit="people", subgroups={"sex": ["m", "f"] * 6})
    with pytest.raises(MemauditError, match="6 people have several values of 'sex'"):
        subgroups_of(people)
    agreed = ma.Examples(x, y, groups=np.arange(12) // 2, subgroups={"sex": np.repeat(list("mfmfmf"), 2)})
    assert subgroups_of(agreed)[0].of.tolist() == [1, 0, 1, 0, 1, 0]


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """An audit with a group of five, whose name must not be seen."""
    folder = tmp_path_factory.mktemp("subgroups")
    recipe = load_recipe(f"{Path(__file__).parent / 'recipes' / 'tiny_recipe.py'}:recipe")
    ids = recipe.examples().ids  # type: ignore[union-attr]
    members = np.random.default_rng(1).permutation(ids)[:100]
    ma.save_target(ma.train(recipe, members, seed=1), folder / "model.pt", members)
    ma.fill(folder / "bank", recipe, shadows=6, workers=1)
    faith = np.repeat(["Northern", "Southern", "Eastern", "Quokkas"], [90, 60, 45, 5])
    sex = np.random.default_rng(2).choice(["f", "m"], 200)
    return ma.audit(
        folder / "model.pt",
        recipe,
        folder / "bank",
        fprs=(0.1,),
        subgroups={"faith": np.random.default_rng(0).permutation(faith), "sex": sex},
    )


def test_no_edition_has_a_group_that_is_too_small(audited: Audit) -> None:
    from memaudit.reports import render

    found = next(r.finding for r in audited.report.results if r.finding.code == "MIA027")
    shown = {str(row[0]) for row in found.tables[0].rows}
    assert shown == {"faith = Northern", "faith = Southern", "sex = f", "sex = m"}  # five alone would be the rest
    for edition in ("restricted", "internal", "public"):
        report = editions.edition(audited.report, edition)
        assert contradictions(report) == ()
        assert "Quokkas" not in (text := render(report, "json", edition).decode()) and "Eastern" not in text
        assert report.provenance["subgroups"] == "faith, sex"
    assert not any(table for r in editions.edition(audited.report, "public").results for table in r.finding.tables)


@pytest.mark.parametrize("edition", ["public", "internal", None])
def test_no_format_has_a_group_that_is_too_small_or_an_example(audited: Audit, edition: str | None) -> None:
    """Also where a limit is set on groups and on records, so that files for pipelines have both findings."""
    import re

    from memaudit.policy import hold
    from memaudit.reports import FORMATS, render

    report = hold(audited.report, [ma.Limit(metric=metric, max=0.01) for metric in ("subgroup", "risk", "access")])
    hashes = [example.identifier for example in report.exposed]
    assert hashes and min(map(len, hashes)) > 8
    for name in FORMATS.keys() - {"pdf"}:  # a page like html, which takes seconds to print
        content = render(report, name, edition).decode()
        assert not re.search("Quokkas|Eastern", content), name
        shown = edition != "public" and name in ("html", "json")  # these list the most exposed by keyed hashes
        assert shown or not any(who in content for who in hashes), name
    assert audited.evidence is not None and b"Quokkas" not in audited.evidence


def test_the_highest_rate_is_a_share_of_its_group(tmp_path: Path) -> None:
    """Not of all members: a report is accepted whatever the size of the worst group is."""
    from dataclasses import replace

    rng = np.random.default_rng(0)
    x, sex = rng.normal(size=(160, 6)), np.resize(["f", "m"], 160)
    y = (x[:, 0] + rng.normal(size=160) > 0).astype(int)
    learner = ensemble.RandomForestClassifier(10, random_state=0)
    recipe = ma.EstimatorRecipe(lambda: ma.Examples(x, y, subgroups={"sex": sex}), learner)
    members = ma.draw_members(recipe)
    ma.save_target(ma.train(recipe, members, seed=1), tmp_path / "model.skops", members)
    bank = ma.fill(tmp_path / "bank", recipe, 6, workers=1)
    report = ma.audit(
        tmp_path / "model.skops", recipe, bank, fprs=(0.1,), limits=[ma.Limit(metric="subgroup", max=0.9)]
    ).report
    found = next(r.finding for r in report.results if r.finding.code == "MIA027")
    hits = found.estimate.value * found.n
    assert abs(hits - round(hits)) > 0.01
    assert not contradictions(replace(report, provenance=report.provenance | {"memaudit": "0.3.0"}))


def test_a_report_without_the_subgroups_that_were_asked_for_is_refused(audited: Audit) -> None:
    from dataclasses import replace

    kept = tuple(r for r in audited.report.results if r.finding.code != "MIA027")
    (problem,) = contradictions(replace(audited.report, results=kept))
    assert "MIA027 is missing" in problem
    found = next(r for r in audited.report.results if r.finding.code == "MIA027")
    altered = replace(
        found, finding=replace(found.finding, sentence=found.finding.sentence.replace("sex = ", "x = 77 "))
    )
    assert ("no number of the finding" in str(contradictions(replace(audited.report, results=(*kept, altered))))) is (
        "sex = " in found.finding.sentence
    )


def test_groups_below_ten_cannot_be_asked_for() -> None:
    from memaudit.auditing.asked import Options
    from memaudit.auditing.asked.subgroups import asked

    with pytest.raises(MemauditError, match="fewer than 10"):
        asked(None, Options(smallest_group=9))  # type: ignore[arg-type]


def test_settings_take_columns(tmp_path: Path) -> None:
    from memaudit.cli.settings import read

    (tmp_path / "memaudit.toml").write_text(
        '[audit]\nsubgroups = ["sex"]\nsmallest_group = 20\n[[gate]]\nmetric = "subgroup"\nmax = 0.2\n'
    )
    settings = read(tmp_path / "memaudit.toml")
    assert settings.audit.subgroups == ["sex"] and settings.limits()[0].metric == "subgroup"
    assert json.dumps(settings.audit.smallest_group) == "20"


def test_a_share_of_one_group_is_no_contradiction() -> None:
    """The rate is that of the group's members, while n counts those of all groups."""
    (finding,), _ = subgroups_check.run(_evidence(1, (0.0, 0.0, 4.0), pairs=8))
    assert finding.estimate.value * finding.n % 1 > 1e-9
    subject = Subject(model="m", sha256="", members=finding.n, nonmembers=finding.n, shadows=16)
    report = SimpleNamespace(edition=Edition.RESTRICTED, rung=Rung.BANK, subject=subject)
    assert list(of_finding(finding, report)) == []  # type: ignore[arg-type]
    more = replace(finding, estimate=replace(finding.estimate, high=1.5))
    assert list(of_finding(more, report))  # type: ignore[arg-type]
