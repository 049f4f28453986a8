"""Paraphrases: merged by text, and kept only where they neither leak nor repeat their document."""

import pytest

from attune.data.splitting.paraphrases import Paraphrase, SplitQuery, merge_paraphrases, usable

SPLIT_OF = {"d0": "train", "d1": "test", "d2": "test", "d3": "dev"}
TEXTS = {"d0": "first thing", "d1": "second thing, and the way it is done", "d2": "third thing", "d3": "fourth"}
QUERIES = [
    SplitQuery("q0", "how do I get the first thing", "train"),
    SplitQuery("q1", "how do I get the second thing", "test"),
    SplitQuery("q3", "please let me have the fourth", "dev"),
]


@pytest.mark.parametrize(
    ("text", "documents", "reason"),
    [
        ("some words nobody else has used", ["d1"], None),
        ("some words nobody else has used", ["d1", "d2"], None),
        ("some words nobody else has used", ["d0"], "not_test"),
        ("some words nobody else has used", ["d1", "d3"], "not_test"),
        ("How do I get the first thing?", ["d1"], "near_seen_query"),
        ("Please, let me have the fourth", ["d1"], "near_seen_query"),
        ("how do I get the second thing", ["d1"], "near_test_query"),
        ("The way it is done", ["d1"], "in_document"),
        ("The way it is done", ["d2"], None),
    ],
)
def test_each_reason_to_drop_a_paraphrase(text: str, documents: list[str], reason: str | None) -> None:
    """Relevant outside test, near a query of train or dev, near one of test, or word for word in its document."""
    kept, dropped = usable([Paraphrase("p", text, documents)], QUERIES, SPLIT_OF, TEXTS, 1, 0.8)
    assert [row.query_id for row in kept] == ([] if reason else ["p"])
    assert {name: n for name, n in dropped.items() if n} == ({reason: 1} if reason else {})


def test_equal_paraphrases_are_merged_with_the_documents_of_all() -> None:
    """Case and layout do not count; near-identical documents are added."""
    texts = [("p0", "The thing"), ("p1", "the  THING"), ("p2", "another")]
    answers = [("p0", "d0"), ("p1", "d2"), ("p2", "d3")]
    duplicate_of = {"d0": "d0", "d1": "d0", "d2": "d2", "d3": "d3"}
    assert merge_paraphrases(texts, answers, duplicate_of) == [
        Paraphrase("p0", "The thing", ["d0", "d1", "d2"]),
        Paraphrase("p2", "another", ["d3"]),
    ]


def test_a_paraphrase_without_a_relevant_document_is_dropped() -> None:
    """Nothing could be found for it."""
    assert merge_paraphrases([("p0", "the thing")], [], {}) == []
