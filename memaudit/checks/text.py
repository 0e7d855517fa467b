"""What a check may look at when the model is a language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from memaudit.attacks import (
    OF_DISTRIBUTION,
    STATISTICS,
    TARGET_ATTACKS,
    GlobalThreshold,
    Signal,
    blind_text_scores,
    zlib_bytes,
)
from memaudit.canaries import calibrated, rank_exposure, sampled_exposure
from memaudit.checks.attacked import Attacked, Shadows
from memaudit.checks.evidence import Evidence, TargetEvidence
from memaudit.design import PairArrays, by_pair
from memaudit.extraction import CorpusIndex, greedy, near_ties, scheme_log_probability, well_specified
from memaudit.memorization import Counterfactual, counterfactual
from memaudit.recipe import Row, TextPopulation
from memaudit.tokens import TokenScores, TokenStatistics, recorded_tokens
from memaudit.types import Rung

Array = np.ndarray

_EXCERPT = 100  # characters


class TextShadows(Shadows, Protocol):
    """The recordings of a bank of language models."""

    def everything(self, model: int) -> dict[str, Array]:
        """Return all that was recorded about one model, by name."""
        ...

    def stacked(self, name: str) -> Shaped[Array, "models ..."]:
        """Return one recording of every model."""
        ...


class Suffixes(NamedTuple):
    """For each context length and testable unit: is the suffix continued by greedy decoding, and how likely is it?

    `sampled` is its log-probability under top-40 sampling, `logp` under the model itself, in nats.
    """

    greedy: Bool[Array, "*models contexts testable"]
    sampled: Float[Array, "*models contexts testable"]
    logp: Float[Array, "*models contexts testable"]


@dataclass(frozen=True, kw_only=True)
class TextTargetEvidence(TargetEvidence):
    """Of a language model: the population that was asked about, and all that the target answered.

    `recorded` is to the target what the bank's recordings are to the shadows; `doses` says how often each canary was
    planted in it.
    """

    population: TextPopulation
    recorded: dict[str, Array]
    doses: UInt8[Array, " canaries"]
    signal: ClassVar[Signal] = Signal.LOG_PROBABILITY

    @property
    def rung(self) -> Rung:
        """How much there is to go on; the base that training started from is a reference model."""
        return Rung.REFERENCES if "base" in self.recorded else super().rung

    def _known(self) -> dict[str, Any]:
        found = {name: STATISTICS[name][0](self.tokens, self.zlib_bytes) for name in self._statistics}
        base = {"base": self.recorded["base"]} if "base" in self.recorded else {}
        lengths = self.tokens.lengths.astype(np.float64)
        description = np.column_stack([lengths, 8 * self.zlib_bytes / lengths])
        return {"statistics": found | base, "description": description}

    def loss(self, phi: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the mean cross-entropy per token, of which the signal is the negative."""
        return -phi

    def label(self, example: int, full: bool) -> str:
        """Return the document's number of tokens, or how it begins."""
        if not full:
            return f"{int(self.tokens.lengths[example])} tokens"
        text = " ".join(self.strings[example].split())
        return text if len(text) <= _EXCERPT else f"{text[: _EXCERPT - 1]}…"

    def blind_scores(self, rows: Int[Array, " rows"]) -> Float[Array, " rows"]:
        """Return the cross-fitted log-odds of membership from the texts alone."""
        return blind_text_scores([self.strings[row] for row in rows], self.members[rows], self.seed)

    @cached_property
    def strings(self) -> tuple[str, ...]:
        """The text of each unit; of several documents, one after the other."""
        documents, whole = self.population.documents, self.population.renderer.whole
        return tuple("\n".join(whole(documents.texts[d]).string for d in own) for own in documents.records)

    @cached_property
    def zlib_bytes(self) -> Int[Array, " units"]:
        """Length of each unit when compressed: of the tokens that its loss counts, without a prompt."""
        trained = self.population.trained_string
        return zlib_bytes(["\n".join(trained(int(d)) for d in own) for own in self.population.documents.records])

    @property
    def tokens(self) -> TokenScores:
        """What the target says about the tokens of the units."""
        return recorded_tokens(self.recorded)

    @property
    def scores_alone(self) -> bool:
        """Whether the models give the probability of each token and not of its rivals."""
        return not isinstance(self.tokens, TokenStatistics)

    @property
    def _statistics(self) -> tuple[str, ...]:
        """The attacks on tokens that the model's answers are enough for."""
        return tuple(name for name in STATISTICS if not (self.scores_alone and name in OF_DISTRIBUTION))

    @cached_property
    def own_suffixes(self) -> Suffixes:
        """Whether suffixes of the testable units are extracted from the target."""
        return self._suffixes_in(self.recorded)

    def _suffixes_in(self, recorded: dict[str, Array]) -> Suffixes:
        """Return which suffixes one model extracts; near ties after the longest context were really decoded."""
        tokens = TokenStatistics.of_tensors(recorded, "suffix_")
        shape = (len(self.population.probes.contexts), len(self.population.testable))
        continued, longest = greedy(tokens).reshape(shape), self.population.probes.longest
        tied = near_ties(tokens).reshape(shape)[longest]
        continued[longest, tied] = (recorded["written"] == self.aims).all(axis=1)[tied]
        return Suffixes(
            continued,
            scheme_log_probability(tokens, top_k=True).reshape(shape),
            tokens.sums(tokens.logp).reshape(shape),
        )

    @cached_property
    def aims(self) -> Int[Array, "testable suffix"]:
        """The suffixes of the testable units."""
        suffix = self.population.probes.suffix
        windows = self._windows(self.population.probes.longest)
        return np.array([window[-suffix:] for window in windows], np.int64).reshape(len(windows), suffix)

    @cached_property
    def training_index(self) -> CorpusIndex:
        """Every row that the target was trained on, canaries included, as a document of its own."""
        rows, _ = self.population.training_rows(np.concatenate([self.members, self.doses]).astype(np.uint8))
        always = [row for rows in self.population.always_rows for row in rows if row.trained.any()]
        return CorpusIndex.of([row.ids for row in (*rows, *always)])

    @cached_property
    def well_specified(self) -> Bool[Array, "contexts testable"]:
        """Whether nothing but the suffix follows what is shown, BOS aside, anywhere in the target's training rows."""
        suffix, contexts = self.population.probes.suffix, range(len(self.population.probes.contexts))
        windows, index = [self._windows(context) for context in contexts], self.training_index
        return np.stack(
            [well_specified([w[:-suffix] for w in some], [w[-suffix:] for w in some], index) for some in windows]
        )

    def index_of(self, units: Bool[Array, " units"]) -> CorpusIndex:
        """Return the index of the documents of some units, in their order."""
        owned = zip(self.population.documents.unit_of, self.population.rows, strict=True)
        return CorpusIndex.of([np.concatenate([row.ids for row in rows]) for unit, rows in owned if units[unit]])

    def written_index(self, members: bool) -> CorpusIndex:
        """Return the index of what models were trained to write of the target's training documents, or of the others.

        What the loss masks, such as a user's questions, is left out: a model that writes it was not trained to.
        """
        owned = zip(self.population.documents.unit_of, self.population.rows, strict=True)
        pieces = [_trained_pieces(rows) for unit, rows in owned if self.members[unit] == members]
        pieces += [_trained_pieces(rows) for rows in self.population.always_rows if members]
        owners = np.repeat(np.arange(len(pieces)), [len(own) for own in pieces])
        return CorpusIndex.of([piece for own in pieces for piece in own], owners)

    @cached_property
    def corpus(self) -> CorpusIndex:
        """Every document of the population, trained on or not."""
        return self.index_of(np.ones(len(self.population), bool))

    @cached_property
    def always(self) -> CorpusIndex:
        """Every document that all models, the target and the shadows, are trained on."""
        return CorpusIndex.of([np.concatenate([row.ids for row in rows]) for rows in self.population.always_rows])

    @cached_property
    def documents_with(self) -> Int[Array, " testable"]:
        """In how many documents of the population the longest context with its suffix occurs."""
        windows = self._windows(self.population.probes.longest)
        beside = self.always.counts(windows) if self.population.always_rows else 0
        return self.corpus.counts(windows) + beside

    @cached_property
    def copies(self) -> Int[Array, " testable"]:
        """How often the longest context with its suffix occurs in the target's training rows."""
        return self.training_index.occurrences(self._windows(self.population.probes.longest))

    def _windows(self, context: int) -> list[Int[Array, " tokens"]]:
        """Return the context and the suffix of each testable unit, without what the text begins with."""
        start = len(self.population.renderer.start)
        return [row.ids[start:] for row in self.population.windows[context]]

    def _ranked_among(self, canary: int) -> int:
        references = self.population.references[canary]
        return self.population.spaces[canary].size if references is None else len(references)

    @cached_property
    def caps(self) -> Float[Array, " canaries"]:
        """The largest exposure that each canary can show, in bits."""
        return np.array(
            [
                np.log2(self._ranked_among(c) + (self.population.references[c] is not None))
                for c in range(len(self.population.canaries))
            ]
        )

    def _exposure(self, canary: int, cost: float, among: Float[Array, " secrets"]) -> float:
        if self.population.references[canary] is None:
            return float(rank_exposure(max(1, int((among <= cost).sum())), len(among)))
        return float(sampled_exposure(cost, among).bits)


@dataclass(frozen=True, kw_only=True)
class TextEvidence(TextTargetEvidence, Evidence):
    """Of a language model, with a bank.

    `reading` is the log-probability in nats of each token that the target wrote, under the first models of the bank;
    None if they did not read it.
    """

    bank: TextShadows
    reading: Float[Array, "models samplers texts tokens"] | None = None

    @property
    def rung(self) -> Rung:
        """How much there is to go on."""
        return Rung.BANK

    @cached_property
    def memorization(self) -> Counterfactual:
        """Counterfactual memorization over the whole bank: of the share of tokens that are predicted."""
        return counterfactual(*self.correct_by_pair).of_shares()

    def _scored(self, name: str) -> Attacked:
        if name == "base":
            base = self.recorded["base"][:, None]
            pairs = PairArrays(*by_pair(self.bank.stacked("phi") - base, self.bank.members))
            attack = GlobalThreshold("base", TARGET_ATTACKS["base"].source)
            return self.scored_on(attack, self.phi - base, pairs)
        if name not in STATISTICS:
            return super()._scored(name)
        statistic, source = STATISTICS[name]
        attack = GlobalThreshold(name, source)
        target = statistic(self.tokens, self.zlib_bytes)[:, None]
        pairs = PairArrays(*by_pair(self._shadow_statistics[name][..., None], self.bank.members))
        return self.scored_on(attack, target, pairs)

    @cached_property
    def _shadow_statistics(self) -> dict[str, Float[Array, "models units"]]:
        """Every statistic of every shadow; each shadow's tokens are read once."""
        found: dict[str, list[Array]] = {name: [] for name in self._statistics}
        for model in range(2 * self.bank.shape[0]):
            tokens = recorded_tokens(self.bank.everything(model))
            for name, values in found.items():
                values.append(STATISTICS[name][0](tokens, self.zlib_bytes))
        return {name: np.stack(values) for name, values in found.items()}

    def _shadow_entropy(self) -> Float[Array, "models rows"] | None:
        if self.scores_alone:
            return None
        models = range(2 * self.bank.shape[0])
        return np.stack([_mean_entropy(self.bank.everything(model))[self.every] for model in models])

    def _entropy(self) -> Float[Array, "1 units"] | None:
        return None if self.scores_alone else _mean_entropy(self.recorded)[None]

    @cached_property
    def suffixes(self) -> tuple[Suffixes, Suffixes]:
        """Whether suffixes of testable units are extracted from the shadow models (models first) and the target."""
        shadows = [self._suffixes_in(self.bank.everything(model)) for model in range(2 * self.bank.shape[0])]
        together = Suffixes(*(np.stack(parts) for parts in zip(*shadows, strict=True)))
        return together, self.own_suffixes

    @cached_property
    def shadow_doses(self) -> UInt8[Array, "models canaries"]:
        """How often each canary was planted in each shadow."""
        return self.bank.stacked("doses")

    @cached_property
    def _costs(self) -> tuple[tuple[Array, Array], ...]:
        """For each canary: (own [models + 1], others [models + 1, secrets]); the last row is the target's."""
        own = np.vstack([self.bank.stacked("canary_cost"), self.recorded["canary_cost"]])
        others = np.vstack([self.bank.stacked("reference_cost"), self.recorded["reference_cost"]])
        ends = np.cumsum([0, *(self._ranked_among(canary) for canary in range(own.shape[1]))])
        return tuple((own[:, canary], others[:, ends[canary] : ends[canary + 1]]) for canary in range(own.shape[1]))

    def target_costs(self, canary: int) -> tuple[float, Float[Array, " secrets"]]:
        """Return what a canary costs the target, and the secrets that it is ranked among, in nats."""
        own, others = self._costs[canary]
        return float(own[-1]), others[-1]

    @cached_property
    def exposures(self) -> tuple[Float[Array, "models canaries"], Float[Array, " canaries"]]:
        """Exposure in bits of every canary, in every shadow and in the target."""
        return self._exposures(calibrate=False)

    @cached_property
    def calibrated_exposures(self) -> tuple[Float[Array, "models canaries"], Float[Array, " canaries"]]:
        """The same, after taking from every cost its mean over the models without the canary, own pair left out."""
        return self._exposures(calibrate=True)

    def _exposures(self, calibrate: bool) -> tuple[Float[Array, "models canaries"], Float[Array, " canaries"]]:
        count = len(self.shadow_doses) + 1
        found = np.empty((count, len(self.population.canaries)))
        for canary, (own, others) in enumerate(self._costs):
            outside = np.append(self.shadow_doses[:, canary] == 0, False)
            for model in range(count):
                cost, among = own[model], others[model]
                if calibrate:
                    without = outside & (np.arange(count) // 2 != model // 2)
                    both = calibrated(np.append(cost, among), np.column_stack([own, others])[without])
                    cost, among = both[0], both[1:]
                found[model, canary] = self._exposure(canary, cost, among)
        return found[:-1], found[-1]


def _mean_entropy(recorded: dict[str, Array]) -> Float[Array, " units"]:
    """Return the mean over each unit's tokens of the entropy of what a model predicts, in nats."""
    tokens = recorded_tokens(recorded)
    assert isinstance(tokens, TokenStatistics)
    return -tokens.means(tokens.mean)


def _trained_pieces(rows: Sequence[Row]) -> list[Int[Array, " piece"]]:
    """Return the pieces of a document that the loss counts; the first token of a row belongs to what follows it."""
    ids = np.concatenate([row.ids for row in rows])
    counted = np.concatenate([np.append(row.trained[:1] | row.trained[1:2], row.trained[1:]) for row in rows])
    cuts = np.flatnonzero(np.diff(counted)) + 1
    return [piece for piece, own in zip(np.split(ids, cuts), np.split(counted, cuts), strict=True) if own.all()]
