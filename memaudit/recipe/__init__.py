"""How one model is made: the only thing a user writes."""

from memaudit.recipe.augment import flip, mirror, shift, shifted
from memaudit.recipe.canaries_file import read_canaries
from memaudit.recipe.classifier_canaries import classifier_canaries
from memaudit.recipe.derivation import Derivation, Forgotten, Part
from memaudit.recipe.documents import Documents
from memaudit.recipe.examples import Examples
from memaudit.recipe.fedavg import FedAvg
from memaudit.recipe.fingerprint import (
    changing,
    checkpoints_of,
    derivation_lines,
    fingerprint,
    inputs_of,
    making_examples,
    own_values,
    preparation_lines,
    recipe_digest,
    recipe_folder,
    require_same_values,
    sources,
    training,
)
from memaudit.recipe.generator import GeneratorRecipe
from memaudit.recipe.locate import load_derivation, load_recipe
from memaudit.recipe.manifest import write_manifest
from memaudit.recipe.members import Counts, Membership, member_counts, members_beside, membership, read_members
from memaudit.recipe.near import near_copies
from memaudit.recipe.observe import Observe
from memaudit.recipe.observed import Observed
from memaudit.recipe.population import SecretProbe, TextPopulation
from memaudit.recipe.populations import Population
from memaudit.recipe.recipes import (
    DPSGD,
    SGD,
    AdamW,
    CallableRecipe,
    ClassifierRecipe,
    EstimatorRecipe,
    LanguageModelRecipe,
    Probes,
    Recipe,
)
from memaudit.recipe.rendering import Rendering, Row, packed
from memaudit.recipe.sought import Secrets
from memaudit.recipe.spaces import TokenSpace
from memaudit.recipe.target import load_target, require_model_file, save_target

__all__ = [
    "DPSGD",
    "SGD",
    "AdamW",
    "CallableRecipe",
    "ClassifierRecipe",
    "Counts",
    "Derivation",
    "Documents",
    "EstimatorRecipe",
    "Examples",
    "FedAvg",
    "Forgotten",
    "GeneratorRecipe",
    "LanguageModelRecipe",
    "Membership",
    "Observe",
    "Observed",
    "Part",
    "Population",
    "Probes",
    "Recipe",
    "Rendering",
    "Row",
    "SecretProbe",
    "Secrets",
    "TextPopulation",
    "TokenSpace",
    "changing",
    "checkpoints_of",
    "classifier_canaries",
    "derivation_lines",
    "fingerprint",
    "flip",
    "inputs_of",
    "load_derivation",
    "load_recipe",
    "load_target",
    "making_examples",
    "member_counts",
    "members_beside",
    "membership",
    "mirror",
    "near_copies",
    "own_values",
    "packed",
    "preparation_lines",
    "read_canaries",
    "read_members",
    "recipe_digest",
    "recipe_folder",
    "require_model_file",
    "require_same_values",
    "save_target",
    "shift",
    "shifted",
    "sources",
    "training",
    "write_manifest",
]
