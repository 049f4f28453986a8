"""Scores without leaked queries, and the words for what was new in the test, parts of report.json."""

import numpy as np

from attune.evaluation.report.panels import near_domain, tasks_of
from attune.evaluation.report.protocol import new_in_test, only_like_these
from attune.evaluation.report.without_leaks import leaked_queries, without_leaks
from attune.tables import Leak


def test_scores_leave_out_queries_that_leak_directly_or_by_an_answer() -> None:
    """Of six queries two leak by words, two by meaning alone, one through a document's other form, one in dev."""
    leaks = [
        Leak("test", "near_queries", "q1", "x", 0.9),
        Leak("test", "shared_documents", "d2", "d2", 1.0),
        Leak("test", "semantic_queries", "q3", "y", 0.85),
        Leak("dev", "exact_queries", "q4", "x", 1.0),
        Leak("test", "near_forms", "d5", "d9", 0.8),
        Leak("test", "semantic_crossed_queries", "q6", "d9", 0.8),
    ]
    answers = [(f"q{i}", f"d{i}") for i in range(1, 7)]
    leaked = leaked_queries(leaks, answers)
    assert leaked == {"lexical": {"q1", "q2"}, "any": {"q1", "q2", "q3", "q5", "q6"}}
    scores = {"tuned": np.array([1.0, 1.0, 0.5, 0.25, 0.25, 0.0])}
    means = without_leaks([f"q{i}" for i in range(1, 7)], scores, leaked)
    assert means == {"lexical": {"n_queries": 4, "tuned": 0.25}, "any": {"n_queries": 1, "tuned": 0.25}}
    assert without_leaks(["q1"], {"tuned": np.ones(1)}, {"any": {"q1"}}) == {"any": {"n_queries": 0}}


def test_the_protocol_is_told_in_words() -> None:
    """Queries and documents, or queries alone with what training knew; an older receipt knew clusters only."""
    assert new_in_test({"by": "cluster"}) == "new queries and new documents (split.by: cluster)"
    assert new_in_test({"n_test_queries": 3}) == new_in_test({"by": "cluster"})
    assert new_in_test({"by": "query", "test_known_answers_share": 0.598}) == (
        "new queries over known documents; training knew 60% of the answers from other queries, and mined negatives "
        "may answer test queries (split.by: query)"
    )
    assert new_in_test({"by": "query"}) == (
        "new queries over known documents; mined negatives may answer test queries (split.by: query)"
    )


def test_leaks_are_part_of_what_was_new() -> None:
    """Where a given split leaks, the sentence does not claim that all was new."""
    assert new_in_test({"by": "cluster"}, "2 near queries") == (
        "new queries and new documents, but for 2 near queries (split.by: cluster)"
    )


def test_a_verdict_without_other_queries_says_so() -> None:
    """A task of other people's queries is enough; rewritten test queries are the same queries."""
    general = {"g.spearman": 0.5, "g.n": 3, "g.counts_as": "general"}
    assert only_like_these(general) == "Measured on queries like these only."
    typed = general | {"near_as_typed.counts_as": "near_domain"}
    rewritten = "Measured on queries like these only, as given and as rewritten by rules."
    assert only_like_these(typed) == rewritten
    assert only_like_these(typed | {"near_as_indexed.counts_as": "near_domain"}) == ""
    assert only_like_these(general | {"tickets.counts_as": "near_domain"}) == ""


def test_tasks_have_their_losses_where_drift_judges_them() -> None:
    """The loss belongs to the judged measure alone; near-domain rows are those of nDCG@10."""
    base = {"near_as_typed.ndcg@10": 0.6, "near_as_typed.recall@10": 0.7, "near_as_typed.n": 9}
    base |= {"near_as_typed.counts_as": "near_domain", "n_general_texts": 4}
    tuned = base | {"near_as_typed.ndcg@10": 0.57}
    judged = {"measure": "ndcg@10", "cost": 0.05, "cost_low": 0.01, "cost_high": 0.09, "detectable_cost": 0.06}
    judged |= {"p_holm": 0.03}
    drift = {f"near_as_typed.{key}": value for key, value in (judged | {"is_counted": True}).items()}
    first, second = tasks_of(base, tuned, drift)
    assert (first["n"], first["base"], first["tuned"], first["cost"], first["is_counted"]) == (9, 0.6, 0.57, 0.05, True)
    assert (first["p_holm"], first["unmeasured"]) == (0.03, "")
    assert second["measure"] == "recall@10" and "cost" not in second
    assert near_domain([first, second]) == [first]
    (unjudged, _) = tasks_of(base, tuned, {"near_as_typed.unmeasured": "all items are one cluster"})
    assert "cost" not in unjudged and not unjudged["is_counted"]
    assert unjudged["unmeasured"] == "all items are one cluster"
