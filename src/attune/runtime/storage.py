"""Storages of an index: vectors as they are, in fewer bits a number, or in one bit with a second look at the best.

| storage | bytes per vector | what is kept |
|---|---|---|
| float32 | 4 dim | all |
| float16 | 2 dim | numbers of 16 bits |
| int8 | dim | numbers of 8 bits, between the least and the greatest of each dimension |
| binary | dim / 8 + 8 | a bit per number and two factors (RaBitQ; Gao and Long, SIGMOD 2024) |
| binary_rescored | 9 dim / 8 + 8 | binary finds `RESCORED` times as many candidates; int8 orders them |

Queries stay float32, but against bits, where their numbers have QUERY_BITS. Every query reads all vectors, so only
what is rounded away can be missed.
"""

from typing import Any

from attune.runtime.indexes import load_faiss

STORAGES = {
    "float32": "Flat",
    "float16": "SQfp16",
    "int8": "SQ8",
    "binary": "RaBitQ",
    "binary_rescored": "RaBitQ,Refine(SQ8)",
}
QUERY_BITS = 8  # of a query's numbers against bits: a hundred times as fast as whole numbers, and as exact
RESCORED = 10  # candidates of binary_rescored per neighbour that is asked for


def stored(storage: str, kind: str) -> str:
    """Returns the kind or description of an index that keeps its vectors so.

    Args:
        storage: one of STORAGES.
        kind: of index, as `indexes.factory` takes it; all but flat and Flat need float32.

    Raises:
        ValueError: the storage is unknown, or the index has a storage of its own.
    """
    if storage not in STORAGES:
        raise ValueError(f"storage is {storage!a}, expected one of {', '.join(STORAGES)}")
    if storage == "float32":
        return kind
    if kind.lower() != "flat":
        raise ValueError(
            f"storage is {storage} and factory {kind!a}, expected flat with it; leave storage at float32, or name both "
            f"in factory, such as 'IVF256,{STORAGES[storage]}'"
        )
    return STORAGES[storage]


def set_search(index: Any) -> None:  # noqa: ANN401  faiss has no types
    """Sets how an index searches, which is saved with it: bits of a query's numbers, and the size of a second look."""
    faiss = load_faiss()
    first = index
    if isinstance(index, faiss.IndexRefine):
        index.k_factor = RESCORED
        first = faiss.downcast_index(index.base_index)
    if isinstance(first, faiss.IndexRaBitQ):
        first.qb = QUERY_BITS


def bytes_per_vector(index: Any) -> int:  # noqa: ANN401  faiss has no types
    """Returns what a vector takes in an index without links or cells."""
    return int(index.sa_code_size())
