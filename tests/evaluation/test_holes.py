"""Holes in the judgments: Judged@10, bpref and condensed lists as in ir-measures; worst and best case by trial."""

from collections.abc import Mapping
from itertools import combinations

import ir_measures
import numpy as np
import polars as pl
import pytest
from ir_measures import RR, Bpref, Judged, R, nDCG

from attune.evaluation.holes.bounds import BOUNDED, Cases, cases, unjudged
from attune.evaluation.holes.condensed import condensed, enough_refused
from attune.evaluation.holes.figures import sentence, turn
from attune.evaluation.holes.pairs import most_telling
from attune.evaluation.holes.pool import Pool, Ranking, pool_of
from attune.evaluation.report.verdict import HeadlineResult
from attune.evaluation.scoring.measures import measure
from attune.evaluation.statistics.power import Sensitivity
from attune.evaluation.statistics.significance import compare
from attune.runtime.arrays import Float64, Int64
from attune.tables import NEGATIVES, QRELS, RUN

ORACLES = {"recall@10": R @ 10, "mrr@10": RR @ 10, "ndcg@10": nDCG @ 10, "bpref": Bpref}


def pool(judgments: list[tuple[int, int, int]], n_documents: int, **rankings: list[list[int]]) -> Pool:
    """Returns a pool of queries q0, q1 ... with these rankings, whose scores fall by rank."""
    n = len(next(iter(rankings.values())))
    return Pool(
        [f"q{i}" for i in range(n)],
        [f"d{i}" for i in range(n_documents)],
        np.array(judgments, dtype=np.int64).reshape(-1, 3),
        {system: scored(np.array(rows)) for system, rows in rankings.items()},
    )


def scored(rows: Int64, n_ties: int = 1) -> Ranking:
    """Returns a ranking with falling scores, equal in every run of `n_ties` documents."""
    scores = np.broadcast_to(100 - np.arange(rows.shape[1]) // n_ties, rows.shape).astype(np.float32)
    return np.where(rows >= 0, scores, np.float32(0)), rows


def random_pool(seed: int, n_queries: int, n_documents: int, depth: int, share: float) -> Pool:
    """Returns a pool of random rankings in which a share of all pairs is judged, 0 to 3; each query has an answer."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, 4, (n_queries, n_documents))
    is_judged = rng.random(drawn.shape) < share
    answers = rng.integers(0, n_documents, n_queries)
    drawn[np.arange(n_queries), answers], is_judged[np.arange(n_queries), answers] = 1, True
    rows = np.argwhere(is_judged)
    judgments = [(int(q), int(d), int(drawn[q, d])) for q, d in rows]
    sides = {name: [rng.permutation(n_documents)[:depth].tolist() for _ in range(n_queries)] for name in ("a", "b")}
    return pool(judgments, n_documents, **sides)


def oracle(of: Pool, rows: Int64) -> dict[str, dict[str, float]]:
    """Returns the measures of ir-measures by name and query."""
    qrels = [ir_measures.Qrel(f"q{q}", f"d{d}", int(grade)) for q, d, grade in of.judgments]
    run = [
        ir_measures.ScoredDoc(f"q{q}", f"d{d}", -float(rank))
        for q, ranked in enumerate(rows)
        for rank, d in enumerate(ranked)
        if d >= 0
    ]
    names = {str(one): name for name, one in (ORACLES | {"judged@10": Judged @ 10}).items()}
    found: dict[str, dict[str, float]] = {name: {} for name in names.values()}
    for value in ir_measures.iter_calc([*ORACLES.values(), Judged @ 10], qrels, run):
        found[names[str(value.measure)]][value.query_id] = value.value
    return found


@pytest.mark.parametrize("seed", range(4))
def test_judged_documents_alone_score_as_in_ir_measures(seed: int) -> None:
    """Judged@10, bpref, and each measure over the list without unjudged documents, query by query."""
    of = random_pool(seed, 25, 60, 40, 0.3)
    rows = of.rankings["a"][1]
    expected = oracle(of, rows)
    assert of.judged_at("a") == pytest.approx(np.mean(list(expected["judged@10"].values())))
    values = condensed(of, "a")
    judged = {(q, d) for q, d, _ in of.judgments.tolist()}
    kept = [[d for d in ranked if (q, d) in judged] for q, ranked in enumerate(rows.tolist())]
    shorter = np.array([ranked + [-1] * (40 - len(ranked)) for ranked in kept])
    expected = oracle(of, shorter) | {"bpref": expected["bpref"]}
    for name in ORACLES:
        assert values[name] == pytest.approx([expected[name].get(f"q{q}", 0.0) for q in range(25)], abs=1e-6)


def test_a_query_for_which_nothing_is_ranked_has_no_share_of_judged_documents() -> None:
    """One of four documents judged; the second query ranks nothing; an empty system has a share of 0."""
    of = pool([(0, 2, 1), (1, 0, 1)], 5, a=[[0, 1, 2, 3], [-1] * 4], none=[[-1], [-1]])
    assert (of.judged_at("a"), of.judged_at("none")) == (0.25, 0.0)
    assert condensed(of, "a")["mrr@10"].tolist() == [1, 0]


def differences(of: Pool, judgments: Int64, name: str) -> Float64:
    """Returns b minus a by query."""
    first, second = (measure(of.rankings[system][1], judgments, of.rankings[system][0])[name] for system in "ab")
    return second - first


def by_trial(of: Pool, name: str) -> tuple[Float64, Float64]:
    """Returns the least and the greatest difference of each query over all assignments of its unjudged documents."""
    open_pairs = unjudged(of, "a", "b").select("query_row", "document_row").rows()
    ends = []
    for query in range(len(of.query_ids)):
        own = [(q, d, of.best_relevance) for q, d in open_pairs if q == query]
        chosen = (subset for n in range(len(own) + 1) for subset in combinations(own, n))
        added = (np.array(subset, dtype=np.int64).reshape(-1, 3) for subset in chosen)
        values = [differences(of, np.concatenate([of.judgments, rows]), name)[query] for rows in added]
        ends.append((min(values), max(values)))
    return tuple(np.array(ends).T)  # type: ignore[return-value]


@pytest.mark.parametrize(("name", "n_ties"), [*((name, 1) for name in BOUNDED), ("recall@10", 3), ("ndcg@10", 3)])
def test_the_ends_are_those_of_every_assignment(name: str, n_ties: int) -> None:
    """Tried one by one on short rankings, graded; with ties for measures that add up over tied documents."""
    for seed in range(4):
        of = random_pool(seed, 3, 8, 5, 0.35)
        tied = {system: scored(rows, n_ties) for system, (_, rows) in of.rankings.items()}
        of = Pool(of.query_ids, of.document_ids, of.judgments, tied)
        found = cases(of, "a", "b", name)
        low, high = by_trial(of, name)
        assert found.judged == pytest.approx(differences(of, of.judgments, name))
        assert found.worst == pytest.approx(low, abs=1e-9) and found.best == pytest.approx(high, abs=1e-9)


def test_only_the_first_ten_are_looked_at() -> None:
    """A document at rank 11 of both is no hole, one at rank 10 is; unless it ties with the tenth."""
    of = pool([(0, 0, 1)], 12, a=[list(range(12))], b=[list(range(12))])
    assert unjudged(of, "a", "b")["document_row"].to_list() == list(range(1, 10))
    tied = scored(np.arange(12)[None], n_ties=12)
    of = Pool(of.query_ids, of.document_ids, of.judgments, {"a": tied, "b": tied})
    assert unjudged(of, "a", "b")["document_row"].to_list() == list(range(1, 12))


def test_each_further_answer_of_a_query_changes_its_difference() -> None:
    """Four queries won by 1, one answer each; base alone ranks two unjudged ones: each falls by 1 and .33."""
    of = pool([(q, 0, 1) for q in range(4)], 3, a=[[1, 2]] * 4, b=[[0]] * 4)
    found = cases(of, "a", "b", "recall@10")
    assert found.worst.tolist() == pytest.approx([-1 / 3] * 4) and found.best.tolist() == [1] * 4
    assert found.falls.tolist() == [pytest.approx([1, 1 / 3])] * 4
    assert not found.rises.any()


def case(judged: Float64, falls: Float64, rises: Float64) -> Cases:
    """Returns cases whose extremes are reached by these changes of each query."""
    worst, best = judged - falls.sum(axis=1), judged + rises.sum(axis=1)
    return Cases(judged, worst, best, falls, rises)


def of_verdict(others: tuple[float, ...] = (), margin: float = 0.02) -> HeadlineResult:
    """Returns a result of recall@10 among other comparisons with these p-values."""
    sensitivity = Sensitivity(40, 40, 0.1, 0.95, 0.8, 1 + len(others))
    return HeadlineResult({}, {}, 0.0, 0.0, sensitivity, {}, 1, margin, "recall@10", others)


def answer(values: Float64, result: HeadlineResult) -> str:
    """Returns the verdict on these differences."""
    one = compare({"": np.zeros(len(values))}, {"": values}, np.arange(len(values)), 0.95)[""]
    return result.with_headline(one).answer


def test_a_verdict_turns_with_the_answers_that_change_most() -> None:
    """A gain of 40 queries: one of 39 answers less keeps it, the answers that suffice do, one less does not."""
    n, none = 40, np.zeros((40, 2))
    ones, falls = np.ones(n), np.tile([1.0, 0.25], (n, 1))
    found = turn(case(ones, falls, none), np.arange(n), of_verdict())
    assert found is not None and found.in_favour_of == "base" and found.n_answers < n
    for k, is_claimed in ((found.n_answers, False), (found.n_answers - 1, True)):
        left = np.where(np.arange(n) < k, 0.0, 1.0)
        one = compare({"": np.zeros(n)}, {"": left}, np.arange(n), 0.95)[""]
        assert (one.ci_low > 0 and one.p_value <= 0.05) == is_claimed
    few = np.where(np.arange(n)[:, None] < 4, falls, 0)
    for kept in (case(ones, none, none), case(ones, few, none)):
        assert turn(kept, np.arange(n), of_verdict()) is None


def open_answers(values: Float64, side: int, n_open: int) -> Cases:
    """Returns cases in which one unjudged document of each of the first queries may take 1 from it, or add 1."""
    changes = np.where(np.arange(len(values)) < n_open, 1.0, 0.0)[:, None]
    none = np.zeros_like(changes)
    return case(values, changes if side < 0 else none, changes if side > 0 else none)


def test_answers_that_make_no_change_of_cannot_tell_turn_the_verdict() -> None:
    """30 wins less 30 losses of 1,000: fifteen open answers leave the interval within the margin, or drive it out."""
    values = np.repeat([1.0, -1.0, 0.0], [30, 30, 940])
    result, clusters = of_verdict(), np.arange(1000)
    assert answer(values, result) == "No change"
    shifted = np.repeat([1.0, -1.0, 0.0], [38, 30, 932])
    assert answer(shifted, result) == "Cannot tell"
    for start, other in ((values, "Cannot tell"), (shifted, "No change")):
        found = turn(open_answers(start[::-1], -1, 30), clusters, result)
        assert found is not None and found.in_favour_of == "base"
        after = start[::-1] - (np.arange(1000) < found.n_answers)
        before = start[::-1] - (np.arange(1000) < found.n_answers - 1)
        assert answer(after, result) == other != answer(before, result)


def test_the_correction_of_the_verdict_judges_what_turns_it() -> None:
    """A p-value that is enough alone and not among 18 comparisons: a few more answers claim the gain."""
    values = np.repeat([1.0, -1.0, 0.0], [24, 9, 967])
    alone, among = of_verdict(), of_verdict((0.5,) * 17)
    assert (answer(values, alone), answer(values, among)) == ("Better", "Cannot tell")
    found = turn(open_answers(values[::-1], 1, 20), np.arange(1000), among)
    assert found is not None and found.in_favour_of == "tuned" and found.n_answers <= 20
    assert turn(open_answers(values[::-1], 1, 20), np.arange(1000), alone) is None


def test_a_second_answer_is_never_taken_before_the_first() -> None:
    """The first answer of each query changes nothing, the second 1: as many answers again are needed."""
    n = 40
    late, early = (np.tile(one, (n, 1)) for one in ([0.0, 1.0], [1.0, 0.0]))
    found = [turn(case(np.ones(n), falls, np.zeros((n, 2))), np.arange(n), of_verdict()) for falls in (late, early)]
    assert found[0] is not None and found[1] is not None and found[0].n_answers > found[1].n_answers


def test_a_loss_turns_upwards_and_cannot_tell_either_way() -> None:
    """Nothing known that could become a gain, or a loss sooner; where no document is open nothing turns."""
    n, none = 40, np.zeros((40, 1))
    zeros, ones = np.zeros(n), np.ones((n, 1))
    lost = turn(case(zeros - 1, none, ones), np.arange(n), of_verdict())
    gained, sooner = (turn(case(zeros, falls, ones), np.arange(n), of_verdict()) for falls in (none, 2 * ones))
    assert lost is not None and lost.in_favour_of == "tuned"
    assert gained is not None and gained.in_favour_of == "tuned"
    assert sooner is not None and sooner.in_favour_of == "base" and sooner.n_answers <= gained.n_answers
    assert turn(case(zeros, none, none), np.arange(n), of_verdict()) is None


def test_the_sentence_says_whether_the_verdict_depends_on_what_is_unjudged() -> None:
    """Shares, ends, and the answers that would change the verdict; nothing of it where all is judged."""
    figures = {
        "judged@10": {"base": 0.105, "tuned": 0.12},
        "n_pairs": 900,
        "measures": {"recall@10": {"judged": 0.1, "worst": -0.45, "best": 0.6}},
        "depends": True,
        "turn": {"n_answers": 37, "in_favour_of": "base"},
    }
    said = sentence(figures, "recall@10")
    assert "10% of base's and 12% of tuned's first 10 documents were judged" in said
    assert "at the extremes the gain in recall@10 is -0.450 or +0.600" in said and "attune judge --test" in said
    assert "37 answers among 900 unjudged documents, all in favour of base, would change it" in said
    one = figures | {"turn": {"n_answers": 1, "in_favour_of": "tuned"}}
    assert "1 answer among 900 unjudged documents, all in favour of tuned" in sentence(one, "recall@10")
    assert "The verdict is the same up to both extremes: " in sentence(figures | {"depends": False}, "recall@10")
    assert sentence(figures | {"n_pairs": 0}, "recall@10").startswith("Every document among the first 10")


def test_pairs_that_weigh_most_come_first_and_agreement_never() -> None:
    """A first rank against none, then a second, then ranks 1 and 3; what both find weighs nothing in recall."""
    of = pool([(0, 9, 1), (1, 9, 1)], 10, a=[[0, 1, -1], [2, 3, 4]], b=[[8, 9, -1], [4, 3, 2]])
    assert set(most_telling(of, "a", "b", "recall@10", 9)["document_id"]) == {"d0", "d1", "d8"}
    assert most_telling(of, "a", "b", "recall@10", 9)["document_id"].to_list()[2] == "d1"
    chosen = most_telling(of, "a", "b", "ndcg@10", 9)["document_id"].to_list()
    assert set(chosen[:2]) == {"d0", "d8"} and chosen[2] == "d1" and set(chosen[3:]) == {"d2", "d4"}
    assert most_telling(of, "a", "b", "ndcg@10", 2).height == 2


def test_measures_of_judged_documents_need_refused_ones_for_half_of_the_queries() -> None:
    """One query of two suffices, one of three does not; positives alone never do."""
    rankings = [[0]] * 3
    assert not enough_refused(pool([(0, 0, 1), (1, 0, 1), (2, 0, 0)], 1, a=rankings))
    assert enough_refused(pool([(0, 0, 0), (1, 0, 1), (2, 0, 0)], 1, a=rankings))


def test_runs_and_judgments_are_joined_by_their_ids() -> None:
    """Queries that are left out leave no row; an unranked answer counts; an answer comes before a refusal."""
    run = pl.DataFrame([("q1", 1, "x", 0.5), ("q1", 2, "y", 0.4), ("q0", 1, "x", 0.9)], RUN, orient="row")
    qrels = pl.DataFrame([("q1", "z", 2), ("q1", "x", 1), ("q0", "x", 1)], QRELS, orient="row")
    refused = pl.DataFrame([("q1", "x"), ("q1", "y"), ("q2", "y")], NEGATIVES, orient="row")
    of = pool_of({"a": run}, qrels, refused, ["q2", "q1"])
    documents = {name: row for row, name in enumerate(of.document_ids)}
    grades: Mapping[tuple[int, int], int] = {(q, d): grade for q, d, grade in of.judgments.tolist()}
    assert grades == {
        (0, documents["y"]): 0,
        (1, documents["x"]): 1,
        (1, documents["y"]): 0,
        (1, documents["z"]): 2,
    }
    assert of.rankings["a"][1].tolist() == [[-1, -1], [documents["x"], documents["y"]]]
    assert of.best_relevance == 2
