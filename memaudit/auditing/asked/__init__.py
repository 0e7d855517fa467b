"""What an audit can be asked beside the usual: a question is one file, and one entry in `QUESTIONS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from memaudit.auditing.asked import access, attributes, earlier, poisoned, privacy, subgroups
from memaudit.auditing.asked.interface import Options, Question
from memaudit.auditing.target import Target

QUESTIONS: tuple[Callable[[Target, Options], Question | None], ...] = (
    access.asked,
    subgroups.asked,
    attributes.asked,
    earlier.asked,
    poisoned.asked,
    privacy.asked,
)


def questions(target: Target, options: Options) -> tuple[Target, tuple[Question, ...]]:
    """Return the questions that are asked, and the target with what is given of its examples; needs no bank.

    Raises:
        MemauditError: A question cannot be asked of this model; the message says why.
    """
    target, columns = subgroups.joined(target, options.subgroups)
    options = replace(options, subgroups=columns)
    return target, tuple(question for ask in QUESTIONS if (question := ask(target, options)) is not None)


__all__ = ["QUESTIONS", "Options", "Question", "questions"]
