"""`memaudit.quick`: the lowest rung in one call, on anything that predicts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from memaudit import policy
from memaudit.auditing import ledger as ledgers
from memaudit.auditing.choices import default_without_bank, require_choices
from memaudit.auditing.evidence import LedgerKey
from memaudit.auditing.functions import predictor
from memaudit.auditing.one_call_text import answers_of, are_texts, documents, language_model
from memaudit.auditing.provenance import surroundings
from memaudit.auditing.run import Audit, examine, of_examples, recorded
from memaudit.auditing.scope import ALONE, NOT_WRITTEN, SIGNALS, UNTESTED, UNTESTED_TEXT, WITHOUT_BANK, copies
from memaudit.auditing.sides import read_side, together
from memaudit.checks import TargetEvidence, TextTargetEvidence
from memaudit.checks.tasks import TARGET_EVIDENCE
from memaudit.recipe import Population, Rendering
from memaudit.recipe.networks import is_network
from memaudit.recipe.recipes import Outputs
from memaudit.recipe.weights import weights_of
from memaudit.signals import evaluate
from memaudit.training import choose_device
from memaudit.types import ASKED_ATTACKS, ASKED_RATES, Limit, Report, Subject

Array = np.ndarray
_NOT_ASKED = ("CAN003", "CAN010", "EXT")  # checks of a language model that need more questions than one for each text
_UNASKED = "memaudit.quick scores texts and asks for nothing else: audit the model with a recipe (memaudit audit)"
Task = Literal["classification", "multilabel", "regression"]


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
    task: Task | None = None,
    rendering: Rendering | None = None,
) -> Audit:
    """Return an audit of a model without shadow models: thresholds on what the model answers.

    It needs no recipe and no file, and trains nothing. Members and non-members must be drawn from the same source, such
    as the training set and a test set that was split off at random. It can show a leak, but cannot bound it.

    Args:
        model: A torch network; anything with `predict_proba` or `decision_function`, or of a regression with `predict`;
            or a function of a batch of inputs that returns one score for each class, `[batch, classes]`. A network is
            left in the mode and on the device where it was. Of a language model, its folder, or a transformers model
            with its tokenizer: `(model, tokenizer)`.
        members: What the model was trained on: `(x, y)`, `Examples`, a map-style dataset of (input, label), or a
            DataLoader that does not shuffle. `x` and `y` are of any kind that `Examples` takes. Of a language model, a
            list of texts, each of a kind that `Documents` takes.
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
        rendering: How texts become rows of a language model; by default between the tokenizer's BOS and EOS, in rows
            of at most 512 tokens.

    Raises:
        MemauditError: The data cannot be read or overlap, or the model's outputs are not what they should be.
    """
    require_choices(fprs, attacks, limits)
    if are_texts(members) and are_texts(nonmembers):
        seen = _read_texts(model, members, nonmembers, rendering, device)
    else:
        seen = _read_examples(model, members, nonmembers, outputs, task, device)
    asked = default_without_bank(seen.answers, seen.population, limits) if attacks is None else attacks
    asked = tuple(dict.fromkeys(asked))
    require_choices(fprs, asked)
    facts = seen.kind(**seen.facts, members=seen.units, fprs=tuple(fprs), attacks=asked, seed=seed)
    subject = Subject(
        model=seen.name,
        sha256=_digest(seen.model, seen.answers["phi"]),
        members=int(facts.members.sum()),
        nonmembers=int((~facts.members).sum()),
        shadows=0,
        unit=getattr(seen.population, "unit", "examples"),
    )
    origin = surroundings(device) | {
        "command": "memaudit.quick(model, members, nonmembers)",
        "outputs read as": seen.read_as,
        "subject.sha256": "of the network's weights" if is_network(seen.model) else "of the model's answers",
        ASKED_ATTACKS: ", ".join(asked),
        ASKED_RATES: ", ".join(map(repr, map(float, fprs))),
    }
    found = examine(facts, subject, (*WITHOUT_BANK, *seen.untested), (*seen.limitations, *ALONE), origin)
    skipped = tuple(replace(s, reason=_UNASKED) if s.code.startswith(_NOT_ASKED) else s for s in found.skipped)
    report = replace(policy.hold(replace(found, skipped=skipped), limits), notices=copies(seen.population))
    return Audit(report if ledger is None else _entered(report, limits, seen, seed, Path(ledger)), None)


@dataclass(frozen=True)
class _Seen:
    """What there is to attack: which ids and which units are members, and what the model answered."""

    model: Any
    name: str
    population: Population
    inside: Array
    units: Array
    answers: dict[str, Array]
    read_as: str
    kind: type[TargetEvidence]
    facts: dict[str, Any]
    untested: tuple[str, ...] = UNTESTED
    limitations: tuple[str, ...] = ()


def _read_examples(
    model: Any, members: Any, nonmembers: Any, outputs: Outputs | None, task: Task | None, device: str
) -> _Seen:
    examples, inside = together(read_side(members, "members"), read_side(nonmembers, "non-members"), task)
    with _undisturbed(model):
        signals = evaluate(
            predictor(model, outputs, examples), examples, (), choose_device(device), outputs, entropy=True
        )
    answers = {"phi": signals.phi, "correct": signals.correct}
    if signals.modified_entropy is not None:
        answers["modified_entropy"] = signals.modified_entropy
    signal = SIGNALS.get(examples.task)
    return _Seen(
        model,
        type(model).__name__,
        examples,
        inside,
        inside[examples.representatives],
        answers,
        signals.read_as,
        TARGET_EVIDENCE[examples.task],
        of_examples(examples, answers),
        limitations=(signal,) if signal else (),
    )


def _read_texts(
    given: Any, members: Sequence[Any], nonmembers: Sequence[Any], rendering: Rendering | None, device: str
) -> _Seen:
    model, rendering = language_model(given, rendering)
    texts, inside = documents(members, nonmembers, rendering)
    with _undisturbed(model):
        found = answers_of(model, texts, choose_device(device))
    shared = {"phi": found["phi"], "correct": found["correct"], "population": texts, "recorded": found}
    return _Seen(
        model,
        Path(given).name if isinstance(given, str | Path) else type(model).__name__,
        texts,
        inside,
        inside,
        found,
        texts.score,
        TextTargetEvidence,
        shared | {"doses": np.zeros(0, np.uint8)},
        untested=(NOT_WRITTEN, *UNTESTED_TEXT),
    )


def _entered(report: Report, limits: Sequence[Limit], seen: _Seen, seed: int, place: Path) -> Report:
    """Return the report after the audit was recorded in a ledger."""
    ledgers.require_writable(place)
    commitments = LedgerKey(place).commitments(seen.population, seen.inside.astype(np.uint8))
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
