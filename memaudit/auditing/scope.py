"""What an audit of this kind of model does not say."""

from __future__ import annotations

from memaudit.auditing.target import Target
from memaudit.design import Design, Role
from memaudit.recipe import TextPopulation

UNTESTED = (
    "Attacks other than those listed, such as ones that see the weights or their history, or ask only for labels.",
    "Extraction and reconstruction of training examples, model inversion, and inference of attributes.",
    "What can be learned about people who are not among the examples.",
    "Several releases of a model taken together.",
)
UNTESTED_TEXT = (
    "Attacks other than those listed, such as ones that see the weights or their history, or talk a model round.",
    "Extraction with other prompts than the text that precedes a passage, the beginning of a text, or a few tokens.",
    "Personal data that no fixed rule recognizes: names, addresses, what a text says about somebody.",
    "What can be learned about people who are not in the documents.",
    "Several releases of a model taken together.",
)
BASE = (
    "What the base model gives away of its own training data: all shadows start from it, so that a document which the "
    "base has seen is known to models with and without it alike. Nothing here says that such a document was not seen."
)
ADAPTERS = (
    "The model fine-tuned in another way: the shadows are adapters on one frozen base, and say how much such adapters "
    "memorize. They say nothing about a full fine-tune of the same base, nor about adapters of another size."
)
HALF = "Memorization is measured on training sets of half of the examples; it falls as training sets grow."
LIMITATIONS = (
    "The figures describe one trained model; training again gives another model with somewhat other figures.",
    "The adversary is assumed to know the recipe and to have data like the training data; a weaker one finds less.",
    "A failed attack is evidence of resistance to that attack only.",
    HALF,
    "The most exposed examples were picked because they looked exposed; measured again, they would look less so.",
)
WHOLE = (
    "That the members listed are the whole training set is taken on trust; a data manifest (--manifest), written by "
    "whoever keeps the data, shows it."
)


def untested(target: Target) -> tuple[str, ...]:
    """Returns what was not tested."""
    if not isinstance(target.population, TextPopulation):
        return UNTESTED
    base = getattr(target.recipe, "base", None) is not None
    return (
        *UNTESTED_TEXT,
        *((BASE,) if base else ()),
        *((ADAPTERS,) if getattr(target.recipe, "adapter", None) is not None else ()),
    )


def limitations(target: Target, design: Design) -> tuple[str, ...]:
    """Returns what the figures rest on and do not mean."""
    whole = () if target.manifest is not None else (WHOLE,)
    general = tuple(words for words in LIMITATIONS if design.is_halves or words != HALF)
    return (*_unchecked(target), *_copies(target), *_sampled(target, design), *general, *whole)


def _sampled(target: Target, design: Design) -> tuple[str, ...]:
    """Return which examples the figures are about, where they are not about all."""
    if design.is_halves:
        return ()
    inside, outside = int(target.members.sum()), int((~target.members).sum())
    always, never = design.count(Role.ALWAYS), design.count(Role.NEVER)
    if always:
        told = (
            f"All figures are about {inside - always:,} of the {inside:,} training examples, drawn at random, and all "
            f"{outside:,} held-out examples. Every shadow model was trained on the other {always:,} training examples, "
            "and the adversary is assumed to know them."
        )
    else:
        told = (
            f"All figures are about all {inside:,} training examples and {outside - never:,} held-out ones, drawn at "
            f"random from {outside:,}. No shadow model was trained on the other {never:,}."
        )
    return (
        f"{told} The training sets of the shadow models are therefore about as large as the model's. Memorization and "
        "the most exposed examples are those of this sample alone.",
    )


def _unchecked(target: Target) -> tuple[str, ...]:
    found = target.membership
    if found is None or found.compared >= found.listed:
        return ()
    return (
        f"The content of {found.listed - found.compared} of the {found.listed} members was not compared with the "
        "training data: the members file has no digest of it. If an id or a row was another example at training, all "
        "figures are wrong. memaudit.save_target(model, path, members, recipe) writes digests.",
    )


def _copies(target: Target) -> tuple[str, ...]:
    population = target.population
    if isinstance(population, TextPopulation):
        if not population.duplicates:
            return ()
        return (
            f"{population.duplicates} documents are near-duplicates of others. Near-duplicates are in the training set "
            "together or not at all, and count as one.",
        )
    if population.units == len(population):
        return ()
    return (
        f"{len(population) - population.units} of the {len(population)} examples are exact copies of others, whatever "
        "their label, or belong to the same group. Shadow models are trained on all of a unit or on none of it; its "
        "first example stands for all in the figures.",
    )
