"""SQLite with sqlite-vec: index, query, full text and hybrid. Needs `pip install sqlite-vec`.

A file may hold several encoders: tables belong to one encoder and one storage, by their names, so no query meets
another encoder's vectors. Every row is read. Storages: `float32`, or `binary`: one bit per number, whose candidates
float16 orders.
"""

import re
from collections import defaultdict
from typing import NamedTuple

import numpy as np
import sqlite_vec

from attune.runtime import Embedder

try:
    import pysqlite3 as sqlite3  # pip install pysqlite3, where Python was built without loading of extensions
except ImportError:
    import sqlite3

STORAGES = ("float32", "binary")
CANDIDATES = 10  # per hit that is asked for, found by bits
MOST = 4096  # neighbours that sqlite-vec returns
DEPTH = 100  # documents of each ranking that are fused

Hits = list[tuple[str, float]]  # ids and scores, best first


class Store(NamedTuple):
    """Tables in a file, with the encoder that they belong to: NAME, NAME_words and NAME_vectors share rowids."""

    db: sqlite3.Connection
    embedder: Embedder
    storage: str
    name: str


def open_store(path: str, embedder: Embedder, storage: str = "float32") -> Store:
    """Opens a file, which need not exist yet."""
    if storage not in STORAGES:
        raise ValueError(f"storage is {storage!r}, expected one of {', '.join(STORAGES)}")
    db = sqlite3.connect(path)
    db.enable_load_extension(True)
    sqlite_vec.load(db)
    db.enable_load_extension(False)
    name, dim = f"documents_{embedder.fingerprint[:12]}_{storage}", embedder.dim
    columns = {
        "float32": f"vector float[{dim}] distance_metric=cosine",
        "binary": f"vector bit[{dim}], +half blob",
    }
    with db:
        db.execute(f"create table if not exists {name} (id text unique not null, section text not null)")
        db.execute(f"create virtual table if not exists {name}_words using fts5(text, tokenize='porter unicode61')")
        db.execute(f"create virtual table if not exists {name}_vectors using vec0({columns[storage]}, section text)")
    return Store(db, embedder, storage, name)


def build(store: Store, documents: list[dict[str, str]]) -> None:
    """Adds documents with `_id`, `text` and, to filter by, `section`; replaces those whose id is there.

    Give a large corpus in several calls. Each is one transaction: others see all of its documents or none.
    """
    db, name = store.db, store.name
    vectors = store.embedder.encode_document([document["text"] for document in documents])
    with db:
        for document, vector in zip(documents, vectors, strict=True):
            id_, section, text = document["_id"], document.get("section", ""), document["text"]
            _remove(store, id_)
            row = db.execute(f"insert into {name} (id, section) values (?, ?)", [id_, section]).lastrowid
            db.execute(f"insert into {name}_words (rowid, text) values (?, ?)", [row, text])
            if store.storage == "binary":
                sql = "(rowid, section, vector, half) values (?, ?, vec_quantize_binary(?), ?)"
                values = [row, section, vector.tobytes(), vector.astype(np.float16).tobytes()]
            else:
                sql, values = "(rowid, section, vector) values (?, ?, ?)", [row, section, vector.tobytes()]
            db.execute(f"insert into {name}_vectors {sql}", values)


def remove(store: Store, ids: list[str]) -> None:
    """Removes documents, all in one transaction; ids that are not there are passed over."""
    with store.db:
        for id_ in ids:
            _remove(store, id_)


def _remove(store: Store, id_: str) -> None:
    for row in store.db.execute(f"select rowid from {store.name} where id = ?", [id_]).fetchall():
        for table in (store.name, f"{store.name}_words", f"{store.name}_vectors"):
            store.db.execute(f"delete from {table} where rowid = ?", row)


def query(store: Store, text: str, k: int = 10, section: str | None = None) -> Hits:
    """Returns the k documents with the largest cosine to the query; of one section, or of all."""
    vector = store.embedder.encode_query([text])[0]
    bits = store.storage == "binary"
    sql = f"""
        select id, {"half" if bits else "1 - distance"}
        from {store.name}_vectors as v join {store.name} as d on d.rowid = v.rowid
        where vector match {"vec_quantize_binary(:vector)" if bits else ":vector"} and k = :n
        {"" if section is None else "and v.section = :section"} order by distance"""
    values = {"vector": vector.tobytes(), "n": min(CANDIDATES * k if bits else k, MOST), "section": section}
    rows = store.db.execute(sql, values).fetchall()
    if bits:
        rows = [(id_, float(np.frombuffer(stored, np.float16).astype(np.float32) @ vector)) for id_, stored in rows]
    return sorted(rows, key=lambda hit: -hit[1])[:k]


def full_text(store: Store, text: str, k: int = 10, section: str | None = None) -> Hits:
    """Returns the k documents with the best BM25, of those with a word of the query."""
    sql = f"""
        select id, -rank from {store.name}_words as w join {store.name} as d on d.rowid = w.rowid
        where {store.name}_words match :words and (:section is null or section = :section) order by rank, id limit :k"""
    words = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", text))
    return store.db.execute(sql, {"words": words, "section": section, "k": k}).fetchall() if words else []


def hybrid(store: Store, text: str, k: int = 10, section: str | None = None) -> Hits:
    """Returns the k best of both by reciprocal rank fusion, the sum of 1 / (60 + rank)."""
    scores: dict[str, float] = defaultdict(float)
    for search in (query, full_text):
        for rank, (id_, _) in enumerate(search(store, text, max(k, DEPTH), section), start=1):
            scores[id_] += 1 / (60 + rank)
    return sorted(scores.items(), key=lambda hit: (-hit[1], hit[0]))[:k]
