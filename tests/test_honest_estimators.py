"""Models that users bring: what looks like a fault and is none is audited, what looks sound and is none is refused."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from torch import nn

import memaudit as ma
from memaudit.auditing.target import open_target
from memaudit.errors import BankError, EvidenceError, ModelError, RecipeError
from memaudit.recipe import EstimatorRecipe, Examples
from memaudit.signals import evaluate
from memaudit.signals.sense import require_sense
from memaudit.types import Control, Report

ROWS = 120
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 4)).astype(np.float32)
Y = np.where(RNG.random(ROWS) < 0.6, X[:, :3].argmax(axis=1), RNG.integers(0, 3, ROWS))
SEPARATE = X + np.where(X[:, :1] > 0, 3, -3).astype(np.float32)


def people() -> Examples:
    return Examples(X, Y)


def contradicted() -> Examples:
    """A third of the rows are copies of others, with another label."""
    return Examples(np.concatenate([X[:80], X[:40]]), np.concatenate([Y[:80], (Y[:40] + 1) % 3]))


def apart() -> Examples:
    return Examples(SEPARATE, (X[:, 0] > 0).astype(int))


def audited(tmp_path: Path, recipe: Any, suffix: str = ".skops") -> Report:
    members = ma.draw_members(recipe, seed=3)
    model = tmp_path / f"model{suffix}"
    ma.save_target(ma.train(recipe, members, seed=1, device="cpu"), model, members)
    bank = ma.fill(tmp_path / "bank", recipe, 6, device="cpu")
    return ma.audit(model, recipe, bank, fprs=(0.1,), attacks=("lira-online",), device="cpu").report


def control(report: Report, code: str) -> Control:
    return next(control for control in report.controls if control.code == code)


def memorization(report: Report) -> float:
    (value,) = (r.finding.estimate.value for r in report.results if r.finding.code == "MEM001")
    return value


def test_models_that_agree_but_for_rounding_look_alike(tmp_path: Path) -> None:
    """Trees that learn all rows by heart have one mean loss on members, whichever these are."""
    report = audited(tmp_path, EstimatorRecipe(contradicted, DecisionTreeClassifier()))
    assert control(report, "CTL001").passed
    assert memorization(report) > 0.3


def test_a_model_that_is_certain_and_right_everywhere_memorizes_nothing(tmp_path: Path) -> None:
    report = audited(tmp_path, EstimatorRecipe(apart, DecisionTreeClassifier()))
    assert memorization(report) == 0


def test_a_stacked_classifier_has_a_last_step_by_default(tmp_path: Path) -> None:
    stacked = StackingClassifier([("tree", DecisionTreeClassifier(max_depth=2)), ("bayes", GaussianNB())], cv=2)
    recipe = EstimatorRecipe(people, make_pipeline(StandardScaler(), stacked))
    ma.fill(tmp_path / "bank", recipe, 2, device="cpu")
    assert ma.Bank.open(tmp_path / "bank").models() == [0, 1]


def test_an_estimator_that_only_votes_is_refused_with_the_way_out() -> None:
    with pytest.raises(RecipeError, match=r'(?s)has neither .*voting="soft"'):
        EstimatorRecipe(people, VotingClassifier([("tree", DecisionTreeClassifier()), ("bayes", GaussianNB())]))


def test_a_boosted_forest_is_loaded_from_its_own_format(tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    recipe = EstimatorRecipe(people, xgboost.XGBRFClassifier(n_estimators=3, n_jobs=1))
    assert control(audited(tmp_path, recipe, ".json"), "CTL001").passed


class Turned(nn.Module):
    """Returns the losses of all classes: smaller for a likelier one."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -self.body(x).log_softmax(dim=1)


def least_loss(dataset: Examples, *, seed: int, device: str) -> nn.Module:
    network = Turned()
    optimizer = torch.optim.Adam(network.parameters(), 0.1)
    for _ in range(20):
        optimizer.zero_grad()
        losses = network(torch.as_tensor(dataset.x))[torch.arange(len(dataset)), torch.as_tensor(dataset.y)]
        losses.mean().backward()
        optimizer.step()
    return network


def test_outputs_that_are_smaller_for_a_likelier_class_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"shadow model \d: the model.* nor distances"):
        ma.fill(tmp_path / "bank", ma.CallableRecipe(apart, least_loss, model=Turned), 2, device="cpu")
    assert ma.Bank.open(tmp_path / "bank").models() == []


@pytest.mark.parametrize(("hits", "fine"), [(0, False), (2, False), (20, True), (40, True)])
def test_a_poor_model_is_no_turned_one(hits: int, fine: bool) -> None:
    """Of 100 examples that were trained on, 25 are of the rarest class; the others are no evidence."""
    y, counts = np.repeat([0, 1, 7], [25, 35, 60]), np.repeat([1, 0], [100, 20]).astype(np.uint8)
    signals, examples = {"correct": np.arange(120) < hits}, Examples(np.arange(120.0), y)
    if fine:
        require_sense(signals, counts, examples)
    else:
        with pytest.raises(ModelError, match=f"right about {hits} of the 100 examples .* right for 25"):
            require_sense(signals, counts, examples)


class Mixture(nn.Module):
    """Ends in a matrix product, and still returns probabilities: of an expert's softmax, as gates weigh them."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(4, 2), nn.Linear(4, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gates, opinions = self.gate(x).softmax(dim=1), self.experts(x).reshape(-1, 2, 3).softmax(dim=2)
        return torch.bmm(gates[:, None], opinions)[:, 0]


def test_a_mixture_of_softmaxes_is_no_logit() -> None:
    torch.manual_seed(0)
    with pytest.raises(ModelError, match="probabilities, not logits"):
        evaluate(Mixture(), people())
    assert evaluate(Mixture(), people(), outputs="probabilities").read_as == "probabilities"


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.ma.masked_array(X, X > 2), "masked in places"),
        (np.zeros((ROWS, 2)), "only 1 different ones"),
    ],
)
def test_inputs_that_would_become_others_are_refused(x: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        Examples(x, Y)


def test_held_out_rows_are_not_called_copies_where_groups_are_few(tmp_path: Path) -> None:
    """Ten of twelve groups are members, and both held-out ones are wholly held out."""
    recipe = EstimatorRecipe(lambda: Examples(X, Y, groups=np.arange(ROWS) // 10), LogisticRegression())
    members = np.arange(ROWS) < 100
    ma.save_target(ma.train(recipe, members, device="cpu"), tmp_path / "m.skops", members)
    with pytest.raises(EvidenceError, match="there are 2 non-members among the 12 examples") as caught:
        open_target(tmp_path / "m.skops", recipe, device="cpu")
    assert "copies" not in str(caught.value)


KEPT = GaussianNB()


def goes_on(dataset: Examples, *, seed: int, device: str) -> GaussianNB:
    return KEPT.partial_fit(dataset.x, dataset.y, classes=[0, 1, 2])


def test_a_model_that_goes_on_from_anothers_training_is_refused(tmp_path: Path) -> None:
    recipe = ma.CallableRecipe(people, goes_on, load=str)
    with pytest.raises(RecipeError, match="goes on from its earlier training"):
        ma.fill(tmp_path / "bank", recipe, 4, device="cpu")


def afresh(dataset: Examples, *, seed: int, device: str) -> GaussianNB:
    return KEPT.fit(dataset.x, dataset.y)


def test_one_object_may_be_fitted_afresh_for_every_model(tmp_path: Path) -> None:
    bank = ma.fill(tmp_path / "bank", ma.CallableRecipe(people, afresh, load=str), 4, device="cpu")
    assert bank.models() == [0, 1, 2, 3]


def unstable() -> Examples:
    """Rows in another order at every call; ids are places."""
    order = np.random.default_rng().permutation(ROWS)
    return Examples(X[order], Y[order], range(ROWS))


def test_an_unseeded_order_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="in another order, when it was called a second time"):
        ma.fill(tmp_path / "bank", EstimatorRecipe(unstable, GaussianNB()), 4, device="cpu")
    assert ma.Bank.open(tmp_path / "bank").models() == []


def _trained(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    network = nn.Linear(4, 3)
    optimizer = torch.optim.Adam(network.parameters(), 0.05)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(torch.as_tensor(X)), torch.as_tensor(Y)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network


def test_a_bank_of_copies_of_one_network_is_refused(tmp_path: Path) -> None:
    """A train() with a cache: every model is the same, no attack finds anything, and any limit would be kept."""
    kept = _trained(0)
    recipe = ma.CallableRecipe(
        people, train=lambda dataset, *, seed, device: copy.deepcopy(kept), model=lambda: nn.Linear(4, 3)
    )
    bank = ma.fill(tmp_path / "bank", recipe, 6)
    members = ma.draw_members(recipe, seed=1)
    ma.save_target(_trained(1), tmp_path / "model.pt", members)
    with pytest.raises(BankError, match=r"all shadow models in .* give the same outputs"):
        ma.audit(tmp_path / "model.pt", recipe, bank)
