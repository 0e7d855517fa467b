"""How one model is made: the only thing a user writes."""

from memaudit.recipe.augment import flip, mirror, shift, shifted
from memaudit.recipe.examples import Examples
from memaudit.recipe.fingerprint import fingerprint
from memaudit.recipe.locate import load_recipe
from memaudit.recipe.members import member_mask, members_beside, read_members
from memaudit.recipe.recipes import SGD, AdamW, CallableRecipe, ClassifierRecipe, EstimatorRecipe, Recipe
from memaudit.recipe.target import load_target, save_target

__all__ = [
    "SGD",
    "AdamW",
    "CallableRecipe",
    "ClassifierRecipe",
    "EstimatorRecipe",
    "Examples",
    "Recipe",
    "fingerprint",
    "flip",
    "load_recipe",
    "load_target",
    "member_mask",
    "members_beside",
    "mirror",
    "read_members",
    "save_target",
    "shift",
    "shifted",
]
