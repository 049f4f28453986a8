"""Ranking on dev, tests on the best two, Holm over all, and the sentences that answer."""

import numpy as np
import pytest

from attune.cli.compare.interface import Room
from attune.cli.compare.ranking import RANKED, TESTED, Values, compare_all, ranked, room_of, room_sentence, switching
from attune.evaluation.scoring.measures import MEASURES, measure
from attune.evaluation.statistics.holm import holm
from attune.evaluation.statistics.significance import compare
from attune.runtime.arrays import Int64

N = 60
ALONE = np.arange(N)


def values(share: float, seed: int = 0) -> Values:
    """Scores that are 1 for a share of the queries, in the same order of queries for all systems of a seed."""
    order = np.random.default_rng(seed).permutation(N)
    return dict.fromkeys(MEASURES, (order < round(share * N)).astype(np.float64))


DEV = {"base": values(0.4), "near": values(0.42), "far": values(0.8), "tuned": values(0.9)}


def test_all_comparisons_are_one_family() -> None:
    """Each but tuned, which dev chose, against base on dev; the best two in three measures on test; Holm over five."""
    assert ranked(DEV) == ["tuned", "far", "near", "base"]
    test = {"tuned": values(0.7, 1), "far": values(0.6, 1)}
    rows = compare_all(DEV, ALONE, test, ALONE, ["tuned"], 0.95)
    places = [(row.split, row.system, row.against, row.measure) for row in rows]
    assert places == [
        ("dev", "near", "base", RANKED),
        ("dev", "far", "base", RANKED),
        *(("test", "tuned", "far", name) for name in TESTED),
    ]
    assert [row.p_holm for row in rows] == holm([row.p for row in rows])
    assert max(row.p_holm / row.p for row in rows) == pytest.approx(5)
    alone = compare({RANKED: DEV["base"][RANKED]}, {RANKED: DEV["far"][RANKED]}, ALONE, 0.95)[RANKED]
    far = rows[1]
    assert (far.delta, far.ci_low, far.ci_high, far.p) == (alone.delta, alone.ci_low, alone.ci_high, alone.p_value)
    assert (far.delta, far.wins, far.ties, far.losses) == (pytest.approx(0.4), 24, 36, 0)


def test_clusters_are_what_is_tested() -> None:
    """The same queries in ten clusters have a larger p-value than alone."""
    pair = {"base": values(0.4), "far": values(0.6)}
    alone, together = (compare_all(pair, own, pair, ALONE, [], 0.95)[0] for own in (ALONE, ALONE // 6))
    assert together.p > alone.p


@pytest.mark.parametrize(
    ("dev", "test", "begins"),
    [
        ((0.4, 0.8), (0.4, 0.8), "Would switching do? Yes: far is better than base on test: ndcg@10 +0.400 (+0."),
        ((0.4, 0.8), (0.8, 0.4), "Would switching do? No: far is worse than base on test: ndcg@10 -0.400 (-0."),
        (
            (0.8, 0.4),
            (0.5, 0.5),
            "Would switching do? Cannot tell: far is neither certainly better nor certainly worse than base on test: "
            "ndcg@10 +0.000 (-0.",
        ),
        ((0.8, 0.4), (0.8, 0.4), "Would switching do? No: far is worse than base on test: ndcg@10 -0.400 (-0."),
    ],
)
def test_the_answer_is_tests_where_base_is_one_of_the_two(
    dev: tuple[float, float], test: tuple[float, float], begins: str
) -> None:
    """Whichever of the two dev ranks first, the sentence says the rival less base, by interval and test."""
    on_dev, on_test = ({"base": values(own[0]), "far": values(own[1])} for own in (dev, test))
    rows = compare_all(on_dev, ALONE, {name: on_test[name] for name in ranked(on_dev)}, ALONE, [], 0.95)
    (line,) = switching(rows, 0.95)
    assert line.startswith(begins) and line.endswith("Holm's correction over 4 comparisons.")


def test_without_base_on_test_dev_answers_and_says_so() -> None:
    """Two better rivals: dev says that the first beats base; test says which of the two is better, if any."""
    dev = {"base": values(0.2), "one": values(0.8), "other": values(0.7)}
    rows = compare_all(dev, ALONE, {"one": values(0.5, 1), "other": values(0.5, 1)}, ALONE, [], 0.95)
    first, second = switching(rows, 0.95)
    assert first.startswith("Would switching do? Yes: one is better than base on dev, which also ranked it first: ")
    assert second.startswith("one is neither certainly better nor certainly worse than other on test: ")
    chosen = compare_all(dev, ALONE, {"one": values(0.5, 1), "other": values(0.5, 1)}, ALONE, ["one"], 0.95)
    assert switching(chosen, 0.95)[0].startswith("one is the best on dev, which helped to make it")


def room(rows: list[list[int]], judgments: list[tuple[int, int, int]]) -> Room:
    ranking: Int64 = np.array(rows)
    judged: Int64 = np.array(judgments)
    return room_of(measure(ranking, judged), ranking, judged)


def test_room_is_what_the_best_order_would_add() -> None:
    """One of two answers at rank 2, the other not found: best order 1 / (1 + 1/log2(3)) = .613, now that by log2(3)."""
    left = room([[5, 1, 7, -1]], [(0, 1, 1), (0, 2, 1)])
    ideal = 1 + 1 / np.log2(3)
    assert (left.found, left.now, left.best_order) == (
        0.5,
        pytest.approx(1 / np.log2(3) / ideal),
        pytest.approx(1 / ideal),
    )
    assert left.badly_ranked + left.not_found == pytest.approx(1 - left.now)
    assert left.badly_ranked == pytest.approx(left.best_order - left.now)


def test_the_advice_is_by_the_larger_part() -> None:
    """All found at rank 9: tune. Not found at all: data, passages or another encoder."""
    found, absent = room([[9, 8, 7, 6, 5, 4, 3, 2, 1]], [(0, 1, 1)]), room([[9, 8]], [(0, 1, 1)])
    words, other = room_sentence(found), room_sentence(absent)
    assert found.best_order == 1 and "found and badly ranked (+0.699, against 0.000 not found): tune." in words
    assert absent.now == 0 and "is not found (1.000, against 0.000 badly ranked): look at data" in other
    assert words.startswith("Room for tuning: base finds 100% of dev's relevant documents among its first 100")
