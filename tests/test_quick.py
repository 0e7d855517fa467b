"""`memaudit.quick`: what it takes, what it refuses, and what it says."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loading import RECIPES, unregistered
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from torch.utils.data import DataLoader, TensorDataset

import memaudit as ma
from memaudit.errors import MemauditError
from memaudit.policy import exit_code
from memaudit.policy.consistency import contradictions
from memaudit.policy.plausible import of_finding
from memaudit.reports import load
from memaudit.stats import clopper_pearson
from memaudit.types import Limit, Report, Rung, Verdict

TINY = unregistered(RECIPES / "language.py")
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
        self.side = torch.tensor(2.0 * y - 1)

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
    unmeasured = {"MEM001", "MEM004", "MEM005", "MEM006", "MEM009"}
    unmeasured |= {"LNK001", "MIA011", "MIA012", "MIA020", "MIA021", "MIA022", "MIA023", "MIA026"}
    assert {skipped.code for skipped in report.skipped} == unmeasured
    done.save(tmp_path / "x.json")
    assert load(tmp_path / "x.json") == report
    assert contradictions(report) == (
        'attempt: the number of the attempt is missing; record it: memaudit.quick(..., ledger="memaudit.ledger.jsonl")',
    )
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
    "labels missing": (lambda a, b: ((a[0], a[1][:-1]), b), "members: examples need one label per input"),
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
        (lambda fitted: fitted.predict, "one-vs-rest", 'outputs="one-vs-rest" is not for a function'),
        (lambda fitted: lambda x: fitted.predict_proba(x)[:, 1], None, "every number is between 0 and 1"),
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


# --- every kind of input and label ------------------------------------------------------------------------------------


def halves(x: Any, y: Any, n: int = 200) -> tuple[Any, Any]:
    return (x[: n // 2], y[: n // 2]), (x[n // 2 :], y[n // 2 :])


def numbers_of(report: Report) -> list[Any]:
    return [(r.finding.attack, r.finding.at_fpr, r.finding.estimate) for r in report.results]


class Parts(torch.nn.Module):
    """A linear model of one array, or of two: by name, or by position."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(5, 2)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, a: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        return torch.as_tensor(self.dropout(self.layer(a if b is None else torch.cat([a, b], dim=1))))


def parted(x: Array, y: Array) -> list[dict[str, Any]]:
    rows = zip(torch.tensor(x), y, strict=True)
    return [{"a": row[:2], "b": row[2:], "labels": int(label)} for row, label in rows]


@pytest.mark.parametrize(
    "form",
    [
        lambda x, y: ({"a": x[:, :2], "b": x[:, 2:]}, y),
        lambda x, y: ((x[:, :2], x[:, 2:]), y),
        lambda x, y: ({"a": torch.tensor(x[:, :2]), "b": torch.tensor(x[:, 2:], requires_grad=True)}, torch.tensor(y)),
        parted,
        lambda x, y: DataLoader(parted(x, y), batch_size=16),  # type: ignore[arg-type]
        lambda x, y: DataLoader([((r[:2], r[2:]), int(of)) for r, of in zip(x, y, strict=True)], batch_size=16),  # type: ignore[arg-type]
        lambda x, y: ma.Examples({"a": x[:, :2], "b": x[:, 2:]}, y),
    ],
    ids=["dict", "tuple", "tensors", "items", "loader of dicts", "loader of tuples", "Examples"],
)
def test_several_arrays_give_the_numbers_of_one(form: Callable[[Array, Array], Any]) -> None:
    members, others = data(200)
    model = Parts().train()
    call: dict[str, Any] = {"fprs": [0.05], "attacks": ["global-threshold"]}
    usual = ma.quick(model, members, others, **call).report
    assert numbers_of(ma.quick(model, form(*members), form(*others), **call).report) == numbers_of(usual)


def test_a_network_is_left_as_it_was() -> None:
    members, others = data(200)
    model = Parts().train()
    model.layer.eval()
    ma.quick(model, members, others, fprs=[0.05])
    assert (model.training, model.layer.training, model.dropout.training) == (True, False, True)


def test_names_of_classes_are_numbered_once_for_both_sides() -> None:
    """Non-members without class "b": of each side alone, "c" would be number 2 and number 1."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    y = np.array(["a", "b", "c"])[np.digitize(x[:, 0], [-0.4, 0.4])]
    model = LogisticRegression().fit(x[:150], y[:150])
    keep = y[150:] != "b"
    sides = (x[:150], y[:150]), (x[150:][keep], y[150:][keep])
    call: dict[str, Any] = {"fprs": [0.05], "attacks": ["global-threshold"]}
    usual = ma.quick(model, *sides, **call).report
    named = ma.quick(model, *(ma.Examples(*side) for side in sides), **call).report
    assert numbers_of(named) == numbers_of(usual)
    codes = {name: number for number, name in enumerate("abc")}
    scores = model.decision_function(x)
    p = np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))[np.arange(300), [codes[name] for name in y]]
    phi = np.log(p / (1 - p))
    outside = np.sort(phi[150:][keep])[::-1]
    cut = outside[int(0.05 * (len(outside) + 1)) - 1]
    assert usual.results[0].finding.estimate.value == pytest.approx((phi[:150] > cut).mean())


def test_a_table_of_strings_and_a_pipeline() -> None:
    pandas = pytest.importorskip("pandas")
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    (x, y), (other, of) = data(200)
    tables = [pandas.DataFrame({"c": [f"k{v > 0}" for v in side[:, 0]], "n": side[:, 1]}) for side in (x, other)]
    encoder = make_column_transformer((OneHotEncoder(), ["c"]), remainder="passthrough")
    model = make_pipeline(encoder, LogisticRegression()).fit(tables[0], y)
    done = ma.quick(model, (tables[0], y), (tables[1], of), fprs=[0.05])
    assert attacks(done.report) == {"modified-entropy", "quantile-regression", "class-threshold", "global-threshold"}
    phi = [model.decision_function(table) * (2 * labels - 1) for table, labels in zip(tables, (y, of), strict=True)]
    assert tpr(done.report, "global-threshold").value == (phi[0] > np.sort(phi[1])[-5]).mean()
    with pytest.raises(MemauditError, match="some have the columns c, n, others n"):
        ma.quick(model, (tables[0], y), (tables[1][["n"]], of))


def test_texts_and_sparse_matrices() -> None:
    from scipy import sparse
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.pipeline import make_pipeline

    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{n}" for n in rng.integers(0, 60, 8)) for _ in range(200)]
    y = rng.integers(0, 2, 200)
    model = make_pipeline(CountVectorizer(vocabulary=[f"w{n}" for n in range(60)]), LogisticRegression())
    model.fit(texts[:100], y[:100])
    call: dict[str, Any] = {"fprs": [0.05], "attacks": ["global-threshold"]}
    by_text = ma.quick(model, *halves(texts, y), **call).report
    counts = sparse.csr_matrix(model[0].transform(texts))
    by_counts = ma.quick(model[1], *halves(counts, y), **call).report
    assert tpr(by_text, "global-threshold") == tpr(by_counts, "global-threshold")
    assert tpr(by_text, "global-threshold").value > 0.2


def test_numbers_and_several_labels() -> None:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 5))
    y = 3 * x[:, 0] + rng.normal(size=400)
    model = RandomForestRegressor(20, random_state=0).fit(x[:200], y[:200])
    sides = halves(x, y, 400)
    report = ma.quick(model, *sides, fprs=[0.05], task="regression").report
    assert attacks(report) == {"quantile-regression", "global-threshold"}
    assert "minus the absolute error" in report.limitations[0]
    error = -np.abs(model.predict(x) - y)
    assert tpr(report, "global-threshold").value == (error[:200] > np.sort(error[200:])[-10]).mean()
    for other in (model.predict, model):
        given = [ma.Examples(*side, task="regression") for side in sides]
        assert numbers_of(ma.quick(other, *given, fprs=[0.05]).report) == numbers_of(report)
    several = (x[:, :3] + rng.normal(size=(400, 3)) > 0).astype(int)
    forest = RandomForestClassifier(20, random_state=0).fit(x[:200], several[:200])
    sides = halves(x, several, 400)
    report = ma.quick(forest, *sides, fprs=[0.05], task="multilabel").report
    assert tpr(report, "global-threshold").low > 0.2
    chances = lambda rows: np.stack([p[:, 1] for p in forest.predict_proba(rows)], axis=1)  # noqa: E731
    alike = ma.quick(chances, *sides, fprs=[0.05], task="multilabel", outputs="probabilities").report
    assert tpr(alike, "global-threshold").low > 0.2
    with pytest.raises(MemauditError, match='set outputs="logits" or "probabilities"'):
        ma.quick(chances, *sides, task="multilabel")
    with pytest.raises(MemauditError, match="for different tasks: multilabel and regression"):
        ma.quick(forest, ma.Examples(*sides[0], task="multilabel"), sides[1], task="regression")


def test_groups_of_examples_are_kept() -> None:
    members, others = data(200)
    model = LogisticRegression().fit(*members)
    grouped = ma.Examples(*members, groups=np.arange(100) // 2)
    report = ma.quick(model, grouped, others, fprs=[0.05]).report
    assert (report.subject.members, report.subject.nonmembers) == (50, 100)
    assert "150 groups with 200 records in all" in report.notices[0]


def test_nothing_asked_is_refused() -> None:
    members, others = data(200)
    model = LogisticRegression().fit(*members)
    with pytest.raises(MemauditError, match="no false-positive rate"):
        ma.quick(model, members, others, fprs=[])
    with pytest.raises(MemauditError, match="no attack"):
        ma.quick(model, members, others, attacks=[])


def test_labels_from_one() -> None:
    """An estimator knows its classes by name; a network's columns count from 0."""
    members, others = [(x, y + 1) for x, y in data(200)]
    call: dict[str, Any] = {"fprs": [0.05], "attacks": ["global-threshold"]}
    usual = ma.quick(LogisticRegression().fit(*data(200)[0]), *data(200), **call).report
    found = ma.quick(LogisticRegression().fit(*members), members, others, **call).report
    assert numbers_of(found) == numbers_of(usual)
    with pytest.raises(MemauditError, match="the model has 2 classes; labels count from 0: subtract 1"):
        ma.quick(torch.nn.Linear(5, 2), members, others)


def test_an_interval_without_the_error_of_the_threshold_is_no_result() -> None:
    members, others = data()
    model = LogisticRegression().fit(*members)
    report = ma.quick(model, members, others, fprs=[0.05], attacks=["global-threshold"]).report
    finding = report.results[0].finding
    hits = round(finding.estimate.value * finding.n)

    def narrow(level: float) -> tuple[float, float]:
        low, high = clopper_pearson(hits, finding.n, level)
        return float(low), float(high)

    bounds = tuple(
        replace(b, low=narrow(2 * b.confidence - 1)[0], high=narrow(2 * b.confidence - 1)[1])
        for b in finding.estimate.bounds
    )
    low, high = narrow(0.95)
    forged = replace(finding, estimate=replace(finding.estimate, low=low, high=high, bounds=bounds))
    assert list(of_finding(finding, report)) == []
    assert any("is no 0.95 interval" in problem for problem in of_finding(forged, report))


# --- language models --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written() -> list[str]:
    """Sixty documents of random words."""
    return [" ".join(random.Random(n).choices(TINY.WORDS, k=24)) for n in range(60)]


@pytest.fixture(scope="module")
def speaker(written: list[str]) -> Any:
    """A tiny language model that was trained on the first half of them."""
    probes = ma.Probes(canaries=0, secrets=0, generated=0, records=0, watched=0)
    recipe = ma.LanguageModelRecipe(
        lambda: ma.Documents(written), ma.Rendering(TINY.tokenizer, context=96), model=TINY.model, epochs=20,
        batch_size=8, optimizer=ma.AdamW(lr=1e-2), probes=probes,
    )  # fmt: skip
    return ma.train(recipe, np.arange(60) < 30, seed=0, device="cpu")


def test_a_language_model_with_its_tokenizer(speaker: Any, written: list[str], tmp_path: Path) -> None:
    speaker.train()
    done = ma.quick(
        (speaker, TINY.tokenizer()), written[:30], written[30:], fprs=[0.1], ledger=tmp_path / "ledger.jsonl"
    )
    report = done.report
    assert speaker.training
    assert (report.rung, report.subject.members, report.subject.nonmembers) == (Rung.TARGET, 30, 30)
    assert attacks(report) == {"zlib", "min-k", "min-k++", "quantile-regression", "global-threshold"}
    assert {"CTL002", "CTL003", "CTL005", "CTL007"} <= {control.code for control in report.controls}
    assert {s.reason.split(":")[0] for s in report.skipped if s.code.startswith(("EXT", "CAN01"))} == {
        "memaudit.quick scores texts and asks for nothing else"
    }
    assert contradictions(report) == ()
    phi = []
    for text in written:
        ids = torch.tensor([[0, *TINY.tokenizer()(text, add_special_tokens=False)["input_ids"], 1]])
        with torch.no_grad():
            logp = speaker.eval()(ids).logits[0, :-1].log_softmax(-1)
        phi.append(float(logp.gather(1, ids[0, 1:, None]).mean()))
    cut = np.sort(phi[30:])[-3]
    assert tpr(report, "global-threshold", 0.1).value == np.mean(np.array(phi[:30]) > cut)


def test_a_folder_says_the_same(speaker: Any, written: list[str], tmp_path: Path) -> None:
    speaker.save_pretrained(tmp_path / "mine")
    TINY.tokenizer().save_pretrained(tmp_path / "mine")
    call: dict[str, Any] = {"fprs": [0.1], "attacks": ["global-threshold"]}
    of_folder = ma.quick(tmp_path / "mine", written[:30], written[30:], **call).report
    assert of_folder.subject.model == "mine"
    rendering = ma.Rendering(TINY.tokenizer, context=96)
    assert numbers_of(ma.quick(speaker, written[:30], written[30:], rendering=rendering, **call).report) == numbers_of(
        of_folder
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m, a, b: (m, a, [*b, a[0].upper()]), "1 texts are among the members and, exactly or as near-dup"),
        (lambda m, a, b: (m, a[:9], b), "there are 9 members"),
        (lambda m, a, b: (m, a, b[:2] * 10), "there are 2 different non-members, without near-duplicates"),
        (lambda m, a, b: (m[0], a, b), "which tokenizer does the language model have"),
        (lambda m, a, b: (LogisticRegression(), a, b), "is no language model of the transformers library"),
        (lambda m, a, b: ("nowhere", a, b), "there is no folder nowhere"),
    ],
    ids=["copies", "few members", "one text", "no tokenizer", "a classifier", "no folder"],
)
def test_texts_and_models_that_are_refused(
    speaker: Any, written: list[str], change: Callable[..., tuple[Any, Any, Any]], said: str
) -> None:
    with pytest.raises(MemauditError, match=said):
        ma.quick(*change((speaker, TINY.tokenizer()), written[:30], written[30:]))
