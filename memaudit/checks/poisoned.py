"""MIA025: how much more a record leaks once an attacker has added mislabeled copies of it to the training data."""

from __future__ import annotations

from functools import partial

import numpy as np

from memaudit.attacks import Signal, attack
from memaudit.checks.attack_results import title_of, unresolved
from memaudit.checks.attacked import Attacked, Shadows
from memaudit.checks.classifier import ClassifierEvidence
from memaudit.checks.evidence import Check, Outcome, between, estimate, points_between
from memaudit.reports.text import percent, points, rate
from memaudit.stats import change_interval, rate_by_pair, rate_interval, resolvable
from memaudit.types import Finding, Skipped, Table

Array = np.ndarray

_TITLE = "Poisoned training data"
_ATTACK = "lira-online"
_LEAST_PAIRS = 3
_METHOD = "Student's t over pairs of models, with the variance of the thresholds"


def _poisoned(evidence: ClassifierEvidence) -> Outcome:
    """Poisoned training data: how much more does a record leak after an attacker adds mislabeled copies of it?

    An attacker who can add records to the training data, as in crowd-sourced or scraped data, adds a few copies of the
    record under attack with a wrong label. The model then remembers the record only if it is itself in the training
    set, as an exception to its copies: the signals of members and non-members move apart.

    A second bank has the same memberships and, in every model, the copies (`memaudit.poisoned`). LiRA (online) is made
    on the attacked records in either bank, with thresholds set on that bank's models. The result is the change of the
    true-positive rate (TPR) on the same records, and its interval is over pairs of models with the same memberships.

    It is a statement about the recipe, and not about the audited model, whose training data are taken to be clean. The
    attacked records are those that were chosen; others may gain more or less.

    Source: Tramèr et al. 2022 (CCS), "Truth Serum: Poisoning Machine Learning Models to Reveal Their Secrets".
    """
    assert evidence.poisoned is not None
    clean, dirty = evidence.poisoned.clean, evidence.poisoned.poisoned
    pairs, records, _ = clean.shape
    if pairs < _LEAST_PAIRS:
        reason = f"the two banks have {pairs} pairs of models in common, and at least {_LEAST_PAIRS} are needed"
        return (), (Skipped(code="MIA025", title=_TITLE, reason=reason),)
    found = [_attacked(evidence.signal, bank) for bank in (clean, dirty)]
    findings, skipped = [], []
    for fpr in evidence.fprs:
        title = f"{_TITLE}, at {rate(fpr)} FPR"
        if not resolvable(fpr, records):
            skipped.append(Skipped(code="MIA025", title=title, reason=_too_few(fpr, records)))
        elif any(of.unreachable(fpr) for of in found):
            skipped.append(Skipped(code="MIA025", title=title, reason="the attack's scores are tied"))
        else:
            findings.append(_finding(evidence, title, found, fpr))
    return tuple(findings), tuple(skipped)


def _attacked(signal: Signal, bank: Shadows) -> Attacked:
    """Return the scores of a bank's own models; those of a target are not used, and any model serves as one."""
    return Attacked.of(attack(_ATTACK, signal), bank.block(slice(0, bank.shape[1]))[0][0], bank)


def _too_few(fpr: float, records: int) -> str:
    return unresolved(fpr, records).replace("non-members", "attacked records")


def _finding(evidence: ClassifierEvidence, title: str, found: list[Attacked], fpr: float) -> Finding:
    assert evidence.poisoned is not None
    copies = evidence.poisoned.copies
    (clean, own), (dirty, moved) = (rate_by_pair(of.inside, of.outside, fpr) for of in found)
    less, more = float(clean.mean()), float(dirty.mean())

    value = estimate(more - less, partial(change_interval, own, moved), "share", _METHOD)
    return Finding(
        code="MIA025",
        title=title,
        metric="poisoning",
        attack=_ATTACK,
        at_fpr=fpr,
        estimate=value,
        sentence=(
            f"With {copies} mislabeled copies of a record in the training data, {title_of(_ATTACK)} identifies "
            f"{percent(more)} of members at a {rate(fpr)} false-positive rate, not {percent(less)}: a change of "
            f"{points(value.value)} percentage points (95% CI {points_between(value.low, value.high)})."
        ),
        n=found[0].outside.shape[1],
        counted=f"attacked {evidence.unit}",
        source="Tramèr et al. 2022 (CCS), Truth Serum",
        tables=(_table(found, copies, fpr),),
        notes=(
            f"Mean over {2 * len(clean)} shadow models with clean and as many with poisoned training data, on the same "
            "records.",
        ),
    )


def _table(found: list[Attacked], copies: int, fpr: float) -> Table:
    rows = []
    for name, of in zip(("clean", f"{copies} mislabeled copies of each record"), found, strict=True):
        value, low, high = rate_interval(of.inside, of.outside, fpr)
        rows.append((name, percent(value), between(low, high)))
    return Table(
        title="TPR on the attacked records, by training data",
        columns=("Training data", f"TPR at {rate(fpr)} FPR", "95% CI over pairs of models"),
        rows=tuple(rows),
        note="Thresholds are set on the attacked records of the same bank's models that were not trained on them.",
    )


poisoned_check = Check(
    "MIA025",
    _TITLE,
    "poisoning",
    _poisoned,
    ClassifierEvidence,
    wanted=lambda evidence: getattr(evidence, "poisoned", None) is not None,
)
