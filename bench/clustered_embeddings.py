"""Writes a large corpus of clustered embeddings, whose spectrum resembles that of a small encoder."""

from pathlib import Path

import numpy as np

DIM, SEED, PER_CLUSTER = 384, 13, 20
DECAY = 0.45  # variance along the i-th direction falls as i^-0.9, close to MiniLM's on code


def write_embeddings(folder: Path, n: int, n_queries: int) -> None:
    """Writes n clustered documents, in blocks, and queries that lie near one document each."""
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
    """Returns the rows scaled to length 1."""
    scaled: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled
