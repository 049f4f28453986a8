"""A search task of random embeddings, and its judgments and rankings as other libraries read them."""

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
        """One to three answers for each query, which lies near the first of them."""
        random = np.random.default_rng(seed)
        documents = _unit(random.standard_normal((n_documents, DIM), dtype=np.float32))
        answers = np.stack([random.choice(n_documents, 3, replace=False) for _ in range(n_queries)])
        noise = random.standard_normal((n_queries, DIM), dtype=np.float32) / DIM**0.5
        queries = _unit(0.4 * documents[answers[:, 0]] + 2.5 * noise)
        kept = np.arange(3) < random.integers(1, 4, (n_queries, 1))
        rows = np.nonzero(kept)[0]
        return cls(queries, documents, np.column_stack([rows, answers[kept], np.ones_like(rows)]))

    def qrels(self) -> dict[str, dict[str, int]]:
        """The judgments as the others read them."""
        found: dict[str, dict[str, int]] = {}
        for query, document, relevance in self.judgments.tolist():
            found.setdefault(f"q{query}", {})[f"d{document}"] = relevance
        return found


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def run_of(scores: Vectors, rows: Rows) -> dict[str, dict[str, float]]:
    """A ranking as the others read it."""
    return {
        f"q{query}": {f"d{row}": score for row, score in zip(found, values, strict=True)}
        for query, (found, values) in enumerate(zip(rows.tolist(), scores.tolist(), strict=True))
    }
