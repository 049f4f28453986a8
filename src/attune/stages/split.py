"""Assigns whole clusters to train, dev and test by a hash of their id, then audits the splits for leaks.

The hash depends on the seed and the cluster's id alone, so without strata neither added clusters nor rows added to a
cluster move an old row. Only a row that joins two clusters moves rows: the later cluster takes the earlier one's split.
Splits given by the user are kept (a missing dev or test split is cut from train, by cluster); the audit counts their
leaks.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import polars as pl
from pydantic import Field, model_validator

from attune.data.splitting.leaks import NearDuplicates, Texts, count, lexical_leaks
from attune.data.splitting.paraphrases import Paraphrase, SplitQuery, usable
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
    """Sizes of dev and test, and the largest share of either that may leak."""

    seed: int = Field(ge=0)
    dev_share: float = Field(gt=0, lt=0.5)
    test_share: float = Field(gt=0, lt=0.5)
    max_leak_share: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _train_remains(self) -> "SplitParams":
        if self.dev_share + self.test_share >= 0.8:
            raise ValueError("dev_share + test_share must stay below 0.8, or too little is left to train on")
        return self


def position(seed: int, cluster_id: str) -> float:
    """Hashes the seed and a cluster's id to [0, 1); the same on every machine and in every version."""
    digest = hashlib.sha256(f"{seed}:{cluster_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign(queries: pl.DataFrame, params: SplitParams) -> pl.Series:
    """Returns the split of each query: the given one where there is one, else its cluster's, (n queries,).

    If only dev or only test is given, the other is cut from train at share / (1 - configured share of the given split).
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
    """Assigns each cluster by its own position: shares are met on average, and added clusters move no old one."""
    test = pl.col("at") < cut["test"]
    dev = pl.col("at") < cut["test"] + cut["dev"]
    return clusters.with_columns(
        split=pl.when(test).then(pl.lit("test")).when(dev).then(pl.lit("dev")).otherwise("split")
    )


def by_strata(clusters: pl.DataFrame, cut: Mapping[str, float]) -> pl.DataFrame:
    """Assigns the same shares of each stratum's queries.

    Per stratum, clusters in hash order are cut by cumulative query count; a cluster goes by its midpoint, so a share is
    met to within half a cluster. Added rows move only old clusters near a cut.
    """
    clusters = clusters.sort("stratum", "at", "cluster_id").with_columns(
        middle=(pl.col("n_queries").cum_sum() - pl.col("n_queries") / 2).over("stratum")
        / pl.col("n_queries").sum().over("stratum")
    )
    return by_hash(clusters.with_columns(at=pl.col("middle")), cut)


def assign_documents(corpus: pl.DataFrame, queries: pl.DataFrame, qrels: pl.DataFrame) -> pl.Series:
    """Returns the split of each document: test or dev if relevant there or if its whole cluster is, else train.

    Mining may use the documents of train, among them those that no query is judged on.
    """
    relevant = qrels.join(queries.select("query_id", "split"), on="query_id").select("document_id", "split")
    of_cluster = queries.select("cluster_id", "split").unique().filter(pl.len().over("cluster_id") == 1)
    by_cluster = corpus.join(of_cluster, on="cluster_id").select("document_id", "split")
    of_split = {
        split: set(pl.concat([relevant, by_cluster]).filter(pl.col("split") == split)["document_id"])
        for split in ("test", "dev")
    }
    ids = corpus["document_id"]
    return pl.Series(
        "split", ["test" if i in of_split["test"] else "dev" if i in of_split["dev"] else "train" for i in ids]
    )


def audit_splits(
    corpus: pl.DataFrame, queries: pl.DataFrame, qrels: pl.DataFrame, near: NearDuplicates
) -> tuple[list[Leak], dict[str, int]]:
    """Returns the leaks, and how many queries and relevant documents each split has ("queries.dev": 120)."""
    relevant = qrels.join(queries.select("query_id", "split"), on="query_id").select("document_id", "split").unique()
    judged = corpus.drop("split").join(relevant, on="document_id", maintain_order="left_right")
    sides = [
        (
            Texts("queries", queries["split"].to_numpy(), queries["query_id"].to_list(), queries["text"].to_list()),
            near.query_shingle,
            near.similar_query,
        ),
        (
            Texts("documents", judged["split"].to_numpy(), judged["document_id"].to_list(), full_texts(judged)),
            near.document_shingle,
            near.similar_document,
        ),
    ]
    sizes = {f"{texts.what}.{name}": len(texts.rows(name)) for texts, _, _ in sides for name in SPLITS}
    return [leak for side in sides for leak in lexical_leaks(*side)], sizes


def write_paraphrases(
    near: NearDuplicates, prepared: Path, corpus: pl.DataFrame, queries: pl.DataFrame, out: Path
) -> Receipt:
    """Writes the paraphrases that neither leak nor repeat their document as a split; counts the others by reason."""
    own = [SplitQuery(*row) for row in queries.select("query_id", "text", "split").iter_rows()]
    splits = dict(corpus.select("document_id", "split").iter_rows())
    texts = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
    rows = [Paraphrase(*row) for row in read(prepared / "paraphrases.parquet", PARAPHRASES).iter_rows()]
    kept, dropped = usable(rows, own, splits, texts, near.query_shingle, near.similar_query)
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


def split(
    params: SplitParams,
    prepared: Path,
    query_shingle: int,
    document_shingle: int,
    similar_query: float,
    similar_document: float,
    out: Out,
) -> Receipt:
    """Splits by whole clusters and audits the splits for leaks, by stage prepare's definition of near-duplicates."""
    near = NearDuplicates(query_shingle, document_shingle, similar_query, similar_document)
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
                + ("mend the given split, or give none" if given else "add data or change split.*_share")
            )
        documents = corpus.filter(pl.col("split") == name).select("document_id")
        judged, refused = (table.join(own, on="query_id", how="semi") for table in (qrels, negatives))
        write(own, out / name / "queries.parquet", CLUSTERED_QUERIES)
        write(judged.sort("query_id", "document_id"), out / name / "qrels.parquet", QRELS)
        write(refused.join(documents, on="document_id", how="semi"), out / name / "negatives.parquet", NEGATIVES)
        write(documents, out / name / "documents.parquet", DOCUMENT_IDS)
    leaks, sizes = audit_splits(corpus, queries, qrels, near)
    write(pl.DataFrame(leaks, LEAKS, orient="row"), out / "leaks.parquet", LEAKS)
    figures = count(leaks, LEXICAL, sizes, params.max_leak_share, "split.max_leak_share")
    n_documents = {f"n_{name}_documents": corpus.filter(pl.col("split") == name).height for name in SPLITS}
    paraphrases = write_paraphrases(near, prepared, corpus, queries, out / "paraphrases")
    n_queries = {f"n_{name}_queries": sizes[f"queries.{name}"] for name in SPLITS}
    return {**n_queries, **n_documents, **figures, **paraphrases}


if __name__ == "__main__":
    run(split)
