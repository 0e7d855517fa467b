"""The words for what an audit found: what a verdict means, what to do next, and what results are called."""

from __future__ import annotations

from dataclasses import dataclass

from memaudit.reports.blocks import Badge
from memaudit.reports.text import percent
from memaudit.types import (
    Attempt,
    Context,
    Control,
    Edition,
    FigureKind,
    Release,
    Report,
    Result,
    Rung,
    Skipped,
    Subject,
    Verdict,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """A verdict in words. `mark` is its shape, for those who cannot tell the colours apart.

    `headline` has the place {confidence}; `headline()` fills it in for a report.
    """

    label: str
    mark: str
    headline: str
    meaning: str
    steps: tuple[str, ...]


VERDICTS = {
    Verdict.FAIL: Wording(
        label="FAIL",
        mark="✗",
        headline="A leak above the limit was shown, with {confidence} confidence.",
        meaning="The one-sided lower bound of at least one measurement is above the limit that was set for it. "
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
        meaning="The audit has neither shown a leak above the limit nor ruled one out at the confidence that was asked "
        "for. This is not a pass.",
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
        headline="Every measurement with a limit keeps it, with {confidence} confidence.",
        meaning="The one-sided upper bound of every measurement with a limit does not exceed it, and the controls "
        "passed. This holds for the attacks listed here and for this very model file, and for nothing else.",
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
            "Write it down as a limit in memaudit.toml, in a table [[gate]], and run the audit again: the shadow "
            "models are kept, so that takes seconds.",
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
    FigureKind.SHARES: "How to read it: the upright lines are intervals. Where texts that the model was not trained on "
    "are shown too, what lies as high for them is not given away by the training.",
}
CONTROL_LABELS = {True: "PASSED", False: "FAILED", None: "NOT RUN"}

TITLES = {
    "found": "What was found",
    "link": "Is the attack’s success memorization?",
    "controls": "Controls: can this audit be trusted?",
    "scope": "Who attacks, and how",
    "method": "How it was measured",
    "evidence": "The evidence",
    "exposed": "Most exposed examples",
    "unsaid": "What could not be said",
    "mitigations": "What helps, and what it costs",
    "waivers": "Waivers",
    "limitations": "Limitations",
    "claims": "Claims that this report does not make",
    "regulation": "What this report can be evidence for",
    "reproduce": "How to reproduce this report",
    "files": "Files, and how to check them",
    "signatures": "Release and signatures",
    "glossary": "Glossary",
}

EDITIONS = {
    Edition.PUBLIC: "The public edition: it shows no single example, and leaves out tables, finer figures and most of "
    "what is needed to make the same audit again.",
    Edition.INTERNAL: "The internal edition: it names single examples by keyed hashes or numbers, and shows none. It "
    "is about people all the same, so pass it on only to those who need it.",
    Edition.RESTRICTED: "The restricted edition: it may name single examples and show them, and is personal data. Keep "
    "it as you keep the training data.",
}


EXPOSED = {
    Edition.PUBLIC: "",
    Edition.INTERNAL: "These single examples give themselves away the most. This edition names them by keyed hashes, "
    "which say nothing without the key of the bank, or by their number in the JSON file of the audit.",
    Edition.RESTRICTED: "These single examples give themselves away the most. This section is personal data: pass it "
    "on only to those who may see the training data.",
}
EXPOSED_NOTE = (
    "Attack score: the larger, the surer is the attacker that the model was trained on the example. Memorization: how "
    "much likelier the model is to get the example right, or the next word of it, when it was trained on it, with its "
    "95% interval. Margin: how much surer it is of the right answer then."
)


RELEASE = {
    Release.INTERNAL: "inside the organization only",
    Release.API: "to others as a service that gives no probabilities",
    Release.API_WITH_LOGITS: "to others as a service that gives probabilities",
    Release.OPEN_WEIGHTS: "with its weights",
}


def rung(report: Report) -> str:
    """Return in a sentence what the audit had to go on, and what that means."""
    had = f"The model was compared with {compared(report)}"
    if report.rung is Rung.BANK:
        return f"{had} (rung 2, the highest)."
    had = "No shadow models were used" if report.rung is Rung.TARGET else f"{had}, not with a bank of shadow models"
    return f"{had} (rung {report.rung:d}; a bank is rung 2): this audit can show a leak, but cannot bound it."


def steps(report: Report) -> tuple[str, ...]:
    """Return what to do next; without a bank, filling one is part of it."""
    usual = VERDICTS[report.verdict].steps
    if report.rung is Rung.BANK:
        return usual
    return (*(step.partition(": the shadow models are kept")[0] for step in usual), _FILL)


def compared(report: Report) -> str:
    """Return how many models of which kind the audited one was compared with: "64 shadow models"."""
    shadows, references = report.subject.shadows, report.subject.references
    counts = ((shadows, "shadow model"), (references, "reference model"))
    said = [f"{count:,} {what}{'' if count == 1 else 's'}" for count, what in counts if count]
    return " and ".join(said) or "no shadow models"


_FILL = (
    "To learn how much the strongest attacks find, and which examples are memorized, train shadow models: “memaudit "
    "bank fill --shadows 64”. “memaudit plan” says how long that takes."
)


def signatures(context: Context) -> dict[str, str]:
    """Returns who signs, and their names as far as they are known."""
    return {
        "Made the audit": context.auditor,
        "Answers for the model": context.owner,
        "Answers for data protection": "",
    }


def headline(report: Report) -> str:
    """Return the verdict in a sentence, with the least confidence that a limit asked for."""
    confidence = min((r.limit.confidence for r in report.results if r.limit is not None), default=0.95)
    return VERDICTS[report.verdict].headline.format(confidence=percent(confidence))


def sampled(whole: int, measured: int) -> str:
    """Return a number of examples, and how many of them the figures are about if that is not all."""
    return f"{whole:,}" if whole == measured else f"{whole:,}, of which {measured:,}, drawn at random, are measured"


def examples(subject: Subject) -> str:
    """Return in words how many examples an audit is about."""
    if not (subject.always or subject.never):
        return f"{subject.members:,} training examples, {subject.nonmembers:,} others"
    return (
        f"{subject.trained_on:,} training examples and {subject.held_out:,} others, of which a random sample of "
        f"{subject.members:,} and {subject.nonmembers:,} is measured,"
    )


def badge(verdict: Verdict, label: str = "") -> Badge:
    """Returns how a verdict is shown, under another name if one is given."""
    wording = VERDICTS[verdict]
    return Badge(tone=verdict.value, mark=wording.mark, label=label or wording.label)


def control_badge(control: Control) -> Badge:
    """Returns how the outcome of a control is shown."""
    tone = {True: Verdict.PASS, False: Verdict.FAIL, None: Verdict.INCONCLUSIVE}[control.passed]
    return badge(tone, CONTROL_LABELS[control.passed])


def skipped_label(skipped: Skipped) -> str:
    """Returns what a check that said nothing is called: "noted" would sound as if it had said something."""
    return "NOT RUN" if skipped.verdict is Verdict.NOTED else VERDICTS[skipped.verdict].label


def result_label(result: Result) -> str:
    """Returns what a result is called: a failure that somebody decided to live with is one all the same."""
    label = VERDICTS[result.verdict].label
    return f"{label}, WAIVED" if result.waiver is not None else label


def sentence(reason: str) -> str:
    """Returns a reason as a sentence of its own."""
    return f"{reason[:1].upper()}{reason[1:].rstrip('.')}." if reason else ""


def attempts(attempt: Attempt | None) -> str:
    """Returns which audit this is, and what the ones before it said; empty for the first, and if that is not known."""
    if attempt is None or (attempt.number == 1 and attempt.in_all < 2 and not attempt.lost):
        return ""
    said = f"; the earlier ones said: {', '.join(attempt.earlier)}" if attempt.earlier else ""
    if not attempt.in_all:  # of memaudit 0.1.0
        more = f"; {attempt.of_model:,} audits of it are known in all" if attempt.of_model > attempt.number else ""
        return f"This is audit number {attempt.number:,} of this model against these limits{said}{more}."
    lost = (
        " The ledger lacks earlier audits with this bank: it was deleted, moved or taken back. "
        "How many there were is not known."
    )
    return (
        f"This is audit number {attempt.number:,} with this model, these examples or this recipe{said}. Of these, "
        f"{attempt.of_policy:,} used the same limits and {attempt.of_model:,} the same model file. The ledger holds "
        f"{attempt.in_all:,} audits in all.{lost if attempt.lost else ''}"
    )


def by_severity(report: Report) -> list[Result]:
    """Returns the results with the worst first, otherwise in the order of the report."""
    return sorted(report.results, key=lambda result: list(Verdict).index(result.verdict))


def control_warning(report: Report) -> str:
    """Returns what the failed controls mean for the rest of the report; empty if none failed."""
    failed = [control for control in report.controls if control.passed is False]
    some = [
        f"The control “{control.title}” failed for {', '.join(control.attacks)}: do not rely on their figures."
        for control in failed
        if control.attacks
    ]
    whole = [f"“{control.title}”" for control in failed if not control.attacks]
    if whole:
        some.insert(
            0,
            f"The audit itself did not pass its own test. Failed: {', '.join(whole)}. "
            "Do not rely on the figures in this report before the cause is known.",
        )
    return " ".join(some)
