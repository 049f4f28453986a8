"""For whom tuning helped and whom it hurt: base against tuned on parts of the test queries that have a trait in common.

Numbers are cut at their quantiles, so that no slice is much smaller than another; names (a product, a language) make a
slice each. The p-values are corrected for all slices together (Holm), so that one that is called worse is so beyond
the luck of having looked at many.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attune.data.words import WORD
from attune.evaluation.statistics.comparisons import Resampling, holm
from attune.evaluation.statistics.significance import compare
from attune.retrieval.bm25 import words as parts
from attune.tables import CLUSTERED_QUERIES, CORPUS, QRELS, full_texts, read, read_raw

Values = NDArray[np.float64]
Numbers = NDArray[np.number[Any]]
Traits = Mapping[str, Numbers | Sequence[str]]  # for each trait one value per query; "" is no value


@dataclass(frozen=True)
class Slice:
    """Queries with a trait in common: the trait, which of its values they have, and their rows (ascending)."""

    trait: str
    bin: str
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class SliceComparison:
    """A slice in metrics/plots/slices.csv; `low` and `high` are the ends of the interval of delta."""

    slice: str
    bin: str
    n: int
    base: float
    tuned: float
    delta: float
    low: float
    high: float
    p_holm: float


def by_number(trait: str, values: Numbers, n_bins: int) -> list[Slice]:
    """Cuts queries at the quantiles of their values, (n_queries,); equal values are never parted.

    Returns:
        At most n_bins slices, lowest first, called by the least and the greatest value in each. Where many values are
        equal there are fewer, of unequal size.
    """
    told: Numbers = np.round(values, 2)  # what is told apart is what is shown
    edges = np.unique(np.quantile(told, np.arange(1, n_bins) / n_bins, method="inverted_cdf"))
    place = np.searchsorted(edges, told, side="left")
    groups = [np.flatnonzero(place == number) for number in np.unique(place)]
    return [Slice(trait, _between(told[rows]), rows) for rows in groups]


def by_name(trait: str, values: Sequence[str], n_names: int) -> list[Slice]:
    """A slice for each of the most frequent values, in the order of the alphabet.

    Queries whose value is "" are in none. Nothing is sliced where all queries have the same value.
    """
    names, counts = np.unique([value for value in values if value], return_counts=True)
    if len(names) < 2:
        return []
    kept = sorted(names[np.argsort(-counts, kind="stable")][:n_names])
    return [Slice(trait, str(name), np.flatnonzero(np.asarray(values) == name)) for name in kept]


def by_trait(traits: Traits, n_bins: int, n_names: int) -> list[Slice]:
    """The slices of all traits, in their order."""
    found: list[Slice] = []
    for trait, values in traits.items():
        found += by_number(trait, values, n_bins) if isinstance(values, np.ndarray) else by_name(trait, values, n_names)
    return found


def compare_slices(
    slices: Sequence[Slice], base: Values, tuned: Values, resampling: Resampling, min_queries: int
) -> tuple[list[SliceComparison], int]:
    """Compares base and tuned on each slice.

    Args:
        slices: of the queries.
        base: (n_queries,) values of one measure.
        tuned: the same of tuned.
        resampling: of the intervals and the tests.
        min_queries: smaller slices are left out, two or more: they could show nothing, and each one that is looked at
            makes the others harder to prove. So are slices that hold all queries.

    Returns:
        The rows, and how many slices are left out because they are too small.
    """
    parts = [part for part in slices if len(part.rows) < len(base)]
    large = [part for part in parts if len(part.rows) >= min_queries]
    found = [compare({"": base[part.rows]}, {"": tuned[part.rows]}, *resampling)[""] for part in large]
    corrected = holm([comparison.p_value for comparison in found])
    rows = [
        SliceComparison(
            slice=part.trait,
            bin=part.bin,
            n=len(part.rows),
            base=float(base[part.rows].mean()),
            tuned=float(tuned[part.rows].mean()),
            delta=comparison.delta,
            low=comparison.ci_low,
            high=comparison.ci_high,
            p_holm=p,
        )
        for part, comparison, p in zip(large, found, corrected, strict=True)
    ]
    return rows, len(parts) - len(large)


def _between(values: Numbers) -> str:
    """The range of some values, in words."""
    low, high = (f"{value:.2f}" if values.dtype.kind == "f" else str(value) for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


Counts = NDArray[np.int64]
Shares = NDArray[np.float64]


def words(text: str) -> set[str]:
    """The distinct words of a text, as BM25 sees them; in scripts without spaces each character is one."""
    return {part for word in WORD.findall(text) for part in parts(word)}


def lengths(texts: Sequence[str]) -> Counts:
    """How many words each text has."""
    return np.array([len(WORD.findall(text)) for text in texts], dtype=np.int64)


def overlaps(texts: Sequence[str], answers: Sequence[Sequence[str]]) -> Shares:
    """Of each query's distinct words the share that a relevant document has, too; the largest where there are several.

    A query without words shares none.
    """
    shares = []
    for text, documents in zip(texts, answers, strict=True):
        asked = words(text)
        shares.append(max((len(asked & words(document)) / max(1, len(asked)) for document in documents), default=0.0))
    return np.array(shares, dtype=np.float64)


def unseen_words(texts: Sequence[str], seen: Iterable[str]) -> Counts:
    """How many distinct words of each query are in none of the texts that training saw."""
    vocabulary: set[str] = set().union(*map(words, seen))
    return np.array([len(words(text) - vocabulary) for text in texts], dtype=np.int64)


def sources(answers: Sequence[Sequence[str]]) -> list[str]:
    """Where each query's relevant documents come from: their ids up to the first slash, as in `folder/page.md`.

    "" where an id has no slash, or where the documents come from several sources.
    """
    found = [{id_.partition("/")[0] if "/" in id_ else "" for id_ in ids} for ids in answers]
    return [next(iter(source)) if len(source) == 1 else "" for source in found]


def relevant_ids(split: Path) -> dict[str, list[str]]:
    """The relevant documents of each query of a split, sorted."""
    qrels = read(split / "qrels.parquet", QRELS).filter(pl.col("relevance") > 0).sort("query_id", "document_id")
    return dict(qrels.group_by("query_id", maintain_order=True).agg("document_id").iter_rows())


def seen_texts(train: Path, texts: dict[str, str]) -> Iterable[str]:
    """What training reads of the domain: the train queries and the documents that answer them."""
    yield from read(train / "queries.parquet", CLUSTERED_QUERIES)["text"]
    answers = read(train / "qrels.parquet", QRELS).filter(pl.col("relevance") > 0)
    yield from (texts[id_] for id_ in answers["document_id"].unique(maintain_order=True))


def cluster_sizes(queries: pl.DataFrame, corpus: pl.DataFrame) -> dict[str, int]:
    """How many queries and documents each cluster holds."""
    members = pl.concat([queries["cluster_id"], corpus["cluster_id"]])
    return dict(members.value_counts().iter_rows())


def traits_of(query_ids: Sequence[str], raw: Path, prepared: Path, splits: Path) -> Traits:
    """The traits of some test queries, in their order, from their texts, answers and columns, and from training.

    Raises:
        BadInput: a table is missing or is not what its stage writes.
    """
    corpus = read(prepared / "corpus.parquet", CORPUS)
    documents = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
    answers = relevant_ids(splits / "test")
    ids = [answers.get(id_, []) for id_ in query_ids]
    asked = pl.DataFrame({"query_id": query_ids}, schema={"query_id": pl.String})
    asked = asked.join(read(splits / "test/queries.parquet", CLUSTERED_QUERIES), on="query_id", maintain_order="left")
    asked = asked.join(read_raw(raw)[1].select("query_id", "group"), on="query_id", how="left", maintain_order="left")
    sizes = cluster_sizes(read(prepared / "queries.parquet", CLUSTERED_QUERIES), corpus)
    texts = asked["text"].to_list()
    return {
        "query length": lengths(texts),
        "lexical overlap": overlaps(texts, [[documents[id_] for id_ in found] for found in ids]),
        "relevant documents": pl.Series([len(found) for found in ids], dtype=pl.Int64).to_numpy(),
        "unseen words": unseen_words(texts, seen_texts(splits / "train", documents)),
        "cluster size": asked["cluster_id"].replace_strict(sizes, return_dtype=pl.Int64).to_numpy(),
        "source": sources(ids),
        "group": asked["group"].fill_null("").to_list(),
        "stratum": asked["stratum"].to_list(),
    }
