"""Qdrant's engine in this process (qdrant-edge) behind those methods of its client that examples/stores calls.

A server runs the same engine. The client's own local mode is another program, which knows neither float16 nor indexes.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import qdrant_edge as edge
from qdrant_client import models

HNSW = {"m": 16, "ef_construct": 100}  # a server's defaults
MIN_INDEXED_KB = 1  # of vectors, from which a graph is built; a server's default is 10,000


class Client:
    """Collections in a folder each."""

    def __init__(self, path: str) -> None:
        self._path, self._shards = Path(path), {}

    def collection_exists(self, name: str) -> bool:
        if name not in self._shards and (self._path / name).is_dir():
            self._shards[name] = edge.EdgeShard.load(str(self._path / name))
        return name in self._shards

    def create_collection(self, name: str, vectors_config: models.VectorParams) -> None:
        assert vectors_config.distance == models.Distance.DOT
        is_half = vectors_config.datatype == models.Datatype.FLOAT16
        params = edge.EdgeVectorParams(
            size=vectors_config.size,
            distance=edge.Distance.Dot,
            datatype=edge.VectorStorageDatatype.Float16 if is_half else edge.VectorStorageDatatype.Float32,
            quantization_config=edge.BinaryQuantizationConfig() if vectors_config.quantization_config else None,
            hnsw_config=edge.HnswIndexConfig(**HNSW, full_scan_threshold=MIN_INDEXED_KB),
        )
        optimizers = edge.EdgeOptimizersConfig(indexing_threshold=MIN_INDEXED_KB)
        (self._path / name).mkdir(parents=True)
        config = edge.EdgeConfig(vectors=params, optimizers=optimizers)
        self._shards[name] = edge.EdgeShard.create(str(self._path / name), config)

    def create_payload_index(self, name: str, field: str, schema: Any) -> None:
        is_text = isinstance(schema, models.TextIndexParams)
        index = edge.TextIndexParams(scoring=True) if is_text else edge.PayloadSchemaType.Keyword
        self._shards[name].update(edge.UpdateOperation.create_field_index(field, index))

    def upload_points(self, name: str, points: list[models.PointStruct], wait: bool) -> None:
        assert wait
        rows = [edge.Point(point.id, point.vector, point.payload) for point in points]
        self._shards[name].update(edge.UpdateOperation.upsert_points(rows))
        self._shards[name].optimize()

    def delete(self, name: str, points_selector: models.PointIdsList) -> None:
        self._shards[name].update(edge.UpdateOperation.delete_points(points_selector.points))

    def query_points(
        self,
        name: str,
        prefetch: Any,
        query: Any,
        using: Any,
        query_filter: Any,
        search_params: Any,
        limit: int,
        **_: Any,
    ) -> SimpleNamespace:
        request = edge.QueryRequest(
            limit=limit,
            query=_query(query, using),
            prefetches=[
                edge.Prefetch(p.limit, _query(p.query, p.using), None, _params(p.params), _filter(p.filter))
                for p in prefetch or []
            ],
            with_payload=True,
            filter=_filter(query_filter),
            params=_params(search_params),
        )
        return SimpleNamespace(points=self._shards[name].query(request))

    def close(self) -> None:
        for shard in self._shards.values():
            shard.flush()
            shard.close()
        self._shards = {}


def _query(query: Any, using: str | None) -> Any:
    if isinstance(query, models.RrfQuery):
        return edge.Fusion.Rrf(k=query.rrf.k)
    return edge.TextQuery(using, query.text) if isinstance(query, models.TextQuery) else edge.Query.Nearest(query)


def _filter(given: models.Filter | None) -> Any:
    if given is None:
        return None
    return edge.Filter(must=[edge.FieldCondition(c.key, edge.MatchValue(c.match.value)) for c in given.must])


def _params(given: models.SearchParams | None) -> Any:
    if given is None:
        return None
    bits = given.quantization
    return edge.SearchParams(
        exact=given.exact, quantization=edge.QuantizationSearchParams(False, bits.rescore, bits.oversampling)
    )
