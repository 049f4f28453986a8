"""Judgments of pairs of a train query and a document, on which the rules of `rules.py` rest."""

from dataclasses import dataclass

from attune.runtime.arrays import Float32, Int64
from attune.tuning.mining.candidates import (
    Bool,
    PairPredicate,
    Pairs,
    Pool,
    among,
    answers_like_query,
    answers_same_query,
)
from attune.tuning.mining.rules import Candidates


@dataclass(frozen=True)
class JudgedPairs:
    """Predicates of pairs of a train query and a document."""

    is_positive: PairPredicate
    answers_like_query: PairPredicate
    is_own_text: PairPredicate
    is_own_negative: PairPredicate
    answers_same_query: PairPredicate

    @classmethod
    def of(
        cls,
        *,
        positives: Pairs,
        own_texts: Pairs,
        own_negatives: Pairs,
        near_groups: Int64,
        query_vectors: Float32,
        same_query: float,
    ) -> "JudgedPairs":
        """Returns the predicates for all train queries.

        Args:
            positives, own_texts, own_negatives: as in `MiningInput`.
            near_groups: number of each query's group of near-identical queries, (n_queries,).
            query_vectors: unit embeddings, (n_queries, dim).
            same_query: least cosine of queries that mean the same (mine.same_query).
        """
        return cls(
            is_positive=among(positives),
            answers_like_query=answers_like_query(near_groups, positives),
            is_own_text=among(own_texts),
            is_own_negative=among(own_negatives),
            answers_same_query=answers_same_query(query_vectors, positives, same_query),
        )

    def are_answers(self, pairs: Pairs) -> Bool:
        """Returns a mask of the pairs that judgments or texts exclude, (n_pairs,)."""
        return self.is_positive(pairs) | self.answers_like_query(pairs) | self.is_own_text(pairs)

    def are_never_negatives(self, pairs: Pairs) -> Bool:
        """Returns a mask of the pairs that not even random fill may take, (n_pairs,)."""
        return self.are_answers(pairs) | self.answers_same_query(pairs)

    def candidates(self, pool: Pool, scores: Float32) -> Candidates:
        """Returns the pool of all train queries and its scores, with the properties that the rules test."""
        return Candidates(
            pool=pool,
            scores=scores,
            is_positive=pool.satisfying(self.is_positive),
            answers_like_query=pool.satisfying(self.answers_like_query),
            is_own_text=pool.satisfying(self.is_own_text),
            is_own_negative=pool.satisfying(self.is_own_negative),
            answers_same_query=pool.satisfying(self.answers_same_query),
        )
