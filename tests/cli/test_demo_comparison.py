"""Paired search of one corpus: order, ranks by the other system, changes of rank."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shipped_params import PANEL

from attune.cli.demo.comparison import (
    MAX_QUERY,
    PairedSearch,
    SearchSystem,
    valid_query,
    with_bm25,
)
from attune.cli.demo.hits import Hit, direction, rank_change
from attune.errors import BadInput
from attune.runtime.passages import Hit as Found
from attune.runtime.search import Search

IDS = ["a", "b", "c", "d"]
ROOT = Path(__file__).resolve().parents[2]


def system(name: str, scores: list[float]) -> SearchSystem:
    """A system with these scores of the documents a, b, c, d for every query."""
    vectors = np.array([[score] for score in scores], dtype=np.float32)
    index = Search.build(vectors, IDS)
    return SearchSystem(name, "numpy", lambda texts: np.ones((len(texts), 1), dtype=np.float32), index)


def two(depth: int) -> PairedSearch:
    """Base ranks a b c d, tuned c a b d; b answers the query `judged`."""
    systems = (system("base", [0.9, 0.8, 0.7, 0.1]), system("tuned", [0.5, 0.4, 0.6, 0.1]))
    return PairedSearch(systems, {id_: (f"title {id_}", f"text {id_}") for id_ in IDS}, {"judged": {"b"}}, depth)


def test_each_hit_has_its_ranks_by_both_systems() -> None:
    """By hand: the two best of each, all within a depth of three."""
    paired = two(3).search("judged", 2)
    shown = [
        [(hit.rank, hit.document_id, hit.base_rank, hit.tuned_rank) for hit in side.hits] for side in paired.systems
    ]
    assert shown == [[(1, "a", 1, 2), (2, "b", 2, 3)], [(1, "c", 3, 1), (2, "a", 1, 2)]]
    assert [side.system for side in paired.systems] == ["base", "tuned"]
    assert [hit.score for hit in paired.systems[1].hits] == pytest.approx([0.6, 0.5])
    assert paired.systems[0].hits[0].title == "title a" and paired.systems[0].hits[0].text == "text a"


def test_only_answers_to_this_query_are_marked() -> None:
    """A query that was not judged has no answers to mark."""
    searches = two(3)
    marked = [[hit.document_id for hit in side.hits if hit.is_answer] for side in searches.search("judged", 3).systems]
    assert marked == [["b"], ["b"]]
    assert not any(hit.is_answer for side in searches.search("not judged", 3).systems for hit in side.hits)


def test_a_document_below_the_depth_has_no_rank() -> None:
    """At a depth of two, c is tuned's first and below base's depth; more results than that raise the depth."""
    paired = two(2).search("x", 1)
    assert paired.systems[1].hits[0].base_rank is None and paired.depth == 2
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
def test_a_change_of_rank_is_described_from_base_to_tuned(
    base: int | None, tuned: int | None, words: str, way: str
) -> None:
    """The words are the same in both columns."""
    hit = Hit(base or tuned or 0, "d", "", "", 0.5, base, tuned, is_answer=False)
    assert rank_change(hit, 100) == words
    assert direction(hit) == way


@given(st.permutations(range(6)), st.permutations(range(6)), st.integers(1, 6), st.integers(1, 6))
def test_ranks_by_the_other_system_are_those_of_its_own_list(
    first: list[int], second: list[int], k: int, depth: int
) -> None:
    """For any two orders, down to the depth."""

    class Order:
        def __init__(self, order: list[int]) -> None:
            self.order = order

        def top_passages(self, queries: object, k: int) -> list[list[Found]]:
            return [[Found(str(id_), -float(place), None, None) for place, id_ in enumerate(self.order[:k])]]

    systems = tuple(
        SearchSystem(str(order), "", lambda texts: np.ones((1, 1)), Order(order)) for order in (first, second)
    )
    paired = PairedSearch(systems, {str(i): ("", "") for i in range(6)}, {}, depth).search("q", k)  # type: ignore[arg-type]
    for side in paired.systems:
        assert [hit.rank for hit in side.hits] == list(range(1, k + 1))
        for hit in side.hits:
            for rank, order in ((hit.base_rank, first), (hit.tuned_rank, second)):
                place = order.index(int(hit.document_id)) + 1
                assert rank == (place if place <= max(k, depth) else None)


@pytest.mark.parametrize(
    ("query", "why"), [(" \n", "empty"), ("x" * (MAX_QUERY + 1), "2001 char"), ("\ud800", "Unicode")]
)
def test_a_query_that_cannot_be_encoded_is_refused(query: str, why: str) -> None:
    """Empty, too long, or a lone surrogate; space around a query is stripped."""
    with pytest.raises(BadInput, match=why):
        valid_query(query)
    assert valid_query("  x ") == "x"


def test_a_hit_shows_the_passage_that_matched() -> None:
    """The text of a hit is the range of its best passage, without the title, which stands beside it."""
    text = "one two. three four."
    whole = f"title {text}"
    index = Search.build(np.eye(2, dtype=np.float32), ["a", "a"], passages=[(0, 15), (15, len(whole))])
    systems = [
        SearchSystem(name, "", lambda _texts, vector=vector: np.array([vector], np.float32), index)
        for name, vector in (("base", [1, 0]), ("tuned", [0, 1]))
    ]
    found = PairedSearch((systems[0], systems[1]), {"a": ("title", text)}, {}, 3).search("q", 3)
    assert [[hit.text for hit in side.hits] for side in found.systems] == [["one two. "], ["three four."]]


def test_a_fused_ranking_takes_the_place_of_the_system_s_own(tmp_path: Path) -> None:
    """BM25 alone finds d, by its word; ranks and weighted scores computed by hand put it second and third."""
    corpus = pl.DataFrame({"document_id": IDS, "title": [""] * 4, "text": ["one", "two", "three", "rare words"]})
    for name in ("params.yaml", "advanced.yaml"):
        shutil.copy(PANEL.with_name(name), tmp_path)
    (tmp_path / "metrics").mkdir()
    receipts = {
        "bm25": {"language": "none"},
        "hybrid_base": {"fusion": "reciprocal ranks", "weighted_scores_dense_weight": 0.5},
    }
    receipts["hybrid_tuned"] = {"fusion": "weighted scores", "weighted_scores_dense_weight": 0.9}
    for name, receipt in receipts.items():
        (tmp_path / f"metrics/{name}.json").write_text(json.dumps(receipt))
    by_ranks, by_scores = with_bm25(tmp_path, corpus, ("base", "tuned"))
    ranking = [Found(id_, score, 0, 3) for id_, score in (("a", 0.9), ("b", 0.5), ("c", 0.1))]
    assert [(hit.document_id, round(hit.score, 4)) for hit in by_ranks("rare", ranking, 10)] == [
        *(("a", round(1 / 61, 4)), ("d", round(1 / 61, 4)), ("b", round(1 / 62, 4)), ("c", round(1 / 63, 4))),
    ]
    assert [(hit.document_id, round(hit.score, 4)) for hit in by_scores("rare", ranking, 3)] == [
        *(("a", 0.9), ("b", 0.45), ("d", 0.1)),
    ]
    first, _, third = by_scores("rare", ranking, 3)
    assert (first.start, first.stop) == (0, 3) and (third.start, third.stop) == (None, None)
    system_of_base = replace(system("base", [0.9, 0.5, 0.1, 0.0]), fuse=by_scores)
    assert [
        hit.document_id
        for hit in PairedSearch((system_of_base, system_of_base), dict.fromkeys(IDS, ("", "text")), {}, 4)
        .search("rare", 2)
        .systems[0]
        .hits
    ] == ["a", "b"]
