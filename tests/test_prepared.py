"""Training on prepared data: what is trained on, what is asked, and that nothing else changes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import UInt8
from loading import RECIPES, unregistered
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline
from torch import nn

import memaudit as ma
from memaudit.bank import Bank
from memaudit.errors import BankError, RecipeError, SettingsError
from memaudit.recipe import Population, TextPopulation
from memaudit.training import fill, population
from memaudit.training.preparations import Deduplicate, Scrub
from memaudit.training.preparing import fill_prepared
from memaudit.whatif.base import Base
from memaudit.whatif.remedies import Deduplicated, Prepared, Scrubbed

Array = np.ndarray
COUNT = 40


def plain() -> ma.Examples:
    """Forty different points, of which 30 to 39 are nearly those of 0 to 9."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(COUNT, 8))
    x[30:] = x[:10] + 1e-3 * rng.normal(size=(10, 8))
    return ma.Examples(x.astype(np.float32), np.arange(COUNT) % 2)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))


POINTS = ma.ClassifierRecipe(plain, network, epochs=3, batch_size=8, optimizer=ma.SGD(0.1))


@dataclass(frozen=True)
class Unchanged:
    """Prepares nothing."""

    def of(self, examples: Population) -> Any:
        return _AsIs(examples)


@dataclass(frozen=True, eq=False)
class _AsIs:
    examples: Population

    def training_set(self, counts: UInt8[Array, " ids"]) -> tuple[Population, UInt8[Array, " ids"]]:
        return self.examples, counts


@pytest.fixture(scope="module")
def language() -> ma.LanguageModelRecipe:
    found = unregistered(RECIPES / "language.py").recipe
    assert isinstance(found, ma.LanguageModelRecipe)
    return replace(found, epochs=2)


def phi(bank: Bank, model: int) -> Array:
    return bank.tensor(model, "phi")


# --- the bank ---------------------------------------------------------------------------------------------------------


def test_models_on_data_that_stays_as_it_is_are_those_of_the_base(tmp_path: Path) -> None:
    examples = plain()
    base = fill(tmp_path / "base", POINTS, 4, seed=5)
    same = fill_prepared(tmp_path / "same", POINTS, Unchanged(), 4, examples=examples, seed=5)
    for model in range(4):
        assert np.array_equal(phi(base, model), phi(same, model))
        assert np.array_equal(base.tensor(model, "members"), same.tensor(model, "members"))


def test_a_bank_of_prepared_data_is_no_bank_of_the_recipe_and_grows(tmp_path: Path) -> None:
    examples = plain()
    bank = fill_prepared(tmp_path, POINTS, Deduplicate(0.1), 2, examples=examples)
    first = phi(bank, 0)
    bank = fill_prepared(tmp_path, POINTS, Deduplicate(0.1), 4, examples=examples)
    assert bank.models() == [0, 1, 2, 3] and np.array_equal(first, phi(bank, 0))
    with pytest.raises(BankError, match="preparation"):
        fill(tmp_path, POINTS, 4)
    with pytest.raises(BankError, match=r"preparation\.within"):
        fill_prepared(tmp_path, POINTS, Deduplicate(0.2), 4, examples=examples)


# --- de-duplication ---------------------------------------------------------------------------------------------------


def test_the_first_of_each_cluster_in_a_training_set_is_trained_on() -> None:
    examples = plain()
    prepared = Deduplicate(0.1).of(examples)
    counts = np.zeros(COUNT, np.uint8)
    counts[[0, 30, 31, 2, 15]] = 1  # 30 is a copy of 0; 31 is one of 1, which is not there
    same, kept = prepared.training_set(counts)
    assert same is examples
    assert np.flatnonzero(kept).tolist() == [0, 2, 15, 31]


def test_members_are_those_of_the_data_as_it_was(tmp_path: Path) -> None:
    examples = plain()
    base = fill(tmp_path / "base", POINTS, 2)
    cleaned = fill_prepared(tmp_path / "cleaned", POINTS, Deduplicate(0.1), 2, examples=examples)
    assert np.array_equal(base.tensor(0, "members"), cleaned.tensor(0, "members"))
    both = base.tensor(0, "members")[:10] & base.tensor(0, "members")[30:]
    assert both.any() and not np.array_equal(phi(base, 0), phi(cleaned, 0))


def test_a_removed_copy_has_no_influence_and_the_kept_one_has(tmp_path: Path) -> None:
    """The copy's label is another one: whether it is trained on would show."""
    other = replace(POINTS, examples=lambda: plain().relabelled(np.r_[np.arange(30) % 2, 1 - np.arange(10) % 2]))
    one, two = (population(recipe) for recipe in (POINTS, other))
    banks = [
        fill_prepared(tmp_path / name, recipe, Deduplicate(0.1), 2, examples=examples)
        for name, recipe, examples in (("one", POINTS, one), ("two", other, two))
    ]
    members = banks[0].tensor(0, "members").astype(bool)
    alone = members[30:] & ~members[:10]
    first = np.r_[np.ones(30, bool), np.zeros(10, bool)]
    answers = [bank.tensor(0, "phi")[first, 0] for bank in banks]
    assert alone.any() == (not np.array_equal(*answers))


def test_texts_and_rows_have_each_cluster_and_each_canary_once(language: ma.LanguageModelRecipe) -> None:
    whole = language.documents()
    texts = [str(text) for text in whole.texts]
    doubled = replace(
        language, documents=lambda: ma.Documents([*texts, *(f"{t} fern" for t in texts[:7])], similarity=None)
    )
    examples = population(doubled)
    assert isinstance(examples, TextPopulation)
    counts = np.ones(len(examples.ids), np.uint8)
    counts[-4:] = 8, 2, 1, 0
    trained, kept = Deduplicate().of(examples).training_set(counts)
    assert isinstance(trained, TextPopulation)
    assert kept[-4:].tolist() == [1, 1, 1, 0]
    assert trained.texts(kept)[: len(texts)] == texts and len(trained.texts(kept)) == len(texts) + 3
    assert sorted(trained.training_rows(kept)[1]) == sorted([*range(len(texts)), *np.arange(3) + len(examples)])
    counts[0] = 0  # its near-duplicate is trained on then
    trained, kept = Deduplicate().of(examples).training_set(counts)
    assert isinstance(trained, TextPopulation)
    assert f"{texts[0]} fern" in trained.texts(kept) and texts[0] not in trained.texts(kept)


def test_data_without_duplicates_is_refused() -> None:
    examples = ma.Examples(np.random.default_rng(0).normal(size=(50, 8)), np.arange(50) % 2)
    with pytest.raises(SettingsError, match="no two of the 50 examples"):
        Deduplicate().of(examples)


# --- scrubbing --------------------------------------------------------------------------------------------------------


def test_no_secret_is_in_the_rows_that_are_trained_on(language: ma.LanguageModelRecipe) -> None:
    examples = population(language)
    assert isinstance(examples, TextPopulation)
    counts = np.ones(len(examples.ids), np.uint8)
    trained, kept = Scrub().of(examples).training_set(counts)
    assert isinstance(trained, TextPopulation) and np.array_equal(kept, counts)
    tokenizer = examples.renderer.tokenizer
    rows = " ".join(tokenizer.decode(row.ids) for row in trained.training_rows(kept)[0])
    before = " ".join(tokenizer.decode(row.ids) for row in examples.training_rows(counts)[0])
    addresses = [probe.found.value for probe in examples.secrets]
    assert addresses and all(value in before and value not in rows for value in addresses)
    assert rows.count("[e-mail]") == before.count("@example.org")
    for canary in examples.canaries:
        assert canary.space.text(canary.secret) in rows
    asked = zip(trained.representatives, examples.representatives, strict=True)
    assert all(np.array_equal(one[0].ids, other[0].ids) for one, other in asked)


def test_a_function_and_named_secrets_scrub_too(language: ma.LanguageModelRecipe) -> None:
    examples = population(language)
    for scrub, expected in (
        (Scrub(by=lambda text: text.replace("fern", "tree")), "tree"),
        (Scrub(secrets=["hazel"]), "[listed]"),
    ):
        trained, kept = scrub.of(examples).training_set(np.ones(len(examples.ids), np.uint8))
        assert isinstance(trained, TextPopulation)
        assert any(expected in str(text) for text in trained.texts(kept))


def test_messages_are_scrubbed_and_keep_their_roles() -> None:
    texts = [{"messages": [{"role": "user", "content": "user a@b.org"}, {"role": "assistant", "content": "hi"}]}] * 4
    documents = ma.Documents(texts, similarity=None)
    seen: list[Any] = []

    class Spy(TextPopulation):
        def trained_on(self, texts: Any = None, left_out: Any = ()) -> TextPopulation:
            seen.extend(texts)
            return self

    whole = object.__new__(Spy)
    whole.documents, whole.probes = documents, ma.Probes()
    Scrub(secrets=["user"]).of(whole)
    assert seen[0]["messages"][0] == {"role": "user", "content": "[listed] [e-mail]"}


def test_texts_of_a_classifier_are_scrubbed_and_asked_as_they_were(tmp_path: Path) -> None:
    words = np.array(["alpha", "beta", "gamma", "delta"])
    rng = np.random.default_rng(0)
    texts = [f"{' '.join(words[rng.integers(4, size=6)])} {n}@x.org" for n in range(60)]
    examples = ma.Examples(texts, np.arange(60) % 2)
    recipe = ma.EstimatorRecipe(lambda: examples, make_pipeline(HashingVectorizer(n_features=64), SGDClassifier()))
    banks = [
        fill(tmp_path / "base", recipe, 2),
        fill_prepared(tmp_path / "scrubbed", recipe, Scrub(), 2, examples=examples),
    ]
    one, other = banks
    assert not np.array_equal(phi(one, 0), phi(other, 0))
    assert np.array_equal(one.tensor(0, "members"), other.tensor(0, "members"))


def test_what_cannot_be_scrubbed_is_refused(language: ma.LanguageModelRecipe) -> None:
    with pytest.raises(RecipeError, match="no texts"):
        Scrub().of(plain())
    with pytest.raises(SettingsError, match="nothing in the 60 texts"):
        Scrub(secrets=ma.Secrets(values=["not-there"], recognisers=False)).of(population(language))


# --- the remedies -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_scrubbed_models_do_not_know_their_secrets(language: ma.LanguageModelRecipe, tmp_path: Path) -> None:
    """The advantage of a secret over its decoys, in models that have it less in those that lack it."""
    recipe = replace(language, epochs=12)
    examples = population(recipe)
    assert isinstance(examples, TextPopulation)
    common: dict[str, Any] = {"workers": 1, "device": "cpu", "progress": None}
    bank = fill(tmp_path / "base", recipe, 6, examples=examples, device="cpu")
    base = Base(recipe=recipe, examples=examples, bank=bank, shadows=6, seed=0, training=common)
    scrubbed = Scrubbed().make(base, tmp_path / "scrubbed").bank
    gains = []
    for made in (bank, scrubbed):
        recordings = made.recordings(range(6))
        costs = recordings.stacked("secret_cost")
        has = np.stack([(recordings.members[:, p.units] > 0).any(axis=1) for p in examples.secrets], axis=1)
        advantage = costs[:, :, 1:].mean(axis=2) - costs[:, :, 0]
        gains.append(advantage[has].mean() - advantage[~has].mean())
    assert gains[0] > 5 and abs(gains[1]) < gains[0] / 3


def test_remedies_by_name_and_by_hand() -> None:
    assert Deduplicated(0.2).how() == Deduplicate(0.2)
    assert Scrubbed().how() == Scrub()
    assert isinstance(Prepared(Unchanged()).how(), Unchanged)
    assert {ma.remedies.REMEDIES[name] for name in ("deduplication", "scrubbing")} == {Deduplicated, Scrubbed}
