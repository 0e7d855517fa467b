"""Memorization proxies: each against a loop over single examples, and their agreement with memorization.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

import math
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from memaudit import plugins
from memaudit.errors import SettingsError
from memaudit.memorization import Observations
from memaudit.memorization.proxies import PROXIES, Data, Of, Others, Proxy, all_proxies, learned_for_good
from memaudit.memorization.proxies.agreement import (
    Agreement,
    Statistic,
    Truth,
    agreements,
    of_fixed,
    of_mean,
    of_others,
    of_runs,
    weighted_auc,
)

Array = np.ndarray
Trace = dict[str, list[float]]

EPOCHS = np.array([0, 1, 2, 5, 9], np.float32)
BY_NAME = {proxy.name: proxy for proxy in PROXIES}
RUNS = [proxy for proxy in PROXIES if proxy.of is Of.RUN]


def seen(rng: np.random.Generator, models: int = 3, examples: int = 7, epochs: Array = EPOCHS) -> Observations:
    shape = models, len(epochs), examples
    numbers = ("loss", "entropy", "el2n", "gradient", "input_gradient", "curvature")
    return Observations(
        epochs=epochs,
        members=rng.integers(0, 2, (models, examples), np.uint8),
        correct=rng.random(shape) < 0.5,
        **{name: rng.gamma(1, 1, shape).astype(np.float16) for name in numbers},
    )


# ---- each proxy, one example at a time


def at(trace: list[float], epoch: float) -> float:
    """A recording at any epoch: on the line between the looks beside it, constant outside."""
    times = EPOCHS.tolist()
    if epoch <= times[0]:
        return trace[0]
    for (t0, v0), (t1, v1) in zip(zip(times, trace), zip(times[1:], trace[1:]), strict=False):  # noqa: B905
        if t0 <= epoch <= t1:
            return v0 + (v1 - v0) * (epoch - t0) / (t1 - t0)
    return trace[-1]


def mean(trace: list[float]) -> float:
    return statistics.fmean(at(trace, epoch) for epoch in range(1, 10))


def quartile(values: list[float], q: float) -> float:
    values = sorted(values)
    place = q * (len(values) - 1)
    low = int(place)
    return values[low] + (place - low) * (values[min(low + 1, len(values) - 1)] - values[low])


def first_split(correct: list[float]) -> float:
    for time, epoch in enumerate(EPOCHS.tolist()):
        if all(correct[time:]):
            return epoch
    return 10


ORACLES: dict[str, Callable[[Trace], float]] = {
    "apb": lambda t: 1 - mean(t["correct"]),
    "apb-batch": lambda t: (
        1 - statistics.fmean((at(t["correct"], e - 1) + at(t["correct"], e)) / 2 for e in range(1, 10))
    ),
    "confidence": lambda t: 1 - mean([math.exp(-loss) for loss in t["loss"]]),
    "final-confidence": lambda t: 1 - math.exp(-t["loss"][-1]),
    "csl": lambda t: sum(at(t["loss"], e) for e in range(1, 10)),
    "final-loss": lambda t: t["loss"][-1],
    "lt-iqr": lambda t: (lambda v: quartile(v, 0.75) - quartile(v, 0.25))([at(t["loss"], e) for e in range(1, 10)]),
    "entropy": lambda t: mean(t["entropy"]),
    "final-entropy": lambda t: t["entropy"][-1],
    "el2n": lambda t: mean(t["el2n"]),
    "el2n-early": lambda t: t["el2n"][1],  # a tenth of 9 epochs is nearest to epoch 1
    "forgetting": lambda t: sum(a and not b for a, b in zip(t["correct"], t["correct"][1:], strict=False)),
    "learning-events": lambda t: sum(b and not a for a, b in zip(t["correct"], t["correct"][1:], strict=False)),
    "fslt": lambda t: first_split(t["correct"]),
    "grand": lambda t: t["gradient"][1],
    "gradient": lambda t: t["gradient"][-1],
    "csg": lambda t: sum(at([g * g for g in t["input_gradient"]], e) for e in range(1, 10)),
    "curvature": lambda t: mean(t["curvature"]),
}


def test_every_score_of_a_training_run_has_a_slow_twin() -> None:
    assert ORACLES.keys() == {proxy.name for proxy in RUNS}


@pytest.mark.parametrize("proxy", RUNS, ids=lambda proxy: proxy.name)
def test_a_score_is_what_a_loop_over_single_examples_says(proxy: Proxy) -> None:
    observed = seen(np.random.default_rng(1))
    found = proxy.score(observed)
    names = ("loss", "correct", "entropy", "el2n", "gradient", "input_gradient", "curvature")
    for model in range(3):
        for example in range(7):
            trace = {name: getattr(observed, name)[model, :, example].astype(float).tolist() for name in names}
            assert found[model, example] == pytest.approx(ORACLES[proxy.name](trace), rel=1e-5, abs=1e-6)


def test_where_every_epoch_was_looked_at_the_mean_is_the_plain_one() -> None:
    observed = seen(np.random.default_rng(2), epochs=np.arange(1, 7, dtype=np.float32))
    assert observed.loss is not None and observed.correct is not None
    np.testing.assert_allclose(BY_NAME["csl"].score(observed), observed.loss.sum(axis=1, dtype=float), rtol=1e-6)
    np.testing.assert_allclose(BY_NAME["apb"].score(observed), 1 - observed.correct.mean(axis=1), rtol=1e-6)


def test_one_look_is_enough_for_scores_of_the_end() -> None:
    """What is a mean over epochs would repeat them under another name."""
    observed = seen(np.random.default_rng(3), epochs=np.array([0.5], np.float32))
    enough = {proxy.name for proxy in RUNS if not proxy.lacks(observed)}
    assert enough == {"final-loss", "final-confidence", "final-entropy", "gradient", "curvature"}
    assert all(BY_NAME[name].lacks(observed) == ("course",) for name in BY_NAME.keys() & ORACLES.keys() - enough)
    assert all(np.isfinite(BY_NAME[name].score(observed)).all() for name in enough)


def test_events_need_yes_or_no() -> None:
    shares = Observations(epochs=EPOCHS, members=np.ones((1, 2), np.uint8), correct=np.full((1, 5, 2), 0.5, np.float16))
    assert BY_NAME["forgetting"].lacks(shares) == ("classified",)
    assert not BY_NAME["apb"].lacks(shares)
    assert BY_NAME["csl"].lacks(shares) == ("loss",)
    assert BY_NAME["fslt"].lacks(shares) == ("classified",)


@pytest.mark.parametrize("epochs", [[], [1, 1], [2, 1], [-1, 0]])
def test_times_that_do_not_rise_are_refused(epochs: list[float]) -> None:
    with pytest.raises(ValueError, match="must rise"):
        Observations(epochs=np.array(epochs, np.float32), members=np.ones((1, 1), np.uint8))


def test_scores_of_other_models() -> None:
    rng = np.random.default_rng(4)
    log_p, correct, prior = np.log(rng.random((5, 6))), rng.random((5, 6)) < 0.5, rng.random(6)
    others = Others(log_probability=log_p, correct=correct, prior=prior)
    for i in range(6):
        p = [math.exp(value) for value in log_p[:, i]]
        information = statistics.fmean(math.log2(one) for one in p) - math.log2(prior[i])
        slow = {
            "c-score": 1 - statistics.fmean(map(float, correct[:, i])),
            "others-confidence": 1 - statistics.fmean(p),
            "disagreement": statistics.pstdev(p),
            "pvi": -information,
        }
        for name, expected in slow.items():
            assert BY_NAME[name].score(others)[i] == pytest.approx(expected, abs=1e-9)
    assert BY_NAME["pvi"].lacks(Others(log_probability=log_p, correct=correct)) == ("prior",)


def test_scores_of_the_data_alone() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(12, 3)).astype(np.float32), rng.integers(0, 2, 12)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    squared = [[float(((a - b) ** 2).sum()) for b in z] for a in z]
    width = statistics.median(value for row in squared for value in row)
    for i in range(12):
        kernel = [0.0 if i == j else math.exp(-squared[i][j] / (2 * width)) for j in range(12)]
        signed = [k if y[i] == y[j] else -k for j, k in enumerate(kernel)]
        assert BY_NAME["isolation"].score(Data(x=x))[i] == pytest.approx(-statistics.fmean(kernel), abs=1e-5)
        assert BY_NAME["distance"].score(Data(x=x, y=y))[i] == pytest.approx(-statistics.fmean(signed), abs=1e-5)


def test_an_outlier_and_a_wrong_label_stick_out_in_the_data() -> None:
    rng = np.random.default_rng(6)
    y = np.arange(200) % 2
    x = rng.normal(size=(200, 2)).astype(np.float32) + 8 * y[:, None]
    y[0] = 1 - y[0]
    x[1] = 30
    assert np.argmax(BY_NAME["distance"].score(Data(x=x, y=y))) == 0
    assert np.argmax(BY_NAME["isolation"].score(Data(x=x))) == 1


def test_larger_is_more_memorized() -> None:
    """An example that is learned late, after having been forgotten, beside one that is right from the start."""
    late, easy = [0, 1, 0, 1, 1], [1, 1, 1, 1, 1]
    correct = np.array([[late, easy]]).swapaxes(1, 2).astype(bool)
    hard = np.where(correct, 0.1, 2.0) + np.array([[[0.3, 0]]])
    names = ("loss", "entropy", "el2n", "gradient", "input_gradient", "curvature")
    observed = Observations(
        epochs=np.array([1, 2, 10, 15, 20], np.float32),
        members=np.ones((1, 2), np.uint8),
        correct=correct,
        **dict.fromkeys(names, hard),
    )
    for proxy in RUNS:
        score = proxy.score(observed)[0]
        assert score[0] > score[1], proxy.name


def test_learned_for_good() -> None:
    right = np.array([[[0, 1, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]]], bool)
    found = learned_for_good(np.array([1, 4, 9], np.float32), right)
    np.testing.assert_array_equal(found, [[4, 1, 9, np.inf]])


# ---- agreement with memorization


def law(rng: np.random.Generator, pairs: int, examples: int, noise: float = 0.5) -> tuple[Truth, Array, Array]:
    """True memorization, a bank that shows it, and scores of its training runs: memorization, an error, noise."""
    true = rng.beta(0.4, 1.2, examples)
    gain = (rng.random((pairs, examples)) < true).astype(np.float32)
    found = rng.random((pairs, examples)) < 0.6 * true
    own = true + 0.2 * rng.normal(size=examples)  # what the score gets wrong in every run
    scores = own + noise * rng.normal(size=(pairs, examples)) + 0.1 * rng.normal(size=(pairs, 1))
    return Truth(gain, found), scores[None], true


def test_statistics_are_those_of_scipy() -> None:
    rng = np.random.default_rng(7)
    truth, scores, _ = law(rng, 12, 400)
    found = agreements(truth, of_mean(scores))[0].value
    halves = np.arange(0, 12, 2), np.arange(1, 12, 2)
    expected = []
    for own, other in (halves, halves[::-1]):
        memorized, score = truth.gain[own].mean(axis=0, dtype=float), scores[0][other].mean(axis=0)
        top = memorized >= np.sort(memorized)[-40]
        hits, total, pairs = truth.found[own].sum(axis=0), len(own), 0.0
        for i in range(400):
            pairs += (hits[i] * (total - hits) * ((score[i] > score) + 0.5 * (score[i] == score))).sum()
        area = pairs / (hits.sum() * (total - hits).sum())
        expected.append(
            [
                stats.spearmanr(memorized, score).statistic,
                stats.pearsonr(memorized, score).statistic,
                stats.spearmanr(memorized[top], score[top]).statistic if top.sum() <= 80 else np.nan,
                2 * area - 1,
            ]
        )
    which = [Statistic.SPEARMAN, Statistic.PEARSON, Statistic.TOP, Statistic.FOUND]
    np.testing.assert_allclose(found[which], np.mean(expected, axis=0), atol=1e-9)
    reliable = stats.pearsonr(*(truth.gain[half].mean(axis=0, dtype=float) for half in halves)).statistic
    assert found[Statistic.CORRECTED] == pytest.approx(found[Statistic.PEARSON] / math.sqrt(reliable))


def test_a_single_run_is_about_its_own_members() -> None:
    rng = np.random.default_rng(8)
    truth, scores, _ = law(rng, 8, 300)
    first = rng.random((8, 300)) < 0.5
    found = agreements(truth, of_runs(scores, first, most=1))[0].value
    expected = []
    for own, pair in ((slice(0, None, 2), 1), (slice(1, None, 2), 0)):
        memorized = truth.gain[own].mean(axis=0, dtype=float)
        masks = first[pair], ~first[pair]
        expected += [stats.spearmanr(memorized[mask], scores[0, pair][mask]).statistic for mask in masks]
    assert found[Statistic.SPEARMAN] == pytest.approx(np.mean(expected))


def test_a_score_from_elsewhere_is_compared_with_the_whole_bank() -> None:
    rng = np.random.default_rng(9)
    truth, scores, _ = law(rng, 8, 300)
    mask = rng.random(300) < 0.5
    (found,) = agreements(truth, of_fixed(scores[:, 0], mask))
    memorized = truth.gain.mean(axis=0, dtype=float)
    expected = stats.spearmanr(memorized[mask], scores[0, 0][mask]).statistic
    assert found.value[Statistic.SPEARMAN] == pytest.approx(expected)


def test_scores_of_others_are_made_from_the_other_half() -> None:
    truth, _, _ = law(np.random.default_rng(10), 8, 300)
    used: list[set[int]] = []

    def score(pairs: Array) -> Array:
        used.append({int(pair) % 2 for pair in pairs})
        return truth.gain[pairs].mean(axis=0)

    (found,) = agreements(truth, of_others([score], 300))
    assert all(len(parities) == 1 for parities in used)
    halves = (truth.gain[side::2].mean(axis=0, dtype=float) for side in (0, 1))
    assert found.value[Statistic.PEARSON] == pytest.approx(stats.pearsonr(*halves).statistic, abs=1e-6)


def test_ties_leave_no_most_memorized_tenth() -> None:
    truth = Truth(np.zeros((4, 100), np.float32), np.zeros((4, 100), bool))
    (found,) = agreements(truth, of_mean(np.random.default_rng(0).normal(size=(1, 4, 100))))
    assert np.isnan(found.value[[Statistic.TOP, Statistic.FOUND, Statistic.CORRECTED]]).all()
    assert found.value[Statistic.SPEARMAN] == 0


def test_fewer_than_four_pairs_are_refused() -> None:
    truth, scores, _ = law(np.random.default_rng(0), 3, 50)
    with pytest.raises(ValueError, match="at least 4 pairs"):
        agreements(truth, of_mean(scores))


def test_weighted_auc_of_whole_finds_is_the_usual_one() -> None:
    from memaudit.stats import auc

    rng = np.random.default_rng(11)
    codes, hit = rng.integers(0, 9, 200), rng.random(200) < 0.3
    assert weighted_auc(codes, hit.astype(float)) == pytest.approx(auc(codes[hit] * 1.0, codes[~hit] * 1.0))


def test_under_permuted_scores_nothing_agrees() -> None:
    """Scores of other examples: 20 draws, each statistic within 4.5 standard errors of 0; false alarm 5e-5 in all."""
    rng = np.random.default_rng(12)
    values = []
    for _ in range(20):
        truth, scores, _ = law(rng, 8, 200)
        order = rng.permutation(200)
        values.append(agreements(truth, of_mean(scores[:, :, order]))[0].value)
    found = np.array(values)[:, [Statistic.SPEARMAN, Statistic.PEARSON, Statistic.FOUND]]
    error = found.std(axis=0, ddof=1) / np.sqrt(20)
    assert (np.abs(found.mean(axis=0)) < 4.5 * error).all()


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [8, 32])
def test_intervals_cover(pairs: int) -> None:
    """Nominal 95 %: at least 92.5 % of 300 draws, of which .95 falls short with probability .03, .97 with 2e-5.

    The estimand is the mean of the statistic over draws; that of the corrected correlation is the true one, between the
    score and true memorization.
    """
    rng = np.random.default_rng(13)
    found: list[Agreement] = []
    true: list[float] = []
    for _ in range(300):
        truth, scores, memorized = law(rng, pairs, 250)
        found += agreements(truth, of_mean(scores))
        true.append(np.mean([np.corrcoef(memorized, scores[0, side::2].mean(axis=0))[0, 1] for side in (0, 1)]))
    for which in (Statistic.SPEARMAN, Statistic.PEARSON, Statistic.FOUND, Statistic.CORRECTED):
        values = np.array([one.value[which] for one in found])
        estimand = np.mean(true) if which is Statistic.CORRECTED else values.mean()
        ends = np.array([one.interval(which) for one in found])
        covered = (ends[:, 0] <= estimand) & (estimand <= ends[:, 1])
        assert covered[np.isfinite(values)].mean() >= 0.925, which
        if which is Statistic.CORRECTED:
            assert np.nanmean(values) == pytest.approx(estimand, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [8, 32])
@pytest.mark.parametrize("kind", ["a shadow model's run", "the target's run"])
def test_intervals_of_scores_of_one_run_cover(kind: str, pairs: int) -> None:
    """As above, of 200 draws. In a first simulation: .99 of runs of shadow models, .95 to .98 of the target's."""
    rng = np.random.default_rng(17)
    found: list[Agreement] = []
    for _ in range(200):
        truth, scores, _ = law(rng, pairs + 1, 250)
        first = rng.random((pairs + 1, 250)) < 0.5
        own = Truth(truth.gain[:pairs], truth.found[:pairs])
        single = of_fixed(scores[:, pairs], first[pairs])
        found += agreements(own, single if kind.startswith("the") else of_runs(scores[:, :pairs], first[:pairs]))
    for which in (Statistic.SPEARMAN, Statistic.PEARSON, Statistic.FOUND):
        values = np.array([one.value[which] for one in found])
        ends = np.array([one.interval(which) for one in found])
        assert ((ends[:, 0] <= values.mean()) & (values.mean() <= ends[:, 1])).mean() >= 0.92, which


@pytest.mark.slow
def test_the_best_of_many_useless_scores_is_seldom_shown_to_agree() -> None:
    """Twenty scores of no worth: the Bonferroni interval of the best is above 0 in at most 5 % of 150 draws, + 3 SE."""
    rng = np.random.default_rng(14)
    wrong = 0
    for _ in range(150):
        truth, _, _ = law(rng, 8, 150)
        every = agreements(truth, of_mean(rng.normal(size=(20, 8, 150))))
        best = max(every, key=lambda one: one.value[Statistic.SPEARMAN])
        wrong += float(best.interval(Statistic.SPEARMAN, 1 - 0.05 / 20)[0]) > 0
    assert wrong / 150 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)


# ---- the registry


def _points(monkeypatch: pytest.MonkeyPatch, *found: Any) -> None:
    points = [SimpleNamespace(name=str(i), value="theirs:x", load=lambda it=it: it) for i, it in enumerate(found)]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == "memaudit.proxies" else [])


def test_names_and_titles_are_unique_and_everything_has_a_source() -> None:
    for of in ("name", "title"):
        values = [getattr(proxy, of) for proxy in PROXIES]
        assert len(values) == len(set(values))
    assert all(proxy.source and proxy.formula and proxy.needs and proxy.cost for proxy in PROXIES)


def test_an_installed_package_adds_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Proxy(name="own", title="Own", formula="f", source="s", score=lambda seen: seen.loss[:, 0], needs=("loss",))
    _points(monkeypatch, own)
    assert all_proxies() == (*PROXIES, own)


@pytest.mark.parametrize(
    ("found", "message"),
    [(7, "is a int, not a memaudit.memorization.proxies.Proxy"), (BY_NAME["csl"], "is called 'csl', which is taken")],
    ids=["no proxy", "taken"],
)
def test_a_plug_in_that_is_no_proxy_or_takes_a_name_is_refused(
    found: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _points(monkeypatch, found)
    with pytest.raises(SettingsError, match=message):
        all_proxies()


@pytest.fixture
def page() -> Iterator[str]:
    path = Path(__file__).parents[1] / "docs" / "proxies.md"
    yield path.read_text("utf-8")


def test_the_page_names_every_proxy(page: str) -> None:
    for proxy in PROXIES:
        assert f"| {proxy.title} (`{proxy.name}`) |" in page, proxy.name
