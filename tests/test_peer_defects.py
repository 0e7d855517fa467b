"""Defects that were found in other tools of this kind, each with the tests that ours does not have it."""

import ast
from pathlib import Path

import numpy as np
import pytest

from memaudit.stats import threshold

HERE = Path(__file__).parent

TESTED = {
    "span off by one": (
        "test_extraction.test_the_first_suffix_token_is_scored_and_the_last_prefix_token_is_not",
        "test_token_statistics.test_exactly_the_marked_tokens_are_scored_each_by_what_stands_before_it",
        "test_population.test_of_a_secret_and_its_decoys_the_value_alone_is_marked",
    ),
    "prefix decoded and encoded again": ("test_decoding.test_prefixes_are_ids_as_they_are",),
    "prompted without what stood before it in training": (
        "test_population.test_the_longest_context_is_a_row_as_it_is_trained_on",
        "test_population.test_a_canary_is_probed_in_the_row_that_is_trained_on",
    ),
    "conversations scored without their template": (
        "test_rendering.test_of_messages_what_the_assistant_says_is_trained_and_not_who_says_it",
    ),
    "prompt scored with what was generated": (
        "test_decoding.test_prompts_are_drawn_from_the_texts_and_are_not_among_what_was_generated",
    ),
    "pad tokens scored": ("test_token_statistics.test_no_padding_is_scored_though_it_looks_like_the_end",),
    "a pad token that is also the end of a text": (
        "test_decoding.test_end_of_sequence_and_pad_are_tokens_like_any_other",
    ),
    "Min-K%++ with moments that the model's probabilities do not weigh": (
        "test_token_statistics.test_mean_and_deviation_are_taken_under_the_models_own_distribution",
        "test_language_attacks.test_min_k_plus_plus_on_logits",
    ),
    "Min-K% of no token, int(length * k) = 0": ("test_language_attacks.test_short_texts_have_scores",),
    "the sign of a loss": ("test_language_attacks.test_likelier_texts_look_more_like_members",),
    "zlib's header in the ratio": (
        "test_language_attacks.test_the_header_of_zlib_favours_short_texts",
        "test_extraction.test_zlib_without_header_and_checksum",
    ),
    "exposures out of the order of their canaries, or negative": (
        "test_exposure.test_sampled_exposure_keeps_the_order_and_is_never_negative",
    ),
    "infinite or absurd exposure of a skew-normal tail": (
        "test_exposure.test_the_left_tail_does_not_underflow",
        "test_exposure.test_an_absurd_tail_is_cut_at_the_size_of_the_space",
    ),
    "Kolmogorov-Smirnov with fitted parameters": (
        "test_exposure.test_the_p_value_of_the_fit_is_uniform_where_kolmogorov_smirnovs_is_not",
    ),
    "exposures of several doses in one number": ("test_exposure.test_means_and_shares_by_dose",),
    "1 - (1 - p)^n that underflows": ("test_extraction.test_chance_within_where_the_naive_form_is_zero",),
    "BLEU of short texts": ("test_extraction.test_bleu_of_identical_texts_is_1_however_short",),
    "an empty remainder counts as extracted": ("test_extraction.test_nothing_is_not_extracted",),
    "a distance that depends on where a text is aligned": (
        "test_extraction.test_a_verbatim_target_is_at_distance_0_wherever_it_stands",
    ),
    "a window that is never moved": ("test_extraction.test_the_window_finds_a_memorized_stretch_in_an_unlikely_text",),
    "precision of the top alone": ("test_extraction.test_the_random_sample_shows_the_share_of_all_candidates",),
    "duplicates counted by lines or occurrences": (
        "test_corpus_index.test_documents_are_counted_once_however_often_they_repeat_a_sequence",
    ),
    "a threshold beyond which more lie than alpha": (
        "test_peer_defects.test_no_number_of_controls_lets_more_be_accused_than_alpha",
        "test_stats.test_threshold_is_the_lowest_that_keeps_the_rate",
        "test_stats.test_transferred_thresholds_never_look_at_the_target",
    ),
    "extraction without models that lack the text": (
        "test_text_checks.test_texts_that_are_continued_are_told_from_predictable_ones",
        "test_generation.test_passages_are_recited_memorized_or_predictable",
    ),
}


@pytest.mark.parametrize("defect", TESTED)
def test_a_peers_defect_has_a_test(defect: str) -> None:
    for name in TESTED[defect]:
        module, _, function = name.partition(".")
        tree = ast.parse((HERE / f"{module}.py").read_text("utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name


@pytest.mark.parametrize("controls", [100, 101, 116, 120, 132, 199, 200, 201])
def test_no_number_of_controls_lets_more_be_accused_than_alpha(controls: int) -> None:
    """The 99 % quantile, with scores at it accused, lets 2 of 101, 116, … through: up to 1.98 %."""
    scores = np.random.default_rng(controls).normal(size=controls)
    quantile = np.quantile(scores, 0.99, method="higher")
    assert ((scores >= quantile).mean() > 0.01) == (controls % 100 != 0)
    assert 0 < (scores > threshold(scores, 0.01)).mean() <= 0.01
