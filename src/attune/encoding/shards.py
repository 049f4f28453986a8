"""Encodes many texts shard by shard: what is done is kept, so a killed run goes on, and no array has to fit in memory.

A shard is the same number of consecutive texts whoever encodes it, so any number of processes makes the same bytes.
Texts that are equal are encoded once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from attune.errors import BadInput

SIZE = 1024  # texts: seconds of work on a CPU, and enough to sort by length

Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]


@dataclass(frozen=True)
class Part:
    """What one of several processes encodes: every n_processes-th shard, from its rank on."""

    rank: int
    n_processes: int


ALL = Part(rank=0, n_processes=1)


def distinct(texts: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Each text once, in the order of its first place, and for every text which of these it is: (n texts,)."""
    place_of = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    return list(place_of), np.fromiter((place_of[text] for text in texts), np.int64, len(texts))


def encode_shards(texts: Sequence[str], encode: Encode, folder: Path, part: Part, name: str) -> None:
    """Encodes this process's shards into a folder, those left out that are there already.

    Args:
        texts: no two of them equal.
        encode: (n texts) -> (n, dim).
        folder: where the shards lie; what is in it has to be of these texts and this encoder.
        part: which of the shards.
        name: of the texts, for the progress bar.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # disable=None: no bar where nobody watches
    with tqdm(total=len(texts), desc=f"encode {name}", unit="text", disable=None if part.rank == 0 else True) as bar:
        for number, start in enumerate(range(0, len(texts), SIZE)):
            shard = texts[start : start + SIZE]
            if number % part.n_processes == part.rank and not (file := folder / f"{number}.npy").is_file():
                vectors = encode(shard)
                writing = file.with_suffix(".partial")
                with writing.open("wb") as stream:
                    np.save(stream, vectors)
                writing.replace(file)
            bar.update(len(shard))


def write_vectors(folder: Path, places: NDArray[np.int64], dim: int, file: Path) -> None:
    """Writes the vectors of all texts to one file, in their order, without holding them in memory.

    Args:
        folder: the shards.
        places: of each text among the distinct ones, as `distinct` gives them.
        dim: of the vectors.
        file: float32, (n texts, dim), in NumPy's format.
    """
    if not len(places):
        np.save(file, np.empty((0, dim), dtype=np.float32))
        return
    out = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(len(places), dim))
    for rows, vectors in _by_shard(folder, places):
        out[rows] = vectors
    out.flush()


def _by_shard(folder: Path, places: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
    """Shard after shard: the rows that have their vectors in it, and these."""
    order = np.argsort(places // SIZE, kind="stable")
    shards = places[order] // SIZE
    for number in range(int(shards[-1]) + 1):
        rows = order[np.searchsorted(shards, number) : np.searchsorted(shards, number, "right")]
        yield rows, _read(folder / f"{number}.npy")[places[rows] % SIZE]


def _read(file: Path) -> Vectors:
    try:
        vectors: Vectors = np.load(file)
    except (ValueError, EOFError) as error:
        raise BadInput(f"{file}: not a readable array ({error}); delete its folder and run again") from None
    return vectors
