"""The membership design: growth, complementarity, independence, the pair form and the null run.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

import jaxtyping
import numpy as np
import pytest
from scipy import stats

from memaudit.design import NullPairs, PairArrays, by_pair, coins, half, halves, swapped, training_seed
from memaudit.memorization import memorization
from memaudit.stats import auc

Array = np.ndarray


def test_the_import_hook_catches_a_transposed_mask() -> None:
    """Shape checking is on in tests: 8 models × 5 examples against a mask of 5 × 8 must not pass in silence."""
    members = halves(0, 8, 5)
    with pytest.raises(jaxtyping.TypeCheckError):
        memorization(np.ones((8, 5), dtype=bool), np.ascontiguousarray(members.T))
    with pytest.raises(jaxtyping.TypeCheckError):
        by_pair(np.zeros((5, 8)), members)


def test_a_bank_grows_without_changing() -> None:
    """A bank of 64 models is the first half of a bank of 128."""
    assert np.array_equal(halves(7, 64, 300), halves(7, 128, 300)[:64])


def test_pairs_are_complementary_and_every_example_is_in_half_of_the_models() -> None:
    members = halves(3, 32, 501)
    assert members.shape == (32, 501)
    assert members.dtype == np.uint8
    assert np.array_equal(members[0::2] + members[1::2], np.ones((16, 501)))
    assert np.array_equal(members.sum(axis=0), np.full(501, 16))


def test_one_model_of_the_design_is_a_row_of_it() -> None:
    members = halves(8, 6, 90)
    for model in range(6):
        assert np.array_equal(half(8, model, 90), members[model])


def test_the_seed_decides() -> None:
    assert np.array_equal(halves(5, 4, 100), halves(5, 4, 100))
    assert not np.array_equal(halves(5, 4, 100), halves(6, 4, 100))


@pytest.mark.parametrize("models", [-2, 0, 1, 3, 65])
def test_an_odd_or_empty_bank_is_refused(models: int) -> None:
    with pytest.raises(ValueError, match=str(models)):
        halves(0, models, 10)


def test_membership_is_a_fair_coin() -> None:
    """The count of members over 200 pairs × 500 examples is Binomial(100 000, ½); false alarm 1e-6."""
    first = halves(11, 400, 500)[0::2]
    assert stats.binomtest(int(first.sum()), first.size).pvalue > 1e-6


def test_examples_and_pairs_are_independent() -> None:
    """No two pairs, and no two examples, have correlated memberships.

    Each correlation of n fair coins has sd 1/√n (and lighter tails than the normal law). False alarm, with the bound at
    6 sd and 199 · 200/2 + 299 · 300/2 < 65 000 correlations: 65 000 · 2Φ(−6) < 2e-4.
    """
    coins = halves(12, 400, 300)[0::2].astype(float)
    for table in (coins, coins.T):
        r = np.corrcoef(table)
        off_diagonal = r[~np.eye(len(r), dtype=bool)]
        assert np.abs(off_diagonal).max() < 6 / np.sqrt(table.shape[1])


def test_training_seeds_differ_between_models_and_do_not_depend_on_the_bank() -> None:
    """Among 200 seeds of 2³¹ two agree by chance with probability 1e-5."""
    seeds = [training_seed(4, model) for model in range(200)]
    assert len(set(seeds)) == 200
    assert seeds[17] == training_seed(4, 17)
    assert training_seed(5, 17) != seeds[17]
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize("queries", [(), (3,)])
def test_by_pair_against_a_loop(queries: tuple[int, ...]) -> None:
    """Model by model: the value of the model that has the example, and of the one that lacks it."""
    members = halves(1, 8, 20)
    values = np.arange(8 * 20 * int(np.prod(queries)), dtype=float).reshape(8, 20, *queries)
    inside, outside = by_pair(values, members)
    assert inside.shape == outside.shape == (4, 20, *queries)
    for pair in range(4):
        for example in range(20):
            has = 2 * pair if members[2 * pair, example] else 2 * pair + 1
            lacks = 4 * pair + 1 - has
            assert np.array_equal(inside[pair, example], values[has, example])
            assert np.array_equal(outside[pair, example], values[lacks, example])


def test_by_pair_takes_counts_as_membership() -> None:
    """An example that a model was trained on three times is inside, not "3 inside"."""
    members = np.array([[3, 0], [0, 2]], dtype=np.uint8)
    inside, outside = by_pair(np.array([[1.0, 2.0], [3.0, 4.0]]), members)
    assert inside.tolist() == [[1.0, 4.0]]
    assert outside.tolist() == [[3.0, 2.0]]


@pytest.mark.parametrize(
    "members",
    [
        [[1, 0], [1, 1]],  # example 0 in both
        [[1, 0], [0, 0]],  # example 1 in neither
        [[1, 0], [0, 1], [1, 0]],  # no partner
    ],
)
def test_by_pair_refuses_what_is_not_paired(members: list[list[int]]) -> None:
    mask = np.array(members, dtype=np.uint8)
    with pytest.raises(ValueError, match="complementary"):
        by_pair(np.zeros(mask.shape), mask)


def test_the_null_run_keeps_the_values_of_each_pair() -> None:
    """Where the coin shows heads inside and outside change places, all queries together; elsewhere nothing moves."""
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(size=(2, 6, 50, 3))
    heads = coins(9, 6, 50)
    new_in, new_out = swapped(inside, outside, heads)
    for pair in range(6):
        for example in range(50):
            expected = inside[pair, example], outside[pair, example]
            if heads[pair, example]:
                expected = expected[::-1]
            assert np.array_equal(new_in[pair, example], expected[0])
            assert np.array_equal(new_out[pair, example], expected[1])


def test_the_null_runs_coins_do_not_know_the_membership() -> None:
    """They are fair, differ from pair to pair, and are independent of the design of the same seed.

    Three binomial tests of about 40 000 coins each at 1e-6: false alarm 3e-6.
    """
    first = halves(2, 80, 1000)[0::2].astype(bool)
    heads = coins(2, 40, 1000)
    assert np.array_equal(heads, coins(2, 40, 1000))
    for successes in (heads, heads == first, heads[1:] == heads[:-1]):
        assert stats.binomtest(int(successes.sum()), successes.size).pvalue > 1e-6


def test_null_pairs_are_the_swapped_arrays_read_by_blocks() -> None:
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(size=(2, 5, 7, 2))
    heads = coins(1, 5, 7)
    null = NullPairs(PairArrays(inside, outside), heads)
    assert null.shape == (5, 7, 2)
    some = np.array([4, 0, 2])
    expected = swapped(inside[some], outside[some], heads[some])
    for got, want in zip(null.take(some).block(slice(1, 6)), expected, strict=True):
        assert np.array_equal(got, want[:, 1:6])


def test_the_null_run_hides_even_a_certain_effect() -> None:
    """Inside 9 above outside everywhere: after the coins AUC is ½ to 5 SE.

    With two values only, AUC = ½ + (share of inside values that are high − ½), a binomial share of 40 000 coins.
    False alarm 6e-7.
    """
    inside, outside = np.full((40, 1000, 1), 9.0), np.zeros((40, 1000, 1))
    got_in, got_out = NullPairs(PairArrays(inside, outside), coins(3, 40, 1000)).block(slice(None))
    assert auc(got_in.ravel(), got_out.ravel()) == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(40_000))


def test_pair_arrays_give_blocks_and_pairs() -> None:
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(size=(2, 5, 7, 2))
    pairs = PairArrays(inside, outside)
    assert pairs.shape == (5, 7, 2)
    some = pairs.take(np.array([3, 1]))
    assert some.shape == (2, 7, 2)
    a, b = some.block(slice(2, 5))
    assert np.array_equal(a, inside[[3, 1], 2:5])
    assert np.array_equal(b, outside[[3, 1], 2:5])


@pytest.mark.parametrize("some", [[1, 2, 3], [0], [3, 4, 5, 6], [-1], [-2, -1], [3, 1], [1, 3], [], [2, 2]])
def test_pairs_are_taken_as_numpy_takes_them(some: list[int]) -> None:
    inside, outside = np.random.default_rng(0).normal(size=(2, 5, 4, 1))
    index = np.array(some, dtype=np.int64)
    if index.size and index.max() > 4:
        with pytest.raises(IndexError):
            PairArrays(inside, outside).take(index)
        return
    taken = PairArrays(inside, outside).take(index)
    assert np.array_equal(taken.inside, inside[index]) and np.array_equal(taken.outside, outside[index])
