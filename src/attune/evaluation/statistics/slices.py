"""Slices of the test queries: queries that share a value of a trait, and the traits that queries are sliced by.

Traits come from a query's text, its relevant documents, its columns in the raw data, and the training texts. Numbers
are cut at their quantiles, so that slices are of similar size; names (a product, a language) make a slice each, however
rare. `slice_comparisons` compares base and tuned on each.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attune.data.raw_tables import read_raw
from attune.retrieval.words import n_words, words
from attune.runtime.arrays import Float64, Int64
from attune.tables import CLUSTERED_QUERIES, CORPUS, QRELS, SPLIT_QUERIES, full_texts, read

Numbers = NDArray[np.number[Any]]
Traits = Mapping[str, Numbers | Sequence[str]]  # for each trait one value per query; "" is no value


@dataclass(frozen=True)
class Slice:
    """Queries with the same value, or range of values, of a trait.

    Attributes:
        trait: name of the trait.
        bin: value, or range of values.
        rows: of the queries, ascending.
        is_shown: False where the tables show it only if it lost.
    """

    trait: str
    bin: str
    rows: Int64
    is_shown: bool = True


def by_number(trait: str, values: Numbers, n_bins: int) -> list[Slice]:
    """Cuts queries at the quantiles of their values, (n_queries,); equal values stay in one slice.

    Returns:
        At most n_bins slices, lowest first, named by the least and the greatest value in each. Where many values are
        equal there are fewer, of unequal size.
    """
    rounded: Numbers = np.round(values, 2)  # as shown in the name of the slice
    edges = np.unique(np.quantile(rounded, np.arange(1, n_bins) / n_bins, method="inverted_cdf"))
    place = np.searchsorted(edges, rounded, side="left")
    groups = [np.flatnonzero(place == number) for number in np.unique(place)]
    return [Slice(trait, _range(rounded[rows]), rows) for rows in groups]


def by_name(trait: str, values: Sequence[str], n_names: int, min_queries: int) -> list[Slice]:
    """Returns a slice for each value, and one for all values together that the tables do not show.

    Queries whose value is "" are in none. There are no slices where all queries have the same value.

    Args:
        trait: name of the trait.
        values: of the queries.
        n_names: most frequent values that are shown, in alphabetical order.
        min_queries: values of fewer queries are not shown.
    """
    names, places, counts = np.unique(np.asarray(values, dtype=np.str_), return_inverse=True, return_counts=True)
    if len(names) < 2:
        return []
    rows = np.split(np.argsort(places, kind="stable"), counts.cumsum()[:-1])
    parts = [(str(name), of_name) for name, of_name in zip(names, rows, strict=True) if name]
    parts.sort(key=lambda part: -len(part[1]))
    shown = sorted(name for name, of_name in parts[:n_names] if len(of_name) >= min_queries)
    slices = [Slice(trait, name, of_name, name in shown) for name, of_name in sorted(parts, key=lambda part: part[0])]
    others = [part.rows for part in slices if not part.is_shown]
    pooled = [Slice(trait, f"({len(others)} others)", np.sort(np.concatenate(others)))] if len(others) > 1 else []
    return slices + pooled


def by_trait(traits: Traits, n_bins: int, n_names: int, min_queries: int) -> list[Slice]:
    """Returns the slices of all traits, in their order: numbers by quantile, texts by name."""
    slices: list[Slice] = []
    for trait, values in traits.items():
        if isinstance(values, np.ndarray):
            slices += by_number(trait, values, n_bins)
        else:
            slices += by_name(trait, values, n_names, min_queries)
    return slices


def _range(values: Numbers) -> str:
    """Returns the range of some values, in words."""
    low, high = (f"{value:.2f}" if values.dtype.kind == "f" else str(value) for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def lexical_overlaps(texts: Sequence[str], relevant: Sequence[Sequence[str]]) -> Float64:
    """Returns, per query, the largest share of its distinct words found in one relevant document, (n texts,).

    A query without words has a share of 0.

    Args:
        texts: of the queries.
        relevant: texts of each query's relevant documents.
    """
    shares = []
    for text, documents in zip(texts, relevant, strict=True):
        of_query = set(words(text))
        n = max(1, len(of_query))
        shares.append(max((len(of_query & set(words(document))) / n for document in documents), default=0.0))
    return np.array(shares, dtype=np.float64)


def n_unseen_words(texts: Sequence[str], training_texts: Iterable[str]) -> Int64:
    """Returns the (n texts,) number of distinct words of each query that no training text contains."""
    vocabulary: set[str] = set().union(*map(words, training_texts))
    return np.array([len(set(words(text)) - vocabulary) for text in texts], dtype=np.int64)


def sources(relevant: Sequence[Sequence[str]]) -> list[str]:
    """Returns the source of each query's relevant documents: their ids up to the first slash, as in `folder/page.md`.

    "" where an id has no slash, or where the documents come from several sources.
    """
    folders = [{id_.partition("/")[0] if "/" in id_ else "" for id_ in ids} for ids in relevant]
    return [next(iter(source)) if len(source) == 1 else "" for source in folders]


def relevant_ids(split: Path) -> dict[str, list[str]]:
    """Reads the relevant documents of each query of a split, sorted."""
    qrels = read(split / "qrels.parquet", QRELS).filter(pl.col("relevance") > 0).sort("query_id", "document_id")
    return dict(qrels.group_by("query_id", maintain_order=True).agg("document_id").iter_rows())


def read_training_texts(train: Path, texts: dict[str, str]) -> Iterable[str]:
    """Yields the domain texts that training sees: the train queries and their relevant documents.

    Args:
        train: folder of the train split.
        texts: of all documents, by id.
    """
    yield from read(train / "queries.parquet", SPLIT_QUERIES)["text"]
    qrels = read(train / "qrels.parquet", QRELS).filter(pl.col("relevance") > 0)
    yield from (texts[id_] for id_ in qrels["document_id"].unique(maintain_order=True))


def cluster_sizes(queries: pl.DataFrame, corpus: pl.DataFrame) -> dict[str, int]:
    """Returns the number of queries and documents of each cluster."""
    members = pl.concat([queries["cluster_id"], corpus["cluster_id"]])
    return dict(members.value_counts().iter_rows())


def traits_of(query_ids: Sequence[str], raw: Path, prepared: Path, splits: Path) -> Traits:
    """Returns the traits by which test queries are sliced, one value per query, in their order.

    Args:
        query_ids: of the test queries.
        raw: data/raw, with the group of each query.
        prepared: data/prepared, with documents and clusters.
        splits: data/splits, with test queries, judgments and the train split.

    Raises:
        BadInput: a table is missing or is not what its stage writes.
    """
    corpus = read(prepared / "corpus.parquet", CORPUS)
    documents = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
    relevant = relevant_ids(splits / "test")
    ids = [relevant.get(id_, []) for id_ in query_ids]
    # test queries with their slicing attributes
    queries = pl.DataFrame({"query_id": query_ids}, schema={"query_id": pl.String})
    test = read(splits / "test/queries.parquet", SPLIT_QUERIES).select("query_id", "text", "stratum")
    groups = read_raw(raw)[1].select("query_id", "group")
    queries = queries.join(test, on="query_id", maintain_order="left")
    queries = queries.join(groups, on="query_id", how="left", maintain_order="left")
    # over queries and documents, whatever the protocol of the split keeps whole
    clustered = read(prepared / "queries.parquet", CLUSTERED_QUERIES)
    queries = queries.join(clustered.select("query_id", "cluster_id"), on="query_id", maintain_order="left", how="left")
    sizes = cluster_sizes(clustered, corpus)
    texts = queries["text"].to_list()
    return {
        "query length": np.array([n_words(text) for text in texts], dtype=np.int64),
        "lexical overlap": lexical_overlaps(texts, [[documents[id_] for id_ in of_query] for of_query in ids]),
        "relevant documents": pl.Series([len(of_query) for of_query in ids], dtype=pl.Int64).to_numpy(),
        "unseen words": n_unseen_words(texts, read_training_texts(splits / "train", documents)),
        "cluster size": queries["cluster_id"].replace_strict(sizes, return_dtype=pl.Int64).to_numpy(),
        "source": sources(ids),
        "group": queries["group"].fill_null("").to_list(),
        "stratum": queries["stratum"].to_list(),
    }
