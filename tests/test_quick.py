"""`memaudit.quick`: what it takes, what it refuses, and what it says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from torch.utils.data import DataLoader, TensorDataset

import memaudit as ma
from memaudit.errors import MemauditError
from memaudit.policy import exit_code
from memaudit.policy.consistency import contradictions
from memaudit.reports import load
from memaudit.types import Limit, Report, Rung, Verdict

Array = np.ndarray
Side = tuple[Array, Array]


def data(n: int = 600, seed: int = 0) -> tuple[Side, Side]:
    """Members and non-members of one source: two classes, labels with much noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5)).astype(np.float32)
    y = (x[:, 0] + 2 * rng.normal(size=n) > 0).astype(np.int64)
    return (x[: n // 2], y[: n // 2]), (x[n // 2 :], y[n // 2 :])


class ByHeart(torch.nn.Module):
    """Knows the members by heart, and nothing else: a larger margin for what is near one of them."""

    def __init__(self, x: Array, y: Array):
        super().__init__()
        self.x = torch.nn.Parameter(torch.tensor(x))
        self.register_buffer("side", torch.tensor(2.0 * y - 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        distance = torch.cdist(x, self.x)
        nearest = distance.argmin(dim=1)
        margin = self.side[nearest] * torch.exp(-distance.gather(1, nearest[:, None])[:, 0])
        return torch.stack([torch.zeros_like(margin), 5 * margin], dim=1)


def attacks(report: Report) -> set[str | None]:
    return {result.finding.attack for result in report.results}


def tpr(report: Report, attack: str, fpr: float = 0.05) -> Any:
    found = [r.finding for r in report.results if r.finding.attack == attack and r.finding.at_fpr == fpr]
    return found[0].estimate


def test_a_network_that_knows_its_members_by_heart(tmp_path: Path) -> None:
    members, others = data()
    done = ma.quick(ByHeart(*members), members, others, fprs=[0.05])
    report = done.report
    assert report.rung is Rung.TARGET
    assert (report.subject.members, report.subject.nonmembers, report.subject.shadows) == (300, 300, 0)
    assert attacks(report) == {"modified-entropy", "quantile-regression", "class-threshold", "global-threshold"}
    assert tpr(report, "global-threshold").low > 0.8
    assert all(control.passed for control in report.controls)
    assert {control.code for control in report.controls} == {"CTL002", "CTL003", "CTL005", "CTL007"}
    assert {skipped.code for skipped in report.skipped} == {"MEM001", "LNK001"}
    done.save(tmp_path / "x.json")
    assert load(tmp_path / "x.json") == report
    assert contradictions(report) == ("attempt: it is not said which attempt this was; every audit says so",)
    for name in ("x.html", "x.md"):
        done.save(tmp_path / name)
        text = (tmp_path / name).read_text("utf-8")
        assert "No shadow models were used (rung 0; a bank is rung 2)" in text
        assert "0 shadow models" not in text


@pytest.mark.parametrize(
    "form",
    [
        lambda x, y: (x, y),
        lambda x, y: ma.Examples(x, y),
        lambda x, y: TensorDataset(torch.tensor(x), torch.tensor(y)),
        lambda x, y: DataLoader(TensorDataset(torch.tensor(x), torch.tensor(y)), batch_size=64),
        lambda x, y: (torch.tensor(x), torch.tensor(y)),
    ],
    ids=["arrays", "Examples", "dataset", "loader", "tensors"],
)
def test_data_in_any_form_give_the_same_numbers(form: Callable[[Array, Array], Any]) -> None:
    members, others = data(200)
    model = LogisticRegression().fit(*members)
    usual = ma.quick(model, members, others, fprs=[0.05], attacks=["global-threshold"])
    done = ma.quick(model, form(*members), form(*others), fprs=[0.05], attacks=["global-threshold"])
    assert done.report.results == usual.report.results


def test_a_table_of_columns() -> None:
    pandas = pytest.importorskip("pandas")
    members, others = data(200)
    model = LogisticRegression().fit(*members)
    usual = ma.quick(model, members, others, fprs=[0.05], attacks=["global-threshold"])
    tables = [(pandas.DataFrame(x), pandas.Series(y)) for x, y in (members, others)]
    done = ma.quick(model, *tables, fprs=[0.05], attacks=["global-threshold"])
    assert done.report.results == usual.report.results


def test_models_in_any_form() -> None:
    members, others = data(200)
    model = LogisticRegression().fit(*members)
    call = {"fprs": [0.05], "attacks": ["global-threshold"]}
    usual = ma.quick(model, members, others, **call).report.results  # type: ignore[arg-type]
    margins = ma.quick(lambda x: model.decision_function(x), members, others, **call)  # type: ignore[arg-type]
    assert margins.report.results == usual
    sure = ma.quick(lambda x: model.predict_proba(x), members, others, outputs="probabilities", **call)  # type: ignore[arg-type]
    assert sure.report.results[0].finding.estimate == usual[0].finding.estimate
    weights = torch.nn.Linear(5, 1)
    with torch.no_grad():
        weights.weight.copy_(torch.tensor(model.coef_))
        weights.bias.copy_(torch.tensor(model.intercept_))
    network = ma.quick(weights, members, others, **call)  # type: ignore[arg-type]
    assert network.report.results[0].finding.estimate == usual[0].finding.estimate


REFUSED: dict[str, tuple[Callable[[Side, Side], tuple[Any, Any]], str]] = {
    "copies": (lambda a, b: (a, (np.r_[b[0], a[0][:3]], np.r_[b[1], a[1][:3]])), "3 inputs are among the members and"),
    "few members": (lambda a, b: ((a[0][:9], a[1][:9]), b), "there are 9 members; an audit needs at least 10"),
    "few others": (lambda a, b: (a, (b[0][:9], b[1][:9])), "there are 9 non-members"),
    "one example many times": (
        lambda a, b: ((np.repeat(a[0][:2], 50, 0), np.repeat(a[1][:2], 50)), b),
        "there are 2 different members",
    ),
    "other columns": (lambda a, b: (a, (b[0][:, :4], b[1])), r"shape \(5,\), of non-members \(4,\)"),
    "labels missing": (lambda a, b: ((a[0], a[1][:-1]), b), "members: there are 100 inputs and 99 labels"),
    "no data": (lambda a, b: (7, b), "members are a int: give"),
}


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED)
def test_data_that_are_refused(change: Callable[[Side, Side], tuple[Any, Any]], said: str) -> None:
    members, others = data(200)
    model = LogisticRegression().fit(*members)
    with pytest.raises(MemauditError, match=said):
        ma.quick(model, *change(members, others))


def test_a_loader_that_shuffles_is_refused() -> None:
    members, others = data(200)
    loader = DataLoader(TensorDataset(*map(torch.tensor, members)), batch_size=32, shuffle=True)
    with pytest.raises(MemauditError, match="members: the loader returns other examples, or another order"):
        ma.quick(LogisticRegression().fit(*members), loader, others)


@pytest.mark.parametrize(
    ("model", "outputs", "said"),
    [
        (lambda fitted: fitted.predict_proba, None, "the model returns probabilities: every row sums to 1"),
        (lambda fitted: fitted.predict, "one-vs-rest", "is for torch networks"),
        (lambda fitted: "model", None, "a str does not predict"),
    ],
)
def test_models_that_are_refused(model: Callable[[Any], Any], outputs: Any, said: str) -> None:
    members, others = data(200)
    with pytest.raises(MemauditError, match=said):
        ma.quick(model(LogisticRegression().fit(*members)), members, others, outputs=outputs)


def test_non_members_of_another_source_give_no_figures() -> None:
    """A tree that memorized nothing of use, and non-members that anybody can tell: no rate is stated."""
    members, (x, y) = data()
    model = DecisionTreeClassifier(max_depth=2).fit(*members)
    done = ma.quick(model, members, (x + 1, y), fprs=[0.05], limits=[Limit(metric="tpr", at_fpr=0.05, max=0.5)])
    assert next(c for c in done.report.controls if c.code == "CTL003").passed is False
    assert done.report.results == ()
    assert done.verdict is Verdict.INCONCLUSIVE
    assert exit_code(done.report) == 3


def test_the_ledger_counts_if_it_is_asked_for(tmp_path: Path) -> None:
    members, others = data(200)
    model = LogisticRegression().fit(*members)
    call: dict[str, Any] = {"fprs": [0.05], "attacks": ["global-threshold"], "ledger": tmp_path / "ledger.jsonl"}
    first, second = (ma.quick(model, members, others, **call).report.attempt for _ in range(2))
    assert first is not None and second is not None
    assert (first.number, second.number, second.of_model) == (1, 2, 2)
    assert contradictions(ma.quick(model, members, others, **call).report) == ()
