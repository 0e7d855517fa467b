"""What every report contains: the threat model, the method, mitigations, and what is not claimed."""

from __future__ import annotations

from dataclasses import dataclass

from memaudit.reports.blocks import Point


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackClass:
    """A kind of attack, what an attacker learns and needs, and the prefixes of the checks that test it."""

    name: str
    question: str
    needs: str
    codes: tuple[str, ...] = ()


ATTACK_CLASSES = (
    AttackClass(
        name="Membership inference",
        question="Was this example in the training data?",
        needs="black-box access to class probabilities, plus shadow models trained the same way on similar data",
        codes=("MIA",),
    ),
    AttackClass(
        name="Secret guessing (exposure)",
        question="Which number, address or key of a known form was in the training texts?",
        needs="black-box access to token probabilities",
        codes=("CAN",),
    ),
    AttackClass(
        name="Training data extraction",
        question="Does the model output its training data?",
        needs="generated texts or token probabilities",
        codes=("EXT",),
    ),
    AttackClass(
        name="Attribute inference",
        question="What are unknown attributes of a person who is known to be in the data?",
        needs="some attributes of the person",
        codes=("ATT",),
    ),
    AttackClass(
        name="Model inversion and reconstruction",
        question="What does an unknown training example look like?",
        needs="probabilities, weights, or training updates",
    ),
    AttackClass(
        name="Attacks during training",
        question="What can someone learn who adds training data or takes part in the training?",
        needs="access to the training",
    ),
)

METHOD = (
    "The model is compared with {shadows} shadow models. Each was trained the same way on another random half of the "
    "examples, so the effect of training on any one example is known.",
    "Attack thresholds are set on the shadow models, never on the audited model. Every true-positive rate is reported "
    "with its measured false-positive rate.",
    "Every result that can have a limit has a confidence interval. Numbers without one are counts or describe the "
    "shadow models. A limit is compared with a one-sided bound at its required confidence. Several limits share that "
    "confidence by Holm’s procedure. Intervals of subgroups hold all at once; other intervals are not "
    "corrected for multiple comparisons.",
    "The details of each result name its method and source.",
)

METHOD_WITHOUT_BANK = (
    "The audited model was not compared with shadow models. What it answers to the examples that it was trained on is "
    "compared with what it answers to others, which are taken to be drawn from the same source.",
    "Thresholds of attacks are set by the examples that the model was not trained on, and every interval includes the "
    "uncertainty of the threshold. Attacks with shadow models find more: only they can show that little leaks.",
)

IMPORTED = (
    "The audited model is compared with {shadows} shadow models that were trained elsewhere and imported. That they "
    "were made in the same way, and on which examples, was stated by the person who imported them; the fidelity "
    "control "
    "compares them with the audited model."
)  # in place of the first paragraph

LINK = (
    "If the attacks mainly identify memorized examples, the leak is due to memorization, and reducing memorization "
    "reduces the leak. Memorization and attack were measured on different models, so noise does not correlate them."
)

MEMORIZATION = (
    "Memorization is the effect of training on an example on the predictions for that example. It is measured on the "
    "shadow models and describes the recipe. The pictures show the main results; their tables and methods follow."
)

MITIGATIONS_FOR = (
    "These measures are known to help. Their effect on this model is unknown until measured: retrain with one of them "
    "and audit the new model. A changed recipe needs new shadow models."
)
MITIGATIONS = (
    (
        "Train for fewer epochs; stop when validation loss stops improving",
        "A model that fits its training data less closely leaks less about it.",
        "Some accuracy. Unusual examples may stay exposed.",
        "Yeom et al. 2018 (CSF)",
    ),
    (
        "Regularize more strongly",
        "The model’s outputs for members and non-members become more alike.",
        "Some accuracy. It helps the average more than the most exposed examples.",
        "Shokri et al. 2017 (S&P)",
    ),
    (
        "Remove duplicates from the training data",
        "Text that occurs many times is extracted far more often than text that occurs once.",
        "Little effect on text that occurs once.",
        "Lee et al. 2022 (ACL); Kandpal et al. 2022 (ICML)",
    ),
    (
        "Train with differential privacy",
        "It provably bounds what any attack can learn about a single example.",
        "Accuracy, especially for small groups, and time. The bound is as good as its budget and the code.",
        "Abadi et al. 2016 (CCS); Bagdasaryan et al. 2019 (NeurIPS)",
    ),
    (
        "Remove the most exposed examples and retrain",
        "The model can no longer leak these examples.",
        "Others, previously safe, may become the most exposed.",
        "Carlini et al. 2022 (NeurIPS), the onion effect",
    ),
    (
        "Return labels instead of probabilities; limit the number of queries",
        "Attacks need more queries.",
        "Label-only attacks can be nearly as strong. No effect once the weights are released.",
        "Choquette-Choo et al. 2021 (ICML)",
    ),
)

FILES = (
    ("report.json", "the whole report, with the most exposed examples", "people who may see the training data"),
    ("evidence.csv", "one row per example, if requested", "people who may see the training data"),
    ("report.html, report.md", "the report without pictures, texts and ids of examples", "internal readers"),
    ("report.digest", "SHA-256 of report.json in canonical form", "everyone"),
    ("SHA256SUMS", "SHA-256 of every other file in the folder", "everyone"),
    ("memaudit.ledger.jsonl, beside the bank", "every audit made with the bank", "internal readers"),
    ("memaudit.ledger.key", "key for the ledger’s data digests", "people who may see the training data"),
    ("the bank", "the shadow models, and the key of the hashes", "people who may see the training data"),
)
FILES_MEAN = (
    "Run “memaudit verify” on the audit’s folder to check that its files are unchanged. A hash does not show who wrote "
    "a file or that its content is true."
)

PROVENANCE = {
    "bank.recipe.": "Recipe",
    "bank.source.": "Source files (SHA-256 without comments and layout)",
    "bank.environment.": "Training environment of the shadow models",
    "bank.": "Bank of shadow models",
    "recipe.": "Recipe",
    "source.": "Source files (SHA-256 without comments and layout)",
    "reference.": "Reference models (SHA-256)",
    "package.": "Software versions of the audit",
    "commitment.": "Keyed digests of the data",
}  # prefixes of provenance keys, and what such facts are about

CLAIMS = (
    Point(
        lead="Anonymity.",
        words="Tests are evidence about the attacks that were run. Legal anonymity requires more than tests.",
    ),
    Point(
        lead="Compliance with the GDPR, the AI Act or any other law.",
        words="That is a legal judgement, for which this report can be one piece of evidence.",
    ),
    Point(lead="Certification.", words="This report certifies nothing."),
    Point(lead="Absence of memorization.", words="An attack that finds nothing says nothing about other attacks."),
    Point(
        lead="A privacy budget (epsilon).",
        words="An attack can show that a leak is at least so large, never that it is at most so large.",
    ),
    Point(lead="Safety against untested attacks.", words="They were not measured."),
    Point(
        lead="One person’s probability of being identified.",
        words="The rates are about groups of examples. A single person’s risk can be far higher or lower.",
    ),
    Point(
        lead="That averages are enough.",
        words="An average, such as the AUC, hides the few who are exposed. It is therefore never the main result here.",
    ),
    Point(
        lead="That little data is good news.",
        words="Where the data cannot decide, the verdict is INCONCLUSIVE and never PASS.",
    ),
)
