"""Statistics of texts and the calibrated loss against closed forms, slow loops, and what must not change them.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

import zlib

import numpy as np
import pytest
from scipy import stats

from memaudit.attacks import Attack, interface
from memaudit.attacks.language import (
    STATISTICS,
    Calibrated,
    mean_logp,
    min_k,
    min_k_plus_plus,
    zlib_bytes,
    zlib_ratio,
)
from memaudit.design import NullPairs, PairArrays, coins
from memaudit.stats import auc
from memaudit.tokens import TokenStatistics

Array = np.ndarray
LENGTHS = (1, 2, 3, 4, 5, 6, 9, 10, 11, 40, 200)

every_statistic = pytest.mark.parametrize("name", STATISTICS)


def last(bank: PairArrays, pair: int) -> PairArrays:
    """Return the bank with one pair moved to the end, where a target's scores leave it out."""
    return bank.take(np.array([*np.delete(np.arange(len(bank.inside)), pair), pair]))


def _of_logits(logits: list[Array], tokens: list[Array]) -> TokenStatistics:
    """Returns the record of texts, from each text's logits `[tokens, vocabulary]`, by the definitions."""
    logp, mean, deviation = [], [], []
    for z, came in zip(logits, tokens, strict=True):
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        log = np.log(p)
        logp.append(log[np.arange(len(came)), came])
        mean.append((p * log).sum(axis=1))
        deviation.append(np.sqrt((p * (log - mean[-1][:, None]) ** 2).sum(axis=1)))
    return _record([len(came) for came in tokens], *map(np.concatenate, (logp, mean, deviation)))


def _record(
    lengths: list[int] | Array, logp: Array, mean: Array | None = None, deviation: Array | None = None
) -> TokenStatistics:
    """Returns a record in which only what the statistics read is filled in."""
    count = len(logp)
    return TokenStatistics(
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        logp=logp.astype(np.float32),
        mean=(np.full(count, -3.0) if mean is None else mean).astype(np.float32),
        deviation=(np.ones(count) if deviation is None else deviation).astype(np.float32),
        gap=np.zeros(count, np.float32),
        rank=np.zeros(count, np.int32),
        normaliser=np.zeros(count, np.float32),
    )


def _random(seed: int, lengths: tuple[int, ...] = LENGTHS) -> TokenStatistics:
    rng = np.random.default_rng(seed)
    count = sum(lengths)
    return _record(list(lengths), -rng.exponential(3, count), -rng.exponential(3, count), rng.gamma(2, 1, count))


def _part(tokens: TokenStatistics, text: int) -> slice:
    return slice(int(tokens.starts[text]), int(tokens.starts[text + 1]))


def _scores(name: str, tokens: TokenStatistics, compressed: int = 100) -> Array:
    return STATISTICS[name][0](tokens, np.full(len(tokens), compressed))


# --- against loops and closed forms -----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.33, 0.5, 1.0])
def test_min_k_is_the_mean_of_the_lowest(share: float) -> None:
    """⌈share · n⌉ of n tokens, in whole numbers: a percentage times n over 100, rounded up."""
    tokens = _random(1)
    expected = []
    for text, n in enumerate(LENGTHS):
        lowest = np.sort(tokens.logp[_part(tokens, text)].astype(float))
        expected.append(lowest[: max(1, -(-round(100 * share) * n // 100))].mean())
    assert min_k(tokens, share) == pytest.approx(np.array(expected), rel=1e-12)


@pytest.mark.parametrize(("share", "n"), [(0.07, 100), (0.2, 15), (0.1, 30), (0.3, 10), (0.6, 5)])
def test_a_share_that_is_a_whole_number_is_not_rounded_up(share: float, n: int) -> None:
    """0.07 · 100 is 7.000…01 in binary."""
    tokens = _record([n], -np.arange(n, dtype=float))
    taken = round(share * n)
    assert min_k(tokens, share)[0] == pytest.approx(-(n - 1) + (taken - 1) / 2, rel=1e-12)


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_min_k_plus_plus_on_logits(share: float) -> None:
    """μ and σ are moments under the model's own distribution; unweighted ones over the vocabulary rank differently."""
    rng = np.random.default_rng(2)
    lengths = rng.integers(1, 30, 60)
    logits = [rng.normal(size=(n, 50)) * rng.gamma(2, 1, (n, 1)) for n in lengths]
    tokens = [rng.integers(0, 50, n) for n in lengths]
    weighted, unweighted = [], []
    for z, came in zip(logits, tokens, strict=True):
        own, plain = [], []
        for row, token in zip(z, came, strict=True):
            p = np.exp(row) / np.exp(row).sum()
            mean = sum(p[v] * np.log(p[v]) for v in range(50))
            variance = sum(p[v] * (np.log(p[v]) - mean) ** 2 for v in range(50))
            own.append((np.log(p[token]) - mean) / np.sqrt(variance))
            plain.append((np.log(p[token]) - np.log(p).mean()) / np.log(p).std())
        taken = max(1, int(np.ceil(share * len(came))))
        weighted.append(np.mean(sorted(own)[:taken]))
        unweighted.append(np.mean(sorted(plain)[:taken]))
    scores = min_k_plus_plus(_of_logits(logits, tokens), share)
    assert scores == pytest.approx(np.array(weighted), abs=1e-4)
    assert stats.spearmanr(scores, unweighted).statistic < 0.95


@pytest.mark.parametrize("p", [0.5001, 0.7, 0.99])
def test_min_k_plus_plus_of_a_coin(p: float) -> None:
    """Two tokens of probability p and q: their standardised log-probabilities are √(q/p) and −√(p/q)."""
    q = 1 - p
    tokens = _of_logits([np.log([[p, q]]), np.log([[p, q]])], [np.array([0]), np.array([1])])
    assert min_k_plus_plus(tokens) == pytest.approx([np.sqrt(q / p), -np.sqrt(p / q)], rel=1e-3)


@pytest.mark.parametrize("logits", [[0.0, -np.inf], [800.0, 0.0], [0.0, 0.0], [0.0] * 1000])
def test_min_k_plus_plus_where_the_deviation_is_zero(logits: list[float]) -> None:
    """The model is certain of the token that came, or all tokens are equally likely: it is as likely as usual, 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        tokens = _of_logits([np.array([logits])], [np.array([0])])
    certain = _record([1], tokens.logp, np.nan_to_num(tokens.mean), np.nan_to_num(tokens.deviation))
    assert certain.deviation[0] < 1e-6
    assert min_k_plus_plus(certain)[0] == pytest.approx(0, abs=0.01)


def test_mean_logp_and_zlib_ratio() -> None:
    tokens = _random(3)
    texts = [f"text number {n}, {'é' * n}" for n in range(len(tokens))]
    sums = np.array([tokens.logp[_part(tokens, text)].astype(float).sum() for text in range(len(tokens))])
    assert mean_logp(tokens) == pytest.approx(sums / np.array(LENGTHS), rel=1e-9)
    bytes_ = [len(zlib.compress(text.encode("utf-8"))) for text in texts]
    assert zlib_bytes(texts).tolist() == bytes_
    assert zlib_ratio(tokens, zlib_bytes(texts)) == pytest.approx(sums / np.array(bytes_), rel=1e-9)


def test_the_header_of_zlib_favours_short_texts() -> None:
    """8 bytes for no text at all. At equal nats per byte of content, the shorter text looks more like a member."""
    assert zlib_bytes([""]).tolist() == [8]
    content = np.array([10, 100, 1000])
    tokens = _record(content, np.full(content.sum(), -0.5))
    ratio = zlib_ratio(tokens, content + 8)
    assert ratio == pytest.approx(-0.5 * content / (content + 8), rel=1e-9)
    assert np.all(np.diff(ratio) < 0)


def test_min_k_of_all_tokens_is_the_mean() -> None:
    tokens = _random(4)
    assert min_k(tokens, 1.0) == pytest.approx(mean_logp(tokens), rel=1e-9)


# --- what holds for every statistic -----------------------------------------------------------------------------------


@every_statistic
def test_likelier_texts_look_more_like_members(name: str) -> None:
    """The sign: published code has returned the loss here, and members at the bottom."""
    tokens = _random(5)
    likelier = _record(list(LENGTHS), tokens.logp * 0.9, tokens.mean, tokens.deviation)
    assert np.all(_scores(name, likelier) > _scores(name, tokens))


@every_statistic
def test_short_texts_have_scores(name: str) -> None:
    """Of fewer tokens than one over the share, a rounded-down number would be the mean of nothing."""
    scores = _scores(name, _random(6, (1, 2, 3, 4)))
    assert np.isfinite(scores).all()


@every_statistic
def test_permuting_texts_permutes_scores(name: str) -> None:
    tokens = _random(7)
    order = np.random.default_rng(7).permutation(len(tokens))
    parts = [_part(tokens, text) for text in order]
    moved = _record(
        tokens.lengths[order],
        *(np.concatenate([values[part] for part in parts]) for values in (tokens.logp, tokens.mean, tokens.deviation)),
    )
    assert _scores(name, moved) == pytest.approx(_scores(name, tokens)[order], rel=1e-9)


@every_statistic
def test_the_order_of_tokens_does_not_matter(name: str) -> None:
    tokens = _random(8, (30,))
    order = np.random.default_rng(8).permutation(30)
    moved = _record([30], tokens.logp[order], tokens.mean[order], tokens.deviation[order])
    assert _scores(name, moved) == pytest.approx(_scores(name, tokens), rel=1e-9)


@every_statistic
def test_a_text_without_a_predicted_token_is_refused(name: str) -> None:
    """Not scored 0, which is what a text of certain tokens has: the top of the list."""
    with pytest.raises(ValueError, match="text 2 has no predicted token"):
        _scores(name, _random(9, (3, 1, 0, 5)))


def test_an_impossible_token_spoils_no_other_text() -> None:
    tokens = _random(10, (5, 5, 5))
    tokens.logp[7] = -np.inf
    clean = _random(10, (5, 5, 5))
    for statistic in (min_k, min_k_plus_plus):
        scores = statistic(tokens)
        assert scores[1] == -np.inf
        assert np.array_equal(scores[[0, 2]], statistic(clean)[[0, 2]])


@pytest.mark.parametrize("share", [0.0, -0.2, 1.1, np.nan])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    for statistic in (min_k, min_k_plus_plus):
        with pytest.raises(ValueError, match=str(share)):
            statistic(_random(11), share)


def test_lengths_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="positive, got 0"):
        zlib_ratio(_random(12, (3, 3)), np.array([50, 0]))


@every_statistic
def test_every_statistic_names_its_source(name: str) -> None:
    assert "et al. 20" in STATISTICS[name][1]


# --- the calibrated loss ----------------------------------------------------------------------------------------------


@pytest.fixture
def bank() -> PairArrays:
    inside, outside = np.random.default_rng(20).normal(size=(2, 6, 40, 3))
    return PairArrays(inside + 1, outside)


def _calibrated_by_hand(target: Array, outside: Array) -> list[float]:
    return [
        float(
            np.mean(
                [target[example, query] - np.mean([model[example, query] for model in outside]) for query in range(3)]
            )
        )
        for example in range(target.shape[0])
    ]


def test_leaving_a_pair_out_is_a_refit(bank: PairArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bank model as a target, against the mean of the other pairs' outside models, by explicit loops."""
    monkeypatch.setattr(interface, "_BLOCK", 100)  # several blocks, the last of another size
    inside, outside = Calibrated().leave_pair_out(bank)
    assert inside.shape == outside.shape == (6, 40)
    for pair in range(6):
        others = np.delete(np.arange(6), pair)
        for scores, target in ((inside[pair], bank.inside[pair]), (outside[pair], bank.outside[pair])):
            expected = _calibrated_by_hand(target, bank.outside[others])
            assert scores == pytest.approx(expected, abs=1e-6)
            assert Calibrated().scores(target, last(bank, pair)) == pytest.approx(expected, abs=1e-6)


def test_a_target_outside_the_bank(bank: PairArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "_BLOCK", 100)
    target = np.random.default_rng(21).normal(size=(40, 3)).astype(np.float32)
    expected = _calibrated_by_hand(target, bank.outside[:-1])
    assert Calibrated().scores(target, bank) == pytest.approx(expected, abs=1e-6)


def test_how_hard_an_example_is_cancels(bank: PairArrays) -> None:
    hardness = 100 * np.random.default_rng(22).normal(size=(1, 40, 3))
    moved = Calibrated().leave_pair_out(PairArrays(bank.inside + hardness, bank.outside + hardness))
    assert np.stack(moved) == pytest.approx(np.stack(Calibrated().leave_pair_out(bank)), abs=1e-4)


@pytest.mark.parametrize("pairs", [2, 5, 17])
def test_area_of_normal_signals(pairs: int) -> None:
    """φ|out ~ N(μᵢ, 1), φ|in ~ N(μᵢ + 1, 1), r = pairs − 1 references: scores are N(0 or 1, 1 + 1/r), and the area
    Φ(1/√(2(1 + 1/r))), however widely μᵢ are spread.

    5 SE of the mean over targets, each of 2 × 2000 scores with SE below √(¼/2000): as if targets agreed fully, .056.
    Targets share their references' errors; false alarm over 3 settings 2e-6.
    """  # fmt: skip
    rng = np.random.default_rng(23)
    centre = 10 * rng.normal(size=(2000, 1))
    noise = rng.normal(size=(2, pairs, 2000, 1))
    inside, outside = Calibrated().leave_pair_out(PairArrays(centre + noise[0] + 1, centre + noise[1]))
    areas = [auc(a, b) for a, b in zip(inside, outside, strict=True)]
    expected = stats.norm.cdf(1 / np.sqrt(2 * (1 + 1 / (pairs - 1))))
    assert np.mean(areas) == pytest.approx(expected, abs=5 * np.sqrt(0.25 / 2000))


def test_random_members_are_at_chance() -> None:
    """Inside and outside exchanged by coins: area ½ to 5 SE over examples of the mean difference of ranks."""
    rng = np.random.default_rng(24)
    centre = 5 * rng.normal(size=(3000, 1))
    signals = rng.normal(size=(2, 8, 3000, 1))
    null = NullPairs(PairArrays(centre + signals[0] + 3, centre + signals[1]), coins(24, 8, 3000))
    inside, outside = Calibrated().leave_pair_out(null)
    ranks = stats.rankdata(np.stack([inside, outside])).reshape(2, 8, 3000)
    gap = (ranks[0] - ranks[1]).mean(axis=0)
    assert gap.mean() == pytest.approx(0, abs=5 * gap.std() / np.sqrt(3000))


def test_too_few_pairs_and_other_shapes_are_refused(bank: PairArrays) -> None:
    attack: Attack = Calibrated()
    one = bank.take(np.arange(1))
    with pytest.raises(ValueError, match="at least 2 pairs of models, got 1"):
        attack.leave_pair_out(one)
    assert np.isfinite(attack.scores(bank.inside[1], bank.take(np.arange(2)))).all()
    with pytest.raises(ValueError, match="at least 2 pairs of models, got 1"):
        attack.scores(bank.inside[1], one)
    with pytest.raises(ValueError, match=r"shape \(40, 2\), the bank's \(40, 3\)"):
        attack.scores(bank.inside[1, :, :2], bank)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_signal_that_is_not_finite_is_refused(bank: PairArrays, bad: float) -> None:
    target = bank.inside[0].copy()
    target[3, 1] = bad
    with pytest.raises(ValueError, match="example 3"):
        Calibrated().scores(target, bank)
    bank.outside[2, 31, 0] = bad
    with pytest.raises(ValueError, match="example 31"):
        Calibrated().leave_pair_out(bank)
