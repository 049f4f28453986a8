"""Mines hard negatives: train documents that the encoder or BM25 ranks near a train query and that do not answer it.

The rules of `attune.tuning.mining.rules` reject candidates that are judged or probable answers; rows with too few
candidates left get random documents. The receipt counts the candidates that each rule rejected. How many of the
negatives are answers after all can be estimated from a sample drawn here (`attune judge`).
"""

from hashlib import sha256
from heapq import nsmallest
from pathlib import Path

import numpy as np
import polars as pl

from attune.retrieval.passages import READ_PASSAGES, Passages, read_passages
from attune.retrieval.vectors import load_embeddings
from attune.runtime.arrays import Int64
from attune.stage import Out, Receipt, run
from attune.tables import (
    CORPUS,
    DOCUMENT_IDS,
    NEGATIVE_SAMPLE,
    NEGATIVES,
    OWN_TEXTS,
    QRELS,
    SPLIT_QUERIES,
    TRIPLETS,
    full_texts,
    read,
    write,
)
from attune.tuning.mining.candidates import Pairs, Scorer
from attune.tuning.mining.cross_encoder import load_reranker
from attune.tuning.mining.false_negatives import mining_figures
from attune.tuning.mining.mine import SEED, MiningInput, MiningResult, mine_negatives
from attune.tuning.mining.passages import passage_scorer, read_as
from attune.tuning.mining.rules import MineParams


def first_rows(values: pl.Series, column: pl.Series) -> Int64:
    """Returns for each value the first row of the column that holds it."""
    rows = pl.DataFrame({"value": column}).with_row_index("row").unique("value", keep="first")
    joined = pl.DataFrame({"value": values}).join(rows, on="value", how="left", maintain_order="left")
    return joined["row"].cast(pl.Int64).to_numpy()


def row_pairs(table: pl.DataFrame, queries: pl.DataFrame, corpus: pl.DataFrame) -> Pairs:
    """Returns a table's query and document ids as rows of the queries and the corpus, sorted."""
    rows = pl.DataFrame(
        {
            "query": first_rows(table["query_id"], queries["query_id"]),
            "row": first_rows(table["document_id"], corpus["document_id"]),
        }
    ).sort("query", "row")
    return Pairs(rows["query"].to_numpy(), rows["row"].to_numpy())


def read_judged(train: Path) -> pl.DataFrame:
    """Reads the relevant documents of the train queries, sorted by query and document."""
    return read(train / "qrels.parquet", QRELS).filter(pl.col("relevance") > 0).sort("query_id", "document_id")


def read_own_negatives(train: Path, queries: pl.DataFrame, judged: pl.DataFrame) -> pl.DataFrame:
    """Reads the negatives in the user's data that are train documents.

    Leaves out documents judged relevant to the query or to one that reads nearly the same, and the query's own text.
    """
    train_documents = read(train / "documents.parquet", DOCUMENT_IDS)
    negatives = read(train / "negatives.parquet", NEGATIVES).join(train_documents, on="document_id", how="semi")
    groups = queries.select("query_id", "near_group")
    answers = judged.join(groups, on="query_id").select("near_group", "document_id").unique()
    negatives = negatives.join(groups, on="query_id").join(answers, on=["near_group", "document_id"], how="anti")
    own_texts = read(train / "own_texts.parquet", OWN_TEXTS)
    return negatives.join(own_texts, on=["query_id", "document_id"], how="anti").select(list(NEGATIVES))


def read_input(
    train: Path,
    queries: pl.DataFrame,
    judged: pl.DataFrame,
    passages: Passages,
    embeddings: Path,
    *,
    with_texts: bool,
) -> MiningInput:
    """Reads the train split and lines it up with the embeddings."""
    corpus = passages.corpus
    train_ids = read(train / "documents.parquet", DOCUMENT_IDS)["document_id"]
    own_texts = read(train / "own_texts.parquet", OWN_TEXTS)
    return MiningInput(
        query_texts=queries["text"].to_list() if with_texts else [],
        document_texts=full_texts(corpus) if with_texts else [],
        query_vectors=load_embeddings(embeddings / "train.npy", queries.height, "the train queries"),
        document_vectors=load_embeddings(embeddings / "corpus.npy", len(passages), "the corpus"),
        document_rows=passages.document_rows,
        near_groups=first_rows(queries["near_group"], queries["near_group"]),
        duplicate_of=first_rows(corpus["duplicate_of"], corpus["document_id"]),
        train_rows=np.sort(first_rows(train_ids, corpus["document_id"])),
        positives=row_pairs(judged, queries, corpus),
        own_texts=row_pairs(own_texts, queries, corpus),
        own_negatives=row_pairs(read_own_negatives(train, queries, judged), queries, corpus),
    )


def build_triplets(
    data: MiningInput, queries: pl.DataFrame, judged: pl.DataFrame, corpus: pl.DataFrame, result: MiningResult
) -> pl.DataFrame:
    """Returns one row per query and positive, each with the same number of negatives, the user's own first."""
    ids = corpus["document_id"]
    n_rows, n_negatives = result.of_rows.shape
    negatives = pl.Series([[]] * n_rows, dtype=pl.List(pl.String))
    if n_negatives:
        negatives = ids.gather(result.of_rows.ravel()).reshape((n_rows, n_negatives)).arr.to_list()
    rows = queries[data.positives.queries].with_columns(
        document_id=ids.gather(data.positives.rows), negative_ids=negatives
    )
    triplets = rows.join(judged, on=["query_id", "document_id"], how="left", validate="1:1")
    return triplets.select(list(TRIPLETS)).sort("query_id", "document_id")


def drawn_pairs(query_ids: pl.Series, document_ids: pl.Series, n: int) -> Int64:
    """Draws n pairs (all if there are fewer) by a hash of their ids: a simple random sample, in random order.

    The first k rows of it are a simple random sample, too. Pairs that are mined again under other rules tend to be
    drawn again, so that judgements of them still serve.

    Args:
        query_ids: (n_pairs,) ids; no pair stands twice.
        document_ids: (n_pairs,) likewise.
        n: number of pairs.

    Returns:
        Rows of the pairs, (n,).
    """
    pairs = enumerate(zip(query_ids, document_ids, strict=True))
    hashes = ((sha256(f"{SEED}:{query}\t{document}".encode()).digest(), row) for row, (query, document) in pairs)
    return np.array([row for _, row in nsmallest(n, hashes)], dtype=np.int64)


def draw_sample(
    data: MiningInput, queries: pl.DataFrame, corpus: pl.DataFrame, result: MiningResult, score: Scorer, n: int
) -> pl.DataFrame:
    """Draws n negatives that mining chose, each pair once, beside the positive of its query that scores lowest.

    Random fill is among them, since training reads it likewise; the user's own negatives, which are judged, are not.
    """
    source = np.where(result.selection.from_lexical, "lexical", np.where(result.is_random(), "random", "dense"))
    mask = result.negatives >= 0
    of_rows = result.pairs(mask)
    _, first = np.unique(of_rows.keys(), return_index=True)
    negatives, sources = Pairs(of_rows.queries[first], of_rows.rows[first]), source[mask][first]
    ids = queries["query_id"].gather(negatives.queries), corpus["document_id"].gather(negatives.rows)
    drawn = drawn_pairs(*ids, n)
    chosen = Pairs(negatives.queries[drawn], negatives.rows[drawn])
    order = np.lexsort((result.rows.positive_scores, data.positives.queries))
    lowest = order[np.searchsorted(data.positives.queries, chosen.queries)]
    columns = {"query_id": queries["query_id"].gather(chosen.queries), "text": queries["text"].gather(chosen.queries)}
    for name, rows, scores in (
        ("positive", data.positives.rows[lowest], result.rows.positive_scores[lowest]),
        ("negative", chosen.rows, score(chosen)),
    ):
        documents = corpus[rows]
        columns |= {f"{name}_id": documents["document_id"], f"{name}_title": documents["title"]}
        columns |= {f"{name}_text": documents["text"], f"{name}_score": pl.Series(scores.astype(np.float64).round(6))}
    return pl.DataFrame(columns | {"source": pl.Series(sources[drawn].tolist(), dtype=pl.String)})


def mine(params: MineParams, prepared: Path, train: Path, embeddings: Path, rerankers: Path, out: Out) -> Receipt:
    """Writes the rows of training, the passages in which they read documents, and a random sample to be judged."""
    corpus = read(prepared / "corpus.parquet", CORPUS)
    queries = read(train / "queries.parquet", SPLIT_QUERIES)
    judged = read_judged(train)
    # texts only where they are read: at a million documents they take more memory than all else
    with_texts = bool(params.lexical_share or params.reranker)
    passages = read_passages(prepared, corpus)
    data = read_input(train, queries, judged, passages, embeddings, with_texts=with_texts)
    score = passage_scorer(data.query_vectors, data.document_vectors, data.document_rows)
    if params.reranker:
        folder = rerankers / params.reranker
        score = load_reranker(folder, data.query_texts, data.document_texts, params.machine.threads)
    result = mine_negatives(data, params, score)
    triplets = build_triplets(data, queries, judged, corpus, result)
    write(triplets, out / "triplets.parquet", TRIPLETS)
    vectors = data.query_vectors, data.document_vectors
    ids = queries["query_id"], corpus["document_id"]
    passage_of = read_as(triplets, *ids, vectors, data.document_rows, params.positive_passage)
    write(passage_of, out / "passages.parquet", READ_PASSAGES)
    sample = draw_sample(data, queries, corpus, result, score, params.n_sample)
    write(sample, out / "sample.parquet", NEGATIVE_SAMPLE)
    method = {"scored_by": params.reranker or "cosine", "index": result.dense.index}
    return {"n_triplets": triplets.height} | mining_figures(data, params, result, score) | method


if __name__ == "__main__":
    run(mine)
