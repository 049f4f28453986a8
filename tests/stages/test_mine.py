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
    """No answer of the query or of one that reads the same, no own text, none above the row's own limit; nearest first.

    Of the six nearest, a row takes those that other rows of its query use least; what they lack comes from below.
    """
    data = Data.random(seed)
    negatives, receipt = run_mine(data, tmp_path, mine_params(max_share_of_positive=share))
    n_mined = 0
    for query, of_rows in enumerate(negatives):
        near = data.mined_from(query, data.ranked(query, 6), data.scores(query), share)
        for positive, rows in of_rows.items():
            deeper = [row for row in data.ranked(query, N_DOCUMENTS) if row not in near[positive]]
            allowed = [row for row in deeper if data.may_be_mined(query, positive, row, share)]
            expected = (near[positive] + allowed)[:2]
            assert rows[: len(expected)] == expected
            n_mined += len(expected)
    assert receipt["n_kept"] + receipt["n_kept_from_deeper"] == n_mined
    lowest = [min(data.scores(query)[rows]) for query, rows in enumerate(data.positives)]
    assert receipt["mean_lowest_positive_score"] == pytest.approx(np.mean(lowest), abs=2e-6)


@pytest.mark.parametrize("seed", range(8))
def test_short_lists_are_filled_with_documents_no_rule_rejected(tmp_path: Path, seed: int) -> None:
    """Every row gets two distinct train documents, no answers; at random only where none is below its limit."""
    data = Data.random(seed)
    negatives, _ = run_mine(data, tmp_path, mine_params(max_share_of_positive=0.75))
    for query, of_rows in enumerate(negatives):
        for positive, rows in of_rows.items():
            assert len(set(rows)) == 2
            assert set(rows) <= set(data.allowed_rows(query))
            ranked = data.ranked(query, N_DOCUMENTS)
            allowed = [row for row in ranked if data.may_be_mined(query, positive, row, 0.75)]
            assert len(set(rows) & set(allowed)) == min(2, len(allowed))


def test_rows_of_one_query_share_no_negative_while_others_are_left(tmp_path: Path) -> None:
    """A high and a low positive: each row has a limit of its own, and the one below both serves the lower row alone."""
    one_query = np.array([[1.0, 0.0]], np.float32)
    #             high low  above the low one   below  far
    cosines = [0.9, 0.5, 0.8, 0.7, 0.44, 0.3] + [0.01] * (N_DOCUMENTS - 6)
    vectors = np.array([[cosine, (1 - cosine**2) ** 0.5] for cosine in cosines], np.float32)
    data = Data(np.ones(N_DOCUMENTS, np.bool_), vectors, [[0, 1]], one_query, [0], [[]])
    negatives, receipt = run_mine(data, tmp_path / "one", mine_params(n_negatives=1))
    assert negatives == [{0: [2], 1: [4]}]
    assert (receipt["n_candidates"], receipt["n_positive"], receipt["n_too_close"]) == (12, 4, 2)
    assert (receipt["n_kept"], receipt["n_not_needed"], receipt["n_filled_at_random"]) == (2, 4, 0)
    negatives, _ = run_mine(data, tmp_path / "three", mine_params(n_negatives=2))
    assert negatives == [{0: [2, 3], 1: [4, 5]}]
    alike = Data(data.in_train, data.vectors, [[2, 3]], one_query, [0], [[0]])  # no candidate between both limits
    negatives, _ = run_mine(alike, tmp_path / "alike", mine_params(n_negatives=1))
    assert negatives == [{2: [4], 3: [1]}]


def test_the_receipt_accounts_for_every_candidate(tmp_path: Path) -> None:
    """Reasons add up to the candidates of all rows, kept and filled to their negatives; each enabled rule applies."""
    data = Data.random(7)
    _, receipt = run_mine(data, tmp_path, mine_params(max_share_of_positive=0.75))
    reasons = tuple(f"n_{reason}" for reason in REASONS)
    assert sum(receipt[reason] for reason in reasons) == receipt["n_candidates"] == data.n_rows() * 6
    assert receipt["n_kept"] + receipt["n_kept_from_deeper"] + receipt["n_filled_at_random"] == data.n_rows() * 2
    disabled = {"n_own_negative", "n_same_query", "n_within_margin", "n_passed_over"}
    assert min(receipt[reason] for reason in {*reasons, "n_kept_from_deeper"} - disabled) > 0


def test_no_mined_negatives_are_an_option(tmp_path: Path) -> None:
    """n_negatives: 0 trains on in-batch negatives alone; the rows are written, their lists are empty."""
    data = Data.random(7)
    negatives, _ = run_mine(data, tmp_path, mine_params(n_negatives=0))
    assert negatives == [{positive: [] for positive in positives} for positives in data.positives]


def test_the_users_own_negatives_come_first(tmp_path: Path) -> None:
    """Each query gets along with its own: one takes two of its three, one has a mined one beside, the others two."""
    data = Data.random(7)
    mined, _ = run_mine(data, tmp_path / "without", mine_params())
    lone = [query for query, rows in enumerate(data.positives) if len(rows) == 1][:2]
    [nearest] = mined[lone[1]].values()
    own = {lone[0]: data.allowed_rows(lone[0])[:3], lone[1]: [nearest[1]]}
    negatives, receipt = run_mine(data, tmp_path / "with", mine_params(), own)
    [first], [second] = (list(negatives[query].values()) for query in lone)
    assert len(set(first)) == 2 and set(first) < set(own[lone[0]])
    assert second == [own[lone[1]][0], nearest[0]]
    others = [query for query in range(len(data.positives)) if query not in own]
    assert [negatives[query] for query in others] == [mined[query] for query in others]
    assert (receipt["n_given_by_user"], receipt["n_given_not_used"]) == (4, 1)


def test_more_own_negatives_than_a_row_holds_are_spread_over_the_rows(tmp_path: Path) -> None:
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
    for query, of_rows in enumerate(negatives):
        for rows in of_rows.values():
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
