"""What a fingerprint covers, and what it does not: each line of docs/fingerprint.md."""

from __future__ import annotations

from memaudit.recipe import recipe_digest

LINES = {
    "seed": "0",
    "examples.count": "4",
    "examples.sha256": "a" * 64,
    "recipe.kind": "CallableRecipe",
    "recipe.train": "train 0123456789ab",
    "source.recipe.py": "b" * 64,
    "code.__main__.train": "c" * 64,
    "global.recipe.EPOCHS": "3",
    "environment.torch": "2.10.0",
}


def test_the_digest_of_a_recipe_depends_on_the_recipe_alone() -> None:
    digest = recipe_digest(LINES)
    other = {name for name in LINES if recipe_digest(LINES | {name: "other"}) != digest}
    assert other == {"recipe.kind", "recipe.train", "source.recipe.py", "code.__main__.train", "global.recipe.EPOCHS"}
    assert recipe_digest(dict(reversed(LINES.items()))) == digest
