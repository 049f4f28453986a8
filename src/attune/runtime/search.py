"""Search over a saved index: the documents whose embeddings have the largest inner product with a query's.

Needs FAISS (`pip install faiss-cpu`, or the extra `search`), which is imported at first use: a service that only
embeds does without it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attune.errors import BadInput
from attune.runtime import indexes
from attune.runtime.arrays import Float32, Int64
from attune.runtime.manifest import sha256_of
from attune.runtime.passages import Hit, best_of_documents

INDEX, IDS, RECORD = "index.faiss", "ids.json", "search.json"
PASSAGES = "passages.json"  # only where documents are embedded in passages
RECALL_AT = 10


class Search:
    """A FAISS index with the id of each row and the fingerprint of the encoder that embedded the rows.

    `build` and `load` return an instance, `save` writes a folder for `load`. One instance serves any number of threads:
    searching changes nothing in it.

    Attributes:
        encoder: fingerprint of the encoder; empty where none was given.
        description: of the index, for faiss.index_factory; empty in folders that were saved without.
        recall: recall@10 against exact search, measured by `build`; None in folders that were saved without.
    """

    def __init__(
        self,
        index: Any,  # noqa: ANN401  faiss has no types
        ids: Sequence[str],
        encoder: str,
        description: str,
        recall: float | None,
        passages: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self._index = index
        self._ids = ids
        self.encoder = encoder
        self.description = description
        self.recall = recall
        self._passages = passages
        self._n_documents = len(set(ids)) if passages is not None else len(ids)

    def __len__(self) -> int:
        """Number of documents."""
        return self._n_documents

    @classmethod
    def build(
        cls,
        embeddings: Float32,
        ids: Sequence[str],
        encoder: str = "",
        factory: str = "Flat",
        queries: Float32 | None = None,
        passages: Sequence[tuple[int, int]] | None = None,
    ) -> "Search":
        """Indexes embeddings and measures recall@10 of the index, which is saved with it.

        Args:
            embeddings: (n, dim), rows of length 1, as returned by `Embedder.encode_document`.
            ids: n document ids, in the order of the rows.
            encoder: `Embedder.fingerprint`; `load` compares it, so that queries of another encoder are refused.
            factory: kind of index: `flat` is exact; `ivf`, `hnsw`, `sq8` and `pq` miss neighbours, and need less time
                or memory (`attune.runtime.indexes` lists their costs). With too few rows for training the index is
                `flat`. Any other value is a description for faiss.index_factory, such as `IVF1024,SQ8`.
            queries: (m, dim) embeddings of typical queries; recall is measured on a sample of them. None measures it
                with a sample of the documents as queries.
            passages: where documents are embedded in passages, the range of characters of each row in its document;
                the id of a document then stands at each of its rows, and the document scores as the best one.

        Raises:
            ValueError: embeddings and ids differ in number, or there are none.
        """
        if embeddings.ndim != 2 or not len(embeddings) or len(embeddings) != len(ids):
            raise ValueError(f"embeddings are {embeddings.shape} for {len(ids)} ids; expected (n ids, dim), n above 0")
        if passages is not None and len(passages) != len(ids):
            raise ValueError(f"{len(passages)} passages for {len(ids)} rows; expected the range of each row")
        description = indexes.factory(factory, *embeddings.shape)
        threads = indexes.load_faiss().omp_get_max_threads()
        index = indexes.build(description, embeddings, np.arange(len(ids)), seed=0, threads=threads)
        recall = 1.0 if description == "Flat" else indexes.measured_recall(index, embeddings, queries, RECALL_AT)
        return cls(index, list(ids), encoder, description, recall, passages)

    def save(self, folder: Path | str) -> None:
        """Writes the folder all or nothing.

        Raises:
            BadInput: the folder exists; a service may be reading it.
        """
        folder = Path(folder)
        if folder.exists():
            raise BadInput(f"{folder}: exists already; save to a new folder and let the service load that one")
        partial = folder.with_name(f"{folder.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        indexes.load_faiss().write_index(self._index, str(partial / INDEX))
        (partial / IDS).write_text(json.dumps(self._ids, ensure_ascii=False), encoding="utf-8")
        names = [INDEX, IDS]
        if self._passages is not None:
            (partial / PASSAGES).write_text(json.dumps([list(map(int, own)) for own in self._passages]))
            names.append(PASSAGES)
        files = {name: sha256_of(partial / name) for name in names}
        record = {"format": 1, "encoder": self.encoder, "n_documents": len(self), "dim": self._index.d, "files": files}
        record |= {"index": self.description, f"recall@{RECALL_AT}": self.recall}
        (partial / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        partial.rename(folder)

    @classmethod
    def load(cls, folder: Path | str, encoder: str | None = None) -> "Search":
        """Loads a saved folder after checking the sha256 of each file; FAISS memory-maps the index where it can.

        Args:
            folder: a saved index.
            encoder: `Embedder.fingerprint` of the encoder that will embed the queries; None skips the comparison.

        Raises:
            BadInput: a file is missing or damaged, or the rows were embedded by another encoder.
        """
        folder = Path(folder)
        record = _read(folder / RECORD)
        try:
            is_cut = PASSAGES in record["files"]
            for name in (INDEX, IDS, *((PASSAGES,) if is_cut else ())):
                _verify_sha256(folder / name, record["files"][name])
            own, ids = record["encoder"], _read(folder / IDS)
            passages = _read(folder / PASSAGES) if is_cut else None
        except (KeyError, TypeError):
            raise BadInput(f"{folder / RECORD}: not the record of a saved index; build the index again") from None
        if encoder is not None and own != encoder:
            raise BadInput(
                f"{folder}: embedded by encoder {own[:12] or 'unknown'}, expected {encoder[:12]}; "
                "vectors of two encoders cannot be compared: build the index again"
            )
        faiss = indexes.load_faiss()
        index = faiss.read_index(str(folder / INDEX), faiss.IO_FLAG_MMAP_IFC)
        return cls(index, ids, own, record.get("index", ""), record.get(f"recall@{RECALL_AT}"), passages)

    def top(self, queries: Float32, k: int) -> list[list[tuple[str, float]]]:
        """Returns the ids and scores of the k best documents of each query, best first; ties go to the earlier row.

        Args:
            queries: (m, dim).
            k: number of documents, 1 or more; an index with fewer returns all.

        Raises:
            ValueError: the queries have another dimension than the index, or k is below 1.
        """
        self._check(queries, k)
        if self._passages is not None:
            return [[(hit.document_id, hit.score) for hit in hits] for hits in self.top_passages(queries, k)]
        scores, rows = indexes.search(self._index, queries, min(k, len(self)))
        return [self._hits(*hits) for hits in zip(rows, scores, strict=True)]

    def top_passages(self, queries: Float32, k: int) -> list[list[Hit]]:
        """Returns the k best documents of each query with the passage that matched; takes what `top` takes."""
        if self._passages is None:
            return [[Hit(id_, score, None, None) for id_, score in hits] for hits in self.top(queries, k)]
        self._check(queries, k)
        found = [self._best_of(query[None], k) for query in queries]
        return [[Hit(self._ids[row], score, *self._passages[row]) for row, score in best] for best in found]

    def _best_of(self, query: Float32, k: int) -> list[tuple[int, float]]:
        def search(n: int) -> tuple[Float32, Int64]:
            scores, rows = indexes.search(self._index, query, n)
            return scores[0], rows[0]

        return best_of_documents(search, self._ids, min(k, len(self)))

    def _check(self, queries: Float32, k: int) -> None:
        if queries.ndim != 2 or queries.shape[1] != self._index.d or k < 1:
            raise ValueError(
                f"queries are {queries.shape}, k is {k}; expected (m, {self._index.d}), and k of 1 or more"
            )

    def _hits(self, rows: Int64, scores: Float32) -> list[tuple[str, float]]:
        is_hit = rows >= 0  # approximate indexes fill up with -1
        rows, scores = rows[is_hit], scores[is_hit]
        order = np.lexsort((rows, -scores))
        return [(self._ids[row], float(score)) for row, score in zip(rows[order], scores[order], strict=True)]


def _verify_sha256(path: Path, expected: str) -> None:
    if not path.is_file():
        raise BadInput(f"{path}: not found; fetch or build the index again")
    got = sha256_of(path)
    if got != expected:
        raise BadInput(f"{path}: sha256 is {got}, expected {expected}; fetch or build the index again")


def _read(path: Path) -> Any:  # noqa: ANN401  JSON
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise BadInput(f"{path}: not found; give the folder of a saved index") from None
    except ValueError as error:
        raise BadInput(f"{path}: damaged ({error}); fetch or build the index again") from None
