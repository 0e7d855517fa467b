"""`memaudit.quick`: the lowest rung in one call, on anything that predicts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from memaudit import policy
from memaudit.auditing import ledger as ledgers
from memaudit.auditing.choices import default_without_bank, require_choices
from memaudit.auditing.evidence import LedgerKey
from memaudit.auditing.functions import predictor
from memaudit.auditing.provenance import surroundings
from memaudit.auditing.run import Audit, examine, of_examples, recorded
from memaudit.auditing.scope import ALONE, SIGNALS, UNTESTED, WITHOUT_BANK, copies
from memaudit.auditing.sides import read_side, together
from memaudit.checks.tasks import TARGET_EVIDENCE
from memaudit.recipe import Examples
from memaudit.recipe.networks import is_network
from memaudit.recipe.recipes import Outputs
from memaudit.recipe.weights import weights_of
from memaudit.signals import evaluate
from memaudit.training import choose_device
from memaudit.types import ASKED_ATTACKS, ASKED_RATES, Limit, Report, Subject

Array = np.ndarray


def quick(
    model: Any,
    members: Any,
    nonmembers: Any,
    *,
    fprs: Sequence[float] = (0.01, 0.001),
    attacks: Sequence[str] | None = None,
    outputs: Outputs | None = None,
    limits: Sequence[Limit] = (),
    device: str = "auto",
    seed: int = 0,
    ledger: str | Path | None = None,
    task: Literal["classification", "multilabel", "regression"] | None = None,
) -> Audit:
    """Return an audit of a model without shadow models: thresholds on what the model answers.

    It needs no recipe and no file, and trains nothing. Members and non-members must be drawn from the same source, such
    as the training set and a test set that was split off at random. It can show a leak, but cannot bound it.

    Args:
        model: A torch network; anything with `predict_proba` or `decision_function`, or of a regression with `predict`;
            or a function of a batch of inputs that returns one score for each class, `[batch, classes]`. A network is
            left in the mode and on the device where it was.
        members: What the model was trained on: `(x, y)`, `Examples`, a map-style dataset of (input, label), or a
            DataLoader that does not shuffle. `x` and `y` are of any kind that `Examples` takes.
        nonmembers: What it was not trained on, in any of these forms.
        fprs: False-positive rates at which attacks are measured.
        attacks: Names of attacks without a bank; by default all that fit.
        outputs: What the model returns: "logits", "probabilities", "log-probabilities" or "one-vs-rest". Without it,
            outputs that look like probabilities are refused.
        limits: Limits that findings are compared with.
        device: Where a network is run.
        seed: Of folds and permutations.
        ledger: The file in which the audit is recorded; by default none. `memaudit gate` needs it.
        task: "multilabel" for labels 0 and 1 `[examples, labels]`, "regression" for numbers; that of `Examples` by
            default.

    Raises:
        MemauditError: The data cannot be read or overlap, or the model's outputs are not what they should be.
    """
    require_choices(fprs, attacks)
    examples, inside = together(read_side(members, "members"), read_side(nonmembers, "non-members"), task)
    with _undisturbed(model):
        signals = evaluate(
            predictor(model, outputs, examples), examples, (), choose_device(device), outputs, entropy=True
        )
    answers = {"phi": signals.phi, "correct": signals.correct}
    if signals.modified_entropy is not None:
        answers["modified_entropy"] = signals.modified_entropy
    asked = default_without_bank(answers, examples, limits) if attacks is None else tuple(dict.fromkeys(attacks))
    require_choices(fprs, asked)
    facts = TARGET_EVIDENCE[examples.task](
        **of_examples(examples, answers),
        members=inside[examples.representatives],
        fprs=tuple(fprs),
        attacks=asked,
        seed=seed,
    )
    subject = Subject(
        model=type(model).__name__,
        sha256=_digest(model, signals.phi),
        members=int(facts.members.sum()),
        nonmembers=int((~facts.members).sum()),
        shadows=0,
        unit=examples.unit,
    )
    origin = surroundings(device) | {
        "command": "memaudit.quick(model, members, nonmembers)",
        "outputs read as": signals.read_as,
        "subject.sha256": "of the network's weights" if is_network(model) else "of the model's answers",
        ASKED_ATTACKS: ", ".join(asked),
        ASKED_RATES: ", ".join(map(repr, map(float, fprs))),
    }
    signal = SIGNALS.get(examples.task)
    found = examine(facts, subject, (*WITHOUT_BANK, *UNTESTED), (*((signal,) if signal else ()), *ALONE), origin)
    report = replace(policy.hold(found, limits), notices=copies(examples))
    return Audit(report if ledger is None else _entered(report, limits, examples, inside, seed, Path(ledger)), None)


def _entered(
    report: Report, limits: Sequence[Limit], examples: Examples, inside: Array, seed: int, place: Path
) -> Report:
    """Return the report after the audit was recorded in a ledger."""
    ledgers.require_writable(place)
    commitments = LedgerKey(place).commitments(examples, inside.astype(np.uint8))
    report = replace(report, provenance=report.provenance | commitments)
    data = commitments["commitment.examples"]
    made_from = {"seed": str(seed), "recipe.kind": "quick", "recipe.model": report.subject.model}
    return replace(report, attempt=recorded(report, limits, None, made_from, data, place))


@contextmanager
def _undisturbed(model: Any) -> Iterator[None]:
    """Leave a network in the mode and on the device where it was."""
    if not is_network(model):
        yield
        return
    modes = [(module, module.training) for module in model.modules()]
    device = next((parameter.device for parameter in model.parameters()), None)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        if device is not None:
            model.to(device)


def _digest(model: Any, phi: Array) -> str:
    """Return the SHA-256 of a network's weights, or else of the model's answers."""
    if not is_network(model):
        return hashlib.sha256(np.ascontiguousarray(phi).data).hexdigest()
    from safetensors.torch import save

    return hashlib.sha256(save(weights_of(model))).hexdigest()
