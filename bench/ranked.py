"""A search task of random embeddings; its judgments and rankings in the format of other libraries."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

DIM = 384
Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """Queries, documents, and judgments (query row, document row, 1)."""

    queries: Vectors
    documents: Vectors
    judgments: Rows

    @classmethod
    def drawn(cls, n_queries: int, n_documents: int, seed: int = 7) -> Self:
        """Returns a random task; each query has one to three answers and lies near the first of them."""
        random = np.random.default_rng(seed)
        documents = _unit(random.standard_normal((n_documents, DIM), dtype=np.float32))
        answers = np.stack([random.choice(n_documents, 3, replace=False) for _ in range(n_queries)])
        noise = random.standard_normal((n_queries, DIM), dtype=np.float32) / DIM**0.5
        queries = _unit(0.4 * documents[answers[:, 0]] + 2.5 * noise)
        is_answer = np.arange(3) < random.integers(1, 4, (n_queries, 1))
        rows = np.nonzero(is_answer)[0]
        return cls(queries, documents, np.column_stack([rows, answers[is_answer], np.ones_like(rows)]))

    def qrels(self) -> dict[str, dict[str, int]]:
        """Returns relevance by query and document, the format of pytrec_eval, ir-measures and ranx."""
        qrels: dict[str, dict[str, int]] = {}
        for query, document, relevance in self.judgments.tolist():
            qrels.setdefault(f"q{query}", {})[f"d{document}"] = relevance
        return qrels


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def run_of(scores: Vectors, rows: Rows) -> dict[str, dict[str, float]]:
    """Returns scores by query and document, the format of pytrec_eval, ir-measures and ranx."""
    return {
        f"q{query}": {f"d{row}": score for row, score in zip(documents, values, strict=True)}
        for query, (documents, values) in enumerate(zip(rows.tolist(), scores.tolist(), strict=True))
    }
