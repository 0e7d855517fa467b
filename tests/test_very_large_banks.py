"""Very large banks: shadow models are scored on a part of the examples, the audited model on all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.audit_phase import simulated
from memaudit.attacks import ATTACKS, Lira, Slira
from memaudit.auditing.evidence import table
from memaudit.auditing.flags import flag_column
from memaudit.checks import CONTROLS, ClassifierEvidence, all_checks
from memaudit.checks.attack_results import not_resolved
from memaudit.checks.attacked import Attacked, step_of_shadows
from memaudit.checks.link import link_check
from memaudit.checks.membership import online_check
from memaudit.checks.own_nonmembers import by_own_nonmembers
from memaudit.checks.traced import information_check, traceability_check
from memaudit.design import EveryNth, PairArrays
from memaudit.types import Control, Finding

Array = np.ndarray

MODELS, EXAMPLES = 16, 1201


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ClassifierEvidence:
    return simulated(tmp_path_factory.mktemp("bank"), MODELS, EXAMPLES, 1)


@pytest.fixture(scope="module")
def large(small: ClassifierEvidence) -> ClassifierEvidence:
    """Return evidence whose bank counts as very large: the shadow models are scored on every third example."""
    fresh = {name: getattr(small, name) for name in ("bank", "phi", "correct", "members", "x", "y")}
    found = ClassifierEvidence(**fresh, fprs=(0.05,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("memaudit.checks.attacked._CELLS", MODELS // 2 * 401)
        assert found.step == 3
    return found


def bank_of(seed: int, pairs: int, examples: int, shift: float) -> tuple[PairArrays, Array, Array]:
    """Return a bank, a target made alike, and the target's members; every example has its own law."""
    rng = np.random.default_rng(seed)
    mean, spread = rng.normal(2, 2, examples), np.exp(rng.normal(0, 0.5, examples))
    inside, outside = (mean + spread * (d + rng.normal(size=(pairs, examples))) for d in (shift, 0))
    members = rng.random(examples) < 0.5
    target = mean + spread * (shift * members + rng.normal(size=examples))
    pairs_of = PairArrays(inside[..., None].astype(np.float32), outside[..., None].astype(np.float32))
    return pairs_of, target[:, None].astype(np.float32), members


def test_banks_of_usual_size_are_scored_whole() -> None:
    assert step_of_shadows((128, 60_000, 2)) == 1  # 256 models of 60,000 examples
    assert step_of_shadows((128, 1_000_000, 1)) == 16
    assert step_of_shadows((3, 10, 1)) == 1


@pytest.mark.parametrize("name", ["lira-online", "lira-offline", "rmia", "global-threshold", "attack-p", "slira"])
def test_each_part_of_the_target_is_scored_as_the_shadows_are(name: str) -> None:
    """By the definition: the bank of one part of the examples, and the target on that part, for every part."""
    bank, target, _ = bank_of(0, 6, 301, 1.0)
    found = Attacked.of(ATTACKS[name], target, bank, step=3)
    inside, outside = found.attack.leave_pair_out(PairArrays(bank.inside[:, ::3], bank.outside[:, ::3]))
    assert np.array_equal(found.inside, inside)
    assert np.array_equal(found.outside, outside)
    for first in range(3):
        part = PairArrays(bank.inside[:, first::3], bank.outside[:, first::3])
        assert np.array_equal(found.target[first::3], found.attack.scores(target[first::3], part))


def test_a_step_of_one_changes_nothing() -> None:
    bank, target, _ = bank_of(1, 5, 200, 1.0)
    found = Attacked.of(Lira(), target, bank)
    assert found.step == 1 and not found.sampled
    assert np.array_equal(found.target, Lira().scores(target, bank))
    assert np.array_equal(found.inside, Lira().leave_pair_out(bank)[0])


@pytest.mark.parametrize("attack", [Lira(), pytest.param(Slira(), marks=pytest.mark.slow)])
@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_a_threshold_from_a_part_of_the_examples_keeps_its_rate_on_all(attack: Any, shift: float) -> None:
    """20 targets, 1,500 non-members each: the mean rate is within 5 standard errors of 5 %, members or not."""
    rates = []
    for seed in range(20):
        bank, target, members = bank_of(seed, 8, 3000, shift)
        found = Attacked.of(attack, target, bank, step=4)
        rates.append(found.flagged(0.05)[~members].mean())
    assert np.mean(rates) == pytest.approx(0.05, abs=5 * np.std(rates, ddof=1) / np.sqrt(20))


def test_an_attack_knows_the_labels_of_the_part_that_it_scores() -> None:
    seen = []
    bank, target, _ = bank_of(2, 4, 100, 1.0)
    labels = np.arange(100)

    def known(attack: Any, part: slice) -> Any:
        seen.append(labels[part])
        return attack

    Attacked.of(Lira(), target, bank, 4, known)
    assert all(np.array_equal(of, labels[first::4]) for of, first in zip(seen, (0, 0, 1, 2, 3), strict=True))


def test_every_nth_from_any_first_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    bank, _, _ = bank_of(3, 4, 101, 1.0)
    for cells in (1, 40, 2**24):
        monkeypatch.setattr("memaudit.design.chosen._CELLS", cells)
        for first in range(3):
            some = EveryNth(bank, 3, first)
            assert some.shape == (4, len(range(first, 101, 3)), 1)
            for start, stop in ((0, 5), (3, 34), (0, 100), (33, 34), (5, 5)):
                for side, whole in zip(some.block(slice(start, stop)), (bank.inside, bank.outside), strict=True):
                    assert np.array_equal(side, whole[:, first::3][:, start:stop])
            assert some.take(np.array([2])).shape == (1, *some.shape[1:])


@pytest.mark.slow
def test_all_checks_of_a_very_large_bank_run_and_say_what_they_looked_at(large: ClassifierEvidence) -> None:
    codes = {}
    checks: tuple[Any, ...] = (*CONTROLS, *all_checks())
    for check in checks:
        if isinstance(large, check.needs) and check.wanted(large):
            found = check.run(large)
            codes[check.code] = found
            if isinstance(found, Control):
                assert found.passed is not False, found.sentence
    findings = [finding for out in codes.values() if not isinstance(out, Control) for finding in out[0]]
    assert {"MIA001", "MIA005", "MIA012", "MIA026", "LNK001", "MEM001"} <= {finding.code for finding in findings}
    for finding in findings:
        if finding.code in ("MIA001", "MIA005", "MIA012", "MIA026", "LNK001"):
            assert any("401 of the 1,201 examples, evenly spaced" in note for note in finding.notes), finding.code


def one(outcome: Any) -> Finding:
    finding: Finding = outcome[0][0]
    return finding


def test_figures_of_the_target_count_all_examples(large: ClassifierEvidence, small: ClassifierEvidence) -> None:
    assert one(online_check.run(large)).n == int(large.members.sum())
    assert one(link_check.run(large)).n == 401
    assert f"Of all {EXAMPLES:,} examples together" in one(information_check.run(large)).notes[0]


def test_no_bound_on_the_highest_score_is_stated_from_fewer_examples(
    large: ClassifierEvidence, small: ClassifierEvidence
) -> None:
    """The highest of 1,201 scores is above that of 401 more often than once in pairs + 1 models."""
    stated = [row[0] for row in one(traceability_check.run(large)).tables[0].rows]
    assert any(
        "no non-member at all would need scores of all" in note for note in one(traceability_check.run(large)).notes
    )
    assert not any("except with probability" in str(name) for name in stated)
    assert any("except with probability" in str(row[0]) for row in one(traceability_check.run(small)).tables[0].rows)


def test_rates_that_a_part_of_the_examples_cannot_show_are_refused_with_the_reason() -> None:
    """The target's 600 non-members can show 1/500; half of the scores of two pairs on every tenth example cannot."""
    bank, target, members = bank_of(4, 2, 1200, 1.0)
    recordings = SimpleNamespace(members=np.zeros((4, 1200), np.uint8), shape=bank.shape, block=bank.block)
    known: dict[str, Any] = {"bank": recordings, "phi": target, "correct": target[:, 0] > 0, "members": members}
    found = ClassifierEvidence(**known, x=np.zeros((1200, 2)), y=np.zeros(1200, int), fprs=(0.05, 0.002))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("memaudit.checks.attacked._CELLS", 240)
        assert found.step == 10
    assert found.resolved_fprs == (0.05,)
    assert "scored on a part of the examples" in not_resolved(found, 0.002)
    assert "non-members are needed" in not_resolved(found, 1e-6)


def test_quantile_regression_is_scored_on_the_same_part(large: ClassifierEvidence) -> None:
    found = by_own_nonmembers(large, "quantile-regression")
    assert found is not None and found.step == 3 and found.outside.shape == (MODELS // 2, 401)
    assert 0 <= large.rate(found, 0.05).value <= 1


def test_controls_look_at_the_rates_that_their_part_can_show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """1,201 examples, of which controls look at some 40 in 2 pairs: a 1 % FPR is not to be had from these."""
    monkeypatch.setattr("memaudit.design.chosen.ENOUGH_EXAMPLES", 40)
    found = replace(simulated(tmp_path, 4, EXAMPLES, 1), fprs=(0.05, 0.01))
    controls = {check.code: check for check in CONTROLS}
    assert controls["CTL002"].run(found).passed is not False
    planted = controls["CTL005"].run(found)
    assert planted.passed is not None and "1%" not in str(planted.tables)


def test_the_evidence_leaves_cells_empty_where_no_shadow_was_scored(large: ClassifierEvidence) -> None:
    lines = table(large, [str(row) for row in range(EXAMPLES)]).decode().splitlines()
    column = lines[0].split(",").index(f"shadows_{flag_column(0.05, 'slira')}")
    cells = [line.split(",")[column] for line in lines[1:]]
    rates = large.attacked("slira").shadows_flagged(0.05)[1].mean(axis=0)
    assert [cell for row, cell in enumerate(cells) if row % 3] == [""] * (EXAMPLES - 401)
    assert np.allclose([float(cell) for cell in cells[::3]], rates, atol=1e-6)


def test_a_bank_on_disk_is_audited_the_same_mapped_or_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = simulated(tmp_path, 12, 300, 2)
    expected = one(online_check.run(kept))
    monkeypatch.setattr("memaudit.bank.recordings._KEPT", 0)
    mapped = simulated(tmp_path, 12, 300, 2)
    assert one(online_check.run(mapped)) == expected
    assert mapped.bank._signals is not None  # type: ignore[attr-defined]
