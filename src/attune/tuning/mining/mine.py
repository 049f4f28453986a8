"""Mining of hard negatives for all train queries: search, scoring, rules, random fill.

The rules that reject a candidate are in `rules.py`.
"""

from dataclasses import dataclass

import numpy as np

from attune.retrieval.approximate import Neighbours, approximate_top_k
from attune.retrieval.bm25 import bm25_top_k
from attune.runtime.arrays import Float32, Int64
from attune.tuning.mining.candidates import Bool, Pairs, Pool, Scorer, answers_same_query
from attune.tuning.mining.random_fill import TrainDocuments, fill_at_random
from attune.tuning.mining.rules import RULES, Candidates, MineParams, Selection, Slots, apply_rules

SEED = 13  # of every random draw of mining: index training, random fill, hidden answers, sample


@dataclass(frozen=True)
class MiningInput:
    """Train queries and corpus, in the order of their embeddings, with judgments and clusters.

    Attributes:
        query_texts, document_texts: texts, documents with titles; empty if neither BM25 nor a reranker reads them.
        query_vectors, document_vectors: unit embeddings, (n_queries, dim) and (n_documents, dim).
        query_clusters, document_clusters: cluster number of each.
        duplicate_of: for each document the first of its near-duplicates, as a row of the corpus.
        train_rows: rows of the train split's documents, ascending; only these become negatives.
        positives: the relevant documents of each query, at least one, sorted.
        own_negatives: the negatives in the user's data, sorted.
    """

    query_texts: list[str]
    document_texts: list[str]
    query_vectors: Float32
    document_vectors: Float32
    query_clusters: Int64
    document_clusters: Int64
    duplicate_of: Int64
    train_rows: Int64
    positives: Pairs
    own_negatives: Pairs

    def n_queries(self) -> int:
        """Returns the number of train queries."""
        return len(self.query_vectors)

    def n_needed(self, n_negatives: int) -> Int64:
        """Returns the number of negatives to mine for each query.

        All training rows have the same number of negatives, so a query with fewer own negatives gets more mined ones.
        """
        n_own = np.bincount(self.own_negatives.queries, minlength=self.n_queries())
        n_needed: Int64 = n_negatives + n_own.max(initial=0) - n_own
        return n_needed


@dataclass(frozen=True)
class MiningResult:
    """The negatives of every query, and the candidates and choices behind them.

    Attributes:
        candidates: candidates of all queries, with the properties that the rules test.
        positive_scores: scores of the input's positives, (n_pairs,).
        selection: the reason of each candidate.
        negatives: rows of the corpus, (n_queries, most), mined ones before random ones; -1 beyond the number needed.
        slots: the number of negatives each query needs, and from which list.
        dense: the list by embeddings, with the index that found it.
    """

    candidates: Candidates
    positive_scores: Float32
    selection: Selection
    negatives: Int64
    slots: Slots
    dense: Neighbours

    def is_random(self) -> Bool:
        """Returns a mask of the negatives that were drawn at random."""
        return (self.negatives >= 0) & (self.selection.picks < 0)

    def mined(self) -> Pairs:
        """Returns the mined negatives, without the random ones."""
        return self._pairs(self.selection.picks >= 0)

    def random(self) -> Pairs:
        """Returns the random negatives."""
        return self._pairs(self.is_random())

    def _pairs(self, mask: Bool) -> Pairs:
        return Pairs(np.nonzero(mask)[0], self.negatives[mask])


def mine_negatives(data: MiningInput, params: MineParams, score: Scorer) -> MiningResult:
    """Finds candidates, scores them, applies the rules and fills short lists at random.

    Args:
        data: queries and documents.
        params: how to search, and the thresholds of the rules.
        score: scores pairs of query and document: the cross-encoder if params.reranker names one, else cosines.

    Raises:
        BadInput: a query has too few documents to draw from, or BM25 is used and no document has a word.
    """
    positive_scores = score(data.positives)
    is_same_query = answers_same_query(data.query_vectors, data.positives, params.same_query)
    search = data.query_vectors, data.document_vectors, params.depth, data.train_rows
    dense = approximate_top_k(*search, kind=params.index, seed=SEED, threads=params.machine.threads)
    pool, scores = _scored_pool(data, params, dense, score)
    lowest_positive = np.full(data.n_queries(), np.inf, dtype=np.float32)
    np.minimum.at(lowest_positive, data.positives.queries, positive_scores)
    candidates = Candidates(
        pool=pool,
        scores=scores,
        is_positive=pool.is_in(data.positives),
        is_own_negative=pool.is_in(data.own_negatives),
        in_own_cluster=data.document_clusters[pool.rows] == data.query_clusters[:, None],
        answers_same_query=pool.satisfying(is_same_query),
        lowest_positive=lowest_positive,
    )
    slots = Slots.of(data.n_needed(params.n_negatives), params.lexical_share)
    selection = apply_rules(candidates, params, slots)
    negatives = fill_at_random(
        chosen=selection.rows(pool),
        n_needed=slots.n_needed,
        documents=TrainDocuments(data.train_rows, data.document_clusters[data.train_rows]),
        query_clusters=data.query_clusters,
        is_excluded=is_same_query,
        last_resort=_rejected_or_own(data.own_negatives, pool, selection, slots),
        seed=SEED,
    )
    return MiningResult(candidates, positive_scores, selection, negatives, slots, dense)


def _rejected_or_own(own_negatives: Pairs, pool: Pool, selection: Selection, slots: Slots) -> Pairs:
    """Returns the rejected candidates of queries that need random fill, and all own negatives, sorted by query.

    With the rejected candidates of all queries, the list would be as long as the pool.
    """
    short = np.flatnonzero((selection.picks >= 0).sum(axis=1) < slots.n_needed)
    place, column = np.nonzero(np.isin(selection.reasons[short], range(len(RULES))))
    query = short[place]
    queries = np.concatenate([own_negatives.queries, query])
    rows = np.concatenate([own_negatives.rows, pool.rows[query, column]])
    order = np.argsort(queries, kind="stable")
    return Pairs(queries[order], rows[order])


def _scored_pool(data: MiningInput, params: MineParams, dense: Neighbours, score: Scorer) -> tuple[Pool, Float32]:
    """Returns the joined lists and the score of each candidate; 0 where there is none."""
    lexical = np.empty((data.n_queries(), 0), dtype=np.int64)
    if params.lexical_share:
        texts = [data.document_texts[row] for row in data.train_rows.tolist()]
        _, places = bm25_top_k(data.query_texts, texts, params.depth)
        lexical = np.where(places < 0, -1, data.train_rows[places])
    pool = Pool.join(dense.rows, lexical)
    if not params.reranker and not params.lexical_share:
        return pool, dense.scores
    scores = np.zeros(pool.rows.shape, dtype=np.float32)
    unscored = pool.rows >= 0
    if not params.reranker:  # the search by embeddings has scored its candidates by the same cosines
        scores[:, : dense.rows.shape[1]] = dense.scores
        unscored[:, : dense.rows.shape[1]] = False
    query, column = np.nonzero(unscored)
    scores[query, column] = score(Pairs(query, pool.rows[query, column]))
    return pool, scores
