"""The measures equal hand-computed values and two independent libraries, on any judgments and rankings."""

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

from attune.evaluation.scoring.measures import MEASURES, RECALL_AT, measure
from attune.retrieval.exact import top_k

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
