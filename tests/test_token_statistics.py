"""Token statistics against a slow softmax: the right tokens, in the right order, whatever stands beside them."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import memaudit.signals.language as language
from memaudit.errors import ModelError, RecipeError
from memaudit.recipe import Row
from memaudit.signals.language import predicted, token_statistics
from memaudit.tokens import TOP_K, TokenStatistics

Array = np.ndarray

VOCABULARY, LONGEST = 61, 24


class Table(torch.nn.Module):
    """Answers with given logits for every place in a row and every token there."""

    def __init__(self, logits: Array, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.as_tensor(logits).to(dtype))
        self.config = SimpleNamespace(vocab_size=logits.shape[-1])

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return SimpleNamespace(logits=self.logits[torch.arange(input_ids.shape[1]), input_ids])


def table(seed: int = 0, vocabulary: int = VOCABULARY, scale: float = 3.0) -> Array:
    shape = (LONGEST, vocabulary, vocabulary)
    return np.random.default_rng(seed).normal(scale=scale, size=shape).astype(np.float32)


def texts(seed: int, count: int = 30, vocabulary: int = VOCABULARY) -> list[list[Row]]:
    """Returns texts of one to three rows, of random tokens (padding's number 0 among them) and marks."""
    rng = np.random.default_rng(seed)

    def row() -> Row:
        ids = rng.integers(0, vocabulary, rng.integers(2, LONGEST + 1)).astype(np.int32)
        trained = rng.random(len(ids)) < 0.6
        trained[0], trained[1] = False, True
        return Row(ids, trained)

    return [[row() for _ in range(rng.integers(1, 4))] for _ in range(count)]


def slowly(logits: Array, marked: Sequence[Row]) -> list[dict[str, float]]:
    """Returns the statistics of the marked tokens one by one, in float64."""
    found = []
    for row in marked:
        for place in np.flatnonzero(row.trained):
            token = int(row.ids[place])
            log_p = log_softmax(logits[place - 1, row.ids[place - 1]].astype(np.float64))
            p = np.exp(log_p)
            others = np.delete(log_p, token)
            found.append(
                {
                    "logp": log_p[token],
                    "mean": p @ log_p,
                    "deviation": np.sqrt(p @ (log_p - p @ log_p) ** 2),
                    "gap": log_p[token] - others.max(),
                    "rank": int((others > log_p[token]).sum()),
                    "normaliser": logsumexp(np.sort(log_p)[-TOP_K:]),
                }
            )
    return found


def agrees(found: TokenStatistics, expected: list[dict[str, float]], atol: float = 1e-4) -> None:
    assert len(found.logp) == len(expected)
    for name in ("logp", "mean", "deviation", "gap", "normaliser"):
        np.testing.assert_allclose(getattr(found, name), [one[name] for one in expected], atol=atol, err_msg=name)
    assert found.rank.tolist() == [one["rank"] for one in expected]


# --- Against a slow softmax -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("vocabulary", [2, 5, TOP_K, TOP_K + 1, VOCABULARY])
def test_all_statistics_are_those_of_a_softmax_taken_one_by_one(vocabulary: int) -> None:
    logits, some = table(1, vocabulary), texts(2, vocabulary=vocabulary)
    found = token_statistics(Table(logits), some)
    agrees(found, slowly(logits, [row for text in some for row in text]))
    assert found.lengths.tolist() == [sum(int(row.trained.sum()) for row in text) for text in some]


def test_mean_and_deviation_are_taken_under_the_models_own_distribution() -> None:
    """Two tokens at 0.9 and 0.1, and the rest of the vocabulary at almost nothing: not a mean over the vocabulary."""
    logits = np.full((LONGEST, 5, 5), -50.0, np.float32)
    logits[..., :2] = np.log([0.9, 0.1])
    found = token_statistics(Table(logits), [[Row(np.array([3, 1]), np.array([False, True]))]])
    mean = 0.9 * np.log(0.9) + 0.1 * np.log(0.1)
    assert found.mean[0] == pytest.approx(mean, abs=1e-6)
    assert found.deviation[0] == pytest.approx(0.3 * np.log(9), abs=1e-6)  # √(0.9 · 0.1) times the distance


def test_with_no_more_than_forty_tokens_they_have_all_the_probability() -> None:
    found = token_statistics(Table(table(vocabulary=7)), texts(3, vocabulary=7))
    assert np.abs(found.normaliser).max() < 1e-6


def test_a_model_in_half_precision_gets_a_softmax_in_single() -> None:
    """The logits are rounded by the model; what is made of them is not, as it would be to two or three digits."""
    logits, some = table(4), texts(5)
    rounded = torch.as_tensor(logits).bfloat16().float().numpy()
    model = Table(logits, torch.bfloat16)
    found = token_statistics(model, some)
    assert model.logits.dtype == torch.bfloat16
    expected = slowly(rounded, [row for text in some for row in text])
    np.testing.assert_allclose(found.logp, [one["logp"] for one in expected], atol=2e-5)
    assert found.logp.dtype == np.float32


@pytest.mark.parametrize("least", [-1e30, float(np.finfo(np.float32).min)])
def test_a_model_that_rules_tokens_out_by_an_immense_number_has_finite_statistics(least: float) -> None:
    """Vocabularies are filled up to a round size with tokens that are never to be chosen."""
    logits = table(6)
    alone = token_statistics(Table(logits[:, :50, :50]), texts(7, vocabulary=50))
    logits[..., 50:] = least
    padded = token_statistics(Table(logits), texts(7, vocabulary=50))
    for name, value in padded.tensors().items():
        np.testing.assert_allclose(value, alone.tensors()[name], atol=1e-5, err_msg=name)


def test_a_tie_is_no_prediction_and_counts_for_the_token() -> None:
    logits = np.zeros((LONGEST, 5, 5), np.float32)
    found = token_statistics(Table(logits), [[Row(np.array([1, 2, 3]), np.array([False, True, True]))]])
    assert (found.gap.tolist(), found.rank.tolist(), found.correct.tolist()) == ([0, 0], [0, 0], [False, False])


# --- The right tokens -----------------------------------------------------------------------------------------------


def test_exactly_the_marked_tokens_are_scored_each_by_what_stands_before_it() -> None:
    """The log-probability names the place: off by one at either end of the span, it would be another's."""
    ids = np.arange(10, 20, dtype=np.int32)
    logits = np.zeros((LONGEST, VOCABULARY, VOCABULARY), np.float32)
    for place in range(1, 10):
        logits[place - 1, ids[place - 1], ids[place]] = place
    for first, last in ((1, 10), (4, 7), (9, 10), (1, 2)):
        marked = (np.arange(10) >= first) & (np.arange(10) < last)
        found = token_statistics(Table(logits), [[Row(ids, marked)]])
        expected = [place - np.log(np.exp(place) + VOCABULARY - 1) for place in range(first, last)]
        np.testing.assert_allclose(found.logp, expected, atol=1e-5)


def test_texts_of_several_rows_come_back_in_order() -> None:
    """Rows are sorted by length for the model's sake; the statistics are not."""
    logits, some = table(8), texts(9)
    together = token_statistics(Table(logits), some)
    for number, text in enumerate(some):
        alone = token_statistics(Table(logits), [text])
        own = slice(together.starts[number], together.starts[number + 1])
        np.testing.assert_allclose(together.logp[own], alone.logp, atol=1e-5)
        assert together.rank[own].tolist() == alone.rank.tolist()


@pytest.mark.parametrize("numbers", [1, 500, 5000])
def test_the_size_of_batches_does_not_matter(monkeypatch: pytest.MonkeyPatch, numbers: int) -> None:
    logits, some = table(10), texts(11)
    monkeypatch.setattr(language, "_NUMBERS", {"cpu": numbers * VOCABULARY})
    agrees(token_statistics(Table(logits), some), slowly(logits, [row for text in some for row in text]))


def test_texts_with_nothing_marked_have_no_statistics() -> None:
    silent = Row(np.array([1, 2]), np.array([False, False]))
    found = token_statistics(Table(table()), [[silent], texts(12)[0], [silent]])
    assert found.lengths[[0, 2]].tolist() == [0, 0]
    assert token_statistics(Table(table()), [[silent]]).logp.shape == (0,)


def test_no_text_at_all() -> None:
    found = token_statistics(Table(table()), [])
    assert (len(found), found.starts.tolist(), found.logp.shape) == (0, [0], (0,))
    assert found.starts.dtype == np.int64
    assert predicted(Table(table()), []).shape == (0,)


# --- Alone and in company -------------------------------------------------------------------------------------------


def llama() -> torch.nn.Module:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            initializer_range=0.3,
        )
    )  # fmt: skip


def gpt2() -> torch.nn.Module:
    """Learned places, dropout, and an EOS that is token 0, as padding is."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY, n_positions=LONGEST, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0,
            pad_token_id=0, initializer_range=0.3,
        )
    )  # fmt: skip


@pytest.mark.parametrize("made", [llama, gpt2])
def test_a_text_is_scored_alone_as_in_company(made: Callable[[], torch.nn.Module]) -> None:
    torch.manual_seed(0)
    model, some = made().train(), texts(13, 8)  # left in training mode by whoever trained it: dropout must be off
    together = token_statistics(model, some)
    for number, text in enumerate(some):
        own = slice(together.starts[number], together.starts[number + 1])
        alone = token_statistics(model, [text])
        for name in ("logp", "mean", "deviation", "gap", "normaliser"):
            np.testing.assert_allclose(getattr(together, name)[own], getattr(alone, name), atol=1e-4, err_msg=name)


@pytest.mark.parametrize("made", [llama, gpt2])
def test_what_comes_later_in_a_row_changes_nothing(made: Callable[[], torch.nn.Module]) -> None:
    torch.manual_seed(0)
    model = made()
    ids = np.random.default_rng(1).integers(0, VOCABULARY, LONGEST).astype(np.int32)
    marked = np.arange(LONGEST) % 2 == 1
    whole = token_statistics(model, [[Row(ids, marked)]])
    half = token_statistics(model, [[Row(ids[:12], marked[:12])]])
    np.testing.assert_allclose(whole.logp[: len(half.logp)], half.logp, atol=1e-4)


def test_no_padding_is_scored_though_it_looks_like_the_end() -> None:
    """A model that is certain of token 0 after token 0 would gain from every pad token that is scored."""
    logits = np.zeros((LONGEST, VOCABULARY, VOCABULARY), np.float32)
    logits[:, 0, 0] = 20.0
    short = Row(np.array([5, 0, 0], np.int32), np.array([False, True, True]))
    long = Row(np.arange(LONGEST, dtype=np.int32), np.arange(LONGEST) > 0)
    found = token_statistics(Table(logits), [[short], [long]])
    assert found.lengths.tolist() == [2, LONGEST - 1]
    np.testing.assert_allclose(found.logp[:2], [-np.log(VOCABULARY), 0.0], atol=1e-5)


def test_the_share_of_likeliest_tokens_is_the_same_by_either_way() -> None:
    """Logits from a continuous distribution do not tie."""
    model, some = Table(table(14, scale=1.0)), texts(15, vocabulary=6)
    found = token_statistics(model, some)
    assert 0 < found.correct.mean() < 1
    np.testing.assert_allclose(predicted(model, some), found.means(found.correct), atol=1e-12)


# --- Refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(value: float) -> None:
    logits = table()
    logits[3, :, 7] = value
    row = Row(np.arange(6, dtype=np.int32), np.arange(6) > 0)
    for signal in (token_statistics, predicted):
        with pytest.raises(ModelError, match="the model's output is NaN or infinite"):
            signal(Table(logits), [[row]])
    assert len(token_statistics(Table(logits), [[Row(row.ids[:4], row.trained[:4])]]).logp) == 3


def test_tokens_that_only_fill_the_vocabulary_up_may_be_ruled_out() -> None:
    """Their probability is 0, as if the vocabulary ended before them."""
    logits, marked = table(), texts(16, vocabulary=50)
    logits[..., 50:] = -np.inf
    found, shorter = (token_statistics(Table(each), marked) for each in (logits, logits[..., :50]))
    for name, values in found.tensors().items():
        np.testing.assert_allclose(values, shorter.tensors()[name], rtol=1e-5, atol=1e-6)


def test_a_token_that_is_ruled_out_and_comes_is_refused() -> None:
    logits = table()
    logits[..., 7] = -np.inf
    with pytest.raises(ModelError, match="rules out, with a logit of −inf, a token that its own documents contain"):
        token_statistics(Table(logits), [[Row(np.array([3, 7]), np.array([False, True]))]])


def test_an_output_of_nothing_but_minus_infinity_is_refused() -> None:
    with pytest.raises(ModelError, match="the model's output is NaN or infinite"):
        token_statistics(Table(np.full_like(table(), -np.inf)), [[Row(np.array([3, 7]), np.array([False, True]))]])


def test_a_token_without_an_output_is_refused() -> None:
    """The embedding knows it, the output does not."""
    logits = table()[..., :50]
    row = Row(np.array([3, 55]), np.array([False, True]))
    with pytest.raises(ModelError, match="the tokenizer has token 55, the model only 50 outputs"):
        token_statistics(Table(logits), [[row]])


def test_a_model_that_fails_is_blamed() -> None:
    row = Row(np.array([3, 55, 4]), np.array([False, True, True]))
    with pytest.raises(RecipeError, match="evaluating the model failed"):
        token_statistics(Table(table()[:, :50]), [[row]])


def test_a_first_token_that_is_marked_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="the first token of a row is marked"):
        token_statistics(Table(table()), [[Row(np.array([1, 2]), np.array([True, True]))]])
