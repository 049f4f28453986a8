"""The page shows the figures of the receipts and runs, shows every text as text, and loads no other file."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from page_inputs import NASTY, changed, comparison, make_page, make_results, sliced

from attune.errors import BadInput
from attune.evaluation.page import highlights
from attune.evaluation.page.contents import sources
from attune.evaluation.page.html import passage
from attune.evaluation.page.provenance import versions
from attune.evaluation.report.results import Results
from attune.stage import sha256_of
from attune.tuning.curve import Point

VOID = {"meta", "link", "br"}


class Reader(HTMLParser):
    """The elements of a page, its texts, and whether every element is closed where it should be."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        self.texts.append(" ".join(data.split()))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Results of eight queries over twenty documents."""
    return make_results(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def html(results: Results) -> str:
    """The page of these results."""
    return make_page(results)


def test_the_page_loads_nothing(html: str) -> None:
    """No script, links to its own parts only, a policy that forbids all others; every element is closed."""
    page = Reader(html)
    assert page.open == []
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "embed", "form", "base", "img"}
    addresses = [
        value for _, given in page.elements for key, value in given.items() if key in ("href", "src", "action")
    ]
    assert addresses and all(str(address).startswith(("#", "data:")) for address in addresses)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    assert "@import" not in html and not any(key.startswith("on") for _, given in page.elements for key in given)
    policies = [given["content"] for _, given in page.elements if given.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_links_and_labels_have_targets(html: str) -> None:
    """No id occurs twice; every link, label and clip path has a target."""
    page = Reader(html)
    ids = [given["id"] for _, given in page.elements if "id" in given]
    assert len(ids) == len(set(ids))
    labels = [id_ for _, given in page.elements for id_ in (given.get("aria-labelledby") or "").split()]
    links = [str(given["href"])[1:] for _, given in page.elements if str(given.get("href", "")).startswith("#")]
    assert labels and links and {*labels, *links} <= set(ids)


def test_markup_in_texts_is_shown_as_text(html: str) -> None:
    """Markup in queries, titles, documents, negatives, slices and parameters is escaped."""
    texts = Reader(html).texts
    assert "planted" not in [key for _, given in Reader(html).elements for key in given]
    assert NASTY in texts  # a title, a negative, a parameter
    assert f"“query 3 {NASTY}”" in texts and f"body of 5 {NASTY}" in texts
    assert any(text.startswith("source: <script>planted = 1</script> $a$") for text in texts)
    assert "\u202e" not in html  # reverses the direction of the text after it


def test_the_page_shows_the_figures_of_receipts(html: str) -> None:
    """Headline, figures of each system, verdicts in words, intervals."""
    texts = Reader(html).texts
    text = " ".join(texts)
    assert "+0.125" in texts and "+0.125: base against tuned" in text
    assert "No clear change : recall@10 went from 0.750 to 0.875." in text
    # recall@1: one of eight with base, five of eight with tuned
    assert "recall@1 0.125 0.125 0.625 0.625 0.625" in re.sub(r"\s+", " ", text)
    assert "– No clear change" in texts
    significant = (
        "0 of 9 measures on test improved significantly and 0 got worse (paired test, Holm-corrected p ≤ 0.05)."
    )
    assert significant in texts
    assert "✓ No slice worse" in texts and "✓ No leak" in texts and "✓ Not overfitted" in texts
    assert "✗ int8 keeps 98.50%" in texts
    assert "✓ Not drifted, re-index" in texts
    costs = "General tasks: largest loss 5.0% (general.spearman); no loss above 7.0% found. "
    costs += "Near-domain tasks: largest loss 6.8% (near_as_typed.ndcg@10); no loss above 10.4% found."
    assert f"{costs} Embeddings of base and tuned cannot be mixed in one index." in texts
    assert "-0.100 to +0.300" in texts


def test_the_headline_says_what_was_new_and_what_it_costs_next_door(html: str) -> None:
    """Above the first section: the protocol in words, and base beside tuned on the near-domain task."""
    shown = headline(html)
    assert "Test: new queries and new documents (split.by: cluster)" in shown
    assert "near as typed 8 0.589 0.549 -0.040" in shown
    assert "nothing" not in shown.lower()


def test_losses_on_tasks_are_told_by_their_intervals() -> None:
    """A task that detects too little is not counted; gains on each leave no loss open; no task is said to be none."""
    receipt = {"verdict": "Not drifted. It did not move.", "is_drifted": False, "is_reindex_needed": False}
    row = {"task": "a", "measure": "spearman", "counts_as": "general", "is_counted": True, "cost": -0.05}
    row |= {"cost_low": -0.08, "cost_high": -0.02, "p_holm": 0.01, "detectable_cost": 0.04, "unmeasured": ""}
    gained = highlights.drift(receipt, [row])
    assert gained.short.startswith("General tasks: tuned gains on each. Near-domain tasks: none.")
    assert gained.tone == "good"
    coarse = {**row, "cost": 0.01, "cost_high": 0.2, "is_counted": False}
    undecided = highlights.drift(receipt | {"is_decided": False}, [coarse])
    assert undecided.short.startswith("General tasks: none that can detect a loss. Near-domain tasks: none.")
    assert undecided.tone == "neutral"
    silent = {"task": "b", "measure": "ndcg@10", "counts_as": "near_domain", "is_counted": False, "unmeasured": "why"}
    told = highlights.drift(receipt, [row, silent, silent | {"measure": "recall@10"}]).short
    assert told.startswith("General tasks: tuned gains on each. Near-domain tasks: none; not measured: b.")


def test_shared_documents_are_no_leak_by_query() -> None:
    """The highlight speaks of queries alone, and gives the share of answers that training knew."""
    audit = {"n_test_queries": 8, "test_leaks.semantic_queries": 0}
    by_query = highlights.leakage(audit, {"by": "query", "test_known_answers_share": 0.6}, "", None)
    assert by_query.short == (
        "None of the 8 test queries is in train or dev, exactly or as a near-duplicate. "
        "Documents are shared: training knew 60% of the answers from other queries."
    )
    by_cluster = highlights.leakage(audit, {"by": "cluster"}, "", None)
    assert by_cluster.short.startswith("None of the 8 test queries or their documents is in train or dev")


def test_wins_and_losses_stand_side_by_side(html: str) -> None:
    """Examples show the ranks of the first relevant document and the top documents of each encoder."""
    text = " ".join(Reader(html).texts)
    assert "rank > 10 with base, rank 1 with tuned" in text
    assert "rank 4 with base, rank > 10 with tuned" in text
    win = html[html.index("“query 3") :]
    rankings = [win.index(f"ranking of {system}") for system in ("base", "tuned")]
    assert rankings[0] < win.index("title_19") < rankings[1] < win.index("✓ relevant")


def test_worse_slices_are_named_on_top(results: Results) -> None:
    """The largest loss comes first; a loss that may be chance is not named."""
    rows = [
        sliced("a", "x", -0.1, -0.2, -0.05, 0.01),
        sliced("a", "y", -0.2, -0.3, -0.1, 0.04),
        sliced("b", "z", -0.3, -0.7, 0.1, 0.06),
    ]
    texts = Reader(make_page(replace(results, slices=rows))).texts
    assert "✗ 2 slices worse" in texts
    assert texts.index("a: y -0.200; a: x -0.100.") < texts.index("Scores")


def test_significant_gains_and_losses_are_counted(results: Results) -> None:
    """Only comparisons on test with a corrected p-value of at most the level count."""
    rows = [
        comparison("test", "a", delta=0.1, p_holm=0.01),
        comparison("test", "b", delta=-0.1, p_holm=0.02),
        comparison("dev", "a", delta=-1.0, p_holm=0.02),
    ]
    better = changed(replace(results, comparisons=rows), "summary", verdict="Better: so it is.")
    texts = Reader(make_page(better)).texts
    assert "✓ Better" in texts
    counts = "1 of 2 measures on test improved significantly and 1 got worse"
    assert f"{counts} (paired test, Holm-corrected p ≤ 0.05)." in texts


def test_a_leaking_test_is_not_called_clean(results: Results) -> None:
    """Leaks are named in the highlights, and nothing says that test was unused."""
    texts = Reader(make_page(replace(results, leaks="3 exact queries"))).texts
    assert "✗ Leaks" in texts
    assert any(text.startswith("3 exact queries of test are also in train or dev.") for text in texts)
    assert not any("unused in training" in text for text in texts)


def headline(html: str) -> str:
    """The text in large letters, and beside it."""
    return re.sub(
        r"\s+", " ", " ".join(Reader(html.partition('<ul class="highlights">')[0].partition("<header>")[2]).texts)
    )


def test_a_fully_leaking_test_has_no_headline_figure(results: Results) -> None:
    """Neither a gain nor wins and losses are shown: they would be of queries that were trained on."""
    without = {"paired_without_leaks": {}, "without_leaks": {"lexical": {"n_queries": 0}}}
    html = make_page(changed(replace(results, leaks="8 exact queries"), "summary", **without))
    shown = headline(html)
    assert "– recall@10 on test: too few queries without leaks" in shown and "+0.125 recall" not in shown
    assert "queries won" not in shown and "<title>recall@10 –: base" in html


def test_a_partly_leaking_test_shows_its_clean_queries(results: Results) -> None:
    """Gain, number and wins are those of the queries without leaks; figures over all queries are marked."""
    clean = {"delta": 0.333, "ci_low": 0.1, "ci_high": 0.5, "p_value": 0.2, "wins": 3, "ties": 2, "losses": 1}
    counts = {"lexical": {"n_queries": 6, "baseline": 0.5, "tuned": 0.833}}
    without = {"paired_without_leaks": {"recall@10": clean}, "without_leaks": counts}
    html = make_page(changed(replace(results, leaks="2 exact queries"), "summary", **without))
    shown = headline(html)
    assert "+0.333 recall@10 on the test queries without leaks, tuned minus base" in shown
    assert "6 of 8 test queries, without leaks" in shown and "3 queries won, 2 tied, 1 lost" in shown
    assert html.count("Over all test queries, leaked ones included.") == 3


def test_too_few_resamples_are_reported(results: Results) -> None:
    """With 50 resamples no corrected p-value of two slices is below 0.05: that none is worse says nothing."""
    texts = Reader(make_page(results, n_resamples=50)).texts
    assert "– Too few resamples to tell" in texts and "✓ No slice worse" not in texts
    assert any("report.n_resamples to 100" in text for text in texts)


def test_a_p_value_at_the_floor_is_an_upper_bound(results: Results) -> None:
    """10,000 resamples yield none below 2 / 10,001: corrected for nine rows, 0.0018 is shown as at most 0.002."""
    rows = [comparison("test", f"m{i}", p=0.0002, p_holm=p) for i, p in enumerate([0.0018] * 8 + [0.02])]
    texts = Reader(make_page(replace(results, comparisons=rows))).texts
    assert texts.count("≤ 0.002") == 8 and "0.020" in texts


def test_the_gain_without_semantic_leaks_is_highlighted(html: str) -> None:
    """The highlight on leakage gives the gain with its interval and the number of queries left out."""
    text = " ".join(Reader(html).texts)
    assert "Without the 2 queries that are semantically close to train or dev" in text
    assert "recall@10 changed by +0.100 (-0.200 to +0.400)." in text


def test_documents_that_leak_in_another_form_are_told_apart(results: Results) -> None:
    """They are counted beside semantic neighbours; without any, the sentence speaks of meaning alone."""
    kinds = ("near_forms", "semantic_crossed_queries")
    counts = {f"{split}_leaks.{kind}": 2 for split in ("dev", "test") for kind in kinds}
    texts = Reader(make_page(changed(results, "receipts", "audit", n_test_documents=16, **counts))).texts
    shares = {kind: texts[texts.index(kind) + 3] for kind in ("near forms", "semantic crossed queries")}
    assert shares == {"near forms": "12.5%", "semantic crossed queries": "25.0%"}
    clean = {"n_queries": 5, "delta": 0.1, "ci_low": -0.1, "ci_high": 0.3}
    audit = {"n_test_queries": 8, "test_leaks.semantic_queries": 2, "test_leaks.near_forms": 1}
    long = highlights.leakage(audit, {"by": "cluster"}, "", clean).long
    assert "1 test documents nearly repeat a text of train or dev in another form" in long
    assert "Without the 3 queries that are close to train or dev by meaning or in another form, themselves" in long
    long = highlights.leakage(audit | {"test_leaks.near_forms": 0}, {"by": "cluster"}, "", clean).long
    assert "another form" not in long and "semantically close to train or dev, themselves" in long


def test_lines_of_code_stay_lines() -> None:
    """Passages keep indents; other control characters and what exceeds the limit go."""
    assert passage("def f():\n\treturn 1\n\n\n# \u202eend", 99) == "def f():\n    return 1\n\n#  end"
    assert passage("a\nbcdef", 4) == "a\nb…"


def test_the_training_chart_marks_the_kept_step(results: Results) -> None:
    """The chart's description names the kept step and the dev scores of the curve it was given."""
    later = changed(replace(results, curve=[Point(0, None, 0.1), Point(7, 0.9, 0.2)]), "receipts", "train", kept_step=7)
    texts = Reader(make_page(later)).texts
    assert any(text.startswith("The encoder of step 7 is kept. dev nDCG@10 0.100 at step 0") for text in texts)


def test_equal_results_give_equal_bytes(results: Results, html: str) -> None:
    """The page holds no date and nothing random."""
    assert make_page(results) == html


def test_provenance_names_files_parameters_and_versions(tmp_path: Path) -> None:
    """Hashes are those of the files; parameters come from both files, without those of gate and demo."""
    (tmp_path / "params.yaml").write_text("report: {confidence: 0.95}\ngate: {min_delta: 0.0}\n")
    (tmp_path / "advanced.yaml").write_text("report: {seed: 42}\ncollect: {columns: {title: ''}}\n")
    (tmp_path / "libraries.yaml").write_text("numpy: 2.4.6\n")
    (tmp_path / "data.parquet").write_bytes(b"rows")
    files = {"onnx/model.onnx": {"sha256": "ab" * 32, "size": 90_322_828}, "config.json": {"sha256": "cd", "size": 3}}
    (tmp_path / "manifest.json").write_text(json.dumps({"base": {"model": "some/encoder"}, "files": files}))
    found = sources([tmp_path], tmp_path, tmp_path / "params.yaml", tmp_path / "libraries.yaml")
    assert found["files"] == [
        {"path": f"{tmp_path}/data.parquet", "n_bytes": 4, "sha256": sha256_of(tmp_path / "data.parquet")},
        {"path": f"{tmp_path}/onnx/model.onnx", "n_bytes": 90_322_828, "sha256": "ab" * 32},
    ]
    assert found["parameters"] == {"report": {"confidence": 0.95, "seed": 42}, "collect": {"columns.title": ""}}
    assert found["encoder"] == {"model": "some/encoder"} and found["versions"] == {"numpy": "2.4.6"}


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "not found"), ("[1, 2]", "got list, expected versions by library"), ("a: [", "not valid YAML")],
)
def test_a_damaged_libraries_file_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    """One line with the file and the reason."""
    file = tmp_path / "libraries.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BadInput, match=re.escape(f"libraries.yaml: {message}")):
        versions(file)
