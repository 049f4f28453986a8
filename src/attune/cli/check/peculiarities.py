"""Peculiarities of a data set that a person should know of: missing cells as text, labels, texts in both roles."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from attune.data.splitting.clusters import normalise
from attune.data.splitting.shared_documents import own_texts
from attune.retrieval.words import n_words
from attune.tables import full_texts

# what programs write into empty cells
PLACEHOLDERS = frozenset(
    ["nan", "<na>", "nat", "null", "none", "nil", "n/a", "na", "#n/a", "undefined", "-", "--", "?", "unknown"]
)
MAX_NAMED = 5  # placeholders named in a note

Facts = dict[str, Any]


def peculiarities(tables: Mapping[str, pl.DataFrame]) -> Facts:
    """Counts what is peculiar in prepared tables (those of data/prepared)."""
    queries, corpus, qrels = tables["queries"], tables["corpus"], tables["qrels"]
    return {
        **placeholder_facts("queries", queries["text"].to_list(), queries["query_id"].to_list(), qrels["query_id"]),
        **placeholder_facts(
            "documents", corpus["text"].to_list(), corpus["document_id"].to_list(), qrels["document_id"]
        ),
        **answer_facts(corpus, qrels),
        "n_pairs_in_both_directions": n_in_both_directions(queries, corpus, qrels),
        "n_queries_that_are_other_documents": own_texts(queries, corpus, qrels)["query_id"].n_unique(),
        **negative_facts(tables["negatives"]),
    }


def placeholder_facts(what: str, texts: list[str], ids: list[str], judged: pl.Series) -> Facts:
    """Names the texts that programs write into empty cells, with their number of pairs.

    Args:
        what: queries or documents.
        texts: of all of them.
        ids: likewise.
        judged: id of the query or document of each judgment.
    """
    n_judged = Counter(judged.to_list())
    found: Counter[str] = Counter()
    for id_, text in zip(ids, texts, strict=True):
        if text.strip().casefold() in PLACEHOLDERS:
            found[text.strip()] += n_judged[id_]
    if not found:
        return {}
    others = {"queries": "answers", "documents": "queries"}[what]
    named = ", ".join(f"{text!r} ({n:,} {others})" for text, n in found.most_common(MAX_NAMED))
    return {f"n_pairs_of_placeholder_{what}": found.total(), f"placeholder_{what}": named}


def answer_facts(corpus: pl.DataFrame, qrels: pl.DataFrame) -> Facts:
    """Measures the documents that are relevant to a query: how many, for how many queries each, and their length."""
    per_document = qrels.group_by("document_id").len()
    texts = full_texts(corpus.join(per_document, on="document_id", how="semi", maintain_order="left"))
    return {
        "n_answers": per_document.height,
        "queries_per_answer_median": float(np.median(per_document["len"].to_numpy())),
        "words_per_answer_median": float(np.median([n_words(text) for text in texts])),
    }


def n_in_both_directions(queries: pl.DataFrame, corpus: pl.DataFrame, qrels: pl.DataFrame) -> int:
    """Counts the pairs of texts (a, b) that are judged as query a with document b and as query b with document a."""
    left, right = (
        frame.select(id_, pl.Series(name, [normalise(text) for text in frame["text"]], pl.String))
        for frame, id_, name in ((queries, "query_id", "a"), (corpus, "document_id", "b"))
    )
    pairs = qrels.join(left, on="query_id").join(right, on="document_id").select("a", "b").unique()
    turned = pairs.select(a="b", b="a")
    return pairs.filter(pl.col("a") < pl.col("b")).join(turned, on=["a", "b"], how="semi").height


def negative_facts(negatives: pl.DataFrame) -> Facts:
    """Counts the queries with negatives of their own, and the most that one brings."""
    per_query = negatives.group_by("query_id").len()["len"].to_list()
    return {"n_queries_with_own_negatives": len(per_query), "own_negatives_per_query_max": max(per_query, default=0)}
