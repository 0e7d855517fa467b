"""Every recipe of docs/language-models.md is a recipe: a bank is filled with it, and a model is scored."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loading import RECIPES, unregistered

import memaudit as ma
from memaudit.recipe import load_recipe

kinds = unregistered(RECIPES / "kinds.py")
PAGE = (Path(__file__).parent.parent / "docs" / "language-models.md").read_text("utf-8")
SHOWN = dict(re.findall(r"<!-- (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL))


def folder(place: Path, make: Callable[[], Any] | None) -> None:
    """Writes a tokenizer, and a model beside it."""
    kinds.tokenizer().save_pretrained(place)
    if make is not None:
        make().save_pretrained(place)


def test_the_page_shows_every_kind() -> None:
    assert SHOWN.keys() == {"seq2seq", "masked", "lstm"}


@pytest.mark.parametrize("name", SHOWN)
def test_a_recipe_of_the_page_fills_a_bank(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipe.py").write_text(SHOWN[name], "utf-8")
    folder(tmp_path / "t5", kinds.t5)
    folder(tmp_path / "bert", lambda: kinds.bert(128))
    folder(tmp_path / "tokenizer", None)
    texts = kinds.sentences(12, 8)
    (tmp_path / "pairs.jsonl").write_text(
        "".join(json.dumps({"prompt": "amber", "completion": t}) + "\n" for t in texts)
    )
    (tmp_path / "notes").mkdir()
    for number, text in enumerate(texts):
        (tmp_path / "notes" / f"{number}.txt").write_text(text)
    monkeypatch.chdir(tmp_path)
    recipe: Any = load_recipe("recipe.py")
    recipe = replace(recipe, probes=replace(recipe.probes, canaries=1, references=50))
    bank = ma.fill(tmp_path / "bank", recipe, 2, device="cpu")
    phi = bank.tensors(0)["phi"]
    assert phi.shape == (12, 1)
    assert np.isfinite(phi).all()
    assert (phi < 0).all()
