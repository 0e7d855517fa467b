"""A memorization proxy: how often shadow models without an example get it wrong."""

from functools import partial

from memaudit.checks import Check, ClassifierEvidence, percent
from memaudit.checks.evidence import estimate
from memaudit.stats import cluster_mean_interval
from memaudit.types import Finding


def hardness(evidence: ClassifierEvidence):
    """Return the share of shadow models without each example that get it wrong, [examples]; larger = harder."""
    _, outside = evidence.correct_by_pair
    return 1 - outside.mean(axis=0, dtype=float)


def run(evidence: ClassifierEvidence):
    """Hardness: how often models that were not trained on an example get it wrong, as a proxy for memorization.

    hard(i) = P[wrong on i | i not in training] = 1 − C-score(i). An upper bound of memorization at every example: what
    a model knows anyway it cannot have memorized. The number is the mean over examples.

    Source: Jiang et al. 2021, "Characterizing Structural Regularities of Labeled Data", the C-score.
    """
    _, outside = evidence.correct_by_pair
    by_pair = 1 - outside.mean(axis=1, dtype=float)  # pairs of models are independent, examples are not
    value = float(hardness(evidence).mean())
    found = estimate(value, partial(cluster_mean_interval, by_pair), "share", "Student t over pairs of shadow models")
    finding = Finding(
        code="XPR001",
        title="Hardness of the examples",
        metric="hardness",
        estimate=found,
        sentence=f"A model that was not trained on an example gets it wrong with probability {percent(found.value)} "
        f"(95% CI {percent(found.low)} to {percent(found.high)}).",
        n=len(evidence.members),
        counted="examples",
        source="Jiang et al. 2021, C-score",
    )
    return (finding,), ()


check = Check("XPR001", "Hardness", "hardness", run, ClassifierEvidence)
