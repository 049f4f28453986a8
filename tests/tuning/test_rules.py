"""Each rule that rejects a hard negative, the choice between two rankings, and random fill of short lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mining_inputs import mine_params

from attune.errors import BadInput
from attune.tuning.mining import random_fill
from attune.tuning.mining.candidates import Pairs, Pool, among
from attune.tuning.mining.random_fill import LastResort, fill_at_random
from attune.tuning.mining.rules import NO_CANDIDATE, REASONS, Candidates, Rows, Selection, Slots, apply_rules

NONE = Pairs(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
NO_LIST = np.empty((1, 0), dtype=np.int64)


def one_query(
    scores: list[float],
    positives: list[int],
    own: float,
    own_negatives: tuple[int, ...] = (),
    same_query: tuple[int, ...] = (),
    like_query: tuple[int, ...] = (),
    own_texts: tuple[int, ...] = (),
) -> tuple[Candidates, Rows]:
    """Candidates of a query, documents 0, 1, 2, ... by embeddings, and one row; own: the score of its positive.

    The other arguments are documents, too.
    """
    rows = np.arange(len(scores))
    candidates = Candidates(
        pool=Pool.join(rows[None], NO_LIST),
        scores=np.array([scores], dtype=np.float32),
        is_positive=np.isin(rows, positives)[None],
        answers_like_query=np.isin(rows, like_query)[None],
        is_own_text=np.isin(rows, own_texts)[None],
        is_own_negative=np.isin(rows, own_negatives)[None],
        answers_same_query=np.isin(rows, same_query)[None],
    )
    return candidates, rows_of(own)


def rows_of(*positive_scores: float) -> Rows:
    """Returns rows of one query with positives of these scores."""
    return Rows(np.zeros(len(positive_scores), dtype=np.int64), np.array(positive_scores, dtype=np.float32))


def reasons(query: tuple[Candidates, Rows], share: float = 0.9, margin: float = 0.0, first_rank: int = 0) -> list[str]:
    """Returns the reason of each candidate in the query's one row, which needs two negatives."""
    params = mine_params(max_share_of_positive=share, min_margin=margin, first_rank=first_rank)
    selection = apply_rules(*query, params, Slots.of(np.array([2]), 0.0))
    return words(selection, 0)


def words(selection: Selection, row: int) -> list[str]:
    """Returns the reasons of a row's candidates in words."""
    return [REASONS[code] if code != NO_CANDIDATE else "" for code in selection.reasons[row]]


def test_each_candidate_gets_the_first_reason_that_applies() -> None:
    """Positive .80, so the limit is .72; two are kept and the last is not needed."""
    candidates = one_query([0.9, 0.8, 0.75, 0.73, 0.72, 0.6, 0.5], positives=[1], like_query=(1, 2), own=0.8)
    expected = ["too_close", "positive", "like_query", "too_close", "kept", "kept", "not_needed"]
    assert reasons(candidates) == expected


def test_min_margin_rejects_candidates_that_the_share_allows() -> None:
    """Positive .80: 90% are .72, less .15 are .65; the lower limit decides, and a score on it passes."""
    candidates = one_query([0.8, 0.73, 0.7, 0.66, 0.65, 0.6], positives=[0], own=0.8)
    expected = ["positive", "too_close", "within_margin", "within_margin", "kept", "kept"]
    assert reasons(candidates, margin=0.15) == expected
    # a margin smaller than the distance by share changes nothing
    assert reasons(candidates, margin=0.05) == reasons(candidates)


def test_first_rank_passes_over_eligible_candidates_only() -> None:
    """Rejected candidates do not count among the first."""
    candidates = one_query([0.9, 0.5, 0.4, 0.3, 0.2], positives=[0], own=0.9)
    assert reasons(candidates, first_rank=1) == ["positive", "passed_over", "kept", "kept", "not_needed"]


def test_the_limit_lies_below_a_positive_with_a_negative_score() -> None:
    """90% of -.5 would be -.45, above the positive; the limit is -.55."""
    candidates = one_query([0.1, -0.5, -0.52, -0.56], positives=[1], own=-0.5)
    assert reasons(candidates) == ["too_close", "positive", "too_close", "kept"]


def test_the_users_own_negatives_are_not_mined_a_second_time() -> None:
    """The best candidate is given by the user; the next two are mined."""
    candidates = one_query([0.9, 0.5, 0.4, 0.3], positives=[0], own=0.9, own_negatives=(1,))
    assert reasons(candidates) == ["positive", "own_negative", "kept", "kept"]


def test_an_answer_of_the_same_query_is_rejected_at_any_score() -> None:
    """Row 1 answers another query with the same meaning, and its score alone would be allowed."""
    candidates = one_query([0.9, 0.5, 0.4, 0.3], positives=[0], own=0.9, same_query=(0, 1))
    assert reasons(candidates) == ["positive", "same_query", "kept", "kept"]


def test_the_querys_own_text_is_rejected_at_any_score() -> None:
    """Row 1 has the query's own text: neither an answer nor a negative, though the user's data calls it one."""
    candidates = one_query([0.9, 0.5, 0.4, 0.3], positives=[0], own=0.9, own_texts=(1,), own_negatives=(1,))
    assert reasons(candidates) == ["positive", "own_text", "kept", "kept"]


def test_each_row_is_judged_by_its_own_positive() -> None:
    """Positives .9 and .5, limits .81 and .45: a candidate of .8 is kept in one row and too close in the other."""
    candidates, _ = one_query([0.9, 0.82, 0.8, 0.5, 0.45, 0.4], positives=[0, 3], own=0.5)
    for order, low, high in (((0.9, 0.5), 1, 0), ((0.5, 0.9), 0, 1)):
        selection = apply_rules(candidates, rows_of(*order), mine_params(), Slots.of(np.array([1, 1]), 0.0))
        lower = ["positive", "too_close", "too_close", "positive", "kept", "not_needed"]
        assert words(selection, low) == lower
        assert words(selection, high) == ["positive", "too_close", "kept", "positive", "not_needed", "not_needed"]
        documents = selection.documents(candidates.pool, np.zeros(2, np.int64))
        assert (documents[low].tolist(), documents[high].tolist()) == ([4], [2])


def test_rows_of_a_query_use_all_candidates_before_any_twice() -> None:
    """Five rows of equal positives and three candidates: 1, 2, 3, then the nearest again; rows in their order."""
    candidates, _ = one_query([0.9, 0.5, 0.4, 0.3], positives=[0], own=0.9)
    selection = apply_rules(candidates, rows_of(*[0.9] * 5), mine_params(), Slots.of(np.ones(5, np.int64), 0.0))
    assert selection.picks.ravel().tolist() == [1, 2, 3, 1, 2]


def test_rows_of_low_positives_choose_first() -> None:
    """Limits .45 and .81, and nothing between: the low row has one candidate, and the high row leaves it that."""
    candidates, _ = one_query([0.9, 0.5, 0.44, 0.3], positives=[0, 1], own=0.5)
    slots = Slots.of(np.array([2, 1]), 0.0)
    selection = apply_rules(candidates, rows_of(0.9, 0.5), mine_params(), slots)
    assert selection.picks.tolist() == [[3, 2], [2, -1]]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_turns_hold_every_row_once_and_a_query_at_most_once(queries: list[int], seed: int, size: int) -> None:
    """In blocks of any size; a query's rows come from the lowest positive up."""
    scores = np.random.default_rng(seed).random(len(queries)).astype(np.float32)
    rows = Rows(np.array(sorted(queries)), scores)
    turns = [turn for start in range(0, 7, size) for turn in rows.turns(slice(start, start + size))]
    assert sorted(row for turn in turns for row in turn.tolist()) == list(range(len(queries)))
    assert all(len(set(rows.queries[turn].tolist())) == len(turn) for turn in turns)
    for query in set(queries):
        of_query = [row for turn in turns for row in turn.tolist() if rows.queries[row] == query]
        assert of_query == sorted(of_query, key=lambda row: scores[row])


@given(
    documents=st.lists(st.tuples(st.floats(-1, 1, width=16), st.booleans()), min_size=1, max_size=12),
    own=st.lists(st.floats(-1, 1, width=16), min_size=1, max_size=6),
    share=st.sampled_from([0.5, 0.9, 0.95, 1.0]),
    n=st.integers(1, 3),
)
def test_no_negative_is_an_answer_or_above_the_limit_of_its_row(
    documents: list[tuple[float, bool]], own: list[float], share: float, n: int
) -> None:
    """Whatever the scores of candidates and positives; a row is short only where it has used all that are allowed."""
    scores, is_positive = [score for score, _ in documents], [answer for _, answer in documents]
    candidates, _ = one_query(scores, positives=np.flatnonzero(is_positive).tolist(), own=0.0)
    params, slots = mine_params(max_share_of_positive=share), Slots.of(np.full(len(own), n), 0.0)
    selection = apply_rules(candidates, rows_of(*own), params, slots)
    for positive, picks in zip(own, selection.picks.tolist(), strict=True):
        limit = positive - (1 - share) * abs(positive)
        chosen = [pick for pick in picks if pick >= 0]
        assert all(scores[pick] <= limit + 1e-6 and not is_positive[pick] for pick in chosen)
        allowed = sum(score <= limit - 1e-6 and not answer for score, answer in documents)
        assert len(set(chosen)) == len(chosen) >= min(n, allowed)


def two_lists(dense: list[int], lexical: list[int], too_close: list[int]) -> Candidates:
    """Candidates of a query from two lists, of which only those too close to a positive of .9 are rejected."""
    pool = Pool.join(np.array([dense]), np.array([lexical]))
    none = np.zeros(pool.rows.shape, dtype=np.bool_)
    scores = np.where(np.isin(pool.rows, too_close), 0.9, 0.1).astype(np.float32)
    return Candidates(pool, scores, none, none, none, none, none)


def picked(candidates: Candidates, n: int, share: float, first_rank: int = 0) -> tuple[list[int], list[bool]]:
    """Returns the rows of the negatives, and whether each is from the lexical list."""
    params = mine_params(max_share_of_positive=0.9, first_rank=first_rank)
    selection = apply_rules(candidates, rows_of(0.9), params, Slots.of(np.array([n]), share))
    assert selection.count("kept") == (selection.picks >= 0).sum()
    documents = selection.documents(candidates.pool, np.zeros(1, np.int64))
    return documents[0].tolist(), selection.from_lexical[0].tolist()


def test_two_lists_alternate_and_no_document_is_taken_twice() -> None:
    """Dense 5 4 3 2, lexical 4 9 8: at .5 they alternate, dense first; 4, in both, goes to the list in turn."""
    candidates = two_lists([5, 4, 3, 2], [4, 9, 8], too_close=[])
    assert picked(candidates, 4, 0.5) == ([5, 4, 3, 9], [False, True, False, True])
    assert picked(candidates, 3, 0.0) == ([5, 4, 3], [False] * 3)
    assert picked(candidates, 3, 1.0) == ([4, 9, 8], [True] * 3)


def test_lexical_candidates_pass_the_same_rules() -> None:
    """9 leads the lexical list and scores as high as an answer: it is rejected."""
    assert picked(two_lists([5, 4], [9, 8], too_close=[9, 5]), 2, 0.5) == ([4, 8], [False, True])


def test_an_exhausted_list_leaves_its_places_to_the_other() -> None:
    """The lexical list holds 9 alone; places stay empty only when both lists are used up."""
    candidates = two_lists([5, 4, 3], [9, -1, -1], too_close=[])
    assert picked(candidates, 3, 1.0) == ([9, 5, 4], [True, False, False])
    assert picked(candidates, 6, 0.5)[0] == [5, 9, 4, 3, -1, -1]


def test_a_candidate_passed_over_in_one_list_is_out_of_both() -> None:
    """The first of each list, 5 and 4, are left out, though 4 is in the dense list, too."""
    assert picked(two_lists([5, 4, 3], [4, 9, 8], too_close=[]), 2, 0.5, first_rank=1) == ([3, 9], [False, True])


def test_lexical_places_are_spread_over_all_rows() -> None:
    """One negative per row at .5: every other row gets a lexical one."""
    assert Slots.of(np.array([1, 1, 1, 1]), 0.5).is_lexical.ravel().tolist() == [False, True, False, True]
    assert Slots.of(np.array([2, 1, 2]), 0.5).is_lexical.tolist() == [[False, True], [False, False], [True, False]]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=50), st.integers(0, 100))
def test_the_number_of_lexical_places_is_the_share_rounded_down(n_needed: list[int], percent: int) -> None:
    """Over all rows together, whatever each one needs."""
    slots = Slots.of(np.array(n_needed), percent / 100)
    assert slots.is_lexical.sum() == sum(n_needed) * percent // 100


def filled(
    chosen: list[list[int]],
    n_needed: list[int],
    n_documents: int,
    excluded: Pairs = NONE,
    last_resort: Pairs = NONE,
    seed: int = 1,
    queries: list[int] | None = None,
) -> list[list[int]]:
    """Fills lists from so many documents, at rows 0, 10, 20, ... of the corpus; each row a query of its own."""
    return fill_at_random(
        chosen=np.array(chosen).reshape(len(n_needed), -1),
        row_queries=np.array(queries or range(len(n_needed))),
        n_needed=np.array(n_needed),
        train_rows=np.arange(n_documents) * 10,
        is_excluded=among(excluded),
        last_resort=LastResort(*last_resort),
        seed=seed,
    ).tolist()


def of_first_query(*rows: int) -> Pairs:
    return Pairs(np.zeros(len(rows), dtype=np.int64), np.array(rows, dtype=np.int64))


# pairs that are never drawn: query 0 with documents 0 and 10, query 1 with 20, query 2 with 30
ANSWERS = Pairs(np.array([0, 0, 1, 2]), np.array([0, 10, 20, 30]))


def test_short_lists_are_filled_with_documents_that_are_no_answers() -> None:
    """Repeatably, without repetition, never with an excluded pair; full lists stay as they are."""
    lists = filled([[20, -1], [-1, -1], [0, 10]], [2, 2, 2], 4, ANSWERS)
    assert lists[0] == [20, 30]
    assert set(lists[1]) < {0, 10, 30} and len(set(lists[1])) == 2
    assert lists[2] == [0, 10]
    assert filled([[20, -1], [-1, -1], [0, 10]], [2, 2, 2], 4, ANSWERS) == lists
    # a place that the query does not need stays empty
    assert filled([[-1, -1]], [1], 2, of_first_query(0)) == [[10, -1]]


@pytest.mark.parametrize("seed", range(30))
def test_rejected_documents_are_drawn_only_as_a_last_resort(seed: int) -> None:
    """10 and 20 were rejected; rows outside the train split (5, 99) among the rejected do no harm."""
    answer, rejected = of_first_query(30), of_first_query(5, 10, 20, 99)
    assert filled([[-1]], [1], 4, answer, rejected, seed) == [[0]]
    assert 0 in filled([[-1, -1]], [2], 4, answer, rejected, seed)[0]


@pytest.mark.parametrize("seed", range(10))
def test_answers_are_never_drawn(seed: int) -> None:
    """Not even as a last resort; with too few documents left, the run stops."""
    answers = of_first_query(0, 20)
    assert filled([[-1]], [1], 3, answers, of_first_query(10), seed) == [[10]]
    with pytest.raises(BadInput, match="has 1 train documents .* 2 needed; lower .*, or raise mine.same_query"):
        filled([[-1, -1]], [2], 3, answers, seed=seed)


def test_the_fill_of_a_query_does_not_depend_on_other_queries() -> None:
    """Query 1 gets the same whether query 0 is short or not, among more documents than are tried first."""
    alone = filled([[0, 10], [-1, -1]], [2, 2], 5000, ANSWERS)[1]
    assert filled([[-1, -1], [-1, -1]], [2, 2], 5000, ANSWERS)[1] == alone
    assert len(set(alone)) == 2 and set(alone) <= set(range(0, 50_000, 10)) - {20}


def test_rows_of_one_query_draw_by_streams_of_their_own() -> None:
    """The first row draws as if it were the query's only one, the others differ; an answer is one for all of them."""
    rows = filled([[-1, -1]] * 3, [2, 2, 2], 5000, ANSWERS, queries=[0, 1, 1])
    assert rows[:2] == filled([[-1, -1]] * 2, [2, 2], 5000, ANSWERS)
    assert rows[1] != rows[2]
    few = filled([[-1]] * 3, [1, 1, 1], 2, Pairs(np.array([1]), np.array([10])), queries=[0, 1, 1])
    assert few[1:] == [[0], [0]]


def test_batches_do_not_change_the_fill(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same draws in batches of two rows as in one."""
    at_once = filled([[-1, -1]] * 5, [2, 1, 2, 2, 0], 6, ANSWERS)
    monkeypatch.setattr(random_fill, "FILL_BATCH", 2)
    assert filled([[-1, -1]] * 5, [2, 1, 2, 2, 0], 6, ANSWERS) == at_once


def test_all_documents_are_equally_likely_to_be_drawn() -> None:
    """6,000 draws from 6 of 8 documents, 1,000 each but for chance (binomial: three in a million lie beyond 135)."""
    queries = np.repeat(np.arange(6000), 2)
    lists = filled([[-1]] * 6000, [1] * 6000, 8, Pairs(queries, np.tile([0, 10], 6000)))
    counts = np.bincount(np.array(lists).ravel() // 10, minlength=8)
    assert counts[:2].tolist() == [0, 0] and (abs(counts[2:] - 1000) < 135).all()


def test_too_few_documents_are_bad_input() -> None:
    """The message says how many there are and how many are needed."""
    with pytest.raises(BadInput, match="a query has 2 train documents that may be its negatives, 3 needed"):
        filled([[-1, -1, -1]], [3], 4, of_first_query(0, 10))
