"""Models and data as people have them: one recipe for each kind of inputs, labels, outputs and library."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse
import torch
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC
from torch import nn
from torch.nn import functional

import memaudit as ma

pd: Any = importlib.import_module("pandas")

N, CLASSES, LABELS = 120, 3, 4
NAMES = np.array(["cat", "dog", "Eel"])
Array = np.ndarray


def numbers() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, N)
    return (rng.normal(size=(N, 6)) + 0.5 * y[:, None]).astype(np.float32), y


def several_labels() -> Array:
    rng = np.random.default_rng(1)
    return (numbers()[0][:, :LABELS] + rng.normal(size=(N, LABELS)) > 0).astype(int)


def amounts() -> Array:
    return 1000 + 100 * numbers()[0][:, 0].astype(float) + np.random.default_rng(2).normal(0, 60, N)


def frame() -> Any:
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "age": rng.normal(40, 10, N).round(1),
            "job": rng.choice(["nurse", "smith", "cook"], N),
            "place": pd.Categorical(rng.choice(["Rome", "Oslo"], N)),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, N), "D"),
            "income": np.where(rng.random(N) < 0.5, ">50K", "<=50K"),
        }
    )
    table.loc[::9, "age"] = np.nan
    return table


def texts() -> list[str]:
    rng = np.random.default_rng(4)
    return [" ".join(rng.choice(list("abcdefghijklmnop"), 12) + rng.choice(list("xyz"), 12)) for _ in range(N)]


def tokens() -> dict[str, Array]:
    rng = np.random.default_rng(5)
    mask = (np.arange(8) < rng.integers(3, 9, (N, 1))).astype(np.int64)
    return {"input_ids": rng.integers(1, 30, (N, 8)) * mask, "attention_mask": mask}


def of_arrays() -> ma.Examples:
    return ma.Examples(*numbers())


def of_named_classes() -> ma.Examples:
    x, y = numbers()
    return ma.Examples(x, NAMES[y])


def of_booleans() -> ma.Examples:
    x, y = numbers()
    return ma.Examples(x, y > 0)


def of_categories() -> ma.Examples:
    x, y = numbers()
    return ma.Examples(x, pd.Series(pd.Categorical(NAMES[y])))


def of_frame() -> ma.Examples:
    return ma.Examples.from_frame(frame(), label="income")


def of_polars() -> ma.Examples:
    import polars

    return ma.Examples.from_frame(polars.from_pandas(frame()), label="income")


def of_sparse() -> ma.Examples:
    return ma.Examples(scipy.sparse.random(N, 900, 0.03, random_state=0, format="csc"), numbers()[1])


def of_texts() -> ma.Examples:
    return ma.Examples(texts(), NAMES[numbers()[1]])


def of_tokens() -> ma.Examples:
    return ma.Examples(tokens(), numbers()[1])


def of_two_arrays() -> ma.Examples:
    x, y = numbers()
    return ma.Examples((x[:, :2], x[:, 2:]), y)


def of_rows() -> ma.Examples:
    """Rows as the datasets library has them."""
    pairs = zip(*tokens().values(), numbers()[1], strict=True)
    return ma.Examples.from_dataset(
        [{"input_ids": a.tolist(), "attention_mask": b.tolist(), "label": int(c)} for a, b, c in pairs]
    )


def of_pictures() -> ma.Examples:
    rng = np.random.default_rng(6)
    pictures = rng.random((N, 1, 8, 8)).astype(np.float32)
    return ma.Examples({"pixel_values": pictures}, numbers()[1])


def of_ragged() -> ma.Examples:
    rng = np.random.default_rng(7)
    return ma.Examples([rng.normal(size=rng.integers(3, 9)).astype(np.float32) for _ in range(N)], numbers()[1])


def of_several_labels() -> ma.Examples:
    return ma.Examples(numbers()[0], several_labels(), task="multilabel")


def of_amounts() -> ma.Examples:
    return ma.Examples(numbers()[0], amounts(), task="regression")


class Tail(nn.Module):
    """A small network, and what it wraps its logits in."""

    def __init__(self, wrap: Callable[[torch.Tensor, torch.Tensor], Any], outputs: int = CLASSES) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, outputs))
        self.wrap = wrap

    def forward(self, x: torch.Tensor) -> Any:
        return self.wrap(self.layers(x), x)


class Wide(nn.Module):
    """A network of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, CLASSES))

    def forward(self, narrow: torch.Tensor, wide: torch.Tensor) -> torch.Tensor:
        return self.layers(torch.cat([narrow, wide], dim=1))


class Bag(nn.Module):
    """A network of token ids and their mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(30, 16), nn.Linear(16, CLASSES)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        weights = attention_mask[..., None] / attention_mask.sum(dim=1)[:, None, None]
        return {"logits": self.head((self.embedding(input_ids) * weights).sum(dim=1))}


class Mean(nn.Module):
    """A network of a list of arrays that differ in length."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, CLASSES)

    def forward(self, rows: list[Array]) -> torch.Tensor:
        return self.head(torch.tensor([[row.mean(), row.std(), row.max()] for row in rows]))


def configured(name: str) -> Any:
    """Returns a configuration of transformers, whose types do not name all of its parameters."""
    return getattr(importlib.import_module("transformers"), name)


def bert() -> nn.Module:
    from transformers import BertForSequenceClassification

    config = configured("BertConfig")(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=CLASSES,
    )
    return BertForSequenceClassification(config)


def distilbert() -> nn.Module:
    from transformers import DistilBertForSequenceClassification

    config = configured("DistilBertConfig")(
        vocab_size=30, dim=16, n_layers=1, n_heads=2, hidden_dim=16, num_labels=CLASSES
    )
    return DistilBertForSequenceClassification(config)


def vit() -> nn.Module:
    from transformers import ViTForImageClassification

    config = configured("ViTConfig")(
        image_size=8, patch_size=4, num_channels=1, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, num_labels=CLASSES,
    )  # fmt: skip
    return ViTForImageClassification(config)


def classifier(examples: Callable[[], ma.Examples], model: Callable[[], nn.Module], **more: Any) -> ma.ClassifierRecipe:
    return ma.ClassifierRecipe(examples, model, epochs=6, batch_size=20, optimizer=ma.AdamW(lr=0.02), **more)


def loop(dataset: ma.Examples, *, seed: int, device: str, model: Callable[[], nn.Module], end: str = "") -> nn.Module:
    """Trains as somebody would who wrote such a network."""
    torch.manual_seed(seed)
    network = model()
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    y = torch.as_tensor(dataset.y)
    for _ in range(30):
        optimizer.zero_grad()
        out = network(dataset.x if isinstance(dataset.x, list) else torch.as_tensor(dataset.x))
        out = out[0] if isinstance(out, tuple) else out
        if end == "softmax":
            functional.nll_loss(out.clamp_min(1e-9).log(), y).backward()  # type: ignore[no-untyped-call]
        elif end == "sigmoid" and y.ndim == 1:
            functional.binary_cross_entropy(out[:, 0], y.float()).backward()  # type: ignore[no-untyped-call]
        elif end == "sigmoid":
            functional.binary_cross_entropy(out, y.float()).backward()  # type: ignore[no-untyped-call]
        elif end == "square":
            functional.mse_loss(out[:, 0], y.float()).backward()  # type: ignore[no-untyped-call]
        elif y.ndim == 2:
            functional.binary_cross_entropy_with_logits(out, y.float()).backward()  # type: ignore[no-untyped-call]
        else:
            functional.cross_entropy(out, y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network.eval()


def own(
    examples: Callable[[], ma.Examples], model: Callable[[], nn.Module], end: str = "", **more: Any
) -> ma.CallableRecipe:
    return ma.CallableRecipe(examples, partial(loop, model=model, end=end), model=model, **more)


def alone(z: torch.Tensor, x: torch.Tensor) -> Any:
    return z


def in_a_tuple(z: torch.Tensor, x: torch.Tensor) -> Any:
    return z, x.argmax(dim=1), {"nothing": None}


def in_a_dict(z: torch.Tensor, x: torch.Tensor) -> Any:
    return {"scores": z}


def in_an_object(z: torch.Tensor, x: torch.Tensor) -> Any:
    from transformers.modeling_outputs import SequenceClassifierOutput

    return SequenceClassifierOutput(loss=z.sum(), logits=z, hidden_states=(x,))


def with_features(z: torch.Tensor, x: torch.Tensor) -> Any:
    return z, x


def features_first(z: torch.Tensor, x: torch.Tensor) -> Any:
    return {"features": x, "scores": z}


def last_of(answer: Any) -> torch.Tensor:
    found: torch.Tensor = list(answer.values())[-1]
    return found


def softmax(z: torch.Tensor, x: torch.Tensor) -> Any:
    return z.softmax(dim=1)


def softmax_in_a_tuple(z: torch.Tensor, x: torch.Tensor) -> Any:
    return (z.softmax(dim=1),)


def sigmoid(z: torch.Tensor, x: torch.Tensor) -> Any:
    return z.sigmoid()


def thousands(z: torch.Tensor, x: torch.Tensor) -> Any:
    return 1000 + 100 * z


def in_thousands(z: torch.Tensor, x: torch.Tensor) -> Any:
    return z


def two_outputs(x: torch.Tensor) -> torch.Tensor:
    return x


def columns() -> Any:
    return make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["job", "place"]), (SimpleImputer(), ["age"])
    )


NETWORKS: dict[str, Any] = {
    "tuple": classifier(of_arrays, partial(Tail, in_a_tuple)),
    "dict": classifier(of_arrays, partial(Tail, in_a_dict)),
    "model-output": classifier(of_arrays, partial(Tail, in_an_object)),
    "tuple-by-place": classifier(of_arrays, partial(Tail, with_features), output=0),
    "dict-by-name": classifier(of_arrays, partial(Tail, features_first), output="scores"),
    "dict-by-function": classifier(of_arrays, partial(Tail, features_first), output=last_of),
    "own-loop-tuple": own(of_arrays, partial(Tail, with_features), output=0),
    "two-inputs": classifier(of_two_arrays, Wide),
    "tokens": classifier(of_tokens, Bag),
    "rows-of-datasets": classifier(of_rows, Bag),
    "ragged": own(of_ragged, Mean),
    "named-classes": classifier(of_named_classes, partial(Tail, alone)),
    "categories": classifier(of_categories, partial(Tail, alone)),
    "softmax-named": own(of_arrays, partial(Tail, softmax), "softmax", outputs="probabilities"),
    "softmax-tuple-named": own(of_arrays, partial(Tail, softmax_in_a_tuple), "softmax", outputs="probabilities"),
    "one-sigmoid-named": own(of_booleans, partial(Tail, sigmoid, 1), "sigmoid", outputs="probabilities"),
    "labels": classifier(of_several_labels, partial(Tail, alone, LABELS)),
    "labels-own-loop": own(of_several_labels, partial(Tail, alone, LABELS)),
    "labels-sigmoid-named": own(of_several_labels, partial(Tail, sigmoid, LABELS), "sigmoid", outputs="probabilities"),
    "amounts": classifier(of_amounts, partial(Tail, thousands, 1)),
    "amounts-own-loop": own(of_amounts, partial(Tail, thousands, 1), "square"),
    "bert": classifier(of_tokens, bert),
    "distilbert": classifier(of_rows, distilbert),
    "vit": classifier(of_pictures, vit),
}
ESTIMATORS: dict[str, Any] = {
    "frame": (of_frame, make_pipeline(columns(), RandomForestClassifier(12, n_jobs=1))),
    "polars": (of_polars, make_pipeline(columns(), RandomForestClassifier(12, n_jobs=1))),
    "text-pipeline": (of_texts, make_pipeline(TfidfVectorizer(), LogisticRegression(C=100))),
    "sparse": (of_sparse, LogisticRegression(C=100)),
    "sparse-svc": (of_sparse, LinearSVC(C=10)),
    "strings-as-labels": (of_named_classes, KNeighborsClassifier(4)),
    "booleans": (of_booleans, LogisticRegression(C=100)),
    "labels-forest": (of_several_labels, RandomForestClassifier(12, n_jobs=1)),
    "labels-one-vs-rest": (of_several_labels, OneVsRestClassifier(LogisticRegression(C=100))),
    "labels-network": (of_several_labels, MLPClassifier((16,), tol=10, n_iter_no_change=30)),
    "labels-neighbours": (of_several_labels, KNeighborsClassifier(4)),
    "amounts-forest": (of_amounts, RandomForestRegressor(12, n_jobs=1)),
    "amounts-ridge": (of_amounts, Ridge()),
}
RECIPES: dict[str, Any] = NETWORKS | {name: ma.EstimatorRecipe(*parts) for name, parts in ESTIMATORS.items()}


def missing_labels() -> ma.Examples:
    x, y = numbers()
    return ma.Examples(x, np.where(y == 0, None, NAMES[y]))


def untold_amounts() -> ma.Examples:
    return ma.Examples(numbers()[0], amounts())


def untold_labels() -> ma.Examples:
    return ma.Examples(numbers()[0], several_labels())


def uneven_tokens() -> ma.Examples:
    return ma.Examples.from_dataset([{"input_ids": list(range(n % 5 + 1)), "x": 1, "label": n % 2} for n in range(N)])


def holey_array() -> ma.Examples:
    x, y = numbers()
    return ma.Examples(np.where(x > 2, np.nan, x), y)


def object_array() -> ma.Examples:
    return ma.Examples(frame()[["job", "place"]].to_numpy(), numbers()[1])


REFUSED: dict[str, tuple[Any, str]] = {
    "two candidates": (classifier(of_arrays, partial(Tail, with_features)), "output=0"),
    "two candidates in a dict": (classifier(of_arrays, partial(Tail, features_first)), 'output="logits"'),
    "no such part": (classifier(of_arrays, partial(Tail, features_first), output="logits"), "no output='logits'"),
    "softmax": (own(of_arrays, partial(Tail, softmax), "softmax"), 'outputs="probabilities"'),
    "softmax in a tuple": (own(of_arrays, partial(Tail, softmax_in_a_tuple), "softmax"), 'outputs="probabilities"'),
    "one sigmoid": (own(of_booleans, partial(Tail, sigmoid, 1), "sigmoid"), "outputs="),
    "sigmoids of labels": (own(of_several_labels, partial(Tail, sigmoid, LABELS), "sigmoid"), '"probabilities"'),
    "trained sigmoids of labels": (classifier(of_several_labels, partial(Tail, sigmoid, LABELS)), "ends in a sigmoid"),
    "too few outputs for labels": (classifier(of_several_labels, partial(Tail, alone, 3)), "3 outputs for 4 labels"),
    "a class for a number": (classifier(of_amounts, partial(Tail, alone)), "3 outputs for 1 labels"),
    "amounts in another unit": (
        own(of_amounts, partial(Tail, in_thousands, 1), "square"),
        "in the unit of the labels",
    ),
    "untold amounts": (ma.EstimatorRecipe(untold_amounts, Ridge()), 'task="regression"'),
    "untold labels": (ma.EstimatorRecipe(untold_labels, KNeighborsClassifier()), 'task="multilabel"'),
    "a regressor for classes": (ma.EstimatorRecipe(of_arrays, Ridge()), "fit a classifier"),
    "a classifier for amounts": (ma.EstimatorRecipe(of_amounts, KNeighborsClassifier()), "fit a regressor"),
    "missing labels": (
        ma.EstimatorRecipe(missing_labels, KNeighborsClassifier()),
        "row 3 has none",
    ),
    "tokens of several lengths": (classifier(uneven_tokens, Bag), "pad it"),
    "NaN in an array": (ma.EstimatorRecipe(holey_array, KNeighborsClassifier()), "NaN or infinity, first in row"),
    "strings in an array": (ma.EstimatorRecipe(object_array, KNeighborsClassifier()), "give the DataFrame"),
    "a table for our loop": (classifier(of_frame, partial(Tail, alone)), "Encode them in examples"),
    "texts for our loop": (classifier(of_texts, partial(Tail, alone)), "Encode them in examples"),
    "a dict for an estimator": (
        ma.EstimatorRecipe(of_tokens, KNeighborsClassifier()),
        "no estimator of scikit-learn takes",
    ),
}
