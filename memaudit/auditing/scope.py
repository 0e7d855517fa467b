"""What an audit of this kind of model does not test, and what its readers must know."""

from __future__ import annotations

from collections.abc import Mapping

from memaudit.auditing.ground import Ground
from memaudit.auditing.target import Target
from memaudit.bank import Bank
from memaudit.bank.imported import GUESSED
from memaudit.checks.memorized import of_all
from memaudit.design import Design, Draw, Role
from memaudit.recipe import Population, TextPopulation
from memaudit.recipe.labels import Task
from memaudit.reports.text import percent
from memaudit.types import Rung

SEVERAL = "Several releases of a model combined."
MORE = "Three or more releases of a model combined, and releases that continue the training of others."
WHITE_BOX = "Other attacks, such as white-box attacks (weights, training history)."
OTHER_WHITE_BOX = "Other attacks, such as white-box attacks on the training history or on inner layers."
NOT_INFERRED = "Extraction and reconstruction of training examples, model inversion, and attribute inference."
INFERRED = "Extraction and reconstruction of training examples, model inversion, and inference of other attributes."
UNTESTED = (
    "Other attacks, such as white-box attacks (weights, training history) and label-only attacks.",
    NOT_INFERRED,
    "What can be learned about people who are not among the examples.",
    SEVERAL,
)
UNTESTED_TEXT = (
    "Other attacks, such as white-box attacks (weights, training history) and jailbreaks.",
    "Extraction with prompts other than the text before a passage, the beginning of a text, or a few tokens.",
    "Personal data that no fixed rule detects: names, addresses, statements about people.",
    "What can be learned about people who are not in the documents.",
    SEVERAL,
)
BASE = (
    "What the base model leaks about its own training data. All shadow models start from it, so a document that the "
    "base model has seen is known to all of them. Nothing here shows that such a document was not seen."
)
ADAPTERS = (
    "Other kinds of fine-tuning: the shadow models are adapters on one frozen base. The results apply neither to full "
    "fine-tuning of the same base nor to adapters of another size."
)
SILENT = "Extraction of text: a masked model, and one that is scored by token_logprobs(), is not made to write."
NOT_WRITTEN = (
    "Extraction of text, canaries and secrets: memaudit.quick scores texts, and does not make the model write."
)
INPUTS = "What the model reveals about its inputs: of an encoder-decoder only the outputs are scored, given the inputs."
MASKED = (
    "Tokens of a masked model are scored by pseudo-log-likelihood: each is masked once, with a seventh of its row. An "
    "adversary who chooses the masks otherwise may find more."
)
OWN_SCORES = (
    "Tokens are scored by the recipe's own token_logprobs(). Memorization is measured by the mean probability of a "
    "document's tokens, not by the share of tokens that is predicted."
)
HALF = "Memorization is measured on training sets of half of the examples; it decreases as training sets grow."
LIMITATIONS = (
    "The results describe one trained model; another training run gives somewhat different results.",
    "The attacker is assumed to know the recipe and to have similar data; a weaker attacker finds less.",
    "A failed attack is evidence of resistance to that attack only.",
    HALF,
    "The most exposed examples are selected for high exposure, so their scores are biased upwards.",
)
WITHOUT_BANK = (
    "Attacks with shadow models, such as LiRA and SLiRA, which are the strongest: they find members that these miss.",
    "Memorization of single examples, and whether the leak comes from memorizing: both need shadow models.",
)
ALONE = (
    "Members and non-members are taken to be drawn from the same source. The blind baseline tests that, as far as the "
    "data show it.",
    "The figures describe this one trained model and say nothing of other training runs.",
    "A failed attack is evidence of resistance to that attack only. This audit can show a leak, but cannot bound it.",
)
OVERLAP = (
    "The reference models are taken to be trained on none of the examples. A reference that was trained on members "
    "hides their leak; a control tests whether the references know members from non-members.",
)
WHOLE = (
    "Whether the listed members are the whole training set was not checked. A data manifest (--manifest) from the data "
    "owner allows the check."
)


SIGNALS = {
    Task.MULTILABEL: (
        "An example is attacked by the model's confidence in all of its labels together: the signal is the scaled "
        "logit of the product of the labels' probabilities. Attacks on single labels were not made."
    ),
    Task.REGRESSION: (
        "An example is attacked by the error of its prediction: the signal is minus the absolute error, in standard "
        "deviations of the labels. Attacks that see in which direction the prediction is off may find more."
    ),
    Task.GENERATION: (
        "An image is attacked by the model's loss for it, at the levels that the recipe names, or, without a loss, by "
        "the distance to the nearest generated image. The model generated images without a prompt."
    ),
}
"""The signal of membership, for a model that is not a classifier with one label per example."""


RECORDED = ("The model was audited from recorded outputs. That they come from the released model was not checked.",)
IMPORTED = (
    "The shadow models were imported. That they were trained as the model was, and on the examples that the membership "
    "matrix says, was not seen; the fidelity control compares their outputs with the model's.",
)
DERIVED = (
    "The shadow models were derived from trained ones ({what}), and the results are about models that were derived in "
    "the same way. That the audited model was, was not seen; the fidelity control compares its outputs with theirs.",
)
CONFIDENT = (
    "Whether the shadow models classify an example correctly was not given. It counts as correct if the probability of "
    "its label is above 1/2, and memorization is of that.",
)

UNPAIRED = (
    "Each example was in a shadow model's training set with probability {share}, independently. For each example, "
    "models trained on it are matched at random with models that were not."
)
NOISE = (
    "In each shadow model, {share} of the labels were replaced by another class. The model is taken to be trained on "
    "such labels too; all results but MEM008 are about the examples' own labels."
)


def untested(target: Target, rung: Rung = Rung.BANK, tested: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return what was not tested.

    Args:
        target: The audited model.
        rung: What there was to go on.
        tested: Which lines become others, as something that they name was tested.
    """
    return tuple((tested or {}).get(line, line) for line in _untested(target, rung))


def _untested(target: Target, rung: Rung) -> tuple[str, ...]:
    lower = WITHOUT_BANK if rung < Rung.BANK else ()
    if not isinstance(target.population, TextPopulation):
        return (*lower, *UNTESTED)
    base = getattr(target.recipe, "base", None) is not None
    return (
        *lower,
        *UNTESTED_TEXT,
        *(() if target.population.writes else (SILENT,)),
        *((INPUTS,) if target.population.objective == "seq2seq" else ()),
        *((BASE,) if base else ()),
        *((ADAPTERS,) if getattr(target.recipe, "adapter", None) is not None else ()),
    )


def limitations(target: Target, base: Ground) -> tuple[str, ...]:
    """Return what the results rest on and do not mean."""
    whole = () if target.manifest is not None else (WHOLE,)
    recorded = RECORDED if target.outputs else ()
    general = _with_bank(base) if base.rung is Rung.BANK else (*ALONE, *(OVERLAP if base.models else ()))
    signal = SIGNALS.get(getattr(target.population, "task", Task.CLASSIFICATION))
    imported = () if base.bank is None else (*_of_import(base.bank, target, base), *_of_derivation(base.bank))
    return (
        *((signal,) if signal else ()),
        *imported,
        *recorded,
        *_sampled(target, base),
        *_score(target),
        *general,
        *whole,
    )


def notices(target: Target) -> tuple[str, ...]:
    """Return what a reader must know before the results."""
    return (*_unchecked(target), *copies(target.population))


def _with_bank(base: Ground) -> tuple[str, ...]:
    return tuple(words.replace("half", of_all(base.share)) if words == HALF else words for words in LIMITATIONS)


def _sampled(target: Target, base: Ground) -> tuple[str, ...]:
    """Return which examples the figures are about, where they are not about all; and what else the design decides."""
    design = base.design
    if design is None:
        return ()
    always, never = base.count(Role.ALWAYS), base.count(Role.NEVER)
    lines = [_measured(target, always, never, design.chosen)] if always + never else []
    if design.draw is Draw.INDEPENDENT and base.rung is Rung.BANK:
        lines.append(_unpaired(base, design))
    if design.label_noise:
        lines.append(NOISE.format(share=percent(design.label_noise)))
    return tuple(lines)


def _measured(target: Target, always: int, never: int, chosen: bool) -> str:
    inside, outside = int(target.members.sum()), int((~target.members).sum())
    known = (
        f"Every shadow model was trained on the other {always:,} training examples, and the adversary is assumed to "
    )
    alike = "The training sets of the shadow models are therefore about as large as the model's."
    if chosen:
        lines = [
            f"All figures are about {_of(inside - always, inside)} training examples and "
            f"{_of(outside - never, outside)} held-out ones. They were chosen, so that the figures describe no others.",
            *([f"{known}know them."] if always else ()),
            *([f"No shadow model was trained on the other {never:,} held-out ones."] if never else ()),
        ]
        return " ".join(lines)
    if always:
        told = (
            f"All figures are about {inside - always:,} of the {inside:,} training examples, drawn at random, and all "
            f"{outside:,} held-out examples. {known}know them."
        )
    else:
        told = (
            f"All figures are about all {inside:,} training examples and {outside - never:,} held-out ones, drawn at "
            f"random from {outside:,}. No shadow model was trained on the other {never:,}."
        )
    return f"{told} {alike} Memorization and the most exposed examples are those of this sample alone."


def _of(some: int, whole: int) -> str:
    return f"all {whole:,}" if some == whole else f"{some:,} of the {whole:,}"


def _unpaired(base: Ground, design: Design) -> str:
    """Return what follows from shadow models that are drawn independently of each other."""
    assert base.recordings is not None
    left_out = design.count(Role.CANDIDATE) - base.recordings.shape[1]
    told = UNPAIRED.format(share=percent(design.inclusion))
    return f"{told} {left_out} examples were left out: too few models have, or lack, them." if left_out else told


def _of_import(bank: Bank, target: Target, base: Ground) -> tuple[str, ...]:
    """Return what the figures rest on where the bank was imported; nothing of one that was filled here."""
    if not bank.imported:
        return ()
    examples = len(target.population)
    left_out = examples - len(base.target.population)
    lines = [*IMPORTED, f"Design of the imported models: {bank.fingerprint['design']}"]
    lines += [words for name, words in bank.fingerprint.items() if name.startswith("design.caveat.")]
    if bank.fingerprint["correct"] == GUESSED:
        lines += CONFIDENT
    if left_out:
        lines.append(
            f"{left_out} of the {examples} examples were left out: too few shadow models were trained with or without "
            "them, or their copies were split between training sets. That does not depend on any output."
        )
    return tuple(lines)


def _of_derivation(bank: Bank) -> tuple[str, ...]:
    """Return what the figures rest on where the shadow models were derived from others."""
    if not bank.derived:
        return ()
    named = (bank.fingerprint.get(f"derivation.{name}", "").strip("'") for name in ("function", "data"))
    function, data = (words.partition(" ")[0] if " " in words and "(" not in words else words for words in named)
    return tuple(words.format(what=f"by {function} on data {data}") for words in DERIVED)


def _score(target: Target) -> tuple[str, ...]:
    """Return what the score of a document rests on, where it is not the usual one."""
    population = target.population
    if not isinstance(population, TextPopulation):
        return ()
    masked = (MASKED,) if population.objective == "masked" else ()
    return (*masked, *((OWN_SCORES,) if population.token_logprobs is not None else ()))


def _unchecked(target: Target) -> tuple[str, ...]:
    found = target.membership
    if found is None or found.compared >= found.listed or target.outputs:
        return ()
    return (
        f"The content of {found.listed - found.compared} of the {found.listed} members was not compared with the "
        "training data: the members file has no digest of it. If an id or a row was another example at training, all "
        "results are wrong. memaudit.save_target(model, path, members, recipe) writes digests.",
    )


def copies(population: Population) -> tuple[str, ...]:
    """Return what a reader must know of copies among the examples; nothing if there are none."""
    if isinstance(population, TextPopulation):
        if not population.duplicates:
            return ()
        return (
            f"{population.duplicates} documents are near-duplicates of others. Near-duplicates are kept together, in "
            "or out of every training set, and count once.",
        )
    if population.units == len(population):
        return ()
    if population.pools:
        units = "groups" if population.unit == "examples" else population.unit
        return (
            f"The results are about {population.units:,} {units} with {len(population):,} records in all. Each model "
            "is trained on all records of one of them, or on none. Signals are means over these records, without exact "
            "copies.",
        )
    return (
        f"{len(population) - population.units} of the {len(population)} examples are exact copies of others, whatever "
        "their label, or belong to the same group. They are kept together, in or out of every training set, and count "
        "once.",
    )
