"""Hashes of the texts that an encoder was trained or chosen on, which its released folder carries.

With them a later run tells which of its test queries an earlier encoder could have seen, without the texts themselves.
A hash hides no text that somebody can guess.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from attune.data.text_hash import ABOUT, text_hash
from attune.runtime import folders, rules
from attune.stage import write_json
from attune.tables import CORPUS, QRELS, SPLIT_QUERIES, full_texts, read

FILE = "trained_on.json"  # in a released folder
SEEN = ("train", "dev")  # dev chose the encoder
HASHES = rules.rows(rules.text, least=0)
RULE = rules.record({"queries": HASHES, "documents": HASHES})
REMEDY = "fetch or release the encoder again"


@dataclass(frozen=True)
class TrainedOn:
    """Hashes of the queries, and of the documents relevant to them, of train and dev."""

    queries: frozenset[str]
    documents: frozenset[str]

    @classmethod
    def of(cls, splits: Path, corpus: pl.DataFrame) -> "TrainedOn":
        """Hashes train and dev.

        Args:
            splits: data/splits.
            corpus: documents.
        """
        texts = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
        queries: set[str] = set()
        documents: set[str] = set()
        for name in SEEN:
            queries |= _hashes(read(splits / name / "queries.parquet", SPLIT_QUERIES)["text"])
            judged = read(splits / name / "qrels.parquet", QRELS).filter(pl.col("relevance") > 0)
            documents |= _hashes(texts[id_] for id_ in judged["document_id"].unique())
        return cls(frozenset(queries), frozenset(documents))

    def write(self, file: Path) -> None:
        """Writes the hashes as JSON, sorted."""
        write_json(file, {"hash": ABOUT, "queries": sorted(self.queries), "documents": sorted(self.documents)})


def read_trained_on(folder: Path) -> TrainedOn | None:
    """Reads the hashes in a released folder; None where it has none, as folders of earlier versions.

    Raises:
        BadInput: the file does not hold them, or is none inside the folder.
    """
    if not (folder / FILE).exists():
        return None
    kind = "the hashes of what an encoder was trained on"
    content = folders.read_json(folder, FILE, RULE, kind, REMEDY, REMEDY, max_bytes=None)
    return TrainedOn(frozenset(content["queries"]), frozenset(content["documents"]))


def _hashes(texts: Iterable[str]) -> set[str]:
    return {text_hash(text) for text in texts}


def seen_clusters(split: Path, corpus: pl.DataFrame, trained_on: TrainedOn, by: str) -> set[str]:
    """Returns the clusters of a split of which an encoder could have seen a query or a relevant document.

    Args:
        split: folder of the split.
        corpus: documents.
        trained_on: what the encoder was trained on.
        by: protocol; with `query` documents are shared on purpose, and only queries count.
    """
    queries = read(split / "queries.parquet", SPLIT_QUERIES).select("query_id", "text", "cluster_id")
    cluster_of = dict(queries.select("query_id", "cluster_id").iter_rows())
    seen = {c for c, text in queries.select("cluster_id", "text").iter_rows() if text_hash(text) in trained_on.queries}
    if by == "query":
        return seen
    judged = read(split / "qrels.parquet", QRELS).filter(pl.col("relevance") > 0)
    answers = corpus.join(judged.select("document_id").unique(), on="document_id", how="semi").select(list(CORPUS))
    known = {
        id_
        for id_, text in zip(answers["document_id"], full_texts(answers), strict=True)
        if text_hash(text) in trained_on.documents
    }
    pairs = judged.select("query_id", "document_id").iter_rows()
    return seen | {cluster_of[query] for query, document in pairs if document in known}
