"""Paraphrases: merged by what they say, and kept only where they test nothing but understanding."""

import pytest

from attune.data.splitting.paraphrases import Asked, Paraphrase, hold_out, merge

SPLIT_OF = {"d0": "train", "d1": "test", "d2": "test", "d3": "dev"}
TEXTS = {"d0": "first thing", "d1": "second thing, and the way it is done", "d2": "third thing", "d3": "fourth"}
ASKED = [
    Asked("q0", "how do I get the first thing", "train"),
    Asked("q1", "how do I get the second thing", "test"),
    Asked("q3", "please let me have the fourth", "dev"),
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
def test_each_reason_by_hand(text: str, documents: list[str], reason: str | None) -> None:
    kept, dropped = hold_out([Paraphrase("p", text, documents)], ASKED, SPLIT_OF, TEXTS, 1, 0.8)
    assert [row.query_id for row in kept] == ([] if reason else ["p"])
    assert {name: n for name, n in dropped.items() if n} == ({reason: 1} if reason else {})


def test_what_reads_the_same_is_one_with_the_documents_of_all_and_their_twins() -> None:
    texts = [("p0", "The thing"), ("p1", "the  THING"), ("p2", "another")]
    answers = [("p0", "d0"), ("p1", "d2"), ("p2", "d3")]
    duplicate_of = {"d0": "d0", "d1": "d0", "d2": "d2", "d3": "d3"}
    assert merge(texts, answers, duplicate_of) == [
        Paraphrase("p0", "The thing", ["d0", "d1", "d2"]),
        Paraphrase("p2", "another", ["d3"]),
    ]


def test_a_paraphrase_without_an_answer_is_none() -> None:
    assert merge([("p0", "the thing")], [], {}) == []
