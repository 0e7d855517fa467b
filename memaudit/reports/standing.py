"""What stands in every report, whatever was found: the adversaries, the method, what helps, what is not claimed."""

from __future__ import annotations

from dataclasses import dataclass

from memaudit.reports.blocks import Point


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
        name="Extraction of training texts (regurgitation, exfiltration)",
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
    "Every number that a limit can be set for has an interval; a number without one describes the shadow models or is "
    "a count. A limit is compared with a one-sided bound, at the confidence that the limit asks for; several limits "
    "share that confidence by Holm’s procedure. All other intervals hold each by itself: among many, some "
    "miss the truth.",
    "How each number was made, and where the method was published, stands with the evidence.",
)

METHOD_WITHOUT_BANK = (
    "The audited model was not compared with shadow models. What it answers to the examples that it was trained on is "
    "compared with what it answers to others, which are taken to be drawn from the same source.",
    "Thresholds of attacks are set by the examples that the model was not trained on, and every interval includes the "
    "uncertainty of the threshold. Attacks with shadow models find more: only they can show that little leaks.",
)

IMPORTED = (
    "The audited model is compared with {shadows} shadow models that were trained elsewhere and imported. That they "
    "were made in the same way, and on which examples, was stated by whoever imported them; the fidelity control "
    "compares them with the audited model."
)  # in place of the first paragraph

LINK = (
    "Attacks on membership find some training examples and not others. If those that they find are the ones that the "
    "model memorized, the leak comes from memorizing, and what keeps a model from memorizing also closes the leak. "
    "Memorization was measured on other models than the attack, so that chance alone does not link the two."
)

MITIGATIONS_FOR = (
    "These measures are known to help. How much one of them helps this model cannot be said before it was measured: "
    "train again with it, and audit the new model. A changed recipe takes new shadow models."
)
MITIGATIONS = (
    (
        "Train for fewer epochs, and stop when held-out examples no longer gain",
        "A model that fits its training data less closely gives fewer of them away.",
        "Some accuracy. Unusual examples may stay exposed.",
        "Yeom et al. 2018 (CSF)",
    ),
    (
        "Regularize more strongly",
        "The model’s answers to training examples and to others become more alike.",
        "Some accuracy. It helps the average more than the few who are most exposed.",
        "Shokri et al. 2017 (S&P)",
    ),
    (
        "Remove duplicates from the training data",
        "What stands in the data many times is written out far more often than what stands there once.",
        "It does little for what stands there once.",
        "Lee et al. 2022 (ACL); Kandpal et al. 2022 (ICML)",
    ),
    (
        "Train with differential privacy",
        "It bounds, by proof, what any attack can learn about a single example.",
        "Accuracy, most of all for small groups, and time. The bound is as good as its budget and the code.",
        "Abadi et al. 2016 (CCS); Bagdasaryan et al. 2019 (NeurIPS)",
    ),
    (
        "Take the most exposed examples out, and train again",
        "The model can no longer give these away.",
        "Others, which were safe before, may then be the most exposed.",
        "Carlini et al. 2022 (NeurIPS), the onion effect",
    ),
    (
        "Give labels instead of probabilities, and limit the number of questions",
        "Attacks take more questions.",
        "Attacks that see labels alone can get nearly as far. Nothing is gained once the weights are out.",
        "Choquette-Choo et al. 2021 (ICML)",
    ),
)

FILES = (
    ("report.json", "the whole report, with the most exposed examples", "who may see the training data"),
    ("evidence.csv", "a line for every example, if evidence was asked for", "who may see the training data"),
    ("report.html, report.md", "the report without pictures, texts and ids of examples", "who needs it for their work"),
    ("report.digest", "the SHA-256 of report.json in its canonical form", "everybody"),
    ("SHA256SUMS", "the SHA-256 of every other file of the folder", "everybody"),
    (
        "memaudit.ledger.jsonl, beside the bank",
        "every audit that was made with the bank",
        "who needs it for their work",
    ),
    ("memaudit.ledger.key", "the key of what the ledger holds about the data", "who may see the training data"),
    ("the bank", "the shadow models, and the key of the hashes", "who may see the training data"),
)
FILES_MEAN = (
    "The command “memaudit verify”, with the folder of the audit, says whether its files are as they were written. A "
    "hash shows that a file was not changed. It shows neither who wrote it nor that what it says is true."
)

PROVENANCE = {
    "bank.recipe.": "How the model and its shadow models are made",
    "bank.source.": "Source files, by their SHA-256 without comments and layout",
    "bank.environment.": "What the shadow models were trained with",
    "bank.": "The bank of shadow models",
    "recipe.": "How the model is made",
    "source.": "Source files, by their SHA-256 without comments and layout",
    "reference.": "Reference models, by their SHA-256",
    "package.": "What the audit was made with",
    "commitment.": "Keyed digests of the data",
}  # how names of a report's provenance begin, and what such facts are about

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
