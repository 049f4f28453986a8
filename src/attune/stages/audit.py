"""Leak audit by meaning: texts of dev or test that training or model selection has seen in other words.

Takes the nearest neighbour by the base encoder's cosine among the queries, and among the relevant documents, of train
(for dev) or of train and dev (for test). A neighbour above the threshold may be a paraphrase or a sibling ("return the
largest", "return the smallest"), so the report also scores the test without the queries that have such a neighbour,
themselves or by a relevant document. Where documents are shared on purpose (split.by: query), queries alone are
compared. Writes these leaks and those of stage split, each with the text that it matches.
"""

from pathlib import Path

import numpy as np
import polars as pl
from pydantic import Field

from attune.data.splitting.leaks import Texts, audited, count
from attune.retrieval.exact import top_k
from attune.retrieval.vectors import load_embeddings
from attune.runtime.arrays import Float32
from attune.stage import Machine, Out, Params, Receipt, run
from attune.tables import CORPUS, LEAKS, QRELS, SEEN, SEMANTIC, SPLIT_QUERIES, SPLITS, Leak, full_texts, read, write


class AuditParams(Params):
    """Cosines from which on two texts count as paraphrases, and the largest share of a split that may leak so."""

    semantic_query: float = Field(gt=0, le=1)
    semantic_document: float = Field(gt=0, le=1)
    max_leak_share: float = Field(ge=0, le=1)
    machine: Machine


def query_texts(splits: Path, embeddings: Path) -> tuple[Texts, Float32]:
    """Returns the queries of all splits and their embeddings, (n queries, dim)."""
    tables = {name: read(splits / name / "queries.parquet", SPLIT_QUERIES) for name in SPLITS}
    vectors = [
        load_embeddings(embeddings / f"{name}.npy", table.height, f"the {name} queries")
        for name, table in tables.items()
    ]
    queries = pl.concat([table.select("query_id", "text", split=pl.lit(name)) for name, table in tables.items()])
    texts = Texts("queries", queries["split"].to_numpy(), queries["query_id"].to_list(), queries["text"].to_list())
    return texts, np.concatenate(vectors)


def document_texts(splits: Path, prepared: Path, embeddings: Path) -> tuple[Texts, Float32]:
    """Returns the documents that are relevant in each split (one may be so in several) and their embeddings."""
    corpus = read(prepared / "corpus.parquet", CORPUS).with_row_index("row")
    vectors = load_embeddings(embeddings / "corpus.npy", corpus.height, "the corpus")
    relevant = pl.concat(
        [
            read(splits / name / "qrels.parquet", QRELS).select("document_id", split=pl.lit(name)).unique()
            for name in SPLITS
        ]
    )
    judged = corpus.join(relevant, on="document_id").sort("row", "split")
    texts = Texts("documents", judged["split"].to_numpy(), judged["document_id"].to_list(), full_texts(judged))
    return texts, vectors[judged["row"].to_numpy()]


def semantic_leaks(texts: Texts, vectors: Float32, threshold: float, threads: int) -> list[Leak]:
    """Finds texts of dev that have a paraphrase in train, and texts of test that have one in train or dev.

    Args:
        texts: queries or documents of all splits.
        vectors: their embeddings by the base encoder, (n rows of texts, dim), of length 1.
        threshold: the cosine from which on two texts count as paraphrases.
        threads: CPU threads of FAISS.

    Returns:
        Leaks of the kinds semantic_*, each with its nearest text of an earlier split; equal texts are among them.
    """
    leaks = []
    for split, others in SEEN.items():
        own, seen = texts.rows(split), texts.rows(*others)
        scores, nearest = top_k(vectors[own], vectors[seen], 1, threads)
        matches = {
            row: (int(seen[near[0]]), float(score[0]))
            for row, near, score in zip(own.tolist(), nearest, scores, strict=True)
            if score[0] >= threshold
        }
        leaks += texts.leaks("semantic", split, matches)
    return leaks


def audit(params: AuditParams, prepared: Path, splits: Path, embeddings: Path, by: str, out: Out) -> Receipt:
    """Writes all leaks, those of stage split and those by meaning, that count under the protocol (split.by)."""
    sides = [(*query_texts(splits, embeddings), params.semantic_query)]
    if by == "cluster":
        sides.append((*document_texts(splits, prepared, embeddings), params.semantic_document))
    leaks = [leak for side in sides for leak in semantic_leaks(*side, params.machine.threads)]
    table = pl.concat([read(splits / "leaks.parquet", LEAKS), pl.DataFrame(leaks, LEAKS, orient="row")])
    write(table, out / "leaks.parquet", LEAKS)
    sizes = {f"{texts.what}.{name}": len(texts.rows(name)) for texts, _, _ in sides for name in SPLITS}
    n_texts = {
        f"n_{name}_{texts.what}": sizes[f"{texts.what}.{name}"] for texts, _, _ in sides for name in ("dev", "test")
    }
    return n_texts | count(leaks, audited(SEMANTIC, by), sizes, params.max_leak_share, "audit.max_leak_share")


if __name__ == "__main__":
    run(audit)
