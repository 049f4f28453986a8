"""Mining of hard negatives for all rows of training: search, scoring, rules, deeper search, random fill.

The rules that reject a candidate are in `rules.py`.
"""

from dataclasses import dataclass

import numpy as np

from attune.retrieval.approximate import Neighbours
from attune.retrieval.approximate_documents import approximate_document_top_k
from attune.retrieval.bm25 import Bm25
from attune.retrieval.grouped import document_top_k
from attune.runtime.arrays import Float32, Int64
from attune.tuning.mining.candidates import Bool, Pairs, Pool, Scorer, pair_keys
from attune.tuning.mining.deeper import search_deeper
from attune.tuning.mining.judged_pairs import JudgedPairs
from attune.tuning.mining.random_fill import LastResort, fill_at_random
from attune.tuning.mining.rules import RULES, Candidates, MineParams, Rows, Selection, Slots, apply_rules, score_limits

SEED = 13  # of every random draw of mining: index training, random fill, hidden answers, sample


@dataclass(frozen=True)
class MiningInput:
    """Train queries and corpus, in the order of their embeddings, with the judgments.

    Attributes:
        query_texts, document_texts: texts, documents with titles; empty if neither BM25 nor a reranker reads them.
        query_vectors: unit embeddings, (n_queries, dim).
        document_vectors: unit embeddings of the documents' passages, (n_passages, dim), of which the best counts.
        document_rows: the document of each passage, as a row of the corpus, (n_passages,), ascending.
        near_groups: number of the group of near-identical queries that each query is in, (n_queries,).
        duplicate_of: for each document the first of its near-duplicates, as a row of the corpus.
        train_rows: rows of the train split's documents, ascending; only these become negatives.
        positives: the relevant documents of each query, at least one, sorted, each pair once.
        own_texts: documents with the text of the query itself, sorted; never negatives.
        own_negatives: the negatives in the user's data, sorted; none of them answers a like query.
    """

    query_texts: list[str]
    document_texts: list[str]
    query_vectors: Float32
    document_vectors: Float32
    document_rows: Int64
    near_groups: Int64
    duplicate_of: Int64
    train_rows: Int64
    positives: Pairs
    own_texts: Pairs
    own_negatives: Pairs

    def n_queries(self) -> int:
        """Returns the number of train queries."""
        return len(self.query_vectors)

    def n_needed(self, n_negatives: int) -> Int64:
        """Returns the number of negatives to mine for each row: those that its query's own ones leave to n_negatives.

        Each query gets along with its own: one that brings many raises the number of no other query.
        """
        n_own = np.bincount(self.own_negatives.queries, minlength=self.n_queries())
        n_needed: Int64 = np.maximum(n_negatives - n_own, 0)[self.positives.queries]
        return n_needed

    def draw_own(self, n_negatives: int) -> Int64:
        """Draws the own negatives of each row of training, at most n_negatives.

        A query with more of them than a row holds takes others with each of its positives, in seeded order, so that as
        many as possible are used.

        Returns:
            Corpus rows, (n_positives, n_negatives), those of one row distinct; -1 beyond the query's own negatives.
        """
        own, order = self.own_negatives, np.random.default_rng([SEED, 2]).permutation(len(self.own_negatives.rows))
        shuffled = own.rows[order[np.argsort(own.queries[order], kind="stable")]]  # within each query
        queries = self.positives.queries
        first, last = np.searchsorted(own.queries, queries), np.searchsorted(own.queries, queries, side="right")
        n_own = (last - first)[:, None]
        n_taken = np.minimum(n_own, n_negatives)
        nth_positive = (np.arange(len(queries)) - np.searchsorted(queries, queries))[:, None]
        place, slot = np.zeros((len(queries), n_negatives), np.int64), np.arange(n_negatives)
        np.remainder(nth_positive * n_taken + slot, n_own, out=place, where=n_own > 0)
        drawn = np.append(shuffled, -1)[np.minimum(first[:, None] + place, len(shuffled))]
        rows: Int64 = np.where(slot < n_taken, drawn, -1)
        return rows


@dataclass(frozen=True)
class MiningResult:
    """The negatives of every row of training, and the candidates and choices behind them.

    Attributes:
        candidates: candidates of all queries, with the properties that the rules test.
        rows: the rows of training, one for each of the input's positives, in their order.
        selection: the reason of each candidate in each row.
        negatives: rows of the corpus, (n_rows, most), mined ones before random ones; -1 beyond the number needed.
        n_mined: number of mined ones among them, (n_rows,).
        of_rows: all negatives of each row, rows of the corpus, (n_rows, n_negatives): the query's own, another draw
            with each positive, then those of `negatives`.
        n_own: number of own negatives in each row, (n_rows,).
        slots: the number of negatives each row needs, and from which list.
        dense: the list by embeddings, with the index that found it.
    """

    candidates: Candidates
    rows: Rows
    selection: Selection
    negatives: Int64
    n_mined: Int64
    of_rows: Int64
    n_own: Int64
    slots: Slots
    dense: Neighbours

    def is_mined(self) -> Bool:
        """Returns a mask of the negatives that were mined."""
        mask: Bool = np.arange(self.negatives.shape[1]) < self.n_mined[:, None]
        return mask

    def is_random(self) -> Bool:
        """Returns a mask of the negatives that were drawn at random."""
        return (self.negatives >= 0) & ~self.is_mined()

    def pairs(self, mask: Bool) -> Pairs:
        """Returns the queries of some negatives with these, in the order of the rows."""
        return Pairs(self.rows.queries[np.nonzero(mask)[0]], self.negatives[mask])

    def lowest_positives(self) -> Float32:
        """Returns the score of each query's lowest positive, (n_queries,)."""
        lowest = np.full(len(self.candidates.scores), np.inf, dtype=np.float32)
        np.minimum.at(lowest, self.rows.queries, self.rows.positive_scores)
        return lowest

    def n_deeper(self) -> int:
        """Returns the number of negatives found by a deeper search."""
        return int(self.n_mined.sum()) - self.selection.count("kept")

    def own(self, positives: Pairs) -> Pairs:
        """Returns the own negatives that a row holds, each once, sorted by query; `positives` are the input's."""
        place, slot = np.nonzero(np.arange(self.of_rows.shape[1]) < self.n_own[:, None])
        keys = np.unique(pair_keys(positives.queries[place], self.of_rows[place, slot]))
        return Pairs(keys >> 32, keys & (2**32 - 1))


def mine_negatives(data: MiningInput, params: MineParams, score: Scorer) -> MiningResult:
    """Finds candidates, scores them, applies the rules and fills short lists at random.

    Args:
        data: queries and documents.
        params: how to search, and the thresholds of the rules.
        score: scores pairs of query and document: the cross-encoder if params.reranker names one, else cosines.

    Raises:
        BadInput: a query has too few documents to draw from, or BM25 is used and no document has a word.
    """
    rows = Rows(data.positives.queries, score(data.positives))
    judged = JudgedPairs.of(
        positives=data.positives,
        own_texts=data.own_texts,
        own_negatives=data.own_negatives,
        near_groups=data.near_groups,
        query_vectors=data.query_vectors,
        same_query=params.same_query,
    )
    search = data.query_vectors, data.document_vectors, data.document_rows, params.depth, data.train_rows
    dense = approximate_document_top_k(*search, kind=params.index, seed=SEED, threads=params.machine.threads)
    pool, scores = _scored_pool(data, params, dense, score)
    candidates = judged.candidates(pool, scores)
    slots = Slots.of(data.n_needed(params.n_negatives), params.lexical_share)
    selection = apply_rules(candidates, rows, params, slots)
    chosen = selection.documents(pool, rows.queries)
    if not params.reranker:  # which would have to score a thousand documents per query

        def search_exactly(queries: Int64, depth: int) -> tuple[Float32, Int64]:
            vectors = data.query_vectors[queries], data.document_vectors, data.document_rows
            return document_top_k(*vectors, depth, params.machine.threads, data.train_rows)

        chosen = search_deeper(
            search_exactly,
            judged,
            row_queries=rows.queries,
            limits=np.minimum(*score_limits(rows.positive_scores, params)),
            chosen=chosen,
            n_needed=slots.n_needed,
            depth=params.depth,
            first_rank=params.first_rank,
        )
    negatives = fill_at_random(
        chosen=chosen,
        row_queries=rows.queries,
        n_needed=slots.n_needed,
        train_rows=data.train_rows,
        is_excluded=judged.are_never_negatives,
        last_resort=_rejected_or_own(data.own_negatives, pool, rows, selection, slots),
        seed=SEED,
    )
    own = data.draw_own(params.n_negatives)
    return MiningResult(
        candidates,
        rows,
        selection,
        negatives,
        n_mined=(chosen >= 0).sum(axis=1),
        of_rows=_joined(own, negatives),
        n_own=(own >= 0).sum(axis=1),
        slots=slots,
        dense=dense,
    )


def _joined(own: Int64, mined: Int64) -> Int64:
    """Fills the places that own negatives leave in each row with the mined ones, in their order."""
    both = np.hstack([own, mined])
    order = np.argsort(both < 0, axis=1, kind="stable")[:, : own.shape[1]]
    return np.take_along_axis(both, order, axis=1)


def _rejected_or_own(own_negatives: Pairs, pool: Pool, rows: Rows, selection: Selection, slots: Slots) -> LastResort:
    """Returns the rejected candidates and the query's own negatives of the rows that need random fill.

    With the rejected candidates of all rows, the list would be as long as the pool.
    """
    short = np.flatnonzero((selection.picks >= 0).sum(axis=1) < slots.n_needed)
    place, column = np.nonzero(np.isin(selection.reasons[short], range(len(RULES))))
    rejected = pool.rows[rows.queries[short[place]], column]
    first = np.searchsorted(own_negatives.queries, rows.queries[short])
    n_own = np.searchsorted(own_negatives.queries, rows.queries[short], side="right") - first
    own = own_negatives.rows[np.repeat(first - np.cumsum(n_own) + n_own, n_own) + np.arange(n_own.sum())]
    of_rows = np.concatenate([np.repeat(short, n_own), short[place]])
    order = np.argsort(of_rows, kind="stable")
    return LastResort(of_rows[order], np.concatenate([own, rejected])[order])


def _scored_pool(data: MiningInput, params: MineParams, dense: Neighbours, score: Scorer) -> tuple[Pool, Float32]:
    """Returns the joined lists and the score of each candidate; 0 where there is none."""
    lexical = np.empty((data.n_queries(), 0), dtype=np.int64)
    if params.lexical_share:
        texts = [data.document_texts[row] for row in data.train_rows.tolist()]
        _, places = Bm25(texts).top_k(data.query_texts, params.depth)
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
