"""ATT001: can an unknown column of a record be inferred because the model was trained on it?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import stats

from memaudit.attacks import Signal
from memaudit.attacks.attribute import ATTRIBUTE_ATTACKS, CALIBRATED, Asked, imputation, impute
from memaudit.attacks.interface import log_probability
from memaudit.checks.classifier import ClassifierEvidence
from memaudit.checks.evidence import Check, Evidence, Outcome, estimate, points_between, share_of, with_interval
from memaudit.checks.facts import Attribute
from memaudit.reports.text import percent, points
from memaudit.stats import cluster_interval, cluster_mean_interval
from memaudit.types import Cell, Curve, Figure, FigureKind, Finding, Skipped, Table

Array = np.ndarray
Interval = tuple[float, float, float]  # value, low, high

_TITLE = "Attribute inference"
_METHOD = "Student t over records, with the variance between models without the record; the smaller of two excesses"
_LEAST_PAIRS, _LEAST_KNOWN = 3, 50


def _attribute(evidence: Evidence) -> Outcome:
    """Attribute inference: what an adversary learns of an unknown column of a training record from the model.

    The adversary has a member's record without one column, and its label. For each value that the column may have, the
    model is asked for the probability of the label. Four attacks guess the value from the answers:

    - `calibrated`: imputed probability × ratio of the model's probability to that of models without the record,
    - `weighted`: imputed probability × the model's probability (Jayaraman & Evans 2022),
    - `csmia`: the value for which the model is right and most confident (Mehnaz et al. 2022),
    - `confidence`: frequency of the value × the model's probability (Fredrikson et al. 2014).

    High accuracy alone is no leak. A column may follow from the others: imputation guesses it from the rest of the
    record and the label, learned by gradient boosting from the audited model's non-members. And any model of the same
    task helps to guess, whether or not it was trained on the record. So each attack is also made on the shadow models
    without the record. Only what exceeds both baselines is a leak of the record.

    The result is the smaller of two differences of accuracy on the members, of the attack `calibrated`, which is
    fixed beforehand: to imputation, and to the same attack on models without the record. Both are paired, record by
    record. The variance is that of the differences over records, plus that between models without the record: the
    audited model is a single training run. The lower end of the interval is the smaller of the two lower ends. The
    upper end is the smaller of two upper ends at half the error, so that the interval holds whichever difference is
    smaller.

    The first table also has every attack's excess in the mean over the shadow models, as `recipe`: each model with the
    record minus the other of its pair, which lacks it.

    Source: Jayaraman & Evans 2022 (CCS), "Are Attribute Inference Attacks Just Imputation?"; Mehnaz et al. 2022;
    Fredrikson et al. 2014; Yeom et al. 2018, section 4; Berger 1982 (Technometrics 24:295), intersection–union tests.
    """
    findings: list[Finding] = []
    skipped: list[Skipped] = []
    for attribute in evidence.attributes:
        title = f"{_TITLE}: {attribute.column}"
        if reason := _lacking(attribute, evidence):
            skipped.append(Skipped(code="ATT001", title=title, reason=reason))
        else:
            findings.append(_finding(title, attribute, evidence))
    return tuple(findings), tuple(skipped)


def _lacking(attribute: Attribute, evidence: Evidence) -> str:
    if attribute.lacking:
        return attribute.lacking
    if len(attribute.pairs[1]) < _LEAST_PAIRS:
        return f"it needs {2 * _LEAST_PAIRS} shadow models at least, of which half lack each record"
    known = int((~evidence.members).sum())
    return (
        "" if known >= _LEAST_KNOWN else f"imputation is learned from {_LEAST_KNOWN} non-members, and there are {known}"
    )


@dataclass(frozen=True)
class Guessed:
    """Which guesses of one attack are right.

    Attributes:
        target: Of the audited model.
        inside: Of the shadow models that were trained on the record.
        outside: Of those that were not.
        imputed: Of imputation.
        members: Of the audited model.
        first: Whether the first model of each pair was trained on the record.
    """

    target: Bool[Array, " records"]
    inside: Bool[Array, "pairs records"]
    outside: Bool[Array, "pairs records"]
    imputed: Bool[Array, " records"]
    members: Bool[Array, " records"]
    first: Bool[Array, "pairs records"]

    @cached_property
    def over_others(self) -> Float[Array, " members"]:
        """Of each member: right on the audited model, minus the share of models without the record."""
        return (self.target - self.outside.mean(axis=0))[self.members]

    @cached_property
    def over_imputation(self) -> Float[Array, " members"]:
        """Of each member: right on the audited model, minus right by imputation."""
        return (self.target.astype(float) - self.imputed)[self.members]

    @cached_property
    def gains(self) -> Float[Array, " pairs"]:
        """How much more often the attack is right on the model of a pair that was trained on the record."""
        return (self.inside.astype(float) - self.outside)[:, self.members].mean(axis=1)

    @cached_property
    def between(self) -> float:
        """The variance between models without the record, of the rate of each less that of the others.

        It is what the rates scatter more than rates of so many independent records.
        """
        outside = self.outside[:, self.members].astype(float)
        apart = outside - (outside.sum(axis=0) - outside) / (len(outside) - 1)
        lacks = ~self.first[:, self.members]
        sides = np.concatenate([lacks, ~lacks])
        counts = np.maximum(sides.sum(axis=1), 1)
        first, second = ((np.concatenate([power, power]) * sides).sum(axis=1) / counts for power in (apart, apart**2))
        return max(0.0, float(first.var(ddof=1) - ((second - first**2) / counts).mean()))

    def interval(self, excess: Float[Array, " members"], level: Float[Array, " levels"] | float) -> tuple[Array, Array]:
        """Return the interval of a mean excess on the audited model: records are random, and so is the training run.

        The variance over records is as though four more records differed, so that it is 0 for no number of them.

        Source: Satterthwaite 1946 for the degrees of freedom; Agresti & Coull 1998 for the four.
        """
        records, mean = len(excess), float(excess.mean())
        own = (float(((excess - mean) ** 2).sum()) + 4) / records**2
        variance = own + self.between
        freedom = variance**2 / (self.between**2 / (len(self.outside) - 1) + own**2 / (records - 1))
        half = stats.t.ppf((1 + np.asarray(level)) / 2, freedom) * np.sqrt(variance)
        return np.maximum(mean - half, -1.0), np.minimum(mean + half, 1.0)

    def leak(self, level: Float[Array, " levels"] | float) -> tuple[Array, Array]:
        """Return the interval of the smaller of the two mean excesses."""
        both = self.over_others, self.over_imputation
        surer = 1 - (1 - np.asarray(level)) / 2
        low = np.minimum(*(self.interval(excess, level)[0] for excess in both))
        return low, np.minimum(*(self.interval(excess, surer)[1] for excess in both))


def guessed(
    attack: Callable[[Asked], Int[Array, " records"]],
    attribute: Attribute,
    imputed: Float[Array, "records values"],
    members: Bool[Array, " records"],
    first: Bool[Array, "pairs records"],
) -> Guessed:
    """Return which guesses of an attack are right, each model compared with pairs other than its own."""
    phi = [log_probability(of, Signal.SCALED_LOGIT) for of in (attribute.phi, *attribute.pairs)]
    outside, prior = np.exp(phi[2]), np.bincount(attribute.of[~members], minlength=len(attribute.values)) + 1.0
    total = outside.sum(axis=0)

    def right(log_p: Array, correct: Shaped[Array, "records values"], without: int) -> Array:
        reference = np.log(np.maximum((total - outside[without]) / (len(outside) - 1), 1e-45))
        return attack(Asked(log_p, correct, prior / prior.sum(), imputed, reference)) == attribute.of

    inside, others = (
        np.stack([right(log_p, correct, t) for t, (log_p, correct) in enumerate(zip(of, told, strict=True))])
        for of, told in zip(phi[1:], attribute.pairs_correct, strict=True)
    )
    target = right(phi[0], attribute.correct, len(outside) - 1)
    baseline = imputation(Asked(phi[0], attribute.correct, prior, imputed, phi[0])) == attribute.of
    return Guessed(target, inside, others, baseline, members, first)


def _finding(title: str, attribute: Attribute, evidence: Evidence) -> Finding:
    members = evidence.members
    assert isinstance(evidence, ClassifierEvidence)
    imputed = impute(attribute.features, evidence.y, attribute.of, ~members, len(attribute.values), evidence.seed)
    first = evidence.bank.members[0::2] > 0
    attacks = {name: guessed(attack, attribute, imputed, members, first) for name, attack in ATTRIBUTE_ATTACKS.items()}
    main = attacks[CALIBRATED]
    value = min(float(main.over_others.mean()), float(main.over_imputation.mean()))
    accuracy = float(main.target[members].mean())
    leak = estimate(value, main.leak, "share", _METHOD)
    return Finding(
        code="ATT001",
        title=title,
        metric="attribute",
        estimate=leak,
        sentence=(
            f"The calibrated attack infers the column “{attribute.column}” correctly for {percent(accuracy)} of "
            f"members. Its excess over the better baseline is {points(leak.value)} percentage points (95% CI "
            f"{points_between(leak.low, leak.high)})."
        ),
        n=int(members.sum()),
        counted=f"training {evidence.unit}",
        source="Jayaraman & Evans 2022, excess over imputation; models without the record as the second baseline",
        figures=(_figure(attacks, attribute, members),),
        tables=(_table(attacks, attribute, members),),
        notes=(
            f"The column has {len(attribute.values)} values; the most frequent one is that of "
            f"{percent(float(np.bincount(attribute.of[members]).max() / members.sum()))} of members.",
        ),
    )


def _accuracies(
    attacks: dict[str, Guessed], members: Bool[Array, " records"]
) -> tuple[Interval, list[Interval], list[Interval]]:
    """Return shares of right guesses, with intervals: of imputation, and of each attack with and without the record."""
    with_record = [share_of(guess.target[members]) for guess in attacks.values()]
    without = []
    for guess in attacks.values():
        right = guess.outside[:, members].astype(float)
        low, high = cluster_interval(right.sum(axis=1)[:, None], np.full((len(right), 1), float(right.shape[1])))
        without.append((float(right.mean()), float(np.ravel(low)[0]), float(np.ravel(high)[0])))
    return share_of(next(iter(attacks.values())).imputed[members]), with_record, without


def _figure(attacks: dict[str, Guessed], attribute: Attribute, members: Bool[Array, " records"]) -> Figure:
    """Return what the attacks guess beside imputation, and beside the same attacks on models without the record."""
    imputed, with_record, without = _accuracies(attacks, members)
    places = tuple(map(float, range(1, len(attacks) + 1)))

    def curve(label: str, x: tuple[float, ...], rows: list[Interval]) -> Curve:
        value, low, high = (tuple(ends) for ends in zip(*rows, strict=True))
        return Curve(x=x, y=value, low=low, high=high, label=label)

    said = "; ".join(
        f"{name}: {percent(own[0])}, on models without the record {percent(other[0])}"
        for name, own, other in zip(attacks, with_record, without, strict=True)
    )
    return Figure(
        kind=FigureKind.ROWS,
        title=f"Accuracy of inferring “{attribute.column}”, by attack",
        x_label="Members whose value is inferred correctly",
        y_label="Attack",
        curves=(
            curve("this model", places, with_record),
            curve("models without the record", places, without),
            curve("imputation (no model)", (0.0,), [imputed]),
        ),
        ticks=("imputation", *attacks),
        alt=f"Accuracy of inferring “{attribute.column}”. Imputation: {percent(imputed[0])}; {said}.",
    )


def _table(attacks: dict[str, Guessed], attribute: Attribute, members: Bool[Array, " records"]) -> Table:
    def excess(guess: Guessed, values: Array) -> str:
        low, high = (float(end) for end in guess.interval(values, 0.95))
        return f"{points(float(values.mean()))} ({points_between(low, high)})"

    imputed, with_record, without = _accuracies(attacks, members)

    def row(name: str, guess: Guessed, own: Interval, other: Interval) -> tuple[Cell, ...]:
        ends = (float(end) for end in cluster_mean_interval(guess.gains, 0.95))
        return (
            name,
            with_interval(*own),
            with_interval(*other),
            excess(guess, guess.over_others),
            excess(guess, guess.over_imputation),
            f"{points(float(guess.gains.mean()))} ({points_between(*ends)})",
        )

    rows = (row(*of) for of in zip(attacks, attacks.values(), with_record, without, strict=True))
    return Table(
        title=f"Inferring “{attribute.column}” of members",
        columns=(
            "Attack",
            "Accuracy",
            "On models without the record",
            "Excess over these (points)",
            "Excess over imputation (points)",
            "Recipe: with minus without (points)",
        ),
        rows=(("imputation (no model)", with_interval(*imputed), "–", "–", "–", "–"), *rows),
        note=(
            "95% CIs. Accuracy: Clopper–Pearson; on models without the record: over pairs of models. Points: "
            "percentage points. Recipe: mean over pairs of shadow models. Only an excess over both baselines is a leak."
        ),
    )


attribute_check = Check(
    "ATT001", _TITLE, "attribute", _attribute, ClassifierEvidence, wanted=lambda evidence: bool(evidence.attributes)
)
