"""Right-to-left texts, combining marks and joined emoji in report.md's cells and on the page."""

from dataclasses import replace
from pathlib import Path

import pytest
from directions import ARABIC, HEBREW, HINDI, TEXTS, adrift
from page_inputs import changed, make_page, make_results, sliced

from attune.evaluation.page.html import excerpt, passage
from attune.evaluation.report.excerpts import isolated, isolated_words
from attune.evaluation.report.markdown import plain, table

FAILED = f"Worse on 1 of 3 slices: stratum: {HEBREW[:3]} (-0.100 nDCG@10 on 5 queries)."


@pytest.mark.parametrize("text", TEXTS)
def test_letters_marks_and_joined_emoji_survive(text: str) -> None:
    """Excerpt, passage and cell hold every character in its order; only right-to-left cells get isolates."""
    assert excerpt(text, 100) == passage(text, 100) == text
    assert plain(text).removeprefix("\u2068").removesuffix("\u2069") == text
    assert (plain(text) != text) == (text in (HEBREW, ARABIC)) == (isolated(text) != text)


def test_cells_and_sentences_by_hand() -> None:
    """A cell is isolated as a whole, after the cut; in a sentence the words alone, not the number beside them."""
    cell = plain("שלום | world", 9)
    assert table(["query", "n"], [[cell, "3"]]).splitlines()[-1] == "| \u2068שלום \\| w…\u2069 | 3 |"
    assert plain("stratum: שלום (-0.1, 5 queries), ok", None) == "stratum: \u2068שלום\u2069 (-0.1, 5 queries), ok"
    assert isolated_words("'שלום 2 עולם' (40 answers), 'أهلا'") == (
        "'\u2068שלום 2 עולם\u2069' (40 answers), '\u2068أهلا\u2069'"
    )
    assert isolated_words(HINDI) == HINDI and isolated("recall@10") == "recall@10"


def page(folder: Path) -> str:
    """Returns a page with right-to-left texts in every place that shows texts from data."""
    results = make_results(folder)
    documents = {id_: {**each, "title": HEBREW, "text": ARABIC} for id_, each in results.documents.items()}
    mined = {"positive_title": HEBREW, "positive_text": ARABIC, "negative_title": "", "negative_text": HEBREW}
    results = replace(
        results,
        documents=documents,
        wins=[{**each, "query": HEBREW} for each in results.wins],
        losses=[{**each, "query": ARABIC} for each in results.losses],
        negatives=[{**results.negatives[0], **mined, "text": ARABIC}],
        slices=[sliced("stratum", HEBREW, -0.1, -0.3, -0.06, 0.01)],
        tasks=[{**results.tasks[0], "task": "שאלות"}, *results.tasks[1:]],
    )
    counts = {**results.summary["slice_counts"], "outcome": "failed", "sentence": FAILED}
    encoder = changed(results, "receipts", "base_encoder", model="data/מודל")
    return make_page(changed(encoder, "summary", slice_counts=counts))


def test_every_right_to_left_text_of_the_page_has_its_own_direction(tmp_path: Path) -> None:
    """Queries, titles, texts, slices, tasks and the sentences of checks, each within dir="auto", bdi or isolates."""
    shown = page(tmp_path)
    assert adrift(shown) == []
    assert all(shown.count(text) >= 3 for text in (HEBREW, ARABIC))
    assert shown.count("stratum: \u2068איך\u2069 (-0.100 nDCG@10 on 5 queries)") == 3  # top, table of checks, slices
    assert set(adrift(shown.replace("<bdi>", "<b>").replace("</bdi>", "</b>"))) >= {HEBREW, "data/מודל"}
    assert adrift(shown.replace(' dir="auto"', ""))
