"""Sends whole clusters to train, dev and test by a hash of their id, then counts what crosses all the same.

A hash has no memory and no neighbours: adding clusters, or appending rows to one, never moves an old row; only a row
that ties two clusters together moves the later one, as it must. Splits that the user gave are kept as they are (a
missing dev or test split is cut from train, by cluster); the audit tells what they leak.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import polars as pl
from pydantic import Field, model_validator

from attune.data.splitting.leaks import Texts, count, lexical_leaks
from attune.data.splitting.paraphrases import Asked, Paraphrase, hold_out
from attune.errors import BadInput
from attune.stage import Out, Params, Receipt, run
from attune.tables import (
    CLUSTERED_QUERIES,
    CORPUS,
    DOCUMENT_IDS,
    LEAKS,
    LEXICAL,
    NEGATIVES,
    PARAPHRASES,
    QRELS,
    SPLITS,
    Leak,
    full_texts,
    read,
    write,
)


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

    A dev or test split that was not given is cut from the given train split, in the proportion of the two.
    """
    given = set(queries["given_split"].unique())
    shares = {"test": params.test_share, "dev": params.dev_share}
    left = 1 - sum(share for name, share in shares.items() if name in given)
    cut = {name: 0.0 if name in given else share / left for name, share in shares.items()}
    movable = queries.filter(~pl.col("given_split").is_in(["dev", "test"]))
    clusters = movable.group_by("cluster_id", maintain_order=True).agg(
        # a cluster of several strata counts for the most common, the first of the equally common
        stratum=pl.col("stratum").sort().mode(maintain_order=True).first(),
        n_queries=pl.len(),
    )
    at = pl.Series("at", [position(params.seed, cluster_id) for cluster_id in clusters["cluster_id"]], pl.Float64)
    clusters = clusters.with_columns(at, split=pl.lit("train"))
    clusters = by_strata(clusters, cut) if (clusters["stratum"] != "").any() else by_hash(clusters, cut)
    chosen = queries.select("cluster_id", "given_split").join(
        clusters, on="cluster_id", how="left", maintain_order="left"
    )
    fixed = pl.col("given_split").is_in(["dev", "test"])
    return chosen.select(split=pl.when(fixed).then("given_split").otherwise("split"))["split"]


def by_hash(clusters: pl.DataFrame, cut: Mapping[str, float]) -> pl.DataFrame:
    """Each cluster by its own position alone: shares are met on average, and no old cluster ever moves."""
    test = pl.col("at") < cut["test"]
    dev = pl.col("at") < cut["test"] + cut["dev"]
    return clusters.with_columns(
        split=pl.when(test).then(pl.lit("test")).when(dev).then(pl.lit("dev")).otherwise("split")
    )


def by_strata(clusters: pl.DataFrame, cut: Mapping[str, float]) -> pl.DataFrame:
    """Of each stratum the same shares of queries, in the order of the clusters' positions.

    A cluster goes where its middle query falls, so a share is met to within half a cluster. Added rows move only the
    old clusters that lie at a border of their stratum.
    """
    clusters = clusters.sort("stratum", "at", "cluster_id").with_columns(
        middle=(pl.col("n_queries").cum_sum() - pl.col("n_queries") / 2).over("stratum")
        / pl.col("n_queries").sum().over("stratum")
    )
    return by_hash(clusters.with_columns(at=pl.col("middle")), cut)


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


def crossing(
    corpus: pl.DataFrame, queries: pl.DataFrame, qrels: pl.DataFrame, params: SplitParams
) -> tuple[list[Leak], dict[str, int]]:
    """What crosses the splits, and how many queries and relevant documents each split has ("queries.dev": 120)."""
    relevant = qrels.join(queries.select("query_id", "split"), on="query_id").select("document_id", "split").unique()
    judged = corpus.drop("split").join(relevant, on="document_id", maintain_order="left_right")
    sides = [
        (
            Texts("queries", queries["split"].to_numpy(), queries["query_id"].to_list(), queries["text"].to_list()),
            params.query_shingle,
            params.near_query,
        ),
        (
            Texts("documents", judged["split"].to_numpy(), judged["document_id"].to_list(), full_texts(judged)),
            params.document_shingle,
            params.near_document,
        ),
    ]
    sizes = {f"{texts.what}.{name}": len(texts.rows(name)) for texts, _, _ in sides for name in SPLITS}
    return [leak for side in sides for leak in lexical_leaks(*side)], sizes


def write_paraphrases(
    params: SplitParams, prepared: Path, corpus: pl.DataFrame, queries: pl.DataFrame, out: Path
) -> Receipt:
    """Writes the paraphrases that are fit to test with, in the form of a split, and counts the others."""
    asked = [Asked(*row) for row in queries.select("query_id", "text", "split").iter_rows()]
    splits = dict(corpus.select("document_id", "split").iter_rows())
    texts = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
    rows = [Paraphrase(*row) for row in read(prepared / "paraphrases.parquet", PARAPHRASES).iter_rows()]
    kept, dropped = hold_out(rows, asked, splits, texts, params.query_shingle, params.near_query)
    frame = pl.DataFrame(kept, PARAPHRASES, orient="row").with_columns(
        pl.lit("").alias(name) for name in ("given_split", "stratum")
    )
    frame = frame.with_columns(document_id=pl.col("document_ids").list.first())
    frame = frame.join(corpus.select("document_id", "cluster_id"), on="document_id", how="left", maintain_order="left")
    write(frame.select(list(CLUSTERED_QUERIES)), out / "queries.parquet", CLUSTERED_QUERIES)
    qrels = frame.select("query_id", document_id="document_ids").explode("document_id")
    qrels = qrels.with_columns(relevance=pl.lit(1, pl.Int64)).sort("query_id", "document_id")
    write(qrels, out / "qrels.parquet", QRELS)
    return {"n_paraphrases": len(kept)} | {f"n_dropped_paraphrase_{reason}": n for reason, n in dropped.items()}


def split(params: SplitParams, prepared: Path, out: Out) -> Receipt:
    """Splits by whole clusters and audits what crosses."""
    corpus = read(prepared / "corpus.parquet", CORPUS)
    qrels = read(prepared / "qrels.parquet", QRELS)
    negatives = read(prepared / "negatives.parquet", NEGATIVES)
    queries = read(prepared / "queries.parquet", CLUSTERED_QUERIES)
    queries = queries.with_columns(assign(queries, params))
    corpus = corpus.with_columns(assign_documents(corpus, queries, qrels))
    for name in SPLITS:
        own = queries.filter(pl.col("split") == name).drop("split")
        if own.is_empty():
            given = queries["given_split"].ne("").any()
            raise BadInput(
                f"{prepared}: the {name} split is empty ({queries.height} queries in all); "
                + ("mend the given split, or leave it to attune" if given else "add data or change split.*_share")
            )
        documents = corpus.filter(pl.col("split") == name).select("document_id")
        judged, refused = (table.join(own, on="query_id", how="semi") for table in (qrels, negatives))
        write(own, out / name / "queries.parquet", CLUSTERED_QUERIES)
        write(judged.sort("query_id", "document_id"), out / name / "qrels.parquet", QRELS)
        write(refused.join(documents, on="document_id", how="semi"), out / name / "negatives.parquet", NEGATIVES)
        write(documents, out / name / "documents.parquet", DOCUMENT_IDS)
    leaks, sizes = crossing(corpus, queries, qrels, params)
    write(pl.DataFrame(leaks, LEAKS, orient="row"), out / "leaks.parquet", LEAKS)
    figures = count(leaks, LEXICAL, sizes, params.max_leak_share)
    n_documents = {f"n_{name}_documents": corpus.filter(pl.col("split") == name).height for name in SPLITS}
    paraphrases = write_paraphrases(params, prepared, corpus, queries, out / "paraphrases")
    n_queries = {f"n_{name}_queries": sizes[f"queries.{name}"] for name in SPLITS}
    return {**n_queries, **n_documents, **figures, **paraphrases}


if __name__ == "__main__":
    run(split)
