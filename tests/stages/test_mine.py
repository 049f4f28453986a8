"""Mined negatives are hard, and negatives: never judged relevant to the query or to one like it, never too close."""

from pathlib import Path

import numpy as np
import pytest
from mining_inputs import N_DOCUMENTS, Data, mine_params, name, run_mine

from attune.tables import TRIPLETS, read
from attune.tuning.mining import candidates, deeper
from attune.tuning.mining.rules import REASONS


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.9, 0.75])
def test_the_nearest_allowed_train_documents_are_mined(tmp_path: Path, seed: int, share: float) -> None:
    """No answer of the query or of one that reads the same, no own text, none above the limit; nearest first."""
    data = Data.random(seed)
    negatives, receipt = run_mine(data, tmp_path, mine_params(max_share_of_positive=share))
    n_mined = 0
    for query, rows in enumerate(negatives):
        allowed = [row for row in data.ranked(query, N_DOCUMENTS) if data.may_be_mined(query, row, share)][:2]
        assert rows[: len(allowed)] == allowed
        n_mined += len(allowed)
    assert receipt["n_kept"] + receipt["n_kept_from_deeper"] == n_mined
    lowest = [min(data.scores(query)[rows]) for query, rows in enumerate(data.positives)]
    assert receipt["mean_lowest_positive_score"] == pytest.approx(np.mean(lowest), abs=2e-6)


@pytest.mark.parametrize("seed", range(8))
def test_short_lists_are_filled_with_documents_no_rule_rejected(tmp_path: Path, seed: int) -> None:
    """Every query gets two distinct train documents, no answers; at random only where none is below the limit."""
    data = Data.random(seed)
    negatives, _ = run_mine(data, tmp_path, mine_params(max_share_of_positive=0.75))
    for query, rows in enumerate(negatives):
        assert len(set(rows)) == 2
        assert set(rows) <= set(data.allowed_rows(query))
        allowed = [row for row in data.ranked(query, N_DOCUMENTS) if data.may_be_mined(query, row, 0.75)]
        assert len(set(rows) & set(allowed)) == min(2, len(allowed))


def test_the_receipt_accounts_for_every_candidate(tmp_path: Path) -> None:
    """Reasons add up to the candidates, kept and filled to the negatives written; every enabled rule has applied."""
    data = Data.random(7)
    _, receipt = run_mine(data, tmp_path, mine_params(max_share_of_positive=0.75))
    reasons = tuple(f"n_{reason}" for reason in REASONS)
    n_queries = len(data.positives)
    assert sum(receipt[reason] for reason in reasons) == receipt["n_candidates"] == n_queries * 6
    assert receipt["n_kept"] + receipt["n_kept_from_deeper"] + receipt["n_filled_at_random"] == n_queries * 2
    disabled = {"n_own_negative", "n_same_query", "n_within_margin", "n_passed_over"}
    assert min(receipt[reason] for reason in {*reasons, "n_kept_from_deeper"} - disabled) > 0


def test_no_mined_negatives_are_an_option(tmp_path: Path) -> None:
    """n_negatives: 0 trains on in-batch negatives alone; the rows are written, their lists are empty."""
    data = Data.random(7)
    negatives, _ = run_mine(data, tmp_path, mine_params(n_negatives=0))
    assert negatives == [[]] * len(data.positives)


def test_the_users_own_negatives_come_first(tmp_path: Path) -> None:
    """Each query gets along with its own: one takes two of its three, one has a mined one beside, the others two."""
    data = Data.random(7)
    mined, _ = run_mine(data, tmp_path / "without", mine_params())
    lone = [query for query, rows in enumerate(data.positives) if len(rows) == 1][:2]
    own = {lone[0]: data.allowed_rows(lone[0])[:3], lone[1]: [mined[lone[1]][1]]}
    negatives, receipt = run_mine(data, tmp_path / "with", mine_params(), own)
    assert len(set(negatives[lone[0]])) == 2 and set(negatives[lone[0]]) < set(own[lone[0]])
    assert negatives[lone[1]] == [own[lone[1]][0], mined[lone[1]][0]]
    others = [query for query in range(len(data.positives)) if query not in own]
    assert [negatives[query] for query in others] == [mined[query] for query in others]
    assert (receipt["n_given_by_user"], receipt["n_given_not_used"]) == (4, 1)


def test_a_query_with_more_own_negatives_than_a_row_holds_takes_others_with_each_positive(tmp_path: Path) -> None:
    """Three positives and five own negatives, two in a row: all five are used, none twice in a row."""
    data = Data.random(7)
    query = next(query for query, rows in enumerate(data.positives) if len(rows) == 3)
    own = data.allowed_rows(query)[:5]
    _, receipt = run_mine(data, tmp_path, mine_params(), {query: own})
    triplets = read(tmp_path / "mined" / "triplets.parquet", TRIPLETS).filter(query_id=name("q", query))
    rows = triplets["negative_ids"].to_list()
    assert {id_ for ids in rows for id_ in ids} == {name("d", row) for row in own}
    assert all(len(set(ids)) == 2 for ids in rows)
    assert (receipt["n_given_by_user"], receipt["n_given_not_used"]) == (5, 0)


def test_own_negatives_that_are_answers_after_all_are_not_used(tmp_path: Path) -> None:
    """A document judged relevant to a query that reads the same, or with the query's own text, is no negative."""
    data = Data.random(7)
    like = [
        (query, sorted(data.never_negatives(query) - set(rows)))
        for query, rows in enumerate(data.positives)
        if data.in_train[sorted(data.never_negatives(query) - set(rows))].any()
    ]
    assert {query for query, rows in like if set(rows) & set(data.own_texts[query])}
    assert {query for query, rows in like if set(rows) - set(data.own_texts[query])}
    without, _ = run_mine(data, tmp_path / "without", mine_params())
    negatives, receipt = run_mine(data, tmp_path / "with", mine_params(), dict(like))
    assert negatives == without and receipt["n_given_by_user"] == 0


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
        assert set(rows) <= set(data.allowed_rows(query))


@pytest.mark.parametrize("lexical_share", [0.0, 0.5])
def test_block_sizes_do_not_change_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lexical_share: float
) -> None:
    """Same negatives and receipt in small blocks as in one, with same_query and own negatives in use."""
    data, params = Data.random(7), mine_params(lexical_share=lexical_share, same_query=0.9)
    own = {3: [data.allowed_rows(3)[0]], 9: data.allowed_rows(9)[:3]}
    at_once = run_mine(data, tmp_path / "at_once", params, own)
    for constant, size in (("QUERY_BLOCK", 3), ("LOOKUP_BATCH", 5), ("SCORE_BATCH", 4)):
        monkeypatch.setattr(candidates, constant, size)
    monkeypatch.setattr(deeper, "DEEPER_BATCH", 2)
    assert run_mine(data, tmp_path / "blocks", params, own) == at_once
