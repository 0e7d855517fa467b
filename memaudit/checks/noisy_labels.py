"""MEM006: which labels do models contradict that were not trained on the example, and how many are there?"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from jaxtyping import Float, Int

from memaudit.checks.classifier import ClassifierEvidence
from memaudit.checks.evidence import Check, Evidence, Outcome, between, estimate
from memaudit.checks.tail import dependent
from memaudit.errors import EvidenceError
from memaudit.memorization.noisy_labels import contradicted, outside_margin
from memaudit.reports.text import percent
from memaudit.stats import right_without
from memaudit.types import Estimate, Finding, Skipped, Table

Array = np.ndarray

_CODE, _TITLE = "MEM006", "Labels that other models contradict"
_ERROR = 0.025  # on each side of the interval


def _contradicted(evidence: ClassifierEvidence) -> Outcome:
    """Suspicious labels: how many labels do most models contradict that were not trained on the example?

    A model that was trained on an example may have memorized its wrong label. One that was not predicts what the other
    examples suggest. The label of example i is contradicted if fewer than half of such models predict it,

        p(i) = P[model predicts the label of i | i not in training] < 1/2.

    The result is the share of such labels. A contradicted label is not always wrong: it may be ambiguous, or the
    example is rare. If 3 % of the labels are wrong, a good recipe contradicts about 3 % of them, and the examples that
    it finds hard. What is memorized at a contradicted label is of no use for other examples, unless MEM005 shows one.

    For each example, the models without it are independent draws, so that exact binomial tests say whether p(i) is
    surely below, or surely above, one half. Holm's procedure over all examples makes the interval: with 97.5 %
    confidence, every label that counts as contradicted is, and with 97.5 % confidence every label that counts as
    confirmed is. All others are undecided, and few models leave many. The interval covers at any dependence between
    examples. It is about these examples and this recipe, and not about one model.

    The column `label_suspicion` of evidence.csv ranks the examples, so that people can look at the first ones. A single
    rank has no error rate.

    Source: Northcutt, Jiang & Chuang 2021 (JAIR 70:1373), confident learning, here with held-out models; exact binomial
    test; Holm 1979.
    """
    if (reason := _lacking(evidence)) is not None:
        return (), (Skipped(code=_CODE, title=_TITLE, reason=reason),)
    right, models = right_without(evidence.bank.correct, evidence.bank.members)
    if (reason := _few(models, evidence.unit)) is not None:
        return (), (Skipped(code=_CODE, title=_TITLE, reason=reason),)
    hits = right.astype(np.int64)
    n, against = len(models), int((2 * hits < models).sum())
    method = "exact binomial tests over models without the example, Holm over the examples"
    share = estimate(against / n, partial(_interval, hits, models), "share", method)
    shown, not_confirmed = contradicted(hits, models, _ERROR)
    finding = Finding(
        code=_CODE,
        title=_TITLE,
        metric="contradicted-labels",
        estimate=share,
        sentence=_sentence(share, against, n, evidence.unit),
        n=n,
        counted=f"{evidence.unit} in {len(evidence.bank.members)} shadow models",
        source="Northcutt, Jiang & Chuang 2021, on held-out models; Holm 1979",
        tables=(_table(n, against, shown, not_confirmed, evidence.unit),),
        notes=("A contradicted label is wrong or ambiguous, or its example is rare.",),
    )
    return (finding,), ()


contradicted_check = Check(_CODE, _TITLE, "contradicted-labels", _contradicted, ClassifierEvidence)


def suspected_labels(evidence: Evidence) -> tuple[Int[Array, " examples"], Float[Array, " examples"]]:
    """Return (order, score): the examples with the most suspicious labels first, and a score that is larger for them.

    The score is minus the mean signal of shadow models without the example: of a classifier, log-odds against its
    label. It ranks. It has no error rate: rare and ambiguous examples rank high as well, so that people should look at
    the first ones. How many labels are contradicted at a stated error is a finding of the audit.

    Args:
        evidence: Of a model with labels, with a bank; any design.

    Raises:
        EvidenceError: The examples have no labels, or only one class.

    Source: as in `memorization.noisy_labels`.
    """
    if not evidence.has_labels:
        raise EvidenceError("the examples have no labels, or all have the same one, so that none can be suspected")
    score = outside_margin(evidence.bank)
    return np.argsort(-score, kind="stable"), score


def _lacking(evidence: ClassifierEvidence) -> str | None:
    """Return why it cannot be told which labels are contradicted; None if it can."""
    if not evidence.has_labels:
        return "the examples have no labels, or all have the same one"
    if evidence.bank.correct.dtype.kind == "f":
        return "it needs one class for each example, and one record for each unit"
    if dependent(evidence):
        return "it needs shadow models that are complementary pairs, or that were all drawn independently"
    return None


def _few(models: Int[Array, " examples"], unit: str) -> str | None:
    """Return why so many models without each example contradict no label for certain; None if they can."""
    least = math.ceil(math.log2(len(models) / _ERROR))
    if int(models.max()) >= least:
        return None
    return (
        f"with {int(models.max())} shadow models without each example, no label is surely contradicted; with "
        f"{len(models):,} {unit}, it needs {least}"
    )


def _interval(hits: Array, models: Array, levels: Float[Array, " levels"]) -> tuple[Array, Array]:
    ends = [contradicted(hits, models, (1 - float(level)) / 2) for level in levels]
    low, high = np.array(ends, float).T / len(models)
    return low, high


def _sentence(share: Estimate, against: int, n: int, unit: str) -> str:
    ends = f"95% CI {between(share.low, share.high)}"
    return (
        f"Most models that were not trained on the example contradict its label for {percent(share.value)} of the "
        f"{unit} ({against:,} of {n:,}; {ends})."
    )


def _table(n: int, against: int, shown: int, not_confirmed: int, unit: str) -> Table:
    return Table(
        title="Labels by what models without the example predict",
        columns=("Label", "Number"),
        rows=(
            ("Surely contradicted", shown),
            ("Undecided", not_confirmed - shown),
            ("Surely confirmed", n - not_confirmed),
            ("Contradicted by most models, sure or not", against),
        ),
        note=(
            f"Of {n:,} {unit}. Sure: with 97.5% confidence for all of them together. More shadow models leave fewer "
            "undecided."
        ),
    )
