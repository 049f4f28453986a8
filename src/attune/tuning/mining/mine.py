"""Finds every train query's hard negatives."""

from dataclasses import dataclass

import numpy as np

from attune.retrieval.approximate import Neighbours, near
from attune.retrieval.bm25 import bm25_top_k
from attune.tuning.mining.candidates import BoolArray, FloatArray, IntArray, Pairs, Pool, Scorer, answers_same_query
from attune.tuning.mining.random_fill import Documents, fill
from attune.tuning.mining.rules import REASONS, RULES, Found, Rules, Slots, Verdicts, judge

K1, B = 1.2, 0.75  # of BM25: Lucene's own


@dataclass(frozen=True)
class Recipe:
    """How negatives are looked for; each is explained in params.yaml."""

    n_negatives: int
    lexical_share: float
    depth: int
    index: str
    first_rank: int
    max_share_of_positive: float
    min_margin: float
    same_query: float
    seed: int
    threads: int

    def rules(self) -> Rules:
        """What decides on a candidate."""
        return Rules(self.max_share_of_positive, self.min_margin, self.first_rank)


@dataclass(frozen=True)
class Task:
    """The train queries and the corpus, in the order of their embeddings, and what is known of them.

    Attributes:
        query_texts, document_texts: what they say, documents with their titles; empty where nothing reads them.
        query_vectors, document_vectors: embeddings of length 1, (n_queries, dim) and (n_documents, dim).
        query_clusters, document_clusters: the cluster of each, as a number.
        duplicate_of: for each document the first of its near-identical ones, as a row.
        candidates: rows of the documents that may become negatives, ascending.
        positives: the relevant documents of each query, at least one, sorted.
        own: the negatives that the user has given, sorted.
    """

    query_texts: list[str]
    document_texts: list[str]
    query_vectors: FloatArray
    document_vectors: FloatArray
    query_clusters: IntArray
    document_clusters: IntArray
    duplicate_of: IntArray
    candidates: IntArray
    positives: Pairs
    own: Pairs

    def n_queries(self) -> int:
        """How many train queries there are."""
        return len(self.query_vectors)

    def wanted(self, n_negatives: int) -> IntArray:
        """How many negatives to mine for each query: all rows are of one length, so who brings fewer gets more."""
        n_own = np.bincount(self.own.queries, minlength=self.n_queries())
        wanted: IntArray = n_negatives + n_own.max(initial=0) - n_own
        return wanted


@dataclass(frozen=True)
class Mined:
    """The negatives of every query and how they were come by.

    Attributes:
        found: the candidates.
        positive_scores: of the task's positives, (n_pairs,).
        verdicts: what became of the candidates.
        negatives: rows of the corpus, (n_queries, most), the mined ones before the random ones; -1 beyond the wanted.
        slots: how many each query needed, and from which list.
        dense: the list by embeddings, and how it was made.
    """

    found: Found
    positive_scores: FloatArray
    verdicts: Verdicts
    negatives: IntArray
    slots: Slots
    dense: Neighbours

    def is_random(self) -> BoolArray:
        """Which of the negatives were drawn at random."""
        return (self.negatives >= 0) & (self.verdicts.picks < 0)

    def kept(self) -> Pairs:
        """The mined negatives, random ones left out."""
        return self._pairs(self.verdicts.picks >= 0)

    def random(self) -> Pairs:
        """The random ones."""
        return self._pairs(self.is_random())

    def _pairs(self, which: BoolArray) -> Pairs:
        return Pairs(np.nonzero(which)[0], self.negatives[which])


def mine_negatives(task: Task, recipe: Recipe, score: Scorer, is_reranked: bool) -> Mined:
    """Ranks, judges and fills up.

    Args:
        task: queries and documents.
        recipe: what to look for.
        score: judges how well a document answers a query.
        is_reranked: whether that is something else than the cosine of their embeddings.

    Raises:
        BadInput: there are too few documents, or none with a word for a lexical share.
    """
    positive_scores = score(task.positives)
    same = answers_same_query(task.query_vectors, task.positives, recipe.same_query)
    ask = task.query_vectors, task.document_vectors, recipe.depth, task.candidates
    dense = near(*ask, kind=recipe.index, seed=recipe.seed, threads=recipe.threads)
    pool, scores = _candidates(task, recipe, dense, score, is_reranked)
    lowest = np.full(task.n_queries(), np.inf, dtype=np.float32)
    np.minimum.at(lowest, task.positives.queries, positive_scores)
    found = Found(
        pool=pool,
        scores=scores,
        is_positive=pool.holds(task.positives),
        is_own_negative=pool.holds(task.own),
        in_own_cluster=task.document_clusters[pool.rows] == task.query_clusters[:, None],
        answers_same_query=pool.which(same),
        lowest_positive=lowest,
    )
    slots = Slots.of(task.wanted(recipe.n_negatives), recipe.lexical_share)
    verdicts = judge(found, recipe.rules(), slots)
    negatives = fill(
        chosen=verdicts.rows(pool),
        wanted=slots.wanted,
        documents=Documents(task.candidates, task.document_clusters[task.candidates]),
        own_clusters=task.query_clusters,
        never=same,
        last=_avoided(task.own, pool, verdicts, slots),
        seed=recipe.seed,
    )
    return Mined(found, positive_scores, verdicts, negatives, slots, dense)


def _avoided(own: Pairs, pool: Pool, verdicts: Verdicts, slots: Slots) -> Pairs:
    """What is no negative, or is one already: rejected candidates and the user's own, sorted by query.

    Only of queries that are to be filled up: of all queries, it would be as much as the candidates.
    """
    short = np.flatnonzero((verdicts.picks >= 0).sum(axis=1) < slots.wanted)
    place, column = np.nonzero(np.isin(verdicts.reasons[short], [REASONS.index(rule) for rule in RULES]))
    query = short[place]
    queries, rows = np.concatenate([own.queries, query]), np.concatenate([own.rows, pool.rows[query, column]])
    order = np.argsort(queries, kind="stable")
    return Pairs(queries[order], rows[order])


def _candidates(
    task: Task, recipe: Recipe, dense: Neighbours, score: Scorer, is_reranked: bool
) -> tuple[Pool, FloatArray]:
    """The lists, joined, and the score of each candidate; 0 where there is none."""
    lexical = np.empty((task.n_queries(), 0), dtype=np.int64)
    if recipe.lexical_share:
        texts = [task.document_texts[row] for row in task.candidates.tolist()]
        _, found = bm25_top_k(task.query_texts, texts, recipe.depth, K1, B)
        lexical = np.where(found < 0, -1, task.candidates[found])
    pool = Pool.of(dense.rows, lexical)
    if not is_reranked and not recipe.lexical_share:
        return pool, dense.scores
    scores = np.zeros(pool.rows.shape, dtype=np.float32)
    unscored = pool.rows >= 0
    if not is_reranked:  # what was found by embeddings is scored already, and in the same way
        scores[:, : dense.rows.shape[1]] = dense.scores
        unscored[:, : dense.rows.shape[1]] = False
    query, column = np.nonzero(unscored)
    scores[query, column] = score(Pairs(query, pool.rows[query, column]))
    return pool, scores
