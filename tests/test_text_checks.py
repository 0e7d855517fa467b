"""The checks on language models, on recordings whose truth is known because they were made up."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pytest
from loading import RECIPES, unregistered

from memaudit.canaries import P_EXPOSED_BITS
from memaudit.canaries.doses import doses, target_doses
from memaudit.checks import TextEvidence, percent
from memaudit.checks.continued import doubling
from memaudit.checks.counterfactual import counterfactual_check, epoch_check
from memaudit.checks.discoverable import discoverable_check
from memaudit.checks.exposure import canary_null, detection_check, exposure_check
from memaudit.checks.extraction_link import extraction_link_check
from memaudit.checks.membership import language_check
from memaudit.checks.own_secrets import own_secrets_check
from memaudit.checks.probabilistic import probabilistic_check
from memaudit.checks.search import search_check
from memaudit.design import by_pair, halves, target_half
from memaudit.recipe import Documents, Probes, Rendering, TextPopulation
from memaudit.tokens import TokenStatistics
from memaudit.types import Limit, Table

Array = np.ndarray

MODELS, SUFFIX, CONTEXTS = 24, 4, (2, 4, 8)


@pytest.fixture(scope="module")
def population() -> TextPopulation:
    module = unregistered(RECIPES / "language.py")
    documents = Documents([f"{text} {n}" for n, text in enumerate(module.documents().texts * 2)], similarity=None)
    probes = Probes(canaries=24, references=500, suffix=SUFFIX, contexts=CONTEXTS, secrets=10, decoys=200, watched=40)
    return TextPopulation(documents, Rendering(module.tokenizer, context=128), probes)


def of_texts(population: TextPopulation, texts: Sequence[str], ids: Sequence[str] | None = None) -> TextPopulation:
    """Returns a population of other texts, with few canaries; with ids, equal texts are one unit."""
    documents = Documents(texts, ids, similarity=None if ids is None else 0.99)
    return TextPopulation(documents, population.renderer.rendering, replace(population.probes, canaries=1))


@dataclass(frozen=True)
class Made:
    """Recordings in memory."""

    members: Array
    tensors: tuple[dict[str, Array], ...]

    @cached_property
    def correct(self) -> Array:
        return self.stacked("correct")

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.members) // 2, self.members.shape[1], 1

    def block(self, examples: slice) -> tuple[Array, Array]:
        return by_pair(self.stacked("phi")[:, examples], self.members[:, examples])

    def take(self, pairs: Array) -> "Made":
        models = [m for t in pairs for m in (2 * t, 2 * t + 1)]
        return Made(self.members[models], tuple(self.tensors[m] for m in models))

    def everything(self, model: int) -> dict[str, Array]:
        return self.tensors[model]

    def stacked(self, name: str) -> Array:
        return np.stack([one[name] for one in self.tensors])


def tokens_of(logp: Array, starts: Array, greedy: Array | None = None) -> TokenStatistics:
    ones = np.ones(len(logp), np.float32)
    gap = ones if greedy is None else np.where(greedy, 1, -1).astype(np.float32)
    return TokenStatistics(starts, logp.astype(np.float32), -2 * ones, ones, gap, np.where(gap > 0, 0, 1), -0.1 * ones)


def aims_of(population: TextPopulation) -> Array:
    """Returns the suffixes of the testable units."""
    return np.array([row.ids[-population.probes.suffix :] for row in population.windows[-1]])


@dataclass(frozen=True)
class World:
    """How much training changes: nats a token for members, nats for each canary and log2(1 + dose), and so on."""

    gain: float = 0.0
    per_dose: float = 0.0
    prior: float = 0.0  # how far secrets differ in cost for reasons that no training has to do with
    secret_gain: float = 0.0
    continued_inside: float = 0.0  # chance that a suffix is continued in models with the text, and without
    continued_outside: float = 0.0
    accuracy_gain: float = 0.0
    needed: int = 4  # a canary that is planted more often is found by a search

    def answers(
        self, population: TextPopulation, members: Array, dose: Array, rng: np.random.Generator
    ) -> dict[str, Array]:
        shared = np.random.default_rng(99)  # what all models agree on
        lengths = np.array([sum(int(row.trained.sum()) for row in rows) for rows in population.representatives])
        starts = np.concatenate([[0], np.cumsum(lengths)])
        difficulty = shared.normal(-3, 0.5, len(lengths))
        mean = difficulty + self.gain * members + rng.normal(0, 0.1, len(lengths))
        logp = np.repeat(mean, lengths) + rng.normal(0, 0.01, starts[-1])
        hits = rng.random(len(lengths)) < np.where(members, self.continued_inside, self.continued_outside)
        testable, length = population.testable, population.probes.suffix
        suffixes = np.tile(hits[testable], len(CONTEXTS))
        suffix_logp = rng.normal(-1, 0.1, len(suffixes) * length) + np.repeat(
            np.tile(members[testable], len(CONTEXTS)), length
        )
        own, others = [], []
        for canary, times in enumerate(dose):
            base = self.prior * shared.normal(size=501) + rng.normal(0, 1, 501)
            own.append(base[0] - self.per_dose * np.log2(1.0 + times))
            others.append(base[1:])
            assert canary < len(population.canaries)
        secrets = np.stack(
            [
                shared.normal(size=201)
                + rng.normal(0, 0.3, 201)
                - self.secret_gain * members[probe.units].any() * (np.arange(201) == 0)
                for probe in population.secrets
            ]
        )
        watched = population.watched
        accuracy = np.stack(
            [
                0.3 + 0.1 * epoch * self.accuracy_gain * members[watched] + rng.normal(0, 0.01, len(watched))
                for epoch in (1, 2)
            ]
        )
        return {
            "phi": mean[:, None],
            "correct": 0.3 + self.accuracy_gain * members + rng.normal(0, 0.02, len(lengths)),
            **tokens_of(logp, starts).tensors("token_"),
            **tokens_of(suffix_logp, np.arange(len(suffixes) + 1) * length, np.repeat(suffixes, length)).tensors(
                "suffix_"
            ),
            "canary_cost": np.array(own),
            "reference_cost": np.concatenate(others),
            "secret_cost": secrets,
            "epoch_accuracy": accuracy,
            "epoch_age": rng.integers(0, 20, (2, len(watched))),
            "written": np.where(hits[testable, None], aims_of(population), 0),
            "search_first": dose > self.needed,
        }

    def evidence(self, population: TextPopulation, seed: int = 0) -> TextEvidence:
        rng = np.random.default_rng(seed)
        members = halves(seed, MODELS, len(population))
        dose = [doses(seed, m, len(population.canaries)) for m in range(MODELS)]
        tensors = tuple(
            self.answers(population, members[m] > 0, dose[m], rng) | {"doses": dose[m]} for m in range(MODELS)
        )
        own, planted = target_half(seed + 1, len(population)) > 0, target_doses(seed + 1, len(population.canaries))
        recorded = self.answers(population, own, planted, rng)
        recorded |= {
            "search_found": np.ones(len(planted), bool),
            "search_rank": np.where(recorded["search_first"], 1, 40),
            "search_queries": np.full(len(planted), 30),
        }
        return TextEvidence(
            bank=Made(members, tensors),
            phi=recorded["phi"],
            correct=recorded["correct"],
            members=own,
            population=population,
            recorded=recorded,
            doses=planted,
            fprs=(0.05,),
            attacks=("reference", "zlib", "min-k", "min-k++"),
            seed=seed,
        )


def test_canaries_that_change_nothing_have_the_null_exposure(population: TextPopulation) -> None:
    evidence = World().evidence(population)
    for finding in exposure_check.run(evidence)[0]:
        assert finding.estimate.low <= 1.443 <= finding.estimate.high
    # Mean 1.44 bits, deviation at most 1.44 over 24 independent canaries in the target: 4.5 errors, false alarm < 1e-5.
    assert abs(evidence.exposures[1].mean() - 1.443) < 4.5 * 1.443 / np.sqrt(24)
    assert canary_null.run(evidence).passed


def test_the_control_sees_secrets_that_leak_without_being_planted(population: TextPopulation) -> None:
    """Every canary is 3 deviations likelier than its references in all models, planted or not."""
    evidence = World().evidence(population)
    bank = evidence.bank
    assert isinstance(bank, Made)
    tensors = tuple(one | {"canary_cost": one["canary_cost"] - 3} for one in bank.tensors)
    failed = canary_null.run(replace(evidence, bank=replace(bank, tensors=tensors)))
    assert (failed.passed, failed.overstates) == (False, ("exposure", "canaries", "planted-exposure"))


def test_exposure_rises_with_the_dose_and_calibration_takes_out_the_prior(population: TextPopulation) -> None:
    evidence = World(per_dose=1.0, prior=3.0).evidence(population)
    (finding, _), _ = exposure_check.run(evidence)
    high = evidence.shadow_doses >= 8
    raw, calibrated = evidence.exposures[0][high].mean(), evidence.calibrated_exposures[0][high].mean()
    assert calibrated > raw + 1, "the prior hides the canaries from raw exposure"
    shares = dict(
        zip((row[0] for row in finding.tables[0].rows), (row[3] for row in finding.tables[0].rows), strict=True)
    )
    assert float(str(shares[16]).split()[0]) > float(str(shares[0]).split()[0]) + 3
    assert (finding.metric, finding.attack) == ("exposure", "calibrated")


def few(evidence: TextEvidence, pairs: int) -> TextEvidence:
    """Returns the evidence of the first pairs of the bank alone."""
    assert isinstance(evidence.bank, Made)
    return replace(evidence, bank=evidence.bank.take(np.arange(pairs)))


def test_raw_and_calibrated_exposure_stand_side_by_side_and_a_limit_covers_both(
    population: TextPopulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a prior there is nothing to take out, and the noise of about three models hides the canaries."""
    monkeypatch.setattr("memaudit.checks.exposure.of_target_table", lambda _: Table(title="", columns=(), rows=()))
    findings, _ = exposure_check.run(few(World(per_dose=1.5).evidence(population), 4))
    assert [finding.attack for finding in findings] == ["calibrated", "raw"]
    calibrated, raw = (finding.estimate for finding in findings)
    assert raw.value > calibrated.value
    for finding in findings:
        for estimate in (raw, calibrated):
            assert f"{estimate.value:.1f} bits" in finding.sentence
            assert f"{estimate.low:.1f}–{estimate.high:.1f}" in finding.sentence
        assert any("without `attack` covers raw and calibrated exposure" in note for note in finding.notes)
        assert Limit(metric="exposure", max=2).covers(finding)
        assert Limit(metric="exposure", max=2, attack=finding.attack).covers(finding)
    assert not Limit(metric="exposure", max=2, attack="raw").covers(findings[0])


def test_the_upper_end_knows_that_a_sample_cannot_show_all_of_an_exposure(
    population: TextPopulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 references show 8.97 bits of the 13.29 that four digits have; canaries far ahead of all may have them."""
    monkeypatch.setattr("memaudit.checks.exposure.of_target_table", lambda _: Table(title="", columns=(), rows=()))
    sampled = World(per_dose=20.0).evidence(population)
    assert all(space.size == 10_000 for space in population.spaces)
    for finding in exposure_check.run(sampled)[0]:
        assert finding.estimate.value <= np.log2(501)
        assert finding.estimate.high == pytest.approx(np.log2(10_000))
        assert any("may be exposed further" in note for note in finding.notes)
    for finding in exposure_check.run(World().evidence(population))[0]:
        assert finding.estimate.high < np.log2(501)


def test_own_pair_is_left_out_of_the_calibration(population: TextPopulation) -> None:
    """A model's own cost must not stand in the mean that is taken from it: compared with an explicit loop."""
    evidence = World(per_dose=0.5, prior=1.0).evidence(population)
    own = np.stack([one["canary_cost"] for one in evidence.bank.tensors])  # type: ignore[attr-defined]
    others = np.stack([one["reference_cost"] for one in evidence.bank.tensors]).reshape(MODELS, 24, 500)  # type: ignore[attr-defined]
    for model, canary in ((0, 3), (5, 7), (13, 0)):
        without = [m for m in range(MODELS) if evidence.shadow_doses[m, canary] == 0 and m // 2 != model // 2]
        cost = own[model, canary] - own[without, canary].mean()
        among = others[model, canary] - others[without, canary].mean(axis=0)
        expected = -np.log2((1 + (among <= cost).sum()) / 501)
        assert evidence.calibrated_exposures[0][model, canary] == pytest.approx(expected)


def test_planted_canaries_are_detected_at_the_stated_rate(population: TextPopulation) -> None:
    findings, _ = detection_check.run(World(per_dose=4.0).evidence(population))
    assert [finding.attack for finding in findings] == ["calibrated", "raw"]
    assert all(finding.estimate.value > 0.8 for finding in findings)
    evidence = World().evidence(population, seed=3)
    flagged = evidence.calibrated_exposures[0] >= P_EXPOSED_BITS
    # 24 canaries × 24 models, of which the canaries' costs are drawn anew in every model: 576 draws at 1 %.
    assert flagged.sum() <= 18, "binomial, P[> 18] < 1e-4"


def test_own_secrets_are_shown_by_kind_and_never_by_value(population: TextPopulation) -> None:
    (finding,), _ = own_secrets_check.run(World(secret_gain=6.0).evidence(population))
    assert finding.estimate.value > 0.7
    assert finding.blind is not None
    assert finding.blind < 0.3
    for probe in population.secrets:
        assert probe.found.value not in str(finding)
    (finding,), _ = own_secrets_check.run(World().evidence(population))
    assert finding.estimate.low < 0.3


@pytest.mark.parametrize(("decoys", "told"), [(20, False), (98, False), (99, True)])
def test_own_secrets_need_as_many_decoys_as_the_threshold_asks_for(
    population: TextPopulation, decoys: int, told: bool
) -> None:
    """Of 99 decoys and the secret itself, one in a hundred is the likeliest: 6.64 bits. Fewer never show them."""
    other = TextPopulation(
        population.documents, population.renderer.rendering, replace(population.probes, decoys=decoys)
    )
    evidence = World(secret_gain=6.0).evidence(population)
    assert isinstance(evidence.bank, Made)

    def cut(recorded: dict[str, Array]) -> dict[str, Array]:
        return recorded | {"secret_cost": recorded["secret_cost"][:, : decoys + 1]}

    bank = replace(evidence.bank, tensors=tuple(map(cut, evidence.bank.tensors)))
    findings, skipped = own_secrets_check.run(
        replace(evidence, population=other, bank=bank, recorded=cut(evidence.recorded))
    )
    assert len(findings) == told
    if not told:
        assert f"{decoys} decoys can show at most" in skipped[0].reason
        assert "Probes(decoys=99)" in skipped[0].reason


def test_members_stand_out_by_every_language_score(population: TextPopulation) -> None:
    findings, _ = language_check.run(World(gain=2.0).evidence(population))
    found = {finding.attack: finding.estimate.value for finding in findings}
    assert found.keys() == {"reference", "zlib", "min-k", "min-k++"}
    assert found["reference"] > 0.95, "20 deviations apart"
    findings, _ = language_check.run(World().evidence(population))
    # About 60 members at 5 %: P[more than 12 accused] < 1e-4 for each score.
    assert all(finding.estimate.value * finding.n <= 12 for finding in findings)


def test_texts_that_are_continued_are_told_from_predictable_ones(population: TextPopulation) -> None:
    (memorized,), _ = discoverable_check.run(World(continued_inside=0.9).evidence(population))
    (predictable,), _ = discoverable_check.run(World(continued_inside=0.9, continued_outside=0.9).evidence(population))
    assert memorized.estimate.value > 0.7
    assert memorized.blind == 0
    assert predictable.blind is not None
    assert predictable.blind > 0.7
    kinds = [{row[0]: row[2] for row in finding.tables[1].rows} for finding in (memorized, predictable)]
    assert kinds[0]["memorized"] == len(population.testable)
    assert kinds[1]["predictable"] == len(population.testable)


def test_sampling_is_held_against_models_without_the_text(population: TextPopulation) -> None:
    """Among the 40 likeliest a token has e^0 with the text and e^-0.9 without: p_z is about 1, and e^-3.6 = 0.027.

    The chance is then 1 with the text; without it 0.03, 0.24 and 0.94 in 1, 10 and 100 tries, and one half decides.
    """
    evidence = World(continued_inside=1.0, continued_outside=1.0).evidence(population)
    (finding,), _ = probabilistic_check.run(evidence)
    trained, others, without = finding.figures[0].curves
    assert "models without" in without.label
    assert trained.y[:3] == (1.0, 1.0, 1.0)
    assert without.y[:3] == (0.0, 0.0, 1.0)
    assert others.y[:3] == (0.0, 0.0, 1.0), "held-out texts fare in this model as training texts in models without them"
    assert "100% of these training texts in models without them" in finding.sentence


def test_a_near_tie_is_decided_by_what_was_really_written(population: TextPopulation) -> None:
    evidence = World(continued_inside=0.9).evidence(population)
    target = evidence.suffixes[1].greedy[-1]
    chosen = int(np.flatnonzero(target)[0])
    gap = evidence.recorded["suffix_gap"].reshape(len(CONTEXTS), -1, SUFFIX).copy()
    gap[-1, chosen, 0] = 1e-5
    written = evidence.recorded["written"].copy()
    written[chosen, 0] += 1
    tied = replace(evidence, recorded=evidence.recorded | {"suffix_gap": gap.ravel(), "written": written})
    assert not tied.suffixes[1].greedy[-1, chosen]


def test_a_near_tie_is_decided_in_the_shadows_too(population: TextPopulation) -> None:
    """In one shadow the gap says that a text is continued, hardly, and what was written says that it is not."""
    evidence = World(continued_inside=1.0, continued_outside=1.0).evidence(population)
    bank = evidence.bank
    assert isinstance(bank, Made)
    tied = {name: bank.tensors[3][name].copy() for name in ("suffix_gap", "written")}
    tied["suffix_gap"].reshape(len(CONTEXTS), -1, SUFFIX)[-1, 5, 0] = 1e-5
    tied["written"][5, 0] += 1
    tensors = tuple(one | (tied if model == 3 else {}) for model, one in enumerate(bank.tensors))
    greedy = replace(evidence, bank=replace(bank, tensors=tensors)).suffixes[0].greedy
    assert np.argwhere(~greedy).tolist() == [[3, len(CONTEXTS) - 1, 5]]


@pytest.fixture(scope="module")
def forked(population: TextPopulation) -> TextPopulation:
    """Pairs of documents that begin alike and go on differently, for every fourth pair from the second word."""
    texts = [str(text).split() for text in population.documents.texts]
    for n in range(0, 60, 2):
        texts[n + 1][: 2 if n % 8 else 5] = texts[n][: 2 if n % 8 else 5]
    return of_texts(population, [" ".join(words) for words in texts])


def test_a_suffix_is_well_specified_if_no_training_row_contradicts_it(forked: TextPopulation) -> None:
    """Against a walk along all training rows."""
    evidence = World().evidence(forked)
    counts = np.concatenate([evidence.members, evidence.doses]).astype(np.uint8)
    rows = [row.ids.tolist() for row in forked.training_rows(counts)[0]]
    expected = []
    for context, windows in zip(CONTEXTS, forked.windows, strict=True):
        for window in windows:
            shown, rest = window.ids[-SUFFIX - context : -SUFFIX].tolist(), window.ids[-SUFFIX:].tolist()
            ends = [(row, n + context) for row in rows for n in range(len(row)) if row[n : n + context] == shown]
            expected.append(all(row[end : end + SUFFIX] == rest for row, end in ends))
    assert np.array_equal(evidence.well_specified.ravel(), expected)
    assert 0 < (~evidence.well_specified[-1]).sum() < 30, "with the longest context it is so for some texts"


def test_suffixes_that_are_not_well_specified_are_left_out_and_counted(forked: TextPopulation) -> None:
    """Whether they are extracted, and how likely they are, then changes nothing."""
    evidence = World(continued_inside=0.7, continued_outside=0.2).evidence(forked)
    clear, members = evidence.well_specified, evidence.members[forked.testable]
    changed = dict(evidence.recorded)
    for name, value in (("suffix_gap", 1.0), ("suffix_logp", -0.01)):
        changed[name] = evidence.recorded[name].reshape(*clear.shape, SUFFIX).copy()
        changed[name][~clear] = value
        changed[name] = changed[name].ravel()
    changed["written"] = np.where(clear[-1][:, None], evidence.recorded["written"], evidence.aims)
    other = replace(evidence, recorded=changed)
    for check in (discoverable_check, probabilistic_check):
        (one,), (two,) = check.run(evidence)[0], check.run(other)[0]
        assert one == two
        assert one.n == (clear[-1] & members).sum() < members.sum()
    told = discoverable_check.run(evidence)[0][0].tables[0]
    enough = [c for c, row in enumerate(clear) if min((row & members).sum(), (row & ~members).sum()) >= 10]
    total = len(forked.testable)
    assert [row[:2] for row in told.rows] == [(CONTEXTS[c], f"{(~clear[c]).sum()} of {total}") for c in enough]
    assert len(enough) < len(CONTEXTS), "two words are followed by others almost everywhere"


def test_texts_are_refused_where_what_is_shown_decides_nothing(population: TextPopulation) -> None:
    """All documents begin with the same words: nothing that is shown tells what follows."""
    texts = [f"amber basil cedar dusk ember fern {text}" for text in population.documents.texts]
    evidence = World().evidence(of_texts(population, texts))
    for check in (discoverable_check, probabilistic_check):
        _, (skipped,) = check.run(evidence)
        assert "use longer prompts" in skipped.reason


def test_near_verbatim_continuations_are_held_against_models_without_the_text(population: TextPopulation) -> None:
    """The target writes its texts with the last token wrong; of the models without a text, one in four writes it so."""
    longer = replace(population.probes, suffix=10, canaries=1)
    evidence = World().evidence(TextPopulation(population.documents, population.renderer.rendering, longer))
    aims, members = evidence.aims, evidence.members[evidence.population.testable]
    near = aims.copy()
    near[:, -1] = 0
    bank = evidence.bank
    assert isinstance(bank, Made)
    tensors = tuple(one | {"written": near if m // 2 % 4 == 0 else aims * 0} for m, one in enumerate(bank.tensors))
    (finding,), _ = discoverable_check.run(
        replace(
            evidence,
            bank=replace(bank, tensors=tensors),
            recorded=evidence.recorded | {"written": np.where(members[:, None], near, 0)},
        )
    )
    table = next(table for table in finding.tables if table.title.startswith("Near-verbatim"))
    shares = [[str(cell).split(" ")[0] for cell in row[1:]] for row in table.rows]
    assert shares == [["0%", "0%", "0%"], ["100%", "0%", "25%"], ["100%", "0%", "25%"]]


def test_extraction_is_told_by_the_number_of_copies(population: TextPopulation) -> None:
    """Texts stand there once, twice or four times: they are extracted with chance 0, 1/2 and 1."""
    texts = [str(text) for text in population.documents.texts[:60]]
    times = np.array([1, 2, 4])[np.arange(60) % 3]
    rows = [text for text, count in zip(texts, times, strict=True) for _ in range(count)]
    again = of_texts(population, rows, [f"d{n}" for n in range(len(rows))])
    evidence = World(continued_inside=1.0).evidence(again)
    copies = again.documents.copies[again.testable]
    trained = evidence.members[again.testable]
    assert np.array_equal(evidence.copies, copies * trained)
    half = np.arange(len(copies)) // 3 % 2 == 0
    hits = trained & ((copies == 4) | (copies == 2) & half)
    gap = np.where(np.tile(hits, len(CONTEXTS)), 1.0, -1.0).repeat(SUFFIX)
    (finding,), _ = discoverable_check.run(replace(evidence, recorded=evidence.recorded | {"suffix_gap": gap}))
    table = next(table for table in finding.tables if table.title == "By number of copies")
    clear = trained & evidence.well_specified[-1]
    counts = [(clear & (copies == k)).sum() for k in (1, 2, 4)]
    assert [row[:2] for row in table.rows] == [("1", counts[0]), ("2–3", counts[1]), ("4–7", counts[2])]
    told = [str(row[2]).split(" ")[0] for row in table.rows]
    assert (told[0], told[2]) == ("0%", "100%")
    assert told[1] == percent((hits & clear & (copies == 2)).sum() / counts[1])
    assert any("Each doubling of the copies adds" in note for note in finding.notes)


def test_of_texts_that_stand_there_once_nothing_is_said_about_copies(population: TextPopulation) -> None:
    texts = [str(text) for text in population.documents.texts[:60]]
    once = of_texts(population, texts)
    (finding,), _ = discoverable_check.run(World(continued_inside=0.5).evidence(once))
    assert not any(table.title == "By number of copies" for table in finding.tables)
    assert any("occurs once in the training data" in note for note in finding.notes)


def test_too_few_long_documents_are_refused_with_the_way_out(population: TextPopulation) -> None:
    evidence = World().evidence(population)
    short = TextPopulation(
        population.documents, population.renderer.rendering, replace(population.probes, suffix=100, contexts=(100,))
    )
    for check in (discoverable_check, probabilistic_check):
        _, (skipped,) = check.run(replace(evidence, population=short))
        assert "choose a shorter" in skipped.reason


def test_counterfactual_memorization_is_the_gain_in_accuracy(population: TextPopulation) -> None:
    (finding,), _ = counterfactual_check.run(World(accuracy_gain=0.2).evidence(population))
    assert finding.estimate.low <= 0.2 <= finding.estimate.high
    assert finding.estimate.high - finding.estimate.low < 0.02
    (null,), _ = counterfactual_check.run(World().evidence(population, seed=5))
    assert abs(null.estimate.value) < 0.005, "24 models × 120 texts of deviation 0.02: error 0.0008"


def test_exact_memorization_is_the_difference_to_texts_never_trained_on(population: TextPopulation) -> None:
    (finding,), _ = epoch_check.run(World(accuracy_gain=1.0).evidence(population))
    assert finding.estimate.low <= 0.2 <= finding.estimate.high
    assert finding.tables[0].rows, "the forgetting curve"


def test_the_link_to_extraction_is_null_where_nothing_links_them(population: TextPopulation) -> None:
    (finding,), _ = extraction_link_check.run(World(accuracy_gain=0.2).evidence(population))
    # Every text gains alike, so that ranks are noise: |ρ| of 120 texts stays below 0.4 but once in 10,000.
    assert abs(finding.estimate.value) < 0.4


def test_a_search_that_finds_a_canary_first_has_extracted_it(population: TextPopulation) -> None:
    evidence = World().evidence(population)
    (finding,), _ = search_check.run(evidence)
    planted, shadows = evidence.doses > 0, evidence.shadow_doses
    assert finding.estimate.value == pytest.approx((evidence.doses > 4)[planted].mean())
    assert finding.blind == 0
    searches = {dose: int((shadows == dose).sum()) for dose in (0, 1, 2, 4, 8, 16)}
    expected = [(dose, n, n if dose > 4 else 0, "100%" if dose > 4 else "0%") for dose, n in searches.items()]
    assert list(finding.tables[2].rows) == expected
    _, (skipped,) = search_check.run(replace(evidence, doses=np.zeros_like(evidence.doses)))
    assert "no canary" in skipped.reason


def test_a_search_is_held_against_canaries_that_were_not_planted(population: TextPopulation) -> None:
    """In every other shadow all canaries are found first, planted or not; in this model none that was not planted."""
    evidence = World().evidence(population)
    bank = evidence.bank
    assert isinstance(bank, Made)
    liked = tuple(one | {"search_first": np.full(24, m % 2 == 0)} for m, one in enumerate(bank.tensors))
    (finding,), _ = search_check.run(replace(evidence, bank=replace(bank, tensors=liked)))
    lacking = (evidence.shadow_doses == 0).sum(axis=1)
    found, searches = lacking[::2].sum(), lacking.sum() + (evidence.doses == 0).sum()
    assert finding.blind == pytest.approx(found / searches)
    assert (
        f"Control, canaries not inserted in this model or a shadow model: {found:,} of {searches:,}."
        in finding.sentence
    )


def test_a_text_is_recited_if_it_stands_in_six_documents_however_they_differ_elsewhere(
    population: TextPopulation,
) -> None:
    texts = [str(text) for text in population.documents.texts[:60]]
    shown = " ".join(texts[0].split()[:20])
    alike = [f"{shown} {text}" if n < 6 else text for n, text in enumerate(texts)]
    for count in (5, 6):
        rows = alike[6 - count :]
        evidence = World(continued_inside=1.0).evidence(of_texts(population, rows))
        assert evidence.documents_with[:count].tolist() == [count] * count
        (finding,), _ = discoverable_check.run(evidence)
        found = {row[0]: row[2] for row in finding.tables[1].rows}
        assert found["recited"] == (0 if count < 6 else evidence.well_specified[-1][:6].sum())


@pytest.mark.parametrize(("extracted", "told"), [(0, False), (1, True), (59, True), (60, False)])
def test_no_slope_is_told_as_if_it_were_certain_where_all_texts_fare_alike(extracted: int, told: bool) -> None:
    copies = np.array([1, 2, 4])[np.arange(60) % 3]
    assert (doubling("copies", copies, np.arange(60) < extracted, np.arange(60)) is not None) == told
