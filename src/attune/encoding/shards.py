"""Encodes many texts in shards: finished shards are kept, so a killed run resumes, and no array has to fit in memory.

A shard is a fixed number of consecutive texts, so any number of processes makes the same bytes. Equal texts are encoded
once.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from attune.errors import BadInput
from attune.files import replacing

SIZE = 1024  # texts per shard: seconds of work on a CPU, and enough to sort by length

Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]


@dataclass(frozen=True)
class Assignment:
    """Shards of one of several processes: numbers rank, rank + world_size, rank + 2 world_size, ..."""

    rank: int
    world_size: int


ALL_SHARDS = Assignment(rank=0, world_size=1)


def distinct(texts: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Returns each text once, in order of first occurrence, and the index of every text among these: (n texts,)."""
    index_of = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    return list(index_of), np.fromiter((index_of[text] for text in texts), np.int64, len(texts))


def encode_shards(texts: Sequence[str], encode: Encode, folder: Path, assignment: Assignment, name: str) -> None:
    """Encodes this process's shards into a folder, except those that are there already.

    Args:
        texts: no two of them equal.
        encode: (n texts) -> (n, dim).
        folder: of the shards; shards in it must be of these texts and this encoder.
        assignment: shards of this process.
        name: of the texts, for the progress bar.
    """
    folder.mkdir(parents=True, exist_ok=True)
    silent = None if assignment.rank == 0 else True  # None: no bar unless stderr is a terminal
    with tqdm(total=len(texts), desc=f"encode {name}", unit="text", disable=silent) as bar:
        for number, start in enumerate(range(0, len(texts), SIZE)):
            shard = texts[start : start + SIZE]
            is_own = number % assignment.world_size == assignment.rank
            if is_own and not (file := folder / f"{number}.npy").is_file():
                vectors = encode(shard)
                with replacing(file) as writing, writing.open("wb") as stream:
                    np.save(stream, vectors)
            bar.update(len(shard))


def write_vectors(folder: Path, indices: NDArray[np.int64], dim: int, file: Path) -> None:
    """Writes the vectors of all texts to one file, in the order of the texts, without holding them in memory.

    Args:
        folder: of the shards.
        indices: index of each text among the distinct ones, as `distinct` returns them.
        dim: dimension of the vectors.
        file: gets float32, (n texts, dim), in NumPy's format.

    Raises:
        BadInput: a shard is not readable.
        OSError: no room for the file.
    """
    if not len(indices):
        np.save(file, np.empty((0, dim), dtype=np.float32))
        return
    out = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(len(indices), dim))
    with file.open("r+b") as stream:  # else a full disk ends the process by SIGBUS, at some row
        _allocate(stream.fileno(), file.stat().st_size)
    for rows, vectors in _by_shard(folder, indices):
        out[rows] = vectors
    out.flush()


def _allocate(file: int, size: int) -> None:
    """Takes the room that a file needs; macOS cannot do that, and allocates as it writes."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)


def _by_shard(folder: Path, indices: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
    """Yields, for each shard, the output rows that it fills and their vectors."""
    order = np.argsort(indices // SIZE, kind="stable")
    shards = indices[order] // SIZE
    for number in range(int(shards[-1]) + 1):
        rows = order[np.searchsorted(shards, number) : np.searchsorted(shards, number, "right")]
        yield rows, _read(folder / f"{number}.npy")[indices[rows] % SIZE]


def _read(file: Path) -> Vectors:
    try:
        vectors: Vectors = np.load(file)
    except (ValueError, EOFError) as error:
        raise BadInput(f"{file}: not a readable array ({error}); delete its folder and run again") from None
    return vectors
