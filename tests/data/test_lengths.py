"""The length at which texts are cut follows from the data and from what a run of training may cost."""

from pathlib import Path

import numpy as np
import pytest
from shipped_params import PANEL

from attune.data.lengths import (
    CANDIDATES,
    MAX_SAMPLED,
    MOST_ROWS,
    PASSES,
    Lengths,
    auto_length,
    figures,
    lengths_of,
    price,
    sampled,
    whole_length,
)
from attune.errors import BadInput
from attune.stage import load_params
from attune.stages.base import BaseParams
from attune.tuning.training.recipe import EPOCHS, MOST_STEPS

PLENTY = 10**9  # tokens
NO_LIMIT = 8192  # positions


def lengths(documents: list[int], queries: list[int], n_pairs: int = 10) -> Lengths:
    return Lengths(np.array(documents), np.array(queries), n_pairs)


# 18 documents of 50 tokens, one of 90, one of 300: 96 holds 19 of 20
TWENTY = lengths([50] * 18 + [90, 300], [10, 30])


def test_the_tokens_of_a_run_by_hand() -> None:
    """Four passes over ten pairs of a query (20 tokens in the mean) and two documents, cut at the length."""
    assert TWENTY.run_tokens(96) == 40 * 20 + 40 * 2 * (18 * 50 + 90 + 96) / 20 == 5144
    assert TWENTY.run_tokens(32) == 40 * 20 + 40 * 2 * 32
    assert TWENTY.run_tokens(16) == 40 * (10 + 16) / 2 + 40 * 2 * 16


@pytest.mark.parametrize(("n_pairs", "n_rows"), [(15_999, 63_996), (16_000, 64_000), (10**6, 64_000)])
def test_a_run_has_64000_rows_at_most(n_pairs: int, n_rows: int) -> None:
    """A million pairs cost no more than 16,000, and get no shorter texts; a row has 10 + 2 x 96 tokens here."""
    many = lengths([900] * 20, [10], n_pairs)
    assert many.run_tokens(96) == n_rows * 202
    assert auto_length(many, NO_LIMIT, 64_000 * 202) == 96


def test_a_run_is_that_of_the_default_epochs() -> None:
    """As many passes and rows as train.epochs: auto makes of a batch size of 32."""
    assert (PASSES, MOST_ROWS) == (EPOCHS, MOST_STEPS * 32)


def test_many_pairs_are_read_as_far_as_few() -> None:
    """The budget as committed leaves 96 tokens to a hundred thousand pairs of long documents, more to a few hundred."""
    budget = load_params(BaseParams, "base", PANEL).run_tokens
    assert auto_length(lengths([900] * 20, [12], 100_000), NO_LIMIT, budget) == 96
    assert auto_length(lengths([900] * 20, [12], 300), NO_LIMIT, budget) == 512


@pytest.mark.parametrize(
    ("documents", "queries", "n_positions", "expected"),
    [
        ([50] * 18 + [90, 300], [10], NO_LIMIT, 96),
        ([50] * 19 + [300], [10], NO_LIMIT, 64),
        ([64] * 20, [10], NO_LIMIT, 64),
        ([65] * 20, [10], NO_LIMIT, 96),
        ([10] * 20, [200] * 20, NO_LIMIT, 256),  # queries count, too
        ([10] * 20, [10], NO_LIMIT, 32),
        ([900] * 20, [10], NO_LIMIT, 512),
        ([900] * 20, [10], 300, 256),
        ([900] * 20, [10], 24, 24),  # fewer positions than the smallest candidate
    ],
)
def test_the_length_that_holds_95_percent(
    documents: list[int], queries: list[int], n_positions: int, expected: int
) -> None:
    """The smallest of the candidates that does, or the largest that the encoder has positions for."""
    data = lengths(documents, queries)
    assert whole_length(data, n_positions) == auto_length(data, n_positions, PLENTY) == expected


@pytest.mark.parametrize(
    ("run_tokens", "expected"), [(1000, 96), (11_039, 96), (11_040, 128), (16_159, 128), (16_160, 192), (PLENTY, 512)]
)
def test_time_bounds_the_length_by_hand(run_tokens: int, expected: int) -> None:
    """Forty rows over documents of 900 tokens read 800 + 80 times the length: 11,040 at 128 tokens, 16,160 at 192."""
    data = lengths([900] * 20, [10, 30])
    assert [data.run_tokens(length) for length in (128, 192)] == [11_040, 16_160]
    assert auto_length(data, NO_LIMIT, run_tokens) == expected


def test_96_tokens_are_read_at_any_price_but_no_more_than_needed() -> None:
    """A budget that affords nothing leaves 96, or what holds 95% where that is less, or what the encoder has."""
    assert auto_length(lengths([900] * 20, [10]), NO_LIMIT, 1) == 96
    assert auto_length(lengths([20] * 20, [10]), NO_LIMIT, 1) == 32
    assert auto_length(lengths([900] * 20, [10]), 48, 1) == 32


def test_figures_and_price_by_hand() -> None:
    """Shares that 64 cuts, the run at 64 beside that at 96, and the shares that 96 cuts."""
    of_64 = figures(TWENTY, 64)
    assert (of_64["documents_cut_share"], of_64["queries_cut_share"]) == (0.1, 0)
    assert (of_64["documents_tokens_p50"], of_64["queries_tokens_p50"]) == (50, 20)
    assert of_64["documents_tokens_p95"] == pytest.approx(90 + 0.05 * 210)
    assert price(TWENTY, 64, NO_LIMIT) == {
        "n_run_tokens": 4912,
        "whole_length": 96,
        "n_whole_run_tokens": 5144,
        "whole_run_ratio": 5144 / 4912,
        "documents_cut_at_whole_length_share": 0.05,
        "queries_cut_at_whole_length_share": 0,
    }


def test_a_sample_is_spread_over_all_texts() -> None:
    """Few texts are all taken, in order; of twice as many as are counted every second one."""
    assert sampled(["a", "b", "c"]) == ["a", "b", "c"] and sampled([]) == []
    taken = sampled([str(i) for i in range(2 * MAX_SAMPLED)])
    assert len(taken) == MAX_SAMPLED and taken[:3] == ["0", "2", "4"]


def test_tokens_are_counted_with_prompts_and_special_ones(tiny_encoder: Path) -> None:
    """Two special tokens, and the words of the prompt; nothing is cut at the tokenizer's own maximum."""
    counted = lengths_of(tiny_encoder, {"query": "a a a "}, ["a", "a " * 200], ["a"], 7)
    assert counted.documents.tolist() == [3, 202] and counted.queries.tolist() == [6] and counted.n_pairs == 7


def test_an_encoder_without_a_readable_tokenizer_is_one_line(tmp_path: Path) -> None:
    """The error names the file and the way out."""
    with pytest.raises(BadInput, match="tokenizer.json: not found; save the encoder with its fast tokenizer"):
        lengths_of(tmp_path, {}, ["a"], ["b"], 1)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BadInput, match="tokenizer.json: not a tokenizer"):
        lengths_of(tmp_path, {}, ["a"], ["b"], 1)


def test_candidates_ascend() -> None:
    """The rules take the first that holds, and the last that is affordable."""
    assert list(CANDIDATES) == sorted(set(CANDIDATES))
