"""The nouns. Frozen, keyword-only, and made of plain values, so that a report needs no array library."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from memaudit import notebook

REPORT_SCHEMA = "memaudit.report/1"

Cell = str | int | float | bool | None


class Level(StrEnum):
    """What an adversary sees of a model, from little to everything; each level can derive what those before it show."""

    LABELS = "labels"  # the predicted class alone
    TOP = "top-confidences"  # the probabilities of the likeliest classes
    CONFIDENCES = "confidences"  # the probability of every class
    LOG_ODDS = "log-odds"  # those without rounding: the signals of a bank
    WEIGHTS = "weights"

    @property
    def place(self) -> int:
        """Its place in the order, from 0."""
        return list(Level).index(self)


UNBOUNDED_EPSILON = 700.0  # the upper end of an ε that nothing bounds from above: e^709 is the largest double
POISONED = "poisoned bank"  # in the provenance, where models with poisoned training sets were compared
EARLIER = "earlier release"  # in the provenance: the SHA-256 of the release that the model was compared with
ASKED_ATTACKS, ASKED_RATES = "attacks", "false-positive rates"  # in the provenance: what the audit was asked for
ASKED_ACCESS = "access"  # in the provenance, where attacks with less access were asked for: the highest level
DP_CLAIM, CLASSIFIER_CANARIES = "differential privacy", "canaries of a classifier"  # there, too, where there are any
ASKED_SUBGROUPS, ASKED_ATTRIBUTES = "subgroups", "attributes"  # names of columns


class Rung(IntEnum):
    """How much an audit had to go on; each rung can say what those below it can, and more."""

    TARGET = 0  # the target's own outputs on members and non-members
    REFERENCES = 1  # also one to five reference models
    BANK = 2  # also a bank of shadow models, trained here or imported


class Verdict(StrEnum):
    """What a policy makes of a finding, from bad to good; NOTED means that no limit was set."""

    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    PASS = "pass"
    NOTED = "noted"


def word(verdict: str) -> str:
    """Return a verdict as one word for people and scripts: `pass`, `fail`, `inconclusive` or `no-limit-set`."""
    return "no-limit-set" if verdict == Verdict.NOTED else str(verdict)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of the verdicts; NOTED if there are none."""
    order = list(Verdict)
    return min(verdicts, key=order.index, default=Verdict.NOTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Two one-sided bounds of a number: it is above `low` with this confidence, and below `high` with the same."""

    confidence: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its two-sided interval. `level` is the interval's coverage, `method` names how it was made.

    `bounds` are those that limits are compared with, at rising confidence; a binomial share needs none, as its bounds
    follow from the number of units.
    """

    value: float
    low: float
    high: float
    level: float = 0.95
    unit: str
    method: str
    bounds: tuple[Bounds, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Points to draw; `low` and `high`, where given, are the ends of each point's interval."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    label: str
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter(Curve):
    """Points with names, and with intervals in both directions: `left` and `right` are the ends of those of x."""

    names: tuple[str, ...] = ()
    left: tuple[float, ...] = ()
    right: tuple[float, ...] = ()


class FigureKind(StrEnum):
    """How a figure's curves are to be drawn."""

    ROC = "roc"  # log-log, diagonal = guessing, the region below `unresolved` shaded
    HISTOGRAM = "histogram"  # x = left edges plus the last right edge, y = counts
    LINK = "link"  # x = bin centres, y = rates; first curve true, second false positives
    FOREST = "forest"  # one row per tick, from the top: x = rows, y = shares; a tick without a point is a heading
    CORRELATIONS = "correlations"  # like FOREST, with y = correlations on a linear axis
    ROWS = "rows"  # like FOREST, with y = shares on a linear axis
    BITS = "bits"  # x = places of the ticks, y = bits
    SHARES = "shares"  # x = places of the ticks, y = shares on a linear axis
    FRONT = "front"  # `Scatter`: x = changes of a share, y = shares on a log axis; the last curve is the front


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A height in a figure that has a meaning of its own."""

    y: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What a picture shows; `alt` says it in words for those who cannot see it.

    `below` are shares of a whole, over the same x, in a panel of their own.
    """

    kind: FigureKind
    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    alt: str
    unresolved: float | None = None
    ticks: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()
    below: tuple[Curve, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under named columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found; it has no opinion on whether that is much.

    `metric`, `attack` and `at_fpr` are what a limit refers to. `sentence` says the finding in words. `blind` is what
    an adversary without the model achieves in the same unit. `n` is the number of units behind the estimate, and
    `counted` what they are.
    """

    code: str
    title: str
    metric: str
    attack: str | None = None
    at_fpr: float | None = None
    estimate: Estimate
    sentence: str
    blind: float | None = None
    n: int
    counted: str = "examples"
    source: str
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        parts = map(notebook.paragraph, (self.sentence, *self.notes, f"Source: {self.source}"))
        return notebook.block(f"{self.code} {self.title}", *parts)


class OnInconclusive(StrEnum):
    """What an undecided limit does to the exit code. It stays undecided all the same, and is printed as such."""

    INCONCLUSIVE = "inconclusive"  # 3: stops a pipeline without claiming a leak
    FAIL = "fail"  # 1
    WARN = "warn"  # 0


class Why(StrEnum):
    """Why a finding leaves its limit undecided."""

    UNDERPOWERED = "underpowered"  # the interval holds the limit
    CONFIDENCE = "confidence"  # the interval clears the limit, at less than the confidence that was asked for
    CONTROL = "control"  # the interval clears the limit, but a control failed or was not run
    RUNG = "rung"  # the interval keeps the limit, but the limit is about attacks that need a bank of shadow models


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The most that a metric may be: a finding breaks it when even the low end of its interval is above it.

    `source` and `line` say where the limit was set: a file, as it is named in the repository, and a line from 1.
    `confidence` is one-sided: that of the bound which must keep, or break, the limit. A limit that is not `required`
    counts only if something was measured that it is about. `id` is what waivers and people call it by.
    """

    metric: str
    attack: str | None = None
    at_fpr: float | None = None
    max: float
    source: str | None = None
    line: int | None = None
    id: str = ""
    confidence: float = 0.95
    on_inconclusive: OnInconclusive = OnInconclusive.INCONCLUSIVE
    required: bool = True

    @property
    def name(self) -> str:
        """Return the limit's id; of one without, what it is about: "tpr-lira-online-0.01"."""
        rate = None if self.at_fpr is None else f"{self.at_fpr:g}"
        return self.id or "-".join(part for part in (self.metric, self.attack, rate) if part)

    def covers(self, finding: Finding) -> bool:
        """Return whether this limit is about that finding; an attack or rate left open covers all of them."""
        return (
            self.metric == finding.metric
            and self.attack in (None, finding.attack)
            and self.at_fpr in (None, finding.at_fpr)
        )

    def __str__(self) -> str:
        attack = f" of {self.attack}" if self.attack else ""
        rate = f" at {self.at_fpr:g} FPR" if self.at_fpr is not None else ""
        return f"{self.metric}{attack}{rate} ≤ {self.max:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """Somebody's decision to live with a broken limit, for one model and a while.

    `gate` is the limit's name, `subject` the model's SHA-256, `cap` the most that the bound which breaks the limit may
    be, `expires` the last day that it holds (ISO 8601).
    """

    gate: str
    subject: str
    cap: float
    reason: str
    owner: str
    approved_by: str
    expires: str


class WaiverState(StrEnum):
    """What a waiver did."""

    APPLIED = "applied"
    UNNEEDED = "not needed"  # its limit is not broken
    OTHER_MODEL = "for another model"
    EXPIRED = "expired"
    EXCEEDED = "exceeded"  # more leaks than was waived
    UNRELIABLE = "unreliable"  # a control failed, so that it is not known how much leaks
    SELF_APPROVED = "void: its owner approved it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waived:
    """A waiver and what it did; only one that is APPLIED excuses anything."""

    waiver: Waiver
    state: WaiverState


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A finding compared with a limit; a finding that several limits cover has a result for each.

    `reason` says everything in words. Apart from it, `why` says for machines why nothing was decided, `needed` what
    would decide it, and `waiver` which waiver excuses a failure.
    """

    finding: Finding
    limit: Limit | None = None
    verdict: Verdict
    reason: str
    why: Why | None = None
    needed: str = ""
    waiver: Waiver | None = None

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        found, limit = self.finding, f"limit: {self.limit}" if self.limit else "no limit"
        parts = map(notebook.paragraph, (found.sentence, f"{self.verdict.upper()} ({limit}): {self.reason}"))
        return notebook.block(f"{found.code} {found.title}", *parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A check that could not say anything, and why; it never counts as a pass.

    `limit` is the one that nothing could be compared with, where that is what it is about.
    """

    code: str
    title: str
    reason: str
    verdict: Verdict = Verdict.NOTED
    limit: Limit | None = None
    needed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A check on the audit itself. `passed` is None when it could not be run, with the reason in `sentence`.

    `overstates` are the metrics that come out too high where it failed: not even a broken limit can be relied on then.
    `attacks` are the attacks that a failure concerns; empty means all that was measured.
    """

    code: str
    title: str
    passed: bool | None
    sentence: str
    source: str = ""
    tables: tuple[Table, ...] = ()
    overstates: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ()

    def concerns(self, finding: Finding) -> bool:
        """Return whether a failure of the control speaks against a finding."""
        return not self.attacks or finding.attack in self.attacks


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposed:
    """One of the most exposed examples; `identifier` is a keyed hash unless full evidence was asked for."""

    identifier: str
    label: str
    member: bool
    score: float
    memorization: Estimate
    margin: float
    thumbnail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What was audited: the model file and its digest, and how many examples it was and was not trained on.

    `shadows` counts the shadow models that it was compared with, `references` the reference models beside them.
    `members` and `nonmembers` are those that the figures are about. `always` more members are in the training set of
    every shadow model, and `never` more non-members in none, where the shares of the two are not one half. `unit` is
    what these numbers count, in the plural: examples, or people with several records each.
    """

    model: str
    sha256: str
    members: int
    nonmembers: int
    shadows: int
    references: int = 0
    always: int = 0
    never: int = 0
    unit: str = "examples"

    @property
    def trained_on(self) -> int:
        """How many examples the model was trained on, whether the figures are about them or not."""
        return self.members + self.always

    @property
    def held_out(self) -> int:
        """How many examples the model was not trained on, whether the figures are about them or not."""
        return self.nonmembers + self.never


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Which audit of this model, these examples or this recipe a report is, by the ledger of audits.

    `earlier` are the verdicts of the attempts before, whatever the limits were. Of all these, `of_policy` were under
    the same limits, and `of_model` about the same file; `in_all` counts every audit in the ledger. `entry` is the
    SHA-256 of the ledger's line about this one, `previous` that of the line before, and `torn` the number of lines
    there that were cut short. `lost` says that the ledger lacks audits of the bank. In reports of memaudit 0.1.0, where
    `in_all` is 0, attempts are those of one file under one policy.
    """

    number: int
    earlier: tuple[str, ...] = ()
    of_model: int
    of_policy: int = 0
    in_all: int = 0
    lost: bool = False
    entry: str
    previous: str = ""
    torn: int = 0

    def __str__(self) -> str:
        before = f", before it: {', '.join(map(word, self.earlier))}" if self.earlier else ""
        if not self.in_all:
            return f"attempt {self.number} of this model under this policy{before}"
        lost = "; the ledger lacks earlier audits with this bank" if self.lost else ""
        return (
            f"attempt {self.number} with this model, these examples or this recipe{before} ({self.of_policy} under "
            f"these limits, {self.of_model} of this model file, {self.in_all} "
            f"{'audit' if self.in_all == 1 else 'audits'} in the ledger){lost}"
        )


class Release(StrEnum):
    """Who gets how much of the model, from little to everything."""

    INTERNAL = "internal"
    API = "api"
    API_WITH_LOGITS = "api-with-logits"
    OPEN_WEIGHTS = "open-weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What people say about the model and the audit, and no audit can find out; empty where they have not said it.

    `auditor` made the audit, and `owner` is responsible for the model.
    """

    release: Release | None = None
    auditor: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The plan that an audit keeps to: fixed, and entered in the ledger of audits, before there was a result.

    `sha256` is that of the plan's file, `entry` that of the ledger's line about it, which comes before the audit's
    own. `audits_before` counts the audits, of any model, that the ledger had when the plan was made.
    """

    sha256: str
    created: str
    entry: str
    audits_before: int


class Edition(StrEnum):
    """How much of an audit a report shows, from little to everything; `reports.editions` says what that means."""

    PUBLIC = "public"
    INTERNAL = "internal"
    RESTRICTED = "restricted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole audit. The JSON file is this object, and every other format is made from it alone.

    `notices` are what a reader must know before the numbers, such as exact copies among the examples.
    """

    schema: str = REPORT_SCHEMA
    created: str
    subject: Subject
    results: tuple[Result, ...]
    skipped: tuple[Skipped, ...]
    controls: tuple[Control, ...]
    exposed: tuple[Exposed, ...] = ()
    untested: tuple[str, ...] = ()
    limitations: tuple[str, ...] = ()
    provenance: dict[str, str]
    edition: Edition = Edition.RESTRICTED
    attempt: Attempt | None = None
    plan: Planned | None = None
    waivers: tuple[Waived, ...] = ()
    context: Context = Context()
    rung: Rung = Rung.BANK
    notices: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Return the worst verdict; a failed control makes whatever is not a failure inconclusive.

        One that concerns some attacks alone does not, if limits were set and none is about these.
        """
        verdict = worst([r.verdict for r in self.results] + [s.verdict for s in self.skipped])
        limited = [result.finding for result in self.results if result.limit is not None]
        failed = [control for control in self.controls if control.passed is False]
        concerned = any(not limited or any(map(control.concerns, limited)) for control in failed)
        return Verdict.INCONCLUSIVE if concerned and verdict is not Verdict.FAIL else verdict

    def _repr_html_(self) -> str:
        """Return what a notebook shows: findings, controls and checks that could not run; no single examples."""
        subject = self.subject
        about = (
            f"{subject.members:,} members, {subject.nonmembers:,} non-members; rung {self.rung:d}: {subject.shadows:,} "
            f"shadow models, {subject.references:,} reference models; {self.created}"
        )
        found = [(r.finding.code, r.finding.sentence, r.limit, r.verdict) for r in self.results]
        outcome = {True: "passed", False: "FAILED", None: "could not run"}
        return notebook.block(
            f"{self.verdict.upper()}: privacy audit of {subject.model}",
            notebook.paragraph(about),
            notebook.table(("Code", "Finding", "Limit", "Verdict"), found),
            notebook.table(("Code", "Control", ""), [(c.code, c.sentence, outcome[c.passed]) for c in self.controls]),
            notebook.table(("Code", "Could not run", ""), [(s.code, s.reason, s.verdict) for s in self.skipped]),
        )
