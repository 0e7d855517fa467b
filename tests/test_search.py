"""Best-first search: its order, ranks and certificates against closed forms of toy laws and against exact ranks."""

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from memaudit.signals.search import best_first
from memaudit.signals.secrets import exact_rank, space_costs

Array = np.ndarray
PREFIX = np.array([2, 0])


class Markov(nn.Module):
    """Each token is drawn with probabilities proportional to the row of the token before it. It counts its contexts."""

    def __init__(self, weights: Array) -> None:
        super().__init__()
        self.table, self.contexts, self.largest = torch.tensor(weights, dtype=torch.float32).log(), 0, 0

    def forward(self, input_ids: torch.Tensor, **_: Any) -> SimpleNamespace:
        self.contexts += len(input_ids)
        self.largest = max(self.largest, len(input_ids))
        return SimpleNamespace(logits=self.table[input_ids], past_key_values=None)


def all_secrets(alphabets: list[Array]) -> Array:
    return np.array(list(itertools.product(*(range(len(a)) for a in alphabets))))


def closed_form(weights: Array, alphabets: list[Array]) -> Array:
    log_p = np.log(weights / weights.sum(axis=1, keepdims=True))
    texts = [[PREFIX[-1], *(a[s] for a, s in zip(alphabets, r, strict=True))] for r in all_secrets(alphabets)]
    return -np.array([sum(log_p[pair] for pair in itertools.pairwise(text)) for text in texts])


@st.composite
def spaces(draw: st.DrawFn) -> tuple[Array, list[Array]]:
    """A square matrix of weights, and alphabets of one to four of its tokens, in any order."""
    vocabulary = draw(st.integers(4, 6))
    weights = draw(st.lists(st.integers(1, 99), min_size=vocabulary**2, max_size=vocabulary**2))
    tokens = st.lists(st.integers(0, vocabulary - 1), min_size=1, max_size=4, unique=True)
    alphabets = draw(st.lists(tokens, min_size=1, max_size=4))
    return np.reshape(weights, (vocabulary, vocabulary)).astype(float), [np.array(a) for a in alphabets]


ERROR = 1e-5  # nats; more than float32 loses on these laws
DIGITS = [np.arange(4)] * 4
TYING = np.array([[1, 2, 3, 5]] * 4)  # products tie if and only if the symbols are the same up to their order


@given(space=spaces(), batch=st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_without_limits_the_whole_space_comes_in_order(space: tuple[Array, list[Array]], batch: int) -> None:
    weights, alphabets = space
    true = closed_form(weights, alphabets)
    search = best_first(Markov(weights), PREFIX, alphabets, batch=batch)
    assert np.array_equal(np.unique(search.secrets, axis=0), all_secrets(alphabets))
    assert len(search.secrets) == len(true)
    assert np.all(np.diff(search.costs) >= 0)
    assert search.costs == pytest.approx(np.sort(true), abs=ERROR)
    which = np.ravel_multi_index(tuple(search.secrets.T), [len(a) for a in alphabets])
    assert search.costs == pytest.approx(true[which], abs=ERROR)
    assert search.frontier == np.inf


@given(space=spaces(), batch=st.integers(1, 9), queries=st.integers(1, 40), data=st.data())
@settings(max_examples=100, deadline=None)
def test_what_is_certified_is_true(
    space: tuple[Array, list[Array]], batch: int, queries: int, data: st.DataObject
) -> None:
    """On any budget: the found ones are the cheapest, no other is cheaper than the frontier, the rank is as stated."""
    weights, alphabets = space
    true, secrets = closed_form(weights, alphabets), all_secrets(alphabets)
    wanted = data.draw(st.integers(0, len(true) - 1))
    model = Markov(weights)
    search = best_first(model, PREFIX, alphabets, wanted=secrets[wanted], queries=queries, batch=batch)
    assert model.contexts - 1 == search.queries <= queries  # one more asks for the size of the vocabulary
    assert model.largest <= batch
    found = np.ravel_multi_index(tuple(search.secrets.T), [len(a) for a in alphabets]).astype(int)
    others = np.setdiff1d(np.arange(len(true)), found)
    assert search.costs == pytest.approx(np.sort(true)[: len(found)], abs=ERROR)
    assert np.all(true[others] >= search.frontier - ERROR)
    assert np.all(search.costs <= search.frontier)
    most = int((true <= true[wanted] + ERROR).sum())
    if search.rank is None:
        assert search.rank_above < most
    else:
        assert wanted in found
        assert (true < true[wanted] - ERROR).sum() < search.rank <= most


def test_a_wanted_secret_is_found_with_its_rank_ties_counted() -> None:
    secrets = all_secrets(DIGITS)
    products = np.prod(TYING[0][secrets], axis=1)
    for which in range(0, 256, 15):
        search = best_first(Markov(TYING), PREFIX, DIGITS, wanted=secrets[which])
        rank = (products >= products[which]).sum()
        assert (search.rank, search.rank_above) == (rank, rank - 1)


def test_rank_is_left_open_where_the_limit_falls_among_ties() -> None:
    """The cheapest secret is 5·5·5·5; the next four are 5·5·5·3 in any order, of which the limit leaves out some."""
    ties = [best_first(Markov(TYING), PREFIX, DIGITS, limit=3).secrets[k] for k in (1, 2)]
    for secret in ties:
        search = best_first(Markov(TYING), PREFIX, DIGITS, wanted=secret, limit=3)
        assert (search.rank, search.rank_above) == (None, 2)
        assert search.frontier == search.costs[2]
        assert best_first(Markov(TYING), PREFIX, DIGITS, wanted=secret, limit=5).rank == 5


def test_rank_above_is_certified_where_the_wanted_secret_was_not_found() -> None:
    """Symbol 0 four times is the dearest of 256 secrets."""
    for limit in (0, 1, 100, 255):
        search = best_first(Markov(TYING), PREFIX, DIGITS, wanted=np.zeros(4, dtype=int), limit=limit)
        assert (search.rank, search.rank_above, len(search.secrets)) == (None, limit, limit)
    assert best_first(Markov(TYING), PREFIX, DIGITS, wanted=np.zeros(4, dtype=int)).rank == 256


@pytest.mark.parametrize("batch", [1, 64])
def test_a_memorized_secret_takes_one_query_per_step(batch: int) -> None:
    """Each token is followed by the next with probability 0.9: a space of 10^8, of which eight contexts are read."""
    weights = np.full((10, 10), 0.1 / 9)
    weights[np.arange(10), (np.arange(10) + 1) % 10] = 0.9
    alphabets, secret = [np.arange(10)] * 8, np.arange(1, 9)
    first = best_first(Markov(weights), PREFIX, alphabets, limit=1, batch=batch)
    assert first.secrets.tolist() == [secret.tolist()]
    assert first.costs == pytest.approx([-8 * np.log(0.9)], abs=ERROR)
    wanted = best_first(Markov(weights), PREFIX, alphabets, wanted=secret, batch=batch)
    assert (wanted.rank, wanted.queries, first.queries) == (1, 8, 8)
    assert wanted.frontier > wanted.costs[0]


def test_batches_change_nothing_that_is_found() -> None:
    weights = np.random.default_rng(3).gamma(0.5, size=(12, 12)) + 1e-3
    alphabets = [np.arange(12), np.arange(5), np.array([7]), np.arange(2, 11)]
    one, *others = (best_first(Markov(weights), PREFIX, alphabets, limit=100, batch=b) for b in (1, 10, 1000))
    for other in others:
        assert np.array_equal(one.secrets, other.secrets)
        assert np.array_equal(one.costs, other.costs)
        assert one.queries <= other.queries


def test_impossible_secrets_come_last() -> None:
    weights = np.array([[0.0, 1, 3], [2, 1, 1], [1, 1, 0]])
    search = best_first(Markov(weights), PREFIX, [np.arange(3)] * 2, wanted=np.array([2, 2]))
    assert np.isinf(search.costs).sum() == 4
    assert search.rank == 9


@pytest.mark.parametrize("name", ["Llama", "GPT2"])
def test_the_three_ways_to_a_rank_agree_on_transformers(name: str) -> None:
    """The nearest cost lies more than 2e-4 nats off, tenfold what rounding in other batches changes."""
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    torch.manual_seed(11)
    common: dict[str, Any] = {
        "vocab_size": 19, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.4,
        "bos_token_id": 0, "eos_token_id": 1,
    }  # fmt: skip
    model = (
        transformers.LlamaForCausalLM(transformers.LlamaConfig(**common, intermediate_size=64))
        if name == "Llama"
        else transformers.GPT2LMHeadModel(transformers.GPT2Config(**common))
    )
    alphabets = [np.arange(3, 8), np.array([9]), np.arange(10, 16), np.arange(4)]
    costs, secrets = space_costs(model, PREFIX, alphabets), all_secrets(alphabets)
    for which in np.random.default_rng(0).choice(len(costs), 8, replace=False):
        assert np.sort(np.abs(costs - costs[which]))[1] > 2e-4
        rank = int((costs <= costs[which]).sum())
        assert exact_rank(model, PREFIX, alphabets, secrets[which]) == rank
        search = best_first(model, PREFIX, alphabets, wanted=secrets[which])
        assert search.rank == rank
        assert search.costs == pytest.approx(np.sort(costs)[:rank], abs=1e-4)


def test_refusals() -> None:
    model = Markov(np.ones((4, 4)))
    with pytest.raises(ValueError, match="at least one query, got 0"):
        best_first(model, PREFIX, DIGITS, queries=0)
    with pytest.raises(ValueError, match=r"\[0, 0, 0, 4\] is not in a space"):
        best_first(model, PREFIX, DIGITS, wanted=np.array([0, 0, 0, 4]))
    with pytest.raises(ValueError, match="prefix is empty"):
        best_first(model, PREFIX[:0], DIGITS)
