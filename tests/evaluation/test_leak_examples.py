"""Leaks that the report shows as examples: each with its own text and that of what it matches."""

from pathlib import Path

import polars as pl

from attune.evaluation.report.examples import closest_leaks
from attune.tables import CLUSTERED_QUERIES, CORPUS, Leak, write


def test_a_crossed_leak_is_shown_with_the_text_of_the_other_role(tmp_path: Path) -> None:
    """A query beside the document that it is, a document beside the query; ids may be the same in both roles."""
    ids = ["1", "2", "3"]
    rest = ("cluster_id", "query_cluster_id", "near_group", "given_split", "stratum")
    queries = {"query_id": ids, "text": ["query one", "query two", "query three"], **dict.fromkeys(rest, ids)}
    corpus = {"document_id": ids, "title": ["", "Two", ""], "text": ["document one", "document two", "document three"]}
    corpus |= {"duplicate_of": ids, "cluster_id": ids}
    write(pl.DataFrame(queries, schema=CLUSTERED_QUERIES), tmp_path / "queries.parquet", CLUSTERED_QUERIES)
    write(pl.DataFrame(corpus, schema=CORPUS), tmp_path / "corpus.parquet", CORPUS)
    leaks = [
        Leak("test", "crossed_documents", "1", "1", 0.9),
        Leak("test", "crossed_queries", "1", "2", 1.0),
        Leak("test", "near_queries", "2", "1", 0.8),
        Leak("dev", "crossed_queries", "2", "2", 1.0),
        Leak("test", "near_forms", "2", "1", 0.7),
        Leak("test", "semantic_crossed_documents", "3", "1", 0.9),
    ]
    assert closest_leaks(leaks, tmp_path, 3) == {
        "near_queries": [("query two", "query one", 0.8)],
        "crossed_queries": [("query one", "Two", 1.0)],
        "crossed_documents": [("document one", "query one", 0.9)],
        "near_forms": [("Two", "document one", 0.7)],
        "semantic_crossed_documents": [("document three", "query one", 0.9)],
    }
