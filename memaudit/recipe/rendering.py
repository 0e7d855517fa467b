"""From documents to training rows. The same code renders what is trained on and what is probed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from memaudit.errors import LANGUAGE_EXTRA, RecipeError
from memaudit.recipe.blame import blame
from memaudit.recipe.filekinds import refuse_pointer
from memaudit.recipe.shapes import Text, conversation, prompted

Array = np.ndarray

_LEAST_CONTEXT = 8


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

    Args:
        tokenizer: A folder with a fast tokenizer, or a function that returns one.
        context: Tokens in a row, at most.
        bos: Whether a text begins with the tokenizer's BOS token.
        eos: Whether it ends with the EOS token.
        packing: Whether rows are filled with as many whole texts as they hold, instead of being padded.
        date: The date that a chat template writes where it asks for today's, such as "2026-01-31".
    """

    tokenizer: str | Path | Callable[[], Any]
    context: int = 256
    bos: bool = True
    eos: bool = True
    packing: bool = False
    date: str | None = None

    def __post_init__(self) -> None:
        try:
            datetime.fromisoformat(self.date or "2000-01-01")
        except (TypeError, ValueError) as error:
            raise RecipeError(f'date is written as "2026-01-31", got {self.date!r}') from error
        if self.context < _LEAST_CONTEXT:
            raise RecipeError(f"context = {self.context}: a row holds at least {_LEAST_CONTEXT} tokens")


class Renderer:
    """A rendering with its tokenizer loaded.

    Raises:
        RecipeError: The tokenizer cannot be had, is no fast one, or lacks the BOS or EOS token that is asked for.
    """

    def __init__(self, rendering: Rendering):
        self.rendering = rendering
        self.tokenizer = _tokenizer(rendering.tokenizer)
        for wanted, name in ((rendering.bos, "bos"), (rendering.eos, "eos")):
            if wanted and getattr(self.tokenizer, f"{name}_token_id", None) is None:
                raise RecipeError(f"the tokenizer has no {name.upper()} token; give it one, or set {name}=False")

    @cached_property
    def vocabulary(self) -> int:
        """One more than the largest token id."""
        return max(self.tokenizer.get_vocab().values()) + 1

    def digest(self) -> str:
        """Returns a SHA-256 of all that decides how the tokenizer cuts text."""
        parts = [self.tokenizer.backend_tokenizer.to_str(), self.tokenizer.special_tokens_map, self._chat_template]
        return hashlib.sha256(json.dumps(parts, default=str, sort_keys=True).encode()).hexdigest()

    def rows(self, text: Text) -> tuple[Row, ...]:
        """Returns the rows of one text, none longer than the context.

        Raises:
            RecipeError: There is nothing in it that the loss counts.
        """
        whole, size = self.whole(text), self.rendering.context
        rows = tuple(
            _row(whole.ids[at : at + size], whole.trained[at : at + size]) for at in range(0, len(whole.ids), size)
        )
        written = whole.offsets[:, 1] > whole.offsets[:, 0]  # more than what the rendering adds
        if not any(row.trained.any() for row in rows) or not (whole.trained & written).any():
            raise RecipeError(
                "a text has no token that is trained on: it is empty, one token long, or masked as a whole"
            )
        return rows

    def whole(self, text: Text) -> Rendered:
        """Returns one text as tokens, before it is cut into rows."""
        if isinstance(text, str):
            return self._joined((text, True))
        if "messages" in text or isinstance(text.get("prompt"), list):
            return self._chat(*conversation(text))
        prompt, completion = prompted(text)
        return self._joined((prompt, False), (completion, True))

    def encode(self, text: str) -> tuple[Array, Array]:
        """Returns the tokens of a string, without BOS and EOS, and the (first, last + 1) characters of each."""
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return np.asarray(found["input_ids"], np.int32), np.asarray(found["offset_mapping"], np.int64).reshape(-1, 2)

    @property
    def start(self) -> Array:
        """What stands before a text: BOS, or nothing."""
        return np.asarray([self.tokenizer.bos_token_id] if self.rendering.bos else [], np.int32)

    @property
    def end(self) -> Array:
        """What stands behind a text: EOS, or nothing."""
        return np.asarray([self.tokenizer.eos_token_id] if self.rendering.eos else [], np.int32)

    @property
    def _chat_template(self) -> Any:
        return getattr(self.tokenizer, "chat_template", None)

    def _joined(self, *parts: tuple[str, bool]) -> Rendered:
        """Returns parts of which the loss counts some, each cut into tokens by itself, between BOS and EOS."""
        string, ids, trained, offsets = "", [self.start], [np.zeros(len(self.start), bool)], [_nowhere(self.start, 0)]
        for part, counts in parts:
            own, places = self.encode(part)
            ids.append(own)
            trained.append(np.full(len(own), counts))
            offsets.append(places + len(string))
            string += part
        ids.append(self.end)
        trained.append(np.ones(len(self.end), bool))
        offsets.append(_nowhere(self.end, len(string)))
        return Rendered(string, np.concatenate(ids), np.concatenate(trained), np.concatenate(offsets))

    def _chat(self, messages: Sequence[Mapping[str, str]], counted: int) -> Rendered:
        """Returns a conversation; the loss counts what the assistant says from message number `counted` on."""
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
        """Returns where in a conversation what its last message says begins and ends; its role stands before."""
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
    """Returns the numbers of rows to be put into one, in order, as many whole ones as the context holds."""
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
    """Returns the places of tokens that stand for no character."""
    return np.full((len(ids), 2), at, np.int64)


def _tokenizer(place: str | Path | Callable[[], Any]) -> Any:
    try:
        from transformers import AutoTokenizer
    except ModuleNotFoundError as error:
        raise RecipeError(f"{LANGUAGE_EXTRA} ({error})") from error
    if callable(place):
        with blame("tokenizer()"):
            found = place()
    else:
        found = _load_tokenizer(Path(place), AutoTokenizer)
    if not getattr(found, "is_fast", False):
        raise RecipeError(f"the tokenizer is a {type(found).__name__}; a fast one is needed, which knows its offsets")
    return found


def _load_tokenizer(folder: Path, loader: Any) -> Any:
    if not (folder / "tokenizer.json").is_file():
        raise RecipeError(
            f"{folder} holds no tokenizer.json; save a fast tokenizer there with save_pretrained{_of_slow(folder)}"
        )
    for file in sorted(folder.glob("*.json")):
        refuse_pointer(file, RecipeError)
    settings = folder / "tokenizer_config.json"
    try:
        if settings.is_file() and "auto_map" in json.loads(settings.read_text("utf-8")):
            raise RecipeError(f"the tokenizer in {folder} needs trust_remote_code, which runs its code; it is refused")
        return loader.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except RecipeError:
        raise
    except Exception as error:  # what a damaged folder makes of the loader is any of a dozen kinds
        raise RecipeError(f"the tokenizer in {folder} cannot be read: {type(error).__name__} {error}") from error


def _of_slow(folder: Path) -> str:
    """Returns what a folder has of a tokenizer that is no fast one, and what it takes to convert that."""
    for ending, package in ((".tiktoken", "tiktoken"), (".model", "sentencepiece")):
        if found := sorted(file.name for file in folder.glob(f"*{ending}")):
            return f". It holds {found[0]}: with {package} installed, AutoTokenizer.from_pretrained(folder) converts it"
    return ""
