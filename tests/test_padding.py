"""Batches of texts are trained on in groups of like length: the gradient of the padded batch, with little padding."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
import torch
from loading import RECIPES, unregistered
from transformers import LlamaConfig, LlamaForCausalLM

import memaudit as ma
from memaudit.recipe import Row, TextPopulation
from memaudit.training import losses

kinds = unregistered(RECIPES / "kinds.py")


def llama() -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=kinds.VOCABULARY,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
        )
    )


def sentences() -> ma.Documents:
    """Returns twelve texts of 1 to 12 words."""
    return ma.Documents([" ".join(kinds.sentences()[n].split()[: n + 1]) for n in range(12)], similarity=None)


def pairs() -> ma.Documents:
    texts = sentences().texts
    return ma.Documents(
        [{"prompt": a, "completion": b} for a, b in zip(texts, [*texts[3:], *texts[:3]], strict=True)], similarity=None
    )


KINDS: dict[str, tuple[Callable[[], Any], Callable[[], ma.Documents], ma.Rendering]] = {
    "causal": (llama, sentences, kinds.CAUSAL),
    "masked": (kinds.bert, sentences, kinds.MASKED),
    "t5": (kinds.t5, pairs, kinds.SEQ2SEQ),
    "bart": (kinds.bart, pairs, kinds.SEQ2SEQ),
}


def training(model: torch.nn.Module) -> torch.nn.Module:
    """Returns a model in training mode, without dropout: its masks have another order in groups."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "attention_dropout", "activation_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model.train()


def slope(model: torch.nn.Module, people: TextPopulation, rows: list[Row]) -> tuple[float, torch.Tensor, int]:
    """Returns the loss of a batch, its gradient, and in how many passes it was made."""
    model.zero_grad()
    parts = []
    for part in losses.parts_of_loss(model, people, rows, torch.Generator().manual_seed(5), "cpu"):
        part.backward()  # type: ignore[no-untyped-call]
        parts.append(part.item())
    grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return sum(parts), torch.cat(grads), len(parts)


@pytest.mark.parametrize("kind", KINDS)
def test_groups_have_the_gradient_of_the_padded_batch(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, documents, rendering = KINDS[kind]
    people = TextPopulation(documents(), rendering, kinds.PROBES)
    rows = [row for part in people.rows for row in part]
    torch.manual_seed(0)
    model = training(make())
    monkeypatch.setattr(losses, "_PASS", 4.0)
    loss, found, passes = slope(model, people, rows)
    monkeypatch.setattr(losses, "_PASS", math.inf)
    whole, expected, one = slope(model, people, rows)
    assert passes > 2
    assert one == 1
    assert loss == pytest.approx(whole, rel=1e-5)
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("start", [0.0, 3.0, 20.0, 1000.0])
def test_the_groups_are_the_cheapest_of_all_cuts(start: float) -> None:
    lengths = [7, 2, 2, 30, 11, 8, 29, 1]
    groups = losses._alike(torch.tensor(lengths), start)
    assert sorted(int(n) for group in groups for n in group) == list(range(len(lengths)))

    def price(parts: list[list[int]]) -> float:
        return sum(start + len(part) * max(part) for part in parts)

    ordered, cuts = sorted(lengths), range(1, len(lengths))
    every = (
        [ordered[a:b] for a, b in zip((0, *cut), (*cut, len(lengths)), strict=True)]
        for size in range(len(lengths))
        for cut in combinations(cuts, size)
    )
    assert price([[lengths[n] for n in group] for group in groups]) == min(map(price, every))


def test_a_gpu_and_batch_normalization_keep_a_batch_whole() -> None:
    plain, mixing = torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.BatchNorm1d(2))
    assert losses._pass_in_tokens(plain, "cpu") == losses._PASS
    assert losses._pass_in_tokens(plain, "cuda:0") == math.inf
    assert losses._pass_in_tokens(mixing, "cpu") == math.inf
    (group,) = losses._alike(torch.tensor([3, 1, 2]), math.inf)
    assert group.tolist() == [0, 1, 2]
