"""From documents to training rows. The same code renders what is trained on and what is probed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from memaudit.errors import RecipeError
from memaudit.recipe.blame import blame
from memaudit.recipe.shapes import Text, conversation, prompted
from memaudit.recipe.tokenizer import load_tokenizer

Array = np.ndarray

_LEAST_CONTEXT = 8
_ALSO_CALLED = {"bos": "cls", "eos": "sep"}  # by the tokenizers of masked models

Objective = Literal["causal", "seq2seq", "masked"]
"""What a language model is trained to predict: each token from those before it; each token of an output from its input
and the tokens before it; masked tokens from all others."""


class Row(NamedTuple):
    """A training row: token ids, and which of them the loss counts; the first never, as nothing predicts it."""

    ids: Array
    trained: Array


class Rendered(NamedTuple):
    """A text as tokens: the string behind them, which of them the loss counts, and the characters of each."""

    string: str
    ids: Array
    trained: Array
    offsets: Array


@dataclass(frozen=True, slots=True)
class Rendering:
    """How text becomes training rows.

    A string is `BOS text EOS`; of a prompt and its completion the loss counts the completion alone; messages go
    through the tokenizer's chat template, and the loss counts what the assistant says, in a completion if there is
    one. An instruction is put as Stanford Alpaca's code puts it, and the loss counts the output. What is longer than
    the context is continued in further rows.

    For an encoder-decoder the prompt is the input and the completion the output. A row is `BOS prompt EOS PAD BOS
    completion EOS`: the padding token marks where the output begins, and is no input of the model. Rows are not cut.

    Args:
        tokenizer: A folder with a fast tokenizer, or a function that returns one.
        context: Tokens in a row, at most.
        bos: Whether a text begins with the tokenizer's BOS token.
        eos: Whether it ends with the EOS token.
        packing: Whether rows are filled with as many whole texts as they hold, instead of being padded.
        date: The date that a chat template writes where it asks for today's, such as "2026-01-31".
        objective: What the model predicts: "causal", "seq2seq" (an encoder-decoder) or "masked".
    """

    tokenizer: str | Path | Callable[[], Any]
    context: int = 256
    bos: bool = True
    eos: bool = True
    packing: bool = False
    date: str | None = None
    objective: Objective = field(default="causal", metadata={"omitted": ("causal",)})

    def __post_init__(self) -> None:
        if self.objective not in get_args(Objective):
            names = ", ".join(map(repr, get_args(Objective)))
            raise RecipeError(f"objective={self.objective!r}: choose one of {names}")
        if self.objective == "seq2seq" and self.packing:
            raise RecipeError("packing=True: an encoder-decoder reads one input at a time; leave packing out")
        try:
            datetime.fromisoformat(self.date or "2000-01-01")
        except (TypeError, ValueError) as error:
            raise RecipeError(f'date is written as "2026-01-31", got {self.date!r}') from error
        if self.context < _LEAST_CONTEXT:
            raise RecipeError(f"context = {self.context}: a row holds at least {_LEAST_CONTEXT} tokens")


class Renderer:
    """A rendering with its tokenizer loaded.

    Raises:
        RecipeError: The tokenizer cannot be had, is no fast one, or lacks a token that the rows need: BOS, EOS, the
            padding token of an encoder-decoder, the mask token of a masked model.
    """

    def __init__(self, rendering: Rendering):
        self.rendering = rendering
        self.tokenizer = load_tokenizer(rendering.tokenizer)
        for wanted, name in ((rendering.bos, "bos"), (rendering.eos, "eos")):
            if wanted and self._special(name) is None:
                raise RecipeError(f"the tokenizer has no {name.upper()} token; give it one, or set {name}=False")
        for objective, name in (("seq2seq", "pad"), ("masked", "mask")):
            if rendering.objective == objective and self._special(name) is None:
                raise RecipeError(f'the tokenizer has no {name} token, which objective="{objective}" needs')

    @cached_property
    def vocabulary(self) -> int:
        """One more than the largest token id."""
        return max(self.tokenizer.get_vocab().values()) + 1

    def digest(self) -> str:
        """Return a SHA-256 of all that decides how the tokenizer cuts text."""
        parts = [self.tokenizer.backend_tokenizer.to_str(), self.tokenizer.special_tokens_map, self._chat_template]
        return hashlib.sha256(json.dumps(parts, default=str, sort_keys=True).encode()).hexdigest()

    def rows(self, text: Text) -> tuple[Row, ...]:
        """Return the rows of one text, none longer than the context.

        Raises:
            RecipeError: There is nothing in it that the loss counts.
        """
        whole = self.whole(text)
        size = self.size(whole)
        rows = tuple(
            _row(whole.ids[at : at + size], whole.trained[at : at + size]) for at in range(0, len(whole.ids), size)
        )
        written = whole.offsets[:, 1] > whole.offsets[:, 0]  # more than what the rendering adds
        if not any(row.trained.any() for row in rows) or not (whole.trained & written).any():
            raise RecipeError(
                "a text has no token that is trained on: it is empty, one token long, or masked as a whole"
            )
        return rows

    def size(self, whole: Rendered) -> int:
        """Return how many tokens the rows of a text hold: the context, or the whole pair of an encoder-decoder.

        Raises:
            RecipeError: Such a pair is longer than the context, or has the padding token in it.
        """
        size = self.rendering.context
        if self.rendering.objective != "seq2seq":
            return size
        if len(whole.ids) > size:
            raise RecipeError(
                f"its input and output have {len(whole.ids)} tokens together, and the context is {size}; an "
                "encoder-decoder reads both whole: raise Rendering(context=...), or shorten the document"
            )
        if (whole.ids == self.pad).sum() != 1:
            raise RecipeError(
                "the tokenizer's padding token occurs in the text, or is its BOS, EOS or unknown token as well; an "
                "encoder-decoder needs a padding token of its own"
            )
        return size

    def whole(self, text: Text) -> Rendered:
        """Return one text as tokens, before it is cut into rows."""
        if self.rendering.objective == "seq2seq":
            return self._pair(text)
        if isinstance(text, str):
            return self._joined((self.start, False), (text, True), self._last)
        if "messages" in text or isinstance(text.get("prompt"), list):
            return self._chat(*conversation(text))
        prompt, completion = prompted(text)
        return self._joined((self.start, False), (prompt, False), (completion, True), self._last)

    def encode(self, text: str) -> tuple[Array, Array]:
        """Return the tokens of a string, without BOS and EOS, and the (first, last + 1) characters of each."""
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return np.asarray(found["input_ids"], np.int32), np.asarray(found["offset_mapping"], np.int64).reshape(-1, 2)

    @property
    def start(self) -> Array:
        """Return the tokens before a text: BOS, or nothing."""
        return np.asarray([self._special("bos")] if self.rendering.bos else [], np.int32)

    @property
    def end(self) -> Array:
        """Return the tokens after a text: EOS, or nothing."""
        return np.asarray([self._special("eos")] if self.rendering.eos else [], np.int32)

    @property
    def pad(self) -> int:
        """The padding token, which marks where the output of an encoder-decoder begins."""
        return int(self.tokenizer.pad_token_id)

    @property
    def mask(self) -> int:
        """The token that hides another."""
        return int(self.tokenizer.mask_token_id)

    def begin(self, ids: Array) -> int:
        """Return the place in a row after which the model predicts tokens: 0, or where an output begins."""
        return int(np.argmax(ids == self.pad)) if self.rendering.objective == "seq2seq" else 0

    @property
    def _last(self) -> tuple[Array, bool]:
        """The end of a text, and whether the loss counts it: a masked model never predicts its special tokens."""
        return self.end, self.rendering.objective != "masked"

    def _special(self, name: str) -> int | None:
        found = getattr(self.tokenizer, f"{name}_token_id", None)
        if found is None and self.rendering.objective == "masked" and name in _ALSO_CALLED:
            found = getattr(self.tokenizer, f"{_ALSO_CALLED[name]}_token_id", None)
        return found

    @property
    def _chat_template(self) -> Any:
        return getattr(self.tokenizer, "chat_template", None)

    def _pair(self, text: Text) -> Rendered:
        """Return the input and the output of an encoder-decoder, with the padding token between them."""
        if isinstance(text, str) or "messages" in text or isinstance(text.get("prompt"), list):
            raise RecipeError(
                'an encoder-decoder has an input and an output: a document is {"prompt": input, "completion": output}'
            )
        prompt, completion = prompted(text)
        if not len(self.encode(prompt)[0]):
            raise RecipeError("the prompt is empty, and an encoder-decoder needs an input; leave the document out")
        between = np.asarray([self.pad], np.int32)
        return self._joined(
            (self.start, False), (prompt, False), (self.end, False), (between, False),
            (self.start, True), (completion, True), (self.end, True),
        )  # fmt: skip

    def _joined(self, *parts: tuple[str | Array, bool]) -> Rendered:
        """Join strings, each tokenized by itself, and tokens without characters.

        Each part comes with whether the loss counts it.
        """
        string, ids, trained, offsets = "", [], [], []
        for part, counts in parts:
            own, places = self.encode(part) if isinstance(part, str) else (part, _nowhere(part, 0))
            ids.append(own)
            trained.append(np.full(len(own), counts))
            offsets.append(places + len(string))
            string += part if isinstance(part, str) else ""
        return Rendered(string, np.concatenate(ids), np.concatenate(trained), np.concatenate(offsets))

    def _chat(self, messages: Sequence[Mapping[str, str]], counted: int) -> Rendered:
        """Return a conversation; the loss counts what the assistant says from message number `counted` on."""
        if not self._chat_template:
            raise RecipeError("the documents are messages, but the tokenizer has no chat template")
        string = self._templated(messages)
        ids, offsets = self.encode(string)
        trained = np.zeros(len(ids), bool)
        for n, message in enumerate(messages):
            if message["role"] == "assistant" and n >= counted:
                first, last = self._said(messages[: n + 1], string)
                trained |= (offsets[:, 1] > first) & (offsets[:, 0] < last)
        return Rendered(string, ids, trained, offsets)

    def _said(self, messages: Sequence[Mapping[str, str]], string: str) -> tuple[int, int]:
        """Return where the content of a conversation's last message begins and ends, without its role."""
        until = self._templated(messages)
        before = self._templated(messages[:-1], prompt=True)
        if not until.startswith(before):  # an empty thought, for instance, with which only an answer begins
            before = self._templated(messages[:-1])
        if not (string.startswith(until) and until.startswith(before)):
            raise RecipeError("the chat template changes earlier messages when one is added; the loss mask is unclear")
        return len(before), len(until)

    def _templated(self, messages: Sequence[Mapping[str, str]], prompt: bool = False) -> str:
        if not messages:
            return ""
        from unittest.mock import patch

        from transformers.utils import chat_template_utils

        clock = SimpleNamespace(now=self._now)  # its strftime_now asks the clock; a template is given plain data alone
        with blame("the chat template"), patch.object(chat_template_utils, "datetime", clock):
            return str(self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompt))

    def _now(self) -> datetime:
        """Return the date of the rendering, for a chat template that asks for today's."""
        if self.rendering.date is None:
            raise RecipeError(
                "the chat template writes today's date (strftime_now), so its rows change from day to day. Set the "
                'date of training: memaudit.Rendering(..., date="2026-01-31")'
            )
        return datetime.fromisoformat(self.rendering.date)


def packed(lengths: Sequence[int], context: int) -> list[list[int]]:
    """Return the numbers of rows to be put into one, in order, as many whole ones as the context holds."""
    groups: list[list[int]] = []
    filled = context + 1
    for number, length in enumerate(lengths):
        if filled + length > context:
            groups.append([])
            filled = 0
        groups[-1].append(number)
        filled += length
    return groups


def _row(ids: Array, trained: Array) -> Row:
    trained = trained.copy()
    trained[:1] = False
    return Row(ids, trained)


def _nowhere(ids: Array, at: int) -> Array:
    """Return the places of tokens that stand for no character."""
    return np.full((len(ids), 2), at, np.int64)
