"""`memaudit.quick`: the lowest rung in one call, on anything that predicts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from memaudit import policy
from memaudit.auditing import ledger as ledgers
from memaudit.auditing.choices import require_choices
from memaudit.auditing.evidence import LedgerKey
from memaudit.auditing.provenance import surroundings
from memaudit.auditing.run import Audit, examine, recorded
from memaudit.auditing.scope import ALONE, UNTESTED, WITHOUT_BANK
from memaudit.checks import ClassifierTargetEvidence
from memaudit.errors import EvidenceError, SettingsError
from memaudit.recipe import Examples
from memaudit.recipe.networks import is_network
from memaudit.recipe.recipes import Outputs
from memaudit.recipe.weights import weights_of
from memaudit.signals import evaluate
from memaudit.training import choose_device
from memaudit.types import ASKED_ATTACKS, ASKED_RATES, Limit, Report, Subject

Array = np.ndarray

_LEAST = 10  # members, and non-members
_USUAL = ("quantile-regression", "class-threshold", "global-threshold")


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
) -> Audit:
    """Return an audit of a classifier without shadow models: thresholds on what the model answers.

    It needs no recipe and no file, and trains nothing. Members and non-members must be drawn from the same source, such
    as the training set and a test set that was split off at random. It can show a leak, but cannot bound it.

    Args:
        model: A torch network; anything with `predict_proba` or `decision_function`; or a function of a batch of inputs
            that returns one score for each class, `[batch, classes]`.
        members: What the model was trained on: `(x, y)`, `Examples`, a map-style dataset of (input, label), or a
            DataLoader that does not shuffle. `x` may be a table.
        nonmembers: What it was not trained on, in any of these forms.
        fprs: False-positive rates at which attacks are measured.
        attacks: Names of attacks without a bank; by default all that fit.
        outputs: What the model returns: "logits", "probabilities", "log-probabilities" or "one-vs-rest". Without it,
            outputs that look like probabilities are refused.
        limits: Limits that findings are compared with.
        device: Where a network is run.
        seed: Of folds and permutations.
        ledger: The file in which the audit is recorded; by default none.

    Raises:
        MemauditError: The data cannot be read or overlap, or the model's outputs are not what they should be.
    """
    require_choices(fprs, attacks or ())
    sides = _read(members, "members"), _read(nonmembers, "nonmembers")
    examples, inside = _together(*sides)
    rows = examples.representatives
    signals = evaluate(_predictor(model, outputs), examples, (), choose_device(device), outputs, entropy=True)
    entropy = signals.modified_entropy
    fitting = (*(("modified-entropy",) if entropy is not None else ()), *_USUAL)
    limited = [limit.attack for limit in limits if limit.metric == "tpr" and limit.attack is not None]
    asked = tuple(dict.fromkeys([*fitting, *limited] if attacks is None else attacks))
    facts = ClassifierTargetEvidence(
        phi=signals.phi[rows],
        correct=signals.correct[rows],
        members=inside[rows],
        x=examples.x[rows],
        y=examples.y[rows],
        modified_entropy=None if entropy is None else entropy[rows],
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
    )
    origin = surroundings(device) | {
        "command": "memaudit.quick(model, members, nonmembers)",
        "outputs read as": signals.read_as,
        "subject.sha256": "of the network's weights" if is_network(model) else "of the model's answers",
        ASKED_ATTACKS: ", ".join(asked),
        ASKED_RATES: ", ".join(map(repr, map(float, fprs))),
    }
    report = policy.hold(examine(facts, subject, (*WITHOUT_BANK, *UNTESTED), ALONE, origin), limits)
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


def _read(data: Any, name: str) -> tuple[Array, Array]:
    """Return inputs and labels of data in any form.

    Raises:
        MemauditError: It has none of the forms, or differs when it is read a second time.
    """
    if isinstance(data, Examples):
        return data.x, data.y
    if isinstance(data, tuple | list) and len(data) == 2 and all(map(_is_array, data)):
        x, y = (np.asarray(part.detach().cpu() if hasattr(part, "detach") else part) for part in data)
        return x, y
    if hasattr(data, "dataset") and hasattr(data, "batch_size"):
        first, again = _batches(data, name), _batches(data, name)
        if not all(np.array_equal(a, b) for a, b in zip(first, again, strict=True)):
            raise EvidenceError(
                f"{name}: the loader returns other examples, or another order, when it is read a second time. Use "
                "shuffle=False, and no random transform"
            )
        return first
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        found = Examples.from_dataset(data)
        return found.x, found.y
    raise SettingsError(
        f"{name} are a {type(data).__name__}: give (x, y), memaudit.Examples, a map-style dataset of (input, label), "
        "or a DataLoader that does not shuffle"
    )


def _is_array(part: Any) -> bool:
    return hasattr(part, "shape") or (isinstance(part, list) and not hasattr(part[:1], "shape"))


def _batches(loader: Any, name: str) -> tuple[Array, Array]:
    pairs = [tuple(np.asarray(part) for part in batch) for batch in loader]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise SettingsError(f"{name}: the loader does not yield batches of (inputs, labels)")
    x, y = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return x, y


def _together(members: tuple[Array, Array], nonmembers: tuple[Array, Array]) -> tuple[Examples, Array]:
    """Return all examples, and which are members.

    Raises:
        MemauditError: The inputs do not go together, an input is on both sides, or there are too few.
    """
    sides = {"members": members, "non-members": nonmembers}
    for name, (x, y) in sides.items():
        if len(x) != len(y):
            raise EvidenceError(f"{name}: there are {len(x)} inputs and {len(y)} labels")
        if len(y) < _LEAST:
            raise EvidenceError(f"there are {len(y)} {name}; an audit needs at least {_LEAST}")
    if members[0].shape[1:] != nonmembers[0].shape[1:]:
        raise EvidenceError(
            f"inputs of members have shape {members[0].shape[1:]}, of non-members {nonmembers[0].shape[1:]}"
        )
    inside = np.arange(len(members[1]) + len(nonmembers[1])) < len(members[1])
    ids = [f"{'member' if member else 'nonmember'}-{row}" for row, member in enumerate(inside)]
    x, y = (np.concatenate(parts) for parts in zip(members, nonmembers, strict=True))
    examples = Examples(x, y, ids)
    units = [np.bincount(examples.unit_of, side) > 0 for side in (inside, ~inside)]
    if both := int((units[0] & units[1]).sum()):
        raise EvidenceError(
            f"{both} inputs are among the members and among the non-members: leave them out of the non-members"
        )
    for name, side in zip(sides, units, strict=True):
        if side.sum() < _LEAST:
            raise EvidenceError(f"there are {int(side.sum())} different {name}; an audit needs at least {_LEAST}")
    return examples, inside


@dataclass(frozen=True)
class _Function:
    """A function of inputs, asked as an estimator is: for scores, or for probabilities, of each class."""

    function: Callable[[Array], Any]

    def _scores(self, x: Array) -> Array:
        found = self.function(x)
        return np.asarray(found.detach().cpu() if hasattr(found, "detach") else found)


class _OfScores(_Function):
    def decision_function(self, x: Array) -> Array:
        """Return the scores of the classes."""
        scores = self._scores(x)
        if (
            scores.ndim == 2
            and scores.shape[1] > 1
            and scores.min() >= 0
            and np.allclose(scores.sum(axis=1), 1, 0, 0.01)
        ):
            raise SettingsError(
                'the model returns probabilities: every row sums to 1. Say so with outputs="probabilities"; if they '
                'are scores all the same, with outputs="logits"'
            )
        return scores


class _OfLogits(_Function):
    def decision_function(self, x: Array) -> Array:
        """Return the logits of the classes."""
        return self._scores(x)


class _OfProbabilities(_Function):
    def predict_proba(self, x: Array) -> Array:
        """Return the probabilities of the classes."""
        return self._scores(x)


_ASKED_AS: dict[str | None, type[_Function]] = {
    None: _OfScores,
    "logits": _OfLogits,
    "log-probabilities": _OfLogits,
    "probabilities": _OfProbabilities,
}


def _predictor(model: Any, outputs: Outputs | None) -> Any:
    """Return what can be evaluated: the model, or a function in the form of an estimator."""
    if is_network(model) or hasattr(model, "predict_proba") or hasattr(model, "decision_function"):
        return model
    if not callable(model):
        raise SettingsError(
            f"a {type(model).__name__} does not predict: give a torch network, an estimator with predict_proba or "
            "decision_function, or a function that returns one score for each class"
        )
    if outputs not in _ASKED_AS:
        raise SettingsError(
            f'outputs="{outputs}" is for torch networks; a function returns "logits" or "probabilities"'
        )
    return _ASKED_AS[outputs](model)


def _digest(model: Any, phi: Array) -> str:
    """Return the SHA-256 of a network's weights, or else of the model's answers."""
    if not is_network(model):
        return hashlib.sha256(np.ascontiguousarray(phi).data).hexdigest()
    from safetensors.torch import save

    return hashlib.sha256(save(weights_of(model))).hexdigest()
