"""Charts use the page's colours and font, have a text alternative, and are equal bytes for equal figures."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from attune.evaluation.page.charts import Gains, forest, gains, interpolation, recall, scatter, training
from attune.evaluation.page.svg import COLOURS, NAMESPACE, Chart
from attune.tuning.curve import Candidate, Point

ROW = {"low": -0.1, "high": 0.3, "delta": 0.125}
CANDIDATES = [
    {"step": step, "n_averaged": n, "share": share, "dev": dev, "is_chosen": dev == 0.72}
    for step, n, share, dev in (
        *((0, 1, 0.0, 0.5), (10, 1, 0.5, 0.72), (10, 1, 1.0, 0.7), (20, 1, 0.5, 0.69), (20, 1, 1.0, 0.6)),
        (20, 2, 0.5, 0.71),
    )
]
NASTY = "<b>$x_1$</b> & %s"


def draw_all() -> list[Chart]:
    """One chart of each kind."""
    return [
        recall({"base": np.linspace(0.1, 0.5, 20), "tuned": np.linspace(0.2, 0.7, 20)}),
        gains(Gains(np.arange(10), 70, np.arange(10)[::-1]), "ndcg@10"),
        scatter(np.array([[0.0, 1.0, 3.0], [1.0, 0.5, 2.0], [1.0, 1.0, 9.0]]), "ndcg@10"),
        forest([ROW | {"label": NASTY}], "measures", "By measure", "change"),
        training([Point(0, None, 0.5), Point(10, 0.9, 0.7)], Candidate(10, 1, 0.5)),
        interpolation(CANDIDATES),
    ]


@pytest.fixture(scope="module")
def charts() -> list[Chart]:
    """One chart of each kind, drawn once."""
    return draw_all()


def test_same_figures_same_bytes(charts: list[Chart]) -> None:
    """Charts hold no date and no random ids."""
    assert [chart.svg for chart in draw_all()] == [chart.svg for chart in charts]


def test_charts_do_not_leak_into_the_page(charts: list[Chart]) -> None:
    """No global style, no fixed colours or fonts, no external address, no id twice on one page."""
    ids: list[str] = []
    for chart in charts:
        root = ElementTree.fromstring(chart.svg)
        assert not {NAMESPACE + "style", NAMESPACE + "metadata"} & {element.tag for element in root.iter()}
        assert not any(placeholder in chart.svg for placeholder in COLOURS.values())
        assert "var(--" in chart.svg and "font:" not in chart.svg
        own = [element.get("id") for element in root.iter() if element.get("id")]
        assert all(id_.startswith(f"{chart.name}-") for id_ in own)
        links = [value[1:] for element in root.iter() for key, value in element.attrib.items() if key == "href"]
        assert set(links) | set(re.findall(r"url\(#([^)]+)\)", chart.svg)) <= set(own)
        ids += own
    assert len(ids) == len(set(ids))


def test_charts_have_a_text_alternative(charts: list[Chart]) -> None:
    """Title and description give the figures; text from the data is shown unchanged."""
    for chart in charts:
        root = ElementTree.fromstring(chart.svg)
        words = {element.get("id"): element.text for element in root}
        assert root.get("role") == "img"
        assert [words[id_] for id_ in root.get("aria-labelledby", "").split()] == [chart.title, chart.description]
    described = {chart.name: chart.description for chart in charts}
    assert described["recall"] == "Mean recall@k on test: base 0.100 at 1, 0.289 at 10; tuned 0.200 at 1, 0.437 at 10."
    assert described["gains"].startswith(
        "45 queries gained, 70 are unchanged, 45 lost; 10 gained and 35 lost more than 0.5."
    )
    assert described["scatter"].startswith("3 queries lie above the diagonal (tuned is better) and 2 below it.")
    assert described["measures"] == f"{NASTY} +0.125 (-0.100 to +0.300)."
    assert described["training"] == (
        "Ships: step 10 at share 0.5. With all of the weights, dev nDCG@10 0.500 at step 0, 0.700 at step 10; loss "
        "0.900 at step 10."
    )
    assert described["interpolation"] == (
        "Ships: step 10 at share 0.5 (0.720). Base 0.500. At shares 0.5, 1: step 10 0.720, 0.700; step 20 0.690, "
        "0.600; the average of 2 checkpoints up to step 20 0.710."
    )
    shown = ElementTree.fromstring(charts[3].svg)
    assert NASTY in [element.text for element in shown.iter(NAMESPACE + "text")]


def test_charts_without_data_are_drawn() -> None:
    """No training, no gain, no slice with an interval: the chart is drawn and says so."""
    untrained = training([Point(0, None, 0.5)], Candidate(0, 1, 0.0)).description
    assert untrained == "Ships: base. With all of the weights, dev nDCG@10 0.500 at step 0."
    base = CANDIDATES[0] | {"is_chosen": True}
    assert interpolation([base]).description == "Ships: base (0.500). Base 0.500."
    averaged = [base, CANDIDATES[5]]
    assert interpolation(averaged).description.endswith("the average of 2 checkpoints up to step 20 0.710.")
    assert gains(Gains(np.zeros(10, int), 5, np.zeros(10, int)), "ndcg@10").description.startswith(
        "0 queries gained, 5 are"
    )
    lone = {"low": None, "high": None, "delta": 0.1, "label": "x"}
    assert forest([lone], "slices", "By slice", "change").description == "No row has enough queries for an interval."


def test_the_chart_of_candidates_has_a_line_per_share() -> None:
    """A legend entry for each share, base and the candidate that ships; open markers for averages; many shares fit."""
    shares = [place / 8 for place in range(1, 9)]
    points = [CANDIDATES[0]] + [
        {"step": step, "n_averaged": n, "share": share, "dev": 0.5 + share / step, "is_chosen": False}
        for step, n in ((10, 1), (20, 1), (20, 2))
        for share in shares
    ]
    root = ElementTree.fromstring(interpolation(points).svg)
    texts = [element.text for element in root.iter(NAMESPACE + "text")]
    assert [text for text in texts if str(text).startswith("share ")] == [f"share {share:g}" for share in shares]
    assert "base" in texts and "ships" not in texts
