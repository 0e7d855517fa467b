"""The words that stand in every report: what a verdict means, what to do next, what is not claimed."""

from __future__ import annotations

from dataclasses import dataclass

from memaudit.reports.blocks import Badge, Point
from memaudit.types import Attempt, Context, Control, Edition, FigureKind, Release, Report, Result, Skipped, Verdict


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
        mark="✗",
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
    "waivers": "Waivers",
    "limitations": "Limitations",
    "claims": "Claims that this report does not make",
    "regulation": "What this report can be evidence for",
    "reproduce": "How to reproduce this report",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackClass:
    """A kind of attack, what an adversary learns and needs, and how the codes of the checks begin that try it."""

    name: str
    question: str
    needs: str
    codes: tuple[str, ...] = ()


ATTACK_CLASSES = (
    AttackClass(
        name="Membership inference",
        question="Was this example in the training data?",
        needs="the model’s probabilities, and models of his own, made in the same way from data of the same kind",
        codes=("MIA",),
    ),
    AttackClass(
        name="Guessing of secrets",
        question="Which number, address or key of a known form stood in the training texts?",
        needs="the model’s probabilities for texts",
        codes=("CAN",),
    ),
    AttackClass(
        name="Extraction of training texts",
        question="Does the model write out what it was trained on?",
        needs="the texts that the model writes, or its probabilities",
        codes=("EXT",),
    ),
    AttackClass(
        name="Attribute inference",
        question="What else is true of a person who is known to be in the data?",
        needs="part of what the data say about the person",
    ),
    AttackClass(
        name="Model inversion and reconstruction",
        question="What does an example look like that nobody has shown to the adversary?",
        needs="the model’s probabilities, its weights, or its updates while it was trained",
    ),
    AttackClass(
        name="Attacks during training",
        question="What does somebody learn who can add to the training data, or takes part in the training?",
        needs="a part in the making of the model",
    ),
)

METHOD = (
    "The audited model is compared with {shadows} shadow models. They were made in the same way, each on another "
    "random half of the examples, so that it is known of every example what a model gives away that was trained on it, "
    "and what one that was not.",
    "Thresholds of attacks are set by the shadow models and never by the audited model, and every true-positive rate "
    "is given together with the false-positive rate that was measured beside it.",
    "Every number has an interval. A limit is held against its end, one-sided, at the confidence that the limit asks "
    "for; several limits share that confidence by Holm’s procedure. All other intervals hold each by itself: among "
    "many, some miss the truth.",
    "How each number was made, and where the method was published, stands with the evidence.",
)

LINK = (
    "Attacks on membership find some training examples and not others. If those that they find are the ones that the "
    "model memorized, the leak comes from memorizing, and what keeps a model from memorizing also closes the leak. "
    "Memorization was measured on other models than the attack, so that chance alone does not link the two."
)

CLAIMS = (
    Point(
        lead="That the model is anonymous.",
        words="Tests are evidence about the attacks that were run. Whether a model is anonymous in law takes more than "
        "tests.",
    ),
    Point(
        lead="That the model, or anybody, complies with the GDPR, the AI Act or any other law.",
        words="That is a legal judgement, for which this report can be one piece of evidence.",
    ),
    Point(
        lead="That anything is certified.",
        words="Nobody has certified this model by making this report.",
    ),
    Point(
        lead="That nothing was memorized.",
        words="An attack that finds nothing shows that this attack found nothing.",
    ),
    Point(
        lead="That the model has a certain privacy budget (epsilon).",
        words="An attack can show that a leak is at least so large, never that it is at most so large.",
    ),
    Point(
        lead="That the model is safe against attacks that were not tested.",
        words="About them this report says nothing.",
    ),
    Point(
        lead="How likely one person is to be recognized.",
        words="The rates are about groups of examples, and a single person’s risk can be far higher or lower.",
    ),
    Point(
        lead="That an average over all people says enough.",
        words="An average, such as the area under a curve, hides the few who are exposed. That is why none is the "
        "headline here.",
    ),
    Point(
        lead="That little data is good news.",
        words="Where the data cannot decide, the verdict is INCONCLUSIVE and never PASS.",
    ),
)

GLOSSARY = (
    Point(
        lead="True-positive rate.",
        words="Of the examples that the model was trained on, the share that an attack recognizes as such.",
    ),
    Point(
        lead="False-positive rate.",
        words="Of the examples that the model was not trained on, the share that an attack wrongly takes for training "
        "examples. An attack that accuses hardly anybody wrongly and still recognizes many is a dangerous one. "
        "Somebody who merely guesses recognizes exactly as many as he wrongly accuses.",
    ),
    Point(
        lead="Memorization.",
        words="How much likelier the model is to get an example right, or the next word of a text, when it was trained "
        "on this example than when it was not. 0 means that the example made no difference; 1 means that the model "
        "knows it only because it has seen it.",
    ),
    Point(
        lead="Shadow model.",
        words="A model made in the same way as the audited one, on another random part of the same data. Comparing "
        "many of them shows what training on an example changes.",
    ),
    Point(
        lead="Exposure.",
        words="How far a secret is given away, in bits: each bit halves the number of guesses that an adversary needs. "
        "A secret that was never in the training data has an exposure of 1.44 bits on average.",
    ),
    Point(
        lead="Canary.",
        words="A made-up secret, planted in the training data so that it can be measured how far it is given away.",
    ),
    Point(
        lead="Interval.",
        words="A measurement on limited data is never exact. The interval is the range of true values that the data "
        "are compatible with; at a confidence of 95% such ranges miss the truth at most about once in 20 times.",
    ),
    Point(
        lead="Control.",
        words="A test of the audit itself: whether it finds a leak that was planted, and whether it stays silent where "
        "there is none.",
    ),
    Point(
        lead="Limit.",
        words="The largest value that was declared acceptable. A limit is broken only when the whole interval lies "
        "above it, and kept only when the whole interval lies below it.",
    ),
)

RELEASE = {
    Release.INTERNAL: "inside the organization only",
    Release.API: "to others as a service that gives no probabilities",
    Release.API_WITH_LOGITS: "to others as a service that gives probabilities",
    Release.OPEN_WEIGHTS: "with its weights",
}


def signatures(context: Context) -> dict[str, str]:
    """Returns who signs, and their names as far as they are known."""
    return {
        "Made the audit": context.auditor,
        "Answers for the model": context.owner,
        "Answers for data protection": "",
    }



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


def attempts(attempt: Attempt) -> str:
    """Returns which audit this is, and what the ones before it said."""
    said = ", ".join(attempt.earlier)
    return (
        f"This is audit number {attempt.number:,} of this model against these limits"
        + (f"; the earlier ones said: {said}" if said else "")
        + (f"; {attempt.of_model:,} audits of it are known in all" if attempt.of_model > attempt.number else "")
        + "."
    )


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
