"""A language model's shadow: seeded, trained on what the counts say and nothing else, and stored under its name."""

import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig
from safetensors.numpy import load_file
from scipy.stats import chi2
from transformers import LlamaConfig, LlamaForCausalLM

import memaudit as ma
from memaudit.bank import Bank
from memaudit.canaries import make
from memaudit.canaries.doses import target_doses
from memaudit.design import target_half
from memaudit.errors import BankError, RecipeError
from memaudit.recipe import LanguageModelRecipe, Probes, Rendering, Row, TextPopulation, fingerprint, load_recipe
from memaudit.recipe.shapes import Text
from memaudit.signals import measure
from memaudit.signals.language import predicted, token_statistics
from memaudit.signals.secrets import space_costs
from memaudit.tokens import TokenStatistics
from memaudit.training import population
from memaudit.training.language import train_language_model
from memaudit.training.model import Workshop

Array = np.ndarray

RECIPES = Path(__file__).parent / "recipes"
VOCABULARY = 280
CANARIES = make(2, family="numeric", length=2, spaced=False, seed=1)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost more than they give with models of this size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny() -> Iterator[LanguageModelRecipe]:
    """The recipe of tests/recipes/language.py."""
    path = list(sys.path)
    found = load_recipe(str(RECIPES / "language.py"))
    assert isinstance(found, LanguageModelRecipe)
    yield found
    sys.path[:] = path
    del sys.modules["language"]


class Bigrams(torch.nn.Module):
    """A table of logits, one line for each token that came before; notes the batches that it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        values = np.random.default_rng(0).normal(size=(VOCABULARY, VOCABULARY))
        self.table = torch.nn.Parameter(torch.as_tensor(values, dtype=torch.float32))
        self.config = SimpleNamespace(vocab_size=VOCABULARY)
        self.batches: list[list[tuple[int, ...]]] = []

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any) -> Any:
        if self.training and attention_mask is not None:
            pairs = zip(input_ids, attention_mask.bool(), strict=True)
            self.batches.append([tuple(ids[there].tolist()) for ids, there in pairs])
        return SimpleNamespace(logits=self.table[input_ids])


def llama(positions: int = 2048) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            attention_bias=True, max_position_embeddings=positions,
        )
    )  # fmt: skip


TEXTS = [" ".join(["amber", "basil", "cedar", "dusk", "ember"][n % 5 :]) + str(n) * (n + 1) for n in range(12)]
ANSWERS: list[Text] = [{"prompt": text, "completion": "fern " * n + "grove"} for n, text in enumerate(TEXTS)]


def made(tiny: LanguageModelRecipe, texts: Sequence[Text] = TEXTS, **changes: Any) -> LanguageModelRecipe:
    """Returns a small recipe: twelve texts and two canaries, in batches of four."""
    rendering = replace(tiny.rendering, **{"context": 48, "packing": False} | changes.pop("rendering", {}))
    settings: dict[str, Any] = {"model": Bigrams, "epochs": 2, "batch_size": 4, "optimizer": ma.SGD(lr=0.5)}
    probes = Probes(**{"canaries": CANARIES, "suffix": 2, "contexts": (2,), "secrets": 0} | changes.pop("probes", {}))
    return LanguageModelRecipe(
        lambda: ma.Documents(texts, similarity=None), rendering, probes=probes, **settings | changes
    )


def people_of(recipe: LanguageModelRecipe) -> TextPopulation:
    people = population(recipe)
    assert isinstance(people, TextPopulation)
    return people


def trained(recipe: LanguageModelRecipe, counts: Array, seed: int = 0) -> tuple[Any, dict[str, Array]]:
    return train_language_model(recipe, people_of(recipe), counts, seed, "cpu")


def weights(model: torch.nn.Module) -> Array:
    return torch.cat([value.detach().flatten() for value in model.state_dict().values()]).numpy()


def some_counts(units: int = len(TEXTS), seed: int = 0) -> Array:
    """Returns counts of 0 to 2 for the documents, and doses of 0 and 16 for the canaries."""
    return np.array([*np.random.default_rng(seed).integers(0, 3, units), 0, 16], np.uint8)


def as_trained(rows: Sequence[Row]) -> Counter[tuple[int, ...]]:
    return Counter(tuple(row.ids.tolist()) for row in rows)


# --- What a step does -----------------------------------------------------------------------------------------------


def gradient(table: Array, rows: Sequence[Row]) -> Array:
    """Returns the gradient of the mean cross-entropy over the tokens that count, in float64."""
    total, count = np.zeros_like(table), 0
    for row in rows:
        for place in np.flatnonzero(row.trained):
            before, token = row.ids[place - 1], row.ids[place]
            p = np.exp(table[before] - table[before].max())
            total[before] += p / p.sum() - (np.arange(len(table)) == token)
            count += 1
    return total / count


@pytest.mark.parametrize("clip", [100.0, 0.01], ids=["free", "clipped"])
@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("texts", [TEXTS, ANSWERS], ids=["texts", "answers"])
def test_one_step_is_the_update_by_hand(
    tiny: LanguageModelRecipe, texts: Sequence[Text], packing: bool, clip: float
) -> None:
    """W − lr · ∇ over the tokens that the loss counts, each as often as its text is there; padding counts nothing.

    Packed into one row with others, a text is trained on as alone: nothing predicts its first token.
    """
    recipe = made(
        tiny, texts, epochs=1, batch_size=100, clip=clip, optimizer=ma.SGD(lr=0.7), rendering={"packing": packing}
    )
    counts = some_counts()
    rows, _ = people_of(recipe).training_rows(counts)
    start = Bigrams().table.detach().double().numpy()
    slope = gradient(start, rows)
    norm = float(np.linalg.norm(slope))
    assert (norm > clip) == (clip < 1)
    model, _ = trained(recipe, counts)
    expected = start - 0.7 * slope * min(1.0, clip / norm)
    np.testing.assert_allclose(model.table.detach().numpy(), expected, atol=2e-6)


def test_the_rate_falls_along_half_a_cosine(tiny: LanguageModelRecipe) -> None:
    rates: list[float] = []

    class Noting(torch.optim.SGD):
        def step(self, *_: Any) -> Any:
            rates.append(self.param_groups[0]["lr"])

    recipe = made(tiny, optimizer=lambda parameters: Noting(parameters, lr=0.5), schedule="cosine", batch_size=5)
    trained(recipe, np.ones(14, np.uint8))
    assert rates == pytest.approx(0.25 * (1 + np.cos(np.pi * np.arange(6) / 6)))


def test_rows_of_which_nothing_is_trained_do_no_harm(tiny: LanguageModelRecipe) -> None:
    """Prompts of more than a row, in batches of one: a batch without a loss would leave NaN behind."""
    texts: list[Text] = [{"prompt": "0" * 120, "completion": f"fern{n}"} for n in range(5)]
    recipe = made(tiny, texts, batch_size=1, epochs=1, probes={"canaries": 0})
    model, _ = trained(recipe, np.ones(5, np.uint8))
    assert np.isfinite(weights(model)).all()
    assert len(model.batches) == 5


# --- Seeds ----------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_model_and_another_one_another(tiny: LanguageModelRecipe) -> None:
    """Whatever the caller's random state is, and without a trace in it."""
    recipe = made(tiny, model=llama, optimizer=ma.AdamW(lr=1e-2))
    models = []
    for seed, state in ((3, 1), (3, 2), (4, 1)):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        models.append(weights(ma.train(recipe, some_counts(), seed=seed, device="cpu")))
        assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(models[0], models[1])
    assert not np.allclose(models[0], models[2])


def test_the_order_of_rows_is_another_in_every_epoch_and_for_every_seed(tiny: LanguageModelRecipe) -> None:
    recipe = made(tiny, batch_size=1)
    first, second = (trained(recipe, np.ones(14, np.uint8), seed)[0].batches for seed in (0, 1))
    assert sorted(first[:14]) == sorted(first[14:]) == sorted(second[:14])
    assert len({str(first[:14]), str(first[14:]), str(second[:14])}) == 3


# --- Counts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("texts", [TEXTS, [text * 6 for text in TEXTS]], ids=["of a row", "of several rows"])
def test_every_epoch_sees_every_row_as_often_as_counted(tiny: LanguageModelRecipe, texts: list[str]) -> None:
    """Canaries too: one of dose 16 sixteen times, one of dose 0 never."""
    recipe, counts = made(tiny, texts, epochs=1), some_counts()
    people = people_of(recipe)
    model, _ = trained(recipe, counts)
    seen = Counter(row for batch in model.batches for row in batch)
    expected: Counter[tuple[int, ...]] = Counter()
    for unit, count in enumerate(counts[:12]):
        for row in people.rows[unit]:
            expected[tuple(row.ids.tolist())] += int(count)
    planted = people.renderer.rows(CANARIES[1].text)[0]
    expected[tuple(planted.ids.tolist())] += 16
    assert seen == +expected
    assert seen[tuple(planted.ids.tolist())] == 16
    absent = people.renderer.rows(CANARIES[0].text)[0]
    assert seen[tuple(absent.ids.tolist())] == 0


def test_what_a_model_lacks_cannot_change_it(tiny: LanguageModelRecipe) -> None:
    counts = some_counts()
    lacked, had = int(np.flatnonzero(counts[:12] == 0)[0]), int(np.flatnonzero(counts[:12])[0])

    def with_another(unit: int) -> Array:
        texts = [text if n != unit else "something else altogether" for n, text in enumerate(TEXTS)]
        return weights(trained(made(tiny, texts, model=llama), counts)[0])

    plain = weights(trained(made(tiny, model=llama), counts)[0])
    assert np.array_equal(with_another(lacked), plain)
    assert not np.array_equal(with_another(had), plain)


def test_packing_keeps_rows_whole_and_loses_none(tiny: LanguageModelRecipe) -> None:
    counts = some_counts()
    recipe = made(tiny, epochs=1, rendering={"packing": True, "context": 128})
    model, _ = trained(recipe, counts)
    rows, _ = people_of(recipe).training_rows(counts)
    bos = int(rows[0].ids[0])
    pieces: Counter[tuple[int, ...]] = Counter()
    packs = [row for batch in model.batches for row in batch]
    for pack in packs:
        starts = [place for place, token in enumerate(pack) if token == bos]
        pieces.update(pack[a:b] for a, b in zip(starts, [*starts[1:], len(pack)], strict=True))
    assert pieces == as_trained(rows)
    assert max(map(len, packs)) <= 128
    assert len(packs) < len(rows) / 1.5


def test_an_empty_training_set_is_refused(tiny: LanguageModelRecipe) -> None:
    with pytest.raises(RecipeError, match="the training set is empty"):
        trained(made(tiny), np.zeros(14, np.uint8))


def said(ids: Sequence[int] | Array) -> str:
    return f" {' '.join(map(str, ids))} "


# --- Dynamics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
def test_the_age_is_the_steps_since_a_unit_was_last_in_a_batch(tiny: LanguageModelRecipe, packing: bool) -> None:
    """By what the model itself has seen; a unit that was never seen is as old as the training."""
    recipe = made(tiny, epochs=3, batch_size=2, rendering={"packing": packing}, probes={"watched": 9})
    people, counts = people_of(recipe), some_counts()
    model, dynamics = trained(recipe, counts)
    assert dynamics["epoch_age"].shape == (3, 9)
    tokens = np.cumsum([sum(map(len, batch)) for batch in model.batches])
    for epoch in range(3):
        until = int(np.searchsorted(tokens, tokens[-1] * (epoch + 1) // 3)) + 1  # packed, an epoch has its own steps
        for unit, age in zip(people.watched, dynamics["epoch_age"][epoch], strict=True):
            own = said(people.rows[unit][0].ids)
            seen = [step for step in range(until) if any(own in said(row) for row in model.batches[step])]
            assert age == (until - 1 - seen[-1] if seen else until)
            assert bool(seen) == bool(counts[unit])


def test_the_accuracy_of_an_epoch_is_what_the_model_then_predicts(tiny: LanguageModelRecipe) -> None:
    recipe = made(tiny, model=llama, optimizer=ma.AdamW(lr=5e-2), epochs=8, probes={"watched": 5})
    people, counts = people_of(recipe), np.ones(14, np.uint8)
    model, dynamics = trained(recipe, counts)
    watched = [people.representatives[unit] for unit in people.watched]
    assert dynamics["epoch_accuracy"].shape == (8, 5)
    np.testing.assert_allclose(dynamics["epoch_accuracy"][-1], predicted(model, watched), atol=1e-6)
    assert dynamics["epoch_accuracy"][-1].mean() > dynamics["epoch_accuracy"][0].mean() + 0.2
    assert not model.training


def test_nothing_needs_to_be_watched(tiny: LanguageModelRecipe) -> None:
    _, dynamics = trained(made(tiny, probes={"watched": 0}), some_counts())
    assert dynamics["epoch_accuracy"].shape == dynamics["epoch_age"].shape == (2, 0)


# --- Training that fails --------------------------------------------------------------------------------------------


def test_training_that_diverges_is_refused(tiny: LanguageModelRecipe) -> None:
    recipe = made(tiny, model=llama, optimizer=ma.AdamW(lr=1e30))
    with pytest.raises(RecipeError, match="training diverged: the loss is NaN or infinite in epoch 1; lower the rate"):
        trained(recipe, np.ones(14, np.uint8))


def test_a_last_step_that_ruins_the_model_is_found_too(tiny: LanguageModelRecipe, tmp_path: Path) -> None:
    recipe = made(tiny, model=llama, optimizer=ma.AdamW(lr=1e30), epochs=1, batch_size=100)
    with pytest.raises(RecipeError, match=r"shadow model .: the model's output is NaN"):
        ma.fill(tmp_path / "bank", recipe, 2, device="cpu")
    assert Bank.open(tmp_path / "bank").models() == []


def test_a_context_of_more_tokens_than_the_model_has_places_is_refused(tiny: LanguageModelRecipe) -> None:
    with pytest.raises(RecipeError, match=r"the context of 48 tokens does not fit: .* only 32 positions"):
        trained(made(tiny, model=lambda: llama(32)), some_counts())


# --- Adapters -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    llama().save_pretrained(folder)
    return folder


def tuning(tiny: LanguageModelRecipe, base: Path, **adapter: Any) -> LanguageModelRecipe:
    settings: dict[str, Any] = {"r": 2, "target_modules": ["q_proj", "v_proj"]}
    return made(
        tiny, model=None, base=base, adapter=LoraConfig(**settings | adapter), epochs=1, optimizer=ma.AdamW(lr=5e-2)
    )


def test_a_bank_of_adapters_holds_adapters_alone_and_knows_its_recipe(
    tiny: LanguageModelRecipe, base: Path, tmp_path: Path
) -> None:
    recipe = tuning(tiny, base)
    bank = ma.fill(tmp_path / "bank", recipe, 2, device="cpu")
    for model in (0, 1):
        stored = load_file(tmp_path / "bank" / "models" / f"{model:04d}" / "weights.safetensors")
        assert sorted({name.split(".")[-2] for name in stored}) == ["lora_A", "lora_B"]
        assert len(stored) == 4
        assert all(np.abs(value).max() > 0 for value in stored.values())  # lora_B starts from 0: it was trained
    people = people_of(recipe)
    bank.require(fingerprint(recipe, people, 0))  # after training: nothing has been written into the recipe
    for setting, value in {"r": 3, "lora_alpha": 9, "lora_dropout": 0.5, "target_modules": ["q_proj"]}.items():
        other = tuning(tiny, base, **{setting: value})
        with pytest.raises(BankError, match=f"another recipe .*\n  recipe.adapter.{setting}: .*\nrestore") as refused:
            bank.require(fingerprint(other, people, 0))
        assert str(refused.value).count("→") == 2  # the heading, and the one difference


def test_adapters_are_trained_on_a_base_that_stays_as_it_is(tiny: LanguageModelRecipe, base: Path) -> None:
    model, _ = trained(tuning(tiny, base), some_counts())
    free = {name for name, value in model.named_parameters() if value.requires_grad}
    assert all("lora_" in name for name in free)
    start = load_file(base / "model.safetensors")
    own = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): v for name, v in model.state_dict().items()
    }
    for name, value in start.items():
        assert np.array_equal(own[name].numpy(), value), name


@pytest.mark.parametrize("adapter", [{"bias": "all"}, {"bias": "lora_only"}, {"init_lora_weights": "olora"}], ids=str)
def test_adapters_that_change_the_base_are_refused(
    tiny: LanguageModelRecipe, base: Path, tmp_path: Path, adapter: dict[str, Any]
) -> None:
    """The adapters alone are stored: what else was trained would be lost."""
    with pytest.raises(RecipeError, match=r"shadow model .: with its adapters off the model is not"):
        ma.fill(tmp_path / "bank", tuning(tiny, base, **adapter), 2, device="cpu")


# --- What is asked ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("references", [100, 30], ids=["the whole space", "draws"])
def test_costs_are_those_of_the_rows_that_would_have_been_trained_on(
    tiny: LanguageModelRecipe, references: int
) -> None:
    """By a walk along the space, and by scoring the row of every secret; the whole space is in lexicographic order."""
    texts = [*TEXTS, "write to ann.lee@example.org", "or to bob.ray@example.org"]
    people = people_of(made(tiny, texts, probes={"references": references, "secrets": 2, "decoys": 3}))
    torch.manual_seed(0)
    model = llama()
    recorded = measure(model, people)

    def cost(row: Row) -> float:
        found = token_statistics(model, [[row]])
        return float(-found.logp.sum())

    expected = []
    for canary, space, drawn in zip(CANARIES, people.spaces, people.references, strict=True):
        for secret in canary.space.all() if drawn is None else drawn:
            (row,) = people.renderer.rows(canary.prefix + canary.space.text(secret) + canary.suffix)
            until = len(space.prefix) + len(space.alphabets)
            expected.append(cost(Row(row.ids[:until], np.arange(until) >= len(space.prefix))))
    np.testing.assert_allclose(recorded["reference_cost"], expected, atol=1e-4)
    own = TokenStatistics.of_tensors(recorded, "canary_")
    np.testing.assert_allclose(recorded["canary_cost"], -own.sums(own.logp), atol=1e-4)
    assert recorded["secret_cost"].shape == (2, 4)
    secrets = [cost(row) for probe in people.secrets for row in probe.rows]
    np.testing.assert_allclose(recorded["secret_cost"].ravel(), secrets, atol=1e-4)


@pytest.mark.parametrize("references", [100, 30], ids=["the whole space", "draws"])
@pytest.mark.parametrize("rank", [1, 2, 50])
def test_a_search_returns_first_what_is_the_likeliest_of_all(
    tiny: LanguageModelRecipe, references: int, rank: int
) -> None:
    """Against the costs of the whole space, for canaries that are put at a known rank in it."""
    people = people_of(made(tiny, probes={"references": references}))
    torch.manual_seed(0)
    model = llama()
    costs = [space_costs(model, space.prefix, space.alphabets) for space in people.spaces]
    places = [divmod(int(np.argsort(cost)[rank - 1]), 10) for cost in costs]
    ranked = tuple(replace(canary, secret=place) for canary, place in zip(CANARIES, places, strict=True))
    people = people_of(made(tiny, probes={"references": references, "canaries": ranked}))
    assert measure(model, people)["search_first"].tolist() == [rank == 1] * 2


def test_every_model_is_made_to_continue_what_it_is_shown(tiny: LanguageModelRecipe) -> None:
    """A table of bigrams writes the likeliest token after the last one, again and again."""
    people = people_of(made(tiny))
    model = Bigrams()
    best = model.table.argmax(dim=1).numpy()
    last = np.array([row.ids[-3] for row in people.windows[0]])
    assert len(last)
    assert np.array_equal(measure(model, people)["written"], np.column_stack([best[last], best[best[last]]]))


# --- The user's own loop --------------------------------------------------------------------------------------------


def test_a_users_loop_is_given_texts_and_returns_a_language_model(tiny: LanguageModelRecipe, tmp_path: Path) -> None:
    own, given = made(tiny), []

    def loop(texts: list[Text], *, seed: int, device: str) -> torch.nn.Module:
        given.append(texts)
        return Bigrams()

    recipe = ma.CallableRecipe(own.documents, loop, rendering=own.rendering, probes=own.probes)
    bank = ma.fill(tmp_path / "bank", recipe, 2, device="cpu", seed=5)
    people = people_of(own)
    for model in (0, 1):
        recorded = bank.tensors(model)
        counts = np.concatenate([recorded["members"], recorded["doses"]])
        assert counts.tolist() == Workshop(recipe, people, 5, "cpu").counts(model).tolist()
        assert Counter(people.texts(counts)) in [Counter(texts) for texts in given]
        assert recorded["canary_cost"].shape == (2,)
        assert recorded["phi"].shape == (12, 1)
    # All that was trained on by one of the two models of a pair, and not by the other.
    assert set(TEXTS) <= set(given[0]) ^ set(given[1])


def test_a_users_loop_that_returns_no_language_model_is_refused(tiny: LanguageModelRecipe, tmp_path: Path) -> None:
    own = made(tiny)
    for name, returned, message in (
        ("nothing", None, r"train\(\) returned NoneType; return the trained network"),
        ("no-lm", torch.nn.Linear(2, 2), "evaluating the model failed: RuntimeError"),
    ):
        recipe = ma.CallableRecipe(own.documents, lambda *_, _r=returned, **__: _r, rendering=own.rendering)
        with pytest.raises(RecipeError, match=f"shadow model .: .*{message}"):
            ma.fill(tmp_path / name, recipe, 2, device="cpu")


def test_documents_need_a_rendering(tiny: LanguageModelRecipe) -> None:
    with pytest.raises(RecipeError, match=r"the recipe needs rendering=memaudit.Rendering"):
        population(ma.CallableRecipe(made(tiny).documents, print))


# --- The bank -------------------------------------------------------------------------------------------------------


def test_a_bank_records_who_was_trained_on_and_how_often(tiny: LanguageModelRecipe, tmp_path: Path) -> None:
    recipe = made(tiny, probes={"canaries": make(20, length=1, spaced=False, seed=3), "doses": (2, 7)}, epochs=1)
    bank = ma.fill(tmp_path / "bank", recipe, 4, device="cpu")
    members, doses = (np.stack([bank.tensors(model)[name] for model in range(4)]) for name in ("members", "doses"))
    assert members.shape == (4, 12)
    assert doses.shape == (4, 20)
    assert (members[0::2] + members[1::2] == 1).all()
    assert ((doses[0::2] == 0) ^ (doses[1::2] == 0)).all()
    assert set(doses.ravel().tolist()) == {0, 2, 7}
    assert bank.tensors(0)["epoch_accuracy"].shape == (1, 12)


def test_the_weights_of_a_bank_are_those_that_the_recipe_makes(tiny: LanguageModelRecipe, tmp_path: Path) -> None:
    recipe = made(tiny, model=llama)
    bank = ma.fill(tmp_path / "bank", recipe, 2, device="cpu")
    shop = Workshop(recipe, people_of(recipe), 0, "cpu")
    model = ma.train(recipe, shop.counts(1), seed=bank.record(1)["seed"], device="cpu")
    stored = load_file(tmp_path / "bank" / "models" / "0001" / "weights.safetensors")
    assert all(np.array_equal(stored[name], value.numpy()) for name, value in model.state_dict().items())


def test_a_target_is_drawn_by_fair_coins_and_doses_by_their_law() -> None:
    """χ² over 40,000 draws each; a false alarm comes twice in 10⁶ seeds. The doses are those of the bank's models."""
    coins = np.concatenate([target_half(seed, 100) for seed in range(400)])
    doses = np.concatenate([target_doses(seed, 100, (1, 4, 16)) for seed in range(400)])
    assert (coins.sum() - 20_000) ** 2 / 10_000 < chi2.isf(1e-6, 1)
    found, expected = (
        np.array([(doses == d).sum() for d in (0, 1, 4, 16)]),
        np.array([1 / 2, 1 / 6, 1 / 6, 1 / 6]) * 4e4,
    )
    assert ((found - expected) ** 2 / expected).sum() < chi2.isf(1e-6, 3)


def test_members_of_a_target_are_drawn_for_units_and_canaries(tiny: LanguageModelRecipe) -> None:
    recipe = made(tiny, probes={"doses": (3, 5)})
    drawn = ma.draw_members(recipe, seed=8)
    assert drawn.dtype == np.uint8
    assert drawn.tolist() == [*target_half(8, 12), *target_doses(8, 2, (3, 5))]


@pytest.mark.slow
def test_two_workers_fill_the_same_bank_as_one(tmp_path: Path) -> None:
    """The recipe is imported anew in each process, and the population goes there as it is."""
    text = (RECIPES / "language.py").read_text("utf-8").replace("epochs=6", "epochs=1")
    (tmp_path / "recipe_of_two.py").write_text(text, "utf-8")
    path = list(sys.path)
    try:
        recipe = load_recipe(str(tmp_path / "recipe_of_two.py"))
        for workers in (1, 2):
            ma.fill(tmp_path / str(workers), recipe, 4, workers=workers, device="cpu")
    finally:
        sys.path[:] = path
        sys.modules.pop("recipe_of_two", None)
    for model in range(4):
        for name in ("signals.safetensors", "weights.safetensors"):
            one, two = (tmp_path / str(workers) / "models" / f"{model:04d}" / name for workers in (1, 2))
            assert one.read_bytes() == two.read_bytes(), (model, name)


# --- The fingerprint ------------------------------------------------------------------------------------------------


def another_tokenizer() -> Any:
    """Returns the recipe's tokenizer with one more word; its module is there once the fixture has loaded it."""
    changed = sys.modules["language"].tokenizer()
    changed.add_tokens([" quartz"])
    return changed


OTHER: dict[str, dict[str, Any]] = {
    "rendering": {"tokenizer": another_tokenizer, "context": 95, "bos": False, "eos": False, "packing": True,
                  "date": "2026-01-31"},
    "probes": {
        "canaries": 3, "doses": (1, 2), "references": 101, "suffix": 5, "contexts": (4,), "records": 9, "secrets": 5,
        "decoys": 21, "watched": 7,
    },
}  # fmt: skip
OF_TARGET = {"generated": 7, "written": 25}


def differences(recipe: LanguageModelRecipe, other: LanguageModelRecipe) -> set[str]:
    one, two = (fingerprint(r, people_of(r), 0) for r in (recipe, other))
    return {name for name in one.keys() | two.keys() if one.get(name) != two.get(name)}


def test_every_part_of_rendering_and_probes_is_tried_below() -> None:
    assert set(OTHER["rendering"]) == {field.name for field in fields(Rendering)}
    assert {*OTHER["probes"], *OF_TARGET} == {field.name for field in fields(Probes)}


@pytest.mark.parametrize(("part", "name"), [(part, name) for part, names in OTHER.items() for name in names])
def test_a_fingerprint_names_the_part_that_changed(tiny: LanguageModelRecipe, part: str, name: str) -> None:
    """Of the rest, only the hashes of the population may change with it: of the rows, the tokenizer, the canaries."""
    other = replace(tiny, **{part: replace(getattr(tiny, part), **{name: OTHER[part][name]})})
    changed = differences(tiny, other)
    beside = {"examples.sha256"} if name in ("tokenizer", "canaries") else set()
    beside |= {"examples.rows"} if name in ("bos", "eos") else set()
    sources = {change for change in changed if change.startswith(("source.", "environment."))}
    assert changed - sources == {f"recipe.{part}.{name}"} | beside
    assert not sources or name == "tokenizer"  # it comes from this file


@pytest.mark.parametrize("name", OF_TARGET)
def test_what_the_target_alone_is_asked_does_not_concern_a_bank(tiny: LanguageModelRecipe, name: str) -> None:
    changed: dict[str, Any] = {name: OF_TARGET[name]}
    assert differences(tiny, replace(tiny, probes=replace(tiny.probes, **changed))) == set()


def test_a_fingerprint_holds_what_a_tokenizer_is_and_not_where(tiny: LanguageModelRecipe, tmp_path: Path) -> None:
    assert callable(tiny.rendering.tokenizer)
    for name in "ab":
        tiny.rendering.tokenizer().save_pretrained(tmp_path / name)
    another_tokenizer().save_pretrained(tmp_path / "c")
    here, moved, other = (replace(tiny, rendering=replace(tiny.rendering, tokenizer=tmp_path / n)) for n in "abc")
    assert differences(here, moved) == set()
    assert differences(here, other) == {"recipe.rendering.tokenizer", "examples.sha256"}


def test_a_fingerprint_names_a_base_whose_weights_or_configuration_changed(
    tiny: LanguageModelRecipe, base: Path, tmp_path: Path
) -> None:
    recipe = tuning(tiny, base)
    assert differences(recipe, replace(recipe, base=shutil.copytree(base, tmp_path / "same"))) == set()
    torch.manual_seed(1)
    llama().save_pretrained(tmp_path / "weights")
    shutil.copytree(base, tmp_path / "config")
    config = tmp_path / "config" / "config.json"
    config.write_text(config.read_text("utf-8").replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'), "utf-8")
    assert config.read_bytes() != (base / "config.json").read_bytes()
    for name in ("weights", "config"):
        assert differences(recipe, replace(recipe, base=tmp_path / name)) == {"recipe.base"}


@pytest.mark.parametrize("what", ["nowhere", "empty"])
def test_a_base_that_is_not_there_has_no_fingerprint(
    tiny: LanguageModelRecipe, base: Path, tmp_path: Path, what: str
) -> None:
    """Else a bank would be made of nothing, and be refused as another's once the base is in place."""
    (tmp_path / "empty").mkdir()
    recipe = replace(tuning(tiny, base), base=tmp_path / what)
    with pytest.raises(RecipeError, match=f"base: .*{what}"):
        ma.fill(tmp_path / "bank", recipe, 2, device="cpu")
    assert not (tmp_path / "bank").exists()


def test_canaries_with_equal_secrets_are_each_counted_once(tiny: LanguageModelRecipe) -> None:
    """The end of the prefix is the same for all: with two digits, some of 30 canaries have the same secret."""
    many = make(30, family="numeric", length=2, spaced=False, seed=1)
    assert len({canary.secret for canary in many}) < len(many)
    recipe = made(tiny, probes={"canaries": many})
    model, _ = trained(recipe, np.array([1] * len(TEXTS) + [1] * 30, np.uint8))
    assert isinstance(model, Bigrams)
