"""Callbacks: who the members are, what is seen live, the audit at the end, and a training that nobody disturbed."""

import logging
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from loading import RECIPES, unregistered
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, SubsetRandomSampler, WeightedRandomSampler

import memaudit as ma
from memaudit.bank import Bank
from memaudit.callbacks.seen import look, read_by
from memaudit.callbacks.watch import Watch, named
from memaudit.errors import BankError, EvidenceError
from memaudit.recipe import load_recipe, load_target, member_counts, read_members
from memaudit.recipe.manifest import manifest_of, read_manifest
from memaudit.recipe.population import TextPopulation
from memaudit.signals.undisturbed import undisturbed
from memaudit.training import population
from memaudit.types import Rung

pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*pin_memory.*:UserWarning")

Array = np.ndarray


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost more than they give with models of this size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def own() -> Iterator[ModuleType]:
    """The recipe whose `train()` is a Trainer, and the function that makes one."""
    path = list(sys.path)
    load_recipe(str(RECIPES / "with_trainer.py"))
    yield sys.modules["with_trainer"]
    sys.path[:] = path
    del sys.modules["with_trainer"]


@pytest.fixture(scope="module")
def bank(own: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return ma.fill(tmp_path_factory.mktemp("callbacks") / "bank", own.recipe, 8, device="cpu")


@pytest.fixture(scope="module")
def members(own: ModuleType) -> Array:
    return np.asarray(ma.draw_members(own.recipe, seed=3))


@pytest.fixture
def rows(own: ModuleType, members: Array) -> list[Any]:
    """The training set, as pairs."""
    examples = own.examples()
    return [examples[row] for row in np.flatnonzero(members)]


@pytest.fixture
def ids(own: ModuleType, members: Array) -> list[str]:
    """The ids of the training set."""
    return [str(name) for name in own.examples().ids[members == 1]]


def brute_auc(inside: Array, outside: Array) -> float:
    """The area under the curve by its definition, pair by pair."""
    return float(np.mean([(a > b) + 0.5 * (a == b) for a in inside for b in outside]))


# ---- the Trainer of transformers


def test_a_trainer_is_observed_saved_and_audited(
    own: ModuleType, bank: Bank, members: Array, rows: list[Any], tmp_path: Path
) -> None:
    from memaudit.callbacks.transformers import MemauditCallback

    audits: list[ma.Audit] = []
    wanted = {"bank": bank, "fprs": [0.05], "device": "cpu"}
    callback = MemauditCallback(own.recipe, tmp_path / "model.pt", audit=wanted, then=audits.append)
    trainer = own.trainer(rows, 1, [callback])
    callback.log = trainer.log
    trainer.train()
    watch = callback.watch
    assert watch.error is None
    assert watch.audit is not None
    assert audits == [watch.audit]
    assert watch.audit.report.results
    passed = {control.code: control.passed for control in watch.audit.report.controls}
    assert passed["CTL001"], "shadows are trained by the same Trainer"
    assert passed["CTL008"], "the members are what the trainer read"

    examples = own.examples()
    np.testing.assert_array_equal(read_members(tmp_path / "model.pt.members.csv", examples), members)
    assert read_manifest(watch.manifest) == manifest_of(examples, members.astype(np.uint8))
    loaded = load_target(tmp_path / "model.pt", own.recipe)
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)

    logged = [entry for entry in trainer.state.log_history if "memaudit/auc" in entry]
    assert [entry["epoch"] for entry in logged] == [found.epoch for found in watch.observations] == list(range(1, 13))
    assert {name: logged[-1][name] for name in named(watch.observations[-1])} == named(watch.observations[-1])
    first, last = watch.observations[0], watch.observations[-1]
    assert last.auc_low > 0.6 > first.auc_low, "random labels are learned by heart, and that is seen while it happens"


def test_an_observation_is_what_the_model_says(
    own: ModuleType, rows: list[Any], members: Array, tmp_path: Path
) -> None:
    watch = Watch(own.recipe, tmp_path / "model.pt", sample=1000)
    watch.begin([{"x": x, "labels": y} for x, y in rows])
    torch.manual_seed(0)
    network = own.Net()
    found = watch.observe(network, 1)
    assert found is not None
    examples = own.examples()
    with torch.no_grad():
        logits = network.eval()(torch.from_numpy(examples.x))["logits"].double()
    losses = torch.nn.functional.cross_entropy(logits, torch.as_tensor(examples.y), reduction="none").numpy()
    inside, outside = losses[members == 1], losses[members == 0]
    np.testing.assert_allclose([found.loss_members, found.loss_nonmembers], [inside.mean(), outside.mean()], rtol=1e-5)
    np.testing.assert_allclose(found.auc, brute_auc(-inside, -outside), atol=1e-3)  # φ is float32
    assert 0 <= found.auc_low <= found.auc <= found.auc_high <= 1


def test_the_sample_is_the_same_in_every_epoch_and_of_the_size_asked_for(
    own: ModuleType, rows: list[Any], ids: list[str], members: Array, tmp_path: Path
) -> None:
    watch = Watch(own.recipe, tmp_path / "model.pt", ids, sample=7, check=False)
    watch.begin(None)
    inside, outside = watch._places
    assert (len(inside), len(outside)) == (7, 7)
    assert members[inside].all()
    assert not members[outside].any()
    network = own.Net()
    first, second = watch.observe(network, 1), watch.observe(network, 2)
    assert first is not None and second is not None
    assert asdict(first) | {"epoch": 2.0} == asdict(second)


def test_a_watched_training_is_the_training(own: ModuleType, rows: list[Any], tmp_path: Path) -> None:
    """Dropout and the order of batches draw random numbers: one draw more, and the weights would differ."""
    from memaudit.callbacks.transformers import MemauditCallback

    def trained(callbacks: list[Any]) -> dict[str, torch.Tensor]:
        trainer = own.trainer(rows, 1, callbacks, epochs=3)
        trainer.train()
        return trainer.model.state_dict()

    alone = trained([])
    callback = MemauditCallback(own.recipe, tmp_path / "model.pt")
    watched = trained([callback])
    assert len(callback.watch.observations) == 3
    assert all(torch.equal(alone[name], watched[name]) for name in alone)


def test_modes_and_generators_are_restored(own: ModuleType, rows: list[Any], ids: list[str], tmp_path: Path) -> None:
    watch = Watch(own.recipe, tmp_path / "model.pt", ids, check=False)
    watch.begin(None)
    network = own.Net().train()
    network.layers[1].eval()  # as of a part that is frozen
    modes = [module.training for module in network.modules()]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    expected = random.random(), np.random.rand(), float(torch.rand(()))  # noqa: NPY002
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    with undisturbed():
        random.random(), np.random.rand(), torch.rand(3)  # noqa: NPY002
    assert watch.observe(network, 1) is not None
    assert [module.training for module in network.modules()] == modes
    assert (random.random(), np.random.rand(), float(torch.rand(()))) == expected  # noqa: NPY002


def test_a_model_is_audited_without_a_bank(own: ModuleType, rows: list[Any], tmp_path: Path) -> None:
    from memaudit.callbacks.transformers import MemauditCallback

    wanted = {"fprs": [0.05], "device": "cpu", "ledger": tmp_path / "ledger.jsonl"}
    callback = MemauditCallback(own.recipe, tmp_path / "model.pt", audit=wanted)
    own.trainer(rows, 1, [callback]).train()
    assert callback.watch.error is None
    assert callback.watch.audit is not None
    report = callback.watch.audit.report
    assert report.rung is Rung.TARGET
    assert {result.finding.attack for result in report.results} >= {"global-threshold"}
    assert {control.code: control.passed for control in report.controls}["CTL008"]


# ---- other data than the recipe's


def test_a_row_that_is_no_example_is_refused_before_the_training(
    own: ModuleType, rows: list[Any], tmp_path: Path
) -> None:
    from memaudit.callbacks.transformers import MemauditCallback

    stranger = (np.zeros(8, np.float32), 1)
    trainer = own.trainer([*rows, stranger], 1, [MemauditCallback(own.recipe, tmp_path / "model.pt")])
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    with pytest.raises(EvidenceError, match=f"1 of the {len(rows) + 1} rows that the trainer reads are no examples"):
        trainer.train()
    assert all(torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())


@pytest.mark.parametrize(("listed", "why"), [(slice(1, None), "1 that are not listed"), (slice(None), None)])
def test_listed_members_are_compared_with_the_rows(
    own: ModuleType, rows: list[Any], ids: list[str], tmp_path: Path, listed: slice, why: str | None
) -> None:
    watch = Watch(own.recipe, tmp_path / "model.pt", ids[listed])
    if why is None:
        watch.begin(rows)
        return
    with pytest.raises(EvidenceError, match=why):
        watch.begin(rows)


def test_a_listed_member_that_is_not_read_is_refused(
    own: ModuleType, rows: list[Any], ids: list[str], tmp_path: Path
) -> None:
    watch = Watch(own.recipe, tmp_path / "model.pt", ids)
    with pytest.raises(EvidenceError, match="does not read 2 of those listed"):
        watch.begin(rows[2:])


def test_random_augmentation_needs_listed_members_and_says_so(
    own: ModuleType, rows: list[Any], ids: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Noisy(list[Any]):
        def __getitem__(self, place: Any) -> Any:
            x, y = super().__getitem__(place)
            return x + np.random.default_rng().normal(size=8).astype(np.float32), y

    with pytest.raises(EvidenceError, match=r"The members are not known: a row differs when it is read twice"):
        Watch(own.recipe, tmp_path / "model.pt").begin(Noisy(rows))
    watch = Watch(own.recipe, tmp_path / "model.pt", ids)
    watch.begin(Noisy(rows))
    assert "not compared with the trainer's data: a row differs" in caplog.text
    assert not watch.manifest.exists(), "nothing is known about what was read"
    with pytest.raises(EvidenceError, match=f"reads {len(rows)} rows, but {len(rows) - 1} members are listed"):
        Watch(own.recipe, tmp_path / "model.pt", ids[1:]).begin(Noisy(rows))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda rows: iter(rows), "a stream"),
        (lambda rows: [(x[None] * 2 - 1, y) for x, y in rows], "no row has the content of an example"),
        (lambda rows: [{"a": x, "b": x, "labels": y} for x, y in rows], "no inputs that can be read"),
        (lambda rows: [{"x": x} for x, _ in rows], "no inputs that can be read"),
    ],
)
def test_what_cannot_be_compared_is_said(
    own: ModuleType, rows: list[Any], ids: list[str], change: Any, why: str
) -> None:
    found = look(change(rows), own.examples())
    assert found.ids is None
    assert why in found.why


def test_types_and_containers_do_not_matter_and_times_are_counted(
    own: ModuleType, rows: list[Any], ids: list[str]
) -> None:
    forms = [
        rows,
        [(torch.from_numpy(x).double(), torch.tensor(y)) for x, y in rows],
        [{"pixel_values": x.tolist(), "label": y} for x, y in rows],
    ]
    found = [look(form, own.examples()) for form in forms]
    assert {frozenset(seen.ids or ()) for seen in found} == {frozenset(ids)}
    assert len({seen.sha256 for seen in found}) == 1
    assert look(rows[::-1], own.examples()).sha256 == found[0].sha256
    thrice = look([*rows, rows[0], rows[0]], own.examples())
    assert member_counts(list(thrice.ids or ()), own.examples()).max() == 3
    assert thrice.sha256 != found[0].sha256


def test_copies_with_one_row_in_the_data_are_one_member() -> None:
    x = np.eye(6, dtype=np.float32)[[0, 0, 1, 2, 3, 4]]
    examples = ma.Examples(x, [0, 0, 1, 0, 1, 0], list("abcdef"))
    assert look([(x[0], 0), (x[2], 1)], examples).ids == ("a", "c")
    assert look([(x[0], 0)] * 3 + [(x[2], 1)], examples).ids == ("a", "b", "c", "a")


NUMBERS = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
CLASSES = np.arange(40) % 2
ROWS: dict[str, tuple[ma.Examples, Any]] = {
    "several labels": (
        ma.Examples(NUMBERS, np.stack([CLASSES, np.arange(40) // 20], axis=1), task="multilabel"),
        lambda x, y: {"x": torch.tensor(x), "labels": torch.tensor(y).float()},
    ),
    "a number": (
        ma.Examples(NUMBERS, NUMBERS[:, 0] + 0.1, task="regression"),
        lambda x, y: (x, torch.tensor(y, dtype=torch.float32)),
    ),
    "named arrays": (
        ma.Examples({"a": NUMBERS, "b": NUMBERS[:, :2]}, CLASSES), lambda x, y: {"id": 7, **x, "labels": y}
    ),
    "arrays by position": (ma.Examples((NUMBERS, NUMBERS[:, :2]), CLASSES), lambda x, y: (*x, y)),
    "texts": (ma.Examples([f"text {n}" for n in range(40)], CLASSES), lambda x, y: {"text": x, "label": y}),
    "names of classes": (ma.Examples(NUMBERS, np.array(["no", "yes"])[CLASSES]), lambda x, y: (x, ["no", "yes"][y])),
    "arrays of several sizes": (
        ma.Examples([NUMBERS[n, : 2 + n % 3] for n in range(40)], CLASSES), lambda x, y: (torch.tensor(x), y)
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ROWS)
def test_rows_of_every_kind_of_example_are_found(kind: str) -> None:
    examples, change = ROWS[kind]
    found = look([change(*examples[row]) for row in range(0, 40, 3)], examples)
    assert found.why == ""
    assert set(found.ids or ()) == set(examples.ids[::3].tolist())
    x, y = examples[0]
    other = 1 - np.asarray(y) if examples.task != "regression" else y + 1
    with pytest.raises(EvidenceError, match="1 of the 2 rows"):
        look([change(x, y), change(x, other if np.ndim(other) else type(y)(other))], examples)


def test_the_loss_of_a_regression_is_its_error(tmp_path: Path) -> None:
    examples = ROWS["a number"][0]
    recipe = ma.CallableRecipe(lambda: examples, lambda *_, **__: None, model=lambda: torch.nn.Linear(5, 1))
    watch = Watch(recipe, tmp_path / "model.pt", examples.ids[:20].tolist())
    watch.begin([examples[row] for row in range(20)])
    network = torch.nn.Linear(5, 1)
    found = watch.observe(network, 1)
    assert found is not None
    with torch.no_grad():
        error = np.abs(network(torch.from_numpy(NUMBERS))[:, 0].numpy() - examples.y) / examples.y.std()
    np.testing.assert_allclose(
        [found.loss_members, found.loss_nonmembers], [error[:20].mean(), error[20:].mean()], 1e-5
    )


def test_the_output_that_the_recipe_names_is_observed(tmp_path: Path) -> None:
    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(5, 2)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x * 2, self.layer(x)

    examples = ma.Examples(NUMBERS, CLASSES)
    recipe = ma.CallableRecipe(lambda: examples, lambda *_, **__: None, model=Two, output=1)
    watch = Watch(recipe, tmp_path / "model.pt", examples.ids[:20].tolist(), check=False)
    watch.begin(None)
    network = Two()
    found = watch.observe(network, 1)
    assert found is not None
    with torch.no_grad():
        losses = torch.nn.functional.cross_entropy(
            network.layer(torch.from_numpy(NUMBERS)), torch.as_tensor(CLASSES), reduction="none"
        ).numpy()
    np.testing.assert_allclose(
        [found.loss_members, found.loss_nonmembers], [losses[:20].mean(), losses[20:].mean()], 1e-4
    )


# ---- rows that the trainer does not read


def test_a_sampler_of_some_rows_reads_these_alone(own: ModuleType, ids: list[str], rows: list[Any]) -> None:
    chosen = [5, 3, 11]
    loader = DataLoader(rows, batch_size=2, sampler=SubsetRandomSampler(chosen))  # type: ignore[arg-type, var-annotated]
    assert set(look(read_by(loader)[0], own.examples()).ids or ()) == {ids[row] for row in chosen}


@pytest.mark.parametrize(
    ("sampler", "why"),
    [
        (lambda rows: RandomSampler(rows), ""),
        (lambda rows: DistributedSampler(rows, num_replicas=2, rank=0), ""),
        (lambda rows: RandomSampler(rows, num_samples=4), "draws 4 of"),
        (lambda rows: RandomSampler(rows, replacement=True), "with replacement"),
        (lambda rows: WeightedRandomSampler([1.0] * len(rows), len(rows)), "with replacement"),
    ],
)
def test_a_sampler_that_may_leave_rows_out_needs_listed_members(
    own: ModuleType, rows: list[Any], tmp_path: Path, sampler: Any, why: str
) -> None:
    loader: DataLoader[Any] = DataLoader(rows, batch_size=2, sampler=sampler(rows))  # type: ignore[arg-type]
    dataset, unknown = read_by(loader)
    assert dataset is rows
    assert why in unknown
    assert bool(why) is bool(unknown)
    watch = Watch(own.recipe, tmp_path / "model.pt")
    if why:
        with pytest.raises(EvidenceError, match=f"The members are not known.*{why}"):
            watch.begin(dataset, unknown)
    else:
        watch.begin(dataset, unknown)


@pytest.mark.parametrize(("steps", "whole"), [(2, False), (100, True)])
def test_a_training_of_less_than_an_epoch_is_not_audited(
    own: ModuleType, rows: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture, steps: int, whole: bool
) -> None:
    from memaudit.callbacks.transformers import MemauditCallback

    callback = MemauditCallback(own.recipe, tmp_path / "model.pt", sample=0)
    trainer = own.trainer(rows, 1, [callback], epochs=1)
    trainer.args.max_steps = steps
    trainer.args.gradient_accumulation_steps = 2
    trainer.train()
    assert (callback.watch.error is None) is whole
    assert (tmp_path / "model.pt").exists() is whole
    if not whole:
        assert "some members were never read" in caplog.text


# ---- what fails at the end


def test_a_failed_audit_does_not_break_the_training(
    own: ModuleType, rows: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from memaudit.callbacks.transformers import MemauditCallback

    def run(strict: bool) -> MemauditCallback:
        wanted = {"bank": tmp_path / "nowhere"}
        callback = MemauditCallback(own.recipe, tmp_path / "model.pt", audit=wanted, sample=0, strict=strict)
        own.trainer(rows, 1, [callback], epochs=1).train()
        return callback

    watch = run(strict=False).watch
    assert isinstance(watch.error, BankError)
    assert watch.audit is None
    assert "was not audited: BankError: there is no bank" in caplog.text
    assert (tmp_path / "model.pt").is_file(), "the model is saved before it is audited"
    with pytest.raises(BankError):
        run(strict=True)


def test_a_model_that_cannot_be_observed_is_trained_on(
    own: ModuleType, rows: list[Any], ids: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch = Watch(own.recipe, tmp_path / "model.pt", ids, check=False)
    watch.begin(None)
    with caplog.at_level(logging.WARNING):
        assert watch.observe(torch.nn.Linear(3, 4), 2) is None
    assert "could not be observed after epoch 2" in caplog.text
    assert watch.observations == []


def test_sharded_weights_are_left_alone(
    own: ModuleType, rows: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from memaudit.callbacks.transformers import MemauditCallback

    callback = MemauditCallback(own.recipe, tmp_path / "model.pt")
    trainer = own.trainer(rows, 1, [callback], epochs=1)
    trainer.args.deepspeed = "ds.json"
    callback.on_train_begin(
        trainer.args, trainer.state, trainer.control, train_dataloader=trainer.get_train_dataloader()
    )
    callback.on_epoch_end(trainer.args, trainer.state, trainer.control, model=trainer.model)
    callback.on_train_end(trainer.args, trainer.state, trainer.control, model=trainer.model)
    assert "weights are sharded" in caplog.text
    assert callback.watch.observations == []
    assert not (tmp_path / "model.pt").exists()


# ---- Lightning


def test_lightning_is_observed_saved_and_audited(project: Path, tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    import lightning

    from memaudit.callbacks.lightning import MemauditCallback

    recipe = load_recipe(str(project / "recipe.py"))
    assert isinstance(recipe, ma.ClassifierRecipe)
    examples, network = recipe.examples(), recipe.model()
    members = np.asarray(ma.draw_members(recipe, seed=3))

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network

        def training_step(self, batch: Any, number: int) -> torch.Tensor:
            x, y = batch
            return torch.nn.functional.cross_entropy(self.net(x), y)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)

    wanted = {"bank": project / "bank", "fprs": [0.05], "device": "cpu", "ledger": tmp_path / "ledger.jsonl"}
    callback = MemauditCallback(recipe, tmp_path / "model.pt", network=lambda _: network, audit=wanted)
    loader = torch.utils.data.DataLoader(examples.take(np.flatnonzero(members)), batch_size=25, shuffle=True)  # type: ignore[arg-type, var-annotated]
    trainer = lightning.Trainer(
        max_epochs=4, accelerator="cpu", callbacks=[callback], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    module = Module()
    trainer.fit(module, loader)
    watch = callback.watch
    assert watch.error is None
    assert watch.audit is not None
    assert {control.code: control.passed for control in watch.audit.report.controls}["CTL008"]
    assert [found.epoch for found in watch.observations] == [1, 2, 3, 4]
    np.testing.assert_allclose(trainer.callback_metrics["memaudit/auc"], watch.observations[-1].auc, rtol=1e-6)
    np.testing.assert_array_equal(read_members(tmp_path / "model.pt.members.csv", examples), members)
    saved = load_target(tmp_path / "model.pt", recipe).state_dict()
    assert all(torch.equal(saved[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("limit", [{"limit_train_batches": 2}, {"max_steps": 2}, {}])
def test_lightning_with_some_of_its_batches_is_not_audited(
    project: Path, tmp_path: Path, limit: dict[str, Any]
) -> None:
    pytest.importorskip("lightning")
    import lightning

    from memaudit.callbacks.lightning import MemauditCallback

    recipe = load_recipe(str(project / "recipe.py"))
    assert isinstance(recipe, ma.ClassifierRecipe)
    examples, network = recipe.examples(), recipe.model()
    members = np.asarray(ma.draw_members(recipe, seed=3))

    class Module(lightning.LightningModule):
        """With two optimizers, which are stepped by hand."""

        def __init__(self) -> None:
            super().__init__()
            self.net = network
            self.automatic_optimization = False

        def training_step(self, batch: Any, number: int) -> None:
            x, y = batch
            optimizers = self.optimizers()
            for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
                optimizer.zero_grad()
            self.manual_backward(torch.nn.functional.cross_entropy(self.net(x), y))
            for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
                optimizer.step()

        def configure_optimizers(self) -> Any:
            parameters = list(self.parameters())
            return [torch.optim.SGD(parameters[:1], 0.1), torch.optim.SGD(parameters[1:], 0.1)]

    callback = MemauditCallback(recipe, tmp_path / "model.pt", network=lambda _: network, sample=10)
    loader = DataLoader(examples.take(np.flatnonzero(members)), batch_size=25, shuffle=True)  # type: ignore[arg-type, var-annotated]
    limits: Any = {"max_epochs": 2, **limit}
    trainer = lightning.Trainer(
        accelerator="cpu", callbacks=[callback], logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **limits,
    )  # fmt: skip
    if "limit_train_batches" in limit:
        with pytest.raises(EvidenceError, match=r"reads 2 of [0-9]+ batches"):
            trainer.fit(Module(), loader)
        return
    trainer.fit(Module(), loader)
    assert ("some members were never read" in str(callback.watch.error)) is ("max_steps" in limit)
    assert (tmp_path / "model.pt").exists() is not ("max_steps" in limit)


# ---- TRL


@pytest.fixture(scope="module")
def language() -> ModuleType:
    found: ModuleType = unregistered(RECIPES / "language.py")
    return found


def _sft(language: ModuleType, texts: list[Any], folder: Path, callback: Any, **options: Any) -> Any:
    """TRL's trainer of the tiny language model on some texts."""
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    arguments = trl.SFTConfig(
        str(folder), num_train_epochs=2, per_device_train_batch_size=8, learning_rate=0.01, use_cpu=True, max_length=96,
        save_strategy="no", logging_strategy="no", report_to=[], disable_tqdm=True, **options,
    )  # fmt: skip
    data = datasets.Dataset.from_dict({"text": texts})
    return trl.SFTTrainer(
        language.model(), arguments, train_dataset=data, processing_class=language.tokenizer(), callbacks=[callback]
    )


@pytest.mark.parametrize("packing", [False, True])
def test_sft_of_trl_is_observed_and_saved(language: ModuleType, tmp_path: Path, packing: bool) -> None:
    """Its rows have an EOS and no BOS, and may hold several texts: they are the recipe's documents all the same."""
    from memaudit.callbacks.transformers import MemauditCallback

    examples = population(language.recipe)
    assert isinstance(examples, TextPopulation)
    members = ma.draw_members(language.recipe, seed=3)
    assert members[len(examples) :].max() > 1, "a canary that is planted several times"
    callback = MemauditCallback(language.recipe, tmp_path / "model", sample=20)
    trainer = _sft(language, examples.texts(members), tmp_path / "out", callback, packing=packing)
    callback.log = trainer.log
    trainer.train()
    watch = callback.watch
    assert watch.error is None
    assert watch.seen is not None
    assert watch.seen.why == ""
    np.testing.assert_array_equal(read_members(tmp_path / "model.members.csv", examples), members)
    assert [found.epoch for found in watch.observations] == [1, 2]
    assert [entry["memaudit/auc"] for entry in trainer.state.log_history if "memaudit/auc" in entry] == [
        found.auc for found in watch.observations
    ]
    load_target(tmp_path / "model", language.recipe, examples)


def test_a_text_that_is_no_document_is_refused(language: ModuleType, tmp_path: Path) -> None:
    from memaudit.callbacks.transformers import MemauditCallback

    examples = population(language.recipe)
    assert isinstance(examples, TextPopulation)
    texts = [*examples.texts(ma.draw_members(language.recipe, seed=3)), "amber basil cedar"]
    trainer = _sft(language, texts, tmp_path, MemauditCallback(language.recipe, tmp_path / "model"))
    with pytest.raises(EvidenceError, match=r"1 of the .* rows that the trainer reads are no examples"):
        trainer.train()
