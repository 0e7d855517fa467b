"""Banks of derived models: made from stored weights, stored like any bank, and bound to their parents."""

import copy
import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

import memaudit as ma
from memaudit import derivations as by
from memaudit.bank import Bank
from memaudit.errors import BankError, RecipeError, SettingsError

RECIPES = Path(__file__).parent / "recipes"
SHADOWS = 6

Command = Callable[..., CompletedProcess[str]]
Complaint = Callable[..., str]


def same(model: Any, dataset: Any, *, seed: int, device: str) -> Any:
    return model


def halved(model: Any, dataset: Any, *, seed: int, device: str) -> Any:
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    return model


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    import sys

    from memaudit.recipe import load_recipe

    folder = tmp_path_factory.mktemp("recipe")
    shutil.copy(RECIPES / "tiny_recipe.py", folder / "parents.py")
    path = list(sys.path)
    yield load_recipe(str(folder / "parents.py"))
    sys.path[:] = path
    del sys.modules["parents"]


@pytest.fixture(scope="module")
def parent(recipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return ma.fill(tmp_path_factory.mktemp("parent") / "bank", recipe, SHADOWS, device="cpu")


def stacked(bank: Bank, name: str) -> Any:
    return np.stack([bank.tensors(model)[name] for model in bank.models()])


def weights(bank: Bank, model: int) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(bank.path / "models" / f"{model:04d}" / "weights.safetensors")


def test_the_identity_changes_no_bit(parent: Bank, recipe: Any, tmp_path: Path) -> None:
    children = ma.derive(tmp_path / "c", parent, recipe, same, device="cpu")
    assert children.models() == parent.models()
    for name in ("phi", "correct", "members"):
        assert np.array_equal(stacked(children, name), stacked(parent, name))
    assert not stacked(children, "divergence").any()
    assert [children.weights_sha256(m) for m in range(SHADOWS)] == [parent.weights_sha256(m) for m in range(SHADOWS)]
    found = ma.what_if(parent, children, fprs=(0.05,))
    assert all(c.before == c.after and c.change.value == c.change.low == c.change.high == 0 for c in found.changes)
    assert len(found.changes) == 4
    assert not found.memorization.any() and not found.error.any() and not found.accuracy.any()


def test_the_data_of_a_derivation_is_what_was_asked_for(parent: Bank, recipe: Any, tmp_path: Path) -> None:
    members, handed = stacked(parent, "members"), []

    def look(model: Any, dataset: Any, *, seed: int, device: str) -> Any:
        handed.append(None if dataset is None else len(dataset))
        return model

    def first_ten(examples: Any, members: Any, seed: int) -> Any:
        return np.arange(len(members)) < 10

    part, rest = ma.Part("members", 0.3), ma.Part("members", 0.3, rest=True)
    asked = {"a": "members", "b": "nonmembers", "c": "none", "d": first_ten, "e": part, "f": rest}
    seen = {
        name: stacked(ma.derive(tmp_path / name, parent, recipe, ma.Derivation(look, data), device="cpu"), "seen")  # type: ignore[arg-type]
        for name, data in asked.items()
    }
    assert np.array_equal(seen["a"], members)
    assert np.array_equal(seen["b"], 1 - members)
    assert not seen["c"].any()
    assert (seen["d"].sum(axis=1) == 10).all()
    assert np.array_equal(seen["e"] + seen["f"], members)
    assert 0.15 < seen["e"].sum() / members.sum() < 0.45
    sizes = [row.sum() or None for name in seen for row in seen[name]]
    assert sorted(map(str, handed)) == sorted(map(str, sizes))


def test_a_changed_function_and_a_changed_parent_are_named(parent: Bank, recipe: Any, tmp_path: Path) -> None:
    ma.derive(tmp_path / "c", parent, recipe, by.Prune(0.5), shadows=2, device="cpu")
    with pytest.raises(BankError, match=r"derivation.function.share: 0.5 → 0.6"):
        ma.derive(tmp_path / "c", parent, recipe, by.Prune(0.6), shadows=2, device="cpu")
    ma.derive(tmp_path / "d", parent, recipe, same, shadows=2, device="cpu")
    with pytest.raises(BankError, match=r"derivation.function: same \w+ → halved \w+"):
        ma.derive(tmp_path / "d", parent, recipe, halved, shadows=2, device="cpu")
    with pytest.raises(BankError, match=r"derivation.data: 'members' → 'none'"):
        ma.derive(tmp_path / "d", parent, recipe, ma.Derivation(same, "none"), shadows=2, device="cpu")
    other = ma.fill(tmp_path / "other", recipe, 2, seed=1, device="cpu")
    with pytest.raises(BankError, match=r"derivation.parent"):
        ma.derive(tmp_path / "d", other, recipe, same, shadows=2, device="cpu")


def test_a_parent_that_has_other_weights_by_now_is_noticed(parent: Bank, recipe: Any, tmp_path: Path) -> None:
    shutil.copytree(parent.path, tmp_path / "p")
    own = Bank.open(tmp_path / "p")
    children = ma.derive(tmp_path / "c", own, recipe, same, device="cpu")
    signals, record = own.tensors(3), own.record(3)
    own.discard(3)
    from safetensors.numpy import save

    moved = {name: values.copy() for name, values in weights(parent, 3).items()}
    moved["2.bias"] += 1e-3
    own.write(3, signals, save(moved), {"seed": record["seed"], "device": "cpu"})
    for compare in (ma.what_if, lambda parent, children: ma.what_if(children, parent), ma.unlearning):
        with pytest.raises(BankError, match=r"model 3 of .* has other weights than its child"):
            compare(own, children)
    told: list[tuple[int, str]] = []
    ma.derive(tmp_path / "c", own, recipe, same, device="cpu", repaired=lambda *problem: told.append(problem))
    assert [model for model, _ in told] == [3]
    assert np.array_equal(weights(children, 3)["2.bias"], moved["2.bias"])
    own.discard(1)
    ma.derive(tmp_path / "c", own, recipe, same, device="cpu", repaired=lambda *problem: told.append(problem))
    assert children.has(1)  # it cannot be made again
    assert len(told) == 1


def test_weights_that_do_not_give_what_was_recorded_are_refused(parent: Bank, recipe: Any, tmp_path: Path) -> None:
    shutil.copytree(parent.path, tmp_path / "p")
    own = Bank.open(tmp_path / "p")
    signals, record = own.tensors(0), own.record(0)
    own.discard(0)
    from safetensors.numpy import save

    own.write(0, signals, save({n: 2 * v for n, v in weights(parent, 0).items()}), {"seed": record["seed"]})
    with pytest.raises(RecipeError, match="do not give the outputs that were recorded"):
        ma.derive(tmp_path / "c", own, recipe, same, shadows=2, device="cpu")


def test_shards_and_workers_make_the_same_bank_and_damage_is_repaired(
    parent: Bank, recipe: Any, tmp_path: Path
) -> None:
    derivation = ma.Derivation(by.ContinueTraining(recipe, 1), "nonmembers")
    whole = ma.derive(tmp_path / "whole", parent, recipe, derivation, device="cpu")
    for part in (1, 2):
        parts = ma.derive(tmp_path / "parts", parent, recipe, derivation, shard=ma.Shard(part, 2), device="cpu")
    assert np.array_equal(stacked(parts, "phi"), stacked(whole, "phi"))
    (whole.path / "models" / "0001" / "weights.safetensors").write_bytes(b"x")
    told: list[int] = []
    ma.derive(whole.path, parent, recipe, derivation, device="cpu", repaired=lambda model, _: told.append(model))
    assert told == [1]
    assert np.array_equal(weights(whole, 1)["0.weight"], weights(parts, 1)["0.weight"])


@pytest.mark.slow
def test_worker_processes_make_the_same_children(parent: Bank, recipe: Any, tmp_path: Path) -> None:
    derivation = ma.Derivation(by.ContinueTraining(recipe, 1), "nonmembers")
    one = ma.derive(tmp_path / "one", parent, recipe, derivation, device="cpu")
    two = ma.derive(tmp_path / "two", parent, recipe, derivation, workers=2, device="cpu")
    assert np.array_equal(stacked(one, "phi"), stacked(two, "phi"))


def test_children_have_children(parent: Bank, recipe: Any, tmp_path: Path) -> None:
    first = ma.derive(tmp_path / "a", parent, recipe, by.Prune(0.3), device="cpu", shadows=2)
    second = ma.derive(tmp_path / "b", first, recipe, by.Quantize(8), device="cpu")
    assert second.fingerprint["derivation.function.bits"] == "8"
    assert second.fingerprint["derivation.parent.function.share"] == "0.3"
    assert (weights(second, 0)["0.weight"] == 0).mean() > 0.1


def test_what_cannot_be_derived_from_is_refused_before_anything_starts(recipe: Any, tmp_path: Path) -> None:
    bare = ma.fill(tmp_path / "bare", recipe, 2, device="cpu", weights=False)
    with pytest.raises(BankError, match="keeps no weights of model 0"):
        ma.derive(tmp_path / "c", bare, recipe, same)
    assert not (tmp_path / "c").exists()
    kept = ma.fill(tmp_path / "kept", recipe, 2, device="cpu")
    with pytest.raises(BankError, match="holds 2 models"):
        ma.derive(tmp_path / "c", kept, recipe, same, shadows=4)
    with pytest.raises(BankError, match="is the parent itself"):
        ma.derive(tmp_path / "kept", kept, recipe, same)
    loop = ma.CallableRecipe(recipe.examples, train=lambda dataset, *, seed, device: None, load=str)
    with pytest.raises(RecipeError, match="without model="):
        from memaudit.recipe.weights import new_network

        new_network(loop, None)
    from sklearn.linear_model import LogisticRegression

    with pytest.raises(RecipeError, match="estimators keeps no weights"):
        ma.derive(tmp_path / "c", kept, ma.EstimatorRecipe(recipe.examples, LogisticRegression()), same)
    with pytest.raises(RecipeError, match="returned NoneType; return the derived network"):
        ma.derive(tmp_path / "n", kept, recipe, lambda model, dataset, *, seed, device: None, device="cpu")
    for wrong in (lambda e, m, s: m[:3], lambda e, m, s: m * 0, lambda e, m, s: m * 0.5):
        with pytest.raises(RecipeError, match="the data function of the derivation"):
            ma.derive(tmp_path / "w", kept, recipe, ma.Derivation(same, wrong), device="cpu")
    with pytest.raises(RecipeError, match="repeats the training"):
        ma.Derivation(by.ResetLayer(recipe, "0"), "nonmembers")
    faster = by.ResetLayer(dataclasses.replace(recipe, optimizer=ma.SGD(lr=0.3)), "0")
    with pytest.raises(RecipeError, match=r"by another recipe \(recipe.optimizer\)"):
        ma.derive(tmp_path / "r", kept, recipe, faster, device="cpu")
    for problem in (lambda: by.Quantize(2.5), lambda: by.ContinueTraining(recipe, 1.5)):  # type: ignore[arg-type]
        with pytest.raises(SettingsError, match="a whole number"):
            problem()


def test_a_function_that_keeps_a_network_between_calls_is_refused(parent: Bank, recipe: Any, tmp_path: Path) -> None:
    """Children that are one network have no members: their audit would find no leak."""
    kept: list[Any] = []

    def first(model: Any, dataset: Any, *, seed: int, device: str) -> Any:
        kept.append(model)
        return copy.deepcopy(kept[0])

    with pytest.raises(RecipeError, match="those of an earlier model in every bit"):
        ma.derive(tmp_path / "c", parent, recipe, first, device="cpu")


def test_a_child_with_other_outputs_is_refused(parent: Bank, recipe: Any, tmp_path: Path) -> None:
    def wider(model: Any, dataset: Any, *, seed: int, device: str) -> Any:
        from torch import nn

        return nn.Linear(12, 11)

    with pytest.raises(RecipeError, match="10 and 11 classes; keep the number of outputs"):
        ma.derive(tmp_path / "c", parent, recipe, wider, device="cpu")


def test_a_data_function_that_draws_is_the_same_again(parent: Bank, recipe: Any, tmp_path: Path) -> None:
    def drawn(examples: Any, members: Any, seed: int) -> Any:
        return members * (np.random.random(len(members)) < 0.5)  # noqa: NPY002

    found = []
    for folder in "ab":
        np.random.seed(5)  # noqa: NPY002
        found.append(ma.derive(tmp_path / folder, parent, recipe, ma.Derivation(same, drawn), shadows=2, device="cpu"))
        np.random.random(3)  # noqa: NPY002
    assert np.array_equal(stacked(found[0], "seen"), stacked(found[1], "seen"))


def test_children_of_other_data_or_other_looks_are_refused_by_name(parent: Bank, recipe: Any, tmp_path: Path) -> None:
    def further(*looks: float) -> ma.Derivation:
        watched = dataclasses.replace(recipe, observe=ma.Observe(looks))
        return ma.Derivation(by.ContinueTraining(watched, 2), "nonmembers")

    pruned = ma.derive(tmp_path / "p", parent, recipe, by.Prune(0.5), device="cpu")
    with pytest.raises(BankError, match="with all of their members as data"):
        ma.holdout_retraining(pruned)
    with pytest.raises(BankError, match="p: model 0 forgets none of its members"):
        ma.unlearning(parent, pruned)
    children = ma.derive(tmp_path / "c", parent, recipe, further(0, 2), shadows=2, device="cpu")
    with pytest.raises(BankError, match="c: each of three models or more"):
        ma.rate_of_forgetting(children)
    ma.derive(tmp_path / "c", parent, recipe, further(1, 2), shadows=4, device="cpu")
    with pytest.raises(BankError, match=r"differ in 'observed\.epochs'"):
        ma.second_split(parent, children)
    ascent = ma.Derivation(by.GradientAscent(recipe), ma.Part("members", 0.1))
    ma.derive(tmp_path / "a", parent, recipe, ascent, shadows=2, device="cpu")
    with pytest.raises(BankError, match="gradient ascent; give ascent=True"):
        ma.unlearning(parent, tmp_path / "a")


def test_a_derived_target_is_audited_against_derived_shadows(recipe: Any, parent: Bank, tmp_path: Path) -> None:
    children = ma.derive(tmp_path / "c", parent, recipe, by.Prune(0.4), device="cpu")
    members = ma.draw_members(recipe, seed=3)
    ma.save_target(ma.train(recipe, members, seed=5, device="cpu"), tmp_path / "m.safetensors", members)
    child = ma.derive_target(tmp_path / "m.safetensors", recipe, by.Prune(0.4), device="cpu")
    ma.save_target(child, tmp_path / "k.safetensors", members)
    with pytest.raises(RecipeError, match="repeats the training; give its seed="):
        ma.derive_target(tmp_path / "m.safetensors", recipe, by.ResetLayer(recipe, "0"), device="cpu")
    done = ma.audit(tmp_path / "k.safetensors", recipe, children, device="cpu", fprs=[0.05])
    assert done.report.provenance["bank.derivation.function"] == "'Prune'"
    assert "derived from trained ones (by Prune on data members)" in done.report.limitations[0]
    assert done.report.results


# The derivations, each against an oracle in numpy.


def test_pruning_removes_the_smallest_weights_of_the_whole_network(recipe: Any, parent: Bank, tmp_path: Path) -> None:
    pruned = ma.derive(tmp_path / "c", parent, recipe, by.Prune(0.37), shadows=2, device="cpu")
    before, after = weights(parent, 1), weights(pruned, 1)
    names = [name for name in before if before[name].ndim >= 2]
    sizes = np.concatenate([np.abs(before[name]).ravel() for name in names])
    cut = np.sort(sizes)[round(0.37 * len(sizes)) - 1]
    for name in names:
        assert np.array_equal(after[name], np.where(np.abs(before[name]) <= cut, 0, before[name]))
    assert np.array_equal(after["0.bias"], before["0.bias"])


def test_quantization_rounds_to_symmetric_levels(recipe: Any, parent: Bank, tmp_path: Path) -> None:
    coarse = ma.derive(tmp_path / "c", parent, recipe, by.Quantize(3), shadows=2, device="cpu")
    for name, values in weights(parent, 0).items():
        if values.ndim < 2:
            continue
        scale = np.abs(values).max() / 3
        found = weights(coarse, 0)[name]
        assert np.allclose(found, np.round(values / scale) * scale, atol=1e-6)
        assert len(np.unique(found)) <= 7


def test_rewinding_repeats_the_training_bit_for_bit(recipe: Any, parent: Bank, tmp_path: Path) -> None:
    import torch

    from memaudit.design import training_seed

    end = ma.derive(tmp_path / "end", parent, recipe, by.ResetLayer(recipe, "0", epoch=40), shadows=2, device="cpu")
    assert end.weights_sha256(0) == parent.weights_sha256(0)
    new = ma.derive(tmp_path / "new", parent, recipe, by.ResetLayer(recipe, "0"), shadows=2, device="cpu")
    with torch.random.fork_rng():
        torch.manual_seed(training_seed(0, 1))
        initial = recipe.model().state_dict()
    assert np.array_equal(weights(new, 1)["0.weight"], initial["0.weight"].numpy())
    assert np.array_equal(weights(new, 1)["2.weight"], weights(parent, 1)["2.weight"])
    again = by.ResetLayer(recipe, "0", retrain=3)
    retrained = ma.derive(tmp_path / "again", parent, recipe, again, shadows=2, device="cpu")
    assert np.array_equal(weights(retrained, 1)["2.weight"], weights(parent, 1)["2.weight"])
    assert not np.array_equal(weights(retrained, 1)["0.weight"], initial["0.weight"].numpy())
    with pytest.raises(RecipeError, match=r"no layer 'O' with weights"):
        ma.derive(tmp_path / "x", parent, recipe, by.ResetLayer(recipe, "O"), shadows=2, device="cpu")


def test_continued_training_and_ascent_move_the_loss_of_what_they_are_given(
    recipe: Any, parent: Bank, tmp_path: Path
) -> None:
    gentle = dataclasses.replace(recipe, optimizer=ma.SGD(lr=0.01))
    part = ma.Part("members", 0.3)
    down = ma.Derivation(by.ContinueTraining(gentle, 3), "nonmembers")
    up = ma.Derivation(by.GradientAscent(dataclasses.replace(recipe, optimizer=ma.SGD(lr=0.3)), 5), part)
    before, members = stacked(parent, "phi")[:2, :, 0], stacked(parent, "members")[:2]
    taught = stacked(ma.derive(tmp_path / "d", parent, recipe, down, shadows=2, device="cpu"), "phi")[..., 0]
    assert (taught - before)[members == 0].mean() > 0.5
    risen = ma.derive(tmp_path / "u", parent, recipe, up, shadows=2, device="cpu")
    seen = stacked(risen, "seen") > 0
    assert (stacked(risen, "phi")[..., 0] - before)[seen].mean() < -0.01


@pytest.mark.parametrize(
    "wrong",
    [lambda: by.Prune(1.0), lambda: by.Quantize(1), lambda: ma.Part("none", 0.5), lambda: ma.Part("members", 0)],  # type: ignore[arg-type]
)
def test_settings_that_make_no_sense_are_refused(wrong: Callable[[], Any]) -> None:
    with pytest.raises(SettingsError):
        wrong()


def test_the_command_line_derives_and_compares(project: Path, command: Command, complaint: Complaint) -> None:
    text = "import memaudit as ma\npruned = ma.Derivation(ma.derivations.Prune(0.6))\n"
    (project / "derivations_of_mine.py").write_text(text, "utf-8")
    done = command("bank", "derive", "children", "--by", "derivations_of_mine.py:pruned", "-q")
    assert done.returncode == 0, done.stderr
    assert "16 models derived from" in done.stdout
    done = command("bank", "compare", "bank", "children", "--fpr", 0.05)
    assert done.returncode == 0, done.stderr
    assert "Memorization" in done.stdout and "TPR of lira-online at a 5% FPR" in done.stdout
    assert "derivation.function.share" in command("bank", "status", "--bank", "children").stdout
    assert "derivation.function: 'Prune' → (none)" in complaint("bank", "fill", "--bank", "children", "-q")
    assert "defines no 'prund'; did you mean 'pruned'?" in complaint(
        "bank", "derive", "x", "--by", "derivations_of_mine.py:prund", "-q"
    )


@pytest.fixture(scope="module")
def stories() -> Iterator[Any]:
    """The recipe of tests/recipes/language.py, trained for two epochs."""
    import sys

    from memaudit.recipe import load_recipe

    path = list(sys.path)
    found = load_recipe(str(RECIPES / "language.py"))
    assert isinstance(found, ma.LanguageModelRecipe)
    yield dataclasses.replace(found, epochs=2, probes=ma.Probes(canaries=4, references=10, records=5, secrets=0))
    sys.path[:] = path
    del sys.modules["language"]


def test_language_models_are_derived_too(stories: Any, tmp_path: Path) -> None:
    bank = ma.fill(tmp_path / "bank", stories, 2, device="cpu")
    unchanged = ma.derive(tmp_path / "same", bank, stories, same, device="cpu")
    assert np.array_equal(stacked(unchanged, "phi"), stacked(bank, "phi"))
    further = ma.Derivation(by.ContinueTraining(stories, 2), "nonmembers")
    children = ma.derive(tmp_path / "further", bank, stories, further, device="cpu")
    seen, moved = stacked(children, "seen") > 0, (stacked(children, "phi") - stacked(bank, "phi"))[..., 0]
    assert np.array_equal(seen, stacked(bank, "members") == 0)
    assert moved[seen].mean() > 0.05


def test_a_derivation_of_adapters_must_leave_the_base_alone(stories: Any, tmp_path: Path) -> None:
    """Only the adapters are stored: a child whose base was pruned could not be loaded again."""
    from peft import LoraConfig

    stories.model().save_pretrained(tmp_path / "base")
    adapter = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    tuned = dataclasses.replace(stories, model=None, base=tmp_path / "base", adapter=adapter, epochs=1)
    bank = ma.fill(tmp_path / "bank", tuned, 2, device="cpu")
    children = ma.derive(tmp_path / "further", bank, tuned, ma.Derivation(by.ContinueTraining(tuned, 1), "members"))
    assert weights(children, 0).keys() == weights(bank, 0).keys()
    assert children.weights_sha256(0) != bank.weights_sha256(0)
    with pytest.raises(RecipeError, match="with its adapters off the model is not the recipe's base"):
        ma.derive(tmp_path / "pruned", bank, tuned, by.Prune(0.5), device="cpu")


def test_an_observed_derivation_is_watched_and_a_repeated_training_is_not(
    recipe: Any, parent: Bank, tmp_path: Path
) -> None:
    watched = dataclasses.replace(recipe, observe=ma.Observe([0, 1, 3]))
    further = ma.Derivation(by.ContinueTraining(watched, 3), "nonmembers")
    children = ma.derive(tmp_path / "c", parent, recipe, further, shadows=2, device="cpu")
    found = children.tensors(0)
    assert found["observed.epochs"].tolist() == [0, 1, 3]
    assert np.array_equal(found["observed.correct"][0], parent.tensors(0)["correct"])
    assert np.array_equal(found["observed.correct"][-1], found["correct"])
    back = ma.derive(tmp_path / "r", parent, recipe, by.ResetLayer(watched, "0", 5), shadows=2, device="cpu")
    assert not [name for name in back.tensors(0) if name.startswith("observed")]


def test_children_are_trained_on_the_labels_that_their_parent_was_given(recipe: Any, tmp_path: Path) -> None:
    noisy = ma.fill(tmp_path / "bank", recipe, 2, design=ma.Subsets(label_noise=0.5), device="cpu")
    handed: list[Any] = []

    def look(model: Any, dataset: Any, *, seed: int, device: str) -> Any:
        handed.append(dataset.y)
        return model

    children = ma.derive(tmp_path / "c", noisy, recipe, look, device="cpu")
    for model in (0, 1):
        given, members = noisy.tensors(model)["given"], noisy.tensors(model)["members"] > 0
        assert any(np.array_equal(given[members], y) for y in handed)
    assert np.array_equal(stacked(children, "given"), stacked(noisy, "given"))
