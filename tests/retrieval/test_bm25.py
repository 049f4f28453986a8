"""BM25 ranks by Lucene's formula, splits identifiers, and never ranks a document without a word of the query."""

from math import log

import numpy as np
import pytest

from attune.errors import BadInput
from attune.retrieval.bm25 import K1, B, bm25_top_k, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Return the sum.", ["return", "the", "sum"]),
        ("np.arg_max(axis=-1)", ["np", "arg", "max", "axis", "1"]),
        ("DataFrame", ["data", "frame", "dataframe"]),
        ("parseHTMLDocument", ["parse", "html", "document", "parsehtmldocument"]),
        ("log10 of x2", ["log10", "of", "x2"]),
        ("Çok güzel, naïve!", ["çok", "güzel", "naïve"]),
        ("_ -- ()", []),
        ("", []),
    ],
)
def test_words_of_prose_and_code(text: str, expected: list[str]) -> None:
    """Identifiers are split at underscores and case; mixed case keeps the whole too."""
    assert words(text) == expected


def test_scores_are_those_of_the_formula() -> None:
    """Two matching documents of different length, by hand."""
    documents = ["red apple", "red red car on a road", "blue sky"]
    scores, rows = bm25_top_k(["red"], documents, k=3)
    idf = log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    mean_length = (2 + 6 + 2) / 3

    def score(frequency: int, length: int) -> float:
        return idf * frequency / (frequency + K1 * (1 - B + B * length / mean_length))

    assert rows.tolist() == [[0, 1, -1]]
    assert scores[0, :2].tolist() == pytest.approx([score(1, 2), score(2, 6)], abs=1e-6)


def test_equal_scores_go_to_the_earlier_row_even_at_the_cut_off() -> None:
    """Fifty equal documents, of which the first four are returned."""
    documents = ["other", *["same words"] * 50, "same words words"]
    _, rows = bm25_top_k(["same"], documents, k=4)
    assert rows.tolist() == [[1, 2, 3, 4]]


def test_ties_all_over_the_ranking_are_ordered_by_row() -> None:
    """2000 documents of five texts, ranked as a whole."""
    rng = np.random.default_rng(0)
    documents = rng.choice(["red", "red car", "red red car", "a red car", "blue"], size=2000).tolist()
    scores, rows = bm25_top_k(["red car"], documents, k=2000)
    ranked = [(-score, row) for score, row in zip(scores[0], rows[0], strict=True) if row >= 0]
    assert ranked == sorted(ranked)
    assert len(ranked) == 2000 - documents.count("blue")


@pytest.mark.parametrize("query", ["", "!?", "unheard"])
def test_a_query_that_matches_nothing_ranks_nothing(query: str) -> None:
    """Empty, without words, or with unknown words only: rows are -1, scores 0."""
    scores, rows = bm25_top_k([query, "red"], ["red apple", "blue sky"], k=5)
    assert rows.tolist() == [[-1, -1], [0, -1]]
    assert scores[0].tolist() == [0, 0]


def test_a_corpus_without_words_is_refused() -> None:
    """The error names the number of documents."""
    with pytest.raises(BadInput, match="none of the 2 documents has a word"):
        bm25_top_k(["red"], ["", "--"], k=1)
