"""Comparison across roles: exactly the queries that are, or nearly are, a document, by the definition pair by pair."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.data.splitting import crossing
from attune.data.splitting.clusters import components, normalise
from attune.data.splitting.crossing import Readings, compare_roles, equal_titles
from attune.data.splitting.similarity import alike
from attune.retrieval.words import WORD

some_texts = st.lists(st.text("abc .", max_size=10), max_size=10)


def is_like(one: str, other: str, threshold: float) -> bool:
    """The definition: equal when normalised, or sets of words of at least this Jaccard similarity."""
    a, b = set(WORD.findall(one)), set(WORD.findall(other))
    return normalise(one) == normalise(other) or bool(a and b and len(a & b) / len(a | b) >= threshold)


@given(some_texts, some_texts, st.sampled_from([0.4, 0.6, 0.8, 1.0]))
@settings(max_examples=300, deadline=None)
def test_the_same_texts_are_connected_as_by_all_pairs(queries: list[str], documents: list[str], low: float) -> None:
    """Every pair is a true one, every document like a query has one, and the components are those of all pairs."""
    n = len(queries)
    roles = compare_roles(queries, documents, 1, low)
    found = roles.crossings()
    expected = np.array(
        [(q, d) for q in range(n) for d in range(len(documents)) if is_like(queries[q], documents[d], low)],
        dtype=np.int64,
    ).reshape(-1, 2)
    assert {tuple(pair) for pair in found.tolist()} <= {tuple(pair) for pair in expected.tolist()}
    assert set(found[:, 1].tolist()) == set(expected[:, 1].tolist())
    among = alike(queries, 1, low).edges()
    assert roles.queries.edges().tolist() == among.tolist()
    size = n + len(documents)
    labels = [
        components(size, np.concatenate([among, pairs + np.array([0, n])])) if size else None
        for pairs in (found, expected)
    ]
    assert np.array_equal(labels[0], labels[1])


def test_documents_too_long_to_be_similar_are_not_compared() -> None:
    """Of a query of four words: at .8 those without four or five distinct ones, at .75 those without three to five."""
    documents = ["a b c", "a b c d", "a b c d e", "a b c d e f", "a a a a b b b c c c d", "..."]
    assert compare_roles(["a b c x"], documents, 1, 0.8).documents.tolist() == [1, 2, 4]
    assert compare_roles(["a b c x"], documents, 1, 0.75).documents.tolist() == [0, 1, 2, 4]
    assert compare_roles(["!", "a b c x"], documents, 1, 0.8).documents.tolist() == [1, 2, 4, 5]
    assert compare_roles([], documents, 1, 0.8).documents.tolist() == []


@given(some_texts, some_texts, st.sampled_from([1, 2, 3]), st.sampled_from([0.4, 0.8]))
@settings(max_examples=200, deadline=None)
def test_no_document_of_a_fitting_size_is_left_out(
    queries: list[str], documents: list[str], width: int, low: float
) -> None:
    """For any width and however few characters are read at first: all documents similar to some query are compared."""
    both = alike([*queries, *documents], width, low)
    n = len(queries)
    edges = np.concatenate([both.edges(), np.stack([both.first, np.arange(len(both.first))], axis=1)])
    of_set = {row: int(both.first[row]) for row in range(len(both.first))}
    like = {tuple(pair) for pair in edges.tolist()}
    needed = {
        row - n
        for row in range(n, len(both.first))
        if any((of_set[query], of_set[row]) in like or of_set[query] == of_set[row] for query in range(n))
    }
    for characters in (1, 9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(crossing, "CHARACTERS_PER_WORD", characters)
            assert needed <= set(compare_roles(queries, documents, width, low).documents.tolist())


def test_pairs_of_two_documents_cost_nothing() -> None:
    """Ten thousand titles of one template, nine words of ten the same: none is compared with another."""
    chance = random.Random(1)
    documents = [f"the quick brown fox jumps over a lazy dog {i}" for i in range(10_000)]
    queries = ["the quick brown fox jumps over a lazy cat 7"]
    chance.shuffle(documents)
    roles = compare_roles(queries, documents, 1, 0.8)
    assert len(roles.both.low) == 1  # 9 of 11 words
    assert [documents[row] for _, row in roles.crossings().tolist()] == ["the quick brown fox jumps over a lazy dog 7"]


def test_many_equal_labels_cost_a_pair_each() -> None:
    """1,000 copies of a document beside 1,000 distinct queries that are like it: 1,999 pairs, not a million."""
    label = " ".join(f"word{i}" for i in range(20))
    queries = [f"{label} x{i}" for i in range(1000)]
    found = compare_roles(queries, [label] * 1000, 1, 0.8).crossings()
    assert len(found) == 1999
    assert len(np.unique(found[:, 0])) == len(np.unique(found[:, 1])) == 1000


def test_a_document_is_read_with_its_title_and_without() -> None:
    """Full texts come first; a document without a title, or without a body, is read once."""
    readings = Readings.of(["", "T", "U", " "], ["a", "b", "", "c"])
    assert list(readings.texts) == ["a", "T b", "U", "c", "b"]
    assert readings.rows.tolist() == [0, 1, 2, 3, 1]


def test_pairs_of_texts_are_pairs_of_documents_once() -> None:
    """A query that is like a document with its title and without has one pair with it; of none there is none."""
    words = " ".join(f"word{i}" for i in range(9))
    readings = Readings.of(["", "Lamps", "Lamps and other things in the cellar"], ["unlike", words, words])
    roles = compare_roles([words.upper(), "something"], readings.texts, 1, 0.8)
    assert len(roles.crossings()) == 3
    assert readings.of_documents(roles.crossings()).tolist() == [[0, 1], [0, 2]]
    nothing = compare_roles(["something"], readings.texts, 1, 0.8).crossings()
    assert readings.of_documents(nothing).shape == (0, 2)


def test_titles_are_compared_by_equality() -> None:
    """Case and final marks do not count, a word more does; an empty title is no text."""
    titles = ["", "Reset my password", "reset my password now", "RESET my password?"]
    assert equal_titles(["", "Reset my password!?", "other"], titles).tolist() == [[1, 1], [1, 3]]
    assert equal_titles([], titles).shape == (0, 2)


def test_bodies_of_long_documents_cost_nothing() -> None:
    """Ten thousand titled documents that are longer than any query: no text of theirs is compared."""
    body = " ".join(f"word{i}" for i in range(30))
    readings = Readings.of([f"Title {i}" for i in range(10_000)], [f"{body} {i}" for i in range(10_000)])
    assert compare_roles(["how to sort", "rows of a table"], readings.texts, 1, 0.8).documents.tolist() == []
