"""Is it a causal language model? A few passes over a few documents, before anything is measured.

An encoder-decoder is one of its output, read as `EncoderDecoder`; of it only the output part of a row is changed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from memaudit.errors import ModelError
from memaudit.recipe import Row, TextPopulation
from memaudit.signals.asking import ask, sound

_ROWS, _LONGEST, _LEAST = 4, 64, 4  # rows that are read, and the most and the fewest tokens of each
_SHORTER = 3  # tokens that each row is shorter than the one before: the batch is padded
_ROUNDING = 1e-3  # of the largest logit
_COPIED = 0.5  # probability of the token just read, where the next one has less than a uniform guess
_BETTER, _ERRORS = 1.0, 5.0  # nats, and standard errors, by which another token is likelier than the next one


@torch.inference_mode()
def require_causal(model: torch.nn.Module, population: TextPopulation, device: str = "cpu") -> None:
    """Refuse a model whose output after a token is not a function of the tokens up to it, that one included.

    Everything that is measured assumes it: a masked model sees the answer, a model whose output is shifted is scored
    on the wrong token, and one that changes from pass to pass, or with its batch, has no score.

    Args:
        model: It is moved to the device and put into evaluation mode.
        population: Whose documents are read.
        device: Where the model is run.

    Raises:
        ModelError: Names what is wrong: fewer outputs than tokens, random output, dependence on later tokens, on the
            batch, on padding or on the cache, or output that is shifted by one.
    """
    model = model.to(device).eval()
    rows = probed_rows(population)
    if not rows:
        return
    alone = [_said(model, [ids], device)[0] for ids in rows]
    if alone[0].shape[1] < population.renderer.vocabulary:
        raise ModelError(
            f"the tokenizer does not match: it has {population.renderer.vocabulary} tokens, the model only "
            f"{alone[0].shape[1]} outputs"
        )
    require_logits(alone)
    require_same(
        _said(model, rows[:1], device), alone[:1], "two passes over one text differ: dropout or sampling is on in "
        "evaluation mode; switch it off in forward() when self.training is False"
    )  # fmt: skip
    _require_blind_to_the_future(model, rows, alone, population, device)
    require_same(
        _said(model, rows, device),
        alone,
        "its output for a text changes with the texts in the same batch, or with padding behind it",
    )
    _require_same_cache(model, rows[0], alone[0], _middle(rows[0], population), device)


def require_next_token(model: torch.nn.Module, population: TextPopulation, device: str = "cpu") -> None:
    """Refuse a trained model that predicts another token than the next one: its labels were shifted not once.

    Raises:
        ModelError: The token just read has a probability above one half, and the next one less than 1 / vocabulary; or
            the token after the next, or the one before, is likelier than the next one by a nat and by five standard
            errors.
    """
    found: dict[int, list[Tensor]] = {shift: [] for shift in (-1, 0, 1, 2)}
    model = model.to(device).eval()
    with torch.inference_mode():
        for ids in probed_rows(population):
            log_p = torch.log_softmax(_said(model, [ids], device)[0], dim=1)
            tokens = torch.as_tensor(ids, dtype=torch.long)
            at = torch.arange(population.renderer.begin(ids) + 1, len(ids) - 2)
            at = at[tokens[at + 1] != tokens[at]]
            for shift, of in found.items():
                of.append(log_p[at, tokens[at + shift]])
    said = {shift: torch.cat(of).double() for shift, of in found.items() if of}
    if not said or len(said[1]) < _LEAST:
        return
    copied, guess = float(said[0].mean()), -float(np.log(population.renderer.vocabulary))
    if copied > np.log(_COPIED) and float(said[1].mean()) < guess:
        raise ModelError(
            "the model predicts the token that it has just read, not the next one: it is untrained, or was trained on "
            "labels that are not shifted; the logits after token t are those of token t + 1"
        )
    if likelier(said[2], said[1]):
        raise ModelError(
            "the model predicts the token after the next one, not the next one: its labels were shifted twice. Models "
            "of the transformers library shift them themselves: pass labels=input_ids"
        )
    if likelier(said[-1], said[1]):
        raise ModelError(
            "the model predicts the token before the one that it has just read: its labels were shifted the wrong way; "
            "the logits after token t are those of token t + 1"
        )


def likelier(one: Tensor, other: Tensor) -> bool:
    """Return whether some tokens have a larger mean log-probability than others, by far and not by chance."""
    difference = one - other
    error = float(difference.std() / len(difference) ** 0.5)
    return float(difference.mean()) > max(_BETTER, _ERRORS * error)


def require_logits(said: Sequence[Tensor]) -> None:
    """Raise ModelError if all outputs are between 0 and 1, as logits never do: a softmax would flatten them."""
    low, high = min(float(of.min()) for of in said), max(float(of.max()) for of in said)
    if 0 <= low < high <= 1 + _ROUNDING:
        raise ModelError(
            f"the model returns probabilities, not logits: every output is between 0 and 1 ({low:.3g} to "
            f"{high:.3g}). Remove the softmax or sigmoid at its end; log-probabilities (log_softmax) are logits too"
        )


def probed_rows(population: TextPopulation) -> list[np.ndarray]:
    """Return the tokens of a few rows, all of different length, so that a batch of them is padded.

    Of an encoder-decoder they are those with the longest outputs, and their inputs are whole.
    """
    begin = population.renderer.begin
    firsts: Sequence[Row] = [rows[0] for rows in population.representatives]
    cut = [row.ids[: begin(row.ids) + _LONGEST] for row in firsts]
    longest = sorted(cut, key=lambda ids: len(ids) - begin(ids), reverse=True)[:_ROWS]
    cut = [ids[: len(ids) - _SHORTER * number] for number, ids in enumerate(longest)]
    return [ids for ids in cut if len(ids) - begin(ids) >= _LEAST]


def _middle(ids: np.ndarray, population: TextPopulation) -> int:
    """Return the middle of a row, or of its output."""
    begin = population.renderer.begin(ids)
    return begin + (len(ids) - begin) // 2


def _said(model: torch.nn.Module, rows: Sequence[np.ndarray], device: str) -> list[Tensor]:
    """Return the logits after each token of each row, read as one batch, on the CPU."""
    width = max(map(len, rows))
    ids, attended = torch.zeros(2, len(rows), width, dtype=torch.long)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = torch.as_tensor(row)
        attended[n, : len(row)] = 1
    logits = ask(model, ids.to(device), attended.to(device)).logits
    return [sound(logits[n, : len(row)]).cpu() for n, row in enumerate(rows)]


def _require_blind_to_the_future(
    model: torch.nn.Module,
    rows: Sequence[np.ndarray],
    alone: Sequence[Tensor],
    population: TextPopulation,
    device: str,
) -> None:
    unread = []
    for ids, before in zip(rows, alone, strict=True):
        middle = _middle(ids, population)
        other = np.concatenate([ids[:middle], other_tokens(ids[middle:], population)])
        changed = changed_at(_said(model, [other], device)[0], before)
        if changed[:middle].any():
            raise ModelError(
                "the model is not causal: its output after a token changes with later tokens, as a masked language "
                'model\'s does. If it is one, set Rendering(objective="masked"); else train a causal language model '
                "(AutoModelForCausalLM, is_decoder=True)"
            )
        unread.append(bool(not changed[middle] and changed[middle + 1 :].any()))
    if all(unread):
        raise ModelError(
            "the model's output is shifted by one: its logits at token t do not depend on token t. Return the logits "
            "of the next token, as the transformers library does"
        )


def other_tokens(ids: np.ndarray, population: TextPopulation) -> np.ndarray:
    """Return other tokens than these, one by one, and never the one that marks where an output begins."""
    other = (ids + 1) % population.renderer.vocabulary
    if population.objective == "seq2seq":
        other = np.where(other == population.renderer.pad, (other + 1) % population.renderer.vocabulary, other)
    return np.asarray(other)


def _require_same_cache(model: torch.nn.Module, ids: np.ndarray, alone: Tensor, middle: int, device: str) -> None:
    """Raise ModelError if reading a text in two parts, with the cache between them, says something else."""
    tokens = torch.as_tensor(ids, dtype=torch.long, device=device)[None]
    first = ask(model, tokens[:, :middle], cache=True)
    said = [sound(first.logits[0]).cpu()]
    require_same(said, [alone[:middle]], "its output after a token changes with the number of tokens that follow")
    if first.past is not None:
        second = ask(model, tokens[:, middle:], torch.ones_like(tokens), first.past, cache=True)
        said = [sound(second.logits[0]).cpu()]
        require_same(said, [alone[middle:]], "it says something else when it reads a text in parts, with its cache")


def require_same(own: Sequence[Tensor], other: Sequence[Tensor], problem: str) -> None:
    """Raise ModelError if two outputs for some texts differ by more than rounding."""
    if any(changed_at(a, b).any() for a, b in zip(own, other, strict=True)):
        raise ModelError(f"the model's output is not a function of the text: {problem}")


def changed_at(own: Tensor, other: Tensor) -> Tensor:
    """Return at which tokens two outputs differ by more than rounding."""
    largest = other[other > -torch.inf].abs().max()
    difference = torch.where(own == other, 0.0, (own - other).abs())  # also where both are −inf
    return difference.amax(dim=1) > _ROUNDING * largest
