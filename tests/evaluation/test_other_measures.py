"""Sentences beside the headline: measures that changed beyond chance, and a headline without room."""

import numpy as np
import pytest
from numpy.typing import NDArray

from attune.evaluation.report.other_measures import other_measures
from attune.evaluation.report.summary import Paired, Rule, headline_result
from attune.evaluation.report.verdict import HeadlineResult, verdict
from attune.evaluation.scoring.measures import MEASURES
from attune.evaluation.statistics.significance import compare

RULE = Rule(confidence=0.95, margin=0.02, power=0.8)
N = 200
Values = NDArray[np.float64]


def result_of(base: dict[str, Values], tuned: dict[str, Values], headline: str = "recall@10") -> HeadlineResult:
    """The result of independent queries; measures that are not given score .5 on either side."""
    sides = [dict.fromkeys(MEASURES, np.full(N, 0.5)) | side for side in (base, tuned)]
    paired = compare(*sides, np.arange(N), RULE.confidence)
    scores = Paired([f"q{i}" for i in range(N)], np.arange(N), *sides)
    return headline_result(paired, [], scores, [sides[1]], RULE._replace(headline=headline))


def rising(n: int, by: float = 0.2, start: float = 0.5) -> Values:
    """The first n queries score more by `by`."""
    return np.where(np.arange(N) < n, start + by, start)


def test_a_measure_that_changed_beyond_chance_is_named_where_the_headline_tells_nothing() -> None:
    """recall@10 as before, nDCG@10 .2 better on half of the queries: named, with the interval of the comparison."""
    result = result_of({}, {"ndcg@10": rising(100)})
    one = result.paired["ndcg@10"]
    assert verdict(result).startswith(("No change: ", "Cannot tell: "))
    assert other_measures(result) == (
        f"Changed beyond chance (Holm-corrected): ndcg@10 +0.100 ({one.ci_low:+.3f} to {one.ci_high:+.3f})."
    )


def test_what_chance_explains_is_not_named() -> None:
    """Three queries that gain have an exact p of .25."""
    assert other_measures(result_of({}, {"ndcg@10": rising(3)})) == ""


def test_beside_a_gain_only_losses_are_named() -> None:
    """recall@10 and nDCG@10 gain; MRR@10 loses and is what a reader must know."""
    sides = {"recall@10": rising(100), "ndcg@10": rising(100), "mrr@10": rising(100, -0.2)}
    result = result_of({}, sides)
    assert result.answer == "Better"
    said = other_measures(result)
    assert "mrr@10 -0.100" in said and "ndcg" not in said


def test_three_are_named_and_the_others_counted() -> None:
    """Five changed."""
    names = ("ndcg@10", "mrr@10", "recall@1", "map@100", "recall@5")
    said = other_measures(result_of({}, dict.fromkeys(names, rising(150))))
    assert said.index("ndcg@10") < said.index("mrr@10") < said.index("recall@1 ") and said.endswith(" and 2 more.")


@pytest.mark.parametrize(("level", "is_said"), [(0.93, True), (0.9, True), (0.89, False)])
def test_a_saturated_headline_is_said(level: float, is_said: bool) -> None:
    """From .9 of base on, with what is left to gain."""
    said = other_measures(result_of({"recall@10": np.full(N, level)}, {"recall@10": np.full(N, level)}))
    words = f"recall@10 is nearly saturated (base leaves {1 - level:.3f} to gain): read ndcg@10 and mrr@10 beside it."
    assert said == (words if is_said else "")


def test_another_headline_is_what_verdict_and_figures_are_of() -> None:
    """report.headline ndcg@10: its figures, its p-value, its power; recall@10 is then another measure."""
    result = result_of({}, {"ndcg@10": rising(100), "recall@10": rising(100, -0.2)}, "ndcg@10")
    assert verdict(result).startswith("Better: ndcg@10 went from 0.500 to 0.600 (+0.100, ")
    assert result.shipped.delta == pytest.approx(0.1) and "recall@10 -0.100" in other_measures(result)
