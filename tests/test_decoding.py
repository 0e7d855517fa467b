"""Decoding against models whose every answer is known, and against small Llamas.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import LlamaConfig, LlamaForCausalLM

from memaudit.errors import EvidenceError, ModelError
from memaudit.signals.decoding import Decaying, Prompted, TopN, generate, greedy_continuations

Array = np.ndarray

VOCABULARY = 23


class Counting(torch.nn.Module):
    """Deterministic: the next token is the sum of all tokens so far plus one, modulo the vocabulary. It has no cache.

    A pad token anywhere in the input would change the answer.
    """

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> Any:
        best = (input_ids.cumsum(dim=1) + 1) % VOCABULARY
        return SimpleNamespace(logits=torch.nn.functional.one_hot(best, VOCABULARY).float() * 30)


class Bigram(torch.nn.Module):
    """The next token depends on the last alone, by given log-probabilities. It takes a cache and returns none."""

    def __init__(self, log_p: Array):
        super().__init__()
        self.log_p = torch.tensor(log_p)

    def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
        return SimpleNamespace(logits=self.log_p[input_ids])


def _llama(seed: int = 0, scale: float = 0.5) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        initializer_range=scale,  # large, so that the distributions are far from uniform
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config)


def _prefixes(*lengths: int) -> list[Array]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, VOCABULARY, length) for length in lengths]


def _greedily(model: Any, prefix: Array, length: int) -> list[int]:
    """Decodes one text, without cache and without batch."""
    ids = torch.tensor(prefix)[None]
    with torch.no_grad():
        for _ in range(length):
            ids = torch.cat([ids, model(input_ids=ids).logits[:, -1].argmax(dim=1)[:, None]], dim=1)
    return ids[0, len(prefix) :].tolist()


# --- greedy decoding ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_greedy_decoding_of_a_model_that_adds_up(batch: int) -> None:
    """Prefixes of different lengths, in one batch or not: nothing is padded, or the sums would be others."""
    prefixes = _prefixes(3, 7, 3, 1, 7)
    written = greedy_continuations(Counting(), prefixes, 6, batch=batch)
    for prefix, text in zip(prefixes, written, strict=True):
        ids = prefix.tolist()
        for token in text:
            assert token == (sum(ids) + 1) % VOCABULARY
            ids.append(int(token))


def test_greedy_decoding_with_a_cache_is_that_without() -> None:
    """A Llama with its cache, batched, against one text at a time that is read anew for every token."""
    model = _llama()
    prefixes = _prefixes(4, 9, 4, 4, 20)
    written = greedy_continuations(model, prefixes, 12)
    assert [text.tolist() for text in written] == [_greedily(model, prefix, 12) for prefix in prefixes]


@pytest.mark.parametrize("batch", [1, 3])
def test_batch_mates_do_not_matter(batch: int) -> None:
    model, prefixes = _llama(2), _prefixes(*[5] * 6, 8, 8, 2)
    together = greedy_continuations(model, prefixes, 10)
    apart = greedy_continuations(model, prefixes, 10, batch=batch)
    assert all(np.array_equal(a, b) for a, b in zip(together, apart, strict=True))


def test_teacher_forcing_is_greedy_decoding() -> None:
    """What is decoded has a positive gap at each of its tokens, and what is not decoded has none that is negative.

    The logits at the last prefix token predict the first suffix token: one place off, and both would fail.
    """
    model, prefixes = _llama(3), _prefixes(*[6] * 20)
    written = np.array(greedy_continuations(model, prefixes, 5))
    other = written.copy()
    other[np.arange(20), np.arange(20) % 5] = (other[np.arange(20), np.arange(20) % 5] + 1) % VOCABULARY
    for suffixes, expected in ((written, True), (other, False)):
        ids = torch.tensor(np.concatenate([np.array(prefixes), suffixes], axis=1))
        with torch.no_grad():
            best = model(input_ids=ids).logits.argmax(dim=2).numpy()
        assert np.array_equal(np.all(best[:, 5:-1] == suffixes, axis=1), np.full(20, expected))


def test_end_of_sequence_and_pad_are_tokens_like_any_other() -> None:
    """A model that always says EOS, or always pad, writes as many of them as it is asked for."""
    for token in (0, 2):
        model = Bigram(np.where(np.arange(4) == token, 5.0, 0.0) * np.ones((4, 1)))
        model.config = SimpleNamespace(eos_token_id=2, pad_token_id=0)  # type: ignore[assignment]
        assert greedy_continuations(model, [np.array([1])], 5)[0].tolist() == [token] * 5


def test_prefixes_are_ids_as_they_are() -> None:
    """int32 ids, as they are stored, and ids that no text would encode to."""
    prefix = np.array([0, 0, 2, 0], dtype=np.int32)
    assert greedy_continuations(Counting(), [prefix], 1)[0].tolist() == [3]
    with pytest.raises(ValueError, match="a prompt is empty"):
        greedy_continuations(Counting(), [prefix, prefix[:0]], 1)


def test_half_precision_is_refused_for_greedy_decoding() -> None:
    with pytest.raises(ModelError, match=r"bfloat16.*model\.float\(\)"):
        greedy_continuations(_llama().bfloat16(), _prefixes(3), 2)


def test_a_broken_model_is_named() -> None:
    with pytest.raises(ModelError, match="NaN or infinite"):
        greedy_continuations(Bigram(np.full((4, 4), np.nan)), [np.array([1])], 2)


# --- sampling -------------------------------------------------------------------------------------------------------


def _chain() -> Array:
    """A bigram model over 50 tokens, so that top-40 sampling leaves ten out."""
    logits = np.random.default_rng(4).normal(size=(50, 50)) * 2
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def _first_tokens(sampler: Any, count: int = 20_000) -> Array:
    texts = generate(Bigram(_chain()), count, 1, sampler, seed=5, batch=count, bos=7).texts
    return np.bincount(np.concatenate(texts), minlength=50)


def test_top_n_samples_from_the_renormalised_best() -> None:
    """χ² of 20 000 draws against the closed form; false alarm 1e-6. The other ten tokens never come."""
    p = np.exp(_chain()[7])
    p[np.argsort(p)[:10]] = 0
    counts = _first_tokens(TopN(40))
    assert counts[p == 0].sum() == 0
    assert stats.chisquare(counts[p > 0], 20_000 * p[p > 0] / p.sum()).pvalue > 1e-6


@pytest.mark.parametrize(("step", "temperature"), [(0, 10.0), (10, 5.5), (20, 1.0), (200, 1.0)])
def test_decaying_temperature(step: int, temperature: float) -> None:
    """10 at the first token, 1 from the 21st on."""
    logits = torch.randn(3, 9, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(Decaying().shaped(logits, step), logits / temperature)


def test_the_first_token_of_decaying_sampling_is_nearly_uniform() -> None:
    """χ² against the softmax at temperature 10; false alarm 1e-6."""
    p = np.exp(_chain()[7] / 10)
    assert stats.chisquare(_first_tokens(Decaying()), 20_000 * p / p.sum()).pvalue > 1e-6


def test_whole_texts_come_as_often_as_their_probability_says() -> None:
    """Two tokens from a model of three: 9 texts, 20 000 draws, χ² against the product; false alarm 1e-6."""
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]])
    texts = np.array(generate(Bigram(np.log(p)), 20_000, 2, TopN(3), seed=6, batch=20_000, bos=0).texts)
    expected = (p[0][:, None] * p).ravel()
    assert stats.chisquare(np.bincount(texts @ [3, 1], minlength=9), 20_000 * expected).pvalue > 1e-6


@pytest.mark.parametrize("sampler", [TopN(5), Decaying(), Prompted(_prefixes(9, 30, 6))])
def test_samples_depend_on_seed_and_number_alone(sampler: Any) -> None:
    """Not on how many there are, nor on how they are batched; another seed writes another text."""
    model = _llama(7)
    many = generate(model, 12, 8, sampler, seed=1, bos=1)
    few = generate(model, 5, 8, sampler, seed=1, batch=2, bos=1)
    for i in range(5):
        assert np.array_equal(many.prompts[i], few.prompts[i])
        assert np.array_equal(many.texts[i], few.texts[i])
    other = generate(model, 12, 8, sampler, seed=2, bos=1)
    assert any(not np.array_equal(a, b) for a, b in zip(many.texts, other.texts, strict=True))


def test_prompts_are_drawn_from_the_texts_and_are_not_among_what_was_generated() -> None:
    """5 to 10 tokens in a row from texts that have so many, all lengths and all places; BOS before them."""
    texts = [np.arange(100, 130), np.arange(200, 207), np.arange(3)]
    drawn = Prompted(texts).prompts(2000, seed=0)
    starts = {int(prompt[0]) for prompt in drawn}
    assert {len(prompt) for prompt in drawn} == set(range(5, 11))
    assert starts == set(range(100, 126)) | {200, 201, 202}
    assert all(np.array_equal(np.diff(prompt), np.ones(len(prompt) - 1)) for prompt in drawn)
    small = [np.arange(12), np.arange(5, 20)]
    made = generate(Counting(), 4, 6, Prompted(small, sampler=TopN(1)), bos=1)
    for prompt, text in zip(made.prompts, made.texts, strict=True):
        assert prompt[0] == 1
        assert len(text) == 6
        assert text[0] == (prompt.sum() + 1) % VOCABULARY
    with pytest.raises(EvidenceError, match="none of 1 texts has 5 tokens"):
        Prompted(texts[2:]).prompts(1, 0)


def test_given_prompts_are_used_as_they_are() -> None:
    made = generate(Counting(), 2, 1, TopN(1), bos=1, prompts=[np.array([4, 4]), np.array([5])])
    assert [text.tolist() for text in made.texts] == [[9], [6]]
    with pytest.raises(ValueError, match="1 prompts for 2 texts"):
        generate(Counting(), 2, 1, TopN(1), prompts=[np.array([4])])
    with pytest.raises(ValueError, match="a prompt is empty"):
        generate(Counting(), 2, 1, TopN(1))
