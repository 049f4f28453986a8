"""The dev split as a search task of its own: its queries over its own documents."""

from pathlib import Path

from attune.tables import CLUSTERED_QUERIES, DOCUMENT_IDS, QRELS, read
from attune.tuning.dev import Dev


def read_dev(folder: Path, texts: dict[str, str]) -> Dev:
    """Reads data/splits/dev.

    Args:
        folder: of the split.
        texts: of all documents, by id.

    Raises:
        BadInput: a table is missing or is not what the stage split writes.
    """
    queries = read(folder / "queries.parquet", CLUSTERED_QUERIES)
    own = read(folder / "documents.parquet", DOCUMENT_IDS)["document_id"].to_list()
    relevant: dict[str, set[str]] = {}
    for query_id, document_id, relevance in read(folder / "qrels.parquet", QRELS).iter_rows():
        if relevance > 0:
            relevant.setdefault(query_id, set()).add(document_id)
    return Dev(
        queries=dict(queries.select("query_id", "text").iter_rows()),
        corpus={id_: texts[id_] for id_ in sorted({*own, *(id_ for ids in relevant.values() for id_ in ids)})},
        relevant=relevant,
    )
