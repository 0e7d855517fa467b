"""Models trained as a pack are those that are trained alone: bit for bit as products, within rounding through vmap."""

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import memaudit as ma
from memaudit.bank import Bank
from memaudit.errors import RecipeError
from memaudit.recipe import ClassifierRecipe, Examples, Observe, flip
from memaudit.recipe.recipes import SGD, AdamW
from memaudit.signals.observing import Observer, observer_of
from memaudit.training import making
from memaudit.training.classifier import Course, train_classifier
from memaudit.training.model import Workshop, reseed, seeded
from memaudit.training.packs import NotPackable, train_pack

Array = np.ndarray
ROWS, MODELS = 120, 5
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(ROWS, 24)).astype(np.float32)
IMAGES = RNG.normal(size=(ROWS, 1, 8, 8)).astype(np.float32)
TOKENS = RNG.integers(0, 20, (ROWS, 6))
CLASSES = np.arange(ROWS) % 4


def stack(outputs: int = 4, activation: type[nn.Module] = nn.LeakyReLU) -> nn.Module:
    inner = nn.Sequential(nn.Linear(64, 32), activation())
    return nn.Sequential(nn.Flatten(), nn.Linear(24, 64), nn.ReLU(), inner, nn.Linear(32, outputs, bias=False))


class Own(nn.Module):
    """A user's class."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(24, 64), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(functional.relu(self.a(torch.flatten(x, 1))))


class Two(nn.Module):
    """Takes two inputs by name, and returns logits among other things; a parameter is frozen, another is unused."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.frozen = nn.Linear(24, 4), nn.Embedding(20, 4), nn.Linear(4, 4).requires_grad_(False)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, features: Tensor, tokens: Tensor) -> dict[str, Tensor]:
        logits = self.frozen(self.a(features) + self.b(tokens).mean(1))
        return {"hidden": features, "logits": logits}


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.mixed, self.out = (
            nn.Embedding(20, 8),
            nn.LayerNorm(8),
            nn.Linear(8, 24),
            nn.Linear(8, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        q, k, v = self.mixed(self.norm(x)).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        return self.out((x + functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)).mean(1))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(64, 4)
    )


def recipe(model: Callable[[], nn.Module], **settings: Any) -> ClassifierRecipe:
    known: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 16,
        "optimizer": SGD(0.1, 0.9, 1e-3),
        "schedule": "cosine",
    } | settings
    return ClassifierRecipe(lambda: Examples(FEATURES, CLASSES), model, **known)


def counts(model: int) -> Array:
    """Training sets whose sizes, and numbers of batches, differ; some have an example twice."""
    rng = np.random.default_rng((9, model))
    drawn = (rng.random(ROWS) < (0.3, 0.5, 0.55, 0.6, 0.8)[model]).astype(np.uint8)
    drawn[:3] *= 2
    return drawn


def both(of: ClassifierRecipe, x: Any, y: Array | list[Array], same_bits: bool = False) -> tuple[list[Any], list[Any]]:
    """Return the models that are trained alone, and those of a pack."""
    inputs = {k: torch.from_numpy(v) for k, v in x.items()} if isinstance(x, dict) else torch.from_numpy(x)
    labels = [torch.from_numpy(part) for part in (y if isinstance(y, list) else [y] * MODELS)]

    def begin(model: int) -> Course:
        reseed(model)
        return Course(of, inputs, labels[model], counts(model), model)

    def train(number: int) -> nn.Module:
        return train_classifier(of, inputs, labels[number], counts(number), number)

    alone = [seeded(m, lambda _, seed: train(seed), counts(m)) for m in range(MODELS)]
    begins = [partial(begin, model) for model in range(MODELS)]
    return alone, seeded(0, lambda *_: train_pack(begins, same_bits), counts(0))


def difference(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((p - q).detach().abs().max()) for p, q in pairs)


CASES: dict[str, tuple[ClassifierRecipe, Any, Any]] = {
    "class of one's own": (recipe(Own), FEATURES, CLASSES),
    "convolutions": (recipe(convolutional), IMAGES, CLASSES),
    "transformer": (recipe(Transformer), TOKENS, CLASSES),
    "augmented": (recipe(convolutional, augment=flip), IMAGES, CLASSES),
    "AdamW": (recipe(convolutional, optimizer=AdamW(0.01)), IMAGES, CLASSES),
    "inputs by name": (recipe(Two), {"features": FEATURES, "tokens": TOKENS}, CLASSES),
    "batches of one": (recipe(Own, batch_size=1, epochs=1, optimizer=SGD(0.01)), FEATURES, CLASSES),
    "batches of all": (recipe(Own, batch_size=200), FEATURES, CLASSES),
}


@pytest.mark.parametrize("name", CASES)
def test_models_of_a_pack_are_those_trained_alone_within_rounding(name: str) -> None:
    """Of a training of some twenty steps, so that rounding has not grown; a wrong order or rate differs by 0.01."""
    alone, packed = both(*CASES[name])
    assert max(map(difference, alone, packed)) < 1e-5
    assert difference(packed[0], packed[1]) > 1e-3
    assert all(not p.training for p in packed)


PLAIN: dict[str, tuple[ClassifierRecipe, Any]] = {
    "class of one's own": (recipe(Own), CLASSES),
    "classes": (recipe(stack, label_smoothing=0.1), CLASSES),
    "one logit": (recipe(partial(stack, 1)), CLASSES % 2),
    "several labels": (recipe(partial(stack, 3)), RNG.integers(0, 2, (ROWS, 3))),
    "numbers": (recipe(partial(stack, 1), optimizer=SGD(0.01)), RNG.normal(size=ROWS).astype(np.float32)),
    "noisy labels": (recipe(stack), [(CLASSES + (RNG.random(ROWS) < 0.1)) % 4 for _ in range(MODELS)]),
    "a layer at a time": (recipe(stack, optimizer=lambda ps: Scaled(ps)), CLASSES),
    "tanh": (recipe(partial(stack, activation=nn.Tanh)), CLASSES),
    "float64": (recipe(lambda: stack().double()), CLASSES),
}


class Scaled(torch.optim.Optimizer):
    """Steps by the norm of each tensor, as LARS does: no function of single elements."""

    def __init__(self, parameters: Any):
        super().__init__(parameters, {"lr": 0.05})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                p -= group["lr"] * p.norm() / (p.grad.norm() + 1e-6) * p.grad


@pytest.mark.parametrize("name", PLAIN)
def test_plain_stacks_are_the_same_to_the_last_bit_or_refused(name: str) -> None:
    of, y = PLAIN[name]
    alone, packed = both(of, FEATURES, y)
    assert max(map(difference, alone, packed)) < 1e-5
    try:
        alone, packed = both(of, FEATURES, y, same_bits=True)
    except NotPackable as why:
        assert "rounded" in str(why)
        assert name not in ("classes", "class of one's own")
    else:
        assert max(map(difference, alone, packed)) == 0


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(24, 4), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.layer(x)


class Listing(Counting):
    """Counts in a list, which stays the same object."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = [0]

    def forward(self, x: Tensor) -> Tensor:
        self.seen[0] += 1
        return self.layer(x) if self.seen[0] < 9 else self.layer(-x)


class Warming(Counting):
    """Counts in a tensor that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.heat = torch.zeros(1)

    def forward(self, x: Tensor) -> Tensor:
        self.heat += 1
        return self.layer(x) * self.heat.clamp(max=9) / 9


def freezing(parameters: Any) -> torch.optim.Optimizer:
    """Freeze the first parameter on the way; no batch is compared between then and the end."""
    known = list(parameters)
    optimizer, steps = torch.optim.SGD(known, 0.1), iter(range(100))

    def step(*_: Any) -> None:
        known[0].requires_grad_(next(steps) < 4)

    optimizer.register_step_post_hook(step)
    return optimizer


class Hidden(nn.Module):
    """Has a random mask of its own that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.mask = nn.Linear(24, 4), (torch.rand(24) < 0.5).float()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x * self.mask)


class Locked(Counting):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x if x.sum() > 0 else -x)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(24, 4), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) + functional.relu(self.b(x))


class Moving(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step()
        for p in self.param_groups[0]["params"]:
            p.data = p.data.clone()


def draws(x: Tensor, generator: torch.Generator) -> Tensor:
    return x + 0.01 * torch.randn(x.shape)


def hooked() -> nn.Module:
    network = stack()
    next(network.parameters()).register_hook(lambda gradient: gradient * 2)  # type: ignore[no-untyped-call]
    return network


def sized() -> nn.Module:
    hidden = 8 + int(torch.randint(0, 50, ()))
    return nn.Sequential(nn.Linear(24, hidden), nn.ReLU(), nn.Linear(hidden, 4))


REFUSED: dict[str, tuple[ClassifierRecipe, str]] = {
    "batch norm": (recipe(lambda: nn.Sequential(nn.Linear(24, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))), "buffers"),
    "dropout": (recipe(lambda: nn.Sequential(nn.Linear(24, 8), nn.Dropout(), nn.Linear(8, 4))), "random numbers"),
    "augmentation": (recipe(stack, augment=draws), "random numbers"),
    "counter": (recipe(Counting), "attributes"),
    "list": (recipe(Listing), "attributes"),
    "plain tensor": (recipe(Warming), "gradient|attributes"),
    "freezing": (recipe(stack, optimizer=freezing), "freezes"),
    "lock": (recipe(Locked), "cannot be compared"),
    "mask": (recipe(Hidden), "gradient"),
    "branch": (recipe(Branching), "vmap"),
    "not a chain": (recipe(Residual), "plain stack"),
    "optimizer": (recipe(stack, optimizer=lambda ps: Moving(ps, lr=0.1)), "replaces the tensors"),
    "hook": (recipe(hooked), "hook"),
    "sizes": (recipe(sized), "differ"),
    "half precision": (recipe(lambda: stack().bfloat16()), "bfloat16"),
    "diverging": (recipe(stack, optimizer=SGD(1e38)), "diverged"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_packed_is_refused_with_the_reason(name: str) -> None:
    of, reason = REFUSED[name]
    inputs, labels = torch.from_numpy(FEATURES), torch.from_numpy(CLASSES)

    def begin(model: int) -> Course:
        reseed(model)
        return Course(of, inputs, labels, counts(model), model)

    with pytest.raises(NotPackable, match=reason):
        seeded(0, lambda *_: train_pack([partial(begin, m) for m in range(3)], name == "not a chain"), counts(0))


def bank_recipe(**settings: Any) -> ClassifierRecipe:
    return recipe(stack, **{"observe": Observe(3)} | settings)


def contents(bank: Bank) -> dict[str, bytes]:
    files = (f for f in bank.path.rglob("*") if f.is_file() and f.name != "model.json")
    return {str(f.relative_to(bank.path)): f.read_bytes() for f in files}


@pytest.mark.parametrize(
    "settings", [{}, {"design": ma.Subsets(label_noise=0.2)}, {"design": ma.Subsets(share=0.3)}], ids=repr
)
def test_a_packed_bank_is_the_unpacked_one_to_the_last_bit(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, signals, and what was seen of the models while they trained; and it was packed."""
    sizes: list[int] = []
    monkeypatch.setattr("memaudit.training.packs._Pack", _counted(sizes))
    alone = ma.fill(tmp_path / "alone", bank_recipe(), 8, device="cpu", pack=1, **settings)
    assert not sizes
    packed = ma.fill(tmp_path / "packed", bank_recipe(), 8, device="cpu", **settings)
    assert sizes == [7]
    assert contents(alone) == contents(packed)


def _counted(sizes: list[int]) -> Any:
    from memaudit.training import packs

    class Counted(packs._Pack):
        def __init__(self, courses: Any, *rest: Any):
            sizes.append(len(courses))
            super().__init__(courses, *rest)

    return Counted


def test_a_kill_in_a_pack_loses_that_pack_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "_PACK", 3)
    whole = ma.fill(tmp_path / "whole", bank_recipe(), 8, device="cpu")
    begun = 0

    def dying(self: Workshop, *given: Any) -> Course:
        nonlocal begun
        begun += 1
        if begun == 5:  # one alone, a pack of three, and in the second pack
            raise KeyboardInterrupt
        return course(self, *given)

    course = Workshop.course
    with monkeypatch.context() as patch:
        patch.setattr(Workshop, "course", dying)
        with pytest.raises(KeyboardInterrupt):
            ma.fill(tmp_path / "killed", bank_recipe(), 8, device="cpu")
    assert len(Bank.open(tmp_path / "killed").models()) == 4
    assert contents(ma.fill(tmp_path / "killed", bank_recipe(), 8, device="cpu")) == contents(whole)


def test_packs_that_were_asked_for_are_in_the_records_and_otherwise_the_reason(tmp_path: Path) -> None:
    own = ma.fill(tmp_path / "own", recipe(Own), 4, device="cpu", pack=3)
    assert sorted(own.record(m).get("pack", 1) for m in range(4)) == [1, 3, 3, 3]
    dropout = recipe(lambda: nn.Sequential(nn.Linear(24, 8), nn.Dropout(), nn.Linear(8, 4)))
    other = ma.fill(tmp_path / "other", dropout, 4, device="cpu", pack=4)
    assert all("dropout" in other.record(m)["alone"] for m in range(4))


def test_a_failure_in_a_pack_is_told_of_the_model_that_it_is_in(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"shadow model \d: training diverged"):
        ma.fill(tmp_path / "bank", bank_recipe(optimizer=SGD(1e38)), 4, device="cpu", pack=4)


def test_observers_of_a_pack_see_every_model_as_alone() -> None:
    """Each look has the weights of its model at its epoch, though all epochs have different numbers of steps."""
    of = bank_recipe()
    population = of.examples()
    shop = Workshop(of, population, 0, "cpu")
    looks: list[Observer] = [observer_of(of, population) for _ in range(MODELS)]
    begin = [partial(shop.course, counts(m), m, looks[m]) for m in range(MODELS)]
    networks = seeded(0, lambda *_: train_pack(begin), counts(0))
    for m, (network, seen) in enumerate(zip(networks, looks, strict=True)):
        _, alone = shop.train_observed(counts(m), m)
        packed = seen.tensors(network)
        assert alone.keys() == packed.keys() and len(alone)
        assert all(np.allclose(alone[name], packed[name], 1e-4, 1e-5) for name in alone)


def test_memory_of_the_device_halves_the_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def small(begin: Any, same_bits: bool) -> Any:
        from memaudit.training.packs import TooLarge

        sizes.append(len(begin))
        if len(begin) > 2:
            raise TooLarge("the device has no memory for so many models at once")
        return train_pack(begin, same_bits)

    monkeypatch.setattr("memaudit.training.packs.train_pack", small)
    bank = ma.fill(tmp_path / "bank", replace(bank_recipe(), epochs=1), 8, device="cpu", pack=8)
    assert sizes == [8, 4, 2, 2, 2, 2]
    assert bank.models() == list(range(8))
