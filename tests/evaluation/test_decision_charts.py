"""Charts of gains by cost and of labels: the text alternatives give the figures, and equal figures equal bytes."""

from xml.etree import ElementTree

from page_inputs import DECISION

from attune.evaluation.page.decision_charts import gains, labels
from attune.evaluation.page.svg import COLOURS

POINTS = [
    {"share": share, "n_queries": n, "test_ndcg@10": test, "dev_ndcg@10": test - 0.1}
    for share, n, test in ((0.5, 100, 0.4), (0.5, 110, 0.42), (1.0, 210, 0.5))
]


def test_gains_are_described_from_cheap_to_dear() -> None:
    """Each with its interval and whether it needs a new index; the named one is told."""
    chart = gains(DECISION)
    assert chart.description == (
        "From the cheapest to run to the dearest: base +0.000 (-0.100 to +0.100); tuned int8 +0.125 (+0.025 to "
        "+0.225), with a new index; tuned +0.125 (+0.025 to +0.225), with a new index. The rule names tuned int8."
    )


def test_labels_are_described_by_their_means() -> None:
    """Two draws of half of the labels: .41 with 105 queries."""
    assert labels(POINTS).description == (
        "Mean over draws: test nDCG@10 0.410 with 105, 0.500 with 210; dev nDCG@10 0.310 with 105, 0.400 with 210."
    )


def test_equal_figures_give_equal_bytes_in_the_pages_colours() -> None:
    """No placeholder colour is left."""
    for draw, given in ((gains, DECISION), (labels, POINTS)):
        first, second = draw(given), draw(given)  # type: ignore[operator]
        assert first.svg == second.svg and ElementTree.fromstring(first.svg) is not None
        assert not any(placeholder in first.svg for placeholder in COLOURS.values())
