"""One model over all examples: scaled logits for every query, and whether the plain view is classified correctly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from memaudit.errors import ModelError
from memaudit.recipe import Examples, GeneratorRecipe, Population
from memaudit.recipe.labels import Task
from memaudit.recipe.networks import is_network
from memaudit.recipe.recipes import Output, Outputs
from memaudit.signals.estimator import estimator_signals, votes
from memaudit.signals.kinds import Range, entropy_of, require_kind, signals_of
from memaudit.signals.logits import cross_entropy
from memaudit.signals.multilabel import logits_of, multilabel_estimator, multilabel_signals, require_multilabel
from memaudit.signals.order import require_order
from memaudit.signals.regression import regression_estimator, regression_signals, spread_of
from memaudit.tokens import recorded_tokens

Array = np.ndarray

LOOK = "look."
_FIRST, BATCH = 128, 1024  # examples at a time; the first tell how many outputs there are
_OUTPUTS = 2**24  # of a network at a time: 64 MiB


@dataclass(frozen=True, slots=True)
class Signals:
    """What one model says about every example: φ in nats, larger = more confident; correctness of the plain view.

    Of several labels an example, correctness is the share of them that is right; of a regression, the explained share.
    `read_as` says in words what the outputs were taken for. `modified_entropy` is that of the plain view, in nats,
    where it was asked for and the outputs have one. `look` is what `signals.looks.look` takes, where it was asked for.
    """

    phi: Float[Array, "examples queries"]
    correct: Shaped[Array, " examples"]
    read_as: str
    modified_entropy: Float[Array, " examples"] | None = None
    look: dict[str, Shaped[Array, " examples"]] | None = None


def measure(
    model: Any,
    population: Population,
    queries: Sequence[Any] = (),
    device: str = "cpu",
    outputs: Outputs | None = None,
    output: Output | None = None,
    entropy: bool = False,
    look: bool = False,
    generator: GeneratorRecipe | None = None,
) -> dict[str, Array]:
    """Return everything that is recorded about one model, by name; see `evaluate` and `measure_text`.

    What a look takes, where it is asked for, has names that begin with `LOOK`. A generator is asked as its recipe says;
    see `measure_generator`.
    """
    if generator is not None:
        from memaudit.signals.generator import measure_generator

        assert isinstance(population, Examples)
        return measure_generator(model, population, generator, device)
    if isinstance(population, Examples):
        signals = evaluate(model, population, queries, device, outputs, output, entropy, look)
        more = {} if signals.modified_entropy is None else {"modified_entropy": signals.modified_entropy}
        more |= {LOOK + name: values for name, values in (signals.look or {}).items()}
        return {"phi": signals.phi, "correct": signals.correct, **more}
    from memaudit.signals.network import steady
    from memaudit.signals.text import measure_text, unit_phi

    found = measure_text(model, population, device)
    steady(model, lambda rows: unit_phi(model, population, rows, device), found["phi"][:_FIRST])
    if look:
        from memaudit.signals.looks import of_tokens

        found |= {LOOK + name: values for name, values in of_tokens(recorded_tokens(found)).items()}
    return found


def evaluate(
    model: Any,
    examples: Examples,
    queries: Sequence[Any] = (),
    device: str = "cpu",
    outputs: Outputs | None = None,
    output: Output | None = None,
    entropy: bool = False,
    look: bool = False,
) -> Signals:
    """Return the signals of one model in evaluation mode: no dropout, no batch statistics, so no batch mates.

    What the model does to its inputs in place, it does to a copy. Logits are reduced batch by batch.

    Args:
        model: A torch network, or anything with `predict_proba` or `decision_function`; of a regression, `predict`.
        examples: What to score.
        queries: Further fixed views of a network's inputs, beside the plain one.
        device: Where a network is evaluated.
        outputs: What the model's outputs are; None takes logits, and refuses what looks like probabilities.
        output: Which part of what a network returns they are.
        entropy: Whether the modified entropy of a classifier's outputs is measured, too.
        look: Whether what a look takes of a network is recorded, too.

    Raises:
        ModelError: The outputs are not finite, random, or no logits; there is no output for some label; all examples
            get one score and not all are right; or it is no model at all.
    """
    if is_network(model):
        signals = _of_network(model, examples, queries, device, outputs, output, entropy, look)
    else:
        phi, correct, read_as, *entropies = _of_estimator(model, examples, outputs)
        signals = Signals(
            phi[:, None].astype(np.float32), correct, read_as, entropies[0] if entropy and entropies else None
        )
    if (signals.phi[:, 0] == signals.phi[0, 0]).all() and not signals.correct.all():
        raise ModelError(
            f"the model has the same confidence in the label of all {len(examples)} examples (φ = "
            f"{signals.phi[0, 0]:.3g}): there is nothing that an attack could use. Look at its training and its outputs"
        )
    return signals


def loss_of(population: Population) -> Callable[[Array], Array]:
    """Return what makes a loss of a signal; −error and a log-probability only change their sign."""
    own = not isinstance(population, Examples) or population.task in (Task.REGRESSION, Task.GENERATION)
    return np.negative if own else cross_entropy


def _of_estimator(model: Any, examples: Examples, outputs: Outputs | None) -> tuple[Any, ...]:
    """Return φ, correctness, in words what was read, and of a classifier with one label each the modified entropy."""
    if examples.task is Task.REGRESSION and hasattr(model, "predict"):
        return regression_estimator(model, examples)
    if not hasattr(model, "predict_proba") and not hasattr(model, "decision_function"):
        raise ModelError(f"a {type(model).__name__} is neither a torch network nor a classifier of scikit-learn's kind")
    if examples.task is Task.MULTILABEL:
        return multilabel_estimator(model, examples, outputs, votes(model))
    return estimator_signals(model, examples, outputs)


def _of_network(
    network: Any,
    examples: Examples,
    queries: Sequence[Any],
    device: str,
    outputs: Outputs | None,
    output: Output | None,
    entropy: bool,
    look: bool,
) -> Signals:
    from memaudit.signals.network import Asked, asked

    plain = asked(network, examples.inputs, device, output)
    views = [plain, *(Asked(network, examples.inputs, device, query, output) for query in queries)]
    phi = np.empty((len(examples), len(views)), np.float32)
    entropies = np.empty(len(examples)) if entropy and _has_entropy(examples, outputs) else None
    taken: list[dict[str, Array]] | None = [] if look else None
    for column, view in enumerate(views):
        own = (None, None) if column else (entropies, taken)
        try:
            seen, hits = _of_view(view, examples, outputs, phi[:, column], *own)
        except ModelError as error:
            raise error if column == 0 else ModelError(f"query {column}, {queries[column - 1]!r}: {error}") from error
        if column == 0:
            correct = hits
            read_as = _read_as(seen, examples.task, outputs, lambda: plain.last_layer(slice(0, 2)))
    parts = taken or []
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else None
    return Signals(phi, correct, read_as, entropies, whole)


def _has_entropy(examples: Examples, outputs: Outputs | None) -> bool:
    return outputs != "one-vs-rest" and examples.task is Task.CLASSIFICATION


def _of_view(
    view: Any,
    examples: Examples,
    outputs: Outputs | None,
    phi: Array,
    entropies: Array | None = None,
    taken: list[dict[str, Array]] | None = None,
) -> tuple[Range, Array]:
    """Write φ of one view into an array, batch by batch; returns the range of the outputs, and the correctness.

    The modified entropy is written into another array, and what a look takes is appended to a list, if there is one.
    """
    from memaudit.signals.network import steady

    correct = np.empty(len(examples), bool if examples.task is Task.CLASSIFICATION else np.float32)
    start, batch = 0, _FIRST
    largest = np.empty(len(examples), np.int64)
    while start < len(examples):
        rows = slice(start, min(start + batch, len(examples)))
        answers = checked(view(rows), examples, rows)
        if start == 0:
            steady(view.network, view, answers)
            batch = max(2, min(BATCH, _OUTPUTS // answers.shape[1]))
            seen = Range(answers.shape[1])
        seen.add(answers)
        with np.errstate(divide="ignore"):
            phi[rows], correct[rows] = signals_by_task(answers, examples, rows, outputs)
            if entropies is not None:
                entropies[rows] = entropy_of(answers, examples.y[rows], outputs)
        if taken is not None:
            taken.append(_look(answers, examples, rows, outputs, phi[rows], correct[rows]))
        largest[rows] = answers.argmax(axis=1)
        start = rows.stop
        del answers  # before the next are made
    if examples.task is Task.CLASSIFICATION and seen.columns > 1:
        require_order(largest, examples.y, examples.class_names)
    return seen, correct


def _look(
    answers: Float[Array, "rows columns"],
    examples: Examples,
    rows: slice,
    outputs: Outputs | None,
    phi: Float[Array, " rows"],
    correct: Shaped[Array, " rows"],
) -> dict[str, Array]:
    """Return what a look takes of some rows; of a regression it is what is recorded anyway."""
    if examples.task is Task.REGRESSION:
        return {"loss": -phi, "correct": correct}
    from memaudit.signals.example_losses import read

    return read(answers, examples, rows, outputs)


def signals_by_task(
    answers: Float[Array, "rows columns"], examples: Examples, rows: slice, outputs: Outputs | None
) -> tuple[Array, Array]:
    """Return φ and correctness of some rows by a network's outputs for them."""
    y = examples.y[rows]
    if examples.task is Task.MULTILABEL:
        return multilabel_signals(logits_of(answers, outputs), y)
    if examples.task is Task.REGRESSION:
        return regression_signals(answers[:, 0], y, spread_of(examples))
    return signals_of(answers, y, outputs)


def _read_as(seen: Range, task: Task, outputs: Outputs | None, last_layer: Callable[[], str]) -> str:
    if task is Task.REGRESSION:
        return "predictions"
    return (require_multilabel if task is Task.MULTILABEL else require_kind)(seen, outputs, last_layer)


def checked(outputs: Array, examples: Examples, rows: slice) -> Float[Array, "rows classes"]:
    """Return the outputs for some rows; −inf is an answer for a class that is masked, if it is not the label."""
    y = examples.y[rows]
    if outputs.ndim != 2 or len(outputs) != len(y):
        raise ModelError(f"the model's output has shape {outputs.shape}; expected [{len(y)} examples, classes]")
    if examples.task is not Task.CLASSIFICATION:
        return _one_for_each(outputs, examples, rows)
    count = max(2, outputs.shape[1])
    if examples.classes > count:
        row = int(np.argmax(examples.y >= count))
        from_one = examples.y.min() == 1 and examples.classes == count + 1
        raise ModelError(
            f"labels out of range: row {row} has label {examples.y[row]}, the model has {count} classes"
            + ("; labels count from 0: subtract 1" if from_one else "")
        )
    usable = np.isfinite(outputs)
    if outputs.shape[1] > 2 and not usable.all():
        masked = np.isneginf(outputs)
        masked[np.arange(len(y)), y] = False
        usable |= masked & (masked.sum(axis=1) < outputs.shape[1] - 1)[:, None]
    bad = np.flatnonzero(~usable.all(axis=1))
    if len(bad):
        raise ModelError(f"the model's output is NaN or infinite, first in row {rows.start + bad[0]}")
    return outputs


def _one_for_each(outputs: Array, examples: Examples, rows: slice) -> Float[Array, "rows labels"]:
    if outputs.shape[1] != examples.classes:
        raise ModelError(
            f"the model has {outputs.shape[1]} outputs, and an example {examples.classes} labels ({examples.task}); "
            "return one for each"
        )
    if len(bad := np.flatnonzero(~np.isfinite(outputs).all(axis=1))):
        raise ModelError(f"the model's output is NaN or infinite, first in row {rows.start + bad[0]}")
    return outputs
