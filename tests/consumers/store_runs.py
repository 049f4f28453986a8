"""Runs examples/stores in the environment of each store, and judges the hits."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from environments import python_environment
from roster import DRIVERS, ROOT, SCRATCH


class StoreScript(NamedTuple):
    """A script of examples/stores, and what runs below it.

    Attributes:
        name: shown in the table.
        script: file in examples/stores; its environment is the .txt of that name in this folder.
        approximate: storages that may miss a neighbour; the local mode of Qdrant's client reads all whatever is asked.
        engine: Qdrant's engine in place of its client's local mode.
        rounds: False where float32 is kept, whatever the storage.
    """

    name: str
    script: str
    approximate: tuple[str, ...]
    engine: bool = False
    rounds: bool = True


STORES = (
    StoreScript("PostgreSQL, pgvector", "postgres_store", ("hnsw", "binary")),
    StoreScript("Qdrant, its engine", "qdrant_store", ("hnsw", "binary"), engine=True),
    StoreScript("Qdrant, local mode", "qdrant_store", (), rounds=False),
    StoreScript("LanceDB", "lancedb_store", ("hnsw", "binary")),
    StoreScript("sqlite-vec", "sqlite_store", ("binary",)),
)

Hits = list[tuple[str, float]]


def run(tested: StoreScript, request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Returns the driver's answer (store_driver.py) for a request without the keys `script` and `engine`."""
    files = [folder / "request.json", folder / "answer.json"]
    request = {**request, "script": tested.script, "engine": tested.engine}
    files[0].write_text(json.dumps(request), encoding="utf-8")
    python = python_environment(DRIVERS / f"{tested.script}.txt", SCRATCH)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    subprocess.run([python, "-W", "ignore", DRIVERS / "store_driver.py", *files], env=environment, check=True)
    answer: dict[str, Any] = json.loads(files[1].read_text(encoding="utf-8"))
    return answer


def check_nearest(hits: Hits, nearest: Hits, scores: Mapping[str, float], rounding: float) -> None:
    """Fails unless the hits are the nearest documents up to ties, best first, with their scores.

    Args:
        hits: of the store.
        nearest: of FAISS.
        scores: exact ones of all documents.
        rounding: by which a store's score may be off, and below which two scores are a tie.
    """
    ids = [id_ for id_, _ in hits]
    assert len(set(ids)) == len(nearest), f"{len(set(ids))} different ids, expected {len(nearest)}"
    for rank, ((id_, score), (expected_id, expected)) in enumerate(zip(hits, nearest, strict=True), start=1):
        assert abs(score - scores[id_]) <= rounding, f"rank {rank}: {id_} has {score}, expected {scores[id_]}"
        assert abs(scores[id_] - expected) <= 2 * rounding, f"rank {rank}: {id_}, expected {expected_id}"


def bounds(ranking: Hits) -> dict[str, tuple[float, float]]:
    """Returns the least and the most of 1 / (60 + rank) that each document has over the orders of equal scores."""
    scores = [score for _, score in ranking]
    ranks = {score: (scores.index(score) + 1, len(scores) - scores[::-1].index(score)) for score in scores}
    return {id_: (1 / (60 + ranks[score][1]), 1 / (60 + ranks[score][0])) for id_, score in ranking}


def check_fused(hits: Hits, rankings: tuple[Hits, Hits], k: int) -> None:
    """Fails unless the hits are the k best by reciprocal rank fusion of two rankings, up to ties within them."""
    first, second = (bounds(ranking) for ranking in rankings)
    least, most = (
        {id_: sum(one.get(id_, (0, 0))[end] for one in (first, second)) for id_ in {*first, *second}} for end in (0, 1)
    )
    assert len({id_ for id_, _ in hits}) == len(hits) == min(k, len(least))
    assert [score for _, score in hits] == sorted((score for _, score in hits), reverse=True)
    for id_, score in hits:
        assert least[id_] - 1e-6 <= score <= most[id_] + 1e-6, f"{id_}: {score}, expected {least[id_]} to {most[id_]}"
    left_out = max((least[id_] for id_ in least.keys() - dict(hits).keys()), default=0)
    assert left_out <= hits[-1][1] + 1e-6, f"a document with {left_out} is missing; the last hit has {hits[-1][1]}"


def recall(hits: list[Hits], nearest: list[Hits]) -> float:
    """Returns the share of the nearest documents that were found."""
    found = [len({id_ for id_, _ in a} & {id_ for id_, _ in b}) for a, b in zip(hits, nearest, strict=True)]
    return sum(found) / sum(map(len, nearest))
