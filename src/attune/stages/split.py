"""Sends whole clusters to train, dev and test by a hash of their id, then counts what crosses all the same.

A hash has no memory and no neighbours: adding clusters, or appending rows to one, never moves an old row; only a row
that ties two clusters together moves the later one, as it must. Splits that the user gave are kept as they are (a
missing dev split is cut from train, by cluster); the audit tells what they leak.
"""

import hashlib
from pathlib import Path

import polars as pl
from pydantic import Field, model_validator

from attune.errors import BadInput
from attune.leaks import Side, audit
from attune.stage import Out, Params, Receipt, run
from attune.tables import CLUSTERED_QUERIES, CORPUS, DOCUMENT_IDS, QRELS, SPLITS, full_texts, read, write


class SplitParams(Params):
    """The size of the held-out splits, and what the audit calls a leak."""

    seed: int = Field(ge=0)
    dev_share: float = Field(gt=0, lt=0.5)
    test_share: float = Field(gt=0, lt=0.5)
    query_shingle: int = Field(ge=1, le=20)
    document_shingle: int = Field(ge=1, le=20)
    near_query: float = Field(gt=0, le=1)
    near_document: float = Field(gt=0, le=1)
    max_leak_share: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _train_remains(self) -> "SplitParams":
        if self.dev_share + self.test_share >= 0.8:
            raise ValueError("dev_share + test_share must stay below 0.8, or too little is left to train on")
        return self


def position(seed: int, cluster_id: str) -> float:
    """Where a cluster falls in [0, 1): a hash of the seed and its id, the same on every machine and for ever."""
    digest = hashlib.sha256(f"{seed}:{cluster_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign(queries: pl.DataFrame, params: SplitParams) -> pl.Series:
    """The split of each query: the given one where there is one, else by its cluster.

    A dev split that was not given is cut from the given train split, in the proportion of dev to train and dev.
    """
    given = set(queries["given_split"].unique()) - {""}
    cut = {"test": params.test_share, "dev": params.test_share + params.dev_share}
    if given:
        cut = {"test": 0.0, "dev": 0.0 if "dev" in given else params.dev_share / (1 - params.test_share)}

    def split_of(row: tuple[str, str]) -> str:
        given_split, cluster_id = row
        if given_split in ("dev", "test"):
            return given_split
        at = position(params.seed, cluster_id)
        return "test" if at < cut["test"] else "dev" if at < cut["dev"] else "train"

    return pl.Series("split", [split_of(row) for row in queries.select("given_split", "cluster_id").iter_rows()])


def assign_documents(corpus: pl.DataFrame, queries: pl.DataFrame, qrels: pl.DataFrame) -> pl.Series:
    """The split of each document: test or dev if it is relevant there or its cluster lies there whole, else train.

    Documents of the train split are the ones that mining may use; unlabelled documents are among them.
    """
    relevant = qrels.join(queries.select("query_id", "split"), on="query_id").select("document_id", "split")
    whole = queries.select("cluster_id", "split").unique().filter(pl.len().over("cluster_id") == 1)
    by_cluster = corpus.join(whole, on="cluster_id").select("document_id", "split")
    held_out = {
        split: set(pl.concat([relevant, by_cluster]).filter(pl.col("split") == split)["document_id"])
        for split in ("test", "dev")
    }
    ids = corpus["document_id"]
    return pl.Series(
        "split", ["test" if i in held_out["test"] else "dev" if i in held_out["dev"] else "train" for i in ids]
    )


def split(params: SplitParams, prepared: Path, out: Out) -> Receipt:
    """Splits by whole clusters and audits what crosses."""
    corpus = read(prepared / "corpus.parquet", CORPUS)
    qrels = read(prepared / "qrels.parquet", QRELS)
    queries = read(prepared / "queries.parquet", CLUSTERED_QUERIES)
    queries = queries.with_columns(assign(queries, params))
    corpus = corpus.with_columns(assign_documents(corpus, queries, qrels))
    given = queries["given_split"].ne("").any()
    sides = {}
    for name in SPLITS:
        own = queries.filter(pl.col("split") == name).drop("split")
        judged = qrels.join(own.select("query_id"), on="query_id", how="semi")
        if own.is_empty():
            raise BadInput(
                f"{prepared}: the {name} split is empty ({queries.height} queries in all); "
                + ("give train and test, or all.tsv alone" if given else "add data or change split.*_share")
            )
        write(own, out / name / "queries.parquet", CLUSTERED_QUERIES)
        write(judged.sort("query_id", "document_id"), out / name / "qrels.parquet", QRELS)
        write(
            corpus.filter(pl.col("split") == name).select("document_id"),
            out / name / "documents.parquet",
            DOCUMENT_IDS,
        )
        relevant = corpus.join(judged.select("document_id"), on="document_id", how="semi")
        sides[name] = Side(own["text"].to_list(), relevant["document_id"].to_list(), full_texts(relevant))
    return receipt(sides, corpus, params)


def receipt(sides: dict[str, Side], corpus: pl.DataFrame, params: SplitParams) -> Receipt:
    """Sizes and the leak audit: dev against train, test against train and dev.

    Raises:
        BadInput: a larger share of the held-out queries or documents leaks than max_leak_share allows.
    """
    train, dev, test = (sides[name] for name in SPLITS)
    seen = Side(train.queries + dev.queries, train.document_ids + dev.document_ids, train.documents + dev.documents)
    figures: dict[str, int | float | str | bool] = {}
    for name in SPLITS:
        figures[f"n_{name}_queries"] = len(sides[name].queries)
        figures[f"n_{name}_documents"] = corpus.filter(pl.col("split") == name).height
    widths, thresholds = (params.query_shingle, params.document_shingle), (params.near_query, params.near_document)
    for name, held_out, known in (("dev", dev, train), ("test", test, seen)):
        for kind, n_leaks in audit(held_out, known, widths, thresholds).items():
            figures[f"{name}_leaks.{kind}"] = n_leaks
            share = n_leaks / len(held_out.queries if kind.endswith("queries") else held_out.documents)
            if share > params.max_leak_share:
                raise BadInput(
                    f"split: {n_leaks} {kind} ({share:.1%}) of {name} are also in the data it is held out from, "
                    f"allowed {params.max_leak_share:.1%}; lower prepare.similar_*, or raise split.max_leak_share "
                    "for a split that was given"
                )
    return figures


if __name__ == "__main__":
    run(split)
