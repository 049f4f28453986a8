"""The README says what is: its figures are those of metrics/, its map is the tree, its commands and links exist."""

import importlib.util
import json
import re
import subprocess
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import typer

from attune.cli.main import app
from attune.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ("README.md", "CONTRIBUTING.md", "docs/experiments.md", "CHANGELOG.md", "data/README.md")


def load_tables() -> Any:
    """bench/readme.py, which is no package's module."""
    spec = importlib.util.spec_from_file_location("readme_tables", ROOT / "bench" / "readme.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tables = load_tables()


def mapped(page: str) -> list[str]:
    """The files of the project map, each by its whole path; a line that ends in / opens a folder."""
    section = page.partition("## Project map\n\n```\n")[2].partition("```")[0]
    folders: list[tuple[int, str]] = []
    files = []
    for line in section.splitlines():
        depth, name = len(line) - len(line.lstrip()), line.split()[0]
        folders = [(above, folder) for above, folder in folders if above < depth]
        path = "".join(folder for _, folder in folders) + name
        if name.endswith("/"):
            folders.append((depth, name))
        else:
            files.append(path)
    return files


def commands(page: str, program: str) -> set[str]:
    """The first words after a program's name, wherever the page shows code."""
    code = re.findall(r"```.*?```|`[^`\n]+`", page, re.DOTALL)
    return {name for text in code for name in re.findall(rf"(?<![\w./-]){program} ([a-z][a-z0-9-]*)", text)}


def broken_links(page: str, folder: Path) -> list[str]:
    """Relative links that lead to no file or to no heading of this page."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page) if "://" not in link]
    return [
        link
        for link in links
        if (link[1:] not in anchors if link.startswith("#") else not (folder / link.partition("#")[0]).exists())
    ]


def write_metrics(folder: Path) -> Path:
    """The part of metrics/ that the table shows."""
    names = ("recall@10", "mrr@10", "ndcg@10")
    compared = {"delta": 0.125, "ci_low": 0.1, "ci_high": 0.15, "p_value": 0.0002}
    report = {
        "verdict": "Better: so it is.",
        "systems": {"base": dict.fromkeys(names, 0.5), "tuned": dict.fromkeys(names, 0.625)},
        "paired": dict.fromkeys(names, compared) | {"map@100": compared},
        "without_leaks": {"any": {"n_queries": 1000, "delta": 0.1, "ci_low": -0.01, "ci_high": 0.2}},
    }
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "tuned.json").write_text(json.dumps({"n_queries": 1234}))
    return folder


def test_the_examples_table_by_hand(tmp_path: Path) -> None:
    """A row per recipe; what is left without leaks only where something leaks and something is left."""
    compared = {"recall@10": {"delta": 0.125, "ci_low": 0.1, "ci_high": 0.15}}
    clean = {"recall@10": {"delta": -0.01, "ci_low": -0.05, "ci_high": 0.03}}
    scores = {system: {"recall@10": value} for system, value in (("bm25", 0.25), ("base", 0.5), ("tuned", 0.625))}
    for name, n_clean in (("a", 1000), ("b", 600), ("c", 1)):
        leaks = {"without_leaks": {"lexical": {"n_queries": n_clean}}, "paired_without_leaks": clean}
        report = {"n_test_queries": 1000, "systems": scores, "paired": compared} | leaks
        (tmp_path / f"{name}.json").write_text(json.dumps(report))
    rows = [line.split(" | ")[-3:] for line in tables.examples(tmp_path).splitlines()[2:]]
    gain = "**+0.125** [+0.100, +0.150]"
    assert rows == [[gain, "0", " |"], [gain, "400", "**-0.010** [-0.050, +0.030] |"], [gain, "999", " |"]]
    first = tables.examples(tmp_path).splitlines()[2]
    assert first.startswith("| [a](examples/a.yaml) | 1,000 | 0.250 | 0.500 | 0.625 | ")


def test_the_results_table_by_hand(tmp_path: Path) -> None:
    """Three digits, systems in the report's order, the delta with its interval and p-value, the verdict below."""
    assert tables.results(write_metrics(tmp_path / "metrics")).splitlines() == [
        "| system | recall@10 | mrr@10 | ndcg@10 |",
        "| --- | ---: | ---: | ---: |",
        "| base | 0.500 | 0.500 | 0.500 |",
        "| tuned | 0.625 | 0.625 | 0.625 |",
        "| tuned minus base | **+0.125** | **+0.125** | **+0.125** |",
        "| its interval | +0.100 to +0.150 | +0.100 to +0.150 | +0.100 to +0.150 |",
        "| its p-value | p < 0.001 | p < 0.001 | p < 0.001 |",
        "",
        "Better: so it is. Measured on 1,234 test queries. Nothing in test is alike in words to what training sees; "
        "234 of these queries are near to it in meaning, by the base encoder's own judgment, and without them the gain "
        "in recall@10 is +0.100 (-0.010 to +0.200).",
    ]


def test_putting_a_table_in_changes_nothing_else_and_can_be_repeated() -> None:
    """Text around the markers stays, backslashes in the new text are kept, and a second time changes nothing."""
    page = "before\n<!-- diff -->\nold\ntwo lines\n<!-- /diff -->\nafter\n"
    put = tables.put(page, "diff", r"\1 new")
    assert put == "before\n<!-- diff -->\n\\1 new\n<!-- /diff -->\nafter\n"
    assert tables.put(put, "diff", tables.between(put, "diff")) == put


@pytest.mark.parametrize("page", ["no markers", "<!-- diff -->\nx\n<!-- /diff -->\n" * 2, "<!-- diff -->\nunclosed"])
def test_lost_or_doubled_markers_get_one_line(page: str) -> None:
    """A table is never written to the wrong place."""
    with pytest.raises(BadInput, match=r"README\.md: [02] pairs of markers <!-- diff -->"):
        tables.put(page, "diff", "new")


def test_figures_that_are_not_there_or_not_json_get_one_line(tmp_path: Path) -> None:
    """No traceback before the first pipeline run."""
    with pytest.raises(BadInput, match=r"report\.json: not found; run `make repro` first"):
        tables.results(tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(BadInput, match=r"report\.json: not JSON"):
        tables.results(tmp_path)


def test_without_the_tag_there_is_no_diff_table(tmp_path: Path) -> None:
    """Outside git, or in a clone without the tag, the README's table is left as it is."""
    assert tables.diff(tmp_path) is None


@pytest.fixture
def committed_metrics() -> None:
    """Skips where metrics/ differs from the last commit: whoever tries something has not written it up yet."""
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "metrics"], cwd=ROOT, check=False).returncode
    if changed:
        pytest.skip("metrics/ is not as committed; `make readme` before you commit it")


def test_the_results_are_those_of_metrics(committed_metrics: None) -> None:
    """`make readme` was run after the last pipeline run that was committed."""
    assert tables.between(README, "results") == tables.results(ROOT / "metrics")


def test_the_diff_is_that_of_dvc(committed_metrics: None) -> None:
    """`make readme` was run after the last pipeline run that was committed, with the tag in place."""
    found = tables.diff(ROOT)
    if found is None:
        pytest.skip("no tag `baseline` here: run `make baseline`")
    assert tables.between(README, "diff") == found


def test_the_map_is_the_tree() -> None:
    """Every file of the package is on the map and no other; a folder's line stands for its __init__.py."""
    files = [path for path in (ROOT / "src/attune").rglob("*.*") if path.suffix in (".py", ".j2")]
    files = [path for path in files if path.name != "__init__.py"]
    named = [path for path in mapped(README) if path.startswith("src/attune/")]
    assert sorted(named) == sorted(path.relative_to(ROOT).as_posix() for path in files)


def test_the_rest_of_the_map_exists() -> None:
    """What the map names outside the package is there; metrics/ comes of the pipeline."""
    assert [path for path in mapped(README) if not (ROOT / path).exists()] == []


def test_every_command_exists() -> None:
    """make targets and attune commands that the documents mention."""
    pages = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert commands(README, "make") >= {"repro", "smoke", "test"} and "search" in commands(README, "attune")
    assert commands(pages, "make") - targets == set()
    assert commands(pages, "attune") - known == set()


def test_every_dependency_has_a_reason() -> None:
    """pyproject.toml's entries and the rows of CONTRIBUTING's table are the same."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    named = {re.split(r"[><=]", entry)[0] for group in groups for entry in group}
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Dependencies")[2]
    cells = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
    assert {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)} == named


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_somewhere(page: str) -> None:
    """To a file, or to a heading of the page."""
    path = ROOT / page
    assert broken_links(path.read_text(encoding="utf-8"), path.parent) == []


def test_these_tests_can_fail(tmp_path: Path) -> None:
    """A planted file, command and link are all found."""
    page = "## Project map\n\n```\nsrc/attune/\n  one.py  first\n  sub/  more\n    two.py  x\n  three.py  x\n```\n"
    assert mapped(page) == [str(PurePosixPath("src/attune", name)) for name in ("one.py", "sub/two.py", "three.py")]
    assert commands("`make gold` and make silver\n```console\n$ attune fly --now\n```", "make") == {"gold"}
    assert commands("make it so\n```console\n$ attune fly --now\n```", "attune") == {"fly"}
    assert broken_links("# A page\n[a](#a-page) [b](#no) [c](absent.md) [d](https://x.y)", tmp_path) == [
        "#no",
        "absent.md",
    ]
