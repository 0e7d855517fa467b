"""MEM004: which free score finds the memorized examples, and those that an attack finds?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from memaudit.checks.classifier import ClassifierEvidence
from memaudit.checks.evidence import Check, Evidence, Outcome, estimate
from memaudit.checks.generator import GeneratorEvidence
from memaudit.checks.link import flag_with, link_rate
from memaudit.checks.proxies_shown import Shown, figure, notes, sentence, tables
from memaudit.checks.tasks import RegressionEvidence
from memaudit.design import EveryNth, by_pair, step_of
from memaudit.memorization import Observations
from memaudit.memorization.proxies import Data, Of, Others, Proxy, all_proxies
from memaudit.memorization.proxies.agreement import (
    Agreement,
    Source,
    Statistic,
    Truth,
    agreements,
    of_fixed,
    of_mean,
    of_others,
    of_runs,
)
from memaudit.types import Finding, Skipped

Array = np.ndarray

_CODE, _TITLE = "MEM004", "Free scores that find memorized examples"
_LEAST_PAIRS = 4
_CEILING = Proxy(
    name="memorization",
    title="Memorization itself, from the other half of the models",
    formula="",
    source="MEM001, MEM002",
    score=lambda gain: gain,
    of=Of.OTHERS,
)
_MOST_FEATURES = 4_096  # of larger inputs every nth number is looked at


def _proxies(evidence: Evidence) -> Outcome:
    """Proxies: which score that costs nothing finds the memorized examples in this setting?

    A proxy is a number per example that is cheaper than memorization, such as its mean loss over training. Published
    proxies agree with memorization on some models and not on others. This check measures the agreement here.

    Scores from one training run are those of the audited model, if its trainer recorded them
    (`save_target(..., observed=...)`), otherwise of single shadow models. Where no shadow model was observed while it
    trained, what trained models say is compared: their loss and confidence, the audited model's own. The result is
    Spearman's rank correlation
    with memorization (MEM001) of the score that agrees best, −1 to 1. Its interval allows for choosing the best one of
    so many (Bonferroni). The tables show every score: Spearman, Pearson, Pearson corrected for the noise of
    memorization, the rank correlation within the tenth that is memorized most, and the AUROC for members that LiRA
    finds at the stated false-positive rate.

    Memorization and the attack come from one half of the pairs of models, scores of shadow models from the other half,
    both ways round: on the same models, noise alone would correlate the two. Intervals are over pairs of models and
    over examples. Noise in memorization biases all but the corrected correlation towards 0. No correction is made if
    less than half of the variance of memorization is signal. The blind value is that of the best score from the data
    alone.

    A proxy cannot work where the model does not fit its training set: examples that are never learned have the highest
    loss, and no memorization. The share of the members that are fitted is therefore stated. Agreement is not
    equivalence: no proxy replaces memorization or an attack.

    Source: each score names its own; Spearman 1904 for the correction for attenuation; Efron & Stein 1981 for the
    jackknife.
    """
    if (reason := _lacking(evidence)) is not None:
        return (), (Skipped(code=_CODE, title=_TITLE, reason=reason),)
    observed = evidence.at_end if evidence.observed is None else evidence.observed
    seen = evidence.own_end if evidence.seen is None and observed.course is None else evidence.seen
    fpr, truth = link_rate(evidence), _truth(evidence)
    material = _Material(evidence, observed, seen)
    skipped = [
        Skipped(code=_CODE, title=proxy.title, reason="the score is not finite, or has another size")
        for proxy in material.broken
    ]
    single = _agreed(truth, *material.single())
    if not single:
        reason = "nothing was recorded that a score needs"
        return (), (Skipped(code=_CODE, title=_TITLE, reason=reason), *skipped)
    mean = _agreed(truth, *material.mean())
    others = _agreed(truth, *material.others(truth))
    blind = _agreed(truth, *material.blind())
    rate = fpr if truth.found.any() else None
    shown = Shown(single, mean, others, blind, rate, observed, seen, evidence.observed is not None, _memorized(truth))
    best = shown.best
    found = estimate(
        float(best.value[Statistic.SPEARMAN]),
        lambda levels: best.interval(Statistic.SPEARMAN, shown.for_all(levels)),
        "correlation",
        "jackknife over pairs of models and examples, Fisher z, Bonferroni over the scores",
    )
    finding = Finding(
        code=_CODE,
        title=_TITLE,
        metric="proxy",
        estimate=found,
        sentence=sentence(shown, found),
        blind=max((float(a.value[Statistic.SPEARMAN]) for a in blind.values()), default=None),
        n=truth.gain.shape[1],
        counted=f"examples in {len(observed.members)} shadow models",
        source="each score names its own; compared across models, Spearman 1904, Efron & Stein 1981",
        figures=(figure(shown),),
        tables=tables(shown),
        notes=notes(shown, material.missing),
    )
    return (finding,), tuple(skipped)


proxies_check = Check(_CODE, _TITLE, "proxy", _proxies)


def _lacking(evidence: Evidence) -> str | None:
    """Return why proxies cannot be compared; None if they can."""
    if isinstance(evidence, GeneratorEvidence):
        return "generators are not observed while they train"
    if evidence.matched is not None:
        return "it needs shadow models that are complementary pairs"
    if evidence.bank.shape[0] < _LEAST_PAIRS:
        return f"it needs at least {2 * _LEAST_PAIRS} shadow models"
    return None


def _truth(evidence: Evidence) -> Truth:
    """Return memorization and finds pair by pair; the attack of each half knows nothing of the other."""
    inside, outside = (side[:, evidence.every] for side in evidence.correct_by_pair)
    found, fpr = np.zeros(inside.shape, bool), link_rate(evidence)
    pairs = np.arange(len(inside))
    bank = EveryNth(evidence.bank, step_of(evidence.bank.shape[1]))
    if fpr is not None and len(pairs) >= 2 * _LEAST_PAIRS:  # thresholds and references come from a half
        for half in (pairs[0::2], pairs[1::2]):
            found[half], _ = flag_with(bank, half, fpr)
    return Truth(inside.astype(np.float32) - outside.astype(np.float32), found)


def _memorized(truth: Truth) -> float:
    return float((truth.gain.mean(axis=0, dtype=np.float64) >= 0.5).mean())


def _agreed(truth: Truth, proxies: Sequence[Proxy], source: Source | None) -> dict[Proxy, Agreement]:
    return {} if source is None else dict(zip(proxies, agreements(truth, source), strict=True))


@dataclass
class _Material:
    """Every proxy's scores, by what they come from."""

    evidence: Evidence
    observed: Observations
    seen: Observations | None

    def __post_init__(self) -> None:
        every, self.broken, self.missing = all_proxies(), list[Proxy](), list[Proxy]()
        seen = self.seen
        self._scores = dict(self._usable(every, Of.RUN, self.observed, self._inside))
        self._own = None if seen is None else dict(self._usable(every, Of.RUN, seen))
        self._others = self._outside()
        self._of_others = dict(self._usable(every, Of.OTHERS, self._others))
        self._of_data = dict(self._usable(every, Of.DATA, self._data()))

    def _inside(self, score: Float[Array, "models examples"]) -> Float[Array, "pairs examples"]:
        """Return a score from the model of each pair that has the example."""
        return by_pair(score.astype(np.float32), self.observed.members)[0]

    def _usable(
        self, every: Sequence[Proxy], of: Of, material: Any, kept: Callable[[Array], Array] = np.asarray
    ) -> Iterator[tuple[Proxy, Array]]:
        """Yield the proxies of a kind with their scores; remembers those that need more, and those that are broken."""
        shape = material.members.shape if of is Of.RUN else (len(self.evidence.every),)
        for proxy in (proxy for proxy in every if proxy.of is of):
            if proxy.lacks(material):
                self.missing.append(proxy)
                continue
            score = np.asarray(proxy.score(material))
            if score.shape == shape and np.isfinite(score).all():
                yield proxy, kept(score)
            else:
                self.broken.append(proxy)

    def single(self) -> tuple[list[Proxy], Source | None]:
        """Return what one training run says: the target's, if it was observed; otherwise a shadow model's."""
        if self._own is not None:
            proxies = [proxy for proxy in self._own if proxy in self._scores]
            every = self.evidence.every
            scores = [self._own[proxy][0, every] for proxy in proxies]
            return proxies, of_fixed(np.stack(scores), self.evidence.members[every]) if scores else None
        return self._of_bank(partial(of_runs, first_inside=self.observed.members[0::2] > 0))

    def mean(self) -> tuple[list[Proxy], Source | None]:
        """Return the mean over the training runs of half of the pairs."""
        return self._of_bank(of_mean)

    def _of_bank(self, source: Callable[[Array], Source]) -> tuple[list[Proxy], Source | None]:
        return list(self._scores), source(np.stack(list(self._scores.values()))) if self._scores else None

    def others(self, truth: Truth) -> tuple[list[Proxy], Source]:
        """Return what models without the example say, of half of the pairs, and the ceiling: memorization itself."""
        scores: list[Callable[[Array], Array]] = [partial(self._of_pairs, proxy) for proxy in self._of_others]
        scores.append(lambda pairs: truth.gain[pairs].mean(axis=0, dtype=np.float64))
        return [*self._of_others, _CEILING], of_others(scores, len(self.evidence.every))

    def _of_pairs(self, proxy: Proxy, pairs: Int[Array, " some"]) -> Float[Array, " examples"]:
        others = self._others
        part = Others(log_probability=others.log_probability[pairs], correct=others.correct[pairs], prior=others.prior)
        return np.asarray(proxy.score(part))

    def blind(self) -> tuple[list[Proxy], Source | None]:
        """Return what the data alone say."""
        proxies = list(self._of_data)
        everyone = np.ones(len(self.evidence.every), bool)
        return proxies, of_fixed(np.stack(list(self._of_data.values())), everyone) if proxies else None

    def _outside(self) -> Others:
        evidence = self.evidence
        bank = EveryNth(evidence.bank, step_of(evidence.bank.shape[1]))
        _, phi = bank.block(slice(0, bank.shape[1]))
        return Others(
            log_probability=-evidence.loss(phi.mean(axis=2, dtype=np.float64)),
            correct=evidence.correct_by_pair[1][:, evidence.every],
            prior=_prior(evidence),
        )

    def _data(self) -> Data:
        evidence = self.evidence
        if not isinstance(evidence, ClassifierEvidence) or not evidence.has_inputs or evidence.texts is not None:
            return Data()
        x = evidence.x[evidence.every]
        x = x.reshape(len(x), -1)
        x = x[:, :: -(-x.shape[1] // _MOST_FEATURES)].astype(np.float32)
        y = evidence.y[evidence.every]
        return Data(x=x, y=y if _has_classes(evidence) else None)


def _has_classes(evidence: ClassifierEvidence) -> bool:
    """Return whether every example has one of several classes."""
    return not isinstance(evidence, RegressionEvidence) and evidence.y.ndim == 1 and evidence.has_labels


def _prior(evidence: Evidence) -> Float[Array, " examples"] | None:
    if not isinstance(evidence, ClassifierEvidence) or not _has_classes(evidence):
        return None
    return (np.bincount(evidence.y) / len(evidence.y))[evidence.y[evidence.every]]
