"""The audit of the splits counts what it should, and is able to fail."""

from hypothesis import given, settings
from hypothesis import strategies as st

from attune.clusters import shingles
from attune.leaks import Side, audit, exact_matches, near_matches


def test_the_audit_counts_planted_leaks_by_kind() -> None:
    """Two exact queries (one differs in case only), one near query, one shared document, one near document."""
    words = "one two three four five six seven eight nine ten".split()
    train = Side(
        queries=["How to sort?", "sum of rows", " ".join(words)],
        document_ids=["d1", "d2"],
        documents=["unlike all others here", " ".join(words)],
    )
    held_out = Side(
        queries=["how to SORT", "Sum of rows", " ".join([*words[:-1], "eleven"]), "something else entirely"],
        document_ids=["d1", "d9"],
        documents=["unlike all others here", " ".join([*words, "eleven"])],
    )
    assert audit(held_out, train, (1, 2), (0.8, 0.8)) == {
        "exact_queries": 2,
        "near_queries": 3,  # nine of eleven words: .818
        "shared_documents": 1,
        "exact_documents": 1,
        "near_documents": 2,  # nine of ten bigrams: .9
    }


@given(st.lists(st.text("abc ", max_size=12), max_size=12), st.lists(st.text("abc ", max_size=12), max_size=12))
@settings(max_examples=150, deadline=None)
def test_near_matches_agree_with_the_definition_pair_by_pair(texts: list[str], others: list[str]) -> None:
    """Against a plain double loop over sets; a text without words matches nothing."""

    def alike(one: str, other: str) -> bool:
        a, b = shingles(one, 1), shingles(other, 1)
        return bool(a and b) and len(a & b) / len(a | b) >= 0.5

    expected = sum(any(alike(text, other) for other in others) for text in texts)
    assert near_matches(texts, others, 1, 0.5) == expected
    assert exact_matches(texts, texts) == len(texts)
