"""What an audit is asked beside the usual is checked before anything expensive, whatever it is."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import memaudit as ma
from memaudit.auditing.asked import QUESTIONS, Options, questions
from memaudit.errors import MemauditError


@pytest.fixture(scope="module")
def target() -> Any:
    """Stands for an opened model of which there are recorded outputs alone."""
    examples = ma.Examples(np.arange(80, dtype=np.float32).reshape(20, 4), np.arange(20) % 2)
    return SimpleNamespace(population=examples, recipe=None, outputs="", model=Path("model.pt"))


REFUSED = {
    "access": (Options(access="everything"), "choose one of labels, confidences"),
    "access without weights": (Options(access="all", weights=False), "set weights = true"),
    "one name of a subgroup": (Options(subgroups="sex"), "give a list of names"),
    "no such subgroup": (Options(subgroups=["sex"]), "no column 'sex'"),
    "small groups": (Options(smallest_group=9), "fewer than 10"),
    "no such attribute": (Options(attribute="sex"), "no column 'sex'"),
    "before": (Options(before="old.pt"), "recorded outputs have none"),
    "poisoned, with no recipe": (Options(poisoned="bank"), "which records are poisoned"),
    "poisoned, with no bank": (Options(poisoned="nowhere", poisoned_recipe=SimpleNamespace()), "no bank in nowhere"),  # type: ignore[arg-type]
    "dp": (Options(dp=ma.Dp(delta=0)), "for every delta above 0"),
}


@pytest.mark.parametrize(("options", "said"), REFUSED.values(), ids=REFUSED)
def test_a_question_that_cannot_be_asked_is_refused_without_a_bank(target: Any, options: Options, said: str) -> None:
    with pytest.raises(MemauditError, match=said):
        questions(target, options)


def test_nothing_but_canaries_is_asked_of_a_usual_audit(target: Any) -> None:
    same, asked = questions(target, Options())
    assert same is target and [type(question).__name__ for question in asked] == ["Promised"]


def test_values_of_subgroups_become_columns_of_the_examples(monkeypatch: pytest.MonkeyPatch, target: Any) -> None:
    monkeypatch.setattr(
        "memaudit.auditing.asked.subgroups.replace", lambda of, **more: SimpleNamespace(**vars(of) | more)
    )
    grouped, asked = questions(target, Options(subgroups={"half": ["a", "b"] * 10}))
    assert isinstance(grouped.population, ma.Examples) and set(grouped.population.subgroups) == {"half"}
    assert getattr(asked[0], "columns", None) == ("half",)


def test_audit_takes_every_option() -> None:
    taken = inspect.signature(ma.audit).parameters
    assert {field.name for field in fields(Options)} - {"weights"} <= set(taken)
    modules = {path.stem for path in Path(inspect.getfile(questions)).parent.glob("*.py")}
    assert {ask.__module__.rpartition(".")[2] for ask in QUESTIONS} == modules - {"__init__", "interface"}
