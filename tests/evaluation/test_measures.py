"""The measures equal hand-computed values and two independent libraries, on any judgments and rankings.

Where documents tie they equal the mean over all orders, by brute force, and no document's id matters.
"""

from itertools import permutations, product
from math import log2
from typing import Any

import ir_measures
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import AP, RR, R, nDCG
from numpy.typing import NDArray
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.util import dot_score

from attune.evaluation.scoring.measures import MEASURES, RECALL_AT, depends_on_ties, measure
from attune.retrieval.exact import top_k
from attune.retrieval.ties import MAX_TIED, exact_search, through_ties

ORACLE = {f"recall@{k}": R @ k for k in RECALL_AT} | {"mrr@10": RR @ 10, "ndcg@10": nDCG @ 10, "map@100": AP @ 100}


def scores_of(ranked: list[list[int]], judgments: list[tuple[int, int, int]]) -> dict[str, list[float]]:
    """`measure` on lists; short rankings are filled up with -1."""
    depth = max(map(len, ranked), default=0)
    rows = np.array([ranking + [-1] * (depth - len(ranking)) for ranking in ranked], dtype=np.int64)
    values = measure(rows.reshape(len(ranked), depth), np.array(judgments, dtype=np.int64).reshape(-1, 3))
    return {name: column.tolist() for name, column in values.items()}


def test_measures_are_named_and_ordered_as_the_receipts_promise() -> None:
    """Receipts and tables rely on these names in this order."""
    names = [
        "recall@1",
        "recall@5",
        "recall@10",
        "recall@20",
        "recall@50",
        "recall@100",
        "mrr@10",
        "ndcg@10",
        "map@100",
    ]
    assert list(MEASURES) == names
    assert list(scores_of([[0]], [(0, 0, 1)])) == names


def test_hand_computed_binary_judgments() -> None:
    """Two relevant documents (7 and 8), found at ranks 2 and 6."""
    values = scores_of([[1, 7, 2, 3, 4, 8]], [(0, 7, 1), (0, 8, 1)])
    assert [values[f"recall@{k}"][0] for k in RECALL_AT] == [0, 1 / 2, 1, 1, 1, 1]
    assert values["mrr@10"][0] == pytest.approx(1 / 2)
    assert values["map@100"][0] == pytest.approx(1 / 2 * (1 / 2 + 2 / 6))
    assert values["ndcg@10"][0] == pytest.approx((1 / log2(3) + 1 / log2(7)) / (1 / log2(2) + 1 / log2(3)))


def test_hand_computed_graded_judgments_with_a_missed_document() -> None:
    """Gains are linear, judgments of 0 or below are not relevant, and the missed document (9) counts in every norm."""
    values = scores_of([[5, 6, 7]], [(0, 5, 0), (0, 6, 1), (0, 7, 3), (0, 8, -1), (0, 9, 2)])
    assert values["recall@5"][0] == pytest.approx(2 / 3)
    assert values["mrr@10"][0] == pytest.approx(1 / 2)
    assert values["map@100"][0] == pytest.approx(1 / 3 * (1 / 2 + 2 / 3))
    ideal = 3 / log2(2) + 2 / log2(3) + 1 / log2(4)
    assert values["ndcg@10"][0] == pytest.approx((1 / log2(3) + 3 / log2(4)) / ideal)


def test_a_first_hit_at_rank_11_counts_only_beyond_cutoff_10() -> None:
    """Recall@20 and MAP@100 count it, recall@10, MRR@10 and nDCG@10 do not."""
    values = scores_of([[*range(10), 99]], [(0, 99, 1)])
    assert (values["recall@10"][0], values["recall@20"][0]) == (0, 1)
    assert (values["mrr@10"][0], values["ndcg@10"][0]) == (0, 0)
    assert values["map@100"][0] == pytest.approx(1 / 11)


def test_a_first_hit_at_rank_101_counts_for_nothing() -> None:
    """No measure looks below rank 100."""
    values = scores_of([[*range(100), 999]], [(0, 999, 1)])
    assert all(column == [0] for column in values.values())


def test_more_than_ten_relevant_documents_allow_a_perfect_ndcg_at_10() -> None:
    """The ideal ranking is cut at 10, too; recall@10 cannot reach 1."""
    values = scores_of([list(range(12))], [(0, document, 1) for document in range(12)])
    assert values["ndcg@10"][0] == pytest.approx(1)
    assert values["recall@10"][0] == pytest.approx(10 / 12)


def test_a_judged_query_without_a_ranking_scores_zero() -> None:
    """The query keeps its row, so it stays in the mean."""
    values = scores_of([[3], []], [(0, 3, 1), (1, 3, 1)])
    assert all(column == [1, 0] for column in values.values())


def test_no_ranking_at_all_scores_zero() -> None:
    """Rankings of depth 0 are valid."""
    assert all(column == [0, 0] for column in scores_of([[], []], [(0, 3, 1), (1, 3, 1)]).values())


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[list[int]], list[tuple[int, int, int]]]:
    """Rankings (empty, partial, deep) of up to 130 documents and graded judgments, some of documents never ranked."""
    n_queries = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_documents = draw(st.sampled_from([1, 3, 12, 130]))
    ranked = [rng.permutation(n_documents)[: rng.integers(0, n_documents + 1)].tolist() for _ in range(n_queries)]
    judgments = []
    for query in range(n_queries):
        n_judged = int(rng.integers(1, min(n_documents, 30) + 1))
        for document in rng.permutation(n_documents + 3)[:n_judged].tolist():
            judgments.append((query, document, int(rng.integers(-1, 4))))
    return ranked, judgments


@settings(max_examples=150, deadline=None)
@given(problems())
def test_equals_ir_measures_for_any_judgments_and_rankings(
    problem: tuple[list[list[int]], list[tuple[int, int, int]]],
) -> None:
    """ir-measures (trec_eval) gives every measure of every query to nine digits."""
    ranked, judgments = problem
    values = scores_of(ranked, judgments)
    qrels = [ir_measures.Qrel(str(q), str(d), relevance) for q, d, relevance in judgments]
    # trec_eval orders by score and breaks ties by name: strictly falling scores leave it nothing to break
    run = [ir_measures.ScoredDoc(str(q), str(d), -rank) for q, docs in enumerate(ranked) for rank, d in enumerate(docs)]
    names = {measured: name for name, measured in ORACLE.items()}
    evaluator = ir_measures.evaluator(list(ORACLE.values()), qrels)
    checked = 0
    for metric in evaluator.iter_calc(run):
        assert values[names[metric.measure]][int(metric.query_id)] == pytest.approx(metric.value, abs=1e-9)
        checked += 1
    assert checked == len(ranked) * len(MEASURES)


class Lookup:
    """As much of an encoder as the evaluator of sentence-transformers asks for: a text is the row of its vector."""

    def __init__(self, queries: NDArray[np.float32], documents: NDArray[np.float32]) -> None:
        self.queries, self.documents = torch.from_numpy(queries), torch.from_numpy(documents)

    def encode_query(self, texts: list[str], **_: Any) -> torch.Tensor:
        return self.queries[[int(text) for text in texts]]

    def encode_document(self, texts: list[str], **_: Any) -> torch.Tensor:
        return self.documents[[int(text) for text in texts]]


def test_search_and_measures_agree_with_sentence_transformers() -> None:
    """On binary judgments, where its definitions are the same as ours."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(220, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries, documents = vectors[:20], vectors[20:]
    relevant = {query: set(rng.choice(200, size=1 + query % 4, replace=False).tolist()) for query in range(20)}
    evaluator = InformationRetrievalEvaluator(
        queries={str(query): str(query) for query in range(20)},
        corpus={str(document): str(document) for document in range(200)},
        relevant_docs={str(query): set(map(str, of_query)) for query, of_query in relevant.items()},
        precision_recall_at_k=list(RECALL_AT),
        score_functions={"dot": dot_score},
    )
    expected = evaluator.compute_all_metrics(Lookup(queries, documents))["dot"]
    _, rows = top_k(queries, documents, 100, threads=1)
    judgments = [(query, document, 1) for query, of_query in relevant.items() for document in sorted(of_query)]
    values = {name: np.mean(column) for name, column in scores_of(rows.tolist(), judgments).items()}
    for k in RECALL_AT:
        assert values[f"recall@{k}"] == pytest.approx(expected["recall@k"][k], abs=1e-9)
    assert values["mrr@10"] == pytest.approx(expected["mrr@k"][10], abs=1e-9)
    assert values["ndcg@10"] == pytest.approx(expected["ndcg@k"][10], abs=1e-9)
    assert values["map@100"] == pytest.approx(expected["map@k"][100], abs=1e-9)
    assert 0 < values["ndcg@10"] < values["recall@100"] < 1


def test_without_ties_scores_change_no_bit() -> None:
    """Whether scores are given or not: the same numbers, of full, partial and empty rankings."""
    rng = np.random.default_rng(0)
    for depth in (0, 1, 12, 130):
        ranked = np.array([rng.permutation(depth + 3)[:depth] for _ in range(40)], dtype=np.int64).reshape(40, depth)
        ranked[np.arange(depth) >= rng.integers(0, depth + 1, size=(40, 1))] = -1
        scores = np.where(ranked >= 0, 1 - np.arange(depth) / 1000, 0).astype(np.float32)
        pairs = [(query, document) for query in range(40) for document in rng.permutation(depth + 3)[:9]]
        judgments = np.array([(*pair, rng.integers(-1, 4)) for pair in pairs])
        with_scores, without = measure(ranked, judgments, scores), measure(ranked, judgments)
        assert all(np.array_equal(with_scores[name], without[name]) for name in MEASURES)
        assert not depends_on_ties(ranked, judgments, scores).any()


@st.composite
def tied_rankings(draw: st.DrawFn) -> tuple[list[list[int]], NDArray[np.int64]]:
    """Ties of up to 4 documents, best first, at most 9 documents in all, and graded judgments, some never ranked.

    Some begin after 6 or 97 documents that do not tie, so that the cut-offs 10 and 100 fall into ties.
    """
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) <= 9))
    sizes = [1] * draw(st.sampled_from([0, 6, 97])) + sizes
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ids = rng.permutation(sum(sizes)).tolist()
    ties = [[ids.pop() for _ in range(size)] for size in sizes]
    chance = rng.random()
    grades = [(document, int(rng.integers(-1, 4))) for document in range(sum(sizes) + 2) if rng.random() < chance]
    return ties, np.array([(0, *pair) for pair in [*grades, (sum(sizes) + 3, 1)]])


def as_run(ties: list[list[int]]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The ranking and the scores of one query's ties."""
    scores = [1 - number / 200 for number, tie in enumerate(ties) for _ in tie]
    return np.array([[row for tie in ties for row in tie]]), np.array([scores], dtype=np.float32)


@settings(max_examples=60, deadline=None)
@given(tied_rankings())
def test_measures_of_ties_are_the_mean_over_all_orders(problem: tuple[list[list[int]], NDArray[np.int64]]) -> None:
    """Each order of each tie is ranked and scored by itself; the query depends on ties if any two differ."""
    ties, judgments = problem
    orders = [[row for tie in order for row in tie] for order in product(*(permutations(tie) for tie in ties))]
    each = measure(
        np.array(orders),
        np.column_stack(
            [np.repeat(np.arange(len(orders)), len(judgments)), np.tile(judgments[:, 1:], (len(orders), 1))]
        ),
    )
    ranked, scores = as_run(ties)
    values = measure(ranked, judgments, scores)
    for name in MEASURES:
        assert values[name][0] == pytest.approx(each[name].mean(), abs=1e-12)
        assert 0 <= values[name][0] <= 1
    differs = any(np.ptp(column) > 1e-12 for column in each.values())
    assert depends_on_ties(ranked, judgments, scores)[0] or not differs


@settings(max_examples=60, deadline=None)
@given(tied_rankings(), st.integers(0, 2**32 - 1))
def test_other_ids_change_no_measure(problem: tuple[list[list[int]], NDArray[np.int64]], seed: int) -> None:
    """Documents renamed and their ties sorted by the new names: the same bytes."""
    ties, judgments = problem
    name = np.random.default_rng(seed).permutation(judgments[:, 1].max() + 1)
    renamed = [sorted(name[tie].tolist()) for tie in ties]
    moved = judgments.copy()
    moved[:, 1] = name[judgments[:, 1]]
    (before, scores), (after, _) = as_run(ties), as_run(renamed)
    values, again = measure(before, judgments, scores), measure(after, moved, scores)
    assert all(np.array_equal(values[key], again[key]) for key in MEASURES)


def test_four_equal_vectors_with_one_answer_score_the_same_whatever_its_name() -> None:
    """Planted: 25 queries, 4 equal documents each, of which one is judged: the first, or the last, by its name.

    By corpus row nDCG@10 is 1.000 or .431; by expectation it is .640 for both, and all 25 queries are counted.
    """
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(25, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    documents = np.repeat(vectors, 4, axis=0)
    scores, rows = through_ties(exact_search(vectors, documents, 1), 25, 10)
    by_name = {}
    for place, by_row in ((0, 1), (3, 1 / log2(5))):
        judgments = np.array([(query, 4 * query + place, 1) for query in range(25)])
        assert measure(rows, judgments)["ndcg@10"].mean() == pytest.approx(by_row)
        by_name[place] = {name: column.tolist() for name, column in measure(rows, judgments, scores).items()}
        assert depends_on_ties(rows, judgments, scores).all()
    assert by_name[0] == by_name[3]
    assert by_name[0]["ndcg@10"] == pytest.approx([(1 + 1 / log2(3) + 1 / 2 + 1 / log2(5)) / 4] * 25)
    assert by_name[0]["recall@1"] == [0.25] * 25 and by_name[0]["recall@5"] == [1] * 25
    assert by_name[0]["mrr@10"] == by_name[0]["map@100"] == pytest.approx([(1 + 1 / 2 + 1 / 3 + 1 / 4) / 4] * 25)


def test_equal_documents_of_equal_relevance_depend_on_nothing() -> None:
    """A tie of two answers, and one of documents that nobody judged, are no ties that matter."""
    ranked, scores = as_run([[4, 5], [1, 2], [3]])
    judgments = np.array([(0, 4, 2), (0, 5, 2)])
    assert not depends_on_ties(ranked, judgments, scores)[0]
    assert measure(ranked, judgments, scores)["ndcg@10"][0] == 1
    assert depends_on_ties(ranked, np.array([(0, 4, 2), (0, 5, 1)]), scores)[0]
    late, late_scores = as_run([[row] for row in range(3, 103)] + [[0, 1]])
    assert not depends_on_ties(late, np.array([(0, 0, 1)]), late_scores)[0]
    assert not depends_on_ties(ranked[:, :0], judgments, scores[:, :0])[0]


def test_a_tie_beyond_the_depth_is_followed_to_its_end() -> None:
    """Planted: 300 equal documents, the last one judged. Searched to rank 10 it is found in one of 30 orders."""
    documents = np.vstack([np.tile(np.float32([0.6, 0.8]), (300, 1)), np.float32([[1, 0], [0, 1]])])
    queries = np.float32([[1, 0], [0.6, 0.8]])
    scores, rows = through_ties(exact_search(queries, documents, 1), 2, 10)
    assert (rows >= 0).sum(axis=1).tolist() == [301, 300] and rows.shape == scores.shape
    assert sorted(rows[1, :300].tolist()) == list(range(300)) and (scores[1, :300] == scores[1, 0]).all()
    expected = top_k(queries, documents, 10, 1)
    assert np.array_equal(scores[:, :10], expected[0]) and np.array_equal(rows[:, :10], expected[1])
    values = measure(rows, np.array([(1, 299, 1)]), scores)
    assert values["recall@10"][1] == pytest.approx(10 / 300)
    assert measure(expected[1], np.array([(1, 299, 1)]))["recall@10"][1] == 0


def test_without_a_tie_at_the_depth_nothing_is_searched_again() -> None:
    """One search, one more rank, the ranking as it was; also where the corpus ends, or ranks hold nothing."""
    calls = []

    def search(queries: NDArray[np.int64], depth: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        calls.append((queries.tolist(), depth))
        rows = np.array([[5, 6, 7, -1], [1, 2, -1, -1]])[queries, :depth]
        return np.where(rows >= 0, np.array([0.9, 0.8, 0.7, 0])[:depth], 0).astype(np.float32), rows

    for depth in (2, 3, 4):
        scores, rows = through_ties(search, 2, depth)
        assert calls.pop() == ([0, 1], depth + 1) and not calls
        assert rows.shape == scores.shape == (2, depth)


def test_a_tie_is_followed_to_a_limit() -> None:
    """No further than MAX_TIED documents beyond the depth, whatever the corpus."""
    documents = np.tile(np.float32([1, 0]), (MAX_TIED + 50, 1))
    scores, rows = through_ties(exact_search(documents[:1], documents, 1), 1, 10)
    assert rows.shape == scores.shape == (1, 10 + MAX_TIED)
