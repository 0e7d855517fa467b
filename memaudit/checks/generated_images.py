"""GEN…: what a generator of images reveals: training images among its own, membership, planted patterns."""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from memaudit.attacks import DEFAULT, Lira, attack
from memaudit.canaries import NULL_MEAN_BITS, fisher, mean_exposure, sampled_exposure
from memaudit.checks.attack_results import tied, unresolved
from memaudit.checks.attacked import Attacked
from memaudit.checks.evidence import Check, Outcome, between, estimate, share_of, with_interval
from memaudit.checks.generator import GeneratorEvidence, GeneratorTargetEvidence, Planted
from memaudit.checks.membership import METHOD
from memaudit.design import PairArrays
from memaudit.extraction import Kind, counterfactual_extraction, kinds
from memaudit.reports.text import percent, rate
from memaudit.stats import auc, auc_interval, clopper_pearson, cluster_interval
from memaudit.types import Cell, Finding, Skipped, Table

Array = np.ndarray

_EXTRACTED, _SAMPLES, _CANARIES = (
    "Training images that the model generates",
    "Membership from generated images alone",
    "Exposure of planted image patterns",
)
_ALARM = 0.001  # probability of a false alarm of the null check
_LEAST_CANARIES = 2
_CARLINI = "Carlini et al. 2023 (USENIX Security), δ-extraction with the adaptive ℓ₂ distance, section 5.1"


def _extracted(evidence: GeneratorTargetEvidence) -> Outcome:
    """Extract images: which training images does the model generate?

    The model generates images without a prompt. A training image counts as extracted if the nearest generated one is
    less than half as far from it as its 50 nearest neighbours among all examples are on average (ℓ₂ distance). An
    absolute distance would call plain images extracted, which are near to everything.

    The result is the share of the members that are extracted. Its interval is Clopper–Pearson's, conditional on the
    images that were generated. More images extract more: a low share bounds nothing.

    Near is not memorized: a generator also produces images that resemble ones it never saw. The share is therefore
    compared with that of the model's non-members and, with a bank, with how often shadow models that never saw an image
    generate it. Each extracted image is called memorized only if models trained on it generate it demonstrably more
    often than models that were not (paired Newcombe interval above 0).

    Source: Carlini et al. 2023, "Extracting Training Data from Diffusion Models", section 5.1; counterfactual of
    Feldman & Zhang 2020.
    """
    flags = evidence.correct > 0
    members = evidence.members
    outside = share_of(flags[~members])
    n, hits = int(members.sum()), int(flags[members].sum())
    share = estimate(hits / n, partial(clopper_pearson, hits, n), "share", "Clopper–Pearson")
    blind, told = outside[0], ""
    tables: tuple[Table, ...] = ()
    if isinstance(evidence, GeneratorEvidence):
        without = _without(evidence)
        blind = without[0]
        told = f" Shadow models that never saw an image generate {percent(blind)} ({between(*without[1:])})."
        tables = (_without_table(without), _why(evidence, flags))
    finding = Finding(
        code="GEN001",
        title=_EXTRACTED,
        metric="image-extraction",
        estimate=share,
        sentence=(
            f"Among {evidence.samples:,} generated images are {hits:,} of {n:,} training images "
            f"({percent(share.value)}, 95% CI {between(share.low, share.high)}). Of the non-members: "
            f"{percent(outside[0])} ({between(*outside[1:])}).{told}"
        ),
        blind=blind,
        n=n,
        counted=f"training {evidence.unit}",
        source=_CARLINI,
        tables=(_sides(evidence, flags), *tables),
    )
    return (finding,), ()


def _without(evidence: GeneratorEvidence) -> tuple[float, float, float]:
    """Return the share of all images that models without them generate: value, low, high, over pairs of models."""
    outside = evidence.correct_by_pair[1].astype(np.float64)
    hits, of = outside.sum(axis=1), np.full(len(outside), float(outside.shape[1]))
    low, high = cluster_interval(hits[:, None], of[:, None])
    return float(outside.mean()), float(np.ravel(low)[0]), float(np.ravel(high)[0])


def _without_table(without: tuple[float, float, float]) -> Table:
    return Table(
        title="Images that shadow models generate which never saw them",
        columns=("Share of all images",),
        rows=((with_interval(*without),),),
        note="95% CI: over pairs of shadow models.",
    )


def _sides(evidence: GeneratorTargetEvidence, flags: Bool[Array, " examples"]) -> Table:
    sides = (("training images", flags[evidence.members]), ("non-members", flags[~evidence.members]))
    return Table(
        title=f"Images found among {evidence.samples:,} generated ones",
        columns=("Images", "Number", "Found", "Share"),
        rows=tuple((name, len(of), int(of.sum()), with_interval(*share_of(of))) for name, of in sides),
        note="95% CIs: Clopper–Pearson.",
    )


def _why(evidence: GeneratorEvidence, flags: Bool[Array, " examples"]) -> Table:
    """Return how many of the extracted members are memorized, by shadow models with and without each of them."""
    inside, outside = (side > 0 for side in evidence.correct_by_pair)
    found = counterfactual_extraction(inside, outside)
    why = kinds(found, np.zeros(len(flags), int))
    counts = Counter(kind for kind, here in zip(why, flags & evidence.members, strict=True) if here)
    words = {
        Kind.MEMORIZED: "memorized: models trained on it generate it demonstrably more often",
        Kind.PREDICTABLE: "predictable: models that never saw it generate it at least half as often",
        Kind.UNRESOLVED: "unresolved: too few models to tell",
        Kind.NOT_EXTRACTED: "by this model alone",
    }
    rows: tuple[tuple[Cell, ...], ...] = tuple((text, counts[kind]) for kind, text in words.items())
    return Table(
        title="Why training images are generated",
        columns=("Extracted training image is …", "Images"),
        rows=rows,
        note=f"By {evidence.bank.shape[0]} pairs of shadow models. No correction for the number of images.",
    )


def _samples(evidence: GeneratorEvidence) -> Outcome:
    """Membership from generated images: what does somebody learn who sees the model's images and nothing else?

    The signal is the distance from an image to the nearest generated one, relative to that to its neighbours. The
    audit's main attack (SLiRA) compares it with the same distance in shadow models trained with and without the image.
    This is the weakest access to a generator: its published images. The other results (MIA001 to MIA007) use the
    model's own loss, if the recipe has one. The table shows both, by LiRA.

    The result is the true-positive rate (TPR) at the stated false-positive rate. See MIA005 for its interval and its
    threshold.

    Source: Chen et al. 2020 (CCS), "GAN-Leaks", full black-box attack, calibrated by shadow models instead of one
    reference model; Hilprecht et al. 2019, Monte Carlo attack. Losses: Matsumoto et al. 2023; Duan et al. 2023 (SecMI).
    """
    by = attack(DEFAULT.name, evidence.signal)
    found = evidence.scored_on(by, -evidence.nearest[:, None], evidence.near_pairs)
    findings: list[Finding] = []
    skipped: list[Skipped] = []
    nonmembers = int((~evidence.members).sum())
    for fpr in evidence.fprs:
        title = f"{_SAMPLES}, at {rate(fpr)} FPR"
        beside = found.unreachable(fpr) if fpr in evidence.resolved_fprs else None
        if fpr not in evidence.resolved_fprs or beside is not None:
            reason = unresolved(fpr, nonmembers) if beside is None else tied(fpr, beside)
            skipped.append(Skipped(code="GEN002", title=title, reason=reason))
            continue
        findings.append(_sampled(evidence, found, fpr, title, first=not findings))
    return tuple(findings), tuple(skipped)


def _sampled(evidence: GeneratorEvidence, found: Attacked, fpr: float, title: str, first: bool) -> Finding:
    tpr = evidence.rate(found, fpr)
    share = estimate(tpr.value, tpr.interval, "share", METHOD)
    wrong = share_of(found.flagged(fpr)[~evidence.members])
    return Finding(
        code="GEN002",
        title=title,
        metric="samples",
        attack=found.attack.name,
        at_fpr=fpr,
        estimate=share,
        sentence=(
            f"From {evidence.samples:,} generated images alone, an attacker identifies {percent(share.value)} of "
            f"members at a {rate(fpr)} false-positive rate (95% CI {between(share.low, share.high)}). Measured FPR on "
            f"this model: {percent(wrong[0])} ({between(*wrong[1:])})."
        ),
        n=tpr.trials,
        counted=f"training {evidence.unit}",
        source="Chen et al. 2020 (CCS), GAN-Leaks; calibrated by shadow models",
        tables=(_by_signal(evidence),) if first else (),
        notes=(f"Images that the model generated: {evidence.samples:,}. Measured FPR: {with_interval(*wrong)}.",),
    )


def _by_signal(evidence: GeneratorEvidence) -> Table:
    """Return what LiRA finds by each signal: AUC, and TPR at each rate."""
    signals = [("generated images alone: nearest", -evidence.nearest[:, None], evidence.near_pairs)]
    if evidence.levels:
        within, without = evidence.bank.block(slice(0, evidence.bank.shape[1]))
        signals += [
            (f"loss at level {name}", evidence.phi[:, [k]], PairArrays(within[..., [k]], without[..., [k]]))
            for k, name in enumerate(evidence.levels)
        ]
        if len(evidence.levels) > 1:
            signals.append(("loss at all levels", evidence.phi, PairArrays(within, without)))
    members, rows = evidence.members, []
    for name, target, pairs in signals:
        found = evidence.scored_on(Lira(), target, pairs)
        inside, outside = found.target[members], found.target[~members]
        area = auc(inside, outside), *auc_interval(inside, outside)
        rates = [_tpr(evidence, found, fpr) for fpr in evidence.resolved_fprs]
        rows.append((name, "{:.3f} ({:.3f}–{:.3f})".format(*area), *rates))
    columns = ("Signal", "AUC", *(f"TPR at {rate(fpr)} FPR" for fpr in evidence.resolved_fprs))
    return Table(
        title="What each signal of the model reveals, by LiRA",
        columns=columns,
        rows=tuple(rows),
        note=(
            "95% CIs. AUC: DeLong's interval, of this model. TPR: including the threshold and the variation between "
            "training runs."
        ),
    )


def _tpr(evidence: GeneratorEvidence, found: Attacked, fpr: float) -> str:
    if found.unreachable(fpr) is not None:
        return "not reached: scores are tied"
    tpr = evidence.rate(found, fpr)
    low, high = map(float, tpr.interval())
    return with_interval(tpr.value, low, high)


def _exposure(evidence: GeneratorTargetEvidence) -> Outcome:
    """Exposure of image canaries: how well can an attacker guess a pattern that was planted in a training image?

    A canary is an image with a random black-and-white pattern. Its exposure is the rank of its own pattern among other
    patterns on the same image, by the model's loss under the same noise (without a loss, by the distance to the nearest
    generated image),

        exposure = log₂(references + 1) − log₂(1 + number of references that the model fits at least as well).

    A canary that was never trained on has at most 1.443 bits on average, whatever the model prefers, because its
    pattern was drawn like the others. The result is the mean exposure of the canaries in this model's training set. Its
    interval is that of a mean over canaries, corrected for skewness (Hall). The table compares canaries that were not
    trained on, and shadow models.

    The check is refused if canaries outside the training set are exposed above chance: they are then no canaries.

    Source: Carlini et al. 2019, exposure; Hartley & Tsaftaris 2022 (arXiv 2202.08099), unique features of images.
    """
    if (reason := _unplanted(evidence)) is not None:
        return (), (Skipped(code="GEN003", title=_CANARIES, reason=reason),)
    planted = evidence.planted
    assert planted is not None
    bits, inside = _bits(planted)[0], planted.inside[0]
    most = float(np.log2(planted.references.shape[2] + 1))
    mean = estimate(
        float(bits[inside].mean()),
        partial(_mean_interval, bits[inside], most, float(np.log2(planted.forms))),
        "bits",
        "Hall's t over canaries",
    )
    finding = Finding(
        code="GEN003",
        title=_CANARIES,
        metric="image-exposure",
        estimate=mean,
        sentence=(
            f"A pattern planted in a training image has a mean exposure of {mean.value:.1f} bits (95% CI "
            f"{mean.low:.1f}–{mean.high:.1f}). A pattern that was never trained on has {NULL_MEAN_BITS:.2f} at most; "
            f"references can show {most:.1f}."
        ),
        blind=NULL_MEAN_BITS,
        n=int(inside.sum()),
        counted="canaries in the training set",
        source="Carlini et al. 2019; Hartley & Tsaftaris 2022",
        tables=(_canary_table(evidence, bits, inside),),
        notes=_at_end(bits[inside], most),
    )
    return (finding,), ()


def _mean_interval(
    bits: Float[Array, " canaries"], most: float, furthest: float, levels: Float[Array, " levels"]
) -> tuple[Array, Array]:
    """Return the interval of the mean; canaries that reach the most that can be shown may be exposed as far as any."""
    reached = np.where(bits >= most, furthest, bits)
    low = [float(mean_exposure(bits, float(level))[1]) for level in levels]
    high = [float(mean_exposure(reached, float(level))[2]) for level in levels]
    return np.array(low), np.minimum(np.maximum(high, reached.mean()), furthest)


def _at_end(bits: Float[Array, " canaries"], most: float) -> tuple[str, ...]:
    """Return how many canaries are exposed as far as can be shown."""
    count = int((bits >= most).sum())
    if not count:
        return ()
    return (
        f"{count} of {len(bits)} canaries reach the maximum and may be exposed further: "
        "the upper end of the interval allows for that. image_canaries(references=...) raises the maximum.",
    )


def _unplanted(evidence: GeneratorTargetEvidence) -> str | None:
    """Return why there is no exposure; None if there is."""
    planted = evidence.planted
    if planted is None:
        return "the recipe has no image canaries: GeneratorRecipe(planted=...)"
    if (count := int(planted.inside.sum())) < _LEAST_CANARIES:
        return f"{count} canaries are in the training set, and at least {_LEAST_CANARIES} are needed"
    outside = _bits(planted)[0][~planted.inside[0]]
    if len(outside) and float(fisher(outside)) < _ALARM:
        return (
            f"{len(outside)} canaries that were not trained on have a mean exposure of {outside.mean():.2f} bits, more "
            "than chance explains: patterns were not drawn like their references, or others of the examples have them"
        )
    return None


def _bits(planted: Planted) -> Float[Array, "models canaries"]:
    return sampled_exposure(planted.costs, planted.references).bits


def _canary_table(evidence: GeneratorTargetEvidence, bits: Array, inside: Array) -> Table:
    rows: list[tuple[Cell, ...]] = [_mean_row("this model, trained on", bits[inside])]
    if not inside.all():
        rows.append(_mean_row("this model, not trained on", bits[~inside]))
    if isinstance(evidence, GeneratorEvidence) and evidence.shadows_planted is not None:
        shadows = evidence.shadows_planted
        own = _bits(shadows)
        rows.append(_mean_row("shadow models, trained on", own[shadows.inside]))
        rows.append(_mean_row("shadow models, not trained on", own[~shadows.inside]))
    return Table(title="Mean exposure of canaries", columns=("Canaries", "Number", "Bits"), rows=tuple(rows))


def _mean_row(name: str, bits: Array) -> tuple[Cell, ...]:
    return name, len(bits), f"{bits.mean():.2f}" if len(bits) else "–"


generated_check = Check("GEN001", _EXTRACTED, "image-extraction", _extracted, GeneratorTargetEvidence)
samples_check = Check("GEN002", _SAMPLES, "samples", _samples, GeneratorEvidence)
image_canaries_check = Check("GEN003", _CANARIES, "image-exposure", _exposure, GeneratorTargetEvidence)

GENERATORS = (generated_check, samples_check, image_canaries_check)
