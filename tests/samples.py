"""A report in which everything that a report can hold occurs, for the tests of what is made from reports."""

from __future__ import annotations

import base64
import dataclasses
import enum
import hashlib
import itertools
import math
import struct
import zlib
from collections.abc import Callable
from typing import Any

from memaudit import policy
from memaudit.auditing.ledger import Entry
from memaudit.stats import clopper_pearson
from memaudit.types import (
    Attempt,
    Context,
    Control,
    Curve,
    Estimate,
    Exposed,
    Figure,
    FigureKind,
    Finding,
    Limit,
    Mark,
    Release,
    Report,
    Result,
    Scatter,
    Skipped,
    Subject,
    Table,
    Verdict,
    Waived,
    Waiver,
    WaiverState,
)

WAIVER = Waiver(
    gate="tpr-lira-0.001",
    subject="9f86d081884c7d65" * 4,
    cap=0.05,
    reason="A trial with twelve testers, who have signed.",
    owner="Ada Roe",
    approved_by="Bo Li",
    expires="2027-01-31",
)

LEDGER_ENTRY = Entry(
    time="2026-11-23T10:00:00+00:00",
    model="aa",
    policy="11",
    recipe="rr",
    examples="ee",
    data="dd",
    seed=0,
    shadows=64,
    verdict=Verdict.FAIL,
)


def png(shade: int) -> str:
    """A picture of 8 by 8 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + bytes((shade + 9 * x * y) % 256 for x in range(8)) for y in range(8))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(content).decode()


def roc_figure() -> Figure:
    fpr = tuple(10 ** (-4 + 4 * i / 60) for i in range(61))

    def curve(label: str, power: float) -> Curve:
        tpr = tuple(x**power for x in fpr)
        low = tuple(max(0.0, y - 1.6 * math.sqrt(x * 40) * 0.02 / power) for x, y in zip(fpr, tpr, strict=True))
        high = tuple(min(1.0, y * 1.15) for y in tpr)
        return Curve(x=(0.0, *fpr), y=(0.0, *tpr), low=(0.0, *low), high=(0.004, *high), label=label)

    return Figure(
        kind=FigureKind.ROC,
        title="ROC curves of all attacks",
        x_label="False-positive rate",
        y_label="True-positive rate",
        curves=(curve("LiRA, 64 shadow models", 0.45), curve("loss threshold", 0.87)),
        alt="The ROC curve of LiRA is far above guessing: at a 0.1% FPR it identifies 4.2% of members.",
        unresolved=0.0004,
    )


def front_figure() -> Figure:
    def points(label: str, names: str, x: tuple[float, ...], y: tuple[float, ...]) -> Scatter:
        return Scatter(
            label=label,
            names=tuple(names.split()),
            x=x,
            left=tuple(value - 0.002 for value in x),
            right=tuple(value + 0.004 for value in x),
            y=y,
            low=tuple(value / 2 for value in y),
            high=tuple(1.5 * value for value in y),
        )

    return Figure(
        kind=FigureKind.FRONT,
        title="Leak against accuracy",
        x_label="Change in accuracy (percentage points)",
        y_label="TPR at a 1% FPR",
        curves=(
            points("keeps the limit", "early pruned", (-0.02, -0.021), (0.02, 0.0)),
            points("exceeds the limit", "", (), ()),
            points("as it is", "baseline", (0.0,), (0.08,)),
            points("front", "pruned early baseline", (-0.021, -0.02, 0.0), (0.0, 0.02, 0.08)),
        ),
        marks=(Mark(y=0.05, label="limit 5%"),),
        alt="Early stopping brings 8% down to 2%, at two points of accuracy.",
    )


def link_figure() -> Figure:
    tpr, fpr = (0.0, 0.002, 0.008, 0.031, 0.12, 0.35, 0.72), (0.001, 0.0012, 0.0009, 0.0011, 0.001, 0.0, 0.0013)
    x = (0.01, 0.06, 0.17, 0.37, 0.62, 0.82, 0.95)
    spread = (0.0004, 0.0006, 0.002, 0.006, 0.02, 0.04, 0.06)

    def curve(label: str, y: tuple[float, ...], by: tuple[float, ...]) -> Curve:
        pairs = list(zip(y, by, strict=True))
        low, high = tuple(max(0.0, a - b) for a, b in pairs), tuple(a + b for a, b in pairs)
        return Curve(x=x, y=y, low=low, high=high, label=label)

    return Figure(
        kind=FigureKind.LINK,
        title="Who is recognized, by how strongly the example was memorized",
        x_label="Memorization of the example",
        y_label="Rate",
        curves=(curve("recognized members", tpr, spread), curve("non-members (FPR)", fpr, (0.0004,) * 7)),
        alt="Recognition climbs from nearly none of the unmemorized examples to 72% of the most memorized ones.",
        ticks=("below 0.02", "0.02–0.10", "0.10–0.25", "0.25–0.50", "0.50–0.75", "0.75–0.90", "above 0.90"),
    )


def histogram_figure() -> Figure:
    edges = tuple(-6.0 + 0.5 * i for i in range(33))
    middles = [(a + b) / 2 for a, b in itertools.pairwise(edges)]
    out = tuple(float(round(2600 * math.exp(-((m - 0.2) ** 2) / 3.2))) for m in middles)
    inside = tuple(float(round(2000 * math.exp(-((m - 1.6) ** 2) / 6.5))) for m in middles)
    return Figure(
        kind=FigureKind.HISTOGRAM,
        title="Scores of members and of others",
        x_label="Attack score (larger = more like a member)",
        y_label="Examples",
        curves=(Curve(x=edges, y=inside, label="members"), Curve(x=edges, y=out, label="others")),
        alt="The scores of the two groups overlap widely; only members reach the right end.",
    )


def _bits_figure() -> Figure:
    planted = Curve(
        x=(0.0, 1.0, 2.0, 3.0),
        y=(1.4, 2.1, 5.2, 9.3),
        low=(0.9, 1.2, 4.0, 8.1),
        high=(2.0, 3.1, 6.6, 10.0),
        label="shadow models, mean",
    )
    return Figure(
        kind=FigureKind.BITS,
        title="Exposure by number of insertions",
        x_label="Times that the secret occurs in the training data",
        y_label="Exposure (bits)",
        curves=(planted, Curve(x=(0.0, 2.0), y=(0.3, 4.4), label="this model")),
        alt="Exposure climbs from 1.4 bits to 9.3 bits with the number of repetitions.",
        ticks=("0", "1", "4", "16"),
        marks=(
            Mark(y=10.0, label="the most that can be shown"),
            Mark(y=9.97, label="1% of those never planted"),
            Mark(y=1.44, label="mean of those never planted"),
        ),
    )


def _exposure() -> Result:
    finding = Finding(
        code="CAN001",
        title="Exposure of canaries planted once",
        metric="exposure",
        estimate=Estimate(value=2.1, low=1.2, high=3.1, unit="bits", method="bootstrap over pairs of shadow models"),
        sentence="A canary inserted once has a mean exposure of 2.1 bits (95% CI 1.2–3.1).",
        blind=1.4426950408889634,
        n=12,
        counted="canaries in shadow models",
        source="Carlini et al. 2019 (USENIX Security)",
        figures=(_bits_figure(),),
        tables=(
            Table(
                title="Why texts are continued",
                columns=("Kind", "Because", "Texts", "Known"),
                rows=(
                    ("recited", "the text occurs verbatim in the documents more than five times", 3, True),
                    ("predictable", "models without the text write it too, so it is no leak", 11, False),
                    ("unresolved", "too few shadow models to tell", 0, None),
                ),
            ),
        ),
    )
    return Result(finding=finding, verdict=Verdict.NOTED, reason="no limit was set")


def _written() -> Result:
    figure = Figure(
        kind=FigureKind.SHARES,
        title="Written within a number of tries",
        x_label="Tries",
        y_label="Share of texts",
        curves=(
            Curve(x=(0.0, 1.0), y=(0.0, 0.4), low=(0.0, 0.3), high=(0.1, 0.5), label="training texts"),
            Curve(x=(0.0, 1.0), y=(0.0, 0.1), low=(0.0, 0.0), high=(0.1, 0.2), label="other texts"),
        ),
        alt="At a thousand tries 40% of the training texts are written, and 10% of others.",
        ticks=("1", "1,000"),
    )
    finding = Finding(
        code="EXT002",
        title="Training texts written within 1,000 tries",
        metric="extraction",
        attack="sampling",
        estimate=Estimate(value=0.4, low=0.3, high=0.5, unit="share", method="Clopper–Pearson"),
        sentence="Sampling 1,000 times, an adversary has 40% of the training texts written word for word.",
        n=120,
        counted="training texts",
        source="Hayes et al. 2025 (NAACL)",
        figures=(figure,),
    )
    return Result(finding=finding, verdict=Verdict.NOTED, reason="no limit was set")


def _membership() -> Result:
    finding = Finding(
        code="MIA001",
        title="Members identified at a low FPR",
        metric="tpr",
        attack="lira",
        at_fpr=0.001,
        estimate=Estimate(value=0.0417, low=0.0389, high=0.0446, unit="share", method="Clopper-Pearson, two-sided"),
        sentence="LiRA identifies 4.2% of members at a 0.1% false-positive rate (95% CI 3.9–4.5%).",
        blind=0.001,
        n=19_000,
        source="Carlini et al. 2022, Membership Inference Attacks From First Principles, section 4",
        figures=(roc_figure(), histogram_figure()),
        tables=(
            Table(
                title="Attacks side by side",
                columns=("Attack", "FPR aimed at", "FPR measured", "TPR", "TPR low", "TPR high", "Queries"),
                rows=(
                    ("LiRA, empirical-Bayes variance", 0.001, 0.00093, 0.0417, 0.0389, 0.0446, 2),
                    ("LiRA, fixed variance", 0.001, 0.00101, 0.0361, 0.0335, 0.0388, 2),
                    ("loss threshold", 0.001, 0.00104, 0.0017, 0.0012, 0.0024, None),
                ),
                note="Thresholds were chosen on other models of the bank, never on this one.",
            ),
        ),
        notes=("The rate holds for the group; a single person’s risk depends on how unusual the example is.",),
    )
    limit = Limit(metric="tpr", attack="lira", at_fpr=0.001, max=0.01, source="conf/memaudit.toml", line=7)
    reason = "lower bound 3.9% at 95% confidence, limit 1%; waived until 2027-01-31 by Bo Li, up to 0.05: a trial"
    return Result(finding=finding, limit=limit, verdict=Verdict.FAIL, reason=reason, waiver=WAIVER)


def _memorization() -> Result:
    finding = Finding(
        code="MEM001",
        title="Examples that the model knows by heart",
        metric="memorized_share",
        estimate=Estimate(value=0.083, low=0.071, high=0.112, unit="share", method="cluster bootstrap over pairs"),
        sentence="About 8.3% of the training examples are memorized: the model gets them right only because it has "
        "seen them.",
        n=32,
        source="Feldman and Zhang 2020, What Neural Networks Memorize and Why, equation 1",
    )
    limit = Limit(metric="memorized_share", max=0.1)
    reason = "The interval reaches from 7.1% to 11.2% and the limit of 10% is inside it."
    return Result(finding=finding, limit=limit, verdict=Verdict.INCONCLUSIVE, reason=reason)


def _link() -> Result:
    finding = Finding(
        code="LNK001",
        title="Memorized examples are the ones that are recognized",
        metric="link",
        estimate=Estimate(value=0.61, low=0.58, high=0.64, unit="correlation", method="Fisher z, Bonett-Wright"),
        sentence="Memorization and recognition go together: 84% of all recognized members are memorized examples.",
        n=19_000,
        source="Spearman 1904",
        figures=(link_figure(),),
    )
    return Result(finding=finding, verdict=Verdict.NOTED, reason="No limit is set for this measurement.")


def sample_report() -> Report:
    """A realistic report in which everything that a report can hold occurs."""
    controls = (
        Control(
            code="CTL001",
            title="A planted leak is found",
            passed=True,
            sentence="A model over-fitted on purpose is found to leak: TPR 61% at a 0.1% FPR.",
            source="Jagielski et al. 2020",
        ),
        Control(
            code="CTL002",
            title="No leak is found where there is none",
            passed=True,
            sentence="0.09% flagged, 0.1% expected.",
            tables=(Table(title="Flagged by chance", columns=("", "Flagged"), rows=(("others", 0.0009),)),),
        ),
        Control(
            code="CTL004",
            title="The model looks like its shadow models",
            passed=None,
            sentence="Could not be run: the recipe does not report its training loss.",
        ),
    )
    exposed = tuple(
        Exposed(
            identifier=hashlib.sha256(bytes([i])).hexdigest()[:16],
            label=("cat", "dog", "lorry")[i % 3],
            member=i % 4 != 3,
            score=9.1 - 0.7 * i,
            memorization=Estimate(
                value=0.98 - 0.03 * i, low=0.8 - 0.03 * i, high=1.0, unit="share", method="Newcombe–Wilson"
            ),
            margin=6.2 - 0.5 * i,
            thumbnail=png(20 * i) if i != 2 else "",
        )
        for i in range(6)
    )
    return Report(
        created="2026-11-22T10:15:00Z",
        subject=Subject(model="model.pt", sha256="9f86d081884c7d65" * 4, members=19_000, nonmembers=21_000, shadows=64),
        results=(_link(), _memorization(), _membership(), _exposure(), _written()),
        skipped=(
            Skipped(
                code="MIA002",
                title="Members identified at a 0.01% FPR",
                reason="21,000 non-members cannot resolve a rate of 0.01%; it takes at least 29,956.",
                verdict=Verdict.INCONCLUSIVE,
            ),
            Skipped(code="CAN001", title="Planted secrets", reason="No secrets were planted in this training set."),
        ),
        controls=controls,
        exposed=exposed,
        untested=(
            "Attribute inference: guessing what is unknown about a person who is known to be in the data.",
            "Model inversion and reconstruction of training examples.",
            "An attacker who sees only the predicted label, or who can take part in the training.",
        ),
        limitations=(
            "The intervals describe this one trained model; another training run would give other figures.",
            "The attacker is assumed to have data like the training data and to know how the model was trained.",
        ),
        provenance={
            "command": "memaudit audit model.pt --evidence full",
            "memaudit": "0.1.0",
            "recipe": "sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
            "python": "3.11.2",
            "torch": "2.15.0",
            "bank seed": "20261122",
            "evidence": "full",
        },
        attempt=Attempt(number=3, earlier=("inconclusive", "fail"), of_model=4, entry="ab" * 32),
        waivers=(Waived(waiver=WAIVER, state=WaiverState.APPLIED),),
        context=Context(release=Release.API_WITH_LOGITS, auditor="Mo Kane", owner="Example Corp, Zoe Ngo"),
    )


def changed(node: Any, change: Callable[[str], str]) -> Any:
    """The same report with every string changed that is not empty, except the choices, the schema and the pictures."""
    if isinstance(node, enum.Enum):
        return node
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        kept = {"schema", "thumbnail"}
        fields = {f.name: getattr(node, f.name) for f in dataclasses.fields(node)}
        return dataclasses.replace(node, **{k: changed(v, change) for k, v in fields.items() if k not in kept})
    if isinstance(node, tuple):
        return tuple(changed(item, change) for item in node)
    if isinstance(node, dict):
        return {change(key): changed(value, change) for key, value in node.items()}
    return change(node) if node and isinstance(node, str) else node


SUBJECT = Subject(model="model.pt", sha256="ab" * 32, members=1000, nonmembers=1000, shadows=64)
CODES = ("CTL001", "CTL002", "CTL003", "CTL004", "CTL005", "CTL006")


def found(attack: str, hits: int, fpr: float = 0.01) -> Finding:
    """What an attack found on a model of so many members."""
    members = SUBJECT.members
    low, high = (float(end) for end in clopper_pearson(hits, members, 0.95))
    return Finding(
        code={"lira-online": "MIA001", "lira-offline": "MIA002", "rmia": "MIA006"}[attack],
        title=f"Membership inference, {attack}",
        metric="tpr",
        attack=attack,
        at_fpr=fpr,
        estimate=Estimate(value=hits / members, low=low, high=high, unit="share", method="Clopper–Pearson"),
        sentence=f"{attack} finds {hits} of {members} members.",
        n=members,
        source="Carlini et al. 2022",
    )


def audited(limits: list[Limit], *findings: Finding) -> Report:
    """A report whose controls all passed, with its findings compared with the limits."""
    results = tuple(Result(finding=finding, verdict=Verdict.NOTED, reason="") for finding in findings)
    controls = tuple(Control(code=code, title=code, passed=True, sentence="") for code in CODES)
    whole = dataclasses.replace(sample_report(), subject=SUBJECT, results=results, controls=controls, skipped=())
    return policy.hold(whole, limits)
