"""Qdrant: index, query, full text and hybrid. Needs `pip install qdrant-client`, and a server of 1.20 or newer.

A collection belongs to one encoder and one storage, by its name: a new encoder fills its own beside the old one, and
no query meets another encoder's vectors. Storages: `float32` and `float16` read every row; `hnsw` searches a graph of
float16; `binary` a graph of one bit per number, whose candidates float16 orders. The local mode (a folder instead of a
server) is for trying: it keeps float32 and reads every row, whatever the storage.
"""

from typing import NamedTuple
from uuid import NAMESPACE_URL, uuid5

from qdrant_client import QdrantClient, models

from attune.runtime import Embedder

STORAGES = ("float32", "float16", "hnsw", "binary")
CANDIDATES = 10  # per hit that is asked for, found by bits
DEPTH = 100  # documents of each ranking that are fused

Hits = list[tuple[str, float]]  # ids and scores, best first


class Store(NamedTuple):
    """A collection, with the encoder that it belongs to."""

    client: QdrantClient
    embedder: Embedder
    storage: str
    name: str


def open_store(address: str, embedder: Embedder, storage: str = "float16") -> Store:
    """Connects to a server, such as `http://localhost:6333`, or opens a folder in local mode."""
    if storage not in STORAGES:
        raise ValueError(f"storage is {storage!r}, expected one of {', '.join(STORAGES)}")
    client = QdrantClient(url=address) if "://" in address else QdrantClient(path=address)
    store = Store(client, embedder, storage, f"documents_{embedder.fingerprint[:12]}_{storage}")
    if not client.collection_exists(store.name):
        _create(store)
    return store


def _create(store: Store) -> None:
    bits = models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    store.client.create_collection(
        store.name,
        vectors_config=models.VectorParams(
            size=store.embedder.dim,
            distance=models.Distance.DOT,  # of vectors of length 1: the cosine
            datatype=models.Datatype.FLOAT32 if store.storage == "float32" else models.Datatype.FLOAT16,
            quantization_config=bits if store.storage == "binary" else None,
        ),
    )
    bm25 = models.TextScoringParams(type=models.TextScoringType.BM25)
    words = models.TextIndexParams(type=models.TextIndexType.TEXT, scoring=bm25)  # a server also stems: stemmer=...
    store.client.create_payload_index(store.name, "text", words)
    store.client.create_payload_index(store.name, "section", models.PayloadSchemaType.KEYWORD)


def build(store: Store, documents: list[dict[str, str]]) -> None:
    """Adds documents with `_id`, `text` and, to filter by, `section`; replaces those whose id is there.

    Qdrant takes numbers and UUIDs as ids, so a document's own id is in the payload, and the UUID is made of it.
    """
    vectors = store.embedder.encode_document([document["text"] for document in documents])
    points = [
        models.PointStruct(
            id=_point(document["_id"]),
            vector=vector.tolist(),
            payload={"_id": document["_id"], "section": document.get("section", ""), "text": document["text"]},
        )
        for document, vector in zip(documents, vectors, strict=True)
    ]
    store.client.upload_points(store.name, points, wait=True)


def remove(store: Store, ids: list[str]) -> None:
    """Removes documents; ids that are not there are passed over."""
    store.client.delete(store.name, points_selector=models.PointIdsList(points=[_point(id_) for id_ in ids]))


def query(store: Store, text: str, k: int = 10, section: str | None = None) -> Hits:
    """Returns the k documents with the largest cosine to the query; of one section, or of all."""
    return _hits(store, _nearest(store, text, k, section), k)


def full_text(store: Store, text: str, k: int = 10, section: str | None = None) -> Hits:
    """Returns the k documents with the best BM25, of those with a word of the query."""
    return _hits(store, _matching(text, k, section), k)


def hybrid(store: Store, text: str, k: int = 10, section: str | None = None) -> Hits:
    """Returns the k best of both by reciprocal rank fusion, the sum of 1 / (60 + rank)."""
    depth = max(k, DEPTH)
    fusion = models.RrfQuery(rrf=models.Rrf(k=61))  # Qdrant counts ranks from 0
    both = [_nearest(store, text, depth, section), _matching(text, depth, section)]
    return _hits(store, models.Prefetch(prefetch=both, query=fusion), k)


def _point(id_: str) -> str:
    return str(uuid5(NAMESPACE_URL, id_))


def _nearest(store: Store, text: str, k: int, section: str | None) -> models.Prefetch:
    second_look = models.QuantizationSearchParams(rescore=True, oversampling=CANDIDATES)
    return models.Prefetch(
        query=store.embedder.encode_query([text])[0].tolist(),
        filter=_of(section),
        params=models.SearchParams(exact=store.storage.startswith("float"), quantization=second_look),
        limit=k,
    )


def _matching(text: str, k: int, section: str | None) -> models.Prefetch:
    return models.Prefetch(query=models.TextQuery(text=text), using="text", filter=_of(section), limit=k)


def _of(section: str | None) -> models.Filter | None:
    if section is None:
        return None
    return models.Filter(must=[models.FieldCondition(key="section", match=models.MatchValue(value=section))])


def _hits(store: Store, search: models.Prefetch, k: int) -> Hits:
    points = store.client.query_points(
        store.name,
        prefetch=search.prefetch,
        query=search.query,
        using=search.using,
        query_filter=search.filter,
        search_params=search.params,
        limit=k,
        with_payload=["_id"],
    ).points
    return [(point.payload["_id"], point.score) for point in points]
