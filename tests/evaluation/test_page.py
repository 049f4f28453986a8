"""The page shows the figures of the receipts and runs, shows every text as text, and loads no other file."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from page_inputs import NASTY, changed, make_page, make_results, sliced

from attune.errors import BadInput
from attune.evaluation.checks.catalogue import catalogue
from attune.evaluation.page.contents import highlights, sources
from attune.evaluation.page.cpu import cpu_class
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
    assert "recall@1 0.125 0.125 0.625 0.625" in re.sub(r"\s+", " ", text)
    for code, title, sign in (
        ("ATT007", "shipped encoder below base", "– undecided"),
        ("ATT010", "overfitting", "✓ passed"),
        ("ATT011", "drift", "✓ passed"),
        ("ATT017", "int8 file", "✗ failed"),
    ):
        assert sign in texts[texts.index(f"{code} {title}") :][:3], code
        assert texts[texts.index(title) + 2] == sign  # among the highlights, above the table
    assert any(text.startswith("int8 keeps 96.00% of tuned nDCG@10, interval 94.00% to 97.50%: ") for text in texts)
    assert "Not drifted. The space moved." in texts
    assert "-0.100 to +0.300" in texts


def test_the_headline_says_what_was_new_and_what_it_costs_next_door(html: str) -> None:
    """Above the first section: the protocol in words, and base beside tuned on the near-domain task."""
    shown = headline(html)
    assert "Test: new queries and new documents (split.by: cluster)" in shown
    assert "near as typed 8 0.589 0.549 -0.040" in shown
    assert "nothing" not in shown.lower()


def test_wins_and_losses_stand_side_by_side(html: str) -> None:
    """Examples show the ranks of the first relevant document and the top documents of each encoder."""
    text = " ".join(Reader(html).texts)
    assert "rank > 10 with base, rank 1 with tuned" in text
    assert "rank 4 with base, rank > 10 with tuned" in text
    win = html[html.index("“query 3") :]
    rankings = [win.index(f"ranking of {system}") for system in ("base", "tuned")]
    assert rankings[0] < win.index("title_19") < rankings[1] < win.index("✓ relevant")


def test_each_slice_has_a_result_and_the_loss_that_it_could_show(results: Results) -> None:
    """Worse, no loss, or cannot tell; and "none" where no loss could have been found."""
    rows = [
        sliced("a", "x", -0.1, -0.2, -0.05, 0.01),
        sliced("a", "y", 0.2, 0.1, 0.3, 0.04),
        sliced("b", "z", -0.3, -0.7, 0.1, 0.06),
    ]
    table = Reader(make_page(replace(results, slices=rows))).texts
    assert [text for text in table if text in ("worse", "no loss", "cannot tell")] == [
        "worse",
        "no loss",
        "cannot tell",
    ]
    assert table.count("0.250") == 2 and table[table.index("cannot tell") - 1] == "none"


def test_a_leaking_test_is_not_called_clean(results: Results) -> None:
    """The check on leaks fails at the top, and nothing says that test was unused."""
    counts = {"n_test_queries": 8, "without_leaks": {"lexical": {"n_queries": 0}}, "paired_without_leaks": {}}
    texts = Reader(make_page(changed(replace(results, leaks="3 exact queries"), "summary", **counts))).texts
    assert texts[texts.index("leaks by words") + 2] == "✗ failed"
    assert any(text.startswith("8 of 8 test queries leak (100%)") for text in texts)
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


def test_documents_that_leak_in_another_form_are_told_apart(results: Results) -> None:
    """They are counted beside semantic neighbours."""
    kinds = ("near_forms", "semantic_crossed_queries")
    counts = {f"{split}_leaks.{kind}": 2 for split in ("dev", "test") for kind in kinds}
    texts = Reader(make_page(changed(results, "receipts", "audit", n_test_documents=16, **counts))).texts
    shares = {kind: texts[texts.index(kind) + 3] for kind in ("near forms", "semantic crossed queries")}
    assert shares == {"near forms": "12.5%", "semantic crossed queries": "25.0%"}


def test_lines_of_code_stay_lines() -> None:
    """Passages keep indents; other control characters and what exceeds the limit go."""
    assert passage("def f():\n\treturn 1\n\n\n# \u202eend", 99) == "def f():\n    return 1\n\n#  end"
    assert passage("a\nbcdef", 4) == "a\nb…"


def test_the_training_chart_marks_the_step_that_ships(results: Results) -> None:
    """The chart's description names merge's choice and the dev scores of the curve it was given."""
    curve = [Point(0, None, 0.1), Point(7, 0.9, 0.2)]
    texts = Reader(make_page(changed(replace(results, curve=curve), "receipts", "merge", step=7, share=1.0))).texts
    words = "Ships: step 7 with all of its weights. With all of the weights, dev nDCG@10 0.100 at step 0, 0.200 at"
    assert any(text.startswith(words) for text in texts)


def test_the_page_shows_the_choice_with_its_candidates_and_rates(results: Results, html: str) -> None:
    """The sentence, candidates with their retention, probed rates; no explanation where a candidate ships."""
    texts = Reader(html).texts
    assert any(text.startswith("Step 10 at share 0.5 ships, one of 6 candidates: nDCG@10 0.720 on") for text in texts)
    row = texts.index("step 10 at share 0.5 (ships)")
    assert [text for text in texts[row:] if text][1:5] == ["0.720", "0.010", "0.890", "0.600"]
    assert "the average of 2 checkpoints up to step 20 at share 0.5 (next)" in texts
    assert "base" in texts[row:] and "Further candidates, the best on dev first" not in html
    row = texts.index("5e-05 (chosen)")
    assert [text for text in texts[row:] if text][1:4] == ["4", "0.560", "0.550"]
    assert "No change, explained" not in texts
    assert "Probes search fewer documents than the chart's evaluations, and cannot be compared with these." in texts


def test_candidates_beyond_the_first_are_folded(results: Results) -> None:
    """The shipped candidate, the next one and base are open; of two more candidates, the better on dev is first."""
    points = [point | {"general": 0.8} if point["step"] == 20 else point for point in results.points]
    html = make_page(replace(results, points=points))
    open_, _, folded = html.partition("<details><summary>2 more</summary>")
    assert "step 10 at share 0.5 (ships)" in open_ and "(next)" in open_ and "step 20 at share 0.5</th>" not in open_
    assert folded.index("step 20 at share 0.5</th>") < folded.index("step 20 with all of its weights</th>")


def test_the_checks_at_the_top_say_so_themselves() -> None:
    """Those that stop a merge come first, and each is a check of the catalogue."""
    codes = highlights()
    blocking = [each.fails_gate for code in codes for each in catalogue() if each.code == code]
    assert len(blocking) == len(codes) > 3 and blocking == sorted(blocking, reverse=True)


def test_the_page_explains_why_base_is_kept(results: Results) -> None:
    """The sentences of report.json: which candidate came next, what was tried, and the room."""
    kept = {"is_base_kept": True, "sentence": "Base ships <b>.", "tried": "Rates: 5e-05.", "room": "Room for training."}
    texts = Reader(make_page(changed(results, "summary", "choice", **kept))).texts
    assert {"No change, explained", "Base ships <b>.", "Rates: 5e-05.", "Room for training."} <= set(texts)


def test_the_page_of_a_baseline_run_has_base_alone(results: Results) -> None:
    """No checkpoint, no rate: the chart of candidates shows base, and there is no table of rates."""
    base = results.points[0] | {"is_chosen": True}
    alone = replace(results, points=[base], checkpoints=[], rates=[])
    texts = Reader(make_page(changed(alone, "receipts", "merge", step=0, share=0.0))).texts
    assert "Ships: base (0.500). Base 0.500." in texts and "base (ships)" in texts
    assert "rate, dev nDCG@10" not in texts


def test_equal_results_give_equal_bytes(results: Results, html: str) -> None:
    """The page holds no date and nothing random."""
    assert make_page(results) == html


def test_provenance_names_files_parameters_and_versions(tmp_path: Path) -> None:
    """Hashes are those of the files; parameters come from both files, without those of demo."""
    (tmp_path / "params.yaml").write_text("report: {confidence: 0.95}\ndemo: {port: 1}\n")
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
    assert found["cpu"] == cpu_class()


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
