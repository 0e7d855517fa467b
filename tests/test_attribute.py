"""Attribute inference: attacks against their definitions, the excess against laws that are known, and audits.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import polars as pl
import pytest

import memaudit as ma
from memaudit.attacks.attribute import ATTRIBUTE_ATTACKS, Asked, impute
from memaudit.auditing import Audit
from memaudit.bank import Bank
from memaudit.checks import Attribute, ClassifierEvidence
from memaudit.checks.attribute import Guessed, attribute_check, guessed
from memaudit.design import PairArrays, halves
from memaudit.errors import MemauditError
from memaudit.policy.consistency import contradictions
from memaudit.recipe.altered import sensitive, shown
from memaudit.reports import editions

Array = np.ndarray


def _asked(seed: int, records: int = 50, values: int = 3) -> Asked:
    rng = np.random.default_rng(seed)
    p = rng.random((records, values))
    return Asked(
        np.log(p),
        p > 0.5,
        rng.dirichlet(np.ones(values)),
        rng.dirichlet(np.ones(values), records),
        np.log(rng.random((records, values))),
    )


def test_every_attack_guesses_what_its_definition_says() -> None:
    asked = _asked(0)
    p, out = np.exp(asked.log_p), np.exp(asked.reference)
    guesses = {name: attack(asked) for name, attack in ATTRIBUTE_ATTACKS.items()}
    for i in range(len(p)):
        assert guesses["confidence"][i] == max(range(3), key=lambda v: asked.prior[v] * p[i, v])
        assert guesses["weighted"][i] == max(range(3), key=lambda v: asked.imputed[i, v] * p[i, v])
        assert guesses["calibrated"][i] == max(range(3), key=lambda v: asked.imputed[i, v] * p[i, v] / out[i, v])
        right = [v for v in range(3) if p[i, v] > 0.5]
        if right:  # the most confident of the right ones
            assert guesses["csmia"][i] == max(right, key=lambda v: p[i, v])
        else:  # wrong with confidence 1 − p: the least confident
            assert guesses["csmia"][i] == min(range(3), key=lambda v: 1 - p[i, v])


def test_a_model_that_is_like_all_others_leaves_the_imputation_as_it_is() -> None:
    asked = _asked(1)
    same = replace(asked, reference=asked.log_p)
    assert (ATTRIBUTE_ATTACKS["calibrated"](same) == asked.imputed.argmax(axis=1)).all()


def test_imputation_learns_from_known_records_alone() -> None:
    rng = np.random.default_rng(2)
    features, y = rng.normal(size=(600, 2)), rng.integers(0, 2, 600)
    value = (features[:, 0] > 0).astype(int)
    known = np.arange(600) < 300
    found = impute(features, y, value, known, 3)
    assert found.shape == (600, 3) and found.sum(axis=1) == pytest.approx(1)
    assert (found[300:].argmax(axis=1) == value[300:]).mean() > 0.95
    hidden = np.where(known, value, 2)  # the values of the others are not looked at
    assert (impute(features, y, hidden, known, 3) == found).all()
    assert (impute(features, y, np.ones(600, int), known, 3).argmax(axis=1) == 1).all()


class _Bank(PairArrays):
    def __init__(self, members: Array):
        super().__init__(*(np.zeros((len(members) // 2, members.shape[1], 1), np.float32),) * 2)
        object.__setattr__(self, "members", members)
        object.__setattr__(self, "correct", np.ones(members.shape, bool))


def _evidence(
    seed: int, leak: float, pairs: int = 4, records: int = 300, run: float = 0.3, known: float = 1.0
) -> ClassifierEvidence:
    """Models whose answers favour the true value by `known` whatever they were trained on, and by `leak` if on it.

    `run` is the spread between training runs of how much a model favours the true value.
    """
    rng = np.random.default_rng((seed, pairs))
    value, members = rng.integers(0, 2, records), rng.random(records) < 0.5
    true = np.eye(2)[value]
    of_bank = halves(int(rng.integers(2**31)), 2 * pairs, records)

    def phi(inside: Array) -> Array:
        favour = known + run * rng.normal() + leak * inside
        return (rng.normal(size=(records, 2)) + favour[:, None] * true).astype(np.float32)

    answers = np.stack([phi(row > 0) for row in of_bank])
    first = of_bank[0::2, :, None] > 0
    inside, outside = np.where(first, answers[0::2], answers[1::2]), np.where(first, answers[1::2], answers[0::2])
    target = phi(members)
    return ClassifierEvidence(
        phi=target[:, :1],
        correct=np.ones(records, bool),
        members=members,
        bank=_Bank(of_bank),  # type: ignore[arg-type]
        x=rng.normal(size=(records, 2)),
        y=rng.integers(0, 2, records),
        attributes=(
            Attribute(
                "sex",
                values=("f", "m"),
                of=value,
                features=rng.normal(size=(records, 2)),
                phi=target,
                correct=target > 0,
                pairs=(inside, outside),
                pairs_correct=(inside > 0, outside > 0),
            ),
        ),
    )


def _guessed(evidence: ClassifierEvidence, name: str = "calibrated") -> Guessed:
    (attribute,) = evidence.attributes
    imputed = np.tile([0.5 + 1e-9, 0.5], (len(attribute.of), 1))
    first = evidence.bank.members[0::2] > 0
    return guessed(ATTRIBUTE_ATTACKS[name], attribute, imputed, evidence.members, first)


def test_models_are_compared_with_those_that_lack_the_record_and_not_with_themselves() -> None:
    evidence = _evidence(3, 1.0, pairs=3, records=40)
    (attribute,) = evidence.attributes
    p = [1 / (1 + np.exp(-of.astype(float))) for of in (attribute.phi, *attribute.pairs)]
    found = _guessed(evidence)
    for t in range(3):
        reference = np.delete(p[2], t, axis=0).mean(axis=0)
        wanted = (np.array([0.5 + 1e-9, 0.5]) * p[2][t] / reference).argmax(axis=1) == attribute.of
        assert (found.outside[t] == wanted).all()
        wanted = (np.array([0.5 + 1e-9, 0.5]) * p[1][t] / reference).argmax(axis=1) == attribute.of
        assert (found.inside[t] == wanted).all()
    target = (np.array([0.5 + 1e-9, 0.5]) * p[0] / p[2][:2].mean(axis=0)).argmax(axis=1) == attribute.of
    assert (found.target == target).all()
    excess = [float(found.target[i]) - np.mean(found.outside[:, i]) for i in np.flatnonzero(evidence.members)]
    assert found.over_others == pytest.approx(excess)


@pytest.mark.parametrize("pairs", [3, 8])
@pytest.mark.parametrize("run", [0.0, 0.5])
def test_models_that_know_the_value_without_the_record_leak_nothing(pairs: int, run: float) -> None:
    """The lower end of the interval is above 0 in at most 9 of 100 audits (2.5 % each: more has p < 5e-4).

    All models favour the true value, so that the attacks are far better than chance: not because of the record.
    """
    above, accuracy = 0, []
    for seed in range(100):
        found = _guessed(_evidence(seed, 0.0, pairs, run=run), "weighted")
        above += bool(found.interval(found.over_others, 0.95)[0] > 0)
        accuracy.append(found.target.mean())
    assert np.mean(accuracy) > 0.6
    assert above <= 9


@pytest.mark.parametrize("pairs", [3, 8])
def test_the_interval_of_the_excess_covers(pairs: int) -> None:
    """At least 89 of 100 intervals hold the mean excess over audits; at 95 %, fewer come with p = .01."""
    means, ends = [], []
    for seed in range(100):
        found = _guessed(_evidence(seed, 1.5, pairs), "weighted")
        means.append(found.over_others.mean())
        ends.append(found.interval(found.over_others, 0.95))
    low, high = np.array(ends, float).T
    assert np.mean(means) > 0.1
    assert ((low <= np.mean(means)) & (np.mean(means) <= high)).sum() >= 89


def test_the_leak_is_the_smaller_excess_with_an_interval_of_both() -> None:
    found = _guessed(_evidence(4, 2.0, pairs=8))
    both = [found.interval(excess, 0.95) for excess in (found.over_others, found.over_imputation)]
    low, high = found.leak(0.95)
    assert low == min(low for low, _ in both) and high >= min(high for _, high in both)
    levels = found.leak(np.array([0.5, 0.9, 0.99]))
    assert (np.diff(levels[0]) <= 0).all() and (np.diff(levels[1]) >= 0).all()


def test_no_difference_anywhere_is_not_certainty() -> None:
    same = np.ones((4, 50), bool)
    found = Guessed(same[0], same, same, same[0], same[0], same)
    low, high = found.interval(found.over_others, 0.95)
    assert -0.1 < low < -3.69 / 50 + 0.01 and 3.6 / 50 < high < 0.1  # the rule of three, two-sided: 3.69 / n


def test_the_finding_names_the_column_and_no_value() -> None:
    (finding,), skipped = attribute_check.run(_evidence(5, 3.0, pairs=6, run=0.1))
    assert not skipped and finding.metric == "attribute" and "“sex”" in finding.sentence
    assert finding.estimate.low > 0 and len(finding.tables[0].rows) == 5
    assert "= f" not in str(finding) and finding.n == _evidence(5, 3.0, pairs=6).members.sum()


def test_what_cannot_be_inferred_is_said() -> None:
    evidence = _evidence(6, 1.0, pairs=2)
    (), (skipped,) = attribute_check.run(evidence)
    assert "6 shadow models" in skipped.reason
    (), (skipped,) = attribute_check.run(replace(evidence, attributes=(Attribute("sex", "no weights"),)))
    assert skipped.reason == "no weights" and skipped.title == "Attribute inference: sex"


def _table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"sex": rng.choice(["f", "m"], 200), "n": rng.normal(size=200), "k": rng.integers(0, 3, 200)})


@pytest.mark.parametrize("kind", ["pandas", "polars", "array"])
def test_one_column_is_changed_and_nothing_else(kind: str) -> None:
    table, y = _table(), np.arange(200) % 2
    x = {"pandas": table, "polars": pl.from_pandas(table), "array": table[["n", "k"]].to_numpy()}[kind]
    column, name = ("1", "k") if kind == "array" else ("sex", "sex")
    examples = ma.Examples(x, y)
    found = sensitive(examples, column)
    assert [found.values[code] for code in found.of[:50]] == table[name].tolist()[:50]
    for value in range(len(found.values)):
        asked = found.asked(examples, value)
        assert asked.units == examples.units and (asked.ids == examples.ids).all() and (asked.y == examples.y).all()
        changed = pd.DataFrame(asked.x, columns=["n", "k"]) if kind == "array" else asked.x
        changed = changed if isinstance(changed, pd.DataFrame) else changed.to_pandas()
        assert set(changed[name]) == {found.values[value]}
        others = [c for c in changed.columns if c != name]
        assert (changed[others].to_numpy() == table[others].to_numpy()).all()
    assert found.features(examples).shape[1] >= 1
    assert shown((1.0, "f ")) == ("1", "f")


def test_columns_that_cannot_be_inferred_are_refused() -> None:
    y = np.arange(200) % 2
    for x, column, message in (
        (_table(), "age", "no column 'age'"),
        (_table(), "n", "200 different values"),
        (_table().assign(sex=None), "sex", "missing"),
        (np.zeros((200, 2, 2)) + np.arange(200)[:, None, None], "0", "table of pandas"),
        ([f"text {n}" for n in range(200)], "0", "table of pandas"),
    ):
        with pytest.raises(MemauditError, match=message):
            sensitive(ma.Examples(x, y), column)


def _labelled() -> ma.Examples:
    """A label that depends on a column which the others do not tell."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"a": rng.integers(0, 2, 300).astype(float), "b": rng.normal(size=300), "c": rng.normal(size=300)}
    )
    return ma.Examples(table, (rng.random(300) < 0.5).astype(int))


@pytest.fixture(scope="module")
def estimator(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ma.EstimatorRecipe, Array]:
    """A tree that learns random labels by heart, of which the bank keeps no model."""
    from sklearn.ensemble import RandomForestClassifier

    folder = tmp_path_factory.mktemp("attribute")
    recipe = ma.EstimatorRecipe(_labelled, RandomForestClassifier(n_estimators=10, max_features=1))
    members = np.random.default_rng(1).permutation(_labelled().ids)[:150]
    ma.save_target(ma.train(recipe, members, seed=1), folder / "model.skops", members)
    ma.fill(folder / "bank", recipe, shadows=6, workers=1)
    return folder, recipe, members


def _audit(folder: Path, recipe: ma.EstimatorRecipe, **more: object) -> Audit:
    model, ledger = folder / "model.skops", folder / "ledger.jsonl"
    return ma.audit(model, recipe, folder / "bank", fprs=(0.1,), attribute="a", ledger=ledger, **more)  # type: ignore[arg-type]


def test_estimators_are_fitted_again_and_kept(estimator: tuple[Path, ma.EstimatorRecipe, Array]) -> None:
    folder, recipe, _ = estimator
    done = _audit(folder, recipe)
    (finding,) = (r.finding for r in done.report.results if r.finding.code == "ATT001")
    (figure,) = finding.figures
    assert figure.ticks == ("imputation", *ATTRIBUTE_ATTACKS)
    this, without, imputed = (dict(zip(curve.x, curve.y, strict=True)) for curve in figure.curves)
    row = 1.0 + list(ATTRIBUTE_ATTACKS).index("calibrated")
    assert min(this[row] - without[row], this[row] - imputed[0.0]) == pytest.approx(finding.estimate.value)
    files = sorted((folder / "bank" / "views").rglob("*.safetensors"))
    assert len(files) == 6 and contradictions(done.report) == () and done.report.provenance["attributes"] == "a"
    assert contradictions(editions.edition(done.report, "public")) == ()
    assert any("inference of other attributes" in words for words in done.report.untested)
    times = [file.stat().st_mtime_ns for file in files]
    (again,) = (r.finding for r in _audit(folder, recipe).report.results if r.finding.code == "ATT001")
    assert again == finding and [file.stat().st_mtime_ns for file in files] == times
    files[2].write_bytes(files[2].read_bytes()[:-20])  # damaged: asked again
    (again,) = (r.finding for r in _audit(folder, recipe).report.results if r.finding.code == "ATT001")
    assert again == finding and files[2].stat().st_mtime_ns != times[2]
    kept = tuple(r for r in done.report.results if r.finding.code != "ATT001")
    assert "ATT001 is missing" in str(contradictions(replace(done.report, results=kept)))


def test_a_forest_of_random_labels_leaks_the_column(estimator: tuple[Path, ma.EstimatorRecipe, Array]) -> None:
    """Labels depend on nothing; only a model that was trained on a record has a label for its value of the column."""
    folder, recipe, _ = estimator
    (finding,) = (r.finding for r in _audit(folder, recipe).report.results if r.finding.code == "ATT001")
    recipe_gain = str(finding.tables[0].rows[1][5])
    assert float(recipe_gain.split(" ")[0].replace("−", "-")) > 0


def test_an_estimator_that_is_not_the_recorded_one_is_refused(
    estimator: tuple[Path, ma.EstimatorRecipe, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    from memaudit.training import asking

    folder, recipe, _ = estimator
    for file in (folder / "bank" / "views").rglob("*.safetensors"):
        file.unlink()
    monkeypatch.setattr(asking, "training_seed", lambda seed, model: 7)
    with pytest.raises(MemauditError, match="do not give the outputs that were recorded"):
        _audit(folder, recipe)


def test_columns_are_checked_before_anything_is_asked(estimator: tuple[Path, ma.EstimatorRecipe, Array]) -> None:
    folder, recipe, _ = estimator
    with pytest.raises(MemauditError, match="no column 'sex'"):
        ma.audit(folder / "model.skops", recipe, Bank.open(folder / "bank"), attribute=["sex"])
