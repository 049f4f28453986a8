"""The signs of false negatives find planted ones, by the same rules as mining."""

import numpy as np
import pytest
from mining_inputs import mine_params

from attune.tuning.mining import false_negatives
from attune.tuning.mining.candidates import Pairs, Pool, among
from attune.tuning.mining.false_negatives import HiddenAnswers, hidden_answer_shares, similar_query_shares
from attune.tuning.mining.rules import Candidates, Rows, Slots


def pairs(*each: tuple[int, int]) -> Pairs:
    array = np.array(each, dtype=np.int64).reshape(-1, 2)
    return Pairs(array[:, 0], array[:, 1])


def planted(scores: list[list[float]], positives: Pairs) -> tuple[Candidates, Rows]:
    """Returns candidates, all documents by score, and one row for each positive."""
    table = np.array(scores, dtype=np.float32)
    pool = Pool.join(np.argsort(-table, axis=1, kind="stable"), np.empty((len(table), 0), dtype=np.int64))
    none = np.zeros(table.shape, dtype=np.bool_)
    is_positive = pool.satisfying(among(positives))
    ranked = np.take_along_axis(table, pool.rows, axis=1)
    rows = Rows(positives.queries, table[positives.queries, positives.rows])
    return Candidates(pool, ranked, is_positive, none, none, none, none), rows


def estimate(
    scores: list[list[float]], positives: Pairs, n: int, duplicate_of: list[int] | None = None
) -> dict[str, int | float | None]:
    candidates, rows = planted(scores, positives)
    groups = np.array(duplicate_of or range(len(scores[0])))
    slots = Slots.of(np.full(len(rows.queries), n), 0.0)
    hidden = HiddenAnswers.of(positives, groups, 1)
    return hidden_answer_shares(candidates, rows, mine_params(max_share_of_positive=0.9), slots, hidden, groups)


def test_a_hidden_answer_with_a_low_score_becomes_a_negative() -> None:
    """Query 0 has answers 0 (.9) and 1 (.5). Without 0, it is too close for the row of 1; without 1, the limit of 0's
    row is .81, and 1 is the best candidate below it. Query 1 has one answer, which is not hidden."""
    positives = pairs((0, 0), (0, 1), (1, 2))
    result = estimate([[0.9, 0.5, 0.4, 0.3], [0.1, 0.1, 0.9, 0.8]], positives, n=2)
    assert result == {
        "n_hidden_answers": 2,
        "hidden_answer_in_reach_share": 1.0,
        "hidden_answer_allowed_share": 0.5,
        "hidden_answer_kept_share": 0.5,
        # hiding 0, documents 2 and 3 are kept; hiding 1, 1 and 2: one of four
        "hidden_answer_rule_ranking": 0.25,
    }


def test_allowed_exceeds_kept_where_nearer_candidates_fill_the_places() -> None:
    """Answer 1 (.5) passes the rules, but 2 (.8) comes first and one negative is enough."""
    result = estimate([[0.9, 0.5, 0.8, 0.3]], pairs((0, 0), (0, 1)), n=1)
    assert (result["hidden_answer_allowed_share"], result["hidden_answer_kept_share"]) == (0.5, 0.0)


def test_near_duplicate_answers_are_hidden_together() -> None:
    """1 and 2 are duplicates, so both are hidden with either, and both become negatives of 0's row."""
    scores, positives = [[0.9, 0.5, 0.5, 0.3]], pairs((0, 0), (0, 1), (0, 2))
    result = estimate(scores, positives, n=2, duplicate_of=[0, 1, 1, 3])
    assert (result["n_hidden_answers"], result["hidden_answer_kept_share"]) == (2, 0.5)
    # hiding 0 leaves document 3 to the rows of 1 and 2; hiding 1 and 2 keeps them both: 2 of 4 negatives
    assert result["hidden_answer_rule_ranking"] == 0.5
    apart = estimate(scores, positives, n=2)  # 1 alone becomes a negative of 0's row, and so does 2
    assert apart["n_hidden_answers"] == 3 and apart["hidden_answer_kept_share"] == pytest.approx(2 / 3)


def test_without_queries_of_several_answers_no_share_is_given() -> None:
    """Nothing can be hidden: a share of 0 would read as if no answer became a negative."""
    result = estimate([[0.9, 0.5, 0.4]], pairs((0, 0)), n=1)
    assert result.pop("n_hidden_answers") == 0
    assert len(result) == 4 and set(result.values()) == {None}


def test_at_random_positives_the_shares_equal_a_plain_count() -> None:
    """Against an oracle that hides, filters and sorts in plain Python, row by row of the query's other answers."""
    random = np.random.default_rng(5)
    scores = random.random((30, 12)).round(6)
    answers = {
        query: sorted(random.choice(12, size=random.integers(1, 5), replace=False).tolist()) for query in range(30)
    }
    positives = pairs(*((query, row) for query, rows in answers.items() for row in rows))
    kept = total = cases = n_allowed = n_cases_kept = 0
    for query, rows in answers.items():
        for hidden in rows if len(rows) > 1 else []:
            others = sorted((row for row in rows if row != hidden), key=lambda row: scores[query, row])
            negatives: list[int] = []
            highest = 0.9 * scores[query, others[-1]]
            for other in others:
                limit = 0.9 * scores[query, other]
                allowed = [row for row in range(12) if row not in others and scores[query, row] <= limit]
                uses = [(negatives.count(row), -scores[query, row], row) for row in allowed]
                negatives += [row for _, _, row in sorted(uses)[:2]]
            cases, n_allowed = cases + 1, n_allowed + (scores[query, hidden] <= highest)
            n_cases_kept, kept = n_cases_kept + (hidden in negatives), kept + negatives.count(hidden)
            total += len(negatives)
    result = estimate(scores.tolist(), positives, n=2)
    assert 0 < n_cases_kept < n_allowed < cases == result["n_hidden_answers"]
    assert result["hidden_answer_allowed_share"] == pytest.approx(n_allowed / cases)
    assert result["hidden_answer_kept_share"] == pytest.approx(n_cases_kept / cases)
    assert result["hidden_answer_rule_ranking"] == pytest.approx(kept / total)


def test_many_hidden_answers_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """50 queries of four answers: at most so many answers, or so many rows of others, and one at least."""
    positives = pairs(*((query, row) for query in range(50) for row in range(4)))
    groups = np.arange(4)
    whole = HiddenAnswers.of(positives, groups, 1)
    assert (len(whole.queries), len(whole.rows)) == (200, 600)
    assert all(positives.rows[row] != whole.groups[case] for case, row in zip(whole.cases, whole.rows, strict=True))
    assert (positives.queries[whole.rows] == whole.queries[whole.cases]).all()
    for constant, most, n in (("MAX_HIDDEN", 30, 30), ("MAX_ROWS", 100, 25), ("MAX_ROWS", 1, 1)):
        with monkeypatch.context() as patch:
            patch.setattr(false_negatives, constant, most)
            sample = HiddenAnswers.of(positives, groups, 1)
        cases = set(zip(sample.queries.tolist(), sample.groups.tolist(), strict=True))
        assert len(cases) == len(sample.queries) == n and len(sample.rows) == 3 * n
        assert cases <= set(zip(whole.queries.tolist(), whole.groups.tolist(), strict=True))


def test_answers_of_similar_queries_are_counted_by_cosine() -> None:
    """Queries at 0, 20 and 30 degrees (cosines .940, .985, .866): document 5 answers 1, 6 answers 2, 7 answers none."""
    radians = np.radians([0, 20, 30])
    vectors = np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)
    positives = pairs((0, 4), (1, 5), (2, 6))
    negatives = pairs((0, 5), (0, 6), (0, 7), (2, 4))
    result = similar_query_shares(negatives, positives, vectors)
    assert result == {
        "negatives_answering_like_query_share@0.8": 0.75,
        "negatives_answering_like_query_share@0.9": 0.25,
    }
    assert set(similar_query_shares(pairs(), positives, vectors).values()) == {0.0}
