"""The words for what an audit found: what a verdict means, what to do next, and what results are called."""

from __future__ import annotations

from dataclasses import dataclass

from memaudit.attack_names import ATTACKS_BY_METRIC, Access, KnownAttack
from memaudit.reports.blocks import Badge
from memaudit.reports.text import percent, rate
from memaudit.reports.uncovered import uncovered
from memaudit.types import (
    Attempt,
    Context,
    Control,
    Edition,
    FigureKind,
    Finding,
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
        headline="The model leaks more than the limit allows, with {confidence} confidence.",
        meaning="The one-sided lower bound of at least one result is above its limit.",
        steps=(
            "Do not release this model or widen access to it until the results marked FAIL are resolved.",
            "Reduce memorization: train for fewer epochs, regularize more, remove duplicates, or train with "
            "differential privacy. Then audit the new model.",
            "If the model is already in use, inform the person responsible for data protection and decide whether to "
            "restrict access.",
        ),
    ),
    Verdict.INCONCLUSIVE: Wording(
        label="INCONCLUSIVE",
        mark="?",
        headline="The audit cannot decide whether the model leaks more than the limit.",
        meaning="A leak above the limit was neither shown nor excluded. This is not a pass.",
        steps=(
            "Read the reason for each INCONCLUSIVE result and each FAILED control: it says what is missing.",
            "More held-out examples or more shadow models usually help. Run “memaudit plan” to see how many.",
            "Until then, assume that the model may leak.",
        ),
    ),
    Verdict.PASS: Wording(
        label="PASS",
        mark="✓",
        headline="Every tested attack is below its limit, with {confidence} confidence.",
        meaning="The one-sided upper bound of every result with a limit is at or below it, and the controls passed. "
        "This applies to this model file and the attacks listed here, and to nothing else.",
        steps=(
            "Read what was not tested, and decide whether it matters for the intended use.",
            "Keep this report and its JSON file with the model's documentation.",
            "Repeat the audit when the model is retrained or more people get access to it.",
        ),
    ),
    Verdict.NOTED: Wording(
        label="NO LIMIT SET",
        mark="–",
        headline="Results only; no pass/fail decision was requested.",
        meaning="No limit is set, so this report does not decide whether the results are acceptable.",
        steps=(
            "Agree on acceptable limits with the person responsible for data protection.",
            "Add them to memaudit.toml as [[gate]] tables and run the audit again. The shadow models are reused.",
            "If the leak is too large, choose a mitigation from “What to do”, retrain, and audit the new model.",
        ),
    ),
}

READINGS = {
    FigureKind.ROC: "Both axes: log scale. Dashed line: guessing (TPR = FPR). Bands: 95% CIs. Shaded: FPRs too low to "
    "measure with this number of non-members.",
    FigureKind.HISTOGRAM: "Taller bars: more examples with this value.",
    FigureKind.LINK: "y-axis: log scale; error bars: 95% CIs. Where TPR is above FPR, the attack beats guessing.",
    FigureKind.BITS: "Each bit halves the number of guesses needed. Error bars: 95% CIs. Dashed lines: values for "
    "secrets that were never in the training data.",
    FigureKind.SHARES: "Error bars, where shown: 95% CIs.",
    FigureKind.FOREST: "x-axis: log scale; error bars: 95% CIs. Further right: more is found.",
    FigureKind.ROWS: "Error bars: 95% CIs.",
    FigureKind.FRONT: "y-axis: log scale; error bars: 95% CIs. Better: further right, and further down. "
    "Dotted steps: the front, by the values alone; no point is both to the right of it and below it.",
    FigureKind.CORRELATIONS: "Error bars: 95% CIs. 1: the same order as memorization; 0: unrelated to it.",
}
BELOW = " Lower panel: who the examples are, and who the attack identifies."
CONTROL_LABELS = {True: "PASSED", False: "FAILED", None: "NOT RUN"}

TITLES = {
    "found": "How many can be found?",
    "results": "All results",
    "link": "Who is found?",
    "exposed": "Most exposed examples",
    "memorization": "What was memorized?",
    "trust": "Can this be trusted?",
    "controls": "Controls",
    "unsaid": "Checks that could not run",
    "limitations": "Limitations",
    "next": "What to do",
    "mitigations": "Mitigations",
    "waivers": "Waivers",
    "about": "About this audit",
    "scope": "Threat model",
    "method": "Method",
    "claims": "What this report does not claim",
    "regulation": "Regulation",
    "reproduce": "Reproduce this report",
    "files": "Files",
    "signatures": "Release and signatures",
    "glossary": "Glossary",
}

EDITIONS = {
    Edition.PUBLIC: "Public edition: no single examples, no tables, only the ROC curves, and little of what is needed "
    "to reproduce the audit.",
    Edition.INTERNAL: "Internal edition: single examples appear as keyed hashes or numbers only. It is still about "
    "people; share it only with those who need it.",
    Edition.RESTRICTED: "Restricted edition: it may name and show single examples. It is personal data; protect it "
    "like the training data.",
}


EXPOSED = {
    Edition.PUBLIC: "",
    Edition.INTERNAL: "These examples have the highest exposure. This edition identifies them by keyed hashes, which "
    "reveal nothing without the bank's key, or by their number in the audit's JSON file.",
    Edition.RESTRICTED: "These examples have the highest exposure. This section is personal data: share it only with "
    "people who may see the training data.",
}
EXPOSED_NOTE = (
    "Attack score: larger is more member-like. Memorization: how much training on the example raises the chance of a "
    "correct prediction, with its 95% CI. Margin: how much it raises the model's confidence in the correct answer "
    "(log-odds)."
)


RELEASE = {
    Release.INTERNAL: "internal use only",
    Release.API: "API without probabilities",
    Release.API_WITH_LOGITS: "API with probabilities",
    Release.OPEN_WEIGHTS: "open weights",
}

ACCESS = {
    Access.OUTPUTS: "Model outputs only",
    Access.SHADOWS: "+ shadow models",
    Access.BASE: "+ weights or base model",
}
OTHER_ACCESS = "Other attacks"


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
    return (*(step.removesuffix(" The shadow models are reused.") for step in usual), _FILL)


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
    """Return who signs, and their names as far as they are known."""
    return {"Auditor": context.auditor, "Model owner": context.owner, "Data protection": ""}


def name(report: Report) -> str:
    """Return what the audited model is called, with its release if that is known."""
    release = report.context.release
    return f"{report.subject.model} ({RELEASE[release]})" if release else report.subject.model


def known(finding: Finding) -> KnownAttack | None:
    """Return the title and access level of a finding's attack; None if it has none, or one of another package."""
    return ATTACKS_BY_METRIC.get(finding.metric, {}).get(finding.attack or "")


def called(finding: Finding) -> str:
    """Return what a finding is called in a table; one of a known attack by the attack, as in the figures."""
    attack = known(finding)
    if attack is None or finding.metric != "tpr" or finding.at_fpr is None:
        return finding.title
    return f"{attack.title}, TPR at {rate(finding.at_fpr)} FPR"


def headline(report: Report) -> str:
    """Return the verdict in a sentence, with the lowest confidence that a limit requires."""
    limits = [r.limit for r in report.results if r.limit is not None]
    if report.verdict is Verdict.INCONCLUSIVE and not limits and all(s.limit is None for s in report.skipped):
        return "A control failed: the results are not reliable."
    confidence = percent(min((limit.confidence for limit in limits), default=0.95))
    if report.verdict is Verdict.PASS and uncovered(report):
        return f"Every result with a limit is below it, with {confidence} confidence. Not every attack has a limit."
    return VERDICTS[report.verdict].headline.format(confidence=confidence)


def sampled(whole: int, measured: int) -> str:
    """Return a number of examples, and how many of them the figures are about if that is not all."""
    return f"{whole:,}" if whole == measured else f"{whole:,}, of which {measured:,} are measured"


def examples(subject: Subject) -> str:
    """Return in words how many examples an audit is about."""
    if not (subject.always or subject.never):
        return f"{subject.members:,} training {subject.unit}, {subject.nonmembers:,} others"
    return (
        f"{subject.trained_on:,} training {subject.unit} and {subject.held_out:,} others, of which {subject.members:,} "
        f"and {subject.nonmembers:,} are measured,"
    )


def badge(verdict: Verdict, label: str = "") -> Badge:
    """Return how a verdict is shown, under another name if one is given."""
    wording = VERDICTS[verdict]
    return Badge(tone=verdict.value, mark=wording.mark, label=label or wording.label)


def control_badge(control: Control, label: str = "") -> Badge:
    """Return how the outcome of a control is shown, under another name if one is given."""
    tone = {True: Verdict.PASS, False: Verdict.FAIL, None: Verdict.INCONCLUSIVE}[control.passed]
    return badge(tone, label or CONTROL_LABELS[control.passed])


def skipped_label(skipped: Skipped) -> str:
    """Return what a check that found nothing out is called."""
    return "NOT RUN" if skipped.verdict is Verdict.NOTED else VERDICTS[skipped.verdict].label


def result_label(result: Result) -> str:
    """Return what a result is called: a waived failure is still a failure."""
    label = VERDICTS[result.verdict].label
    return f"{label}, WAIVED" if result.waiver is not None else label


def sentence(reason: str) -> str:
    """Return a reason or a title as a sentence of its own."""
    end = "" if reason.endswith("?") else "."
    return f"{reason[:1].upper()}{reason[1:].rstrip('.')}{end}" if reason else ""


def units(report: Report) -> str:
    """Return what the model was trained on, in the plural."""
    if report.subject.unit != "examples":
        return report.subject.unit
    codes = [result.finding.code for result in report.results] + [skipped.code for skipped in report.skipped]
    return "documents" if any(code.startswith("EXT") for code in codes) else "examples"


def attempts(attempt: Attempt | None) -> str:
    """Return which audit this is, and the earlier verdicts; empty for the first, and if that is not known."""
    if attempt is None or (attempt.number == 1 and attempt.in_all < 2 and not attempt.lost):
        return ""
    before = f" (earlier verdicts: {', '.join(map(_verdict, attempt.earlier))})" if attempt.earlier else ""
    if not attempt.in_all:  # of memaudit 0.1.0
        more = f" {attempt.of_model:,} audits of this model are known." if attempt.of_model > attempt.number else ""
        return f"This is audit number {attempt.number:,} of this model with these limits{before}.{more}"
    lost = (
        " The ledger lacks earlier audits with this bank: it was deleted, moved or reset. Their number is unknown."
        if attempt.lost
        else ""
    )
    return (
        f"This is audit number {attempt.number:,} with this model, these examples or this recipe{before}: "
        f"{attempt.of_policy:,} with the same limits, {attempt.of_model:,} of the same model file, {attempt.in_all:,} "
        f"in the ledger.{lost}"
    )


def _verdict(name: str) -> str:
    return VERDICTS[Verdict(name)].label if name in set(Verdict) else name


def by_severity(report: Report) -> list[Result]:
    """Return the results with the worst first, otherwise in the order of the report."""
    return sorted(report.results, key=lambda result: list(Verdict).index(result.verdict))


def control_warning(report: Report) -> str:
    """Return what the failed controls mean for the rest of the report; empty if none failed."""
    failed = [control for control in report.controls if control.passed is False]
    some = [
        f"The control “{control.title}” failed for {', '.join(control.attacks)}: do not rely on their results."
        for control in failed
        if control.attacks
    ]
    whole = [f"“{control.title}”" for control in failed if not control.attacks]
    if whole:
        some.insert(
            0,
            f"The audit did not pass its own test. Failed: {', '.join(whole)}. Do not rely on the results in this "
            "report until the cause is known.",
        )
    return " ".join(some)
