"""Scores an encoder whose queries are not on disk: encodes and ranks them, and measures each."""

import polars as pl

from attune.encoding.scored import Encoder
from attune.evaluation.scoring.judgments import Split
from attune.evaluation.scoring.measures import measure
from attune.retrieval.grouped import document_search
from attune.retrieval.passages import Passages
from attune.runtime.arrays import Float32


def score_split(
    encoder: Encoder,
    passages: Passages,
    split: Split,
    depth: int,
    threads: int,
    documents: Float32,
) -> pl.DataFrame:
    """Scores an encoder on a split's queries, with the measures of stage evaluate; a row per query.

    Args:
        encoder: of queries and documents.
        passages: of the corpus.
        split: queries and judgments.
        depth: of the rankings.
        threads: of the search.
        documents: (n passages, dim) embeddings.
    """
    queries = encoder.encode_query(split.texts, show_progress=True)
    scores, rows = split.ranked(document_search(queries, documents, passages.document_rows, threads), depth)
    values = measure(rows, split.judgments, scores)
    return pl.DataFrame({"query_id": split.query_ids}).with_columns(split=pl.lit(split.name), **values)
