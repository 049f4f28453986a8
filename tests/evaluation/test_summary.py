"""Scores without leaked queries, the part of report.json that says how much a leak is worth."""

import numpy as np

from attune.evaluation.report.summary import leaked_queries, without_leaks
from attune.tables import Leak


def test_scores_leave_out_queries_that_leak_directly_or_by_an_answer() -> None:
    """Of four queries one is near another, one has a leaked document, one is close in meaning only."""
    leaks = [
        Leak("test", "near_queries", "q1", "x", 0.9),
        Leak("test", "shared_documents", "d2", "d2", 1.0),
        Leak("test", "semantic_queries", "q3", "y", 0.85),
        Leak("dev", "exact_queries", "q4", "x", 1.0),
    ]
    answers = [(f"q{i}", f"d{i}") for i in range(1, 5)]
    leaked = leaked_queries(leaks, answers)
    assert leaked == {"lexical": {"q1", "q2"}, "any": {"q1", "q2", "q3"}}
    scores = {"tuned": np.array([1.0, 1.0, 0.5, 0.25])}
    means = without_leaks(["q1", "q2", "q3", "q4"], scores, leaked)
    assert means == {"lexical": {"n_queries": 2, "tuned": 0.375}, "any": {"n_queries": 1, "tuned": 0.25}}
    assert without_leaks(["q1"], {"tuned": np.ones(1)}, {"any": {"q1"}}) == {"any": {"n_queries": 0}}
