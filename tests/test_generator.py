"""Generators of images: signals against slow computations, audits of known generators, refusals, forged reports."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import memaudit as ma
from memaudit import reports
from memaudit.canaries import fisher, sampled_exposure
from memaudit.errors import MemauditError, RecipeError
from memaudit.policy.complete import incomplete
from memaudit.policy.consistency import contradictions
from memaudit.recipe.generator import COSTS
from memaudit.recipe.populations import population
from memaudit.signals.generator import measure_generator
from memaudit.signals.nearest import closeness, nearest_distance, neighbour_distance
from memaudit.stats import auc
from memaudit.types import Finding, Report, Rung

Array = np.ndarray
Command = Callable[..., CompletedProcess[str]]
FPRS = (0.1,)
SHADOWS = 8


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The recipes, imported from a folder of their own as a user's are."""
    import importlib
    import sys

    folder = tmp_path_factory.mktemp("generators")
    shutil.copy(Path(__file__).parent / "recipes" / "generators.py", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("generators")
    sys.modules.pop("generators", None)


def audited(recipe: ma.GeneratorRecipe, folder: Path, **more: Any) -> tuple[Report, ma.Bank]:
    bank = ma.fill(folder / "bank", recipe, SHADOWS, device="cpu", workers=1)
    members = ma.draw_members(recipe, seed=1)
    ma.save_target(ma.train(recipe, members, seed=1, device="cpu"), folder / "model.safetensors", members)
    done = ma.audit(folder / "model.safetensors", recipe, bank, fprs=FPRS, **more)
    return done.report, bank


@pytest.fixture(scope="module")
def leaky(made: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, ma.Bank, Path]:
    folder = tmp_path_factory.mktemp("leaky")
    return (*audited(made.recipe, folder), folder)


@pytest.fixture(scope="module")
def harmless(made: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, ma.Bank]:
    return audited(made.ignorant, tmp_path_factory.mktemp("harmless"))


def finding(report: Report, code: str) -> Finding:
    return next(result.finding for result in report.results if result.finding.code == code)


# Signals


def test_distances_are_those_of_a_slow_computation() -> None:
    rng = np.random.default_rng(0)
    images, generated = rng.normal(size=(40, 9)).astype(np.float32), rng.normal(size=(30, 9)).astype(np.float32)
    units = np.repeat(np.arange(20), 2)
    generated[3] = images[7]
    slow = np.array([min(np.linalg.norm(a - b) for b in generated.astype(float)) for a in images.astype(float)])
    assert np.allclose(nearest_distance(images, generated), slow, rtol=1e-12, atol=0)
    assert nearest_distance(images, generated)[7] == 0
    for count in (1, 5, 50):  # of which there are 38
        others = [
            np.sort([np.linalg.norm(a.astype(float) - b) for b, v in zip(images, units, strict=True) if u != v])
            for a, u in zip(images, units, strict=True)
        ]
        assert np.allclose(neighbour_distance(images, units, count), [each[:count].mean() for each in others])


def test_an_image_is_extracted_at_half_the_distance_of_its_neighbours() -> None:
    image, scale = np.zeros((1, 4)), np.array([2.0])
    for distance, extracted in ((0.999, True), (1.001, False)):
        assert (closeness(image, np.array([[distance, 0, 0, 0]]), scale) <= 0) == extracted
    assert np.isfinite(closeness(image, image, scale))


def test_the_denoising_error_is_zero_for_whoever_knows_the_noise_and_one_for_whoever_says_nothing() -> None:
    images, noise = torch.randn(5, 3, 3), torch.randn(5, 3, 3)
    bars = torch.linspace(0.99, 0.01, 10)
    seen = bars[4].sqrt() * images + (1 - bars[4]).sqrt() * noise

    def knowing(x: torch.Tensor, t: int) -> torch.Tensor:
        assert torch.allclose(x, seen) and t == 4
        return noise

    assert ma.denoising_error(knowing, images, noise, bars, 4).abs().max() == 0
    silent = ma.denoising_error(lambda x, t: torch.zeros_like(x), images, noise, bars, 4)
    assert torch.allclose(silent, noise.square().mean(dim=(1, 2)))


def test_the_step_error_is_that_of_a_slow_computation() -> None:
    bars, x = torch.linspace(0.99, 0.05, 20).double(), torch.randn(4, 2, 2).double()

    def predict(x: torch.Tensor, t: int) -> torch.Tensor:
        return torch.sin(x * (1 + t / 10))

    a, found = bars.numpy(), ma.step_error(predict, x, bars, 6, 3)
    for image, error in zip(x.numpy(), found, strict=True):
        path = [image]
        for s in (0, 3, 6):
            e = np.sin(path[-1] * (1 + s / 10))
            clean = (path[-1] - np.sqrt(1 - a[s]) * e) / np.sqrt(a[s])
            path.append(np.sqrt(a[s + 3]) * clean + np.sqrt(1 - a[s + 3]) * e)
        e = np.sin(path[3] * (1 + 9 / 10))
        back = np.sqrt(a[6]) * (path[3] - np.sqrt(1 - a[9]) * e) / np.sqrt(a[9]) + np.sqrt(1 - a[6]) * e
        assert float(error) == pytest.approx(((back - path[2]) ** 2).mean(), rel=1e-9)
    constant = ma.step_error(lambda x, t: torch.ones_like(x), x, bars, 6, 3)
    assert constant.max() < 1e-25  # a model without curvature goes back where it came from
    for t, step in ((5, 3), (18, 3), (-3, 3)):
        with pytest.raises(ValueError, match="no multiple"):
            ma.step_error(predict, x, bars, t, step)


def test_an_image_has_the_same_noise_in_every_batch_and_for_every_model(made: ModuleType) -> None:
    examples = made.examples()
    seen: list[dict[bytes, bytes]] = []

    def loss(model: Any, images: torch.Tensor, noise: torch.Tensor, level: float) -> torch.Tensor:
        for image, own in zip(images, noise, strict=True):
            seen[-1].setdefault(image.numpy().tobytes() + str(level).encode(), own.numpy().tobytes())
            assert seen[0].get(image.numpy().tobytes() + str(level).encode(), own.numpy().tobytes()) == (
                own.numpy().tobytes()
            )
        return images.flatten(1).square().mean(dim=1) + level

    recipe = replace(made.recipe, loss=loss, planted=None)
    found = []
    for part in (examples, examples.take(np.arange(50, 90)[::-1])):
        seen.append({})
        found.append(measure_generator(made.remember(part, seed=0, device="cpu"), part, recipe, "cpu"))
    assert len(set(seen[0].values())) == len(seen[0]) == 2 * len(examples)  # another one for each image and level
    assert np.array_equal(found[0]["phi"][50:90][::-1], found[1]["phi"])


def test_the_signal_is_minus_the_mean_loss(made: ModuleType) -> None:
    examples, levels = made.examples(), []

    def loss(model: Any, images: torch.Tensor, noise: torch.Tensor, level: float) -> torch.Tensor:
        levels.append(level)
        return level + noise.flatten(1)[:, 0] ** 2

    recipe = replace(made.recipe, loss=loss, planted=None, levels=(3.0, 100.0), draws=64)
    phi = measure_generator(made.remember(examples, seed=0, device="cpu"), examples, recipe, "cpu")["phi"]
    assert phi.shape == (len(examples), 2) and set(levels) == {3.0, 100.0}
    assert np.abs(phi.mean(axis=0) + np.array([4, 101])).max() < 0.1
    assert phi[:, 0].std() == pytest.approx(np.sqrt(2 / 64), rel=0.3)


# Image canaries


def test_a_canary_and_its_references_differ_in_the_pattern_alone() -> None:
    for shape in ((8, 9), (3, 8, 9), (8, 9, 3)):
        bases = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)
        found = ma.image_canaries(bases, references=50, size=3, seed=1)
        assert found.images.shape == bases.shape and found.references.shape == (5, 50, *shape)
        for base, image, others in zip(bases, found.images, found.references, strict=True):
            changed = (np.concatenate([image[None], others]) != base).any(axis=0)
            channels = 3 if len(shape) == 3 else 1
            assert changed.sum() == 9 * channels
            assert set(np.unique(image[changed])) <= {bases.min(), bases.max()}
        patterns = {other.tobytes() for other in found.references[0]}
        assert len(patterns) > 40
    for bad in ({"size": 9}, {"size": 2, "references": 63}):
        with pytest.raises(ValueError, match="pattern"):
            ma.image_canaries(np.zeros((2, 8, 8)), **{"references": 63, "size": 3} | bad)


def test_an_unseen_canary_has_a_uniform_rank_whatever_a_model_prefers() -> None:
    """400 canaries under a model that likes light patterns; false alarm of the test: 0.1 %."""
    found = ma.image_canaries(np.random.default_rng(0).normal(size=(400, 6, 6)), references=63, size=3, seed=4)
    rng = np.random.default_rng(1)

    def cost(images: Array) -> Array:
        return -images.mean(axis=(-2, -1)) + 1e-9 * rng.random(images.shape[:-2])  # without ties

    bits = sampled_exposure(cost(found.images), cost(found.references)).bits
    ranks = 64 / 2**bits
    assert stats.kstest((ranks - 0.5) / 64, "uniform").pvalue > 0.001
    assert float(fisher(bits)) > 0.001


# Audits


def test_a_generator_of_its_training_images_is_found_out(leaky: tuple[Report, ma.Bank, Path]) -> None:
    report, _, _ = leaky
    extracted, samples, exposure = (finding(report, code) for code in ("GEN001", "GEN002", "GEN003"))
    assert extracted.estimate.low > 0.2 and extracted.blind == 0
    why = {row[0]: row[1] for row in extracted.tables[-1].rows}
    assert sum(int(count or 0) for count in why.values()) == round(extracted.estimate.value * extracted.n)
    assert why["memorized: models trained on it generate it demonstrably more often"]
    assert not why["predictable: models that never saw it generate it at least half as often"]
    assert samples.estimate.value > 0.3 and samples.attack == "slira"
    assert exposure.estimate.low > 1.5 and exposure.blind == pytest.approx(1.4427, abs=1e-3)
    rows = {row[0]: float(str(row[2])) for row in exposure.tables[0].rows}
    assert rows["shadow models, trained on"] > 5 and rows["shadow models, not trained on"] < 2.5
    table = {row[0]: float(str(row[1]).split()[0]) for row in samples.tables[0].rows}
    assert table["loss at all levels"] > 0.95 > table["generated images alone: nearest"] > 0.6
    tpr = next(r.finding for r in report.results if r.finding.attack == "slira" and r.finding.metric == "tpr")
    assert tpr.estimate.low > 0.8
    assert all(control.passed is not False for control in report.controls)
    assert list(contradictions(report)) == list(incomplete(report)) == []


def test_a_generator_that_ignores_its_training_set_is_not(harmless: tuple[Report, ma.Bank]) -> None:
    report, bank = harmless
    extracted = finding(report, "GEN001")
    assert extracted.blind is not None
    assert extracted.estimate.low <= extracted.blind <= extracted.estimate.high
    for result in report.results:
        if result.finding.metric in ("tpr", "samples"):
            assert result.finding.estimate.low <= 0.1, result.finding.sentence
    exposure = finding(report, "GEN003")
    assert exposure.estimate.low < 1.4427 < exposure.estimate.high
    recorded = [bank.tensors(model) for model in range(SHADOWS)]
    inside = np.stack([found["members"] > 0 for found in recorded])
    for name in ("phi", "nearest"):
        values = np.stack([found[name].reshape(len(found["members"]), -1)[:, 0] for found in recorded])
        values = values - values.mean(axis=1, keepdims=True)
        area, error = auc(values[inside], values[~inside]), 1 / np.sqrt(12 * inside.sum() / 2)
        assert abs(area - 0.5) < 4 * error


def test_without_a_loss_the_distance_is_the_signal(made: ModuleType, tmp_path: Path) -> None:
    report, bank = audited(made.lossless, tmp_path)
    tensors = bank.tensors(0)
    assert np.array_equal(tensors["phi"][:, 0], -tensors["nearest"])
    tpr = next(r.finding for r in report.results if r.finding.attack == "slira" and r.finding.metric == "tpr")
    assert tpr.estimate.low > 0.2
    assert [row[0] for row in finding(report, "GEN002").tables[0].rows] == ["generated images alone: nearest"]
    assert list(contradictions(report)) == list(incomplete(report)) == []


def test_a_bank_resumes_grows_and_is_read_again(made: ModuleType, leaky: tuple[Report, ma.Bank, Path]) -> None:
    _, _, folder = leaky
    copied = shutil.copytree(folder / "bank", folder / "resumed")
    before = ma.Bank.open(copied).tensors(3)
    shutil.rmtree(next(copied.glob("models/*3")))
    again = ma.fill(copied, made.recipe, SHADOWS + 2, device="cpu", workers=1)
    assert again.models() == list(range(SHADOWS + 2))
    after = again.tensors(3)
    assert before.keys() == after.keys() and {*COSTS, "nearest"} < after.keys()
    for name, values in before.items():
        assert np.allclose(after[name], values, rtol=1e-5), name


def test_candidates_are_compared_with_the_same_neighbours(made: ModuleType, tmp_path: Path) -> None:
    """The scale of a distance depends on which images there are: the target is asked again about the candidates."""
    recipe = made.recipe
    ids = population(recipe).ids
    members = ma.draw_members(recipe, seed=1)
    ma.save_target(ma.train(recipe, members, seed=1, device="cpu"), tmp_path / "model.safetensors", members)
    design = ma.Subsets(candidates=list(ids[30:]))
    bank = ma.fill(tmp_path / "bank", recipe, SHADOWS, device="cpu", workers=1, design=design, members=members)
    report = ma.audit(tmp_path / "model.safetensors", recipe, bank, members=members, fprs=FPRS).report
    assert finding(report, "GEN001").n + finding(report, "GEN001").n < 2 * len(ids)
    assert finding(report, "GEN003").estimate.value > 3
    assert list(contradictions(report)) == list(incomplete(report)) == []


def test_a_model_alone_is_audited_on_the_lowest_rung(made: ModuleType, leaky: tuple[Report, ma.Bank, Path]) -> None:
    folder = leaky[2]
    report = ma.audit(folder / "model.safetensors", made.recipe, None, fprs=FPRS, ledger=folder / "other.jsonl").report
    assert report.rung is Rung.TARGET
    assert finding(report, "GEN001").estimate == finding(leaky[0], "GEN001").estimate
    assert finding(report, "GEN001").blind == 0
    assert [skipped.code for skipped in report.skipped if skipped.code.startswith("GEN")] == ["GEN002"]
    assert not {skipped.code for skipped in report.skipped} & {"MEM001", "MEM005", "EXT001"}
    assert list(contradictions(report)) == list(incomplete(report)) == []


def test_the_command_audits_a_generator(made: ModuleType, command: Command, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parent / "recipes" / "generators.py", tmp_path / "recipe.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        Path("memaudit.toml").write_text('[audit]\nshadows = 6\nworkers = 1\nfpr = [0.1]\n[[gate]]\nid = "found"\n')
        with Path("memaudit.toml").open("a") as file:
            file.write('metric = "tpr"\nmax = 0.2\n')
        members = ma.draw_members(made.recipe, seed=1)
        ma.save_target(ma.train(made.recipe, members, seed=1, device="cpu"), "model.pt", members)
        done = command("audit", "model.pt", "-q")
        assert done.returncode == 1, done.stderr
        assert "GEN001" in Path("audit/report.md").read_text()
        assert "canary_costs" not in Path("audit/evidence.csv").read_text()


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample": lambda model, n, seed: torch.zeros(n, 6, 6)}, "same image every time"),
        ({"sample": lambda model, n, seed: torch.zeros(n, 36)}, "returned shape"),
        ({"sample": lambda model, n, seed: torch.full((n, 6, 6), torch.nan)}, "NaN"),
        ({"sample": lambda model, n, seed: np.random.default_rng().normal(size=(n, 6, 6))}, "for the same seed"),
        ({"sample": lambda model, n, seed: np.random.default_rng(0).normal(size=(n, 6, 6))}, "for two seeds"),
        ({"loss": lambda model, x, noise, level: x.mean()}, "one number per image"),
        ({"loss": lambda model, x, noise, level: -x.square().mean(dim=(1, 2))}, "below 0"),
        ({"loss": lambda model, x, noise, level: torch.rand(len(x))}, "random"),
        ({"loss": lambda model, x, noise, level: (x - x.mean(dim=0)).square().mean(dim=(1, 2))}, "batch"),
    ],
)
def test_what_is_no_generator_is_refused(made: ModuleType, change: dict[str, Any], message: str) -> None:
    examples = made.examples()
    recipe = replace(made.recipe, planted=None, **change)
    with pytest.raises(MemauditError, match=message):
        measure_generator(made.remember(examples, seed=0, device="cpu"), examples, recipe, "cpu")


def test_a_likelihood_in_place_of_a_loss_is_refused(made: ModuleType, tmp_path: Path) -> None:
    def likelihood(model: Any, images: torch.Tensor, noise: torch.Tensor, level: float) -> torch.Tensor:
        return 1 / (0.1 + made.loss(model, images, noise, level))

    with pytest.raises(MemauditError, match="an error, not a likelihood"):
        ma.fill(tmp_path / "bank", replace(made.recipe, loss=likelihood), 6, device="cpu", workers=1)


def test_recipes_and_examples_that_do_not_go_together_are_refused(made: ModuleType) -> None:
    images, labels = np.random.default_rng(0).normal(size=(20, 4, 4)), np.arange(20) % 2
    with pytest.raises(RecipeError, match="another kind"):
        population(replace(made.recipe, examples=lambda: ma.Examples(images, labels), planted=None))
    with pytest.raises(RecipeError, match="another kind"):
        population(ma.CallableRecipe(made.examples, train=made.remember))
    with pytest.raises(RecipeError, match="floating-point"):
        whole = (255 * images).astype(np.uint8)
        population(replace(made.recipe, examples=lambda: ma.Examples(whole, task="generation"), planted=None))
    with pytest.raises(RecipeError, match="not all among the examples"):
        population(replace(made.recipe, examples=lambda: ma.Examples(images.astype(np.float32), task="generation")))
    with pytest.raises(RecipeError, match="no labels"):
        ma.Examples(images)
    for bad in ({"levels": ()}, {"draws": 0}, {"samples": 1}):
        with pytest.raises(RecipeError, match=next(iter(bad))):
            replace(made.recipe, **bad)


def test_another_recipe_does_not_use_the_bank(made: ModuleType, leaky: tuple[Report, ma.Bank, Path]) -> None:
    folder = leaky[2]
    for change in ({"levels": (0.5, 3.0)}, {"samples": 41}, {"loss": None}):
        with pytest.raises(MemauditError, match=f"recipe.{next(iter(change))}"):
            ma.audit(folder / "model.safetensors", replace(made.recipe, **change), leaky[1], fprs=FPRS)


def test_planted_canaries_that_leak_into_each_other_give_no_exposure(made: ModuleType) -> None:
    from memaudit.checks.generated_images import _unplanted
    from memaudit.checks.generator import GeneratorTargetEvidence, Planted

    rng = np.random.default_rng(0)
    inside = np.arange(20)[None] % 2 == 0
    evidence = GeneratorTargetEvidence(
        phi=rng.normal(size=(20, 1)),
        correct=np.zeros(20, bool),
        members=inside[0],
        x=rng.normal(size=(20, 4)),
        y=np.zeros(20, int),
        nearest=np.ones(20),
        samples=8,
        planted=Planted(costs=np.zeros((1, 20)), references=rng.random((1, 20, 63)), inside=inside, forms=512),
    )
    reason = _unplanted(evidence)
    assert reason is not None and "not trained on" in reason
    honest = Planted(costs=rng.random((1, 20)), references=rng.random((1, 20, 63)), inside=inside, forms=512)
    assert _unplanted(replace(evidence, planted=honest)) is None
    assert "no image canaries" in str(_unplanted(replace(evidence, planted=None)))


# Forged reports


@pytest.fixture
def fields(leaky: tuple[Report, ma.Bank, Path], tmp_path: Path) -> dict[str, Any]:
    reports.save(leaky[0], tmp_path / "report.json")
    found: dict[str, Any] = json.loads((tmp_path / "report.json").read_bytes())
    return copy.deepcopy(found)


def complaints(fields: dict[str, Any], tmp_path: Path) -> list[str]:
    (tmp_path / "forged.json").write_text(json.dumps(fields), "utf-8")
    report = reports.load(tmp_path / "forged.json")
    return [*contradictions(report), *incomplete(report)]


@pytest.mark.parametrize("code", ["GEN001", "GEN002", "GEN003"])
def test_a_finding_of_a_generator_cannot_be_taken_out_or_changed(
    fields: dict[str, Any], tmp_path: Path, code: str
) -> None:
    assert complaints(fields, tmp_path) == []
    whole = copy.deepcopy(fields)
    fields["results"] = [result for result in fields["results"] if result["finding"]["code"] != code]
    assert any(code in said for said in complaints(fields, tmp_path))
    changed = next(r["finding"] for r in whole["results"] if r["finding"]["code"] == code)
    sentence = changed["sentence"]
    changed["sentence"] = sentence.replace(".", ". 77.7 of the images are not affected.", 1)
    assert any("sentence" in said for said in complaints(whole, tmp_path))
    changed["sentence"] = sentence
    changed["estimate"]["value"] /= 2
    assert complaints(whole, tmp_path)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"loss": lambda model, x, noise, level: x.flatten(1).sum(1) * 1j}, "return a tensor of real numbers"),
        ({"loss": lambda model, x, noise, level: np.full(len(x), 1e39)}, "infinite"),
        ({"sample": lambda model, n, seed: 255 * torch.randn(n, 6, 6)}, "in the scale of the examples"),
        ({"planted": lambda: np.zeros((3, 6, 6))}, "return what memaudit.image_canaries returns"),
    ],
)
def test_functions_that_return_something_else_are_refused(made: ModuleType, changed: dict[str, Any], told: str) -> None:
    recipe = replace(made.recipe, **changed)
    model = made.remember(made.examples(), seed=0, device="cpu")
    with pytest.raises(MemauditError, match=told):
        measure_generator(model, made.examples(), recipe, "cpu")


@pytest.mark.parametrize("changed", [{"draws": 1.5}, {"draws": True}, {"samples": 8.5}, {"levels": 3}, {"levels": ()}])
def test_settings_that_are_no_whole_numbers_are_refused(made: ModuleType, changed: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="give a"):
        replace(made.recipe, **changed)


def test_a_loss_that_writes_into_its_images_harms_nobody(made: ModuleType) -> None:
    def writes(model: Any, images: torch.Tensor, noise: torch.Tensor, level: float) -> torch.Tensor:
        found: torch.Tensor = made.loss(model, images, noise, level)
        images.zero_()
        noise.zero_()
        return found.bfloat16().double()

    examples = made.examples()
    model = made.remember(examples, seed=0, device="cpu")
    found = measure_generator(model, examples, replace(made.recipe, loss=writes), "cpu")
    assert (examples.x == made.examples().x).all()
    np.testing.assert_allclose(found["phi"], measure_generator(model, examples, made.recipe, "cpu")["phi"], rtol=0.01)


def test_a_sampler_may_draw_from_the_global_generators(made: ModuleType) -> None:
    """memaudit seeds them all, so that such images are the same in every audit."""
    examples = made.examples()
    model = made.remember(examples, seed=0, device="cpu")
    for draw in (
        lambda model, n, seed: torch.randn(n, 6, 6),
        lambda model, n, seed: np.reshape([random.gauss() for _ in range(36 * n)], (n, 6, 6)),
    ):
        recipe = replace(made.recipe, planted=None, sample=draw)
        first, again = (measure_generator(model, examples, recipe, "cpu")["nearest"] for _ in range(2))
        np.testing.assert_array_equal(first, again)


def test_a_generator_is_watched_by_its_loss(made: ModuleType, tmp_path: Path) -> None:
    from memaudit.callbacks.watch import Watch

    examples = made.examples()
    members = examples.take(np.arange(60))
    model = made.remember(members, seed=0, device="cpu")
    watch = Watch(made.recipe, tmp_path / "model.pt", strict=True)
    watch.begin(members)
    seen = watch.observe(model, 1.0)
    losses = -measure_generator(model, examples, made.recipe, "cpu")["phi"].mean(axis=1)
    assert seen is not None and seen.loss_members == pytest.approx(losses[:60].mean(), rel=1e-4)
    assert seen.loss_nonmembers == pytest.approx(losses[60:].mean(), rel=1e-4) and seen.auc_low > 0.9
    watch.end(model)
    assert watch.error is None and (tmp_path / "model.pt").exists()
    silent = Watch(made.lossless, tmp_path / "other.pt", examples.ids[:60], check=False, strict=True)
    silent.begin(None)
    assert silent.observe(model, 1.0) is None


def test_quick_says_that_a_generator_needs_a_recipe(made: ModuleType) -> None:
    images = made.examples().x
    with pytest.raises(MemauditError, match="GeneratorRecipe"):
        ma.quick(made.remember(made.examples(), seed=0, device="cpu"), (images[:60], None), (images[60:], None))


def test_access_levels_are_for_classifiers(leaky: tuple[Report, ma.Bank, Path], made: ModuleType) -> None:
    _, bank, folder = leaky
    with pytest.raises(MemauditError, match="generators; leave --access out"):
        ma.audit(folder / "model.safetensors", made.recipe, bank, fprs=FPRS, access="all")
