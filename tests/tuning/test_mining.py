"""The rules of mining, one by one: what excludes a candidate, which list fills a place, what tops up short lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.errors import BadInput
from attune.tuning.mining.candidates import Pairs, Pool
from attune.tuning.mining.random_fill import Documents, fill
from attune.tuning.mining.rules import NOTHING, REASONS, Found, Rules, Slots, Verdicts, judge

NONE = Pairs(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
NO_LIST = np.empty((1, 0), dtype=np.int64)


def found(
    scores: list[float],
    positives: list[int],
    own: list[int],
    lowest: float,
    refused: tuple[int, ...] = (),
    like: tuple[int, ...] = (),
) -> Found:
    """One query; its dense candidates are rows 0, 1, 2, ..."""
    places = np.arange(len(scores))
    return Found(
        pool=Pool.of(places[None], NO_LIST),
        scores=np.array([scores], dtype=np.float32),
        is_positive=np.isin(places, positives)[None],
        is_own_negative=np.isin(places, refused)[None],
        in_own_cluster=np.isin(places, own)[None],
        answers_same_query=np.isin(places, like)[None],
        lowest_positive=np.array([lowest], dtype=np.float32),
    )


def judged(candidates: Found, share: float = 0.9, margin: float = 0.0, first_rank: int = 0) -> list[str]:
    return named(judge(candidates, Rules(share, margin, first_rank), Slots.of(np.array([2]), 0.0)))


def named(verdicts: Verdicts) -> list[str]:
    return [REASONS[code] if code != NOTHING else "" for code in verdicts.reasons[0]]


def test_each_candidate_gets_the_first_verdict_that_applies() -> None:
    """Positive .80, so the ceiling is .72; two are kept and the last is not needed."""
    candidates = found([0.9, 0.8, 0.75, 0.73, 0.72, 0.6, 0.5], positives=[1], own=[1, 2], lowest=0.8)
    expected = ["too_close", "positive", "positive_cluster", "too_close", "kept", "kept", "not_needed"]
    assert judged(candidates) == expected


def test_a_margin_holds_candidates_off_that_the_share_lets_pass() -> None:
    """Positive .80: 90% are .72, less .15 are .65; the nearer ceiling decides, and a tie passes."""
    candidates = found([0.8, 0.73, 0.7, 0.66, 0.65, 0.6], positives=[0], own=[0], lowest=0.8)
    expected = ["positive", "too_close", "within_margin", "within_margin", "kept", "kept"]
    assert judged(candidates, margin=0.15) == expected
    # a margin that is smaller than what the share leaves does nothing
    assert judged(candidates, margin=0.05) == judged(candidates)


def test_the_nearest_can_be_passed_over() -> None:
    """first_rank skips eligible candidates, not rejected ones."""
    candidates = found([0.9, 0.5, 0.4, 0.3, 0.2], positives=[0], own=[0], lowest=0.9)
    assert judged(candidates, first_rank=1) == ["positive", "passed_over", "kept", "kept", "not_needed"]


def test_a_positive_with_a_negative_score_still_has_its_candidates_below_it() -> None:
    """90% of -.5 would be -.45, above the positive; the ceiling is -.55."""
    candidates = found([0.1, -0.5, -0.52, -0.56], positives=[1], own=[1], lowest=-0.5)
    assert judged(candidates) == ["too_close", "positive", "too_close", "kept"]


def test_the_users_own_negatives_are_not_mined_a_second_time() -> None:
    """The best candidate is one that the user gave; the next two are mined."""
    candidates = found([0.9, 0.5, 0.4, 0.3], positives=[0], own=[0], lowest=0.9, refused=(1,))
    assert judged(candidates) == ["positive", "own_negative", "kept", "kept"]


def test_what_answers_a_like_query_is_rejected_whatever_it_scores() -> None:
    """Row 1 is an answer of another query that means the same."""
    candidates = found([0.9, 0.5, 0.4, 0.3], positives=[0], own=[0], lowest=0.9, like=(0, 1))
    assert judged(candidates) == ["positive", "same_query", "kept", "kept"]


def mixed(dense: list[int], lexical: list[int], too_close: list[int]) -> Found:
    pool = Pool.of(np.array([dense]), np.array([lexical]))
    nothing = np.zeros(pool.rows.shape, dtype=np.bool_)
    scores = np.where(np.isin(pool.rows, too_close), 0.9, 0.1).astype(np.float32)
    return Found(pool, scores, nothing, nothing, nothing, nothing, np.array([0.9], dtype=np.float32))


def picked(candidates: Found, n: int, share: float, first_rank: int = 0) -> tuple[list[int], list[bool]]:
    verdicts = judge(candidates, Rules(0.9, 0.0, first_rank), Slots.of(np.array([n]), share))
    assert verdicts.count("kept") == (verdicts.picks >= 0).sum()
    return verdicts.rows(candidates.pool)[0].tolist(), verdicts.from_lexical[0].tolist()


def test_two_lists_take_turns_and_no_document_is_taken_twice() -> None:
    """Dense 5 4 3 2, lexical 4 9 8: at .5 they alternate, dense first; 4, in both, goes to whose turn it is."""
    candidates = mixed([5, 4, 3, 2], [4, 9, 8], too_close=[])
    assert picked(candidates, 4, 0.5) == ([5, 4, 3, 9], [False, True, False, True])
    assert picked(candidates, 3, 0.0) == ([5, 4, 3], [False] * 3)
    assert picked(candidates, 3, 1.0) == ([4, 9, 8], [True] * 3)


def test_lexical_candidates_pass_the_same_rules() -> None:
    """9 has the words and is as near as an answer: it is not taken."""
    assert picked(mixed([5, 4], [9, 8], too_close=[9, 5]), 2, 0.5) == ([4, 8], [False, True])


def test_a_list_that_has_ended_leaves_its_turns_to_the_other() -> None:
    """Words find 9 alone; after it, and when nothing at all is left, places stay as they must."""
    candidates = mixed([5, 4, 3], [9, -1, -1], too_close=[])
    assert picked(candidates, 3, 1.0) == ([9, 5, 4], [True, False, False])
    assert picked(candidates, 6, 0.5)[0] == [5, 9, 4, 3, -1, -1]


def test_what_one_list_passes_over_the_other_does_not_bring_back() -> None:
    """The first of each list, 5 and 4, are left out; 4 stands in the dense list, too."""
    assert picked(mixed([5, 4, 3], [4, 9, 8], too_close=[]), 2, 0.5, first_rank=1) == ([3, 9], [False, True])


def test_places_for_words_are_dealt_out_over_all_queries() -> None:
    """One negative per query at .5: every other query gets a lexical one."""
    assert Slots.of(np.array([1, 1, 1, 1]), 0.5).is_lexical.ravel().tolist() == [False, True, False, True]
    assert Slots.of(np.array([2, 1, 2]), 0.5).is_lexical.tolist() == [[False, True], [False, False], [True, False]]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=50), st.integers(0, 100))
def test_the_lexical_share_is_kept_to_the_last_whole_place(wanted: list[int], percent: int) -> None:
    slots = Slots.of(np.array(wanted), percent / 100)
    assert slots.is_lexical.sum() == sum(wanted) * percent // 100


def filled(
    chosen: list[list[int]],
    wanted: list[int],
    clusters: list[int],
    own: list[int],
    never: Pairs = NONE,
    last: Pairs = NONE,
    seed: int = 1,
) -> list[list[int]]:
    documents = Documents(np.arange(len(clusters)) * 10, np.array(clusters))  # rows 0, 10, 20, ... of the corpus
    lists = np.array(chosen).reshape(len(wanted), -1)
    return fill(
        lists, np.array(wanted), documents, np.array(own), lambda pairs: np.isin(pairs.keys(), never.keys()), last, seed
    ).tolist()


def of_first(*rows: int) -> Pairs:
    return Pairs(np.zeros(len(rows), dtype=np.int64), np.array(rows, dtype=np.int64))


def test_short_lists_are_filled_from_other_clusters() -> None:
    """Seeded, without repetition, never from the query's own cluster; what is full stays as it is."""
    lists = filled([[20, -1], [-1, -1], [0, 10]], [2, 2, 2], [0, 0, 1, 2], [0, 1, 2])
    assert lists[0] == [20, 30]
    assert set(lists[1]) < {0, 10, 30} and len(set(lists[1])) == 2
    assert lists[2] == [0, 10]
    assert filled([[20, -1], [-1, -1], [0, 10]], [2, 2, 2], [0, 0, 1, 2], [0, 1, 2]) == lists
    # a place that a query does not need stays empty
    assert filled([[-1, -1]], [1], [0, 1], [0]) == [[10, -1]]


@pytest.mark.parametrize("seed", range(30))
def test_rejected_documents_come_back_only_when_nothing_else_is_left(seed: int) -> None:
    """10 and 20 were rejected; a row that is no train document (5, 99) is nothing to avoid."""
    assert filled([[-1]], [1], [0, 0, 1, 2], [2], last=of_first(5, 10, 20, 99), seed=seed) == [[0]]
    assert 0 in filled([[-1, -1]], [2], [0, 0, 1, 2], [2], last=of_first(10, 20), seed=seed)[0]


@pytest.mark.parametrize("seed", range(10))
def test_answers_of_like_queries_never_come_back(seed: int) -> None:
    """Not even when what was rejected for other reasons does; and if too few are left, the run stops."""
    assert filled([[-1]], [1], [0, 0, 1], [1], of_first(0), of_first(10), seed) == [[10]]
    with pytest.raises(BadInput, match="1 train documents outside .* 2 needed; lower .*, or raise mine.same_query"):
        filled([[-1, -1]], [2], [0, 0, 1], [1], never=of_first(0), seed=seed)


def test_what_a_query_is_filled_with_does_not_hang_on_the_others() -> None:
    """Query 1 gets the same whether query 0 is short or not, among so many documents that not all are looked at."""
    clusters = list(range(5000))
    alone = filled([[0, 10], [-1, -1]], [2, 2], clusters, [1, 2])[1]
    assert filled([[-1, -1], [-1, -1]], [2, 2], clusters, [1, 2])[1] == alone
    assert len(set(alone)) == 2 and set(alone) <= set(range(0, 50_000, 10)) - {20}


def test_all_documents_are_as_likely_to_be_drawn() -> None:
    """6,000 draws from 6 of 8 documents, 1,000 each but for chance (binomial: three in a million lie beyond 135)."""
    lists = filled([[-1]] * 6000, [1] * 6000, [0, 0, 1, 2, 3, 4, 5, 6], [0] * 6000)
    counts = np.bincount(np.array(lists).ravel() // 10, minlength=8)
    assert counts[:2].tolist() == [0, 0] and (abs(counts[2:] - 1000) < 135).all()


def test_too_few_documents_are_an_error() -> None:
    with pytest.raises(BadInput, match="2 train documents outside .* 3 needed"):
        filled([[-1, -1, -1]], [3], [0, 0, 1, 2], [0])
