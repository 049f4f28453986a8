"""Leak audit by words of a whole split, under its protocol."""

import polars as pl

from attune.data.splitting.crossing import Readings
from attune.data.splitting.kinds import audited
from attune.data.splitting.leaks import NearDuplicates, Texts, lexical_leaks, query_leaks
from attune.tables import LEXICAL, SPLITS, Leak


def audit_splits(
    corpus: pl.DataFrame, queries: pl.DataFrame, qrels: pl.DataFrame, near: NearDuplicates, by: str = "cluster"
) -> tuple[list[Leak], dict[str, int]]:
    """Returns a protocol's leaks, and how many queries and relevant documents each split has ("queries.dev": 120).

    Args:
        corpus: columns document_id, title and text.
        queries: with their split.
        qrels: judgments of relevance.
        near: definition of near-duplicates.
        by: protocol, cluster or query.
    """
    relevant = qrels.join(queries.select("query_id", "split"), on="query_id").select("document_id", "split").unique()
    columns = corpus.select("document_id", "title", "text")
    judged = columns.join(relevant, on="document_id", maintain_order="left_right")
    questions = Texts("queries", queries["split"].to_numpy(), queries["query_id"].to_list(), queries["text"].to_list())
    ids, titles, bodies = (judged[name].to_list() for name in columns.columns)
    readings = Readings.of(titles, bodies)
    answers = Texts("documents", judged["split"].to_numpy(), ids, readings.texts[: judged.height])
    read_as = answers.take(readings.rows.tolist(), readings.texts)
    # by query, documents are known, and so are their titles
    titled = [row for row, title in enumerate(titles) if title.strip() and by == "cluster"]
    names = answers.take(titled, [titles[row] for row in titled])
    leaks = query_leaks(questions, read_as, names, near.query_shingle, near.similar_query)
    if by == "cluster":
        leaks += lexical_leaks(answers, near.document_shingle, near.similar_document)
    sizes = {f"{texts.what}.{name}": len(texts.rows(name)) for texts in (questions, answers) for name in SPLITS}
    kinds = audited(LEXICAL, by)
    return [leak for leak in leaks if leak.kind in kinds], sizes
