"""What a check may look at, and what a check is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from memaudit.attacks import BANK_ATTACKS, TARGET_ATTACKS, Answers, Attack, References, Signal, attack
from memaudit.attacks.access import RECORDED
from memaudit.bank import Recordings
from memaudit.checks.attacked import Attacked, Shadows, step_of_shadows
from memaudit.checks.facts import Attribute, Poisoned, RecordedPairs, Release, Viewed
from memaudit.design import EveryNth, Pairs, Watched, by_pair, step_of
from memaudit.memorization import Counterfactual, Margin, Memorization, Observations, margin
from memaudit.privacy import Promise
from memaudit.recipe.manifest import Manifest
from memaudit.recipe.subgroups import Subgroups
from memaudit.reports.text import ends, percent, points
from memaudit.stats import Couples, HeldOutRate, TransferredRate, clopper_pearson, resolvable, transferred_rate
from memaudit.types import Bounds, Control, Estimate, Finding, Level, Rung, Skipped

if TYPE_CHECKING:
    from memaudit.checks.floors import Floor
    from memaudit.checks.snapshots import Compared

Array = np.ndarray

Outcome = tuple[tuple[Finding, ...], tuple[Skipped, ...]]

_BLIND_ROWS = 5_000  # of members, and of non-members


@dataclass(frozen=True, kw_only=True)
class TargetEvidence(ABC):
    """What a check may look at without a bank: the target's signals, and who is a member of the target.

    Examples are units: of copies and of a group, one represents all. `split` is the number of members of which only a
    part of the unit was trained on. `manifest` is (stated, found), where one was given. `fprs` are the false-positive
    rates that were asked for. `unit` is what the units are called. `references` are other models' signals, where
    there are any. `subgroups` are compared, down to `smallest_group` members, and non-members. `seen` is what
    the target's trainer states of it while it trained, as of one model: only proxies of memorization read it. `promise`
    is the differential privacy that is claimed.
    """

    phi: Float[Array, "examples queries"]
    correct: Shaped[Array, " examples"]
    members: Bool[Array, " examples"]
    split: int = 0
    manifest: tuple[Manifest, Manifest] | None = None
    fprs: tuple[float, ...] = (0.01, 0.001)
    attacks: tuple[str, ...] = ("slira", "lira-online", "lira-offline", "rmia", "global-threshold")
    seed: int = 0
    unit: str = "examples"
    references: References | None = None
    seen: Observations | None = None
    promise: Promise = field(default_factory=Promise)
    subgroups: tuple[Subgroups, ...] = ()
    smallest_group: int = 10
    attributes: tuple[Attribute, ...] = ()
    signal: ClassVar[Signal] = Signal.SCALED_LOGIT
    _scores: dict[str, Float[Array, " examples"]] = field(default_factory=dict, init=False, repr=False)

    @property
    def rung(self) -> Rung:
        """How much there is to go on."""
        return Rung.TARGET if self.references is None else Rung.REFERENCES

    @cached_property
    def answers(self) -> Answers:
        """What attacks without a bank see."""
        return Answers(
            phi=self.phi.mean(axis=1, dtype=np.float64),
            members=self.members,
            signal=self.signal,
            seed=self.seed,
            references=self.references,
            **self._known(),
        )

    @property
    def has_inputs(self) -> bool:
        """Whether it is known what the examples are."""
        return True

    @property
    def has_labels(self) -> bool:
        """Whether the examples' labels are known."""
        return True

    def _known(self) -> dict[str, Any]:
        """Return what else such attacks see of this kind of model."""
        return {}

    @cached_property
    def floors(self) -> dict[str, Floor | str]:
        """The lower bounds on ε, by name; of one that cannot be measured, the reason."""
        from memaudit.checks.floors import floors_of

        return floors_of(self)

    def scores(self, name: str) -> Float[Array, " examples"]:
        """Return the target's scores by an attack that needs no bank; computed once."""
        if name not in self._scores:
            self._scores[name] = TARGET_ATTACKS[name].score(self.answers)
        return self._scores[name]

    def held_out(self, name: str, fpr: float) -> HeldOutRate:
        """Return such an attack's true-positive rate at a false-positive rate, its threshold set by non-members."""
        scores = self.scores(name)
        return HeldOutRate(scores[self.members], scores[~self.members], fpr)

    @property
    def without_bank(self) -> tuple[str, ...]:
        """Those of the attacks whose thresholds the target's own non-members set.

        Where there is a bank, its shadow models set the thresholds of all attacks that they can make.
        """
        banked = BANK_ATTACKS if self.rung is Rung.BANK else ()
        return tuple(name for name in self.attacks if name in TARGET_ATTACKS and name not in banked)

    def lacks(self, name: str) -> str:
        """Return why an attack that needs no bank cannot be made; empty if it can."""
        found = TARGET_ATTACKS[name]
        return "" if found.rung <= self.rung and found.fits(self.answers) else found.needs

    @abstractmethod
    def loss(self, phi: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the loss in nats that belongs to a signal."""

    @abstractmethod
    def label(self, example: int, full: bool) -> str:
        """Return what an example is called beside its identifier; its content only if full evidence was asked for."""

    @abstractmethod
    def blind_scores(self, rows: Int[Array, " rows"]) -> Float[Array, " rows"]:
        """Return how member-like some examples look to an adversary who sees the data and no model."""

    @property
    def resolved_fprs(self) -> tuple[float, ...]:
        """Those of the rates that the target's non-members can show at all."""
        nonmembers = int((~self.members).sum())
        return tuple(fpr for fpr in self.fprs if resolvable(fpr, nonmembers))

    @cached_property
    def blind(self) -> tuple[Float[Array, " rows"], Bool[Array, " rows"]]:
        """(scores, members) of the adversary who sees data and no model, on at most 5,000 examples of either kind."""
        rng = np.random.default_rng(self.seed)
        sides = (rng.permutation(np.flatnonzero(side))[:_BLIND_ROWS] for side in (self.members, ~self.members))
        rows = np.concatenate(list(sides))
        return self.blind_scores(rows), self.members[rows]


@dataclass(frozen=True, kw_only=True)
class Evidence(TargetEvidence):
    """All that a check may look at: what there is without a bank, and the bank's recordings.

    `matched` says which models the bank's values come from, where its models are not complementary pairs. `share` is
    that of all units in the shadows' training sets; where it is not one half, the examples are the bank's candidates
    (`memaudit.design.Design`), or the models were imported. `before` is an earlier release of the model, where one was
    given, and `poisoned` models with poisoned training sets. `views` are those that were asked for with `access`, by
    name, and `unseen` says why one could not be had.
    """

    bank: Shadows
    matched: Couples | None = None
    share: float = 0.5
    before: Release | None = None
    poisoned: Poisoned | None = None
    access: Level | None = None
    views: Mapping[str, Viewed] = field(default_factory=dict)
    unseen: Mapping[str, str] = field(default_factory=dict)
    _attacked: dict[str, Attacked] = field(default_factory=dict, init=False, repr=False)

    @property
    def rung(self) -> Rung:
        """How much there is to go on."""
        return Rung.BANK

    @property
    def with_bank(self) -> tuple[str, ...]:
        """Those of the attacks whose thresholds the shadow models set."""
        return tuple(name for name in self.attacks if name in BANK_ATTACKS)

    @property
    def resolved_fprs(self) -> tuple[float, ...]:
        """Those of the rates that the target's non-members can show, and shadow models that are scored on a part."""
        pairs, examples, _ = self.bank.shape
        scores = pairs * -(-examples // self.step) // 2  # at least half of them set each model's threshold
        return tuple(fpr for fpr in super().resolved_fprs if self.step == 1 or resolvable(fpr, scores))

    def attacked(self, name: str) -> Attacked:
        """Return the scores of an attack; computed once."""
        if name not in self._attacked:
            self._attacked[name] = self._scored(name)
        return self._attacked[name]

    def _scored(self, name: str) -> Attacked:
        return self.scored(attack(name, self.signal))

    def scored(self, attack: Attack) -> Attacked:
        """Return the scores of any attack, such as one of another package."""
        return self.scored_on(attack, self.phi, self.bank)

    def scored_on(self, attack: Attack, target: Float[Array, "examples queries"], pairs: Pairs) -> Attacked:
        """Return the scores of an attack that sees other signals than the audit's, of the same models and examples."""
        return self.with_couples(Attacked.of(attack, target, pairs, self.step))

    def with_couples(self, found: Attacked) -> Attacked:
        """Return scores with the models that they come from, where these are no complementary pairs."""
        return found if self.matched is None else replace(found, matched=self.couples)

    @cached_property
    def step(self) -> int:
        """The n of "every nth example" on which shadow models are scored; 1 but for very large banks."""
        return step_of_shadows(self.bank.shape)

    def viewed(self, name: str) -> Viewed:
        """Return what is seen through a view; `RECORDED` is whether the label is right, which every bank recorded.

        Raises:
            KeyError: The view was not asked for, or could not be had.
        """
        if name != RECORDED:
            return self.views[name]
        return Viewed(self.correct.astype(np.float32)[:, None], RecordedPairs(*self.correct_by_pair), 1)

    def tpr(self, name: str, fpr: float) -> TransferredRate:
        """Return an attack's true-positive rate on the target at a false-positive rate."""
        return self.rate(self.attacked(name), fpr)

    def rate(self, found: Attacked, fpr: float) -> TransferredRate:
        """Return the true-positive rate of an attack's scores on the target at a false-positive rate."""
        flagged = found.flagged(fpr)[self.members]
        return transferred_rate(flagged, found.inside, found.outside, self.couples, fpr, cut=found.cut(fpr))

    @cached_property
    def releases(self) -> Compared | str:
        """The model beside its earlier release, which must have been given; or why they cannot be compared."""
        from memaudit.checks.snapshots import releases_of

        return releases_of(self)

    @cached_property
    def couples(self) -> Couples:
        """Which models the shadows' scores come from, of the examples on which they are scored."""
        if self.matched is not None and self.step == 1:
            return self.matched
        return self.couples_of(slice(None, None, self.step))

    def couples_of(self, rows: slice | Int[Array, " rows"]) -> Couples:
        """Return which models the bank's values come from, of some examples."""
        if self.matched is None:
            return Couples.of_pairs(self.bank.members[0::2, rows] > 0)
        return replace(self.matched, inside=self.matched.inside[:, rows], outside=self.matched.outside[:, rows])

    @cached_property
    def correct_by_pair(self) -> tuple[Shaped[Array, "pairs examples"], Shaped[Array, "pairs examples"]]:
        """(inside, outside): `correct` of the model of each pair that has the example, and of the one that lacks it."""
        if isinstance(self.bank, Recordings):
            return self.bank.correct_by_pair
        if self.matched is None:
            return by_pair(self.bank.correct, self.bank.members)
        columns = np.arange(self.bank.shape[1])
        return self.bank.correct[self.matched.inside, columns], self.bank.correct[self.matched.outside, columns]

    @cached_property
    def every(self) -> Int[Array, " rows"]:
        """Every nth example, at most 10,000: what is measured on single models many times over looks at these."""
        return np.arange(0, self.bank.shape[1], step_of(self.bank.shape[1]))

    @cached_property
    def observed(self) -> Observations | None:
        """What was seen of the shadow models while they trained, of the examples `every`; None if nothing was."""
        return self.observations(self.every)

    @cached_property
    def at_end(self) -> Observations:
        """What the trained shadow models say of the examples `every`: a look at the end of training, called epoch 1."""
        bank = EveryNth(self.bank, step_of(self.bank.shape[1]))
        members = self.bank.members[:, self.every]
        inside, outside = (side[..., 0] for side in bank.block(slice(0, bank.shape[1])))
        first = members[0::2] > 0
        phi = np.stack([np.where(first, inside, outside), np.where(first, outside, inside)], axis=1)
        correct = self.bank.correct[:, self.every]
        return self._end(members, phi.reshape(members.shape), correct, self._shadow_entropy())

    @cached_property
    def own_end(self) -> Observations:
        """What the target says of all examples: a look at the end of its training, called epoch 1."""
        return self._end(self.members[None].astype(np.uint8), self.phi[None, :, 0], self.correct[None], self._entropy())

    def _end(
        self, members: Array, phi: Float[Array, "models rows"], correct: Array, entropy: Array | None
    ) -> Observations:
        told = {"loss": self.loss(phi), "correct": correct} | ({} if entropy is None else {"entropy": entropy})
        recorded = {name: values[:, None] for name, values in told.items()}
        return Observations(epochs=np.ones(1, np.float32), members=members, **recorded)

    def _shadow_entropy(self) -> Float[Array, "models rows"] | None:
        """Return the entropy of the shadow models' outputs on the examples `every`; None where it was not recorded."""
        return None

    def _entropy(self) -> Float[Array, "1 examples"] | None:
        """Return the entropy of the target's outputs; None where it was not recorded."""
        return None

    def observations(self, rows: Int[Array, " rows"]) -> Observations | None:
        """Return what was seen of the shadow models while they trained, of some examples; None if nothing was."""
        found = self.bank.observed(rows) if isinstance(self.bank, Watched) else {}
        return Observations(members=self.bank.members[:, rows], **found) if found else None

    @cached_property
    def gains(self) -> Float[Array, " units"]:
        """How much more often a model is right on what it was trained on: for each pair, or for each single model."""
        return self.gains_of(slice(None))

    def gains_of(self, rows: Bool[Array, " examples"] | slice) -> Float[Array, " units"]:
        """Return the same as `gains`, of some of the examples."""
        if self.matched is None:
            inside, outside = (side[:, rows].mean(axis=1, dtype=float) for side in self.correct_by_pair)
            return inside - outside
        members, correct = self.bank.members[:, rows] > 0, self.bank.correct[:, rows].astype(float)
        times = members.sum(axis=0)
        weights = np.where(members, 1 / times, -1 / (len(members) - times)) * len(members)
        return (correct * weights).mean(axis=1)

    @property
    @abstractmethod
    def memorization(self) -> Memorization | Counterfactual:
        """Memorization of every example over the whole bank, with standard errors and intervals."""

    @cached_property
    def margin(self) -> Margin:
        """The margin score over the whole bank."""
        return margin(self.bank)

    def by_model(self, flags: Bool[Array, "pairs examples"]) -> tuple[Int[Array, " models"], Int[Array, " models"]]:
        """Return (flagged, all) non-members of each shadow, from flags of outside models in pair form."""
        side = self.couples.outside
        return self.couples.totals(side, flags).astype(np.int64), self.couples.numbers(side)


@dataclass(frozen=True, slots=True)
class Check:
    """A check: `run` maps evidence to findings and refusals, and carries the explanation as its docstring.

    `needs` is the kind of evidence that it can be run on; it is run where it is `wanted`.
    """

    code: str
    title: str
    metric: str
    run: Callable[[Any], Outcome]
    needs: type[Any] = Evidence
    wanted: Callable[[Any], bool] = lambda evidence: True

    @property
    def rung(self) -> Rung:
        """The lowest rung that it can be run on."""
        return Rung.BANK if issubclass(self.needs, Evidence) else Rung.TARGET


@dataclass(frozen=True, slots=True)
class ControlCheck:
    """A check on the audit itself, which is run where it is `wanted`."""

    code: str
    title: str
    run: Callable[[Any], Control]
    needs: type[Any] = Evidence
    wanted: Callable[[Any], bool] = lambda evidence: True


CONFIDENCES = (0.95, 0.975, 1 - 0.05 / 3, 1 - 0.05 / 4, 0.99, 0.995, 0.9975, 0.999, 0.9995)
"""One-sided, of the bounds that a report keeps: those that one gate to five need at 95 %, and stricter ones."""


def estimate(
    value: float,
    interval: Callable[[Float[Array, " levels"]], tuple[Array, Array]],
    unit: str,
    method: str,
) -> Estimate:
    """Return a number with its interval at 95 %, and with the bounds that limits at other confidences need.

    Args:
        value: The number.
        interval: Returns the ends at several two-sided levels.
        unit: Of all of them.
        method: Of the interval, in words.
    """
    kept = np.array(CONFIDENCES)
    bounds = tuple(
        Bounds(confidence=confidence, low=low, high=high)
        for confidence, low, high in zip(
            kept.tolist(), *(ends.tolist() for ends in interval(2 * kept - 1)), strict=True
        )
    )
    return Estimate(value=value, low=bounds[1].low, high=bounds[1].high, unit=unit, method=method, bounds=bounds)


def share_of(flags: Bool[Array, " examples"]) -> tuple[float, float, float]:
    """Return the share of the flagged with its Clopper–Pearson interval: value, low, high."""
    low, high = clopper_pearson(int(flags.sum()), len(flags))
    return float(flags.mean()), float(low), float(high)


def between(low: float, high: float) -> str:
    """Return the interval of a share: "8.8–11%"."""
    return ends(percent(low), percent(high))


def with_interval(value: float, low: float, high: float) -> str:
    """Return a share with its interval, short enough for a table: "10% (8.8–11%)"."""
    return f"{percent(value)} ({between(low, high)})"


def points_between(low: float, high: float) -> str:
    """Return the interval of a difference of shares, in percentage points without the unit: "3.1–3.3"."""
    return ends(points(low), points(high))
