"""The report's page says what the receipts and the runs say, shows every text as text, and needs no other file."""

import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from page_inputs import COMPARISONS, NASTY, SLICES, make_page, write_inputs
from ruamel.yaml import YAML

from attune.errors import BadInput
from attune.evaluation.page.html import passage
from attune.evaluation.page.provenance import NOT_RUN, parameters

ROOT = Path(__file__).resolve().parents[2]
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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inputs, and the page made of them (to be copied by whoever changes them)."""
    folder = tmp_path_factory.mktemp("page")
    write_inputs(folder)
    make_page(folder)
    return folder


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    return (folder / "metrics/report.html").read_text(encoding="utf-8")


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "page")


def changed(folder: Path, name: str, **figures: object) -> None:
    """Changes figures of a receipt."""
    path = folder / f"metrics/{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | figures))


def test_it_is_one_page_that_needs_no_other(html: str) -> None:
    """No script, no address but those of its own parts, a policy that forbids all others; every element closed."""
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


def test_its_parts_find_each_other(html: str) -> None:
    """No id twice; every link, label and clip path has its target."""
    page = Reader(html)
    ids = [given["id"] for _, given in page.elements if "id" in given]
    assert len(ids) == len(set(ids))
    labels = [id_ for _, given in page.elements for id_ in (given.get("aria-labelledby") or "").split()]
    links = [str(given["href"])[1:] for _, given in page.elements if str(given.get("href", "")).startswith("#")]
    assert labels and links and {*labels, *links} <= set(ids)


def test_markup_in_texts_is_shown_as_text(html: str) -> None:
    """In queries, titles, documents, negatives, slices and parameters alike."""
    texts = Reader(html).texts
    assert "planted" not in [key for _, given in Reader(html).elements for key in given]
    assert NASTY in texts  # a title, a negative, a parameter
    assert f"“query 3 {NASTY}”" in texts and f"body of 5 {NASTY}" in texts
    assert any(text.startswith("source: <script>planted = 1</script> $a$") for text in texts)
    assert "\u202e" not in html  # a character that turns what follows around


def test_it_says_what_the_receipts_say(html: str) -> None:
    """The headline, each system's figures, the verdicts in words, the intervals."""
    texts = Reader(html).texts
    text = " ".join(texts)
    assert "+0.125" in texts and "+0.125: base against tuned" in text
    assert "No clear change : recall@10 went from 0.750 to 0.875." in text
    # recall@1: one of eight with base, five of eight with tuned
    assert "recall@1 0.125 0.125 0.625 0.625 0.625" in re.sub(r"\s+", " ", text)
    assert (
        "– No clear change" in texts
        and "On test 0 of 9 measures gained and 0 lost (p < 0.05 after Holm's correction)." in texts
    )
    assert "✓ No slice lost" in texts and "✓ No leak" in texts and "✓ Not overfitted" in texts
    assert "✗ int8 keeps 98.50%" in texts
    assert "✓ Not drifted, re-index" in texts
    assert (
        "Largest loss on a general task: 5.0% (general.spearman). Vectors of base and tuned cannot be mixed." in texts
    )
    assert "-0.100 to +0.300" in texts and "too few" in texts


def test_wins_and_losses_stand_side_by_side(html: str) -> None:
    """With the ranks of the first relevant document, and the documents that each encoder finds."""
    text = " ".join(Reader(html).texts)
    assert "rank > 10 with base, rank 1 with tuned" in text
    assert "rank 4 with base, rank > 10 with tuned" in text
    win = html[html.index("“query 3") :]
    assert win.index("base finds") < win.index("title_19") < win.index("tuned finds") < win.index("✓ relevant")


def test_slices_that_lost_are_named_on_top(copied: Path) -> None:
    """Largest loss first; one that may be chance is not named."""
    rows = [
        "a,x,9,0.5,0.4,-0.1,-0.2,-0.05,0.01",
        "a,y,9,0.5,0.3,-0.2,-0.3,-0.1,0.04",
        "b,z,9,0.5,0.2,-0.3,-0.7,0.1,0.06",
    ]
    (copied / "metrics/plots/slices.csv").write_text("\n".join([SLICES, *rows]) + "\n")
    texts = Reader(make_page(copied)).texts
    assert "✗ 2 slices lost" in texts
    assert texts.index("a: y -0.200; a: x -0.100.") < texts.index("Scores")


def test_gains_beyond_chance_are_counted(copied: Path) -> None:
    rows = [
        "test,a,8,0,0,0.1,0,0,0,0.01,1,1,1,0",
        "test,b,8,0,0,-0.1,0,0,0,0.02,1,1,1,0",
        "dev,a,8,0,0,-1,0,0,0,0.02,1,1,1,0",
    ]
    (copied / "metrics/plots/comparisons.csv").write_text("\n".join([COMPARISONS, *rows]) + "\n")
    changed(copied, "report", verdict="Better: so it is.")
    texts = Reader(make_page(copied)).texts
    assert "✓ Better" in texts
    assert "On test 1 of 2 measures gained and 1 lost (p < 0.05 after Holm's correction)." in texts


def test_a_test_that_leaks_is_not_called_clean(copied: Path) -> None:
    split = json.loads((copied / "metrics/split.json").read_text())
    changed(copied, "split", **split | {"test_leaks.exact_queries": 3})
    texts = Reader(make_page(copied)).texts
    assert "✗ Leaks" in texts and any(
        text.startswith("3 exact queries of test are also in train or dev.") for text in texts
    )
    assert not any("nothing was trained" in text for text in texts)


def headline(html: str) -> str:
    """What stands in large letters, and beside it."""
    return " ".join(Reader(html.partition('<ul class="answers">')[0].partition("<header>")[2]).texts)


def test_a_test_that_leaks_whole_has_no_large_number(copied: Path) -> None:
    """Nor queries won and lost: what could be told would be of queries that were trained on."""
    split = json.loads((copied / "metrics/split.json").read_text())
    changed(copied, "split", **split | {"test_leaks.exact_queries": 8})
    changed(copied, "report", paired_without_leaks={}, without_leaks={"lexical": {"n_queries": 0}})
    html = make_page(copied)
    told = re.sub(r"\s+", " ", headline(html))
    assert "– recall@10 on test, where hardly a query is clean" in told and "+0.125 recall" not in told
    assert "queries won" not in told and "<title>recall@10 –: base" in html


def test_a_test_that_leaks_in_part_shows_the_figures_of_its_clean_queries(copied: Path) -> None:
    """Their gain, their number, their wins; and what is over all queries is said to be."""
    split = json.loads((copied / "metrics/split.json").read_text())
    changed(copied, "split", **split | {"test_leaks.exact_queries": 2})
    clean = {"delta": 0.333, "ci_low": 0.1, "ci_high": 0.5, "p_value": 0.2, "wins": 3, "ties": 2, "losses": 1}
    counts = {"lexical": {"n_queries": 6, "baseline": 0.5, "tuned": 0.833}}
    changed(copied, "report", paired_without_leaks={"recall@10": clean}, without_leaks=counts)
    html = make_page(copied)
    told = re.sub(r"\s+", " ", headline(html))
    assert "+0.333 recall@10 on the test queries that do not leak, tuned minus base" in told
    assert "6 of 8 test queries, those that do not leak" in told and "3 queries won, 2 tied, 1 lost" in told
    assert html.count("Over all test queries, those that leak included.") == 3


def test_too_few_resamples_are_said_to_be(copied: Path) -> None:
    """With 50, no p-value corrected for two slices is below 0.05: that none lost says nothing."""
    settings = YAML(typ="safe").load((copied / "params.yaml").read_text())
    settings["report"]["n_resamples"] = 50
    with (copied / "params.yaml").open("w") as file:
        YAML(typ="safe").dump(settings, file)
    texts = Reader(make_page(copied)).texts
    assert "– Too few resamples to tell" in texts and "✓ No slice lost" not in texts
    assert any("raise report.n_resamples to 100 or more" in text for text in texts)


def test_a_p_value_at_the_floor_is_an_upper_bound(copied: Path) -> None:
    """10,000 resamples find none below 2 / 10,001: corrected for nine rows, 0.0018 is told as at most 0.002."""
    rows = [f"test,m{i},8,0,0,0.1,0,0,0.0002,{p},1,1,1,0" for i, p in enumerate([0.0018] * 8 + [0.02])]
    (copied / "metrics/plots/comparisons.csv").write_text("\n".join([COMPARISONS, *rows]) + "\n")
    texts = Reader(make_page(copied)).texts
    assert texts.count("≤ 0.002") == 8 and "0.020" in texts


def test_the_gain_without_what_lies_near_in_meaning_stands_on_the_card(html: str) -> None:
    text = " ".join(Reader(html).texts)
    assert "recall@10 +0.100 (-0.200 to +0.400) without the 2 near in meaning, by themselves or by an answer." in text


def test_lines_of_code_stay_lines() -> None:
    """Indents, too; other control characters and what is too long go."""
    assert passage("def f():\n\treturn 1\n\n\n# \u202eend", 99) == "def f():\n    return 1\n\n#  end"
    assert passage("a\nbcdef", 4) == "a\nb…"


def test_a_later_round_shows_its_own_training(copied: Path) -> None:
    """Its curve, its receipts."""
    (copied / "metrics/plots/training_r2.csv").write_text("seed,step,loss,dev_ndcg@10\n13,0,,0.1\n13,7,0.9,0.2\n")
    (copied / "metrics/train_r2.json").write_text('{"n_steps": 7, "kept_step": 7}')
    (copied / "metrics/mine_r2.json").write_text('{"n_triplets": 4321, "scored_by": "reranker"}')
    texts = Reader(make_page(copied, round="r2")).texts
    assert any(text.startswith("The encoder of step 7 is kept. dev nDCG@10 0.100 at step 0") for text in texts)
    assert "4,321" in texts


def test_same_inputs_same_bytes(folder: Path, html: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No date, no chance; hashes are those of the files, and the gate's floors, which shape nothing, are not shown."""
    assert make_page(folder) == html
    corpus = folder / "data/prepared/corpus.parquet"
    texts = Reader(html).texts
    assert hashlib.sha256(corpus.read_bytes()).hexdigest() in texts and "ab" * 32 in texts
    assert "prompt" in texts and "min_delta" not in texts


def test_the_stage_runs_again_when_a_shown_parameter_changes() -> None:
    """dvc.yaml tracks exactly the sections that the page shows, and the file with the versions."""
    stage = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]["page"]
    tracked = {"page"} | {name for entry in stage["params"] if "params.yaml" in entry for name in entry["params.yaml"]}
    assert tracked == set(parameters(ROOT / "params.yaml"))
    assert not tracked & set(NOT_RUN) and "libraries.yaml" in stage["deps"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics/plots/slices.csv", None, "slices.csv: not found; run `dvc repro`"),
        ("metrics/plots/slices.csv", "slice,bin\na,b\n", "slices.csv: no column n, base,"),
        ("metrics/plots/slices.csv", f"{SLICES}\na,x,many,,,,,,\n", "slices.csv:2: n is 'many', expected Int64;"),
        ("metrics/report.json", None, "report.json: not found"),
        ("params.yaml", "[1, 2]", "params.yaml: got list, expected sections"),
        ("params.yaml", "a: [", "params.yaml: not YAML"),
    ],
)
def test_what_is_missing_or_damaged_is_named(copied: Path, file: str, content: str | None, message: str) -> None:
    """One line, and the page that was there before is left as it was."""
    before = (copied / "metrics/report.html").read_bytes()
    (copied / file).unlink() if content is None else (copied / file).write_text(content)
    with pytest.raises(BadInput, match=re.escape(message)):
        make_page(copied)
    assert (copied / "metrics/report.html").read_bytes() == before
