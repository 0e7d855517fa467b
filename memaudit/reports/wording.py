"""What a verdict is called, what it means, and what to do next: the same words in every format."""

from __future__ import annotations

from dataclasses import dataclass

from memaudit.types import FigureKind, Report, Result, Skipped, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """A verdict in words. `mark` is its shape, for those who cannot tell the colours apart."""

    label: str
    mark: str
    headline: str
    meaning: str
    steps: tuple[str, ...]


VERDICTS = {
    Verdict.FAIL: Wording(
        label="FAIL",
        mark="✕",
        headline="A leak above the limit was shown.",
        meaning="At least one measurement lies above the limit that was set for it, by more than chance explains. "
        "Someone with the access assumed here can learn things about people in the training data.",
        steps=(
            "Do not release this model, and do not widen access to it, until the findings marked FAIL are dealt with.",
            "Make the model remember less: train for fewer epochs, regularize more strongly, remove duplicates, or "
            "train with differential privacy. Then audit the new model.",
            "If the model is already in use, tell the person responsible for data protection, and decide together "
            "whether access must be restricted.",
        ),
    ),
    Verdict.INCONCLUSIVE: Wording(
        label="INCONCLUSIVE",
        mark="?",
        headline="It cannot be decided whether the model leaks more than the limit.",
        meaning="The audit has neither shown a leak above the limit nor excluded one. This is not a pass.",
        steps=(
            "Read the reason beside each finding marked INCONCLUSIVE and each control marked FAILED: it says what is "
            "missing.",
            "Most often the remedy is more examples that were held out of training, or more shadow models. The command "
            "“memaudit plan” says how many.",
            "Until then, treat the model as one that may leak.",
        ),
    ),
    Verdict.PASS: Wording(
        label="PASS",
        mark="✓",
        headline="A leak above the limit is excluded, for these attacks.",
        meaning="Every measurement that has a limit lies below it with its whole interval. This holds for the attacks "
        "listed here and for this very model file, and for nothing else.",
        steps=(
            "Read what was not tested, and decide whether it matters for the way the model will be used.",
            "Keep this report and its JSON file with the documentation of the model.",
            "Audit again whenever the model is retrained or more people get access to it.",
        ),
    ),
    Verdict.NOTED: Wording(
        label="NOTED",
        mark="–",
        headline="No limit was set: figures only.",
        meaning="This report says what was measured. It does not say whether that is too much, because nobody has set "
        "a limit.",
        steps=(
            "Agree on what is acceptable with the person responsible for data protection.",
            "Write it down as a limit in memaudit.toml, in a table [[gate]], and run the audit again: the shadow models are "
            "kept, so that takes seconds.",
        ),
    ),
}

READINGS = {
    FigureKind.ROC: "How to read it: both axes grow by factors of ten. The further a curve lies above the dashed line "
    "of guessing, the more is given away. Bands are intervals. In the shaded part, if there is one, there are too few "
    "examples held out of training to measure such low rates.",
    FigureKind.HISTOGRAM: "How to read it: the taller a bar, the more examples have such a value.",
    FigureKind.LINK: "How to read it: the upright axis grows by factors of ten, and the upright lines are intervals. "
    "Where the first curve lies above the second, examples are recognized by more than accident.",
    FigureKind.BITS: "How to read it: each bit doubles the advantage over guessing the secret, and the upright lines "
    "are intervals. The dashed lines say what is to be expected of a secret that was never in the training data.",
    FigureKind.SHARES: "How to read it: the upright lines are intervals. What lies as high for texts that the model "
    "was not trained on is not given away by the training.",
}
CONTROL_LABELS = {True: "PASSED", False: "FAILED", None: "NOT RUN"}


def skipped_label(skipped: Skipped) -> str:
    """Returns what a check that said nothing is called: "noted" would sound as if it had said something."""
    return "NOT RUN" if skipped.verdict is Verdict.NOTED else VERDICTS[skipped.verdict].label


def by_severity(report: Report) -> list[Result]:
    """Returns the results with the worst first, otherwise in the order of the report."""
    return sorted(report.results, key=lambda result: list(Verdict).index(result.verdict))


def control_warning(report: Report) -> str:
    """Returns what the failed controls mean for the rest of the report; empty if none failed."""
    failed = [f"“{control.title}”" for control in report.controls if control.passed is False]
    if not failed:
        return ""
    return (
        f"The audit itself did not pass its own test. Failed: {', '.join(failed)}. "
        "Do not rely on the figures in this report before the cause is known."
    )
