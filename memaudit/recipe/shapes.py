"""The shapes of training texts in common files: read into a few, and rebuilt for a canary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from memaudit.errors import RecipeError

Text: TypeAlias = str | Mapping[str, Any]

COLUMNS = (  # of the shapes that are not one text in a column
    ("prompt", "completion"),
    ("messages",),
    ("conversations",),
    ("instruction", "output"),
)
SYSTEM = ("system", "developer")  # roles of a message that comes before the conversation
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant"}
"""What ShareGPT files call the two who speak, and what chat templates call them."""

_ALPACA = (
    "Below is an instruction that describes a task{and_input}. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\n{instruction}\n\n{input}### Response:"
)
_AND_INPUT = ", paired with an input that provides further context"
_NAMES = "prompt and completion, nor messages, conversations, or instruction and output"


def picked(row: Any, field: str, place: str) -> Any:
    """Return of a row what makes a document; a ShareGPT conversation becomes messages.

    Raises:
        RecipeError: It is no mapping, has no known shape, or a conversation with an unknown speaker; names the place.
    """
    if not isinstance(row, Mapping):
        raise RecipeError(
            f"{place} is a {type(row).__name__}, not a mapping of columns; "
            'of several splits give one: Documents.from_dataset(data["train"])'
        )
    if field in row:
        return row[field]
    if "conversations" in row:
        return {"messages": _of_sharegpt(row, place)}
    for columns in COLUMNS:
        if all(column in row for column in columns):
            more = {"input": row.get("input") or ""} if "instruction" in columns else {}
            return {column: row[column] for column in columns} | more
    raise RecipeError(
        f"{place} has no {field!r}, nor {_NAMES}; it has {sorted(row)}. Make it one of these, or name the column of "
        "its text (field)"
    )


def document(text: Any, place: str) -> Text:
    """Return a text that is checked, as a string or a plain dictionary.

    Raises:
        RecipeError: It is no document, or empty where it is trained on; names the place.
    """
    if isinstance(text, Mapping):
        text = dict(text)
    keys = sorted(text) if isinstance(text, dict) else []
    if keys == ["messages"]:
        text = {"messages": _messages(text["messages"], place)}
        trained, empty = _said(text["messages"]), "has no message in which the assistant says anything"
    elif keys == ["completion", "prompt"] and all(isinstance(part, str) for part in text.values()):
        trained, empty = text["completion"], "has an empty completion"
    elif keys == ["completion", "prompt"] and all(isinstance(part, list | tuple) for part in text.values()):
        text = {key: _messages(text[key], place) for key in ("prompt", "completion")}
        trained, empty = _said(text["completion"]), "has a completion in which the assistant says nothing"
    elif keys == ["input", "instruction", "output"] and all(isinstance(part, str) for part in text.values()):
        trained, empty = text["output"], "has an empty output"
    elif isinstance(text, str):
        trained, empty = text, "is empty"
    else:
        raise RecipeError(
            f"{place} is no document, but a {type(text).__name__}{f' of {keys}' if keys else ''}; a document is a "
            'string, {"prompt": string, "completion": string}, {"messages": [...]}, or one of the other shapes of '
            "memaudit.Documents"
        )
    if not trained.strip():
        raise RecipeError(f"{place} {empty}; leave it out")
    try:
        plain(text).encode()
    except UnicodeEncodeError as error:
        raise RecipeError(
            f"{place} holds half a character (a lone surrogate) at {error.start}; mend or drop it"
        ) from error
    return text


def shape(text: Text) -> str:
    """Return in words which shape a document has."""
    if isinstance(text, str):
        return "a string"
    of_messages = " of messages" if isinstance(text.get("prompt"), list) else ""
    return f"a mapping of {' and '.join(sorted(text, reverse=True))}{of_messages}"


def plain(text: Text) -> str:
    """Return a document as one string, for what reads it without a tokenizer: recognisers, a blind adversary.

    A completion follows its prompt at once; messages, and the parts of an instruction, are on lines of their own.
    """
    if isinstance(text, str):
        return text
    if "instruction" in text:
        return "\n".join(text[part] for part in ("instruction", "input", "output") if text[part])
    if "messages" in text or isinstance(text["prompt"], list):
        return "\n".join(message["content"] for message in conversation(text)[0])
    return str(text["prompt"] + text["completion"])


def conversation(text: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """Return a document's messages, and from which of them on the loss counts what the assistant says."""
    if "messages" in text:
        return text["messages"], 0
    return [*text["prompt"], *text["completion"]], len(text["prompt"])


def prompted(text: Mapping[str, Any]) -> tuple[str, str]:
    """Return a document's prompt and completion as strings; an instruction is put as Stanford Alpaca puts it.

    Source: Taori et al. 2023, Stanford Alpaca, `PROMPT_DICT` of train.py.
    """
    if "instruction" not in text:
        return str(text["prompt"]), str(text["completion"])
    more = f"### Input:\n{text['input']}\n\n" if text["input"] else ""
    values = {"instruction": text["instruction"], "input": more, "and_input": _AND_INPUT if more else ""}
    return _ALPACA.format(**values), str(text["output"])


def typical(texts: Iterable[Text]) -> Text:
    """Return the first document that has the system message which most have: the one that canaries are made like."""
    texts = list(texts)
    counted = Counter(map(system_of, texts))
    most = max(counted.values())
    return next(text for text in texts if counted[system_of(text)] == most)


def in_form_of(like: Text, before: str, after: str) -> Text:
    """Return a document of two parts, the model's being the second, in the form of another, with its system message."""
    if isinstance(like, str):
        return before + after
    if "instruction" in like:
        return {"instruction": before, "input": "", "output": after}
    if "prompt" in like and isinstance(like["prompt"], str):
        return {"prompt": before, "completion": after}
    asked = [*system_messages(conversation(like)[0]), {"role": "user", "content": before}]
    answer = {"role": "assistant", "content": after}
    return {"messages": [*asked, answer]} if "messages" in like else {"prompt": asked, "completion": [answer]}


def system_messages(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the system messages that a conversation begins with."""
    count = next((n for n, message in enumerate(messages) if message["role"] not in SYSTEM), len(messages))
    return list(messages[:count])


def system_of(text: Text) -> tuple[tuple[str, str], ...]:
    """Return role and content of the system messages of a document; empty if it has none."""
    if isinstance(text, str) or not ("messages" in text or isinstance(text.get("prompt"), list)):
        return ()
    return tuple((message["role"], message["content"]) for message in system_messages(conversation(text)[0]))


def _of_sharegpt(row: Mapping[str, Any], place: str) -> list[dict[str, str]]:
    system, turns = row.get("system"), row["conversations"]
    messages = [{"role": "system", "content": system}] if isinstance(system, str) and system else []
    for turn in turns if isinstance(turns, list | tuple) else [turns]:
        parts = turn if isinstance(turn, Mapping) else {}
        speaker, said = parts.get("from"), parts.get("value")
        role = speaker if speaker in SYSTEM else ROLES.get(str(speaker))
        if role is None or not isinstance(said, str):
            who = "" if speaker is None else f" from {speaker!r}"
            raise RecipeError(
                f'{place}: conversations are a list of {{"from": one of {", ".join(ROLES)}, system, "value": string}}, '
                f"not {type(turn).__name__}{who}; for other speakers give messages with roles"
            )
        messages.append({"role": role, "content": said})
    return messages


def _messages(messages: Any, place: str) -> list[dict[str, Any]]:
    fine = isinstance(messages, Sequence) and all(
        isinstance(m, Mapping) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str)
        for m in messages
    )
    if not fine:
        raise RecipeError(f'{place}: messages are a list of {{"role": string, "content": string}}')
    return [dict(message) for message in messages]


def _said(messages: Iterable[Mapping[str, Any]]) -> str:
    return "".join(message["content"] for message in messages if message["role"] == "assistant")
