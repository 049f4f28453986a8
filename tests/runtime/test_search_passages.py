"""Search of documents that are embedded in passages: best passage, distinct documents, saved and loaded."""

from pathlib import Path

import numpy as np
import pytest

from attune.errors import BadInput
from attune.runtime.passages import Hit
from attune.runtime.search import Search

VECTORS = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]], np.float32)
IDS, RANGES = ["a", "a", "b", "b"], [(0, 5), (6, 9), (0, 4), (5, 8)]
QUERY = np.array([[1, 0]], np.float32)


def test_a_document_is_found_once_by_its_best_passage(tmp_path: Path) -> None:
    """Both passages of a are nearer than those of b; the saved index says the same."""
    made = Search.build(VECTORS, IDS, passages=RANGES)
    made.save(tmp_path / "index")
    for search in (made, Search.load(tmp_path / "index")):
        assert len(search) == 2
        (hits,) = search.top_passages(QUERY, 2)
        assert hits == [Hit("a", 1.0, 0, 5), Hit("b", pytest.approx(0.6), 0, 4)]
        assert search.top(QUERY, 2) == [[("a", 1.0), ("b", pytest.approx(0.6))]]
        assert search.top_passages(QUERY[:, ::-1].copy(), 1) == [[Hit("b", 1.0, 5, 8)]]


def test_a_document_of_many_passages_takes_one_place() -> None:
    """The search goes deeper than the 300 nearest passages, which are all of one document."""
    vectors = np.repeat(np.array([[1, 0], [0, 1]], np.float32), [300, 1], axis=0)
    search = Search.build(vectors, ["a"] * 300 + ["b"], passages=[(0, 1)] * 301)
    assert search.top(QUERY, 5) == [[("a", 1.0), ("b", 0.0)]]


def test_whole_documents_have_no_range() -> None:
    """Without passages `top_passages` finds what `top` finds."""
    search = Search.build(VECTORS, list("abcd"))
    assert search.top_passages(QUERY, 1) == [[Hit("a", 1.0, None, None)]]


def test_each_row_needs_its_range() -> None:
    """Fewer ranges than rows are refused."""
    with pytest.raises(ValueError, match="3 passages for 4 rows"):
        Search.build(VECTORS, IDS, passages=RANGES[:3])


def test_damaged_ranges_are_refused(tmp_path: Path) -> None:
    """Ranges of another index do not load."""
    Search.build(VECTORS, IDS, passages=RANGES).save(tmp_path / "index")
    (tmp_path / "index" / "passages.json").write_text("[]")
    with pytest.raises(BadInput, match=r"passages.json: sha256"):
        Search.load(tmp_path / "index")
