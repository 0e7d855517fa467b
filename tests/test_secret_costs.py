"""Costs and exact ranks of secrets against closed forms of toy laws, and against a full forward pass per candidate."""

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from memaudit.errors import ModelError
from memaudit.signals.secrets import exact_rank, secret_costs, space_costs

Array = np.ndarray
PREFIX = np.array([4, 1, 3])


class Toy(nn.Module):
    """A model without a cache whose next-token logits are a given function of the token ids; it counts its contexts."""

    def __init__(self, logits: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.logits, self.contexts, self.largest = logits, 0, 0

    def forward(self, input_ids: torch.Tensor, **_: Any) -> SimpleNamespace:
        self.contexts += len(input_ids)
        self.largest = max(self.largest, len(input_ids))
        return SimpleNamespace(logits=self.logits(input_ids), past_key_values=None)


def by_position(weights: Array) -> Toy:
    """Symbol t of the secret is drawn with probabilities proportional to row t, whatever came before."""
    table = torch.tensor(weights, dtype=torch.float32).log()
    steps = len(table)

    def logits(ids: torch.Tensor) -> torch.Tensor:
        return table[(torch.arange(ids.shape[1]) - len(PREFIX) + 1).clamp(0, steps - 1)].expand(len(ids), -1, -1)

    return Toy(logits)


def markov(weights: Array) -> Toy:
    """Each token is drawn with probabilities proportional to the row of the token before it."""
    table = torch.tensor(weights, dtype=torch.float32).log()
    return Toy(lambda ids: table[ids])


def all_secrets(alphabets: list[Array]) -> Array:
    return np.array(list(itertools.product(*(range(len(a)) for a in alphabets))))


def costs_by_position(weights: Array, alphabets: list[Array]) -> Array:
    log_p = np.log(weights / weights.sum(axis=1, keepdims=True))
    return -np.array(
        [sum(log_p[t, a[s]] for t, (a, s) in enumerate(zip(alphabets, r, strict=True))) for r in all_secrets(alphabets)]
    )


def costs_of_markov(weights: Array, alphabets: list[Array]) -> Array:
    log_p = np.log(weights / weights.sum(axis=1, keepdims=True))
    texts = [[PREFIX[-1], *(a[s] for a, s in zip(alphabets, r, strict=True))] for r in all_secrets(alphabets)]
    return -np.array([sum(log_p[pair] for pair in itertools.pairwise(text)) for text in texts])


def rank_limits(costs: Array, which: int, error: float = 1e-5) -> tuple[int, int]:
    """Returns the ranks between which float32 may decide."""
    return int((costs < costs[which] - error).sum()) + 1, int((costs <= costs[which] + error).sum())


@st.composite
def spaces(draw: st.DrawFn) -> tuple[Array, list[Array]]:
    """A square matrix of weights, and alphabets of one to four of its tokens, in any order."""
    vocabulary = draw(st.integers(5, 7))
    weights = draw(st.lists(st.integers(1, 99), min_size=vocabulary**2, max_size=vocabulary**2))
    tokens = st.lists(st.integers(0, vocabulary - 1), min_size=1, max_size=4, unique=True)
    alphabets = draw(st.lists(tokens, min_size=1, max_size=4))
    return np.reshape(weights, (vocabulary, vocabulary)).astype(float), [np.array(a) for a in alphabets]


LAWS = [(by_position, costs_by_position), (markov, costs_of_markov)]


@pytest.mark.parametrize(("law", "closed_form"), LAWS)
@given(space=spaces(), data=st.data())
@settings(max_examples=40, deadline=None)
def test_toy_laws_in_closed_form(
    law: Callable[[Array], Toy],
    closed_form: Callable[[Array, list[Array]], Array],
    space: tuple[Array, list[Array]],
    data: st.DataObject,
) -> None:
    """All costs, those of some secrets in any order and with repetitions, and one rank."""
    weights, alphabets = space
    true, secrets, batch = closed_form(weights, alphabets), all_secrets(alphabets), data.draw(st.integers(1, 9))
    costs = space_costs(law(weights), PREFIX, alphabets, batch=batch)
    assert costs == pytest.approx(true, abs=1e-5)
    some = np.array(data.draw(st.lists(st.integers(0, len(true) - 1), max_size=20)), dtype=int)
    assert np.array_equal(secret_costs(law(weights), PREFIX, alphabets, secrets[some], batch=batch), costs[some])
    which = data.draw(st.integers(0, len(true) - 1))
    low, high = rank_limits(true, which)
    assert low <= exact_rank(law(weights), PREFIX, alphabets, secrets[which], batch=batch) <= high


@pytest.mark.parametrize("batch", [1, 5, 100])
def test_ties_count_whatever_the_order_of_the_symbols(batch: int) -> None:
    """Weights 1, 2, 3, 5 in four steps: products tie if and only if the symbols are the same up to their order."""
    weights, alphabets = np.array([[1, 2, 3, 5, 7]] * 5), [np.arange(4)] * 4
    products = np.prod(weights[0, :4][all_secrets(alphabets)], axis=1)
    for which in range(0, 256, 15):
        secret = all_secrets(alphabets)[which]
        rank = exact_rank(by_position(weights), PREFIX, alphabets, secret, batch=batch)
        assert rank == (products >= products[which]).sum()


def test_uniform_law_ranks_every_secret_last() -> None:
    alphabets = [np.arange(3)] * 4
    for secret in ([0, 0, 0, 0], [1, 2, 0, 1], [2, 2, 2, 2]):
        assert exact_rank(by_position(np.ones((4, 5))), PREFIX, alphabets, np.array(secret)) == 81


def test_impossible_symbols_cost_infinitely_much() -> None:
    weights = np.array([[0.0, 1, 3, 0, 0], [2.0, 1, 1, 0, 0]])
    alphabets = [np.arange(3)] * 2
    costs = space_costs(by_position(weights), PREFIX, alphabets)
    assert np.array_equal(np.isinf(costs), all_secrets(alphabets)[:, 0] == 0)
    assert exact_rank(by_position(weights), PREFIX, alphabets, np.array([0, 1])) == 9
    assert exact_rank(by_position(weights), PREFIX, alphabets, np.array([1, 1])) == 6
    assert exact_rank(by_position(weights), PREFIX, alphabets, np.array([2, 0])) == 1


def test_half_precision_logits_are_normalised_in_single_precision() -> None:
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    true = -torch.log_softmax(logits.double(), dim=-1)[PREFIX[-1]].numpy()
    assert space_costs(Toy(lambda ids: logits[ids]), PREFIX, [np.arange(5)]) == pytest.approx(true, abs=1e-5)


# --- What it takes --------------------------------------------------------------------------------------------------


def test_every_context_is_read_once_and_no_more_than_a_batch_at_a_time() -> None:
    """Three digits have 1 + 10 + 100 contexts; one more query asks for the size of the vocabulary."""
    model = by_position(np.ones((3, 11)))
    space_costs(model, PREFIX, [np.arange(10)] * 3, batch=16)
    assert (model.contexts, model.largest) == (112, 16)


def test_beginnings_that_secrets_share_are_read_once() -> None:
    model = by_position(np.ones((3, 11)))
    secret_costs(model, PREFIX, [np.arange(10)] * 3, np.array([[1, 2, 3], [4, 4, 4], [1, 2, 4], [1, 3, 3], [1, 2, 3]]))
    assert model.contexts - 1 == 1 + 2 + 3


def test_rank_of_a_memorized_secret_takes_one_path() -> None:
    """Nine in ten at each of nine steps; every other symbol costs more than the whole secret, log 90 > 9 log(10/9)."""
    weights, secret = np.full((9, 10), 0.1 / 9), np.array([3, 1, 4, 1, 5, 9, 2, 6, 5])
    weights[np.arange(9), secret] = 0.9
    model = by_position(weights)
    assert exact_rank(model, PREFIX, [np.arange(10)] * 9, secret) == 1
    assert model.contexts == 2 * (1 + 9)


# --- Transformers ---------------------------------------------------------------------------------------------------


def transformer(name: str) -> nn.Module:
    """Returns a random two-layer model whose laws are far from uniform."""
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    common: dict[str, Any] = {
        "vocab_size": 23, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.4,
        "bos_token_id": 0, "eos_token_id": 1,
    }  # fmt: skip
    llama = {**common, "num_key_value_heads": 2, "intermediate_size": 64, "pad_token_id": 1}
    configurations = {
        "Llama": llama,
        "GPT2": common,  # dropout 0.1: it must be switched off
        "Mistral": {**llama, "sliding_window": 3},
        "Lfm2": {**llama, "full_attn_idxs": [1]},  # the other layer is a convolution, whose cache is changed in place
    }
    torch.manual_seed(7)
    config = getattr(transformers, f"{name}Config")(**configurations[name])
    model = getattr(transformers, f"{name}{'LMHeadModel' if name == 'GPT2' else 'ForCausalLM'}")(config)
    return model.train()


ALPHABETS = [np.arange(3, 8), np.array([2, 9, 11, 4]), np.array([7]), np.arange(10, 16)]


def full_forward_costs(model: nn.Module, prefix: Array, alphabets: list[Array]) -> Array:
    """Returns the costs by the obvious way: one full forward pass per candidate, without cache or batch."""
    costs = []
    for secret in all_secrets(alphabets):
        tokens = [int(alphabet[symbol]) for alphabet, symbol in zip(alphabets, secret, strict=True)]
        ids = torch.tensor([[*prefix.tolist(), *tokens]])
        with torch.no_grad():
            log_p = torch.log_softmax(model.eval()(input_ids=ids).logits[0].double(), dim=-1)
        costs.append(-sum(float(log_p[len(prefix) - 1 + t, token]) for t, token in enumerate(tokens)))
    return np.array(costs)


class WithoutCache(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(logits=self.model(input_ids=input_ids).logits, past_key_values=None)


@pytest.mark.parametrize("name", ["Llama", "GPT2", "Mistral", "Lfm2"])
def test_transformers_against_a_full_forward_pass_per_candidate(name: str) -> None:
    model = transformer(name)
    costs = space_costs(model, PREFIX, ALPHABETS)
    true = full_forward_costs(model, PREFIX, ALPHABETS)
    assert costs == pytest.approx(true, abs=1e-4)
    for batch in (1, 7):
        assert space_costs(model, PREFIX, ALPHABETS, batch=batch) == pytest.approx(costs, abs=1e-4)
    assert space_costs(WithoutCache(model), PREFIX, ALPHABETS) == pytest.approx(costs, abs=1e-4)
    secrets = all_secrets(ALPHABETS)
    some = np.random.default_rng(0).integers(0, len(secrets), 50)
    assert secret_costs(model, PREFIX, ALPHABETS, secrets[some], batch=9) == pytest.approx(true[some], abs=1e-4)
    for which in some[:3]:
        low, high = rank_limits(true, which, 1e-4)
        assert low <= exact_rank(model, PREFIX, ALPHABETS, secrets[which], batch=7) <= high


# --- Refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "alphabets", "secret", "match"),
    [
        ([], [[0, 1]], [0], "prefix is empty"),
        ([0], [], [], "at least one step"),
        ([0, 5], [[0, 1]], [0], "token 5 of prefix is not in the model's vocabulary of 5"),
        ([0], [[0, 1], [-1, 2]], [0, 0], "token -1 of alphabet 1"),
        ([0], [[1, 1]], [0], r"alphabet 0 .*\[1, 1\]"),
        ([0], [[1, 2], []], [0, 0], r"\[0, 0\] is not in a space of \[2, 0\]"),
        ([0], [[1, 2]], [2], r"\[2\] is not in a space of \[2\]"),
        ([0], [[1, 2]], [-1], r"\[-1\] is not"),
        ([0], [[1, 2]], [0, 1], r"\(1, 2\) do not have one symbol for each of 1 steps"),
    ],
)
def test_refusals(prefix: list[int], alphabets: list[list[int]], secret: list[int], match: str) -> None:
    arguments = np.array(prefix, dtype=int), [np.array(a, dtype=int) for a in alphabets], np.array(secret, dtype=int)
    with pytest.raises(ValueError, match=match):
        exact_rank(markov(np.ones((5, 5))), *arguments)


def test_an_empty_alphabet_is_refused() -> None:
    with pytest.raises(ValueError, match=r"alphabet 1 .*\[\]"):
        space_costs(markov(np.ones((5, 5))), PREFIX, [np.arange(2), np.arange(0)])


def test_a_broken_model_is_refused() -> None:
    with pytest.raises(ModelError, match="NaN"):
        space_costs(markov(np.full((5, 5), np.nan)), PREFIX, [np.arange(2)])
