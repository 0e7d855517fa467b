"""The audited model: loaded, looked at, run over all examples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from memaudit.auditing.folder import sha256
from memaudit.bank import Bank, Recordings
from memaudit.design import Design, Pairs
from memaudit.errors import EvidenceError, ModelError
from memaudit.recipe import (
    EstimatorRecipe,
    Examples,
    GeneratorRecipe,
    Membership,
    Observed,
    Population,
    Recipe,
    TextPopulation,
    load_recipe,
    load_target,
    members_beside,
    membership,
)
from memaudit.recipe.generator import COSTS
from memaudit.recipe.manifest import Manifest, manifest_of, read_manifest
from memaudit.recipe.observed import LARGEST, observed_beside, read_observed
from memaudit.recipe.populations import candidates, counts_of_candidates, require_stable, units_of
from memaudit.recipe.recipes import asking
from memaudit.signals import measure
from memaudit.signals.evaluate import loss_of
from memaudit.training import choose_device, population

Array = np.ndarray

_LEAST_EXAMPLES = 10
_UNTELLING = {"model", "pytorch_model", "adapter_model", "weights", "checkpoint", "best", "final", "last"}
_ROUNDING, _ROUNDED = 0.02, 0.05  # of a loss, between devices; of the examples, in which it may be larger
_READING_PAIRS = 16  # whose reading of what the target wrote tells memorized passages from predictable ones


@dataclass(frozen=True, eq=False)
class Target:
    """A model that is ready to be audited: loaded, run over all examples, with its members known.

    Of a model of which only outputs were recorded, `outputs` says what these are, and `guessed` whether an example
    counts as classified correctly because its label's probability is above 1/2; there need be no recipe. `called` is
    what the user calls a model that is in no file. `observed` is what was seen of it while it trained, which only the
    proxies of memorization read.
    """

    recipe: Recipe | None
    population: Population
    counts: UInt8[Array, " ids"]
    recorded: dict[str, Array]
    model: Path
    sha256: str
    state_dict: str | None = None
    membership: Membership | None = None
    manifest: tuple[Manifest, Manifest] | None = None
    outputs: str = ""
    guessed: bool = False
    called: str = ""
    observed: Observed | None = None

    def only(self, rows: Int[Array, " rows"]) -> Target:
        """Return the same target with some of its examples."""
        assert isinstance(self.population, Examples)
        recorded = {name: values if name in COSTS else values[rows] for name, values in self.recorded.items()}
        return replace(
            self,
            population=self.population.take(rows),
            counts=self.counts[rows],
            recorded=recorded,
            observed=None if self.observed is None else self.observed.take(rows),
        )

    @property
    def members(self) -> Bool[Array, " examples"]:
        """Which units the model was trained on: examples without their copies, groups, or documents."""
        return units_of(self.population, self.counts)

    @property
    def name(self) -> str:
        """What the model is called in a report: its file or folder, and where that is not telling, its parent too."""
        untelling = self.model.stem.lower() in _UNTELLING and self.model.exists()
        path = f"{self.model.resolve().parent.name}/" if untelling else ""
        name = self.called or f"{path}{self.model.name}"
        return name.encode("utf-8", "backslashreplace").decode()  # a name may be no text

    @property
    def ids(self) -> Array:
        """What the units are called: by the id of their first example or document."""
        if isinstance(self.population, TextPopulation):
            return self.population.ids[: len(self.population)]
        return self.population.ids[self.population.representatives]


def of_candidates(target: Target, design: Design, device: str = "auto") -> Target:
    """Return the target as it is seen through a bank: over the candidates alone.

    A model of language or of images is asked about these again.

    Raises:
        EvidenceError: There are too few members or non-members among them.
    """
    if design.measured.all():
        return target
    examples = candidates(target.population, design)
    counts = counts_of_candidates(target.population, design, target.counts)
    rows = None if isinstance(target.population, TextPopulation) else design.candidates[target.population.unit_of]
    recorded = (
        _answers(target, examples, counts, device)
        if rows is None or isinstance(target.recipe, GeneratorRecipe)
        else {name: values[rows] for name, values in target.recorded.items()}
    )
    seen = target.observed
    if seen is not None:
        seen = seen.take(np.flatnonzero(design.candidates if rows is None else rows))
    return replace(target, population=examples, counts=counts, recorded=recorded, observed=seen)


def _answers(target: Target, examples: Population, counts: UInt8[Array, " ids"], device: str) -> dict[str, Array]:
    """Return the answers of a language model to the questions about some documents, or of a generator to images."""
    assert target.recipe is not None
    text, on = examples if isinstance(examples, TextPopulation) else None, choose_device(device)
    loaded = load_target(target.model, target.recipe, text, target.state_dict)
    recorded = measure(loaded, examples, device=on, **asking(target.recipe))
    if text is None:
        return recorded
    from memaudit.signals.target import question

    return recorded | question(loaded, text, target.recipe, ~units_of(text, counts), on)


def read_by_shadows(target: Target, bank: Bank, recordings: Pairs, device: str = "auto") -> Array | None:
    """Return the log-probabilities of what the target wrote `[models, samplers, texts, tokens]` under shadow models.

    They are the first of the recordings, 16 pairs at most. None if the target wrote nothing, or the bank has no weights
    of these models, or such as do not fit the target.

    Raises:
        BankError: Weights in the bank are damaged.
    """
    if "generated" not in target.recorded or not isinstance(target.population, TextPopulation):
        return None
    assert target.recipe is not None
    assert isinstance(recordings, Recordings)
    models = [int(file.parent.name) for file in recordings.files[: 2 * _READING_PAIRS]]
    weights = [file for model in models if (file := bank.weights(model)) is not None]
    if len(weights) < len(models):
        return None
    from memaudit.signals.target import read_again

    network = load_target(target.model, target.recipe, target.population, target.state_dict)
    try:
        return np.asarray(read_again(network, weights, target.recorded, choose_device(device)))
    except ModelError:  # a user's own loop may return another network than its own loader
        return None


def open_target(
    model: str | Path,
    recipe: Recipe | str,
    members: str | Path | Iterable[Any] | None = None,
    device: str = "auto",
    *,
    state_dict: str | None = None,
    manifest: str | Path | None = None,
    trusted: Iterable[str] = (),
) -> Target:
    """Return the target, after everything that can be wrong with it has been looked at; needs no bank.

    Args:
        model: The file with the model's weights, or a language model's folder.
        recipe: How it was made, or where the recipe is.
        members: Who it was trained on: a file of ids, a mask, or ids; by default the file that `save_target` wrote.
        device: Where the model is run.
        state_dict: Which of several sets of weights in the file is the model, such as "model_ema".
        manifest: The file that `write_manifest` wrote about the training set.
        trusted: Types that a skops file may hold beside scikit-learn's and the recipe's own `trusted`.

    Raises:
        MemauditError: Something is missing or does not fit; the message says what to do.
    """
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    if trusted and isinstance(recipe, EstimatorRecipe):
        recipe = replace(recipe, trusted=(*recipe.trusted, *trusted))
    if not Path(model).exists():  # first: it takes no time, and a wrong path is the commonest mistake
        raise ModelError(f"there is no model {model}")
    examples = population(recipe)
    text = examples if isinstance(examples, TextPopulation) else None
    loaded = load_target(model, recipe, text, state_dict)
    who_was = membership(members_beside(model) if members is None else members, examples)
    if who_was.compared < who_was.listed:
        require_stable(recipe, examples)
    counts = who_was.counts
    mask = units_of(examples, counts)
    require_both(examples, who_was, mask)
    digest = sha256(Path(model))
    seen = read_observed(model, digest, len(examples))
    stated = None if manifest is None else (read_manifest(manifest), manifest_of(examples, counts))
    try:
        recorded = measure(loaded, examples, device=choose_device(device), entropy=True, **asking(recipe))
        if text is not None:
            from memaudit.signals.target import question

            recorded |= question(loaded, text, recipe, ~mask, choose_device(device))
    except ModelError as error:
        raise ModelError(f"{model}: {error}") from error
    if seen is not None:
        _require_same_end(Path(model), seen, loss_of(examples)(recorded["phi"][:, 0]), recorded["correct"])
    return Target(
        recipe,
        examples,
        counts,
        recorded,
        Path(model),
        digest,
        state_dict,
        who_was,
        stated,
        observed=seen,
    )


def _require_same_end(
    model: Path, seen: Observed, loss: Float[Array, " examples"], correct: Shaped[Array, " examples"]
) -> None:
    """Raise EvidenceError if the last of a target's observations is not what the audited model says."""
    last = seen.values["loss"][-1].astype(np.float64)
    other = np.abs(last - np.minimum(loss, LARGEST)) > _ROUNDING * (1 + loss)
    right = seen.values["correct"]
    if right.dtype != (np.bool_ if correct.dtype == np.bool_ else np.float16):
        raise EvidenceError(f"{observed_beside(model)} is of examples of another kind. Delete the file")
    other |= np.abs(right[-1].astype(np.float64) - correct) > _ROUNDING
    if other.mean() > _ROUNDED:
        raise EvidenceError(
            f"{observed_beside(model)}: the loss or correctness of {int(other.sum())} of {len(other)} examples at the "
            "end of training is not that of the model: it was trained on afterwards, or these are other numbers. "
            "Delete the file, or save the model with what was seen of it: memaudit.save_target(..., observed=seen)"
        )


def require_both(examples: Population, who_was: Membership, members: Bool[Array, " units"]) -> None:
    """Raise EvidenceError, saying why, unless there are members and non-members enough."""
    outside = who_was.counts == 0
    held_out = int(outside.sum())
    copies = int((outside & members[examples.unit_of]).sum()) if isinstance(examples, Examples) else 0
    for who, count in (("members", int(members.sum())), ("non-members", int((~members).sum()))):
        if count >= _LEAST_EXAMPLES:
            continue
        if who == "non-members" and copies:
            why = (
                f"{held_out} examples are held out, but {copies} of them are copies of members, or of a "
                "member's group, and so were trained on: hold out examples that the model has not seen"
            )
        elif who == "non-members" and who_was.split:
            why = (
                f"{who_was.split} more are held out, but are near-duplicates of members, and so were trained on: hold "
                "out documents that the model has not seen"
            )
        elif who == "non-members" and not count:
            why = "every example is a member: examples() must also return about as many that were held out"
        else:
            why = "examples() must return the training set and about as many held-out examples"
        raise EvidenceError(
            f"there are {count} {who} among the {len(members)} examples; an audit needs at least {_LEAST_EXAMPLES} of "
            f"each: {why}"
        )
