"""Mines hard negatives: documents that an encoder, or BM25, finds near a train query although they do not answer it.

The nearest are often unjudged right answers, so a candidate must score clearly below the query's lowest positive
(positive-aware mining, Moreira et al. 2024, "NV-Retriever", arXiv 2407.15831), and nothing of a positive's cluster is
ever taken. Only documents of the train split are candidates. What was rejected, and by which rule, is counted, and how
many of those taken are answers after all is estimated.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from attune.retrieval.vectors import load_embeddings
from attune.stage import Machine, Out, Params, Receipt, run
from attune.tables import (
    CLUSTERED_QUERIES,
    CORPUS,
    DOCUMENT_IDS,
    NEGATIVE_SAMPLE,
    NEGATIVES,
    QRELS,
    TRIPLETS,
    full_texts,
    read,
    write,
)
from attune.tuning.mining.candidates import IntArray, Pairs, Scorer, cosines
from attune.tuning.mining.cross_encoder import reranker
from attune.tuning.mining.false_negatives import figures
from attune.tuning.mining.mine import Mined, Recipe, Task, mine_negatives


class MineParams(Params):
    """How many negatives, from where in the rankings, and how far below the positives."""

    n_negatives: int = Field(ge=0, le=16)
    max_own_negatives: int = Field(ge=0, le=16)
    lexical_share: float = Field(ge=0, le=1)
    depth: int = Field(ge=1, le=1000)
    index: Literal["flat", "ivf", "hnsw", "sq8", "pq"]
    first_rank: int = Field(ge=0, le=1000)
    max_share_of_positive: float = Field(gt=0, le=1)
    min_margin: float = Field(ge=0, le=1)
    same_query: float = Field(ge=0.7, le=1.01)
    reranker: str = Field(pattern=r"^(\w[\w.-]*)?$")
    n_sample: int = Field(ge=0, le=1000)
    seed: int = Field(ge=0)
    machine: Machine


def places(values: pl.Series, among: pl.Series) -> IntArray:
    """Where values first stand in a series."""
    first = pl.DataFrame({"value": among}).with_row_index("place").unique("value", keep="first")
    found = pl.DataFrame({"value": values}).join(first, on="value", how="left", maintain_order="left")["place"]
    return found.cast(pl.Int64).to_numpy()


def pairs(table: pl.DataFrame, queries: pl.DataFrame, corpus: pl.DataFrame) -> Pairs:
    """A table's query and document ids as rows, sorted."""
    found = pl.DataFrame(
        {
            "query": places(table["query_id"], queries["query_id"]),
            "row": places(table["document_id"], corpus["document_id"]),
        }
    ).sort("query", "row")
    return Pairs(found["query"].to_numpy(), found["row"].to_numpy())


def own_negatives(train: Path, queries: pl.DataFrame, corpus: pl.DataFrame, most: int) -> Pairs:
    """The train documents that the user says do not answer a query, at most so many for each."""
    allowed = read(train / "documents.parquet", DOCUMENT_IDS)
    given = pairs(
        read(train / "negatives.parquet", NEGATIVES).join(allowed, on="document_id", how="semi"), queries, corpus
    )
    few = np.arange(len(given.queries)) - np.searchsorted(given.queries, given.queries) < most
    return Pairs(given.queries[few], given.rows[few])


def read_task(
    train: Path, queries: pl.DataFrame, corpus: pl.DataFrame, embeddings: Path, max_own: int, *, with_texts: bool
) -> Task:
    """Lines up the tables of the train split with the embeddings."""
    return Task(
        query_texts=queries["text"].to_list() if with_texts else [],
        document_texts=full_texts(corpus) if with_texts else [],
        query_vectors=load_embeddings(embeddings / "train.npy", queries.height, "the train queries"),
        document_vectors=load_embeddings(embeddings / "corpus.npy", corpus.height, "the corpus"),
        query_clusters=places(queries["cluster_id"], corpus["cluster_id"]),
        document_clusters=places(corpus["cluster_id"], corpus["cluster_id"]),
        duplicate_of=places(corpus["duplicate_of"], corpus["document_id"]),
        candidates=np.sort(
            places(read(train / "documents.parquet", DOCUMENT_IDS)["document_id"], corpus["document_id"])
        ),
        positives=pairs(read(train / "qrels.parquet", QRELS), queries, corpus),
        own=own_negatives(train, queries, corpus, max_own),
    )


def triplets_of(task: Task, queries: pl.DataFrame, corpus: pl.DataFrame, mined: Mined) -> pl.DataFrame:
    """One row per query and positive, with the query's negatives, the user's own first."""
    query, slot = np.nonzero(mined.negatives >= 0)
    owner = np.concatenate([task.own.queries, query])
    rows = np.concatenate([task.own.rows, mined.negatives[query, slot]])
    listed = pl.DataFrame({"place": owner, "negative_ids": corpus["document_id"].gather(rows)}).group_by("place")
    places = pl.DataFrame({"place": np.arange(task.n_queries())})
    lists = places.join(listed.agg("negative_ids"), on="place", how="left", maintain_order="left")["negative_ids"]
    mined_for = queries.with_columns(negative_ids=lists.fill_null([]))
    positives = corpus["document_id"].gather(task.positives.rows)
    triplets = mined_for[task.positives.queries].with_columns(document_id=positives).select(list(TRIPLETS))
    return triplets.sort("query_id", "document_id")


def sample_of(
    task: Task, queries: pl.DataFrame, corpus: pl.DataFrame, mined: Mined, score: Scorer, n: int, seed: int
) -> pl.DataFrame:
    """Draws negatives, each beside that answer of its query which scores lowest."""
    query, slot = np.nonzero(mined.negatives >= 0)
    source = np.where(mined.verdicts.from_lexical, "lexical", np.where(mined.is_random(), "random", "dense"))[
        query, slot
    ]
    negatives = Pairs(
        np.concatenate([query, task.own.queries]), np.concatenate([mined.negatives[query, slot], task.own.rows])
    )
    sources = np.concatenate([source, np.full(len(task.own.rows), "own")])
    # another stream of random numbers than that of the random negatives
    drawn = np.random.default_rng([seed, 1]).permutation(len(sources))[:n]
    drawn = drawn[np.lexsort((drawn, negatives.queries[drawn]))]
    chosen = Pairs(negatives.queries[drawn], negatives.rows[drawn])
    order = np.lexsort((mined.positive_scores, task.positives.queries))
    lowest = order[np.searchsorted(task.positives.queries, chosen.queries)]
    columns = {"query_id": queries["query_id"].gather(chosen.queries), "text": queries["text"].gather(chosen.queries)}
    for name, rows, scores in (
        ("positive", task.positives.rows[lowest], mined.positive_scores[lowest]),
        ("negative", chosen.rows, score(chosen)),
    ):
        documents = corpus[rows]
        columns |= {f"{name}_id": documents["document_id"], f"{name}_title": documents["title"]}
        columns |= {f"{name}_text": documents["text"], f"{name}_score": pl.Series(scores.astype(np.float64).round(6))}
    return pl.DataFrame(columns | {"source": pl.Series(sources[drawn].tolist(), dtype=pl.String)})


def mine(params: MineParams, prepared: Path, train: Path, embeddings: Path, rerankers: Path, out: Out) -> Receipt:
    """Writes one row per train query and positive: query, positive and the query's negatives, the user's own first."""
    corpus = read(prepared / "corpus.parquet", CORPUS)
    queries = read(train / "queries.parquet", CLUSTERED_QUERIES)
    # at a million documents, texts that nobody reads would take more memory than all else
    with_texts = bool(params.lexical_share or params.reranker)
    task = read_task(train, queries, corpus, embeddings, params.max_own_negatives, with_texts=with_texts)
    score = cosines(task.query_vectors, task.document_vectors)
    if params.reranker:
        score = reranker(rerankers / params.reranker, task.query_texts, task.document_texts, params.machine.threads)
    recipe = Recipe(**params.model_dump(include=set(Recipe.__dataclass_fields__)))
    mined = mine_negatives(task, recipe, score, is_reranked=bool(params.reranker))
    triplets = triplets_of(task, queries, corpus, mined)
    write(triplets, out / "triplets.parquet", TRIPLETS)
    sample = sample_of(task, queries, corpus, mined, score, params.n_sample, params.seed)
    write(sample, out / "sample.parquet", NEGATIVE_SAMPLE)
    made_by = {"scored_by": params.reranker or "cosine", "index": mined.dense.index}
    return {"n_triplets": triplets.height} | figures(task, recipe, mined, score) | made_by


if __name__ == "__main__":
    run(mine)
