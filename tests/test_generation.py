"""What the model writes of its own accord, on texts and readings that are made up; and real models reading."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loading import RECIPES, unregistered

import memaudit as ma
from memaudit.bank import Bank, Recordings
from memaudit.checks import TextEvidence
from memaudit.checks.generation import generation_check
from memaudit.design import halves
from memaudit.errors import BankError, ModelError
from memaudit.extraction import Kind, written_kind
from memaudit.recipe import LanguageModelRecipe, TextPopulation
from memaudit.types import Table

Array = np.ndarray

PAIRS, WRITTEN, PASSAGE = 16, 40, 20


def load_tiny() -> LanguageModelRecipe:
    recipe = unregistered(RECIPES / "language.py").recipe
    assert isinstance(recipe, LanguageModelRecipe)
    return recipe


@pytest.fixture(scope="module")
def tiny() -> LanguageModelRecipe:
    return load_tiny()


@pytest.fixture(scope="module")
def population(tiny: LanguageModelRecipe) -> TextPopulation:
    """Forty documents of words: the last eight begin alike, and so do the two before them."""
    rng = np.random.default_rng(7)
    words = str(tiny.documents().texts[1]).split()
    texts = [list(rng.choice(words, 30)) for _ in range(40)]
    for text in texts[33:]:
        text[:PASSAGE] = texts[32][:PASSAGE]
    texts[31][:PASSAGE] = texts[30][:PASSAGE]
    documents = ma.Documents([" " + " ".join(text) for text in texts], similarity=None)
    return TextPopulation(documents, tiny.rendering, tiny.probes)


def passage(population: TextPopulation, document: int) -> Array:
    start = len(population.renderer.start)
    return population.rows[document][0].ids[start : start + PASSAGE].astype(np.int64)


def made(
    population: TextPopulation, written: Sequence[int], gain: float, spread: float = 0.3, seed: int = 0
) -> TextEvidence:
    """The target's texts hold passages of the given training documents, among bytes that stand nowhere.

    A shadow reads a passage at −20 nats with a deviation of `spread`, and `gain` nats higher if it was trained on a
    document that holds it.
    """
    rng = np.random.default_rng(seed)
    texts = rng.integers(2, 200, (3, len(written), WRITTEN))
    members = halves(seed, 2 * PAIRS, len(population))
    reading = rng.normal(-3, 0.1, (2 * PAIRS, 3, len(written), WRITTEN))
    for text, document in enumerate(written):
        tokens = passage(population, document)
        holding = [d for d in range(40) if np.array_equal(passage(population, d), tokens)]
        texts[0, text, 10 : 10 + PASSAGE] = tokens
        known = members[:, holding].any(axis=1)
        whole = -20 + gain * known + rng.normal(0, spread, 2 * PAIRS)
        reading[:, 0, text, 10 : 10 + PASSAGE] = whole[:, None] / PASSAGE
    bank = Recordings(())
    bank.__dict__["members"] = members
    own = np.ones(40, bool)
    own[:10] = False
    count = 3 * len(written)
    scored: dict[str, Array] = {name: np.zeros(count * WRITTEN) for name in ("mean", "deviation", "gap", "normaliser")}
    scored |= {
        "logp": np.full(count * WRITTEN, -2.0),
        "rank": np.zeros(count * WRITTEN, np.int64),
        "starts": np.arange(count + 1) * WRITTEN,
    }
    return TextEvidence(
        bank=bank,
        phi=np.zeros((40, 1)),
        correct=np.zeros(40),
        members=own,
        population=population,
        recorded={"generated": texts}
        | {prefix + name: value for prefix in ("generated_", "lowered_") for name, value in scored.items()},
        doses=np.zeros(0, np.uint8),
        reading=reading,
        seed=seed,
    )


def kinds(tables: Sequence[Table]) -> dict[object, object]:
    (table,) = (table for table in tables if table.title == "Why training text is generated")
    return {row[0]: row[2] for row in table.rows}


def test_passages_are_recited_memorized_or_predictable(population: TextPopulation) -> None:
    """Of 16 pairs, a gain of 5 nats is 5/(0.3 √2/4) = 47 standard errors."""
    (finding,), _ = generation_check.run(made(population, [12, 13, 14, 32, 35], gain=5.0))
    assert finding.estimate.value == pytest.approx(5 / 15)
    assert finding.blind == 0
    assert kinds(finding.tables) == {"recited": 2, "predictable": 0, "memorized": 3, "unresolved": 0}
    (finding,), _ = generation_check.run(made(population, [12, 13, 14, 32], gain=0.0))
    assert kinds(finding.tables) == {"recited": 1, "predictable": 3, "memorized": 0, "unresolved": 0}, "e^0 of e^0"


def test_a_passage_of_two_documents_is_read_by_pairs_that_have_both_or_none(population: TextPopulation) -> None:
    """A model with one of the two reads as one with both: taking its pair in would halve the gain."""
    evidence = made(population, [30], gain=5.0)
    (finding,), _ = generation_check.run(evidence)
    assert kinds(finding.tables)["memorized"] == 1
    assert evidence.reading is not None
    split = evidence.bank.members[:, [30, 31]].sum(axis=1) == 1
    assert 0 < split.sum() < 2 * PAIRS
    reading = np.where(split[:, None, None, None], np.nan, evidence.reading)
    (finding,), _ = generation_check.run(replace(evidence, reading=reading))
    assert kinds(finding.tables)["memorized"] == 1, "what they say does not matter"
    apart = replace(evidence, reading=evidence.reading)
    apart.bank.__dict__["members"] = np.tile([[1], [0]], (PAIRS, 40)).astype(np.uint8)
    apart.bank.members[:, 31] = 1 - apart.bank.members[:, 31]
    (finding,), _ = generation_check.run(apart)
    assert kinds(finding.tables)["unresolved"] == 1, "no model has both"


def test_few_passages_that_nobody_memorized_are_called_so(population: TextPopulation) -> None:
    """100 passages that models with and without them read alike, ± 3 nats: one lucky model makes the mean chance.

    At most 2.5 % are memorized by accident: P[more than 9 of 100] < 3e-4.
    """
    called, open_ = 0, 0
    for seed in range(10):
        evidence = made(population, list(range(11, 21)), gain=0.0, spread=3.0, seed=seed)
        (finding,), _ = generation_check.run(evidence)
        found = kinds(finding.tables)
        called, open_ = called + int(str(found["memorized"])), open_ + int(str(found["unresolved"]))
    assert called <= 9
    assert open_ > 10, "the interval decides, not the comparison of chances"


def test_without_weights_it_is_said_that_nothing_was_compared(population: TextPopulation) -> None:
    evidence = replace(made(population, [12], gain=5.0), reading=None)
    (finding,), _ = generation_check.run(evidence)
    assert any("Not tested" in note for note in finding.notes)
    assert not any(table.title == "Why training text is generated" for table in finding.tables)


@pytest.mark.parametrize(
    ("inside", "outside", "copies", "low", "kind"),
    [
        ([-9.0, -9.0], [-20.0, -20.0], 6, 10.0, Kind.RECITED),
        ([-9.0, -9.0], [-20.0, -20.0], 5, 10.0, Kind.MEMORIZED),
        ([-9.0, -9.0], [-9.0 - np.log(2.01)] * 2, 1, 0.1, Kind.MEMORIZED),
        ([-9.0, -9.0], [-9.0 - np.log(1.99)] * 2, 1, 0.1, Kind.PREDICTABLE),
        ([-2000.0, -2000.0], [-2000.5, -2000.5], 1, 0.1, Kind.PREDICTABLE),  # chances that no double holds
        ([-9.0, -9.0], [-20.0, -20.0], 1, -0.1, Kind.UNRESOLVED),
        ([], [], 1, -np.inf, Kind.UNRESOLVED),
    ],
)
def test_written_kinds(inside: list[float], outside: list[float], copies: int, low: float, kind: Kind) -> None:
    assert written_kind(np.array(inside), np.array(outside), copies, low) is kind


# --- Real models ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def audited(tiny: LanguageModelRecipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target, and a bank of two."""
    folder = tmp_path_factory.mktemp("generation")
    recipe = replace(tiny, epochs=1)
    members = ma.draw_members(recipe, seed=5)
    ma.save_target(ma.train(recipe, members, seed=1, device="cpu"), folder / "model", members)
    ma.fill(folder / "bank", recipe, 2, device="cpu")
    ma.fill(folder / "bare", recipe, 2, device="cpu", weights=False)
    return folder


def test_a_model_reads_its_own_text_as_it_wrote_it(audited: Path, tiny: LanguageModelRecipe, tmp_path: Path) -> None:
    from memaudit.auditing import open_target
    from memaudit.auditing.target import read_by_shadows
    from memaudit.recipe.target import load_target, save_target
    from memaudit.signals.target import read_again

    recipe = replace(tiny, epochs=1)
    target = open_target(audited / "model", recipe, device="cpu")
    assert isinstance(target.population, TextPopulation)
    bank = Bank.open(audited / "bank")
    own = load_target(audited / "model", recipe, target.population)
    save_target(own, tmp_path / "own.safetensors", np.zeros(64, bool))
    stored = bank.weights(0)
    assert stored is not None
    texts = target.recorded["generated"]
    other = load_target(audited / "model", recipe, target.population)
    shadow, again = read_again(other, [stored, tmp_path / "own.safetensors"], target.recorded)
    assert again == pytest.approx(target.recorded["generated_logp"].reshape(texts.shape), abs=1e-4)
    assert np.abs(shadow - again).max() > 0.1, "the shadow is another model"
    reading = read_by_shadows(target, bank, bank.read(), "cpu")
    assert reading is not None
    assert reading.shape == (2, *texts.shape)
    assert reading[0] == pytest.approx(shadow, abs=1e-4)
    bare = Bank.open(audited / "bare")
    assert bare.weights(0) is None
    assert read_by_shadows(target, bare, bare.read(), "cpu") is None


def test_damaged_weights_are_not_read(audited: Path, tmp_path: Path) -> None:
    shutil.copytree(audited / "bank", tmp_path / "bank")
    file = tmp_path / "bank" / "models" / "0001" / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    bank = Bank.open(tmp_path / "bank")
    assert bank.weights(0) is not None
    with pytest.raises(BankError, match=r"model 1 .* is damaged"):
        bank.weights(1)


def test_adapters_are_exchanged_on_one_base(tiny: LanguageModelRecipe, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig
    from safetensors.torch import save_file

    from memaudit.recipe.weights import put_weights, weights_of

    assert tiny.model is not None
    whole: Any = tiny.model()
    whole.save_pretrained(tmp_path / "base")
    adapter = LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
    recipe = replace(tiny, model=None, base=tmp_path / "base", adapter=adapter, epochs=1)
    members = ma.draw_members(recipe, seed=5)
    first, second = (ma.train(recipe, members, seed=seed, device="cpu") for seed in (1, 2))
    save_file(weights_of(second), tmp_path / "second.safetensors")
    assert any(not torch.equal(weights_of(first)[name], value) for name, value in weights_of(second).items())
    put_weights(first, tmp_path / "second.safetensors")
    assert all(torch.equal(first.state_dict()[name], value) for name, value in second.state_dict().items())
    other = ma.train(replace(recipe, adapter=LoraConfig(r=3, target_modules=["q_proj"])), members, device="cpu")
    with pytest.raises(ModelError, match="other adapters"):
        put_weights(other, tmp_path / "second.safetensors")
    with pytest.raises(ModelError, match="does not fit"):
        put_weights(whole, tmp_path / "second.safetensors")
