"""Two rankings of one corpus beside each other: order, ranks by the other system, and how a document moved."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.cli.demo.comparison import MAX_QUERY, Hit, SideBySide, System, checked, direction, moved
from attune.errors import BadInput
from attune.runtime.search import Search

IDS = ["a", "b", "c", "d"]


def system(name: str, scores: list[float]) -> System:
    """A system that scores the documents a, b, c, d so, whatever the query."""
    vectors = np.array([[score] for score in scores], dtype=np.float32)
    index = Search.build(vectors, IDS)
    return System(name, "numpy", lambda texts: np.ones((len(texts), 1), dtype=np.float32), index)


def two(depth: int) -> SideBySide:
    """Base ranks a b c d, tuned c a b d; b answers the query `asked`."""
    systems = (system("base", [0.9, 0.8, 0.7, 0.1]), system("tuned", [0.5, 0.4, 0.6, 0.1]))
    return SideBySide(systems, {id_: (f"title {id_}", f"text {id_}") for id_ in IDS}, {"asked": {"b"}}, depth)


def test_each_hit_has_its_ranks_by_both_systems() -> None:
    """Worked out by hand; the two best of each are shown, the depth of three is enough to place them all."""
    found = two(3).search("asked", 2)
    shown = [
        [(hit.rank, hit.document_id, hit.base_rank, hit.tuned_rank) for hit in side.hits] for side in found.systems
    ]
    assert shown == [[(1, "a", 1, 2), (2, "b", 2, 3)], [(1, "c", 3, 1), (2, "a", 1, 2)]]
    assert [side.system for side in found.systems] == ["base", "tuned"]
    assert [hit.score for hit in found.systems[1].hits] == pytest.approx([0.6, 0.5])
    assert found.systems[0].hits[0].title == "title a" and found.systems[0].hits[0].text == "text a"


def test_only_what_was_judged_an_answer_to_this_query_is_marked() -> None:
    """An unjudged query has no answers, and then nothing is marked."""
    sides = two(3)
    marked = [[hit.document_id for hit in side.hits if hit.is_answer] for side in sides.search("asked", 3).systems]
    assert marked == [["b"], ["b"]]
    assert not any(hit.is_answer for side in sides.search("not asked", 3).systems for hit in side.hits)


def test_a_document_below_the_depth_has_no_rank() -> None:
    """Two are looked at: c is tuned's first and base's third. Asking for more results looks deeper."""
    found = two(2).search("x", 1)
    assert found.systems[1].hits[0].base_rank is None and found.depth == 2
    deeper = two(2).search("x", 4)
    assert deeper.depth == 4
    assert {hit.document_id: hit.base_rank for hit in deeper.systems[1].hits} == {"c": 3, "a": 1, "b": 2, "d": 4}


@pytest.mark.parametrize(
    ("base", "tuned", "words", "way"),
    [
        (4, 1, "up 3, from 4 to 1", "up"),
        (1, 12, "down 11, from 1 to 12", "down"),
        (2, 2, "same rank", "same"),
        (None, 1, "up, from below 100 to 1", "up"),
        (3, None, "down, from 3 to below 100", "down"),
    ],
)
def test_movement_is_told_from_base_to_tuned(base: int | None, tuned: int | None, words: str, way: str) -> None:
    """In either column the same words, for it is the same document."""
    hit = Hit(base or tuned or 0, "d", "", "", 0.5, base, tuned, is_answer=False)
    assert moved(hit, 100) == words
    assert direction(hit) == way


@given(st.permutations(range(6)), st.permutations(range(6)), st.integers(1, 6), st.integers(1, 6))
def test_ranks_by_the_other_system_are_those_of_its_own_list(
    first: list[int], second: list[int], k: int, depth: int
) -> None:
    """Any two orders: what one side says of the other is what the other says of itself, down to the depth."""

    class Order:
        def __init__(self, order: list[int]) -> None:
            self.order = order

        def top(self, queries: object, k: int) -> list[list[tuple[str, float]]]:
            return [[(str(id_), -float(place)) for place, id_ in enumerate(self.order[:k])]]

    systems = tuple(System(str(order), "", lambda texts: np.ones((1, 1)), Order(order)) for order in (first, second))
    found = SideBySide(systems, {str(i): ("", "") for i in range(6)}, {}, depth).search("q", k)  # type: ignore[arg-type]
    for ranking in found.systems:
        assert [hit.rank for hit in ranking.hits] == list(range(1, k + 1))
        for hit in ranking.hits:
            for rank, order in ((hit.base_rank, first), (hit.tuned_rank, second)):
                place = order.index(int(hit.document_id)) + 1
                assert rank == (place if place <= max(k, depth) else None)


@pytest.mark.parametrize(
    ("query", "why"), [(" \n", "empty"), ("x" * (MAX_QUERY + 1), "2001 char"), ("\ud800", "Unicode")]
)
def test_a_query_that_cannot_be_encoded_is_refused(query: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        checked(query)
    assert checked("  x ") == "x"
