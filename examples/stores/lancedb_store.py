"""LanceDB: index, query, full text and hybrid. Needs `pip install lancedb`.

A table belongs to one encoder and one storage, by its name: a new encoder fills its own beside the old one, and no
query meets another encoder's vectors. Storages: `float32` and `float16` read every row; `hnsw` searches a graph of 8
bits per number, and `binary` reads one bit per number (RaBitQ); float16 orders the candidates of both.
"""

from typing import NamedTuple

import lancedb
import pyarrow as pa
from lancedb.index import FTS, HnswSq, IvfRq
from lancedb.query import LanceHybridQueryBuilder, LanceQueryBuilder, LanceVectorQueryBuilder, MatchQuery
from lancedb.rerankers import RRFReranker

from attune.runtime import Embedder

STORAGES = ("float32", "float16", "hnsw", "binary")
LANGUAGE = "English"  # of stems and stop words
CANDIDATES = 10  # per hit that is asked for, found by 8 bits or one
N_PARTITIONS = 1  # of an index: 1 reads all bits; of millions of rows rather one per 4,096, of which a query reads 20
DEPTH = 100  # documents of each ranking that are fused

Hits = list[tuple[str, float]]  # ids and scores, best first


class Store(NamedTuple):
    """A table, with the encoder that it belongs to."""

    table: lancedb.table.Table
    embedder: Embedder
    storage: str


def open_store(folder: str, embedder: Embedder, storage: str = "float16") -> Store:
    """Opens a folder or bucket (`s3://...`), which need not exist yet."""
    if storage not in STORAGES:
        raise ValueError(f"storage is {storage!r}, expected one of {', '.join(STORAGES)}")
    name, type_ = f"documents_{embedder.fingerprint[:12]}_{storage}", _type(storage)
    fields = {"id": pa.string(), "section": pa.string(), "text": pa.string(), "vector": pa.list_(type_, embedder.dim)}
    return Store(lancedb.connect(folder).create_table(name, schema=pa.schema(fields), exist_ok=True), embedder, storage)


def build(store: Store, documents: list[dict[str, str]]) -> None:
    """Adds documents with `_id`, `text` and, to filter by, `section`; replaces those whose id is there.

    Give a large corpus in several calls: a search reads rows that came after the index one by one, until `optimize`.
    """
    documents = list({document["_id"]: document for document in documents}.values())  # merge_insert would keep both
    vectors = store.embedder.encode_document([document["text"] for document in documents])
    numbers = pa.array(vectors.ravel()).cast(_type(store.storage))
    rows = pa.table(
        {
            "id": [document["_id"] for document in documents],
            "section": [document.get("section", "") for document in documents],
            "text": [document["text"] for document in documents],
            "vector": pa.FixedSizeListArray.from_arrays(numbers, store.embedder.dim),
        }
    )
    store.table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)
    indexed = {column for index in store.table.list_indices() for column in index.columns}
    if "text" not in indexed:
        store.table.create_index("text", config=FTS(language=LANGUAGE))
    if store.storage in ("hnsw", "binary") and "vector" not in indexed:
        kind = {"hnsw": HnswSq, "binary": IvfRq}[store.storage]
        store.table.create_index("vector", config=kind(distance_type="dot", num_partitions=N_PARTITIONS))
    if indexed:
        store.table.optimize()


def remove(store: Store, ids: list[str]) -> None:
    """Removes documents; ids that are not there are passed over."""
    if ids:
        store.table.delete(f"id in ({', '.join(map(_quoted, ids))})")


def query(store: Store, text: str, k: int = 10, section: str | None = None) -> Hits:
    """Returns the k documents with the largest cosine to the query; of one section, or of all."""
    search = store.table.search(store.embedder.encode_query([text])[0])
    rows = _of(_nearest(search), section).select(["id", "_distance"]).limit(k).to_list()
    return [(row["id"], 1 - row["_distance"]) for row in rows]


def full_text(store: Store, text: str, k: int = 10, section: str | None = None) -> Hits:
    """Returns the k documents with the best BM25, of those with a word of the query."""
    search = store.table.search(MatchQuery(text, "text"), query_type="fts")
    rows = _of(search, section).select(["id", "_score"]).limit(k).to_list()
    return [(row["id"], row["_score"]) for row in rows]


def hybrid(store: Store, text: str, k: int = 10, section: str | None = None) -> Hits:
    """Returns the k best of both by reciprocal rank fusion, the sum of 1 / (60 + rank)."""
    search = store.table.search(query_type="hybrid").vector(store.embedder.encode_query([text])[0])
    search = _nearest(search.text(MatchQuery(text, "text"))).rerank(RRFReranker(K=60))
    rows = _of(search, section).limit(max(k, DEPTH)).to_list()
    return [(row["id"], row["_relevance_score"]) for row in rows[:k]]


def _type(storage: str) -> pa.DataType:
    return pa.float32() if storage == "float32" else pa.float16()


def _nearest(search: LanceVectorQueryBuilder | LanceHybridQueryBuilder) -> LanceQueryBuilder:
    return search.distance_type("dot").refine_factor(CANDIDATES)


def _of(search: LanceQueryBuilder, section: str | None) -> LanceQueryBuilder:
    return search if section is None else search.where(f"section = {_quoted(section)}", prefilter=True)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
