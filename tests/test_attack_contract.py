"""What every published attack must satisfy, whatever its formula; the formulas have oracles in files of their own.

Random tests fix their seed; each states the probability of a false alarm under a fresh one. Banks are
[pairs, examples, queries].
"""

import numpy as np
import pytest
from scipy import stats

from memaudit.attacks import Attack, interface
from memaudit.attacks.bavaria import Bavaria, Predictive
from memaudit.attacks.calibration import Sablayrolles
from memaudit.attacks.interface import Signal
from memaudit.attacks.population import AttackP, AttackR
from memaudit.attacks.rmia import Rmia
from memaudit.design import NullPairs, PairArrays, coins
from memaudit.stats import auc, roc_points

Array = np.ndarray

ATTACKS: dict[str, Attack] = {
    "rmia": Rmia(),
    "rmia-offline": Rmia(offline=True),
    "rmia-offline-1": Rmia(offline=True, a=1.0),
    "rmia-language": Rmia(signal=Signal.LOG_PROBABILITY),
    "rmia-offline-language": Rmia(offline=True, signal=Signal.LOG_PROBABILITY),
    "bavaria-t": Bavaria(),
    "bavaria-n": Bavaria(Predictive.N),
    "sablayrolles": Sablayrolles(),
    "attack-p": AttackP(),
    "attack-r": AttackR(),
}
LEAST = {name: 3 if name.startswith("bavaria") else 2 for name in ATTACKS}

every_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)


def _bank(seed: int, pairs: int, examples: int, shift: float, queries: int = 1) -> PairArrays:
    """Examples with their own centre, spread and shift; the shift is exponential with the given mean."""
    rng = np.random.default_rng(seed)
    scale = np.exp(0.5 * rng.normal(size=(examples, queries)))
    inside, outside = 2 * rng.normal(size=(examples, queries)) + scale * rng.normal(size=(2, pairs, examples, queries))
    return PairArrays(inside + shift * scale * rng.exponential(size=(examples, queries)), outside)


def _same(first: tuple[Array, Array], second: tuple[Array, Array]) -> None:
    """Equal to float32 precision: four units in the last place of the largest score."""
    for a, b in zip(first, second, strict=True):
        assert np.abs(a - b).max() <= 4 * np.spacing(np.float32(np.abs(b).max()))


@pytest.fixture
def bank() -> PairArrays:
    return _bank(seed=7, pairs=8, examples=60, shift=1, queries=2)


# --- a model outside the bank is scored as the shadow models are ------------------------------------------------------


@every_attack
def test_the_last_pair_as_a_target(attack: Attack, bank: PairArrays) -> None:
    """`scores` leaves out the last pair, so that it gives a member of that pair its leave-pair-out score."""
    for target, scores in zip((bank.inside, bank.outside), attack.leave_pair_out(bank), strict=True):
        assert attack.scores(target[-1], bank) == pytest.approx(scores[-1], rel=1e-5, abs=1e-6)


@every_attack
def test_leave_pair_out_is_a_refit_for_every_pair(attack: Attack, bank: PairArrays) -> None:
    """Move each pair to the end in turn."""
    kept = attack.leave_pair_out(bank)
    for pair in range(8):
        moved = bank.take(np.array([*np.delete(np.arange(8), pair), pair]))
        for target, scores in zip((bank.inside, bank.outside), kept, strict=True):
            assert attack.scores(target[pair], moved) == pytest.approx(scores[pair], rel=1e-5, abs=1e-6)


@every_attack
def test_the_last_pair_never_enters_a_targets_score(attack: Attack, bank: PairArrays) -> None:
    changed = PairArrays(bank.inside.copy(), bank.outside.copy())
    changed.inside[-1] = 50
    changed.outside[-1] = -50
    target = bank.inside[0] + 0.3
    assert np.array_equal(attack.scores(target, bank), attack.scores(target, changed))


@every_attack
def test_scores_are_float32_and_signals_are_left_alone(attack: Attack, bank: PairArrays) -> None:
    before = bank.inside.copy(), bank.outside.copy()
    inside, outside = attack.leave_pair_out(bank)
    assert inside.dtype == outside.dtype == attack.scores(bank.inside[0], bank).dtype == np.float32
    assert inside.shape == outside.shape == (8, 60)
    assert np.array_equal(before, (bank.inside, bank.outside))


@every_attack
def test_float32_signals_with_a_large_offset(attack: Attack) -> None:
    """Signals near −1000 with a spread of 1: updated sums must not cancel."""
    rng = np.random.default_rng(6)
    spread = np.exp(rng.normal(size=(40, 1)))
    inside, outside = (-1000 + spread * rng.normal(size=(2, 9, 40, 1))).astype(np.float32)
    bank = PairArrays(inside, outside)
    for target, scores in zip((inside, outside), attack.leave_pair_out(bank), strict=True):
        assert attack.scores(target[-1], bank) == pytest.approx(scores[-1], rel=1e-5, abs=1e-6)


# --- the null hypothesis ----------------------------------------------------------------------------------------------


@every_attack
@pytest.mark.parametrize("pairs", [4, 16])
def test_null(attack: Attack, pairs: int) -> None:
    """A leaking bank whose membership labels are permuted: AUC ½ and TPR = FPR at every cut, to 4 SE over examples.

    Given the references, inside and outside of a pair are exchangeable, so that the expected gap is exactly 0. False
    alarm over 80 comparisons: 5e-3.
    """
    bank = _bank(seed=pairs, pairs=pairs, examples=4000, shift=2)
    inside, outside = attack.leave_pair_out(NullPairs(bank, coins(3, pairs, 4000)))
    order = stats.rankdata(np.stack([inside, outside])).reshape(2, *inside.shape)
    gap = (order[0] - order[1]).mean(axis=0) / inside.size  # its mean is 2·AUC − 1
    assert gap.mean() == pytest.approx(2 * auc(inside.ravel(), outside.ravel()) - 1, abs=1e-9)
    assert gap.mean() == pytest.approx(0, abs=4 * gap.std() / np.sqrt(4000))
    for fpr in (0.01, 0.1, 0.5):
        cut = np.quantile(np.concatenate([inside, outside]), 1 - fpr)
        gap = (inside > cut).mean(axis=0) - (outside > cut).mean(axis=0)
        assert gap.mean() == pytest.approx(0, abs=4 * gap.std() / np.sqrt(4000))


@every_attack
@pytest.mark.parametrize("pairs", [4, 16])
def test_a_non_member_outside_the_bank_has_the_law_of_the_outside_models(attack: Attack, pairs: int) -> None:
    """At cuts that the outside shadow models set, a target without any of the examples has their FPR, to 4 SE.

    False alarm over 60 comparisons: 4e-3.
    """
    bank = _bank(seed=30 + pairs, pairs=pairs + 1, examples=4000, shift=2)
    target, rest = bank.outside[0], bank.take(np.arange(1, pairs + 1))
    scores, (_, outside) = attack.scores(target, rest), attack.leave_pair_out(rest)
    for fpr in (0.02, 0.1, 0.5):
        cut = np.quantile(outside, 1 - fpr)
        gap = (scores > cut) - (outside > cut).mean(axis=0)
        assert gap.mean() == pytest.approx(0, abs=4 * gap.std() / np.sqrt(4000))


@every_attack
def test_a_leak_is_found(attack: Attack) -> None:
    inside, outside = attack.leave_pair_out(_bank(seed=1, pairs=8, examples=1000, shift=2))
    assert auc(inside.ravel(), outside.ravel()) > 0.55


# --- what must not change a score -------------------------------------------------------------------------------------


@every_attack
def test_blocks_do_not_change_a_score(attack: Attack, bank: PairArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, target = attack.leave_pair_out(bank), attack.scores(bank.inside[2], bank)
    for numbers_per_block in (1, 40):
        monkeypatch.setattr(interface, "_BLOCK", numbers_per_block)
        _same(attack.leave_pair_out(bank), whole)
        assert attack.scores(bank.inside[2], bank) == pytest.approx(target, rel=1e-6, abs=1e-7)


@every_attack
def test_permuting_pairs_and_examples_permutes_scores(attack: Attack, bank: PairArrays) -> None:
    rng = np.random.default_rng(2)
    p, e = rng.permutation(8), rng.permutation(60)
    moved = attack.leave_pair_out(PairArrays(bank.inside[p][:, e], bank.outside[p][:, e]))
    inside, outside = attack.leave_pair_out(bank)
    _same(moved, (inside[p][:, e], outside[p][:, e]))


@every_attack
def test_scores_are_the_means_of_the_scores_of_each_query(attack: Attack, bank: PairArrays) -> None:
    singles = [attack.leave_pair_out(PairArrays(bank.inside[..., [q]], bank.outside[..., [q]])) for q in range(2)]
    mean = tuple(np.mean(scores, axis=0) for scores in zip(*singles, strict=True))
    _same(attack.leave_pair_out(bank), (mean[0], mean[1]))


# --- ties, constants, few pairs, broken signals -----------------------------------------------------------------------


@every_attack
@pytest.mark.parametrize("value", [0.1, 3.0, -40.0])
def test_equal_signals_give_equal_scores(attack: Attack, value: float) -> None:
    """All signals equal: AUC ½, and a TPR of 0 at every FPR, because no score is above another."""
    bank = PairArrays(np.full((4, 30, 2), value), np.full((4, 30, 2), value))
    inside, outside = attack.leave_pair_out(bank)
    assert np.isfinite([inside, outside]).all()
    assert auc(inside.ravel(), outside.ravel()) == 0.5
    tpr, fpr = roc_points(inside.ravel(), outside.ravel(), np.array([0.0, 0.01, 0.5]))
    assert tpr.tolist() == fpr.tolist() == [0, 0, 0]
    assert np.isfinite(attack.scores(np.full((30, 2), value), bank)).all()


@every_attack
@pytest.mark.parametrize("constant", ["inside", "outside", "both"])
def test_no_variance_on_a_side_stays_finite_and_ranks_members_higher(attack: Attack, constant: str) -> None:
    rng = np.random.default_rng(16)
    inside, outside = rng.normal(size=(2, 5, 20, 1))
    inside += 5
    if constant in ("inside", "both"):
        inside[:, :10] = 5
    if constant in ("outside", "both"):
        outside[:, :10] = 0
    scores_in, scores_out = attack.leave_pair_out(PairArrays(inside, outside))
    assert np.isfinite([scores_in, scores_out]).all()
    assert np.all(scores_in.mean(axis=0) > scores_out.mean(axis=0))


@every_attack
@pytest.mark.parametrize("scale", [1e-6, 1e4])
def test_extreme_signals_stay_finite(attack: Attack, scale: float, bank: PairArrays) -> None:
    """From signals that hardly differ to probabilities far below the smallest float64."""
    wide = PairArrays(scale * bank.inside, scale * bank.outside)
    assert np.isfinite(attack.leave_pair_out(wide)).all()
    assert np.isfinite(attack.scores(wide.inside[0], wide)).all()


@pytest.mark.parametrize("name", ATTACKS)
def test_too_few_pairs_are_refused(name: str, bank: PairArrays) -> None:
    attack, least = ATTACKS[name], LEAST[name]
    enough, few = bank.take(np.arange(least)), bank.take(np.arange(least - 1))
    assert np.isfinite(attack.leave_pair_out(enough)).all()
    assert np.isfinite(attack.scores(bank.inside[0], enough)).all()
    with pytest.raises(ValueError, match=f"at least {least} pairs of models, got {least - 1}"):
        attack.leave_pair_out(few)
    with pytest.raises(ValueError, match=f"at least {least} pairs of models, got {least - 1}"):
        attack.scores(bank.inside[0], few)


@every_attack
@pytest.mark.parametrize("bad", [np.nan, -np.inf, np.inf])
def test_a_signal_that_is_not_finite_is_refused_by_the_examples_index(
    attack: Attack, bad: float, bank: PairArrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interface, "_BLOCK", 64)  # several blocks: the index counts from the first of them
    target = bank.inside[0].copy()
    target[17, 0] = bad
    with pytest.raises(ValueError, match="example 17"):
        attack.scores(target, bank)
    for side in (bank.inside, bank.outside):
        kept, side[3, 41, 1] = side[3, 41, 1], bad
        with pytest.raises(ValueError, match="example 41"):
            attack.leave_pair_out(bank)
        with pytest.raises(ValueError, match="example 41"):
            attack.scores(bank.inside[0], bank)
        side[3, 41, 1] = kept


@every_attack
def test_a_target_of_another_shape_than_the_bank_is_refused(attack: Attack, bank: PairArrays) -> None:
    with pytest.raises(ValueError, match=r"have shape \(60, 1\), the bank's \(60, 2\)"):
        attack.scores(bank.inside[0][:, :1], bank)


@every_attack
def test_a_single_example_has_a_score(attack: Attack) -> None:
    bank = _bank(seed=3, pairs=6, examples=1, shift=1)
    assert np.isfinite(attack.leave_pair_out(bank)).all()


def test_names_and_sources() -> None:
    names = {attack.name for attack in ATTACKS.values()}
    assert names == {"rmia", "rmia-offline", "bavaria-t", "bavaria-n", "sablayrolles", "attack-p", "attack-r"}
    assert all(attack.source for attack in ATTACKS.values())
