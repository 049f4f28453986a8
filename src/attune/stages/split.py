"""Assigns whole clusters of queries and documents to train, dev and test, then audits the splits for leaks.

`data.splitting.assignment` says what each protocol keeps whole and which split it gets. Splits given by the user are
kept, and the audit counts their leaks. Judgments that `attune judge --test` has added count for test alone, after all
is assigned, so they run no training.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from attune.data.assignments import assignment_text
from attune.data.judgments import counted, read_judgments
from attune.data.splitting.assignment import (
    UNITS,
    SplitParams,
    assign,
    split_documents,
    strata_of,
    unusable_clusters,
)
from attune.data.splitting.kinds import audited
from attune.data.splitting.leaks import NearDuplicates, count
from attune.data.splitting.lexical_audit import audit_splits
from attune.data.splitting.paraphrases import paraphrase_tables
from attune.data.splitting.shared_documents import known_answers_share, own_texts
from attune.errors import BadInput
from attune.stage import Out, Receipt, run
from attune.tables import (
    CLUSTERED_QUERIES,
    CORPUS,
    DOCUMENT_IDS,
    LEAKS,
    LEXICAL,
    NEGATIVES,
    OWN_TEXTS,
    PARAPHRASES,
    QRELS,
    SPLIT_QUERIES,
    SPLITS,
    read,
    write,
)


@dataclass(frozen=True)
class Assigned:
    """Prepared tables, with the split of each query and document in a column `split`.

    Attributes:
        corpus: CORPUS.
        queries: CLUSTERED_QUERIES.
        qrels: QRELS.
        negatives: NEGATIVES, documents that the data calls no answers.
        documents: DOCUMENT_IDS that each split may search or mine.
    """

    corpus: pl.DataFrame
    queries: pl.DataFrame
    qrels: pl.DataFrame
    negatives: pl.DataFrame
    documents: Mapping[str, pl.DataFrame]


def read_assigned(params: SplitParams, prepared: Path) -> Assigned:
    """Reads data/prepared and assigns its queries and documents.

    Raises:
        BadInput: a table is missing or damaged, the clusters cannot be split, or a split is empty.
    """
    corpus = read(prepared / "corpus.parquet", CORPUS)
    qrels = read(prepared / "qrels.parquet", QRELS)
    negatives = read(prepared / "negatives.parquet", NEGATIVES)
    queries = read(prepared / "queries.parquet", CLUSTERED_QUERIES)
    if problem := unusable_clusters(queries, corpus, params):
        raise BadInput(f"{prepared}: {problem}")
    queries = queries.with_columns(assign(queries, params))
    for name in SPLITS:
        if not (queries["split"] == name).any():
            given = queries["given_split"].ne("").any()
            raise BadInput(
                f"{prepared}: the {name} split is empty ({queries.height} queries in all); "
                + ("mend the given split, or give none" if given else "add data or change split.*_share")
            )
    corpus, documents = split_documents(corpus, queries, qrels, params.by)
    return Assigned(corpus, queries, qrels, negatives, documents)


def write_splits(params: SplitParams, tables: Assigned, out: Path) -> Mapping[str, int]:
    """Writes the tables of train, dev and test; returns what became of the judgments that were added to test."""
    units = tables.queries.with_columns(cluster_id=UNITS[params.by])
    added: Mapping[str, int] = {}
    for name in SPLITS:
        queries = units.filter(pl.col("split") == name).select(list(SPLIT_QUERIES))
        qrels, refused = (table.join(queries, on="query_id", how="semi") for table in (tables.qrels, tables.negatives))
        if name == "test":
            judgments = read_judgments(Path(params.judgments))
            qrels, refused, added = counted(judgments, queries, tables.corpus, qrels, refused)
        else:
            refused = refused.join(tables.documents[name], on="document_id", how="semi")
        write_split(out / name, queries, qrels, tables.corpus if params.leave_out_own_text else None)
        write(refused, out / name / "negatives.parquet", NEGATIVES)
        write(tables.documents[name], out / name / "documents.parquet", DOCUMENT_IDS)
    return added


def write_split(folder: Path, queries: pl.DataFrame, qrels: pl.DataFrame, corpus: pl.DataFrame | None) -> None:
    """Writes a split's queries, judgments and own texts, which are empty without a corpus to look for them in."""
    write(queries, folder / "queries.parquet", SPLIT_QUERIES)
    write(qrels.sort("query_id", "document_id"), folder / "qrels.parquet", QRELS)
    own = pl.DataFrame(schema=dict(OWN_TEXTS)) if corpus is None else own_texts(queries, corpus, qrels)
    write(own, folder / "own_texts.parquet", OWN_TEXTS)


def split(
    params: SplitParams,
    prepared: Path,
    query_shingle: int,
    document_shingle: int,
    similar_query: float,
    similar_document: float,
    out: Out,
    assignments: Out,
) -> Receipt:
    """Splits by whole clusters and audits the splits for leaks, by stage prepare's definition of near-duplicates."""
    near = NearDuplicates(query_shingle, document_shingle, similar_query, similar_document)
    tables = read_assigned(params, prepared)
    corpus, queries, qrels = tables.corpus, tables.queries, tables.qrels
    leaks, sizes = audit_splits(corpus, queries, qrels, near, params.by)
    write(pl.DataFrame(leaks, LEAKS, orient="row"), out / "leaks.parquet", LEAKS)
    n_leaks = count(leaks, audited(LEXICAL, params.by), sizes, params.max_leak_share, "split.max_leak_share")
    paraphrases = read(prepared / "paraphrases.parquet", PARAPHRASES)
    like_queries, answers, n_paraphrases = paraphrase_tables(near, paraphrases, corpus, queries, params.by)
    write_split(out / "paraphrases", like_queries, answers, corpus if params.leave_out_own_text else None)
    n_added = write_splits(params, tables, out)
    assignments.write_text(assignment_text(queries.select("text", "split").iter_rows()), encoding="utf-8")
    known = {f"{name}_known_answers_share": known_answers_share(qrels, queries, name) for name in ("dev", "test")}
    return {
        "by": params.by,
        **{f"n_{name}_queries": sizes[f"queries.{name}"] for name in SPLITS},
        **{f"n_{name}_documents": tables.documents[name].height for name in SPLITS},
        **strata_of(queries),
        **(known if params.by == "query" else {}),
        **n_leaks,
        **n_paraphrases,
        **n_added,
    }


if __name__ == "__main__":
    run(split)
