"""What an audit of this kind of model does not say."""

from __future__ import annotations

from memaudit.auditing.target import Target
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
SILENT = "Extraction of text: a masked model, and one that is scored by token_logprobs(), is not made to write."
INPUTS = "What the model reveals about its inputs: of an encoder-decoder only the outputs are scored, given the inputs."
MASKED = (
    "Tokens of a masked model are scored by pseudo-log-likelihood: each is masked once, with a seventh of its row. An "
    "adversary who chooses the masks otherwise may find more."
)
OWN_SCORES = (
    "Tokens are scored by the recipe's own token_logprobs(). Memorization is measured by the mean probability of a "
    "document's tokens, not by the share of tokens that is predicted."
)
LIMITATIONS = (
    "The figures describe one trained model; training again gives another model with somewhat other figures.",
    "The adversary is assumed to know the recipe and to have data like the training data; a weaker one finds less.",
    "A failed attack is evidence of resistance to that attack only.",
    "Memorization is measured on training sets of half of the examples; it falls as training sets grow.",
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
        *(() if target.population.writes else (SILENT,)),
        *((INPUTS,) if target.population.objective == "seq2seq" else ()),
        *((BASE,) if base else ()),
        *((ADAPTERS,) if getattr(target.recipe, "adapter", None) is not None else ()),
    )


def limitations(target: Target) -> tuple[str, ...]:
    """Returns what the figures rest on and do not mean."""
    whole = () if target.manifest is not None else (WHOLE,)
    return (*_unchecked(target), *_copies(target), *_score(target), *LIMITATIONS, *whole)


def _score(target: Target) -> tuple[str, ...]:
    """Returns what the score of a document rests on, where it is not the usual one."""
    population = target.population
    if not isinstance(population, TextPopulation):
        return ()
    masked = (MASKED,) if population.objective == "masked" else ()
    return (*masked, *((OWN_SCORES,) if population.token_logprobs is not None else ()))


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
