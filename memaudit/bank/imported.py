"""A bank of models that were trained elsewhere, from their outputs or whatever else gives their signals.

The bank is a folder like any other. Its fingerprint says that the models were imported, from what, and how they were
assigned to the examples; how they were trained is not known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from memaudit.bank.arrays import Arrays
from memaudit.bank.folder import Bank
from memaudit.bank.matching import Design, design_of
from memaudit.errors import BankError, EvidenceError, ModelError, RecipeError
from memaudit.recipe import Examples
from memaudit.signals import Signals
from memaudit.signals.recorded import OF_CLASSES, recorded_signals
from memaudit.signals.sense import require_sense

Array = np.ndarray

OUTPUTS, MODELS = "imported outputs", "imported models"  # the origin in a fingerprint
_FROM_OUTPUTS, GUESSED = "from the outputs", "the label’s probability is above 1/2"  # what counts as correct
_LABELS, _IDS, _NAMES = "examples.labels.sha256", "examples.ids.sha256", "examples.ids.sorted.sha256"
_KIND = "examples.ids"
_SAME = 1e-4  # difference of signals, in nats, and relative, that is rounding
_REVERSED = 5.0  # standard errors; models that learn nothing of their members reach it once in 3 million banks


@dataclass(frozen=True, slots=True)
class Imported:
    """An imported bank and what was found in its membership matrix."""

    bank: Bank
    design: Design


def import_outputs(path: str | Path, arrays: Arrays, kind: str, *, seed: int = 0) -> Imported:
    """Return the bank that recorded outputs are imported into; resumes after an interruption.

    Args:
        path: Of the bank's folder; made if there is none.
        arrays: `outputs` `[models, examples, …]`, `members` `[models, examples]` of 0 and 1, `labels` `[examples]`, and
            optionally `ids`, `inputs` and `correct`.
        kind: What the outputs are: `memaudit.signals.recorded.KINDS`.
        seed: Of the matching of models that are no pairs, and of the audits' controls.

    Raises:
        EvidenceError: Arrays do not fit together, are not what is stated, or support no audit.
        BankError: The folder holds another bank, or cannot be written.
    """
    outputs, members = arrays["outputs"], memberships(arrays["members"])
    _require_shapes(outputs, members)
    examples = population_of(arrays, members.shape[1], kind)
    right = arrays.get("correct")
    if right is not None and right.shape != members.shape:
        raise EvidenceError(f"correct has shape {list(right.shape)}, members {list(members.shape)}; they must agree")

    def signals(model: int) -> Signals:
        return recorded_signals(outputs[model], examples.y, kind, None if right is None else right[model])

    from_outputs = _FROM_OUTPUTS if kind in OF_CLASSES else GUESSED
    made = {
        "origin": OUTPUTS,
        "numbers": kind,
        "correct": "given" if right is not None else from_outputs,
        "recipe.imported": arrays.sha256,
    }
    return import_signals(path, examples, members, signals, made, seed)


def import_signals(
    path: str | Path,
    examples: Examples,
    members: UInt8[Array, "models examples"],
    signals: Callable[[int], Signals],
    made: dict[str, str],
    seed: int,
) -> Imported:
    """Return the bank that models' signals are imported into, model by model; complete ones are not asked for again.

    Args:
        path: Of the bank's folder.
        examples: The population.
        members: How often each model was trained on each example.
        signals: Returns one model's signals.
        made: Lines of the fingerprint that say what the models are.
        seed: As for `import_outputs`.

    Raises:
        EvidenceError: As for `import_outputs`.
        BankError: As for `import_outputs`.
    """
    design = design_of(members > 0)
    bank = Bank.create(path, len(examples), made | _lines(examples, design, seed))
    bank.sweep()
    missing = [place for place in range(len(design.order)) if not bank.has(place)]
    if missing:
        bank.require_writable()
    for place in missing:
        model = int(design.order[place])
        try:
            found = signals(model)
            if made["correct"] == _FROM_OUTPUTS:
                require_sense({"correct": found.correct, "phi": found.phi}, members[model], examples)
        except (EvidenceError, ModelError, RecipeError) as error:
            raise EvidenceError(f"model {model}: {error}") from error
        tensors = {"members": members[model], "phi": found.phi, "correct": found.correct}
        bank.write(place, tensors, None, {"imported": model})
    try:
        _require_direction(bank)
    except EvidenceError:
        for model in bank.models():
            bank.discard(model)
        raise
    return Imported(bank, design)


def require_same_examples(bank: Bank, examples: Examples) -> None:
    """Raise BankError unless an imported bank is of these examples, in this order.

    Labels are compared, and ids where both have them.
    """
    own, stated = _digests(examples), bank.fingerprint
    count = stated.get("examples.count")
    if count != str(len(examples)):
        raise BankError(f"the bank in {bank.path} is of {count} examples, and the model's outputs of {len(examples)}")
    differ = {name for name in own if stated.get(name) != own[name]}
    labels = _LABELS in differ and stated.get(_LABELS) and own[_LABELS]
    # Of another kind, such as numbers of rows and hashes of contents, ids can only be compared if they are the same.
    ids = _IDS in differ and not {_KIND, _NAMES} <= differ
    for what, are_others in (("labels", labels), ("ids", ids)):
        if are_others:
            raise BankError(
                f"the {what} of the model's {len(examples)} examples are not those of the bank in {bank.path}: these "
                "are other examples, or the same in another order. Give the rows in the order of the imported arrays"
            )


def require_other_model(bank: Bank, phi: Float[Array, "examples queries"]) -> None:
    """Raise BankError if a model with these signals is among the models of a bank.

    Of a bank that was filled here, exactly one model must have them: where several do, signals do not tell models
    apart.
    """
    twins = [model for model in bank.models() if _alike(bank.tensor(model, "phi"), phi)]
    if not twins or (len(twins) > 1 and not bank.imported):
        return
    number = bank.record(twins[0]).get("imported", twins[0])
    way_out = (
        "Import the shadow models without it, and of complementary pairs without its other half"
        if bank.imported
        else "A shadow model is no target of its own bank: audit a model that was trained apart from it"
    )
    raise BankError(
        f"the audited model is shadow model {number} of the bank in {bank.path}, or has the same outputs. {way_out}"
    )


def _alike(own: Float[Array, "examples queries"], phi: Float[Array, "examples queries"]) -> bool:
    return own.shape == phi.shape and bool(np.allclose(own, phi, rtol=_SAME, atol=_SAME))


def memberships(members: Array) -> UInt8[Array, "models examples"]:
    """Return memberships as counts.

    Raises:
        EvidenceError: They are no matrix of whole numbers from 0 to 255.
    """
    found = np.asarray(members)
    if found.dtype.kind not in "buif" or found.size == 0:
        raise EvidenceError(f"members are 0 or 1 for each example, got an array of {found.dtype}, {list(found.shape)}")
    if not ((found >= 0) & (found <= 255) & (found == np.floor(found))).all():
        raise EvidenceError("members are 0 or 1 for each example, or how often it was trained on: whole numbers to 255")
    return found.astype(np.uint8)


def population_of(arrays: Arrays, count: int, kind: str) -> Examples:
    """Return the examples that arrays are about; without inputs, of labels and ids alone.

    Raises:
        EvidenceError: They do not fit together.
    """
    ids, inputs, labels = arrays.get("ids"), arrays.get("inputs"), arrays.get("labels")
    if labels is None and kind not in OF_CLASSES:
        labels = np.zeros(count, np.int64)
    labels = arrays["labels"] if labels is None else labels
    if labels.ndim == 2 and len(labels) == 1:
        labels = labels[0]
    if len(labels) != count:
        raise EvidenceError(f"there are {len(labels)} labels for {count} examples")
    if labels.dtype.kind not in "biuf":
        raise EvidenceError("labels are numbers, those of the columns of outputs from 0; these are strings")
    if kind in OF_CLASSES and len(labels) and (labels == labels[0]).all():
        raise EvidenceError(
            f"all {len(labels)} examples have the label {labels[0]}; a classifier has two classes or more"
        )
    try:
        return Examples.recorded(labels, ids) if inputs is None else Examples(inputs, labels, ids)
    except RecipeError as error:
        raise EvidenceError(str(error)) from error


def _require_shapes(outputs: Array, members: Array) -> None:
    if members.ndim != 2 or outputs.ndim < 2 or outputs.shape[:2] != members.shape:
        hint = "; one of them is transposed" if outputs.shape[1::-1] == members.shape else ""
        raise EvidenceError(
            f"outputs have shape {list(outputs.shape)} and members {list(members.shape)}: both begin with models and "
            f"examples, [models, examples]{hint}"
        )
    if members.shape[0] > members.shape[1]:
        raise EvidenceError(
            f"there are {members.shape[0]} models and {members.shape[1]} examples; transpose outputs and members: "
            "their first axis is that of the models"
        )


def _lines(examples: Examples, design: Design, seed: int) -> dict[str, str]:
    """Return the lines of the fingerprint that say what the bank is about."""
    return {
        "seed": str(seed),
        "design": design.words,
        "design.pairs": "yes" if design.pairs else "no",
        **{f"design.caveat.{number}": words for number, words in enumerate(design.caveats, 1)},
        "models": str(len(design.order)),
        "examples.count": str(len(examples)),
        "examples.sha256": examples.digest(),
        **_digests(examples),
    }


def _digests(examples: Examples) -> dict[str, str]:
    """Return a digest of labels, empty where there are none; what ids are; and their digests, as given and sorted."""
    ids = [str(name) for name in examples.ids]
    labels = hashlib.sha256(examples.y.tobytes()).hexdigest() if examples.y.any() else ""
    kind = "given"
    if ids == [str(row) for row in range(len(ids))]:
        kind = "row numbers"
    elif examples.has_inputs and examples.ids_are_hashes:
        kind = "hashes of contents"
    return {_LABELS: labels, _KIND: kind, _IDS: _of_names(ids), _NAMES: _of_names(sorted(ids))}


def _of_names(names: list[str]) -> str:
    return hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass")).hexdigest()


def _require_direction(bank: Bank) -> None:
    """Raise EvidenceError if the models are less sure of what they were trained on than the others are.

    Each example's mean signal with it and without it are compared; examples are trained on independently of each other.
    """
    with_it, without, inside = np.zeros((3, bank.examples))
    models = bank.models()
    for model in models:
        found = bank.tensors(model)
        phi, members = found["phi"][:, 0].astype(np.float64), found["members"] > 0
        phi -= phi.mean()
        with_it += phi * members
        without += phi * ~members
        inside += members
    gains = with_it / np.maximum(inside, 1) - without / np.maximum(len(models) - inside, 1)
    if gains.sum() < -_REVERSED * np.sqrt((gains**2).sum()):
        raise EvidenceError(
            "the models are less confident in the examples they were trained on than in others: members are marked by "
            "0 instead of 1, or the outputs are not what is stated (losses instead of probabilities, for instance)"
        )


def whole_units(
    members: Iterable[UInt8[Array, " examples"]], unit_of: Int[Array, " examples"]
) -> Bool[Array, " units"]:
    """Return which units, copies or groups, were in each model's training set as a whole or not at all."""
    size = np.bincount(unit_of)
    whole = np.ones(len(size), bool)
    for row in members:
        inside = np.bincount(unit_of[row > 0], minlength=len(size))
        whole &= (inside == 0) | (inside == size)
    return whole
