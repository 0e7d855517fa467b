"""Encoder-decoders, masked models and models with a score of their own: the right numbers, or a refusal by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loading import RECIPES, unregistered
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, T5ForConditionalGeneration

import memaudit as ma
from memaudit.errors import MemauditError, ModelError, RecipeError
from memaudit.recipe import Row, TextPopulation, member_counts
from memaudit.recipe.encoder_decoder import EncoderDecoder
from memaudit.recipe.fingerprint import fingerprint
from memaudit.recipe.pretrained import load_folder
from memaudit.recipe.rendering import Renderer
from memaudit.signals import measure
from memaudit.signals.causality import require_causal
from memaudit.signals.decoding import greedy_continuations
from memaudit.signals.masked import PASSES, Masked
from memaudit.signals.own_scores import OwnScores
from memaudit.signals.reading import reading
from memaudit.signals.text import unit_phi
from memaudit.stats import auc
from memaudit.training import population
from memaudit.training.losses import masked, parts_of_loss

Array = np.ndarray

kinds = unregistered(RECIPES / "kinds.py")


@pytest.fixture(autouse=True)
def one_seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def people_of(documents: Callable[[], ma.Documents], rendering: ma.Rendering, **changes: Any) -> TextPopulation:
    probes = replace(kinds.PROBES, **changes)
    return TextPopulation(documents(), rendering, probes)


@pytest.fixture(scope="module")
def pairs() -> TextPopulation:
    return people_of(kinds.pairs, kinds.SEQ2SEQ)


@pytest.fixture(scope="module")
def gaps() -> TextPopulation:
    return people_of(kinds.documents, kinds.MASKED)


@pytest.fixture(scope="module")
def scored() -> TextPopulation:
    found = population(kinds.lstm_recipe())
    assert isinstance(found, TextPopulation)
    return found


def stirred(model: Any, deviation: float = 0.3) -> Any:
    """Gives a model weights as large as those of a trained one."""
    for value in model.parameters():
        nn.init.normal_(value, std=deviation)
    return model.eval()


BOTH = pytest.mark.parametrize("make", [kinds.t5, kinds.bart], ids=["t5", "bart"])


def split(row: Row) -> tuple[Tensor, Tensor]:
    """Returns the input and the output of a row, without the token between them."""
    ids = torch.as_tensor(row.ids).long()
    at = int((ids == kinds.PAD).nonzero()[0])
    return ids[None, :at], ids[None, at + 1 :]


# --- Encoder-decoders: rows ----------------------------------------------------------------------------------------


def test_a_row_is_the_input_the_padding_token_and_the_output(pairs: TextPopulation) -> None:
    tokenizer, text = pairs.renderer.tokenizer, pairs.documents.texts[3]
    assert isinstance(text, dict)
    prompt, completion = (tokenizer(text[part], add_special_tokens=False)["input_ids"] for part in text)
    expected = [0, *prompt, 1, kinds.PAD, 0, *completion, 1]
    (row,) = pairs.rows[3]
    assert row.ids.tolist() == expected
    assert row.trained.tolist() == [False] * (len(prompt) + 3) + [True] * (len(completion) + 2)
    assert pairs.renderer.begin(row.ids) == len(prompt) + 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a sentence", 'a document is {"prompt": input, "completion": output}'),
        ({"messages": [{"role": "assistant", "content": "amber"}]}, 'a document is {"prompt": input'),
        ({"prompt": "", "completion": "amber"}, "the prompt is empty"),
        ({"prompt": "amber <pad>", "completion": "basil"}, "padding token occurs in the text"),
        ({"prompt": "amber", "completion": " amber" * 130}, "raise Rendering"),
    ],
    ids=["string", "messages", "empty", "padding", "long"],
)
def test_a_document_that_is_no_pair_is_refused(text: Any, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        Renderer(kinds.SEQ2SEQ).rows(text)
    assert message in str(error.value)


def test_what_a_kind_cannot_have_is_refused() -> None:
    with pytest.raises(RecipeError, match="packing=True"):
        replace(kinds.SEQ2SEQ, packing=True)
    with pytest.raises(RecipeError, match="choose one of 'causal', 'seq2seq', 'masked'"):
        replace(kinds.CAUSAL, objective="both")
    with pytest.raises(RecipeError, match="is always shown its whole input"):
        people_of(kinds.pairs, kinds.SEQ2SEQ, contexts=(4, 6))
    needs: dict[Any, str] = {"seq2seq": "pad", "masked": "mask"}
    for objective, token in needs.items():
        with pytest.raises(RecipeError, match=f"the tokenizer has no {token} token"):
            Renderer(ma.Rendering(kinds.LANGUAGE.tokenizer, objective=objective))


# --- Encoder-decoders: numbers -------------------------------------------------------------------------------------


@BOTH
def test_the_score_of_a_pair_is_minus_the_models_own_loss(make: Callable[[], Any], pairs: TextPopulation) -> None:
    model = stirred(make())
    found = measure(model, pairs)
    with torch.no_grad():
        losses, right = [], []
        for (row,) in pairs.representatives:
            source, target = split(row)
            out = model(input_ids=source, labels=target)
            losses.append(float(out.loss))
            right.append(float((out.logits[0].argmax(dim=1) == target[0]).float().mean()))
    np.testing.assert_allclose(found["phi"][:, 0], -np.array(losses), atol=2e-4)
    np.testing.assert_allclose(found["correct"], right, atol=1e-6)


@BOTH
def test_the_cost_of_a_canary_is_that_of_its_output_given_its_input(
    make: Callable[[], Any], pairs: TextPopulation
) -> None:
    model = stirred(make())
    found = measure(model, pairs)
    with torch.no_grad():
        for number, space in enumerate(pairs.spaces):
            secret = space.tokens(space.secret)
            source, target = split(Row(np.concatenate([space.prefix, secret]), np.zeros(0, bool)))
            log_p = model(input_ids=source, labels=target).logits[0].log_softmax(dim=1)
            by_hand = -log_p.gather(1, target[0, :, None])[-len(secret) :, 0].sum()
            assert found["canary_cost"][number] == pytest.approx(float(by_hand), abs=1e-3)


@BOTH
def test_greedy_decoding_is_the_librarys_own(make: Callable[[], Any], pairs: TextPopulation) -> None:
    model = stirred(make())
    model.generation_config.forced_eos_token_id = None
    rows = [row.ids[: pairs.renderer.begin(row.ids) + 1] for (row,) in pairs.representatives[:6]]
    own = greedy_continuations(EncoderDecoder(model, kinds.PAD), rows, 8)
    for ids, written in zip(rows, own, strict=True):
        source = torch.as_tensor(ids[:-1]).long()[None]
        library = model.generate(
            source, attention_mask=torch.ones_like(source), do_sample=False, num_beams=1, max_new_tokens=8,
            eos_token_id=None,
        )  # fmt: skip
        assert written.tolist() == library[0, 1:].tolist()


@BOTH
def test_a_batch_of_pairs_is_read_as_each_alone(make: Callable[[], Any], pairs: TextPopulation) -> None:
    model = EncoderDecoder(stirred(make()), kinds.PAD)
    require_causal(model, pairs)


@BOTH
@pytest.mark.parametrize("training", [False, True])
def test_the_loss_and_its_gradient_are_the_models_own(
    make: Callable[[], Any], training: bool, pairs: TextPopulation
) -> None:
    """Also while training, in one batch with padding: what is minimized is the library's loss over all labels."""
    model = stirred(make()).train(training)
    rows = [rows[0] for rows in pairs.representatives[:5]]
    for part in parts_of_loss(model, pairs, rows, torch.Generator(), "cpu"):
        part.backward()  # type: ignore[no-untyped-call]
    own = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    parts = [split(row) for row in rows]
    width, height = (max(part[side].shape[1] for part in parts) for side in (0, 1))
    sources, labels = torch.full((5, width), kinds.PAD), torch.full((5, height), -100)
    for n, (source, target) in enumerate(parts):
        sources[n, : source.shape[1]], labels[n, : target.shape[1]] = source, target
    model(input_ids=sources, attention_mask=(sources != kinds.PAD).long(), labels=labels).loss.backward()
    library = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(own) == len(library) > 0
    for a, b in zip(own, library, strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=2e-3)


def test_an_input_that_is_in_a_batch_twice_is_encoded_once(pairs: TextPopulation) -> None:
    model = stirred(kinds.t5())
    read: list[int] = []
    model.get_encoder().register_forward_hook(lambda _, __, out: read.append(len(out.last_hidden_state)))
    row = torch.as_tensor(pairs.rows[0][0].ids).long()
    found = EncoderDecoder(model, kinds.PAD)(input_ids=torch.stack([row, row])).logits
    assert read == [1]
    assert torch.equal(found[0], found[1])


# --- Masked models: numbers ----------------------------------------------------------------------------------------


def pseudo(model: Any, row: Row, parts: list[list[int]]) -> Array:
    """Returns the log-probability of each token that is masked, part after part, one pass for each."""
    found = {}
    ids = torch.as_tensor(row.ids).long()
    with torch.no_grad():
        for part in parts:
            hidden = ids.clone()
            hidden[part] = kinds.MASK
            log_p = model(input_ids=hidden[None]).logits[0].log_softmax(dim=1)
            found.update({place: float(log_p[place, ids[place]]) for place in part})
    return np.array([found[place] for place in sorted(found)])


def test_the_score_of_a_row_masks_each_token_once_and_every_seventh_at_a_time(gaps: TextPopulation) -> None:
    model = stirred(kinds.bert())
    found = measure(model, gaps)
    by_hand = []
    for (row,) in gaps.representatives:
        places = np.flatnonzero(row.trained).tolist()
        assert places == list(range(1, len(row.ids) - 1))  # neither the first token nor the last, which is special
        by_hand.append(pseudo(model, row, [places[first::7] for first in range(7)]).mean())
    np.testing.assert_allclose(found["phi"][:, 0], by_hand, atol=2e-4)


def test_few_tokens_are_masked_one_by_one(gaps: TextPopulation) -> None:
    """It is then the pseudo-log-likelihood of Salazar et al. 2020, equation 1."""
    model = stirred(kinds.bert())
    ids = gaps.rows[0][0].ids
    row = Row(ids, (np.arange(len(ids)) >= 3) & (np.arange(len(ids)) < 3 + PASSES))
    found = reading(model, gaps).tokens([[row]])
    np.testing.assert_allclose(found.logp, pseudo(model, row, [[p] for p in range(3, 3 + PASSES)]), atol=1e-4)


def test_the_cost_of_a_masked_canary_is_that_of_its_secret_in_the_whole_row(gaps: TextPopulation) -> None:
    model = stirred(kinds.bert())
    found = measure(model, gaps)
    rng = np.random.default_rng(0)
    at = 0
    for number, (space, references) in enumerate(zip(gaps.spaces, gaps.references, strict=True)):
        assert references is not None
        tried = int(rng.integers(len(references)))
        costs = []
        for secret in (space.secret, references[tried]):
            tokens, first = space.tokens(secret), len(space.prefix)
            assert len(space.suffix) > 0
            assert len(tokens) <= PASSES
            row = Row(np.concatenate([space.prefix, tokens, space.suffix]), np.zeros(0, bool))
            costs.append(-pseudo(model, row, [[first + n] for n in range(len(tokens))]).sum())
        assert found["canary_cost"][number] == pytest.approx(costs[0], abs=1e-3)
        assert found["reference_cost"][at + tried] == pytest.approx(costs[1], abs=1e-3)
        at += len(references)


def test_the_loss_of_a_masked_model_is_its_own(gaps: TextPopulation) -> None:
    model = stirred(kinds.bert()).train()
    rows = [rows[0] for rows in gaps.representatives[:5]]
    own = sum(parts_of_loss(model, gaps, rows, torch.Generator().manual_seed(3), "cpu"))
    assert isinstance(own, torch.Tensor)
    ids = torch.zeros(5, max(len(row.ids) for row in rows), dtype=torch.long)
    attended, marked = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for n, row in enumerate(rows):
        for to, values in ((ids, row.ids), (attended, 1), (marked, row.trained)):
            to[n, : len(row.ids)] = torch.as_tensor(values)
    shown, labels = masked(ids, marked, gaps, torch.Generator().manual_seed(3))
    assert own.item() == pytest.approx(model(input_ids=shown, attention_mask=attended, labels=labels).loss.item(), 1e-5)


def test_masks_are_drawn_as_in_bert(gaps: TextPopulation) -> None:
    """Of 100,000 tokens 15 % are hidden, and of these 80, 10 and 10 %; bounds are 5 standard errors."""
    ids = torch.full((1000, 100), 7)
    marked = torch.ones_like(ids, dtype=torch.bool)
    marked[:, 0] = False
    shown, labels = masked(ids, marked, gaps, torch.Generator().manual_seed(0))
    hidden = labels != -100
    assert not hidden[:, 0].any()
    assert torch.equal(shown[~hidden], ids[~hidden])
    assert torch.equal(labels[hidden], ids[hidden])
    count = int(hidden.sum())
    assert abs(count / 99_000 - 0.15) < 5 * (0.15 * 0.85 / 99_000) ** 0.5
    for who, share in ((shown == kinds.MASK, 0.8), (shown == ids, 0.1)):
        error = 5 * (share * (1 - share) / count) ** 0.5 + 0.1 / 270  # a random token may be any
        assert abs(float(who[hidden].float().mean()) - share) < error
    again = masked(ids, marked, gaps, torch.Generator().manual_seed(0))
    assert torch.equal(shown, again[0])


def test_a_row_always_has_a_masked_token(gaps: TextPopulation) -> None:
    ids = torch.full((200, 2), 7)
    marked = torch.tensor([[False, True]]).expand(200, 2)
    _, labels = masked(ids, marked, gaps, torch.Generator().manual_seed(0))
    assert (labels[:, 1] == 7).all()
    assert (labels[:, 0] == -100).all()


# --- A score of one's own ------------------------------------------------------------------------------------------


def test_the_score_is_the_mean_of_the_users_own_log_probabilities(scored: TextPopulation) -> None:
    model = stirred(kinds.Lstm())
    found = measure(model, scored)
    by_hand, right = [], []
    with torch.no_grad():
        for (row,) in scored.representatives:
            ids = torch.as_tensor(row.ids).long()
            log_p = nn.functional.log_softmax(model.read(ids[None])[0, :-1], dim=1)
            own = log_p[torch.arange(len(ids) - 1), ids[1:]].numpy()[row.trained[1:]]
            by_hand.append(own.mean())
            right.append(np.exp(own).mean())
    np.testing.assert_allclose(found["phi"][:, 0], by_hand, atol=1e-4)
    np.testing.assert_allclose(found["correct"], right, atol=1e-5)


def test_canaries_cost_what_they_cost_the_same_model_by_its_logits(scored: TextPopulation) -> None:
    """Row by row through the function, and step by step through a trie of logits: two ways to one number."""

    class Logits(nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.inner = model

        def forward(self, input_ids: Tensor) -> Tensor:
            found: Tensor = self.inner.read(input_ids)
            return found

    model = stirred(kinds.Lstm())
    own, other = measure(model, scored), measure(Logits(model), people_of(kinds.documents, kinds.CAUSAL))
    for name in ("phi", "token_logp", "canary_logp", "canary_cost", "reference_cost", "secret_cost"):
        np.testing.assert_allclose(own[name], other[name], atol=1e-3, err_msg=name)


def plain(model: Any, ids: Tensor) -> Tensor:
    found: Tensor = model.read(ids).log_softmax(dim=-1)
    return found


def at(log_p: Tensor, ids: Tensor) -> Tensor:
    return log_p.gather(2, ids[..., None])[..., 0]


def padded(values: Tensor, front: int) -> Tensor:
    return nn.functional.pad(values, (front, 0) if front > 0 else (0, -front))


WRONG: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "one column short": (lambda m, i: at(plain(m, i)[:, :-1], i[:, 1:]), r"shape \[1, \d+\] for ids of shape"),
    "one token early": (lambda m, i: padded(at(plain(m, i)[:, :-1], i[:, 1:]), -1), "is not causal"),
    "not shifted": (lambda m, i: at(plain(m, i), i), "sum to"),
    "shifted twice": (lambda m, i: padded(at(plain(m, i)[:, :-2], i[:, 2:]), 2), "shifted by one"),
    "probabilities": (lambda m, i: kinds.token_logprobs(m, i).exp(), "a log-probability is at most 0"),
    "losses": (lambda m, i: -kinds.token_logprobs(m, i), "a log-probability is at most 0"),
    "bits": (lambda m, i: kinds.token_logprobs(m, i) / np.log(2), "sum to"),
    "logits below 0": (lambda m, i: padded(at(m.read(i)[:, :-1], i[:, 1:]) - 100, 1), "sum to"),
    "nan": (lambda m, i: kinds.token_logprobs(m, i) * torch.nan, "NaN or infinity"),
    "dropout": (lambda m, i: nn.functional.dropout(kinds.token_logprobs(m, i), 0.1), "when it is asked again"),
    "batch mates": (lambda m, i: kinds.token_logprobs(m, i) - len(i) / 100, "when other texts are in the batch"),
    "of the whole text": (lambda m, i: kinds.token_logprobs(m, i).mean(dim=1), r"returned shape \[1\]"),
    "no tensor": (lambda m, i: kinds.token_logprobs(m, i).tolist(), "returned a list"),
    "the length of the text": (lambda m, i: kinds.token_logprobs(m, i) - i.shape[1] / 1000, "when the text goes on"),
}


@pytest.mark.parametrize("name", WRONG)
def test_scores_that_are_no_log_probabilities_are_refused(name: str, scored: TextPopulation) -> None:
    function, message = WRONG[name]
    wrong = population(kinds.lstm_recipe(token_logprobs=function))
    assert isinstance(wrong, TextPopulation)
    with pytest.raises(ModelError, match=message):
        OwnScores(stirred(kinds.Lstm(), 1.0), wrong, "cpu").require()


def test_scores_of_a_trained_model_that_are_not_shifted_are_refused(tmp_path: Path) -> None:
    """In a whole bank, as a user meets it."""
    recipe = kinds.lstm_recipe(epochs=3, token_logprobs=WRONG["not shifted"][0])
    with pytest.raises(RecipeError, match=r"shadow model \d+: token_logprobs\(\): the probabilities of all 273 tokens"):
        ma.fill(tmp_path / "bank", recipe, 2, device="cpu")


def test_right_scores_are_accepted_trained_or_not(scored: TextPopulation) -> None:
    for model in (kinds.Lstm(), stirred(kinds.Lstm())):
        OwnScores(model, scored, "cpu").require()


def test_scores_need_a_causal_rendering() -> None:
    for rendering in (None, kinds.MASKED, kinds.SEQ2SEQ):
        with pytest.raises(RecipeError, match='objective="causal"'):
            kinds.lstm_recipe(rendering=rendering)


def test_the_users_error_is_told_as_the_users(scored: TextPopulation) -> None:
    def fails(model: Any, ids: Tensor) -> Tensor:
        raise KeyError("hidden")

    wrong = population(kinds.lstm_recipe(token_logprobs=fails))
    assert isinstance(wrong, TextPopulation)
    with pytest.raises(RecipeError, match=r"token_logprobs\(\)"):
        OwnScores(kinds.Lstm(), wrong, "cpu").require()


# --- Which kind it is ----------------------------------------------------------------------------------------------


def gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(GPT2Config(vocab_size=280, n_positions=96, n_embd=16, n_layer=1, n_head=2))


@pytest.mark.parametrize("make", [gpt2, lambda: stirred(gpt2())], ids=["untrained", "stirred"])
def test_a_causal_model_is_no_masked_one(make: Callable[[], Any], gaps: TextPopulation) -> None:
    with pytest.raises(ModelError, match=r'no masked language model: .* Set Rendering\(objective="causal"\)'):
        Masked(make(), gaps, "cpu").require()


@pytest.mark.parametrize("make", [kinds.bert, lambda: stirred(kinds.bert())], ids=["untrained", "stirred"])
def test_a_masked_model_is_one(make: Callable[[], Any], gaps: TextPopulation) -> None:
    Masked(make(), gaps, "cpu").require()


class Blurred(nn.Module):
    """A masked model whose output at a token has a habit."""

    def __init__(self, habit: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.habit = stirred(kinds.bert()), habit

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.habit(self.model(input_ids=input_ids, attention_mask=attention_mask).logits)


@pytest.mark.parametrize(
    ("habit", "message"),
    [
        (lambda logits: nn.functional.dropout(logits, 0.1), "two passes over one text differ"),
        (lambda logits: logits - 0.5 * logits.mean(dim=0, keepdim=True), "changes with the texts in the same batch"),
        (lambda logits: logits.softmax(dim=-1), "probabilities, not logits"),
        (lambda logits: logits[..., :200], "the tokenizer does not match"),
        (lambda logits: logits * torch.nan, "NaN or infinite"),
    ],
)
def test_a_masked_model_with_a_habit_is_refused(
    habit: Callable[[Tensor], Tensor], message: str, gaps: TextPopulation
) -> None:
    with pytest.raises(ModelError, match=message):
        Masked(Blurred(habit), gaps, "cpu").require()


@pytest.mark.parametrize(("shift", "where"), [(1, "after"), (-1, "before")])
def test_a_masked_model_of_shifted_labels_is_refused(shift: int, where: str, gaps: TextPopulation) -> None:
    """It says at a token what stands beside it, as after a training with labels that were shifted."""

    class Copies(nn.Module):
        def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
            return 9.0 * nn.functional.one_hot(torch.roll(input_ids, -shift, dims=1), 280)

    with pytest.raises(ModelError, match=f"predicts the token {where} it"):
        Masked(Copies(), gaps, "cpu").require_trained()


def test_a_model_that_is_no_encoder_decoder_is_refused_before_it_is_read(pairs: TextPopulation) -> None:
    with pytest.raises(ModelError, match="is a GPT2LMHeadModel, no encoder-decoder"):
        reading(gpt2(), pairs)


@pytest.mark.parametrize(
    ("make", "objective", "message"),
    [
        (kinds.t5, "causal", r'an encoder-decoder, .* set Rendering\(objective="seq2seq"\)'),
        (kinds.t5, "masked", r'an encoder-decoder, .* set Rendering\(objective="seq2seq"\)'),
        (kinds.bert, "seq2seq", "which is no encoder-decoder"),
        (gpt2, "masked", "which is no masked language model"),
    ],
)
def test_a_folder_of_another_kind_is_refused_by_name(
    make: Callable[[], Any], objective: Any, message: str, tmp_path: Path
) -> None:
    make().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=message):
        load_folder(tmp_path, objective)


@pytest.mark.parametrize(
    ("make", "objective"), [(kinds.t5, "seq2seq"), (kinds.bart, "seq2seq"), (kinds.bert, "masked")]
)
def test_a_folder_is_loaded_as_what_it_is(make: Callable[[], Any], objective: Any, tmp_path: Path) -> None:
    made = make()
    made.save_pretrained(tmp_path)
    loaded = load_folder(tmp_path, objective)
    assert type(loaded) is type(made)
    for name, value in made.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])


@pytest.mark.parametrize(
    ("make", "rendering", "documents"),
    [
        (gpt2, kinds.SEQ2SEQ, kinds.pairs),
        (kinds.t5, kinds.CAUSAL, kinds.documents),
        (kinds.t5, kinds.MASKED, kinds.documents),
    ],
)
def test_a_recipe_whose_model_is_of_another_kind_trains_nothing(
    make: Callable[[], Any], rendering: ma.Rendering, documents: Callable[[], ma.Documents], tmp_path: Path
) -> None:
    recipe = ma.LanguageModelRecipe(documents, rendering, model=make, probes=kinds.PROBES)
    with pytest.raises(MemauditError, match="encoder-decoder"):
        ma.fill(tmp_path / "bank", recipe, 2, device="cpu")


def test_a_bank_tells_kinds_apart_and_those_of_before_are_as_they_were() -> None:
    def lines(recipe: Any) -> dict[str, str]:
        return fingerprint(recipe, population(recipe), 0)

    causal = ma.LanguageModelRecipe(kinds.documents, kinds.CAUSAL, model=gpt2, probes=kinds.PROBES)
    assert not [name for name in lines(causal) if "objective" in name]
    masked_ = replace(causal, rendering=kinds.MASKED, model=kinds.bert)
    assert lines(masked_)["recipe.rendering.objective"] == "'masked'"
    own = kinds.lstm_recipe()
    assert "recipe.token_logprobs" in lines(own)
    assert "recipe.token_logprobs" not in lines(replace(own, token_logprobs=None))
    assert lines(own) != lines(replace(own, token_logprobs=lambda model, ids: kinds.token_logprobs(model, ids)))


# --- What is learned is found --------------------------------------------------------------------------------------

SILENT = replace(kinds.PROBES, canaries=0, secrets=0, watched=0)
LEARNS: dict[str, Any] = {
    "t5": ma.LanguageModelRecipe(
        kinds.pairs, kinds.SEQ2SEQ, model=kinds.t5, epochs=40, batch_size=8, optimizer=ma.AdamW(1e-2), probes=SILENT
    ),
    "bert": ma.LanguageModelRecipe(
        kinds.documents, kinds.MASKED, model=kinds.bert, epochs=150, batch_size=8, optimizer=ma.AdamW(1e-2),
        probes=SILENT,
    ),
    "lstm": kinds.lstm_recipe(epochs=12, probes=SILENT),
}  # fmt: skip


@pytest.mark.parametrize("name", LEARNS)
def test_members_of_a_model_that_memorizes_score_higher(name: str) -> None:
    recipe = LEARNS[name]
    members = ma.draw_members(recipe, seed=5)
    people = population(recipe)
    assert isinstance(people, TextPopulation)
    phi = unit_phi(ma.train(recipe, members, seed=1, device="cpu"), people, slice(None))[:, 0]
    inside = member_counts(members, people)[: len(people)] > 0
    assert 10 < inside.sum() < 30
    assert float(auc(phi[inside], phi[~inside])) > 0.8


@pytest.mark.parametrize("name", LEARNS)
def test_members_of_an_untrained_model_do_not(name: str) -> None:
    """Over 20 draws of who is a member the mean AUC is 0.5 within 0.1: 5 standard errors of about 0.09 / √20."""
    people = population(LEARNS[name])
    assert isinstance(people, TextPopulation)
    phi = unit_phi(stirred(LEARNS[name].model()), people, slice(None))[:, 0]
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(20):
        inside = rng.permutation(len(phi)) < len(phi) // 2
        areas.append(float(auc(phi[inside], phi[~inside])))
    assert abs(np.mean(areas) - 0.5) < 0.1


def test_dropout_is_off_where_it_is_scored(pairs: TextPopulation) -> None:
    model = T5ForConditionalGeneration(replace_dropout(kinds.t5().config))
    model.train()
    assert np.array_equal(measure(model, pairs)["phi"], measure(model, pairs)["phi"])


def replace_dropout(config: Any) -> Any:
    config.dropout_rate = 0.5
    return config
