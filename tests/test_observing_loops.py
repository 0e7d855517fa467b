"""Observations of language models, and through the callbacks of trainers."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from loading import RECIPES, unregistered

import memaudit as ma
from memaudit.auditing.target import open_target
from memaudit.callbacks.watch import Watch
from memaudit.errors import RecipeError
from memaudit.recipe import Examples, Observe, TextPopulation
from memaudit.signals import measure
from memaudit.signals.looks import look
from memaudit.signals.observing import observer_of, watched
from memaudit.training import population
from memaudit.training.model import Workshop

pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*pin_memory.*:UserWarning")

Array = np.ndarray


@pytest.fixture(scope="module")
def language() -> Any:
    return unregistered(RECIPES / "language.py").recipe


@pytest.fixture(scope="module")
def own() -> ModuleType:
    found: ModuleType = unregistered(RECIPES / "with_trainer.py")
    return found


def made(recipe: Any) -> tuple[torch.nn.Module, dict[str, Array], Workshop]:
    shop = Workshop(recipe, population(recipe), 0, "cpu")
    return *shop.train_observed(shop.counts(0), 3), shop


def test_a_language_model_is_observed_unit_by_unit_and_not_disturbed(language: Any) -> None:
    """The end is what `measure` says: mean loss, share of tokens, mean entropy; a shorter training is the beginning."""
    recipe = replace(language, epochs=3, observe=Observe("every epoch"))
    model, seen, shop = made(recipe)
    alone, nothing, _ = made(replace(recipe, observe=Observe(0)))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), alone.parameters(), strict=True))
    assert not any(name.startswith("observed") for name in nothing)
    assert seen["observed.epochs"].tolist() == [1, 2, 3]
    assert "observed.el2n" not in seen
    shorter, _, _ = made(replace(recipe, epochs=1))
    for time, of in ((0, shorter), (2, model)):
        found = measure(of, shop.measured)
        tokens = found["token_starts"]
        entropy = -np.add.reduceat(found["token_mean"], tokens[:-1]) / np.diff(tokens)
        np.testing.assert_allclose(seen["observed.loss"][time], -found["phi"][:, 0], rtol=1e-3)
        np.testing.assert_allclose(seen["observed.correct"][time], found["correct"], atol=1e-3)
        np.testing.assert_allclose(seen["observed.entropy"][time], entropy, rtol=2e-3)


def test_measuring_a_language_model_takes_what_a_look_takes(language: Any) -> None:
    model, _, shop = made(replace(language, epochs=1, observe=Observe(0)))
    found, recorded = look(model, shop.measured), measure(model, shop.measured, look=True)
    assert found.keys() == {"loss", "correct", "entropy"}
    for name, values in found.items():
        np.testing.assert_allclose(recorded[f"look.{name}"], values, rtol=1e-5, atol=1e-6)


def test_gradients_of_documents_are_refused_before_anything_is_trained(language: Any) -> None:
    with pytest.raises(RecipeError, match="of examples, not of documents"):
        made(replace(language, observe=Observe(1, also=("gradient",))))


def test_a_language_model_target_is_observed_and_its_folder_bound(language: Any, tmp_path: Path) -> None:
    recipe = replace(language, epochs=2, observe=Observe(2))
    members = ma.draw_members(recipe)
    with ma.observing(recipe) as seen:
        model = ma.train(recipe, members, device="cpu")
    ma.save_target(model, tmp_path / "model", members, recipe, observed=seen)
    found = open_target(tmp_path / "model", recipe, device="cpu")
    assert isinstance(found.population, TextPopulation)
    assert found.observed is not None
    assert found.observed.values["loss"].shape == (2, len(found.population))


def test_a_trainer_of_transformers_shows_the_model_in_a_recipes_own_loop(own: ModuleType) -> None:
    from memaudit.callbacks.transformers import ObserveCallback

    def train(dataset: Examples, *, seed: int, device: str) -> torch.nn.Module:
        trainer = own.trainer(dataset, seed, [ObserveCallback()])
        trainer.train()
        model: torch.nn.Module = trainer.model
        return model

    wanted = [Observe(0), Observe(3), Observe([0, 4])]
    models = [made(ma.CallableRecipe(own.examples, train=train, model=own.Net, observe=one)) for one in wanted]
    assert [dict(seen).get("observed.epochs", np.empty(0)).tolist() for _, seen, _ in models] == [
        [],
        [1, 3, 12],
        [0, 4, 12],
    ]
    first, *others = ([p.detach() for p in model.parameters()] for model, _, _ in models)
    assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


def test_lightning_shows_the_model_in_a_recipes_own_loop(own: ModuleType) -> None:
    lightning = pytest.importorskip("lightning")
    from memaudit.callbacks.lightning import ObserveCallback

    class Module(lightning.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = own.Net()

        def training_step(self, batch: Any, number: int) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(self.net(batch[0])["logits"], batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    def train(dataset: Examples, *, seed: int, device: str) -> torch.nn.Module:
        loader: Any = torch.utils.data.DataLoader(dataset, batch_size=20)  # type: ignore[arg-type]
        shown = ObserveCallback(lambda module: module.get_submodule("net"))
        trainer = lightning.Trainer(
            max_epochs=4, accelerator="cpu", callbacks=[shown], logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        module = Module()
        trainer.fit(module, loader)
        return module.get_submodule("net")

    recipe = ma.CallableRecipe(own.examples, train=train, model=own.Net, observe=Observe("every epoch"))
    model, seen, _ = made(recipe)
    assert seen["observed.epochs"].tolist() == [1, 2, 3, 4]
    phi = measure(model, own.examples())["phi"][:, 0]
    np.testing.assert_allclose(seen["observed.loss"][-1], np.logaddexp(0, -phi), rtol=2e-3, atol=1e-3)


def test_the_callback_of_a_target_stores_what_it_saw(own: ModuleType, tmp_path: Path) -> None:
    from memaudit.callbacks.transformers import MemauditCallback

    recipe = replace(own.recipe, observe=Observe(3))
    examples = own.examples()
    rows = [examples[row] for row in range(0, 120, 2)]
    callback = MemauditCallback(recipe, tmp_path / "model.pt")
    own.trainer(rows, 1, [callback]).train()
    assert callback.watch.error is None
    found = open_target(tmp_path / "model.pt", recipe, device="cpu")
    assert found.observed is not None
    assert found.observed.epochs.tolist() == [1, 3, 12]


def test_a_target_that_cannot_be_looked_at_is_saved_all_the_same(
    own: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch = Watch(replace(own.recipe, observe=Observe(3), output="nothing"), tmp_path / "model.pt", sample=0)
    watch.begin([own.examples()[row] for row in range(60)], epochs=2)
    network = own.Net()
    watch.observe(network, 1)
    watch.end(network, 2)
    assert watch.error is None
    assert "no observations are stored beside the model" in caplog.text
    assert (tmp_path / "model.pt").exists()
    assert not (tmp_path / "model.pt.observed.safetensors").exists()


def test_a_loop_that_says_its_length_is_looked_at_as_our_own() -> None:
    examples = Examples(np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 2)
    network = torch.nn.Linear(4, 2)
    recipe = ma.CallableRecipe(lambda: examples, model=lambda: network)
    for epochs, times in ((None, [16, 32, 40]), (40, [1, 6, 40])):
        with watched(observer_of(recipe, examples)) as observer:
            for epoch in range(41):
                ma.observe(network, epoch, epochs)
        seen = observer.of(network)
        assert seen is not None
        assert seen.epochs.tolist() == times


def test_a_person_is_asked_about_by_all_documents(language: Any) -> None:
    """The signal is the mean over the tokens of all of them: by a population in which every document is a unit."""
    torch.manual_seed(0)
    single = population(language)
    people = replace(language, documents=lambda: _of_people(language.documents()))
    whole = population(people)
    assert isinstance(single, TextPopulation) and isinstance(whole, TextPopulation)
    assert len(whole) == 20 and len(single) == 60
    model = language.model().eval()
    alone, pooled = look(model, single), look(model, whole)
    recorded = measure(model, single)
    tokens = np.diff(recorded["token_starts"])
    for person in range(20):
        own = [person, person + 20, person + 40]
        for name, values in pooled.items():
            assert values[person] == pytest.approx(np.average(alone[name][own], weights=tokens[own]), rel=1e-4)
    assert np.abs(pooled["loss"] - alone["loss"][:20]).max() > 0.01


def _of_people(documents: Any) -> Any:
    return ma.Documents(documents.texts, documents.ids, similarity=None, groups=[n % 20 for n in range(60)])
