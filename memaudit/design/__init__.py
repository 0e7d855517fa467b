"""Which model is trained on which example, and how often.

The default design is paired complementary halves: model 2t+1 is trained on exactly what model 2t is not. Pair t
depends on (seed, t) alone, so a bank of 64 models is the first half of a bank of 128, every example is inside exactly
half of the models, and leaving a *pair* out leaves every example with the same counts. Leaving one model out of a
balanced bank instead would tell the attack the answer: members would have one inside model fewer.

For a target whose share of members is not one half, the pairs halve the *candidates* alone: all units of the smaller
side and as many of the larger, drawn at random. The rest is in every model, or in none, so that every model's training
set is about as large as the target's.

Other designs draw candidates independently with any probability, leave chosen units out one at a time, or redraw
labels. A `Design` is the value that says so; `Subsets` is what a user asks for.
"""

from memaudit.design.chosen import ENOUGH_EXAMPLES, Chosen, EveryNth, Recorded, Watched, step_of
from memaudit.design.designs import HALVES, Design, Draw, about_half, about_share
from memaudit.design.draws import half, half_in_units, halves, one_class, target_half, target_in_units, target_share
from memaudit.design.labels import redrawn
from memaudit.design.pairs import NullPairs, PairArrays, Pairs, by_pair, swapped
from memaudit.design.pairs import coins as coins
from memaudit.design.roles import Role
from memaudit.design.streams import training_seed
from memaudit.design.subsets import Subsets

__all__ = [
    "ENOUGH_EXAMPLES",
    "HALVES",
    "Chosen",
    "Design",
    "Draw",
    "EveryNth",
    "NullPairs",
    "PairArrays",
    "Pairs",
    "Recorded",
    "Role",
    "Subsets",
    "Watched",
    "about_half",
    "about_share",
    "by_pair",
    "half",
    "half_in_units",
    "halves",
    "one_class",
    "redrawn",
    "step_of",
    "swapped",
    "target_half",
    "target_in_units",
    "target_share",
    "training_seed",
]
