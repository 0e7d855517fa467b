"""What a model returns: logits, probabilities of any kind, or something that no number should be made of."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import memaudit as ma
from memaudit.errors import ModelError, RecipeError
from memaudit.recipe import SGD, CallableRecipe, ClassifierRecipe, Examples, Recipe
from memaudit.recipe.recipes import Outputs
from memaudit.signals import evaluate, scaled_logit

Array = np.ndarray


def numbered(y: Array) -> Examples:
    return Examples(np.arange(len(y), dtype=np.float32)[:, None], y)


class Table(nn.Module):
    """Answers with given logits, turned into something else, for inputs that are row numbers."""

    def __init__(self, logits: Array, ending: Callable[[torch.Tensor], Any] = lambda z: z) -> None:
        super().__init__()
        self.logits, self.ending = nn.Parameter(torch.as_tensor(logits, dtype=torch.float32)), ending

    def forward(self, x: torch.Tensor) -> Any:
        return self.ending(self.logits[x[:, 0].long()])


RNG = np.random.default_rng(0)
Y = RNG.integers(0, 4, 200)
LOGITS = RNG.normal(0, 3, (200, 4))
LOGIT = RNG.normal(0, 3, 200)


def phi_of(z: Array, y: Array) -> Array:
    return scaled_logit(z if z.ndim == 2 else z[:, None], y)


def softmax_by_hand(z: torch.Tensor) -> torch.Tensor:
    return z.exp() / z.exp().sum(dim=1, keepdim=True)


def votes_of_20(z: torch.Tensor) -> torch.Tensor:
    first = (20 * z[:, 0].sigmoid()).round()
    return torch.stack([first, 20 - first, 0 * first, 0 * first], dim=1)


def sigmoid_by_hand(z: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + torch.exp(-z))


LOOK_LIKE_PROBABILITIES: dict[str, tuple[Array, Callable[[torch.Tensor], torch.Tensor], str]] = {
    "softmax": (LOGITS, nn.Softmax(dim=1), "sums to 1. Remove the softmax"),
    "softmax by hand": (LOGITS, softmax_by_hand, "sums to 1. Remove the softmax"),
    "softmax in bfloat16": (LOGITS, lambda z: z.bfloat16().softmax(dim=1), "sums to 1. Remove the softmax"),
    "one sigmoid": (LOGIT, torch.sigmoid, "is between 0 and 1"),
    "one sigmoid in a column": (LOGIT[:, None], torch.sigmoid, "is between 0 and 1"),
    "one sigmoid by hand": (LOGIT, sigmoid_by_hand, "is between 0 and 1"),
    "a sigmoid a class": (LOGITS, torch.sigmoid, "is between 0 and 1"),
    "percentages": (LOGITS, lambda z: 100 * z.softmax(dim=1), "every row sums to 100"),
    "votes of 20": (LOGITS, votes_of_20, "every row sums to 20"),
    "hard decisions": (LOGITS, lambda z: F.one_hot(z.argmax(dim=1), 4).float(), "sums to 1. Remove the softmax"),
}


@pytest.mark.parametrize("case", LOOK_LIKE_PROBABILITIES)
def test_probabilities_are_not_read_as_logits(case: str) -> None:
    """csong27/membership-inference#10: every one of them is above 0, which would mean class 1."""
    logits, ending, said = LOOK_LIKE_PROBABILITIES[case]
    y = Y if logits.shape[1:] == (4,) else Y % 2
    with pytest.raises(ModelError, match=said) as error:
        evaluate(Table(logits, ending), numbered(y))
    assert "outputs=" in str(error.value), "the way out"


READINGS: list[tuple[Outputs | None, Array, Callable[[torch.Tensor], torch.Tensor]]] = [
    (None, LOGITS, lambda z: z),
    ("logits", LOGITS, lambda z: z),
    (None, LOGITS, nn.LogSoftmax(dim=1)),
    ("log-probabilities", LOGITS, nn.LogSoftmax(dim=1)),
    ("probabilities", LOGITS, nn.Softmax(dim=1)),
    ("probabilities", LOGIT, torch.sigmoid),
    ("one-vs-rest", LOGIT[:, None], torch.sigmoid),
]


@pytest.mark.parametrize(("outputs", "logits", "ending"), READINGS)
def test_the_same_model_has_the_same_signals_whatever_it_returns(
    outputs: Outputs | None, logits: Array, ending: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    y = Y if logits.shape[1:] == (4,) else Y % 2
    signals = evaluate(Table(logits, ending), numbered(y), outputs=outputs)
    np.testing.assert_allclose(signals.phi[:, 0], phi_of(logits, y), rtol=1e-3, atol=1e-3)
    assert np.array_equal(signals.correct, evaluate(Table(logits), numbered(y)).correct)


def test_softmax_probabilities_keep_what_single_precision_rounds_away() -> None:
    """p_y is 1 in single precision from φ = 17 on; the other classes' probabilities still tell 20 from 60."""
    logits = np.zeros((40, 3))
    logits[np.arange(40), np.arange(40) % 3] = np.linspace(20, 60, 40)
    signals = evaluate(Table(logits, nn.Softmax(dim=1)), numbered(np.arange(40) % 3), outputs="probabilities")
    np.testing.assert_allclose(signals.phi[:, 0], np.linspace(20, 60, 40) - np.log(2), rtol=1e-5)


def test_of_independent_probabilities_phi_is_the_log_odds_of_the_true_class() -> None:
    signals = evaluate(Table(LOGITS, torch.sigmoid), numbered(Y), outputs="one-vs-rest")
    np.testing.assert_allclose(signals.phi[:, 0], LOGITS[np.arange(200), Y], rtol=1e-3, atol=1e-3)
    assert np.array_equal(signals.correct, LOGITS.argmax(axis=1) == Y)


@pytest.mark.parametrize(
    ("outputs", "ending", "said"),
    [
        ("probabilities", lambda z: z, "they reach from"),
        ("probabilities", torch.sigmoid, 'one sigmoid a class, are "one-vs-rest"'),
        ("one-vs-rest", lambda z: z, "they reach from"),
        ("log-probabilities", lambda z: z, "do not sum to 1 after"),
        ("log-probabilities", nn.Softmax(dim=1), "do not sum to 1 after"),
    ],
)
def test_a_recipe_that_says_the_wrong_thing_is_refused(outputs: Outputs, ending: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        evaluate(Table(LOGITS, ending), numbered(Y), outputs=outputs)


def test_true_logits_between_0_and_1_are_logits_where_the_last_layer_is_linear() -> None:
    """As of a network that is hardly trained: a linear layer can return any number."""
    x = np.random.default_rng(0).random((60, 5)).astype(np.float32)
    layer = nn.Linear(5, 3)
    for network, y in ((layer, np.arange(60) % 3), (nn.Sequential(nn.Linear(5, 1), nn.Flatten(0)), np.arange(60) % 2)):
        for parameter in network.parameters():
            nn.init.uniform_(parameter, 0.0, 0.15)
        for frozen in (False, True):
            network.requires_grad_(not frozen)
            assert evaluate(network, Examples(x, y)).read_as == "logits"
    convolution = nn.Sequential(nn.Conv1d(1, 3, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    for parameter in convolution.parameters():
        nn.init.uniform_(parameter, 0.0, 0.3)
    assert evaluate(convolution, Examples(x[:, None], np.arange(60) % 3)).read_as == "logits"


@pytest.mark.parametrize("high", [0.009, 0.5])
def test_small_positive_outputs_are_no_log_probabilities(high: float) -> None:
    with pytest.raises(ModelError, match="is between 0 and 1"):
        evaluate(Table(RNG.random((200, 4)) * high), numbered(Y))


def test_outputs_that_do_not_vary_are_no_shares() -> None:
    """As of a network that has collapsed: every row has the same sum, because every row is the same."""
    assert evaluate(Table(np.tile([3.0, 0.0, 2.0, 1.0], (200, 1))), numbered(Y)).read_as == "logits"


def test_the_recipes_word_settles_what_cannot_be_recognised() -> None:
    """Logits within (0, 1) from something else than a linear layer: refused, and read once they are called logits."""
    logits = RNG.random((50, 3)) * 0.9
    with pytest.raises(ModelError, match='outputs="logits"'):
        evaluate(Table(logits), numbered(np.arange(50) % 3))
    signals = evaluate(Table(logits), numbered(np.arange(50) % 3), outputs="logits")
    np.testing.assert_allclose(signals.phi[:, 0], phi_of(logits, np.arange(50) % 3), rtol=1e-4, atol=1e-5)


def test_one_output_outside_of_0_and_1_makes_them_logits() -> None:
    logits = RNG.random((3000, 3))
    logits[2900, 1] = 1.5
    assert evaluate(Table(logits), numbered(np.arange(3000) % 3)).read_as == "logits"


def test_a_class_that_is_masked_has_no_probability() -> None:
    logits = LOGITS.copy()
    masked = (Y + 1 + np.arange(200) % 3) % 4
    logits[np.arange(200), masked] = -np.inf
    signals = evaluate(Table(logits), numbered(Y))
    far = np.where(np.isneginf(logits), -1e9, logits)
    np.testing.assert_allclose(signals.phi[:, 0], phi_of(far, Y), rtol=1e-4, atol=1e-5)
    logits[7] = np.where(np.arange(4) == Y[7], 0, -np.inf)
    with pytest.raises(ModelError, match="NaN or infinite, first in row 7"):
        evaluate(Table(logits), numbered(Y))


Named = namedtuple("Named", "logits features")  # what torchvision's GoogLeNet returns


class ModelOutput(OrderedDict):  # type: ignore[type-arg]
    """As of the transformers library: a dict whose items are attributes, too."""

    @property
    def logits(self) -> torch.Tensor:
        return self["logits"]


HOLDS_LOGITS: list[Callable[[torch.Tensor], Any]] = [
    lambda z: {"logits": z},
    lambda z: {"features": z[:, :1], "logits": z},
    lambda z: Named(z, z[:, :1]),
    lambda z: SimpleNamespace(logits=z, loss=None),
    lambda z: ModelOutput(logits=z, hidden_states=None),
]


@pytest.mark.parametrize("ending", HOLDS_LOGITS)
def test_logits_are_found_by_name_in_what_a_network_returns(ending: Callable[[torch.Tensor], Any]) -> None:
    assert np.array_equal(evaluate(Table(LOGITS, ending), numbered(Y)).phi, evaluate(Table(LOGITS), numbered(Y)).phi)


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        (lambda z: (z, z), "the model returned a tuple of 2; return the logits alone"),
        (lambda z: {"out": z, "aux": z}, "a dict with the keys 'out', 'aux'"),
        (lambda z: {}, "with the keys .none."),
        (lambda z: z.detach().numpy(), "the model returned a ndarray"),
        (lambda z: None, "the model returned a NoneType"),
        (lambda z: {"logits": (z,)}, "the model returned a dict with the keys 'logits'"),
        (lambda z: z + 0j, "of torch.complex64"),
        (lambda z: z.argmax(dim=1), "of torch.int64"),
        (lambda z: z > 0, "of torch.bool"),
        (lambda z: z[:-1], "output has shape"),
        (lambda z: z[:, :, None], "output has shape"),
    ],
)
def test_what_holds_no_logits_is_refused_with_what_was_returned(ending: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        evaluate(Table(LOGITS, ending), numbered(Y))


def test_a_network_with_the_methods_of_an_estimator_is_a_network() -> None:
    class Both(Table):
        classes_ = np.arange(4)

        def predict_proba(self, x: torch.Tensor) -> torch.Tensor:
            return self(x).softmax(dim=1)

        def predict(self, x: torch.Tensor) -> torch.Tensor:
            return self(x).argmax(dim=1)

    assert np.array_equal(evaluate(Both(LOGITS), numbered(Y)).phi, evaluate(Table(LOGITS), numbered(Y)).phi)


def test_one_confidence_for_everybody_is_nothing_to_attack() -> None:
    for logits in (np.zeros((200, 4)), np.full((200, 4), -7.0)):
        with pytest.raises(ModelError, match="same confidence in the label of all 200 examples"):
            evaluate(Table(logits), numbered(Y))


class Unsteady(nn.Module):
    """A network that does something in evaluation mode that belongs into training."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.calls = how, 0
        self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 3)
        self.norm = nn.BatchNorm1d(32, track_running_stats=how != "no running statistics")
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.how == "puts itself into training mode":
            self.train()
        if self.how == "puts its norm into training mode":
            self.norm.train()
        x = x - x.mean(dim=0) if self.how == "centres the batch" else x
        x = self.norm(self.first(x)) if "norm" in self.how or "statistics" in self.how else self.first(x)
        x = self.dropout(x.relu())
        if self.how == "dropout stays on":
            x = F.dropout(x, 0.1, training=True)
        if self.how == "noise":
            x = x + 0.1 * torch.randn_like(x)
        return self.last(x) + (0.1 * self.calls if self.how == "counts its calls" else 0)


RANDOM = ("dropout stays on", "noise", "counts its calls", "puts itself into training mode")
TOGETHER = ("no running statistics", "centres the batch", "puts its norm into training mode")


def data() -> Examples:
    rng = np.random.default_rng(0)
    return Examples(rng.normal(size=(100, 6)).astype(np.float32), rng.integers(0, 3, 100))


@pytest.mark.parametrize("how", [*RANDOM, *TOGETHER])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
def test_scores_that_change_are_refused_with_the_reason(how: str, kind: torch.dtype) -> None:
    """tae898/age-gender#16: dropout is active when the model is used."""
    torch.manual_seed(0)
    said = "the model is random: " if how in RANDOM else "depend on the others in its batch"
    with pytest.raises(ModelError, match=said):
        evaluate(Unsteady(how).to(kind), data())


def test_the_layers_to_look_at_are_named() -> None:
    with pytest.raises(ModelError, match=r"look at norm\)"):
        evaluate(Unsteady("no running statistics"), data())


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("rows", [4, 5, 33, 100])
def test_a_steady_network_is_taken_whatever_its_precision_and_depth(kind: torch.dtype, rows: int) -> None:
    """Ten layers of 64: rounding differs with the size of the batch."""
    torch.manual_seed(1)
    layers = [layer for _ in range(10) for layer in (nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU())]
    network = nn.Sequential(nn.Linear(6, 64), *layers, nn.Dropout(0.5), nn.Linear(64, 3)).to(kind)
    examples = data()
    assert evaluate(network, Examples(examples.x[:rows], np.arange(rows) % 3)).phi.shape == (rows, 1)


def test_rounding_is_no_dependence_on_the_batch_where_outputs_hardly_vary() -> None:
    """In bfloat16, 8 bits: outputs around 3 that differ by a hundredth between examples, as of a model at its start."""

    class Rough(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = 3 + 0.01 * self.layer(x)
            return (z * (1 + 0.003 * (len(x) % 2))).bfloat16()  # a rounding error that changes with the size of a batch

    assert evaluate(Rough(), data()).phi.shape == (100, 1)


def test_a_query_that_draws_anew_is_named() -> None:
    def rotated(x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn_like(x)

    with pytest.raises(ModelError, match=r"query 1, .*rotated.*: the model is random"):
        evaluate(nn.Linear(6, 3), data(), (rotated,))


def test_a_network_that_is_handed_out_twice_is_refused(tmp_path: Path) -> None:
    network = nn.Linear(6, 3)
    recipe = ClassifierRecipe(data, lambda: network, 1, 20, SGD(lr=0.1))
    with pytest.raises(RecipeError, match="a network that was trained before; build a new one"):
        ma.fill(tmp_path / "bank", recipe, 4, device="cpu")


def no_loop(model: Callable[[], Any]) -> Callable[..., Any]:
    return lambda dataset, *, seed, device: model()


def classifier(ending: nn.Module, outputs: Any = None) -> ClassifierRecipe:
    return ClassifierRecipe(data, lambda: nn.Sequential(nn.Linear(6, 3), ending), 1, 20, SGD(lr=0.1), outputs=outputs)


class ByHand(nn.Module):
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return softmax_by_hand(z)


BEFORE_TRAINING: dict[str, tuple[Recipe, str]] = {
    "softmax": (classifier(nn.Softmax(dim=1)), "the network ends in a softmax"),
    "sigmoid": (classifier(nn.Sigmoid()), "the network ends in a sigmoid"),
    "softmax by hand": (classifier(ByHand()), "sums to 1. Remove the softmax"),
    "own loop with softmax": (CallableRecipe(data, no_loop(lambda: classifier(nn.Softmax(1)).model())), "sums to 1"),
    "dropout": (CallableRecipe(data, no_loop(lambda: Unsteady("dropout stays on"))), "the model is random"),
    "batch statistics": (CallableRecipe(data, no_loop(lambda: Unsteady("centres the batch"))), "others in its batch"),
}


@pytest.mark.parametrize("case", BEFORE_TRAINING)
def test_a_fill_stops_at_its_first_model(case: str, tmp_path: Path) -> None:
    recipe, said = BEFORE_TRAINING[case]
    with pytest.raises(RecipeError, match=f"shadow model \\d: .*{said}"):
        ma.fill(tmp_path / "bank", recipe, 4, device="cpu")
    assert ma.Bank.open(tmp_path / "bank").models() == []


def test_a_classifier_recipe_takes_logits_alone() -> None:
    with pytest.raises(RecipeError, match="remove the softmax or sigmoid"):
        classifier(nn.Softmax(dim=1), outputs="probabilities")
    with pytest.raises(RecipeError, match="choose one of 'logits'"):
        CallableRecipe(data, no_loop(lambda: None), outputs="scores")  # type: ignore[arg-type]


def test_the_answer_is_part_of_the_fingerprint_where_it_changes_the_numbers(tmp_path: Path) -> None:
    from memaudit.recipe import fingerprint

    loop = no_loop(lambda: None)
    lines = {
        outputs: fingerprint(CallableRecipe(data, loop, outputs=outputs), data(), 0)
        for outputs in (None, "logits", "probabilities", "one-vs-rest")
    }
    assert lines[None] == lines["logits"], "a bank that was filled before the question came up stays of use"
    assert "recipe.outputs" not in lines[None]
    assert lines["probabilities"]["recipe.outputs"] != lines["one-vs-rest"]["recipe.outputs"]


def test_training_finds_the_logits_where_scoring_does(tmp_path: Path) -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": self.layer(x)}

    recipes = [
        ClassifierRecipe(data, model, 2, 20, SGD(lr=0.1)) for model in (Holder, lambda: nn.Sequential(nn.Linear(6, 3)))
    ]
    held, plain = (ma.fill(tmp_path / str(n), recipe, 2, device="cpu") for n, recipe in enumerate(recipes))
    assert np.array_equal(held.tensors(0)["phi"], plain.tensors(0)["phi"])
