"""A large corpus for measuring: clustered embeddings in a file, with the spectrum of a small encoder's."""

from pathlib import Path

import numpy as np

DIM, SEED, PER_CLUSTER = 384, 13, 20
DECAY = 0.45  # the i-th direction's share of the spread falls as i^-.9, about as MiniLM's does on code


def write_embeddings(folder: Path, n: int, n_queries: int) -> None:
    """n documents in clusters, and queries near a document each, in blocks."""
    random = np.random.default_rng(SEED)
    spread = ((1 + np.arange(DIM)) ** -DECAY).astype(np.float32)
    centres = random.standard_normal((n // PER_CLUSTER, DIM), dtype=np.float32)
    corpus = np.lib.format.open_memmap(folder / "corpus.npy", "w+", np.float32, (n, DIM))
    for start in range(0, n, 50_000):
        size = min(50_000, n - start)
        noise = random.standard_normal((size, DIM), dtype=np.float32)
        corpus[start : start + size] = unit((centres[random.integers(len(centres), size=size)] + noise) * spread)
    answers = np.sort(random.choice(n, n_queries, replace=n < n_queries))
    noise = 0.8 * random.standard_normal((n_queries, DIM), dtype=np.float32) * spread / np.linalg.norm(spread)
    np.save(folder / "queries.npy", unit(corpus[answers] + noise))
    np.save(folder / "answers.npy", answers)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
