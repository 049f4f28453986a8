"""FAISS's process-wide settings, set for the length of a block and restored after it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_lock = threading.Lock()
_thresholds: list[int] = []  # FAISS's own value, then those of the blocks that are running, oldest first


@contextmanager
def faiss_settings(faiss: ModuleType, blas_threshold: int, threads: int | None = None) -> Iterator[None]:
    """Sets FAISS's matrix-product threshold and, for the calling thread, its number of OpenMP threads.

    The threshold is a variable of the process. Where blocks of several threads overlap, the value of the latest holds,
    which changes the speed and the float32 rounding of the others; the last block to end restores FAISS's own value.

    Args:
        faiss: the module.
        blas_threshold: flat indexes and cell assignment use matrix products once a query batch has this many numbers;
            with FAISS's own value, 128,000, a batch of 300 queries is slower than one of 1000.
        threads: OpenMP threads; None leaves them as they are.
    """
    before = faiss.omp_get_max_threads()
    with _lock:
        if not _thresholds:
            _thresholds.append(faiss.cvar.distance_compute_blas_threshold)
        _thresholds.append(blas_threshold)
        faiss.cvar.distance_compute_blas_threshold = blas_threshold
    if threads is not None:
        faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
        with _lock:
            _thresholds.remove(blas_threshold)
            faiss.cvar.distance_compute_blas_threshold = _thresholds[-1]
            if len(_thresholds) == 1:
                _thresholds.clear()
