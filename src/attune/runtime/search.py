"""Search over a saved index: the documents whose embeddings have the largest inner product with a query's.

Needs FAISS (`pip install faiss-cpu`; the extra `search` names it), which is imported at the first use, so a service
that only embeds does not have it.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attune.errors import BadInput
from attune.runtime import indexes

INDEX, IDS, ABOUT = "index.faiss", "ids.json", "search.json"
RECALL_AT = 10


class Search:
    """A FAISS index, the id of each row, and which encoder made the rows.

    One instance serves any number of threads: searching changes nothing in it.

    Make one with `build` or `load`; `save` writes a folder that `load` reads back.
    """

    def __init__(
        self,
        index: Any,  # noqa: ANN401  faiss has no types
        ids: Sequence[str],
        encoder: str,
        description: str,
        recall: float | None,
    ) -> None:
        self._index = index
        self._ids = ids
        self.encoder = encoder
        self.description = description  # in the language of faiss.index_factory; empty in folders saved without
        self.recall = recall  # at 10, against exact search when it was built; None likewise

    def __len__(self) -> int:
        """How many documents it holds."""
        return len(self._ids)

    @classmethod
    def build(
        cls,
        embeddings: NDArray[np.float32],
        ids: Sequence[str],
        encoder: str = "",
        factory: str = "Flat",
        queries: NDArray[np.float32] | None = None,
    ) -> "Search":
        """Indexes embeddings, and measures how many of the ten nearest the index finds: `recall`, saved with it.

        Args:
            embeddings: (n, dim), rows of length 1, as `Embedder.encode_document` makes them.
            ids: n document ids, in the order of the rows.
            encoder: `Embedder.fingerprint`; an index that knows it is not searched with another encoder's queries.
            factory: which index: `flat` is exact; `ivf`, `hnsw`, `sq8` and `pq` miss some, and need less time or
                memory (`attune.runtime.indexes` has what each costs); too few rows to train one give `flat`. Or
                any other, in the language of faiss.index_factory: `IVF1024,SQ8`.
            queries: (m, dim) embeddings as users will ask them, to measure recall on a sample of them; without any a
                sample of the documents asks for the others.

        Raises:
            ValueError: embeddings and ids do not fit, or there is nothing to index.
        """
        if embeddings.ndim != 2 or not len(embeddings) or len(embeddings) != len(ids):
            raise ValueError(f"embeddings are {embeddings.shape} for {len(ids)} ids; expected (n ids, dim), n above 0")
        description = indexes.factory(factory, *embeddings.shape)
        threads = indexes.load_faiss().omp_get_max_threads()
        index = indexes.build(description, embeddings, np.arange(len(ids)), seed=0, threads=threads)
        recall = 1.0 if description == "Flat" else indexes.measured_recall(index, embeddings, queries, RECALL_AT)
        return cls(index, list(ids), encoder, description, recall)

    def save(self, folder: Path | str) -> None:
        """Writes the folder whole or not at all.

        Raises:
            BadInput: the folder is there already; a service may be reading it.
        """
        folder = Path(folder)
        if folder.exists():
            raise BadInput(f"{folder}: is there already; save to a new folder, then let the service load that one")
        partial = folder.with_name(f"{folder.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        indexes.load_faiss().write_index(self._index, str(partial / INDEX))
        (partial / IDS).write_text(json.dumps(self._ids, ensure_ascii=False), encoding="utf-8")
        files = {name: _sha256(partial / name) for name in (INDEX, IDS)}
        about = {"format": 1, "encoder": self.encoder, "n_documents": len(self), "dim": self._index.d, "files": files}
        about |= {"index": self.description, f"recall@{RECALL_AT}": self.recall}
        (partial / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        partial.rename(folder)

    @classmethod
    def load(cls, folder: Path | str, encoder: str | None = None) -> "Search":
        """Loads what `save` wrote, after checking each file's sha256; the index is memory-mapped where FAISS can.

        Args:
            folder: a saved index.
            encoder: `Embedder.fingerprint` of the encoder that will embed the queries; None does not compare.

        Raises:
            BadInput: a file is missing or damaged, or the index was made by another encoder.
        """
        folder = Path(folder)
        about = _read(folder / ABOUT)
        try:
            for name in (INDEX, IDS):
                _check(folder / name, about["files"][name])
            made_by, ids = about["encoder"], _read(folder / IDS)
        except (KeyError, TypeError):
            raise BadInput(f"{folder / ABOUT}: not the record of a saved index; build the index again") from None
        if encoder is not None and made_by != encoder:
            raise BadInput(
                f"{folder}: made by encoder {made_by[:12] or 'unknown'}, expected {encoder[:12]}; "
                "vectors of two encoders cannot be compared: build the index again"
            )
        faiss = indexes.load_faiss()
        index = faiss.read_index(str(folder / INDEX), faiss.IO_FLAG_MMAP_IFC)
        return cls(index, ids, made_by, about.get("index", ""), about.get(f"recall@{RECALL_AT}"))

    def top(self, queries: NDArray[np.float32], k: int) -> list[list[tuple[str, float]]]:
        """The k best documents of each query with their scores, best first; among equals the earlier row comes first.

        Args:
            queries: (m, dim).
            k: how many, 1 or more; fewer come back if there are fewer documents.

        Raises:
            ValueError: the queries have another dimension, or k is below 1.
        """
        if queries.ndim != 2 or queries.shape[1] != self._index.d or k < 1:
            raise ValueError(
                f"queries are {queries.shape}, k is {k}; expected (m, {self._index.d}), and k of 1 or more"
            )
        scores, rows = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), min(k, len(self)))
        return [self._hits(*hits) for hits in zip(rows, scores, strict=True)]

    def _hits(self, rows: NDArray[np.int64], scores: NDArray[np.float32]) -> list[tuple[str, float]]:
        found = rows >= 0  # approximate indexes fill up with -1
        rows, scores = rows[found], scores[found]
        order = np.lexsort((rows, -scores))
        return [(self._ids[row], float(score)) for row, score in zip(rows[order], scores[order], strict=True)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(path: Path, expected: str) -> None:
    if not path.is_file():
        raise BadInput(f"{path}: not found; fetch or build the index again")
    got = _sha256(path)
    if got != expected:
        raise BadInput(f"{path}: sha256 is {got}, expected {expected}; fetch or build the index again")


def _read(path: Path) -> Any:  # noqa: ANN401  JSON
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise BadInput(f"{path}: not found; give the folder of a saved index") from None
    except ValueError as error:
        raise BadInput(f"{path}: damaged ({error}); fetch or build the index again") from None
