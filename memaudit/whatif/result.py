"""What a comparison of variants found: a row for each, the front, and the sentence that comes first."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from memaudit import notebook
from memaudit.reports.text import percent, points, rate
from memaudit.types import Estimate, Verdict
from memaudit.whatif.utility import ACCURACY, Utility

COLUMNS = ("Variant", "Models", "Accuracy", "Change", "TPR", "Change", "Memorization", "Training", "Result")


class Standing(StrEnum):
    """What is shown of a variant: of its leak and the limit, and of its cost; NOT_ASKED where no limit is set."""

    KEEPS = "keeps the limit"
    EXCEEDS = "exceeds the limit"
    COSTLY = "costs too much"
    UNDECIDED = "undecided"
    NOT_ASKED = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One variant beside the baseline; changes are paired, and of the baseline itself None.

    Attributes:
        name: Of the variant.
        remedy: What it is, in a sentence.
        models: How many it was measured with.
        units: How many units both it and the baseline were measured on.
        utility: Share of the units outside of the training set that its models predict.
        leak: Mean true-positive rate of the attack.
        memorization: Mean over units.
        seconds: To train one model.
        utility_change: Less than 0: its models are less useful.
        leak_change: Less than 0: they leak less.
        memorization_change: Less than 0: they memorize less.
        seconds_ratio: Training time as a multiple of the baseline's.
        standing: Whether it keeps the limit.
        dominated_by: The variant that is shown to be more useful and to leak less.
        front: Whether it is on the front, by the values alone.
        even: Whether its false positives are those of many models; if not, nothing is decided about its leak.
    """

    name: str
    models: int
    units: int
    utility: Estimate
    leak: Estimate
    memorization: Estimate
    seconds: float
    utility_change: Estimate | None = None
    leak_change: Estimate | None = None
    memorization_change: Estimate | None = None
    seconds_ratio: float = 1.0
    standing: Standing = Standing.NOT_ASKED
    dominated_by: str | None = None
    front: bool = False
    even: bool = True
    remedy: str = "The recipe as it is."

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of a table under `COLUMNS`."""
        return (
            self.name,
            str(self.models),
            percent(self.utility.value),
            _change(self.utility_change),
            percent(self.leak.value),
            _change(self.leak_change),
            percent(self.memorization.value),
            f"{self.seconds_ratio:.2g} ×",
            self.result,
        )

    @property
    def result(self) -> str:
        """What is shown of it, in words."""
        beaten = f"dominated by {self.dominated_by}" if self.dominated_by else "on the front" if self.front else ""
        return "; ".join(filter(None, (str(self.standing), beaten)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmeasured:
    """A variant without figures: its models could not be made, or the attack could not be measured on them.

    Attributes:
        name: Of the variant.
        remedy: What it is, in a sentence.
        models: How many it was to have.
        reason: Why, and what to do.
    """

    name: str
    remedy: str
    models: int
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of a table under `COLUMNS`."""
        nothing = ("–",) * (len(COLUMNS) - 2)
        return (self.name, *nothing, "not measured")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All variants, the baseline first.

    Attributes:
        attack: By which the leak is measured.
        fpr: At which false-positive rate.
        limit: The largest leak that is accepted; None if none is set.
        at_most_cost: The largest loss of utility that is accepted; None if none is set.
        level: Coverage of each interval that decides; those that are shown have 95 %.
        utility: What the models are good for, and how that is measured.
        rows: Of the baseline, and of each variant.
        unmeasured: The variants without figures.
    """

    attack: str
    fpr: float
    limit: float | None
    level: float
    at_most_cost: float | None = None
    utility: Utility = ACCURACY
    rows: tuple[Row, ...]
    unmeasured: tuple[Unmeasured, ...] = ()

    def __repr__(self) -> str:
        table = [self.columns, *self.table]
        widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in table)
        return "\n".join([self.sentence, "", *lines, "", *self.notes, self.explanation])

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        table = notebook.table(self.columns, self.table)
        return notebook.block(self.sentence, table, *map(notebook.paragraph, (*self.notes, self.explanation)))

    @property
    def columns(self) -> tuple[str, ...]:
        """The headings of `table`, of which one names the utility."""
        return tuple(self.utility.heading if name == ACCURACY.heading else name for name in COLUMNS)

    @property
    def table(self) -> tuple[tuple[str, ...], ...]:
        """The cells of all rows under `COLUMNS`, with those of the variants that could not be measured."""
        every: tuple[Row | Unmeasured, ...] = (*self.rows, *self.unmeasured)
        return tuple(row.cells for row in every)

    @property
    def notes(self) -> tuple[str, ...]:
        """Why variants could not be decided or measured, a line each."""
        few = (
            f"Not decided: {row.name}: few of its models have most false positives, and set the threshold for all. Did "
            "their training fail?"
            for row in self.rows
            if not row.even
        )
        return (*few, *(f"Not measured: {row}" for row in self.unmeasured))

    @property
    def baseline(self) -> Row:
        """The recipe as it is."""
        return self.rows[0]

    @property
    def best(self) -> Row | None:
        """The most useful of what is shown to keep the limit, the baseline included; None if nothing is.

        One that is shown to be dominated is left out: it was measured with fewer models, and there is a better one.
        """
        keeping = [row for row in self.rows if row.standing is Standing.KEEPS and not row.dominated_by]
        return max(keeping, key=lambda row: row.utility_change.value if row.utility_change else 0.0, default=None)

    @property
    def verdict(self) -> Verdict:
        """PASS if the model as it is or a variant is shown to keep the limit, FAIL if all are shown to exceed it.

        A variant that is shown to be dominated leaks more than one that counts. One that was not measured may keep it.
        """
        if self.limit is None:
            return Verdict.NOTED
        if self.best is not None:
            return Verdict.PASS
        counting = [row.standing for row in self.rows if not row.dominated_by]
        exceed = all(standing in (Standing.EXCEEDS, Standing.COSTLY) for standing in counting)
        return Verdict.FAIL if exceed and not self.unmeasured else Verdict.INCONCLUSIVE

    @property
    def sentence(self) -> str:
        """What comes first: which variant keeps the limit at the least cost, or that none does."""
        leak = f"TPR at a {rate(self.fpr)} FPR"
        if self.limit is None:
            return self._without_limit(leak)
        limit = f"the limit of {percent(self.limit)} for the {leak}"
        if self.best is None:
            if self.at_most_cost is not None:
                limit += f" at a cost of at most {points(self.at_most_cost)} percentage points of {self.utility.name}"
            undecided = [row.name for row in self.rows if row.standing is Standing.UNDECIDED]
            more = f" Undecided with these numbers of models: {', '.join(undecided)}." if undecided else ""
            return f"No variant is shown to keep {limit}.{more}"
        if self.best.utility_change is None:
            return f"The model as it is keeps {limit}; no remedy is needed."
        cost = f"the least cost in {self.utility.name}: {_change(self.best.utility_change)} points"
        return f"{self.best.name} keeps {limit} at {cost}."

    def _without_limit(self, leak: str) -> str:
        front = [row for row in self.rows[1:] if row.front and row.leak_change and row.leak_change.value < 0]
        if not front:
            return f"No variant has a lower {leak} than the model as it is. No limit is set."
        least = min(front, key=lambda row: row.leak_change.value if row.leak_change else 0.0)
        assert least.utility_change is not None
        return (
            f"{least.name} leaks least: {leak} {_change(least.leak_change)} points, {self.utility.name} "
            f"{_change(least.utility_change)} points. No limit is set."
        )

    @property
    def explanation(self) -> str:
        """What the figures are."""
        return (
            f"TPR: of {self.attack} at a {rate(self.fpr)} FPR, each model attacked by the others of its kind. "
            f"{self.utility.heading}: {self.utility.meaning}. Changes are paired by model and example, in "
            "percentage points, with their 95% CI over pairs of models. What keeps or exceeds the limit or is "
            f"dominated is decided by wider intervals ({percent(self.level)}), which hold all together with a "
            "probability of 95%."
        )


def _change(found: Estimate | None) -> str:
    if found is None:
        return "–"
    return f"{points(found.value)} ({points(found.low)} to {points(found.high)})"
