"""The metrics: every number that a finding can be, and what a limit on it may ask for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from numbers import Real

from memaudit.errors import SettingsError, hint
from memaudit.types import ATTACKS_BY_METRIC, UNBOUNDED_EPSILON, Limit

SUREST = 0.9995  # confidence of the surest bounds that a report stores
RANGES = {
    "share": (-1.0, 1.0),
    "correlation": (-1.0, 1.0),
    "bits": (0.0, math.inf),
    "epsilon": (0.0, UNBOUNDED_EPSILON),
}
"""Which values a unit has; any, if it is not here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What a metric measures: its unit, what a larger number means, and what its findings allow a limit to ask for.

    `counted`: a share of units that were counted, 0 to 1. `exact`: its bounds follow from the count, at any confidence.
    `rates`: measured at several false-positive rates. `of_bank`: it describes the shadow models, not the audited model.
    `leak`: a larger number is a larger leak. `members`: it is about members that are distinguished.
    """

    unit: str
    larger: str
    counted: bool = False
    exact: bool = False
    rates: bool = False
    of_bank: bool = False
    leak: bool = True
    members: bool = False

    @property
    def range(self) -> tuple[float, float]:
        """Return the least and the largest value."""
        return (0.0, 1.0) if self.counted else RANGES.get(self.unit, (-math.inf, math.inf))


METRICS = {
    "tpr": Metric(
        unit="share", larger="more members are identified at the stated FPR", counted=True, rates=True, members=True
    ),
    "access": Metric(
        unit="share",
        larger="more members are identified at the stated FPR by an adversary with this access",
        counted=True,
        rates=True,
        members=True,
    ),
    "snapshots": Metric(
        unit="share",
        larger="more added or removed records are identified from two releases, at the stated FPR",
        counted=True,
        rates=True,
        members=True,
    ),
    "poisoning": Metric(
        unit="share",
        larger="poisoned copies raise the TPR at the stated FPR more",
        of_bank=True,
        rates=True,
        members=True,
    ),
    "access-loss": Metric(
        unit="share",
        larger="labels alone hide more members than exact outputs",
        of_bank=True,
        rates=True,
        leak=False,
        members=True,
    ),
    "traceability": Metric(
        unit="share",
        larger="more members are named, at the lowest FPR that was reached",
        counted=True,
        exact=True,
        members=True,
    ),
    "membership-information": Metric(
        unit="bits", larger="the outputs reveal more about the membership of an average example", of_bank=True
    ),
    "memorization": Metric(
        unit="share", larger="training on an example raises its accuracy or likelihood more", of_bank=True
    ),
    "exact-memorization": Metric(unit="share", larger="more of a text is reproduced token by token", of_bank=True),
    "known-memorization": Metric(unit="share", larger="more labels drawn at random are learned by heart", of_bank=True),
    "useful-memorization": Metric(
        unit="share", larger="memorized examples help other examples more", of_bank=True, leak=False
    ),
    "contradicted-labels": Metric(
        unit="share", larger="models without the example contradict more labels", of_bank=True, leak=False
    ),
    "forgetting": Metric(
        unit="share", larger="more members are forgotten at least once in training", of_bank=True, leak=False
    ),
    "proxy": Metric(unit="correlation", larger="the best free score ranks examples more like memorization", leak=False),
    "link": Metric(unit="correlation", larger="the attack finds memorized examples more than others", of_bank=True),
    "extraction-link": Metric(
        unit="correlation", larger="memorized texts are extracted more than others", of_bank=True
    ),
    "risk": Metric(
        unit="share",
        larger="more members are identified at the stated false-discovery rate",
        counted=True,
        members=True,
    ),
    "subgroup": Metric(
        unit="share", larger="more members of the worst subgroup are identified", counted=True, rates=True, members=True
    ),
    "attribute": Metric(
        unit="share", larger="the model reveals more of the attribute than the data and other models do"
    ),
    "image-extraction": Metric(
        unit="share", larger="more training images are extracted from a generator", counted=True, exact=True
    ),
    "samples": Metric(
        unit="share", larger="more members are identified by the images a generator draws", rates=True, members=True
    ),
    "image-exposure": Metric(unit="bits", larger="a planted image ranks higher among its alternatives"),
    "canary-tpr": Metric(unit="share", larger="more canaries are identified", counted=True, rates=True, of_bank=True),
    "epsilon": Metric(unit="epsilon", larger="a larger claimed ε is refuted"),
    "epsilon-floor": Metric(unit="epsilon", larger="the training is shown to be less private"),
    "exposure": Metric(unit="bits", larger="a planted canary ranks higher among its alternatives"),
    "canaries": Metric(unit="share", larger="more planted canaries are detected", counted=True, exact=True),
    "planted-exposure": Metric(unit="bits", larger="a planted canary ranks higher, by the exact test"),
    "secrets": Metric(unit="share", larger="more real secrets are exposed", counted=True, exact=True),
    "extraction": Metric(unit="share", larger="more texts or canaries are extracted", counted=True, exact=True),
}
"""What findings measure. Checks of other packages have metrics of their own."""


def require_metric(name: str, others: Iterable[str] = ()) -> str:
    """Return the name of a metric.

    Raises:
        ValueError: There is none of that name, neither here nor among `others`.
    """
    known = list(dict.fromkeys([*METRICS, *others]))
    if name not in known:
        raise ValueError(f"there is no metric {name!r}; {hint(name, known)}")
    return name


def require_attack(name: str, metric: str = "tpr") -> str:
    """Return the name of an attack on a metric.

    Raises:
        ValueError: There is none of that name.
    """
    known = ATTACKS_BY_METRIC[metric]
    if name not in known:
        raise ValueError(f"there is no attack {name!r} on {metric}; {hint(name, known)}")
    return name


def problems(limit: Limit) -> Iterator[str]:
    """Yield what no finding of a limit's metric can meet; of an unknown metric nothing is known."""
    name, metric = limit.metric, METRICS.get(limit.metric)
    if metric is None:
        return
    if limit.attack is not None and name not in ATTACKS_BY_METRIC:
        yield f"a gate on {name} has no attack"
    if limit.at_fpr is not None and not metric.rates:
        yield f"a gate on {name} has no at_fpr"
    least, most = metric.range
    if not least <= limit.max <= most:
        ends = f"of at least {least:g}" if most == math.inf else f"between {least:g} and {most:g}"
        yield f"a gate on {name} has a max {ends}{', the share of all' if metric.counted else ''}, got {limit.max:g}"
    if not metric.exact and limit.confidence > SUREST:
        yield (
            f"a gate on {name} has a confidence of at most {SUREST}, which is how sure the surest bounds in a report "
            f"are, got {limit.confidence:g}"
        )


def require_limits(limits: Iterable[Limit], others: Iterable[str] = ()) -> None:
    """Refuse limits that nothing can be compared with.

    Args:
        limits: The limits.
        others: The metrics of installed checks of other packages.

    Raises:
        SettingsError: A limit has an unknown metric or attack, or asks for what its metric does not have.
    """
    for limit in limits:
        for name in ("max", "confidence"):
            value = getattr(limit, name)
            if isinstance(value, bool) or not isinstance(value, Real) or value != value:
                raise SettingsError(f"limit {limit.name!r}: {name} = {value!r} is no number")
        try:
            require_metric(limit.metric, others)
            if limit.attack is not None and limit.metric in ATTACKS_BY_METRIC:
                require_attack(limit.attack, limit.metric)
        except ValueError as error:
            raise SettingsError(f"limit {limit.name!r}: {error}") from error
        for problem in problems(limit):
            raise SettingsError(f"limit {limit.name!r}: {problem}")
