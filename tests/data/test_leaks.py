"""Leak audit by words: planted leaks are found and counted by kind, and too many are an error."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.data.splitting.leaks import Texts, count, lexical_leaks
from attune.errors import BadInput
from attune.retrieval.words import WORD
from attune.tables import LEXICAL, Leak


def texts(what: str, *rows: tuple[str, str, str]) -> Texts:
    """Rows of (split, id, text)."""
    splits, ids, contents = zip(*rows, strict=True)
    return Texts(what, np.array(splits), ids, contents)


def test_planted_leaks_are_named_with_what_they_match() -> None:
    """Two exact queries (one differs in case only), one near query, which matches the more similar of two."""
    words = "one two three four five six seven eight nine ten"
    found = lexical_leaks(
        texts(
            "queries",
            ("train", "t1", "How to sort?"),
            ("train", "t2", "sum of rows"),
            ("train", "t3", words.replace("ten", "thirteen")),
            ("dev", "v1", words),
            ("test", "h1", "how to SORT"),
            ("test", "h2", "Sum of rows"),
            ("test", "h3", words + " eleven"),
            ("test", "h4", "something else entirely"),
        ),
        width=1,
        threshold=0.8,
    )
    assert [leak[:4] for leak in found] == [
        ("dev", "near_queries", "v1", "t3"),
        ("test", "exact_queries", "h1", "t1"),
        ("test", "exact_queries", "h2", "t2"),
        ("test", "near_queries", "h1", "t1"),
        ("test", "near_queries", "h2", "t2"),
        ("test", "near_queries", "h3", "v1"),
    ]
    assert [leak.similarity for leak in found] == pytest.approx([9 / 11, 1, 1, 1, 1, 10 / 11])


def test_a_document_in_two_splits_is_shared_and_its_copy_exact() -> None:
    """A copy of other case and punctuation is exact; exact documents are near, too."""
    found = lexical_leaks(
        texts(
            "documents",
            ("train", "a", "unlike all others here"),
            ("test", "a", "unlike all others here"),
            ("test", "copy", "Unlike all others here."),
            ("test", "b", "nothing of the kind"),
        ),
        width=2,
        threshold=0.8,
    )
    kinds = {kind: [leak.leaked_id for leak in found if leak.kind == kind] for kind in LEXICAL}
    copies = ["a", "copy"]
    expected = {"shared_documents": ["a"], "exact_documents": copies, "near_documents": copies}
    assert kinds == {kind: [] for kind in LEXICAL} | expected


rows = st.lists(st.tuples(st.sampled_from(["train", "dev", "test"]), st.text("abc ", max_size=12)), max_size=24)


@given(rows)
@settings(max_examples=200, deadline=None)
def test_near_leaks_agree_with_the_definition_pair_by_pair(rows: list[tuple[str, str]]) -> None:
    """Against a plain double loop over sets of words; a text without words matches nothing."""

    def similarity(one: str, other: str) -> float:
        a, b = set(WORD.findall(one)), set(WORD.findall(other))
        return len(a & b) / len(a | b) if a and b else 0.0

    seen = {"dev": ("train",), "test": ("train", "dev")}
    best = {
        (split, str(row)): max((similarity(text, other) for of, other in rows if of in seen[split]), default=0.0)
        for row, (split, text) in enumerate(rows)
        if split in seen
    }
    all_texts = Texts(
        "queries", np.array([r[0] for r in rows], dtype=str), [str(i) for i in range(len(rows))], [r[1] for r in rows]
    )
    found = [leak for leak in lexical_leaks(all_texts, 1, 0.5) if leak.kind == "near_queries"]
    assert {(leak.split, leak.leaked_id): leak.similarity for leak in found} == pytest.approx(
        {key: value for key, value in best.items() if value >= 0.5}
    )


def test_too_many_leaks_stop_the_pipeline_and_the_first_is_named() -> None:
    """At the limit leaks are counted, above it the message gives count, share and limit."""
    found = [Leak("test", "near_queries", "h1", "t9", 0.9)]
    sizes = {f"{what}.{split}": 10 for what in ("queries", "documents") for split in ("train", "dev", "test")}
    counted = count(found, LEXICAL, sizes, 0.1, "split.max_leak_share")
    assert counted == {f"{split}_leaks.{kind}": 0 for split in ("dev", "test") for kind in LEXICAL} | {
        "test_leaks.near_queries": 1
    }
    line = r"^1 near_queries of test \(10.0%\) .* 'h1' like 't9'\), allowed 9.0% \(.*: split.max_leak_share\); remove"
    with pytest.raises(BadInput, match=line):
        count(found, LEXICAL, sizes, 0.09, "split.max_leak_share")
