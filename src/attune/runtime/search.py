"""Search over a saved index: the documents whose embeddings have the largest inner product with a query's.

Needs FAISS (`pip install faiss-cpu`, or the extra `search`), which is imported at first use: a service that only
embeds does without it.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attune.errors import BadInput
from attune.runtime import folders, indexes, rules
from attune.runtime import storage as storages
from attune.runtime.arrays import Float32, Int64
from attune.runtime.calibration import Calibration, probable
from attune.runtime.manifest import sha256_of
from attune.runtime.passages import Hit, best_of_documents

INDEX, IDS, RECORD = "index.faiss", "ids.json", "search.json"
PASSAGES = "passages.json"  # only where documents are embedded in passages
RECALL_AT = 10
MISSING, REMEDY = "give the folder of a saved index", "fetch or build the index again"
RULE = rules.record(
    {"encoder": rules.text, "files": rules.record({INDEX: rules.sha256, IDS: rules.sha256}, {PASSAGES: rules.sha256})},
    {
        "n_documents": rules.whole(1, 2**40),
        "dim": rules.whole(1, 2**20),
        "index": rules.text,
        f"recall@{RECALL_AT}": rules.or_null(rules.number(0, 1)),
    },
)
RANGES = rules.rows(rules.rows(rules.whole(0, 2**40), least=2, most=2), least=1)


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
        storage: str = "float32",
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
            storage: of the vectors of a flat index: `float32`, `float16`, `int8`, `binary` or `binary_rescored`
                (`attune.runtime.storage` lists their bytes).

        Raises:
            ValueError: storage and factory do not fit together; embeddings and ids differ in number, or there are none;
                a vector is NaN or infinite; an id is no string, or stands twice; FAISS has no such index, or cannot
                train it with these rows.
        """
        if embeddings.ndim != 2 or not embeddings.size or len(embeddings) != len(ids):
            raise ValueError(f"embeddings are {embeddings.shape} for {len(ids)} ids; expected (n ids, dim), n above 0")
        _check_ids(ids, are_repeated=passages is not None)
        indexes.require_finite("embedding", embeddings)
        if passages is not None and len(passages) != len(ids):
            raise ValueError(f"{len(passages)} passages for {len(ids)} rows; expected the range of each row")
        if queries is not None:
            if queries.ndim != 2 or queries.shape[1] != embeddings.shape[1] or not len(queries):
                raise ValueError(f"queries are {queries.shape}; expected (m, {embeddings.shape[1]}), m above 0")
            indexes.require_finite("query", queries)
        description = indexes.factory(storages.stored(storage, factory), *embeddings.shape)
        threads = indexes.load_faiss().omp_get_max_threads()
        index = indexes.build(description, embeddings, np.arange(len(ids)), seed=0, threads=threads)
        storages.set_search(index)
        recall = 1.0 if description == "Flat" else indexes.measured_recall(index, embeddings, queries, RECALL_AT)
        return cls(index, list(ids), encoder, description, recall, passages)

    def save(self, folder: Path | str) -> None:
        """Writes the folder all or nothing.

        Raises:
            BadInput: the folder exists, as a service may be reading it, or it cannot be written; leaves nothing then.
        """
        folder = Path(folder)
        if folder.exists():
            raise BadInput(f"{folder}: exists already; save to a new folder and let the service load that one")
        partial = folder.with_name(f"{folder.name}.partial")
        try:
            self._write(partial)
            partial.rename(folder)
        except (OSError, RuntimeError) as error:  # RuntimeError: FAISS's own
            why = getattr(error, "strerror", None) or indexes.reason(error)
            raise BadInput(f"{folder}: cannot be written ({why}); free space, or save to another folder") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        indexes.load_faiss().write_index(self._index, str(folder / INDEX))
        (folder / IDS).write_text(json.dumps(self._ids, ensure_ascii=False), encoding="utf-8")
        names = [INDEX, IDS]
        if self._passages is not None:
            (folder / PASSAGES).write_text(json.dumps([list(map(int, own)) for own in self._passages]))
            names.append(PASSAGES)
        files = {name: sha256_of(folder / name) for name in names}
        record = {"format": 1, "encoder": self.encoder, "n_documents": len(self), "dim": self._index.d, "files": files}
        record |= {"index": self.description, f"recall@{RECALL_AT}": self.recall}
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str, encoder: str | None = None) -> "Search":
        """Loads a saved folder into memory after checking the sha256 of each file.

        Args:
            folder: a saved index.
            encoder: `Embedder.fingerprint` of the encoder that will embed the queries; None skips the comparison.

        Raises:
            BadInput: a file is missing, damaged or no regular file inside the folder, the files do not belong together,
                or the rows were embedded by another encoder.
        """
        folder = Path(folder)
        record = folders.read_json(folder, RECORD, RULE, "the record of a saved index", MISSING, REMEDY)
        is_cut = PASSAGES in record["files"]
        for name in (INDEX, IDS, *((PASSAGES,) if is_cut else ())):
            _verify_sha256(folders.confined(folder, name, REMEDY), record["files"][name])
        own = record["encoder"]
        if encoder is not None and own != encoder:
            raise BadInput(
                f"{folder}: embedded by encoder {own[:12] or 'unknown'}, expected {encoder[:12]}; "
                "vectors of two encoders cannot be compared: build the index again"
            )
        rule = _ids_rule(are_repeated=is_cut)
        ids = folders.read_json(folder, IDS, rule, "the ids of a saved index", REMEDY, REMEDY, max_bytes=None)
        of_passages = (RANGES, "the passages of a saved index", REMEDY, REMEDY)
        passages = folders.read_json(folder, PASSAGES, *of_passages, max_bytes=None) if is_cut else None
        for name in folders.walk(folder):  # an index of FAISS may name a file beside it
            folders.confined(folder, name, REMEDY)
        index = indexes.read(folder / INDEX)
        got, n = (index.ntotal, index.d), len(set(ids))
        if got != (len(ids), record.get("dim", index.d)) or n != record.get("n_documents", n):
            sizes = f"{got[0]} rows of {got[1]} numbers for {len(ids)} ids"
            raise BadInput(f"{folder}: the index holds {sizes}, and {RECORD} says otherwise; {REMEDY}")
        if passages is not None and len(passages) != len(ids):
            raise BadInput(f"{folder}: {len(passages)} passages for {len(ids)} rows; {REMEDY}")
        return cls(index, ids, own, record.get("index", ""), record.get(f"recall@{RECALL_AT}"), passages)

    def top(self, queries: Float32, k: int) -> list[list[tuple[str, float]]]:
        """Returns the ids and scores of the k best documents of each query, best first; ties go to the earlier row.

        Args:
            queries: (m, dim).
            k: number of documents, 1 or more; an index with fewer returns all.

        Raises:
            ValueError: the queries have another dimension than the index or are not finite, or k is below 1.
            BadInput: the index returns a row that it does not have; only a folder that was tampered with does.
        """
        self._check(queries, k)
        if self._passages is not None:
            return [[(hit.document_id, hit.score) for hit in hits] for hits in self.top_passages(queries, k)]
        scores, rows = self._search(queries, min(k, len(self)))
        return [self._hits(*hits) for hits in zip(rows, scores, strict=True)]

    def top_passages(self, queries: Float32, k: int) -> list[list[Hit]]:
        """Returns the k best documents of each query with the passage that matched; takes what `top` takes."""
        if self._passages is None:
            return [[Hit(id_, score, None, None) for id_, score in hits] for hits in self.top(queries, k)]
        self._check(queries, k)
        found = [self._best_of(query[None], k) for query in queries]
        return [[Hit(self._ids[row], score, *self._passages[row]) for row, score in best] for best in found]

    def probable(
        self, queries: Float32, k: int, calibration: Calibration, min_probability: float = 0.0, promised: bool = False
    ) -> list[list[Hit]]:
        """Returns what `top_passages` does, with each hit's probability to be relevant, and drops improbable ones.

        Args:
            queries: (m, dim).
            k: number of documents, 1 or more.
            calibration: `Calibration.load` of the encoder's folder.
            min_probability: hits below it are left out; a query may find nothing.
            promised: queries whose first hit scores less than the promised cutoff find nothing.

        Raises:
            BadInput: the calibration is another encoder's, whose scores mean something else, or promises no cutoff.
        """
        if self.encoder and calibration.encoder not in ("", self.encoder):
            got, expected = calibration.encoder[:12], self.encoder[:12]
            raise BadInput(f"the calibration is of encoder {got}, the index of {expected}; load that encoder's")
        return probable(self.top_passages(queries, k), calibration, min_probability, promised)

    def _best_of(self, query: Float32, k: int) -> list[tuple[int, float]]:
        def search(n: int) -> tuple[Float32, Int64]:
            scores, rows = self._search(query, n)
            return scores[0], rows[0]

        return best_of_documents(search, self._ids, min(k, len(self)))

    def _check(self, queries: Float32, k: int) -> None:
        if queries.ndim != 2 or queries.shape[1] != self._index.d or k < 1:
            raise ValueError(
                f"queries are {queries.shape}, k is {k}; expected (m, {self._index.d}), and k of 1 or more"
            )
        if not np.isfinite(queries).all():
            raise ValueError("queries hold NaN or infinite numbers; embed them again")

    def _search(self, queries: Float32, n: int) -> tuple[Float32, Int64]:
        """Returns scores and rows of the n nearest, (n_queries, n) each."""
        try:
            scores, rows = indexes.search(self._index, queries, n)
        except RuntimeError as error:  # FAISS's own
            raise BadInput(f"the index cannot be searched ({indexes.reason(error)}); {REMEDY}") from None
        if rows.max(initial=-1) >= len(self._ids):
            raise BadInput(f"the index returns row {rows.max()} of {len(self._ids)}; {REMEDY}")
        return scores, rows

    def _hits(self, rows: Int64, scores: Float32) -> list[tuple[str, float]]:
        is_hit = rows >= 0  # approximate indexes fill up with -1
        rows, scores = rows[is_hit], scores[is_hit]
        order = np.lexsort((rows, -scores))
        return [(self._ids[row], float(score)) for row, score in zip(rows[order], scores[order], strict=True)]


def _check_ids(ids: Sequence[str], are_repeated: bool = False) -> None:
    seen: set[str] = set()
    for place, id_ in enumerate(ids):
        if not isinstance(id_, str):
            raise ValueError(f"id {place} is {type(id_).__name__}, expected a string; convert each id by str()")
        if id_ in seen and not are_repeated:
            raise ValueError(f"id {place}, {id_[:80]!a}, stands twice, expected one row per id; remove one of the two")
        seen.add(id_)
        try:
            id_.encode()
        except UnicodeEncodeError:
            raise ValueError(f"id {place} holds half of a surrogate pair, expected valid Unicode; rename it") from None


def _ids_rule(are_repeated: bool) -> rules.Rule:
    def rule(place: str, value: Any) -> None:  # noqa: ANN401  JSON
        if not isinstance(value, list):
            raise ValueError("expected a list of ids")
        _check_ids(value, are_repeated)

    return rule


def _verify_sha256(path: Path, expected: str) -> None:
    got = sha256_of(path)
    if got != expected:
        raise BadInput(f"{path}: sha256 is {got}, expected {expected}; {REMEDY}")
