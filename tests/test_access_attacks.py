"""Attacks by access: each beside an independent slow oracle or a closed form, under permuted labels, pair left out."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from memaudit.attacks.access import ACCESS_ATTACKS, RECORDED, knowing, untied
from memaudit.attacks.access.direction import _window
from memaudit.attacks.access.entropy import modified_entropy
from memaudit.attacks.access.gmia import p_value
from memaudit.attacks.access.lira import TopLogit
from memaudit.attacks.access.risk import PrivacyRisk
from memaudit.attacks.access.votes import robustness
from memaudit.design import NullPairs, PairArrays, coins
from memaudit.signals import logits as slow
from memaudit.stats import auc, threshold

Array = np.ndarray

PAIRS, EXAMPLES, CLASSES = 8, 200, 5
ALL = slice(None)


def _log_softmax(z: Array) -> Array:
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def _views(seed: int, leak: float = 1.5) -> dict[str, tuple[Array, Array]]:
    """(inside, outside) of every view: models that are surer of the label of what they were trained on."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=(1, EXAMPLES, 1))
    found: dict[str, list[Array]] = {}
    for extra in (leak, 0.0):
        z = rng.normal(size=(PAIRS, EXAMPLES, CLASSES))
        z[..., :1] += 1.0 + hard + extra
        columns = _log_softmax(z)
        right = (columns.argmax(axis=-1) == 0).astype(np.float32)
        chance = 1 / (1 + np.exp(-(z[..., :1] - 1.0)))
        votes = rng.binomial(16, np.broadcast_to(chance, (*right.shape, 3))) / 16
        bits = rng.binomial(1, np.broadcast_to(chance, (*right.shape, 5)))
        rises = rng.binomial(32, 1 / (1 + np.exp(-(0.3 + extra / 3 + 0 * right)))) / 32
        for name, view in {
            RECORDED: right[..., None],
            "noise-votes": np.concatenate([right[..., None], votes], axis=-1),
            "augmentation-votes": np.concatenate([right[..., None], bits], axis=-1),
            "confidences": columns,
            "boundary": np.maximum(z[..., :1] - z[..., 1:].max(axis=-1, keepdims=True), 0),
            "loss-direction": np.stack([columns[..., 0], rises], axis=-1),
            "gradients": np.stack([z[..., 0], -z[..., 0], z[..., 1]], axis=-1),
            "last-layer": np.stack([z[..., 0], z[..., 1], z[..., 0] - z[..., 1], z[..., 2]], axis=-1),
        }.items():
            found.setdefault(name, []).append(view.astype(np.float32))
    return {name: (sides[0], sides[1]) for name, sides in found.items()}


@pytest.fixture(autouse=True)
def _few_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memaudit.attacks.access.trained._PASSES", 8)


Y = np.random.default_rng(3).integers(0, CLASSES, EXAMPLES)
VIEWS, OTHER, NULL = _views(0), _views(1), _views(2, leak=0.0)
NAMES = tuple(ACCESS_ATTACKS)


def _scored(name: str, views: dict[str, tuple[Array, Array]], target: Array) -> tuple[Array, Array, Array]:
    attack = ACCESS_ATTACKS[name]
    known, pairs = knowing(attack, Y), PairArrays(*views[attack.view])
    scores = known.scores(target, pairs), *known.leave_pair_out(pairs)
    return untied(scores[0], scores[1], scores[2], 0)


@pytest.mark.parametrize("name", NAMES)
def test_members_score_higher_on_models_that_leak(name: str) -> None:
    target = OTHER[ACCESS_ATTACKS[name].view][0][0]
    scores, inside, outside = _scored(name, VIEWS, target)
    assert scores.shape == (EXAMPLES,) and inside.shape == outside.shape == (PAIRS, EXAMPLES)
    assert np.isfinite(scores).all() and np.isfinite(inside).all() and np.isfinite(outside).all()
    assert auc(inside.ravel(), outside.ravel()) > 0.54


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found_where_there_is_nothing(name: str) -> None:
    """Permuted membership of leaking models, and models that do not leak: the AUC is 1/2 within 5 standard errors."""
    view = ACCESS_ATTACKS[name].view
    swapped = NullPairs(PairArrays(*VIEWS[view]), coins(5, PAIRS, EXAMPLES)).block(ALL)
    for views in ({view: swapped}, NULL):
        _, inside, outside = _scored(name, views, views[view][0][0])
        error = np.sqrt((PAIRS * EXAMPLES * 2 + 1) / 12) / (PAIRS * EXAMPLES)
        assert abs(auc(inside.ravel(), outside.ravel()) - 0.5) < 5 * np.sqrt(2) * error


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_scored_without_its_own_pair(name: str) -> None:
    """What a pair's own models answer changes no score of theirs but through their own answers.

    The scores of pair 0 with the memberships of pair 0 swapped are those of pair 0, swapped.
    """
    view = ACCESS_ATTACKS[name].view
    inside, outside = (side.copy() for side in VIEWS[view])
    known = knowing(ACCESS_ATTACKS[name], Y)
    before = known.leave_pair_out(PairArrays(inside, outside))
    inside[0], outside[0] = outside[0].copy(), inside[0].copy()
    after = known.leave_pair_out(PairArrays(inside, outside))
    np.testing.assert_allclose(after[0][0], before[1][0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(after[1][0], before[0][0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_target_is_scored_as_a_shadow_model_is(name: str) -> None:
    """A model of the last pair, given as the target, has the scores that it has as a shadow model."""
    view = ACCESS_ATTACKS[name].view
    known, pairs = knowing(ACCESS_ATTACKS[name], Y), PairArrays(*VIEWS[view])
    inside, outside = known.leave_pair_out(pairs)
    for side, found in ((0, inside), (1, outside)):
        np.testing.assert_allclose(known.scores(VIEWS[view][side][-1], pairs), found[-1], rtol=1e-4, atol=1e-4)


def test_the_gap_attack_has_yeoms_advantage() -> None:
    """Its advantage is the gap between training and test accuracy: Yeom et al. 2018, Theorem 2 for the 0-1 loss."""
    inside, outside = VIEWS[RECORDED]
    scores = ACCESS_ATTACKS["gap"].leave_pair_out(PairArrays(inside, outside))
    gap = float(inside.mean(dtype=float) - outside.mean(dtype=float))
    assert auc(scores[0].ravel(), scores[1].ravel()) == pytest.approx((1 + gap) / 2, abs=1e-9)


def test_broken_ties_give_the_line_between_the_corners_of_the_curve() -> None:
    """A randomized test at a 1 % FPR flags 0.01/FPR of the examples with a right label: Lehmann & Romano, 3.2."""
    rng = np.random.default_rng(0)
    inside, outside = (rng.binomial(1, p, (20, 20_000)).astype(float) for p in (0.9, 0.6))
    target, inside, outside = untied(inside[0], inside, outside, 1)
    for fpr in (0.01, 0.1, 0.3):
        cut = threshold(outside.ravel(), fpr)
        assert (outside > cut).mean() == pytest.approx(fpr, rel=1e-3)
        assert (inside > cut).mean() == pytest.approx(fpr * 0.9 / 0.6, rel=0.03)
    assert (target > threshold(outside.ravel(), 0.1)).mean() == pytest.approx(0.15, abs=0.01)


def test_scores_without_ties_stay_as_they_are() -> None:
    scores = np.random.default_rng(0).permutation(60).astype(float)
    parts = scores[:20], scores[20:40].reshape(1, 20), scores[40:].reshape(1, 20)
    assert all(found is given for found, given in zip(untied(*parts, 0), parts, strict=True))


def test_label_lira_is_the_ratio_of_two_bernoulli_laws() -> None:
    inside, outside = VIEWS[RECORDED]
    found = ACCESS_ATTACKS["label-lira"].leave_pair_out(PairArrays(inside, outside))
    for t, example, side in ((0, 0, 0), (3, 17, 1), (7, 199, 0)):
        others = [pair for pair in range(PAIRS) if pair != t]
        p_in, p_out = ((of[others, example, 0].sum() + 0.5) / PAIRS for of in (inside, outside))
        right = bool((inside, outside)[side][t, example, 0])
        laws = [stats.bernoulli.logpmf(right, p) for p in (p_in, p_out)]
        assert found[side][t, example] == pytest.approx(laws[0] - laws[1], rel=1e-5)


def test_noise_votes_are_zero_for_a_wrong_label() -> None:
    """As the published code of Choquette-Choo et al.: 0 if misclassified, else the share of noisy copies."""
    columns = np.array([[1, 0.5, 1.0], [0, 1.0, 1.0], [1, 1.0, 1.0]])
    np.testing.assert_allclose(robustness(columns, ALL), [0.75, 0, 1])


def test_modified_entropy_is_that_of_the_recorded_signal() -> None:
    z = np.random.default_rng(0).normal(0, 4, (50, CLASSES))
    np.testing.assert_allclose(
        modified_entropy(_log_softmax(z)), slow.modified_entropy(z, np.zeros(50, np.int64)), rtol=1e-8
    )


def test_top_confidences_hide_a_label_that_is_not_among_them() -> None:
    p = np.array([[0.6, 0.3, 0.1], [0.1, 0.7, 0.2], [0.3, 0.6, 0.1]])
    one, two = (TopLogit(most)(np.log(p), ALL) for most in (1, 2))
    np.testing.assert_allclose(1 / (1 + np.exp(-one)), [0.6, 0.15, 0.2])
    np.testing.assert_allclose(1 / (1 + np.exp(-two)), [0.6, 0.1, 0.3])


def _risk_oracle(train: Array, test: Array, values: Array, edges: Array) -> list[float]:
    """Return counts/(counts + counts) of the bin of each value, half a count more on either side; value by value."""
    found = []
    for value in values:
        place = sum(value >= edge for edge in edges)
        low, high = np.concatenate([[-np.inf], edges])[place], np.concatenate([edges, [np.inf]])[place]
        member, other = (sum(low <= of < high for of in side) + 0.5 for side in (train, test))
        found.append(member / (member + other))
    return found


def test_the_privacy_risk_score_is_a_share_of_counts() -> None:
    """Song & Mittal 2021, Equations 9 and 10, with a prior of 1/2: against counting one reference at a time."""
    inside, outside = (np.log(modified_entropy(side.astype(float))) for side in VIEWS["confidences"])
    found = PrivacyRisk(y=Y).leave_pair_out(PairArrays(*VIEWS["confidences"]))
    one, others = Y == 2, np.arange(PAIRS) != 4
    known = np.concatenate([inside[:, one].ravel(), outside[:, one].ravel()])
    number = min(50, max(5, len(known) // 200))
    edges = np.quantile(known, np.linspace(0, 1, number + 1)[1:-1])
    references = [side[np.ix_(others, one)].ravel() for side in (inside, outside)]
    for place, side in enumerate((inside, outside)):
        expected = _risk_oracle(references[0], references[1], side[4, one], edges)
        np.testing.assert_allclose(found[place][4, one], expected, rtol=1e-6)


def test_the_privacy_risk_score_is_a_probability() -> None:
    """Among examples with a risk of about p, a share of p are members, on models that were no references."""
    target = np.concatenate([OTHER["confidences"][0][0], OTHER["confidences"][1][0]])
    attack, pairs = PrivacyRisk(y=Y), PairArrays(*VIEWS["confidences"])
    inside, outside = (
        np.concatenate([attack.scores(OTHER["confidences"][side][model], pairs) for model in range(PAIRS)])
        for side in (0, 1)
    )
    assert len(target) == 2 * EXAMPLES
    risk = np.concatenate([inside, outside])
    member = np.repeat([1, 0], [len(inside), len(outside)])
    for low, high in ((0.2, 0.4), (0.4, 0.6), (0.6, 0.8)):
        here = (risk >= low) & (risk < high)
        error = np.sqrt(0.25 / here.sum())
        assert here.sum() > 50
        assert abs(member[here].mean() - risk[here].mean()) < 5 * error + 0.03  # 0.03: 60 values in a class are few


def test_the_p_value_is_the_interpolated_share_of_higher_references() -> None:
    references = np.array([[0.0], [1.0], [2.0], [4.0]])
    at = np.array([0.0, 0.5, 1.0, 3.0, 4.0])
    found = [float(p_value(np.array([value]), references)[0]) for value in at]
    np.testing.assert_allclose(found, np.interp(at, [0, 1, 2, 4], [0.8, 0.6, 0.4, 0.2]))
    tail = [float(p_value(np.array([value]), references)[0]) for value in (4.5, 6.0, 50.0)]
    assert 0.2 > tail[0] > tail[1] > tail[2] > 0
    assert 0.8 < float(p_value(np.array([-3.0]), references)[0]) < 1


def test_under_no_leak_the_p_value_is_uniform() -> None:
    rng = np.random.default_rng(0)
    found = p_value(rng.normal(size=4000), rng.normal(size=(15, 4000)))
    assert stats.kstest(found, "uniform").statistic < 0.03


def test_morgan_finds_the_window_where_the_direction_tells() -> None:
    """Members have a high share only at losses between 1 and 2: the window must be about that."""
    rng = np.random.default_rng(0)
    loss = rng.uniform(0, 4, (2, 20_000))
    share = rng.uniform(0, 1, (2, 20_000))
    share[0] = np.where((loss[0] > 1) & (loss[0] < 2), 1 + 0.1 * share[0], share[0])
    low, high = _window(*(np.stack([-of, by], axis=1) for of, by in zip(loss, share, strict=True)))
    assert low <= 1.4 and high >= 1.6  # all quantiles outside tie with or lose to it


def test_shokri_has_a_classifier_for_each_class() -> None:
    """Two classes with opposite leaks cancel in one classifier, and not in two."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    sign = np.where(y == 0, 1.0, -1.0)
    sides = []
    for leak in (1.0, -1.0):
        z = rng.normal(size=(8, 200, 3))
        z[..., 0] += leak * sign
        sides.append(_log_softmax(z).astype(np.float32))
    pairs = PairArrays(sides[0], sides[1])
    attack = ACCESS_ATTACKS["shokri"]
    apart = knowing(attack, y).leave_pair_out(pairs)
    together = replace(attack, by_class=False).leave_pair_out(pairs)  # type: ignore[type-var]
    assert auc(apart[0].ravel(), apart[1].ravel()) > 0.8
    assert abs(auc(together[0].ravel(), together[1].ravel()) - 0.5) < 0.06


def test_augmentation_votes_rank_patterns_as_their_likelihood_ratios_do() -> None:
    """Independent bits: the log-odds of a pattern is the sum of the log ratios of its bits."""
    rng = np.random.default_rng(0)
    chances = np.array([0.9, 0.8, 0.5]), np.array([0.6, 0.5, 0.5])
    inside, outside = (rng.binomial(1, p, (12, 300, 3)).astype(np.float32) for p in chances)
    scores = ACCESS_ATTACKS["augmentation-votes"].leave_pair_out(PairArrays(inside, outside))[0]
    patterns = np.array(list(np.ndindex(2, 2, 2)))
    laws = [np.asarray(stats.bernoulli.logpmf(patterns, of)) for of in chances]
    expected = (laws[0] - laws[1]).sum(axis=1)
    found = [scores[(inside == pattern).all(axis=-1)].mean() for pattern in patterns]
    assert stats.pearsonr(expected, found).statistic > 0.95
