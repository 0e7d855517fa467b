"""Every kind of input: rows, copies, digests and features; what holds an array has the digest that it always had."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import nn

import memaudit as ma
from memaudit.attacks import blind_scores
from memaudit.errors import ModelError, RecipeError
from memaudit.recipe import Examples, near_copies
from memaudit.recipe.inputs import KINDS, Inputs, read_inputs
from memaudit.recipe.manifest import manifest_of
from memaudit.recipe.networks import outputs_of
from memaudit.stats import auc
from memaudit.training.model import Workshop

Array = np.ndarray

pd = pytest.importorskip("pandas")
N = 40
Y = np.arange(N) % 2


def frame() -> Any:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "age": rng.normal(size=N),
            "job": rng.choice(["nurse", "smith"], N),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, N), "D"),
            "kind": pd.Categorical(rng.choice(["a", "b", "c"], N)),
        }
    )
    table.loc[3, "age"] = np.nan
    return table


def polars_frame() -> Any:
    return pytest.importorskip("polars").from_pandas(frame())


def arrow_table() -> Any:
    return pytest.importorskip("pyarrow").Table.from_pandas(frame())


def pictures() -> list[Any]:
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(1)
    return [image.fromarray(rng.integers(0, 255, (4 + n % 3, 5), dtype=np.uint8)) for n in range(N)]


def random(*shape: int) -> Array:
    return np.random.default_rng(2).normal(size=shape).astype(np.float32)


KIND: dict[str, Callable[[], Any]] = {
    "array": lambda: random(N, 3),
    "dict": lambda: {"a": random(N, 3), "b": np.arange(N)},
    "tokens": lambda: {"input_ids": np.random.default_rng(3).integers(0, 99, (N, 7))},
    "tuple": lambda: (random(N, 3), random(N, 2)),
    "pandas": frame,
    "polars": polars_frame,
    "pyarrow": arrow_table,
    "numeric table": lambda: pd.DataFrame(random(N, 3), columns=["a", "b", "c"]),
    "sparse": lambda: scipy.sparse.random(N, 2000, 0.02, "csr", random_state=0),
    "sparse, narrow": lambda: scipy.sparse.random(N, 30, 0.3, "coo", random_state=0),
    "texts": lambda: [f"text number {n}, é" for n in range(N)],
    "a column of texts": lambda: pd.Series([f"text number {n}" for n in range(N)]),
    "an array of texts": lambda: np.array([f"text number {n}" for n in range(N)]),
    "arrays of several lengths": lambda: [np.arange(n + 1) for n in range(N)],
    "pictures": pictures,
    "dicts of several lengths": lambda: [{"ids": list(range(n + 1)), "mask": [1] * (n + 1)} for n in range(N)],
}


@pytest.fixture(params=list(KIND.values()), ids=list(KIND))
def make(request: pytest.FixtureRequest) -> Any:
    return request.param


def same(a: Any, b: Any) -> bool:
    return list(read_inputs(a, N).contents()) == list(read_inputs(b, N).contents())


def test_rows_are_taken_in_the_form_that_was_given(make: Callable[[], Any]) -> None:
    examples, rows = Examples(make(), Y), np.array([7, 3, 7])
    picked = examples.take(rows)
    assert type(picked.x) is type(examples.x)
    whole = list(examples.inputs.contents())
    assert list(picked.inputs.contents()) == [whole[row] for row in rows]
    assert list(type(examples.inputs)(examples.inputs.take(slice(2, 5))).contents()) == whole[2:5]
    assert len(examples[3]) == 2
    assert picked.ids[2] == f"{picked.ids[0]}-2"


def test_a_digest_depends_on_the_content_alone(make: Callable[[], Any]) -> None:
    one = Examples(make(), Y)
    assert one.digest() == Examples(make(), Y).digest()
    assert one.ids_are_hashes
    assert len(set(one.ids)) == one.units == N
    order = np.r_[1, 0, 2:N]
    assert one.take(order).digest() != one.digest()
    assert sorted(one.take(order).contents()) == sorted(one.contents())
    counts = np.ones(N, np.uint8)
    assert manifest_of(one.take(order), counts) == manifest_of(one, counts)


def test_copies_are_one_unit(make: Callable[[], Any]) -> None:
    examples = Examples(make(), Y)
    twice = np.r_[0:N, 5]
    copied = type(examples.inputs)(examples.inputs.take(twice)).x
    again = Examples(copied, np.append(Y, Y[5]))
    assert (again.duplicates, again.units, again.unit_of[N]) == (1, N, again.unit_of[5])


def test_features_describe_rows_so_that_no_two_of_them_are_copies(make: Callable[[], Any]) -> None:
    features = read_inputs(make(), N).features()
    flat = features.reshape(N, -1)
    assert np.isfinite(flat).all()
    assert len(np.unique(flat, axis=0)) == N
    scores = blind_scores(features, Y, np.random.default_rng(0).random(N) < 0.5)
    assert scores.shape == (N,)
    assert near_copies(make()).shape == (N,)


def test_a_blind_adversary_finds_members_that_were_collected_otherwise(make: Callable[[], Any]) -> None:
    """The first half is members: rows of another kind in each form, by their length, size or number."""
    kinds = {"texts", "tokens", "pandas"}
    for name in kinds:
        if KIND[name] is not make:
            continue
        rows = np.arange(N)
        x: Any = {
            "texts": [f"{'old' if row < N // 2 else 'new'} text {row}" for row in rows],
            "tokens": {"input_ids": np.column_stack([np.where(rows < N // 2, 3, 9), rows])},
            "pandas": pd.DataFrame({"job": np.where(rows < N // 2, "nurse", "smith"), "n": rows * np.nan}),
        }[name]
        scores = blind_scores(read_inputs(x, N).features(), Y, rows < N // 2)
        assert auc(scores[: N // 2], scores[N // 2 :]) > 0.95


def test_what_the_user_is_given_are_copies(make: Callable[[], Any]) -> None:
    recipe = ma.CallableRecipe(lambda: Examples(make(), Y), train=lambda *a, **k: None)
    examples = Examples(make(), Y)
    workshop = Workshop(recipe, examples, 0, "cpu")
    spoil(examples.take(np.arange(N)).x)
    spoil(examples.inputs.take(slice(None)))
    workshop.require_unchanged("training")
    assert same(examples.x, make())


def spoil(x: Any) -> None:
    """Changes inputs in place, if they can be."""
    match x:
        case np.ndarray():
            x[0] = x[1]
        case dict() | tuple():
            for part in x.values() if isinstance(x, dict) else x:
                part[0] = part[1]
        case pd.DataFrame():
            x.iloc[0] = x.iloc[1]
        case list() if isinstance(x[0], np.ndarray):
            x[1][:] = 99
        case list() if isinstance(x[0], dict):
            x[1]["ids"][:] = [9, 9]
        case list():
            x[0] = x[1]
        case _ if hasattr(x, "tocsr"):
            x.data[:] = 3


@pytest.mark.parametrize("name", ["array", "dict", "tuple", "sparse"])
def test_a_population_that_is_changed_in_place_is_noticed(name: str) -> None:
    examples = Examples(KIND[name](), Y)
    workshop = Workshop(ma.CallableRecipe(lambda: examples, train=lambda *a, **k: None), examples, 0, "cpu")
    spoil(examples.x)
    with pytest.raises(RecipeError, match="changed the examples in place"):
        workshop.require_unchanged("training")


# What was stored by earlier versions


def test_arrays_keep_their_digests() -> None:
    """Of version 0.2, so that its banks, members and manifests stay valid."""
    x, y = np.arange(60, dtype=np.float32).reshape(12, 5) / 7, np.arange(12) % 3
    x[3] = x[2]
    examples = Examples(x, y)
    assert examples.digest() == "c5cc5195d216350bb329447de21555def88eec744695c01ce681fb58b2836e74"
    assert examples.ids[:3].tolist() == ["f710b90b496b657e", "0a7ac2330ec10b72", "6885af6fc4c66528"]
    found = manifest_of(examples, np.ones(12, np.uint8)).sha256
    assert found == "dc6d17f037eac305a6fde4a6ab6e5d2fa7e9b8d0a9872901481d6794ea14c80a"
    pictures = Examples(x[:, :4].reshape(12, 2, 2).astype(np.uint8), y == 1, ids=range(12))
    assert pictures.digest() == "7f6d19c51293467564fe817d438d619b1930359b69bbeb6f9d70fae54c18fe1d"


def test_tables_of_numbers_keep_the_digests_of_their_arrays() -> None:
    table = pd.DataFrame({"a": np.arange(12), "b": np.arange(12) / 8})
    examples = Examples(table, np.arange(12) % 3)
    assert examples.digest() == "7ed40f0e4555c21b4d176363799ce200e276254d9efd2daef32e898f3802be08"
    assert examples.ids[0] == "fce7fddc7fb2e2bc"
    assert examples.digest() == Examples(table.to_numpy(), np.arange(12) % 3).digest()
    assert isinstance(examples.x, pd.DataFrame)


def test_every_value_of_a_table_counts() -> None:
    digest = Examples(frame(), Y).digest()
    for column, value in {"age": 1.5, "job": "cook", "since": pd.Timestamp("1999-01-01"), "kind": "a"}.items():
        changed = frame()
        changed[column] = changed[column].astype(object)
        changed.loc[0, column] = value
        changed[column] = changed[column].astype(frame()[column].dtype)
        assert Examples(changed, Y).digest() != digest
    assert Examples(frame().rename(columns={"job": "trade"}), Y).digest() != digest


# Refusals


class Odd:
    """Something that is no input."""


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "another number of rows": (lambda: {"a": random(N, 2), "b": random(N - 1, 2)}, "'b' has 39"),
    "too few rows in all": (lambda: {"a": random(N - 1, 2)}, "one label per input"),
    "an empty dict": (dict, "empty dict"),
    "NaN in a dict": (lambda: {"a": np.full((N, 1), np.nan)}, "inputs, 'a', hold NaN or infinity, first in row 0"),
    "strings in a dict": (lambda: {"a": np.array(["x"] * N)}, "inputs, 'a', must be numbers"),
    "NaN in a sparse matrix": (
        lambda: scipy.sparse.csr_matrix((np.array([np.nan]), (np.array([4]), np.array([0]))), (N, 2)),
        "NaN or infinity, first in row 4",
    ),
    "a text that is missing": (lambda: ["a"] * (N - 1) + [None], "row 39 is a NoneType"),
    "objects": (lambda: [Odd() for _ in range(N)], "row 0 is a Odd"),
    "objects in a table": (lambda: pd.DataFrame({"a": [Odd() for _ in range(N)]}), "a Odd in the column 'a'"),
    "no column": (lambda: pd.DataFrame(index=range(N)), "without columns"),
    "one text": (lambda: "a" * N, "inputs"),
    "masked": (lambda: np.ma.masked_array(random(N, 2), random(N, 2) > 1), "masked in places"),
}


@pytest.mark.parametrize(("make", "said"), WRONG.values(), ids=WRONG)
def test_inputs_that_cannot_be_read_are_refused(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        Examples(make(), Y)


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(RecipeError, match="no column 'wage'; it has age, job"):
        Examples.from_frame(frame(), label="wage")


def test_ids_and_groups_may_be_columns() -> None:
    table = frame().assign(y=Y, who=[f"p{n}" for n in range(N)], home=[f"h{n // 2}" for n in range(N)])
    for one in (table, pytest.importorskip("polars").from_pandas(table)):
        examples = Examples.from_frame(one, label="y", ids="who", groups="home")
        assert list(examples.x.columns) == list(frame().columns)
        assert examples.ids[1] == "p1"
        assert examples.units == N // 2


def test_rows_of_a_data_set_are_read_by_the_names_of_their_parts() -> None:
    datasets = pytest.importorskip("datasets")
    rows = {"input_ids": [[n, n + 1] for n in range(N)], "attention_mask": [[1, n % 2] for n in range(N)], "labels": Y}
    examples = Examples.from_dataset(datasets.Dataset.from_dict(rows))
    assert examples.x["input_ids"].tolist() == rows["input_ids"]
    assert examples.x["attention_mask"].tolist() == rows["attention_mask"]
    assert examples.y.tolist() == Y.tolist()
    texts = Examples.from_dataset([{"text": f"text {n}", "topic": "ab"[n % 2]} for n in range(N)], label="topic")
    assert texts.x[3] == "text 3"
    assert texts.class_names == ("a", "b")


# A new kind is one class and one entry


class Range(Inputs):
    """Ranges, for a test."""

    header = "range"

    @classmethod
    def read(cls, x: Any, count: int) -> Range | None:
        return cls(list(x)) if isinstance(x, range) else None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Any) -> Any:
        return list(np.array(self.x)[rows])

    def contents(self) -> Any:
        return (str(value).encode() for value in self.x)

    def features(self) -> Array:
        return np.array(self.x, float)[:, None]


def test_a_kind_of_input_is_one_class_and_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memaudit.recipe.inputs.KINDS", (Range, *KINDS))
    assert Examples(range(N), Y).inputs.header == "range"


# What networks return


@pytest.mark.parametrize("output", [1, "scores", lambda answer: answer["scores"]])
def test_a_part_of_an_answer_can_be_named(output: Any) -> None:
    z, features = torch.ones(4, 3), torch.zeros(4, 3)
    answer: Any = (features, z) if output == 1 else {"features": features, "scores": z}
    assert torch.equal(outputs_of(answer, output), z)
    with pytest.raises(ModelError, match="output=0"):
        outputs_of(answer)


def test_a_part_that_is_not_there_is_refused() -> None:
    for answer, output in (((torch.ones(4, 3),), 3), ({"a": torch.ones(4, 3)}, "logits"), (torch.ones(4, 3), "logits")):
        with pytest.raises(ModelError, match="which has no output="):
            outputs_of(answer, output)


# Folders of transformers


def tiny_bert(**more: Any) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return transformers.BertForSequenceClassification(transformers.BertConfig(**{"vocab_size": 30, **sizes, **more}))


def of_tokens() -> Examples:
    return Examples({"input_ids": np.random.default_rng(0).integers(0, 30, (N, 5))}, Y)


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        ({"hidden_act": "relu"}, "hidden_act is relu in the folder and gelu by the recipe"),
        ({"num_labels": 3}, "does not fit the recipe's model"),
        ({"hidden_size": 32}, "does not fit the recipe's model"),
    ],
)
def test_a_folder_of_another_model_is_refused(saved: dict[str, Any], said: str, tmp_path: Path) -> None:
    from memaudit.recipe import load_target

    recipe = ma.ClassifierRecipe(of_tokens, tiny_bert, epochs=1, batch_size=8, optimizer=ma.SGD(lr=0.1))
    tiny_bert(**saved).save_pretrained(tmp_path / "model")  # type: ignore[operator]
    with pytest.raises(ModelError, match=said):
        load_target(tmp_path / "model", recipe)


def test_a_folder_is_refused_where_the_recipe_makes_another_class(tmp_path: Path) -> None:
    from memaudit.recipe import load_target

    transformers = pytest.importorskip("transformers")
    config = tiny_bert().config
    transformers.BertForTokenClassification(config).save_pretrained(tmp_path / "tokens")
    recipe = ma.ClassifierRecipe(of_tokens, tiny_bert, epochs=1, batch_size=8, optimizer=ma.SGD(lr=0.1))
    with pytest.raises(ModelError, match="a BertForTokenClassification, but the recipe's model"):
        load_target(tmp_path / "tokens", recipe)
    plain = ma.CallableRecipe(of_tokens, train=lambda *a, **k: None, model=lambda: nn.Linear(2, 2))
    with pytest.raises(ModelError, match="give the file that holds the weights"):
        load_target(tmp_path / "tokens", plain)


def test_dates_and_decimals_are_values_of_a_table() -> None:
    table = pd.DataFrame({"day": [datetime.date(2020, 1, 1 + n % 28) for n in range(N)], "n": np.arange(N)})
    assert Examples(table, Y).units == N
