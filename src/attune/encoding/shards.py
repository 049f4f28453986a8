"""Encodes many texts in shards: finished shards are kept, so a killed run resumes, and no array has to fit in memory.

A shard is a fixed number of consecutive texts, so any number of processes makes the same bytes. Equal texts are encoded
once. A shard's file is named by a hash of its texts: the last digits of a vector depend on the texts beside it in a
batch, but no batch reaches beyond its shard, so a shard of the same texts has the same bytes in any run. Texts that are
appended leave the shards before them as they are.
"""

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from attune.encoding.scored import Way
from attune.encoding.scratch import code_files, fingerprint
from attune.errors import BadInput
from attune.files import discard, replacing

LIBRARIES = ("torch", "transformers", "sentence-transformers", "tokenizers", "onnxruntime", "openvino", "numpy")
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


def shard_name(texts: Sequence[str]) -> str:
    """Returns the name of the file of a shard: a hash of its texts and their order."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return f"{digest.hexdigest()[:32]}.npy"


def encode_shards(texts: Sequence[str], encode: Encode, folder: Path, assignment: Assignment, name: str) -> list[Path]:
    """Encodes this process's shards into a folder, except those that are there already.

    Args:
        texts: no two of them equal.
        encode: (n texts) -> (n, dim).
        folder: of the shards; all in it must be of this encoder.
        assignment: shards of this process.
        name: of the texts, for the progress bar.

    Returns:
        The files of all shards, those of other processes included, in the order of the texts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    silent = None if assignment.rank == 0 else True  # None: no bar unless stderr is a terminal
    with tqdm(total=len(texts), desc=f"encode {name}", unit="text", disable=silent) as bar:
        for number, start in enumerate(range(0, len(texts), SIZE)):
            shard = texts[start : start + SIZE]
            file = folder / shard_name(shard)
            files.append(file)
            is_own = number % assignment.world_size == assignment.rank
            if is_own and not file.is_file():
                vectors = encode(shard)
                with replacing(file) as writing, writing.open("wb") as stream:
                    np.save(stream, vectors)
            bar.update(len(shard))
    return files


def encoder_hash(settings: object, way: Way, files: Iterable[Path]) -> str:
    """Returns a hash of all that vectors depend on but the texts, to name the folder of an encoder's shards.

    Args:
        settings: of the stage.
        way: engine, device and number format.
        files: of the encoder; folders among them do not count.
    """
    libraries = [name for name in LIBRARIES if name != "openvino" or way.engine == "openvino"]  # optional
    own = sorted(path for path in files if path.is_file())
    return fingerprint((settings, way), libraries, [*own, *code_files()])


def keep(scratch: Path, files: Collection[Path]) -> None:
    """Keeps these shards of an encoder, and nothing of those that stand beside it, which its system had before.

    Args:
        scratch: folder of the encoder's shards, in a folder of its system.
        files: shards below it that the last run used.
    """
    for folder in scratch.parent.iterdir():
        if folder != scratch:
            discard(folder)
    for file in scratch.rglob("*.npy"):
        if file not in files:
            file.unlink()


def encode_kept(texts: Sequence[str], encode: Encode, scratch: Path, name: str) -> Vectors:
    """Returns the (n texts, dim) embeddings of texts in memory; encodes only shards that no earlier run has left.

    Args:
        texts: at least one.
        encode: (n texts) -> (n, dim).
        scratch: folder of the encoder's shards, which `keep` cleans.
        name: of the texts, for the progress bar.
    """
    unique, indices = distinct(texts)
    files = encode_shards(unique, encode, scratch, ALL_SHARDS, name)
    parts = list(by_shard(files, indices))
    vectors = np.empty((len(texts), parts[0][1].shape[1]), dtype=np.float32)
    for rows, of_rows in parts:
        vectors[rows] = of_rows
    keep(scratch, set(files))
    return vectors


def write_vectors(shards: Sequence[Path], indices: NDArray[np.int64], dim: int, file: Path) -> None:
    """Writes the vectors of all texts to one file, in the order of the texts, without holding them in memory.

    Args:
        shards: files, in the order of the distinct texts, as `encode_shards` returns them.
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
    for rows, vectors in by_shard(shards, indices):
        out[rows] = vectors
    out.flush()


def _allocate(file: int, size: int) -> None:
    """Takes the room that a file needs; macOS cannot do that, and allocates as it writes."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)


def by_shard(files: Sequence[Path], indices: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
    """Yields, for each shard, the output rows that it fills and their vectors; arguments as for `write_vectors`."""
    order = np.argsort(indices // SIZE, kind="stable")
    numbers = indices[order] // SIZE
    for number, file in enumerate(files):
        rows = order[np.searchsorted(numbers, number) : np.searchsorted(numbers, number, "right")]
        yield rows, _read(file)[indices[rows] % SIZE]


def _read(file: Path) -> Vectors:
    try:
        vectors: Vectors = np.load(file)
    except (ValueError, EOFError) as error:
        raise BadInput(f"{file}: not a readable array ({error}); delete its folder and run again") from None
    return vectors
