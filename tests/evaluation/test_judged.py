"""The page shows who judged mined negatives, and how many of them are answers."""

from pathlib import Path

import pytest
from page_inputs import NASTY, changed, make_page, make_results

from attune.evaluation.page import contents


def test_judged_negatives_are_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence of each sheet, escaped; that of an earlier mining is marked; without one the next step is named."""
    without = make_results(tmp_path)
    charts = contents.charts_of(without)
    monkeypatch.setattr(contents, "charts_of", lambda _: charts)  # drawing them again takes seconds
    assert "Nobody has judged how many mined negatives are answers" in make_page(without)
    entries = {
        "r1": {"sentence": f"By {NASTY}.", "is_current": True},
        "old": {"sentence": "By Ann.", "is_current": False},
    }
    page = make_page(changed(without, "judged", **entries))
    assert "By &lt;script&gt;planted = 1&lt;/script&gt;" in page and "Nobody has judged" not in page
    assert "By Ann. An earlier mining was judged, not this one." in page
