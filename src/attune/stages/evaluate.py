"""Ranks the whole corpus for every dev and test query and scores the rankings per query.

Every system, BM25 included, is scored by this one piece of code on the same queries; documents with the query's own
text are left out of its ranking (split.leave_out_own_text). A document that is read in passages (prepare.passages)
scores as its best one; BM25, which has no maximum length, reads documents whole. A ranking goes on to the last
document that ties with the one at its depth, and measures are expected values over the orders of equal scores, so no
score depends on a document's id, but for hybrids, which fuse ranks and cut runs. Embeddings are read, not made, so
scoring again after a change to a measure takes a minute or two, stage probe included. Where train queries are
embedded, a sample of them is scored as well: a gain on train without one on test is overfitting.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field, field_validator

from attune.evaluation.scoring.dimensions import truncated
from attune.evaluation.scoring.groups import group_means
from attune.evaluation.scoring.hybrid import chosen_weight, fuse, ranking_of
from attune.evaluation.scoring.judgments import Split, load_split
from attune.evaluation.scoring.measures import MEASURES, depends_on_ties, measure
from attune.evaluation.scoring.query_embeddings import EmbedQueries, query_embeddings
from attune.retrieval.fusion import Ranking
from attune.retrieval.grouped import document_search
from attune.retrieval.passages import Passages, read_passages
from attune.retrieval.vectors import load_embeddings
from attune.runtime.arrays import Float32, Float64, Int64
from attune.stage import PARAMS_FILE, Machine, Out, Params, Receipt, all_params, run
from attune.tables import CORPUS, RUN, full_texts, read, scores_columns, write

BM25, AUTO = "bm25", "auto"
HYBRID = "hybrid_"  # of the names of systems that fuse two runs
SCORES = scores_columns(MEASURES)
SECONDARY = ("recall@10", "ndcg@10")  # measures in the receipt for dev, train, paraphrases and truncated dimensions
CHOSEN_BY, NONE = "ndcg@10", "none"  # measure on dev by which the language of BM25 is chosen; its name for no language
SAMPLE_SEED = 13  # of the sample of train queries


class EvaluateParams(Params):
    """Depth of the rankings, samples and dimensions scored besides dev and test, and BM25's constants and language.

    `champion` names a released encoder, which stage champion scores.
    """

    depth: int = Field(ge=100, le=10_000)
    n_train_sample: int = Field(ge=1)
    n_groups: int = Field(ge=2, le=1000)
    truncate_dims: list[Annotated[int, Field(ge=1)]]
    machine: Machine
    bm25_k1: float = Field(ge=0, le=10)
    bm25_b: float = Field(ge=0, le=1)
    bm25_language: str
    champion: str

    @field_validator("bm25_language")
    @classmethod
    def _has_a_stemmer(cls, value: str) -> str:
        if value not in ("", AUTO):
            from attune.retrieval.languages import STEMMERS, code_of  # noqa: PLC0415 - as in bm25_ranker

            if code_of(value) is None:
                raise ValueError(f"expected auto, '' for words as they are, or one of {', '.join(STEMMERS)}")
        return value


# scores and document rows, (n_queries, depth or more: ties), of one system's ranking; row -1 where nothing is ranked
Ranker = Callable[[Split], tuple[Float32, Int64]]


def sample(split: Split, n: int, seed: int) -> Split:
    """Draws at most n queries of a split: those with the lowest hashed ids, so that added queries replace few."""
    keys = [hashlib.sha256(f"{seed}:{id_}".encode()).digest() for id_ in split.query_ids]
    return split.take(np.sort(np.argsort(np.array(keys), kind="stable")[:n]))


def bm25_ranker(params: EvaluateParams, corpus: pl.DataFrame, language: str) -> Ranker:
    """Returns a ranker by BM25, from the texts alone.

    Args:
        params: BM25's constants and the depth.
        corpus: documents.
        language: ISO 639-1 code of the stemmer and the stop words; "" matches words as they are.
    """
    from attune.retrieval.bm25 import Bm25  # noqa: PLC0415 - takes a quarter of a second, and nine of ten systems need none
    from attune.retrieval.languages import stems_in  # noqa: PLC0415 - likewise
    from attune.retrieval.words import words  # noqa: PLC0415 - likewise

    index = Bm25(full_texts(corpus), params.bm25_k1, params.bm25_b, stems_in(language) if language else words)

    def ranked(split: Split) -> tuple[Float32, Int64]:
        def search(queries: Int64, depth: int) -> tuple[Float32, Int64]:
            return index.top_k([split.texts[row] for row in queries], depth)

        return split.ranked(search, params.depth)

    return ranked


def bm25_languages(params: EvaluateParams) -> list[str]:
    """Returns the languages that dev chooses among: with `auto` none ("") and those of release.languages."""
    from attune.retrieval.languages import code_of  # noqa: PLC0415 - as in bm25_ranker

    if params.bm25_language != AUTO:
        return [code_of(params.bm25_language) or ""]
    named = [code_of(language) for language in all_params(PARAMS_FILE)["release"]["languages"]]
    return list(dict.fromkeys(["", *filter(None, named)]))


def best_bm25(params: EvaluateParams, corpus: pl.DataFrame, splits: list[Split]) -> tuple[Ranker, Receipt]:
    """Chooses the language of BM25 by nDCG@10 on dev; words as they are, where no language is better.

    Returns:
        The ranker, and for the receipt the language taken and dev's figure for each that was tried.
    """
    rankers = {language: bm25_ranker(params, corpus, language) for language in bm25_languages(params)}
    figures = dict.fromkeys(rankers, 0.0)
    for dev in (split for split in splits if split.name == "dev" and len(rankers) > 1):
        for language, ranker in rankers.items():
            scores, rows = ranker(dev)
            figures[language] = float(measure(rows, dev.judgments, scores)[CHOSEN_BY].mean())
    best = max(rankers, key=lambda language: figures[language])  # the first of equals
    tried = {f"language_{language or NONE}_dev_{CHOSEN_BY}": figure for language, figure in figures.items()}
    return rankers[best], {"language": best or NONE, **(tried if len(rankers) > 1 else {})}


def hybrid_ranker(lexical: Path, dense: Path, corpus: pl.DataFrame, splits: Sequence[Split]) -> tuple[Ranker, Receipt]:
    """Returns a ranker that fuses two runs, as dev chooses, and dev's figures for the receipt.

    Args:
        lexical: folder of BM25's run.
        dense: folder of an encoder's run.
        corpus: documents.
        splits: among them dev.
    """
    first, second = (read(folder / "run.parquet", RUN) for folder in (lexical, dense))

    def rankings(split: Split) -> tuple[Ranking, Ranking]:
        return ranking_of(first, split, corpus), ranking_of(second, split, corpus)

    dev = next(split for split in splits if split.name == "dev")
    weight, figures = chosen_weight(*rankings(dev), dev)

    def ranked(split: Split) -> tuple[Float32, Int64]:
        return fuse(*rankings(split), weight)

    return ranked, figures


def dense_ranker(
    params: EvaluateParams, source: Path, passages: Passages, embed: EmbedQueries, dim: int | None = None
) -> Ranker:
    """Returns a ranker by the cosine of documents' best passages.

    Args:
        params: depth and threads.
        source: embeddings of documents.
        passages: of the documents.
        embed: the queries.
        dim: number of dimensions to truncate both to; None for all.
    """
    documents = load_embeddings(source / "corpus.npy", len(passages), "the corpus")
    documents = documents if dim is None else truncated(documents, dim)

    def ranked(split: Split) -> tuple[Float32, Int64]:
        queries = embed(split)
        queries = queries if dim is None else truncated(queries, dim)
        return split.ranked(
            document_search(queries, documents, passages.document_rows, params.machine.threads), params.depth
        )

    return ranked


def run_table(split: Split, corpus: pl.DataFrame, scores: Float32, rows: Int64) -> pl.DataFrame:
    """Returns the run as a table: one row per query and ranked document.

    Args:
        split: queries of the ranking.
        corpus: documents of the ranking.
        scores: (n_queries, depth) of the ranked documents; of equal scores the earlier corpus row stands first.
        rows: (n_queries, depth) document rows, -1 where nothing is ranked.
    """
    query_rows, ranks = np.nonzero(rows >= 0)
    document_rows = rows[query_rows, ranks]
    return pl.DataFrame(
        {
            "query_id": split.query_ids.gather(query_rows),
            "rank": ranks + 1,
            "document_id": corpus["document_id"].gather(document_rows),
            "score": scores[query_rows, ranks].astype(np.float64).round(6),
        }
    )


def score_table(split: Split, values: dict[str, Float64]) -> pl.DataFrame:
    """Returns the measures as a table: one row per query."""
    return pl.DataFrame(
        {"query_id": split.query_ids, "split": pl.repeat(split.name, len(split.texts), eager=True)} | values
    )


def splits_of(params: EvaluateParams, system: str, source: Path, splits: Path, corpus: pl.DataFrame) -> list[Split]:
    """Loads dev, test, the paraphrases if there are any, and a sample of train where its queries are embedded."""
    loaded = [load_split(splits / name, corpus) for name in ("dev", "test", "paraphrases")]
    if system != BM25 and (source / "train.npy").is_file():
        loaded.append(sample(load_split(splits / "train", corpus), params.n_train_sample, SAMPLE_SEED))
    return [split for split in loaded if split.texts]


def scores_by_dimension(
    params: EvaluateParams, source: Path, splits: list[Split], passages: Passages, embed: EmbedQueries
) -> Receipt:
    """Scores test, and dev to choose by, at each number of dimensions (Matryoshka truncation)."""
    figures: dict[str, float] = {}
    for dim in params.truncate_dims:
        ranker = dense_ranker(params, source, passages, embed, dim)
        for split in (split for split in splits if split.name in ("dev", "test")):
            scores, rows = ranker(split)
            values = measure(rows, split.judgments, scores)
            prefix = f"dim_{dim}_dev_" if split.name == "dev" else f"dim_{dim}_"
            figures |= {f"{prefix}{key}": float(values[key].mean()) for key in SECONDARY}
    return figures


def evaluate(
    params: EvaluateParams,
    *,
    system: str,
    input: Path,
    beside: Path,
    prepared: Path,
    splits: Path,
    out: Out,
    groups: Out,
) -> Receipt:
    """Scores a system from its embeddings, or BM25 from the texts; writes its run, scores per query and group means.

    `beside` is `input` again, or what a system needs beside it: the folder of an adapter through which the queries of
    `input` go, or of a static encoder that embeds them, or of the run with which a hybrid fuses that of `input`.
    """
    corpus = read(prepared / "corpus.parquet", CORPUS)
    passages = read_passages(prepared, corpus)
    scored = splits_of(params, system, input, splits, corpus)
    own_figures: Receipt = {}
    is_hybrid = system.startswith(HYBRID)
    if system == BM25:
        ranker, own_figures = best_bm25(params, corpus, scored)
    elif is_hybrid:
        ranker, own_figures = hybrid_ranker(input, beside, corpus, scored)
    else:
        embed = query_embeddings(system, input, beside, params.machine.threads)
        ranker = dense_ranker(params, input, passages, embed)
        own_figures = scores_by_dimension(params, input, scored, passages, embed)
    runs, tables, means, n_tied = [], [], {}, {}
    for split in scored:
        scores, rows = ranker(split)
        values = measure(rows, split.judgments, scores)
        n_tied[split.name] = int(depends_on_ties(rows, split.judgments, scores).sum())
        runs.append(run_table(split, corpus, scores[:, : params.depth], rows[:, : params.depth]))
        tables.append(score_table(split, values))
        if split.name == "test":
            groups.write_text(group_means(split.cluster_ids.to_list(), values, params.n_groups))
        means[split.name] = {key: float(column.mean()) for key, column in values.items()}
    write(pl.concat(runs).sort("query_id", "rank"), out / "run.parquet", RUN)
    write(pl.concat(tables).sort("query_id"), out / "scores.parquet", SCORES)
    n_queries = {split.name: len(split.texts) for split in scored}
    secondary = {
        f"{name}_{key}": means[name][key]
        for name in ("dev", "train", "paraphrases")
        if name in means
        for key in SECONDARY
    }
    return {
        **means["test"],
        "n_queries": n_queries["test"],
        "n_queries_with_ties": n_tied["test"],
        "n_documents": corpus.height,
        **({"n_passages": len(passages)} if passages.is_cut and system != BM25 else {}),
        **secondary,
        "n_paraphrases": n_queries.get("paraphrases", 0),
        **own_figures,
    }


if __name__ == "__main__":
    run(evaluate)
