"""Candidates for hard negatives: each query's nearest documents by embeddings and by BM25, joined in one pool."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attune.runtime.arrays import Float32, Int64

Bool = NDArray[np.bool_]
Ranks = NDArray[np.int32]

NOT_RANKED = 2**31 - 1  # rank of a candidate in a list that does not contain it
# each bounds memory:
SCORE_BATCH = 8192  # pairs scored at a time
QUERY_BLOCK = 2**14  # queries whose candidates are processed at a time
LOOKUP_BATCH = 2**20  # other queries of documents that are looked up at a time
MANY = 8  # queries of a document from which on a product of matrices is faster than gathered rows
LARGE = 2**16  # entries of a product that pays for waking the threads of BLAS


class Pairs(NamedTuple):
    """Pairs of a train query and a document, as rows of the two tables, (n_pairs,) each."""

    queries: Int64
    rows: Int64

    def keys(self) -> Int64:
        """Returns one integer per pair, equal for equal pairs, (n_pairs,)."""
        return pair_keys(self.queries, self.rows)


# Scores pairs of query and document, (n_pairs,): higher is nearer; rounded to 6 digits, so that equal texts tie.
Scorer = Callable[[Pairs], Float32]
# Tests pairs of query and document, (n_pairs,).
PairPredicate = Callable[[Pairs], Bool]


def pair_keys(queries: Int64, rows: Int64) -> Int64:
    """Returns one integer per pair of query and document, equal for equal pairs; the arrays are broadcast."""
    return (queries << 32) + rows


def among(pairs: Pairs) -> PairPredicate:
    """Returns a predicate: the pair is one of these, found by binary search."""
    keys = np.unique(pairs.keys())

    def predicate(tested: Pairs) -> Bool:
        return _count(keys, tested.keys()) > 0

    return predicate


def answers_like_query(near_groups: Int64, positives: Pairs) -> PairPredicate:
    """Returns a predicate: the document is a positive of another query that reads nearly the same.

    Counts positives by group, so memory and time grow with the judgments, never with the square of a group's size.

    Args:
        near_groups: number of the group of near-identical queries of each query, (n_queries,).
        positives: the relevant documents of all queries, each pair once.
    """
    own = np.sort(positives.keys())
    of_groups = np.sort(pair_keys(near_groups[positives.queries], positives.rows))

    def predicate(tested: Pairs) -> Bool:
        in_group = _count(of_groups, pair_keys(near_groups[tested.queries], tested.rows))
        return in_group > _count(own, tested.keys())

    return predicate


def _count(keys: Int64, tested: Int64) -> Int64:
    """Returns how often each tested key is among the sorted keys."""
    n: Int64 = np.searchsorted(keys, tested, side="right") - np.searchsorted(keys, tested)
    return n


@dataclass(frozen=True)
class Pool:
    """Candidate pool: every query's candidates, each document once; all arrays are (n_queries, width).

    Attributes:
        rows: rows of the corpus, nearest by embeddings first, then those of the lexical list alone; -1 = no candidate.
        dense_rank: rank in the list by embeddings, from 0; NOT_RANKED if not in it.
        lexical_rank: rank in the BM25 list, likewise.
    """

    rows: Int64
    dense_rank: Ranks
    lexical_rank: Ranks

    @classmethod
    def join(cls, dense: Int64, lexical: Int64) -> "Pool":
        """Joins two lists of corpus rows, (n_queries, depth) each; the lexical one may end early, with -1."""
        if lexical.shape[1] == 0:  # broadcast ranks take no memory, however many queries there are
            return cls(dense, _ranks(dense), np.broadcast_to(np.int32(NOT_RANKED), dense.shape))
        query = np.arange(len(dense))[:, None]
        keys = pair_keys(query, dense), pair_keys(query, lexical)
        _, in_dense, in_lexical = np.intersect1d(*keys, return_indices=True)
        lexical_rank_of_dense = np.full(dense.size, NOT_RANKED, np.int32)
        lexical_rank_of_dense[in_dense] = _ranks(lexical).ravel()[in_lexical]
        only_lexical = lexical.copy()
        only_lexical[np.unravel_index(in_lexical, lexical.shape)] = -1
        not_ranked = np.full(lexical.shape, NOT_RANKED, np.int32)
        lexical_rank = np.where(only_lexical < 0, not_ranked, _ranks(lexical))
        return cls(
            rows=np.hstack([dense, only_lexical]),
            dense_rank=np.hstack([_ranks(dense), not_ranked]),
            lexical_rank=np.hstack([lexical_rank_of_dense.reshape(dense.shape), lexical_rank]),
        )

    def satisfying(self, predicate: PairPredicate) -> Bool:
        """Returns a mask of the candidates that satisfy the predicate."""
        mask = self.rows >= 0
        for block in query_blocks(len(mask)):
            query, column = np.nonzero(mask[block])
            mask[block][query, column] = predicate(Pairs(query + block.start, self.rows[block][query, column]))
        return mask

    def take(self, queries: Int64 | slice) -> "Pool":
        """Returns the candidates of some queries, which may repeat."""
        return Pool(self.rows[queries], self.dense_rank[queries], self.lexical_rank[queries])


def _ranks(list_: Int64) -> Ranks:
    return np.broadcast_to(np.arange(list_.shape[1], dtype=np.int32), list_.shape)


def query_blocks(n_queries: int) -> list[slice]:
    """Returns slices that cover all queries, small enough for the temporary arrays of one slice to fit into memory."""
    return [slice(start, min(start + QUERY_BLOCK, n_queries)) for start in range(0, n_queries, QUERY_BLOCK)]


def cosines(queries: Float32, corpus: Float32) -> Scorer:
    """Returns a scorer by inner product of unit embeddings, (n_queries, dim) and (n_documents, dim)."""

    def score(pairs: Pairs) -> Float32:
        scores = np.empty(len(pairs.rows), dtype=np.float32)
        for start in range(0, len(scores), SCORE_BATCH):
            batch = slice(start, start + SCORE_BATCH)
            left, right = queries[pairs.queries[batch]], corpus[pairs.rows[batch]]
            scores[batch] = np.round(np.einsum("ij,ij->i", left, right, dtype=np.float64), 6)
        return scores

    return score


@dataclass(frozen=True)
class NearestQuery:
    """Looks up, for pairs of a train query and a document, the nearest other query that the document answers.

    The work grows with the pairs and the queries that their documents answer, not with n_queries squared.

    Attributes:
        of_documents: the relevant documents of all train queries, sorted by document.
        vectors: (n_queries, dim) unit embeddings of the train queries.
    """

    of_documents: Pairs
    vectors: Float32

    @classmethod
    def of(cls, positives: Pairs, vectors: Float32) -> "NearestQuery":
        """Sorts the relevant documents of all train queries for the look-up."""
        order = np.argsort(positives.rows, kind="stable")
        return cls(Pairs(positives.queries[order], positives.rows[order]), vectors)

    def cosine(self, pairs: Pairs) -> Float32:
        """Returns the highest cosine of each pair's query to another one with this document as a positive.

        For documents that answer many queries, such as the labels of intents, the nearest query is found by a product
        of matrices in float32; like all cosines, its cosine is then computed anew and rounded.

        Returns:
            The highest cosine for each pair, (n_pairs,); -1 where the document is no positive of another query.
        """
        starts = np.searchsorted(self.of_documents.rows, pairs.rows)
        counts = np.searchsorted(self.of_documents.rows, pairs.rows, side="right") - starts
        highest = np.full(len(pairs.rows), -1, dtype=np.float32)
        few, many = np.flatnonzero((counts > 0) & (counts < MANY)), np.flatnonzero(counts >= MANY)
        score = cosines(self.vectors, self.vectors)
        for batch in _batches(few, counts[few]):
            start, count = starts[batch], counts[batch]
            # one entry for each pair and each query of its document
            pair = np.repeat(batch, count)
            query = pairs.queries[pair]
            place = np.repeat(start - np.cumsum(count) + count, count) + np.arange(count.sum())
            other = self.of_documents.queries[place]
            differs = query != other
            np.maximum.at(highest, pair[differs], score(Pairs(query[differs], other[differs])))
        many = many[np.argsort(pairs.rows[many], kind="stable")]
        for same_document in np.split(many, np.flatnonzero(np.diff(pairs.rows[many])) + 1) if len(many) else []:
            start, count = starts[same_document[0]], counts[same_document[0]]
            others = self.of_documents.queries[start : start + count]
            for batch in _batches(same_document, counts[same_document]):
                query = pairs.queries[batch]
                products = _products(self.vectors[query], self.vectors[others])
                products[query[:, None] == others] = -np.inf
                nearest = others[products.argmax(axis=1)]
                differs = nearest != query
                highest[batch[differs]] = score(Pairs(query[differs], nearest[differs]))
        return highest


def _products(left: Float32, right: Float32) -> Float32:
    """Returns all inner products, (n_left, n_right); of small matrices in one thread."""
    is_large = len(left) * len(right) >= LARGE
    products: Float32 = left @ right.T if is_large else np.einsum("id,jd->ij", left, right)
    return products


def _batches(pairs: Int64, counts: Int64) -> Iterator[Int64]:
    """Yields parts of the pairs, each with at most LOOKUP_BATCH other queries, or a single pair that has more."""
    ends = np.cumsum(counts)
    begin = 0
    while begin < len(pairs):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + LOOKUP_BATCH, side="right")))
        yield pairs[begin:end]
        begin = end


def answers_same_query(vectors: Float32, positives: Pairs, same_query: float) -> PairPredicate:
    """Returns a predicate: the document is a positive of another train query with the same meaning, by cosine.

    Args:
        vectors: (n_queries, dim) unit embeddings of the train queries.
        positives: the relevant documents of each.
        same_query: least cosine of queries that mean the same; above 1 the predicate is False for all pairs.
    """

    lookup = NearestQuery.of(positives, vectors)

    def predicate(pairs: Pairs) -> Bool:
        if same_query > 1:
            return np.zeros(len(pairs.rows), dtype=np.bool_)
        # cosines are float32, so the threshold must be, too: 0.95 in float64 is not 0.95 in float32
        return lookup.cosine(pairs) >= np.float32(same_query)

    return predicate
