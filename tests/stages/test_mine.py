"""Mined negatives are hard, and negatives: never a positive, never of its cluster, never too close to it."""

from pathlib import Path

import numpy as np
import pytest
from mining_inputs import Data, mine_params, run_mine

from attune.tuning.mining import candidates
from attune.tuning.mining.rules import REASONS


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.9, 0.75])
def test_the_nearest_allowed_train_documents_are_mined(tmp_path: Path, seed: int, share: float) -> None:
    """No positive, none of its cluster, none above the share of the lowest positive; nearest first."""
    data = Data.random(seed)
    negatives, receipt = run_mine(data, tmp_path, mine_params(max_share_of_positive=share))
    n_mined = 0
    for query, rows in enumerate(negatives):
        allowed = [row for row in data.ranked(query, 6) if data.may_be_mined(query, row, share)][:2]
        assert rows[: len(allowed)] == allowed
        n_mined += len(allowed)
    assert receipt["n_kept"] == n_mined
    lowest = [min(data.scores(query)[rows]) for query, rows in enumerate(data.positives)]
    assert receipt["mean_lowest_positive_score"] == pytest.approx(np.mean(lowest), abs=2e-6)


@pytest.mark.parametrize("seed", range(8))
def test_short_lists_are_filled_with_documents_no_rule_rejected(tmp_path: Path, seed: int) -> None:
    """Every query gets two distinct train documents of other clusters, none rejected as long as others are left."""
    data = Data.random(seed)
    negatives, _ = run_mine(data, tmp_path, mine_params(max_share_of_positive=0.75))
    for query, rows in enumerate(negatives):
        assert len(set(rows)) == 2
        assert set(rows) <= set(data.train_rows_outside(query))
        rejected = {row for row in data.ranked(query, 6) if not data.may_be_mined(query, row, 0.75)}
        assert not rejected & set(rows)


def test_the_receipt_accounts_for_every_candidate(tmp_path: Path) -> None:
    """Reasons add up to the candidates, kept and filled to the negatives written; every enabled rule has applied."""
    data = Data.random(7)
    _, receipt = run_mine(data, tmp_path, mine_params(max_share_of_positive=0.75))
    reasons = tuple(f"n_{reason}" for reason in REASONS)
    n_queries = len(data.positives)
    assert sum(receipt[reason] for reason in reasons) == receipt["n_candidates"] == n_queries * 6
    assert receipt["n_kept"] + receipt["n_filled_at_random"] == n_queries * 2
    disabled = {"n_own_negative", "n_same_query", "n_within_margin", "n_passed_over"}
    assert min(receipt[reason] for reason in {*reasons, "n_filled_at_random"} - disabled) > 0


def test_no_mined_negatives_are_an_option(tmp_path: Path) -> None:
    """n_negatives: 0 trains on in-batch negatives alone; the rows are written, their lists are empty."""
    data = Data.random(7)
    negatives, _ = run_mine(data, tmp_path, mine_params(n_negatives=0))
    assert negatives == [[]] * len(data.positives)


def test_the_users_own_negatives_come_first(tmp_path: Path) -> None:
    """Query 0 gives three, of which two are taken; mined ones fill all rows to n_negatives + 2 without repetition."""
    data = Data.random(7)
    own = data.train_rows_outside(0)[:3]
    nearest = next(row for row in data.ranked(1, 6) if data.may_be_mined(1, row, 0.9))
    negatives, receipt = run_mine(data, tmp_path, mine_params(n_negatives=1), {0: own, 1: [nearest]})
    assert negatives[0][:2] == own[:2]
    assert negatives[1][0] == nearest
    assert all(len(rows) == len(set(rows)) == 3 for rows in negatives)
    assert receipt["n_given_by_user"] == 3


@pytest.mark.parametrize("index", ["flat", "ivf", "hnsw", "sq8", "pq"])
def test_every_index_mines_by_the_rules_and_reports_its_recall(tmp_path: Path, index: str) -> None:
    """Indexes that need training fall back to exact search on so few documents; the others find nearly all of them."""
    data = Data.random(7)
    negatives, receipt = run_mine(data, tmp_path, mine_params(index=index))
    used = {"flat": "Flat", "ivf": "Flat", "pq": "Flat", "hnsw": "HNSW32", "sq8": "SQ8"}
    assert receipt["index"] == used[index]
    assert receipt["index_recall"] == 1.0 if used[index] == "Flat" else 0.9 <= receipt["index_recall"] <= 1.0
    for query, rows in enumerate(negatives):
        assert not set(rows) & set(data.positives[query])
        assert set(rows) <= set(data.train_rows_outside(query))


@pytest.mark.parametrize("lexical_share", [0.0, 0.5])
def test_block_sizes_do_not_change_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lexical_share: float
) -> None:
    """Same negatives and receipt in small blocks as in one, with same_query and own negatives in use."""
    data, params = Data.random(7), mine_params(lexical_share=lexical_share, same_query=0.9)
    own = {3: [data.ranked(3, 1)[0]], 9: [int(np.flatnonzero(data.in_train)[0])]}
    at_once = run_mine(data, tmp_path / "at_once", params, own)
    for constant, size in (("QUERY_BLOCK", 3), ("LOOKUP_BATCH", 5), ("SCORE_BATCH", 4)):
        monkeypatch.setattr(candidates, constant, size)
    assert run_mine(data, tmp_path / "blocks", params, own) == at_once
