"""FAISS's global settings hold for a block, and are what they were after it."""

import threading

import faiss
import numpy as np
import pytest

from attune.retrieval.approximate import approximate_top_k
from attune.runtime.faiss_settings import faiss_settings
from attune.runtime.search import Search

FAISS_DEFAULT = faiss.cvar.distance_compute_blas_threshold


def settings() -> tuple[int, int]:
    """Returns FAISS's threshold and its number of threads."""
    return faiss.cvar.distance_compute_blas_threshold, faiss.omp_get_max_threads()


def test_nested_blocks_restore_the_outer_values_even_after_an_error() -> None:
    """Each block has its own values; the process keeps FAISS's."""
    before = settings()
    with faiss_settings(faiss, 7, threads=1):
        with pytest.raises(ZeroDivisionError), faiss_settings(faiss, 9, threads=3):
            assert settings() == (9, 3)
            raise ZeroDivisionError
        assert settings() == (7, 1)
    assert settings() == before


def test_overlapping_blocks_of_two_threads_restore_faiss_s_own_value() -> None:
    """The first block to begin is the first to end, so that each restores while the other is running."""
    is_inside, may_end = threading.Event(), threading.Event()

    def other() -> None:
        with faiss_settings(faiss, 9):
            is_inside.set()
            assert may_end.wait(300)

    thread = threading.Thread(target=other)
    with faiss_settings(faiss, 7):
        thread.start()
        assert is_inside.wait(300)
    assert faiss.cvar.distance_compute_blas_threshold == 9
    may_end.set()
    thread.join()
    assert faiss.cvar.distance_compute_blas_threshold == FAISS_DEFAULT


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_searches_leave_no_setting_behind(kind: str) -> None:
    """Exact, approximate and shipped search alike, with other threads than the process has."""
    before = settings()
    vectors = np.random.default_rng(0).standard_normal((1300, 16)).astype(np.float32)
    approximate_top_k(vectors[:5], vectors, 3, np.arange(len(vectors)), kind, seed=1, threads=before[1] + 1)
    Search.build(vectors, [str(row) for row in range(len(vectors))], factory=kind).top(vectors[:5], 3)
    assert settings() == before
