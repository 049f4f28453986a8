"""PostgreSQL with pgvector: index, query, full text and hybrid. Needs `pip install "psycopg[binary]" pgvector`.

A table belongs to one encoder and one storage, by its name: a new encoder fills its own beside the old one, and no
query meets another encoder's vectors. Storages: `float32` and `float16` read every row; `hnsw` searches a graph of
float16; `binary` a graph of one bit per number, whose candidates float16 orders.
"""

from typing import Any, NamedTuple

from pgvector.psycopg import register_vector
from psycopg import Connection, connect

from attune.runtime import Embedder

STORAGES = {"float32": "vector", "float16": "halfvec", "hnsw": "halfvec", "binary": "halfvec"}
LANGUAGE = "english"  # of words and stems; `simple` for texts in several languages
CANDIDATES = 10  # per hit that is asked for, found by bits
DEPTH = 100  # documents of each ranking that are fused
EF_SEARCH = 100  # list of a search in a graph: a longer one finds more and takes longer

Hits = list[tuple[str, float]]  # ids and scores, best first

ALLOWED = "(%(section)s::text is null or section = %(section)s)"
NEAREST = f"""
    select id, -(vector <#> %(vector)s::{{type}}) as score from {{rows}} as rows
    where {ALLOWED} order by vector <#> %(vector)s::{{type}} limit %(k)s"""
CANDIDATE_ROWS = f"""(
    select * from {{table}} where {ALLOWED}
    order by binary_quantize(vector)::bit({{dim}}) <~> binary_quantize(%(vector)s::halfvec)
    limit {CANDIDATES} * %(k)s)"""
MATCHING = f"""
    select id, ts_rank(words, query) as score
    from {{table}}, cast(replace(plainto_tsquery('{LANGUAGE}', %(text)s)::text, ' & ', ' | ') as tsquery) as query
    where words @@ query and {ALLOWED} order by score desc, id limit %(k)s"""
FUSED = """
    with nearest as ({nearest}), matching as ({matching}), ranked as (
        select id, row_number() over (order by score desc, id) as rank from nearest
        union all select id, row_number() over (order by score desc, id) from matching)
    select id, sum(1.0 / (60 + rank))::float8 as score from ranked group by id order by score desc, id"""


class Store(NamedTuple):
    """A table in a database, with the encoder that it belongs to."""

    db: Connection
    embedder: Embedder
    storage: str
    table: str


def open_store(address: str, embedder: Embedder, storage: str = "float16") -> Store:
    """Connects to a database, such as `postgresql://user@host/name`."""
    if storage not in STORAGES:
        raise ValueError(f"storage is {storage!r}, expected one of {', '.join(STORAGES)}")
    db = connect(address, autocommit=True)
    db.execute("create extension if not exists vector")
    register_vector(db)
    db.execute(f"set hnsw.ef_search = {EF_SEARCH}")
    db.execute("set hnsw.iterative_scan = strict_order")  # goes on where a filter leaves too few
    table = f"documents_{embedder.fingerprint[:12]}_{storage}"
    db.execute(
        f"create table if not exists {table} (id text primary key, section text not null, text text not null, "
        f"vector {STORAGES[storage]}({embedder.dim}) not null, "
        f"words tsvector generated always as (to_tsvector('{LANGUAGE}', text)) stored)"
    )
    return Store(db, embedder, storage, table)


def build(store: Store, documents: list[dict[str, str]]) -> None:
    """Adds documents with `_id`, `text` and, to filter by, `section`; replaces those whose id is there.

    Give a large corpus in several calls. Each is one transaction: others see all of its documents or none.
    """
    table, type_, dim = store.table, STORAGES[store.storage], store.embedder.dim
    vectors = store.embedder.encode_document([document["text"] for document in documents])
    rows = [(d["_id"], d.get("section", ""), d["text"], v) for d, v in zip(documents, vectors, strict=True)]
    with store.db.transaction(), store.db.cursor() as cursor:
        cursor.executemany(
            f"insert into {table} (id, section, text, vector) values (%s, %s, %s, %s::vector::{type_}) "
            "on conflict (id) do update set section = excluded.section, text = excluded.text, vector = excluded.vector",
            rows,
        )
        cursor.execute(f"create index if not exists {table}_words on {table} using gin (words)")
        if store.storage == "hnsw":
            cursor.execute(f"create index if not exists {table}_graph on {table} using hnsw (vector halfvec_ip_ops)")
        if store.storage == "binary":
            bits = f"(binary_quantize(vector)::bit({dim})) bit_hamming_ops"
            cursor.execute(f"create index if not exists {table}_graph on {table} using hnsw ({bits})")
    store.db.execute(f"analyze {table}")


def remove(store: Store, ids: list[str]) -> None:
    """Removes documents, all in one transaction; ids that are not there are passed over."""
    store.db.execute(f"delete from {store.table} where id = any(%s)", [ids])


def query(store: Store, text: str, k: int = 10, section: str | None = None) -> Hits:
    """Returns the k documents with the largest cosine to the query; of one section, or of all."""
    return _hits(store, _nearest(store), text, k, section)


def full_text(store: Store, text: str, k: int = 10, section: str | None = None) -> Hits:
    """Returns the k documents with the most words of the query, by ts_rank, which values rare words like others."""
    return _hits(store, MATCHING.format(table=store.table), text, k, section)


def hybrid(store: Store, text: str, k: int = 10, section: str | None = None) -> Hits:
    """Returns the k best of both by reciprocal rank fusion, the sum of 1 / (60 + rank)."""
    sql = FUSED.format(nearest=_nearest(store), matching=MATCHING.format(table=store.table))
    return _hits(store, sql, text, max(k, DEPTH), section)[:k]


def _nearest(store: Store) -> str:
    rows = (
        CANDIDATE_ROWS.format(table=store.table, dim=store.embedder.dim) if store.storage == "binary" else store.table
    )
    return NEAREST.format(rows=rows, type=STORAGES[store.storage])


def _hits(store: Store, sql: str, text: str, k: int, section: str | None) -> Hits:
    values: dict[str, Any] = {"text": text, "k": k, "section": section}
    if "%(vector)s" in sql:
        values["vector"] = store.embedder.encode_query([text])[0]
    return store.db.execute(sql, values).fetchall()
