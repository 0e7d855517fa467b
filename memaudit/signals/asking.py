"""Asking a causal language model for its logits, whatever its `forward` takes and returns."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from memaudit.errors import ModelError
from memaudit.recipe.blame import blame


class Answer(NamedTuple):
    """Logits `[texts, tokens, vocabulary]` in the model's own precision, and its cache; None if it keeps none."""

    logits: Tensor
    past: Any


def ask(
    model: torch.nn.Module, ids: Tensor, attended: Tensor | None = None, past: Any = None, cache: bool = False
) -> Answer:
    """Return what a model says after each token of some texts.

    A model may take `input_ids` alone; of the attention mask and the cache it is given what its `forward` can take.
    It may return the logits themselves, or hold them as `.logits`, `["logits"]` or the first of a tuple.

    Args:
        model: A causal language model.
        ids: Tokens `[texts, tokens]`; those after the cached ones if there is a cache.
        attended: Attention mask over all tokens, the cached ones included; all ones by default.
        past: The model's cache.
        cache: Whether to ask for a cache.

    Raises:
        RecipeError: The model's own code fails.
        ModelError: The model is an encoder-decoder, or its output is not one row of logits for each token.
    """
    _require_decoder(model)
    parameters = inspect.signature(model.forward).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    given: dict[str, Any] = {"attention_mask": torch.ones_like(ids) if attended is None else attended}
    if cache:
        given |= {"past_key_values": past, "use_cache": True}
    given = {name: value for name, value in given.items() if anything or name in parameters}
    named = anything or "input_ids" in parameters
    with blame("evaluating the model"):
        output = model(input_ids=ids, **given) if named else model(ids, **given)
    return Answer(_logits_in(output, ids), getattr(output, "past_key_values", None) if cache else None)


def sound(logits: Tensor) -> Tensor:
    """Return logits in float32; a model may rule tokens out with −inf, such as those that only fill its vocabulary up.

    Raises:
        ModelError: A logit is NaN or +inf, or every token is ruled out.
    """
    logits = logits.float()
    if not logits.amax(dim=-1).isfinite().all():  # the largest of NaN and a number is NaN
        raise ModelError("the model's output is NaN or infinite")
    return logits


def exact(model: torch.nn.Module) -> torch.nn.Module:
    """Return a model that computes in float32 or better: itself, or a copy of one whose weights are in half precision.

    In half precision the order of near ties, and so greedy decoding, depends on the texts in the same batch.
    """
    narrow = any(p.is_floating_point() and p.itemsize < 4 for p in model.parameters())
    return copy.deepcopy(model).float() if narrow else model


def _require_decoder(model: torch.nn.Module) -> None:
    config = getattr(model, "config", None)
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"the model is an encoder-decoder ({type(model).__name__}), and the recipe audits another kind: set "
            'Rendering(objective="seq2seq")'
        )


def _logits_in(output: Any, ids: Tensor) -> Tensor:
    if isinstance(output, Mapping):
        found = output.get("logits")
    else:
        found = getattr(output, "logits", output[0] if isinstance(output, tuple | list) and output else output)
    if not isinstance(found, Tensor):
        raise ModelError(
            f"the model returned a {type(output).__name__} without logits; its forward() must return logits "
            "[texts, tokens, vocabulary], or an object that holds them as .logits"
        )
    if found.ndim != 3 or found.shape[:2] != ids.shape:
        raise ModelError(
            f"the model's output for {list(ids.shape)} tokens has shape {list(found.shape)}; a causal language model "
            "has one row of logits for each token, [texts, tokens, vocabulary]"
        )
    return found
