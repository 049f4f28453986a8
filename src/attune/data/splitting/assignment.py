"""Assignment of whole clusters to train, dev and test by a hash of their id.

There are two protocols (split.by), and each has its own clusters:

- cluster: queries and documents of a cluster go to one split, so dev and test have new queries and new documents.
- query: near-identical queries and groups go to one split; documents are shared, so dev and test have new queries over
  documents that train may know.

The hash depends on the seed and the cluster's id alone, so neither added clusters nor rows added to a cluster move an
old row. Only a row that joins two clusters moves rows: the later cluster takes the earlier one's split. With
split.strata: exact, where each stratum is cut to its shares, added rows also move old ones near the cuts.
Splits given by the user are kept; a missing dev or test split is cut from train, by cluster.
"""

import hashlib
from collections.abc import Mapping
from typing import Literal

import polars as pl
from pydantic import Field, model_validator

from attune.stage import Params, Receipt, named
from attune.tables import SPLITS

# the column of CLUSTERED_QUERIES that names what a protocol keeps whole
UNITS = {"cluster": "cluster_id", "query": "query_cluster_id"}
# fewer queries than this, in a cluster or expected in a split, may miss a share by chance alone
FEWEST = 20


class SplitParams(Params):
    """Protocol, sizes of the splits, and limits.

    Attributes:
        by: protocol.
        seed: of the hash.
        dev_share: share of the queries that becomes dev.
        test_share: likewise.
        strata: by_hash meets the shares of each stratum on average, exact cuts each stratum to them.
        max_cluster_share: largest share of the rows that a cluster may hold.
        leave_out_own_text: leaves a document out of the ranking of the query whose text it is.
        max_leak_share: share of dev's or test's queries or documents that may leak.
        judgments: table of the judgments that were added for test.
    """

    by: Literal["cluster", "query"]
    seed: int = Field(ge=0)
    dev_share: float = Field(gt=0, lt=0.5)
    test_share: float = Field(gt=0, lt=0.5)
    strata: Literal["by_hash", "exact"]
    max_cluster_share: float = Field(gt=0, le=1)
    leave_out_own_text: bool
    max_leak_share: float = Field(ge=0, le=1)
    judgments: str

    @model_validator(mode="after")
    def _train_remains(self) -> "SplitParams":
        if self.dev_share + self.test_share >= 0.8:
            raise ValueError("dev_share + test_share must stay below 0.8, or too little is left to train on")
        return self


def position(seed: int, cluster_id: str) -> float:
    """Hashes the seed and a cluster's id to [0, 1); the same on every machine and in every version."""
    digest = hashlib.sha256(f"{seed}:{cluster_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def shares(queries: pl.DataFrame, params: SplitParams) -> dict[str, float]:
    """Returns the shares of the queries outside given dev and test splits that become test and dev, 0 for a given one.

    If only dev or only test is given, the other is cut from train at share / (1 - configured share of the given split).
    """
    given = set(queries["given_split"].unique())
    wanted = {"test": params.test_share, "dev": params.dev_share}
    left = 1 - sum(share for name, share in wanted.items() if name in given)
    return {name: 0.0 if name in given else share / left for name, share in wanted.items()}


def assign(queries: pl.DataFrame, params: SplitParams) -> pl.Series:
    """Returns the split of each query: the given one where there is one, else its cluster's, (n queries,)."""
    cut = shares(queries, params)
    units = queries.select("given_split", "stratum", unit=UNITS[params.by])
    fixed = pl.col("given_split").is_in(["dev", "test"])
    clusters = (
        units.filter(~fixed)
        .group_by("unit", maintain_order=True)
        .agg(
            # a cluster of several strata counts for the most common, the first of the equally common
            stratum=pl.col("stratum").sort().mode(maintain_order=True).first(),
            n_queries=pl.len(),
        )
    )
    at = pl.Series("at", [position(params.seed, unit) for unit in clusters["unit"]], pl.Float64)
    clusters = clusters.with_columns(at)
    is_cut = params.strata == "exact" and (clusters["stratum"] != "").any()
    clusters = by_strata(clusters, cut) if is_cut else by_hash(clusters, cut)
    chosen = units.join(clusters.select("unit", "split"), on="unit", how="left", maintain_order="left")
    return chosen.select(split=pl.when(fixed).then(pl.col("given_split")).otherwise(pl.col("split")))["split"]


def by_hash(clusters: pl.DataFrame, cut: Mapping[str, float]) -> pl.DataFrame:
    """Assigns each cluster by its own position: shares are met on average, and added clusters move no old one."""
    test = pl.col("at") < cut["test"]
    dev = pl.col("at") < cut["test"] + cut["dev"]
    return clusters.with_columns(
        split=pl.when(test).then(pl.lit("test")).when(dev).then(pl.lit("dev")).otherwise(pl.lit("train"))
    )


def by_strata(clusters: pl.DataFrame, cut: Mapping[str, float]) -> pl.DataFrame:
    """Assigns exactly the same shares of each stratum's queries.

    Per stratum, clusters in hash order are cut by cumulative query count; a cluster goes by its midpoint, so a share is
    met to within half a cluster. Added rows move only old clusters near a cut.
    """
    clusters = clusters.sort("stratum", "at", "unit").with_columns(
        middle=(pl.col("n_queries").cum_sum() - pl.col("n_queries") / 2).over("stratum")
        / pl.col("n_queries").sum().over("stratum")
    )
    return by_hash(clusters.with_columns(at=pl.col("middle")), cut)


def unusable_clusters(queries: pl.DataFrame, corpus: pl.DataFrame, params: SplitParams) -> str:
    """Returns in one line why the protocol's clusters cannot be split, and what to do; "" where they can.

    They cannot if one cluster holds more than split.max_cluster_share of the rows (of the queries, where split.by is
    query), or if dev or test has fewer than half of the queries that its share promises. A miss counts only where at
    least 20 queries were expected and the largest cluster has a quarter as many: small data and small clusters miss by
    chance, which another seed mends. A split that is given in full cuts no cluster and is never refused.

    Args:
        queries: CLUSTERED_QUERIES.
        corpus: CORPUS.
        params: protocol and shares.
    """
    cut = shares(queries, params)
    movable = queries.filter(~pl.col("given_split").is_in(["dev", "test"]))
    of_queries = movable.group_by(cluster_id=UNITS[params.by]).agg(n_queries=pl.len())
    rows = of_queries.select("cluster_id", n="n_queries")
    if params.by == "cluster":
        rows = pl.concat([rows, corpus.group_by("cluster_id").agg(n=pl.len())])
    n_rows = int(rows["n"].sum())
    sizes = rows.group_by("cluster_id").agg(pl.col("n").sum()).join(of_queries, on="cluster_id")
    if not any(cut.values()) or sizes.is_empty():
        return ""
    n_largest, n_queries = sizes.sort("n", "n_queries", descending=True).select("n", "n_queries").row(0)
    share, missed = n_largest / n_rows, _missed(queries, params, n_queries)
    too_large = share > params.max_cluster_share and n_queries >= FEWEST
    if not missed and not too_large:
        return ""
    kept = "documents that queries share, near-duplicates, groups" if params.by == "cluster" else "like queries, groups"
    allowed = f", allowed {params.max_cluster_share:.1%} ({named('split.max_cluster_share')})" if too_large else ""
    what = "rows" if params.by == "cluster" else "queries"
    return (
        f"the largest cluster ({kept}) holds {share:.1%} of the {n_rows:,} {what}{allowed}"
        + "".join(f"; {miss}" for miss in missed)
        + f"; {_next_step(movable, params)}"
    )


def _missed(queries: pl.DataFrame, params: SplitParams, n_largest: int) -> list[str]:
    """Says which of dev and test miss their shares by more than chance.

    Args:
        queries: CLUSTERED_QUERIES.
        params: protocol and shares.
        n_largest: queries of the largest cluster.
    """
    is_movable = ~queries["given_split"].is_in(["dev", "test"])
    names = assign(queries, params).filter(is_movable)
    return [
        f"{name} gets {n} of the {expected:.0f} queries that are its share"
        for name, share in sorted(shares(queries, params).items())
        if (expected := share * len(names)) >= FEWEST
        and (n := int((names == name).sum())) < expected / 2
        and n_largest >= expected / 4
    ]


def _next_step(movable: pl.DataFrame, params: SplitParams) -> str:
    share = int(movable["query_cluster_id"].value_counts()["count"].max()) / movable.height  # type: ignore[arg-type]
    if params.by == "cluster" and share <= params.max_cluster_share:
        return (
            "set split.by: query in params.yaml, which tests new queries over documents that train may know "
            f"(its largest cluster holds {share:.1%} of the queries)"
        )
    return "bring a split of your own, or raise prepare.similar_query in advanced.yaml if unlike queries count as alike"


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


def documents_of(corpus: pl.DataFrame, queries: pl.DataFrame, qrels: pl.DataFrame, by: str) -> dict[str, pl.DataFrame]:
    """Returns the documents that each split may search or mine (DOCUMENT_IDS), in the corpus's order.

    Args:
        corpus: with the column split of `assign_documents`.
        queries: with their split.
        qrels: judgments of relevance.
        by: protocol. cluster parts the documents; query gives all to train, and to dev and test those relevant there.
    """
    if by == "cluster":
        return {name: corpus.filter(pl.col("split") == name).select("document_id") for name in SPLITS}
    relevant = {
        name: qrels.join(queries.filter(pl.col("split") == name), on="query_id", how="semi") for name in ("dev", "test")
    }
    ids = corpus.select("document_id")
    return {"train": ids} | {name: ids.join(own, on="document_id", how="semi") for name, own in relevant.items()}


def split_documents(
    corpus: pl.DataFrame, queries: pl.DataFrame, qrels: pl.DataFrame, by: str
) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """Returns the corpus with the split of each document, and what `documents_of` does; takes what it takes."""
    corpus = corpus.with_columns(assign_documents(corpus, queries, qrels))
    return corpus, documents_of(corpus, queries, qrels, by)


def strata_of(queries: pl.DataFrame) -> Receipt:
    """Counts the strata, and those without a query in test or dev; {} where the data have none.

    Args:
        queries: with their split.
    """
    own = queries.filter(pl.col("stratum") != "")
    if own.is_empty():
        return {}
    n = own["stratum"].n_unique()
    without = {name: n - own.filter(pl.col("split") == name)["stratum"].n_unique() for name in ("dev", "test")}
    return {"n_strata": n} | {f"n_strata_without_{name}": count for name, count in without.items()}
