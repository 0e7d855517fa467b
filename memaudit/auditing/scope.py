"""What an audit of this kind of model does not test, and what its readers must know."""

from __future__ import annotations

from memaudit.auditing.target import Target
from memaudit.recipe import TextPopulation

UNTESTED = (
    "Other attacks, such as white-box attacks (weights, training history) and label-only attacks.",
    "Extraction and reconstruction of training examples, model inversion, and attribute inference.",
    "What can be learned about people who are not among the examples.",
    "Several releases of a model combined.",
)
UNTESTED_TEXT = (
    "Other attacks, such as white-box attacks (weights, training history) and jailbreaks.",
    "Extraction with prompts other than the text before a passage, the beginning of a text, or a few tokens.",
    "Personal data that no fixed rule detects: names, addresses, statements about people.",
    "What can be learned about people who are not in the documents.",
    "Several releases of a model combined.",
)
BASE = (
    "What the base model leaks about its own training data. All shadow models start from it, so a document that the "
    "base model has seen is known to all of them. Nothing here shows that such a document was not seen."
)
ADAPTERS = (
    "Other kinds of fine-tuning: the shadow models are adapters on one frozen base. The results apply neither to full "
    "fine-tuning of the same base nor to adapters of another size."
)
LIMITATIONS = (
    "The results describe one trained model; another training run gives somewhat different results.",
    "The attacker is assumed to know the recipe and to have similar data; a weaker attacker finds less.",
    "A failed attack is evidence of resistance to that attack only.",
    "Memorization is measured on training sets of half of the examples; it decreases as training sets grow.",
    "The most exposed examples are selected for high exposure, so their scores are biased upwards.",
)
WHOLE = (
    "That the listed members are the whole training set was not checked. A data manifest (--manifest), written by "
    "whoever keeps the data, allows the check."
)


def untested(target: Target) -> tuple[str, ...]:
    """Return what was not tested."""
    if not isinstance(target.population, TextPopulation):
        return UNTESTED
    base = getattr(target.recipe, "base", None) is not None
    return (
        *UNTESTED_TEXT,
        *((BASE,) if base else ()),
        *((ADAPTERS,) if getattr(target.recipe, "adapter", None) is not None else ()),
    )


def limitations(target: Target) -> tuple[str, ...]:
    """Return what the results rest on and do not mean."""
    return (*LIMITATIONS, *(() if target.manifest is not None else (WHOLE,)))


def notices(target: Target) -> tuple[str, ...]:
    """Return what a reader must know before the results."""
    return (*_unchecked(target), *_copies(target))


def _unchecked(target: Target) -> tuple[str, ...]:
    found = target.membership
    if found is None or found.compared >= found.listed:
        return ()
    return (
        f"The content of {found.listed - found.compared} of the {found.listed} members was not compared with the "
        "training data: the members file has no digest of it. If an id or a row was another example at training, all "
        "results are wrong. memaudit.save_target(model, path, members, recipe) writes digests.",
    )


def _copies(target: Target) -> tuple[str, ...]:
    population = target.population
    if isinstance(population, TextPopulation):
        if not population.duplicates:
            return ()
        return (
            f"{population.duplicates} documents are near-duplicates of others. Near-duplicates are kept together, in "
            "or out of every training set, and count once.",
        )
    if population.units == len(population):
        return ()
    return (
        f"{len(population) - population.units} of the {len(population)} examples are exact copies of others, whatever "
        "their label, or belong to the same group. They are kept together, in or out of every training set, and count "
        "once.",
    )
