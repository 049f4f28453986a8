"""README and docs are true: generated tables, links, names of commands, parameters and files, and commands that run."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from branches import GIT, ROOT, attune, git
from demo_project import finished_pipeline, served
from ruamel.yaml import YAML

from attune.cli.main import app
from attune.cli.repository.results import between, without_leaks
from attune.errors import BadInput
from bench import readme as tables

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
FOLDERS = [
    f"{name}/README.md"
    for name in ("data", "data/general", "data/own", "data/tasks", "models/champions", "models/rerankers")
]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/service/README.md", *DOCS, *FOLDERS]
BIN = str(Path(sys.executable).parent)
FROM_METRICS = ("results", "diff")  # tables of the figures in metrics/, which another class of CPU changes

# Commands of console blocks that the test below runs in a clone of this repository; all take seconds.
RUN = (
    r"attune gate",
    r"attune check data/own/faq\.csv .*",
    r"dvc (metrics|params) diff",
    r"dvc metrics diff baseline --targets .*",
    r"make (diff|experiments)",
)
# Commands that pages name in running text, and that the same test runs.
ALSO_RUN = ("make help", "dvc dag")
# All others, with the reason why they are not run here.
NOT_RUN = {
    r"(make test|make check(-workflows)?|\.ci/run|python -m pytest .*|\. \.venv/bin/activate)": "this suite, set-up",
    r"attune gate --against main|make (comment|gate) AGAINST=main": "tests/project/test_clone.py",
    r"attune gate shop --against trunk": "needs a folder shop; tests/cli/test_history.py",
    r"python -m attune\.runtime model": "test_the_lines_that_a_service_copies_run",
    r"attune new .*|(cd shop && )?make repro|attune (check|results|gate|diff|judge|verify|search) .*--json": (
        "tests/cli/test_walkthrough.py"
    ),
    r"attune upgrade( --dry)?": "tests/cli/test_upgrade.py",
    r"make docs": "test_the_site_has_no_dead_links_and_loads_only_its_own_files",
    r"make test-(slow|remotes|consumers)": "minutes, and programs of their own",
    r"make demo": "serves until Ctrl-C; tests/cli/test_demo.py",
    r"dvc exp (run|apply) .*": "trains; tests/cli/test_experiments.py runs such a sweep",
    r"dvc metrics diff main sweep-3|attune gate --against sweep-3": "needs the sweep before it",
    r"dvc (commit -f|status|repro|add|gc|metrics show).*": "needs the outputs of a finished pipeline",
    r"dvc (remote|push|get|import|update|artifacts) ?.*|gto .*|git .*": "needs a DVC remote; make test-remotes",
    r"PYTHONHASHSEED=0 PYTHONPATH=src torchrun .*": "needs several hosts; tests/encoding/test_torchrun.py",
    r"(python|pip install -r) examples/scale/.*": "programs of their own; tests/runtime/test_scale_engines.py",
    r"attune base https://.* --write": "asks a server; tests/cli/test_base_endpoint.py",
    r"attune bridge .*": "two indexes; tests/cli/test_bridge_command.py",
    r"python -m bench\.parts\.passages .*": "public data; tests/project/test_passages_pipeline.py",
}


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def code(page: str) -> list[str]:
    """Returns the code blocks and code spans of a page."""
    return re.findall(r"```.*?```|`[^`\n]+`", page, re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    """Returns the code blocks of a language, without their indentation in a list."""
    return [block[1] for block in re.finditer(rf"^ *```{language}\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE)]


def console(page: str) -> list[str]:
    """Returns the commands of a page's console blocks, continued lines joined, comments cut off."""
    text = "\n".join(blocks(page, "console")).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [re.split(r"\s+# ", line.removeprefix("$ "))[0].strip() for line in lines if line.startswith("$ ")]


def commands(page: str, program: str) -> set[str]:
    """Returns the first words after a program's name in code."""
    pattern = rf"(?<![\w./-]){program} ([a-z][a-z0-9-]*)"
    return {name for text in code(page) for name in re.findall(pattern, text)}


def anchors(page: str) -> set[str]:
    """Returns the anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def links(page: str) -> list[str]:
    """Returns the relative links of a page."""
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", page) if "://" not in link]


def dead_links(page: str, file: Path) -> list[str]:
    """Returns the relative links of a page that lead to no file, or to no heading of a page."""
    dead = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (file.parent / path) if path else file
        if not target.exists() or (anchor and anchor not in anchors(page if not path else target.read_text())):
            dead.append(link)
    return dead


def reachable(start: Path) -> set[Path]:
    """Returns the pages that links lead to from a page, over any number of pages."""
    seen, todo = set(), [start]
    while todo:
        page = todo.pop().resolve()
        if page not in seen:
            seen.add(page)
            paths = [page.parent / link.partition("#")[0] for link in links(page.read_text(encoding="utf-8"))]
            todo += [path for path in paths if path.suffix == ".md" and path.is_file()]
    return seen


def knobs(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yields the names of all parameters and their groups, joined by dots."""
    for key, value in values.items():
        yield above + str(key)
        if isinstance(value, dict):
            yield from knobs(value, f"{above}{key}.")


def unknown_knobs(page: str, known: set[str]) -> set[str]:
    """Returns the parameters that a page names and that do not exist."""
    spans = re.findall(r"`([a-z]+\.[a-z0-9_.]+)(?:[:=][^`]*)?`", page)
    sections = {name.split(".")[0] for name in known}
    named = {name for name in spans if name.split(".")[0] in sections}
    return {name for name in named if name not in known and not name.endswith((".py", ".lock", ".yaml", ".npy"))}


def missing_files(page: str) -> set[str]:
    """Returns the files and modules of this repository that a page names in code and that do not exist."""
    pattern = r"(?<![\w/.-])((?:src|tests|bench|docs|examples|data/general)/[\w./-]*\w\.\w+)"
    named = {path for text in code(page) for path in re.findall(pattern, text)}
    modules = {name for text in code(page) for name in re.findall(r"-m ((?:attune|bench)[\w.]*\w)", text)}
    named |= {f"{'src/' if name.startswith('attune') else ''}{name.replace('.', '/')}.py" for name in modules}
    missing = {path for path in named if not any((ROOT / file).exists() for file in (path, path.removesuffix(".py")))}
    return {path for path in missing if "NAME" not in path and "RECIPE" not in path}


def stage_options(command: str) -> dict[str, set[str]]:
    """Returns the options of each stage that a command starts."""
    stages = re.finditer(r"-m attune\.(?:stages|\$\{programs\.tuning\})\.(\w+)([^;&|]*)", command)
    return {stage[1]: set(re.findall(r" --([\w-]+)", stage[2])) for stage in stages}


def write_metrics(folder: Path) -> Path:
    """Writes the part of metrics/ that the table shows."""
    names = ("recall@10", "mrr@10", "ndcg@10")
    compared = {"delta": 0.125, "ci_low": 0.1, "ci_high": 0.15, "p_value": 0.0002, "p_holm": 0.0036}
    report = {
        "verdict": "Better: so it is.",
        "n_comparisons": 18,
        "systems": {"base": dict.fromkeys(names, 0.5), "tuned": dict.fromkeys(names, 0.625)},
        "paired": dict.fromkeys(names, compared) | {"map@100": compared},
        "without_leaks": {
            "lexical": {"n_queries": 1234},
            "any": {"n_queries": 1000, "delta": 0.1, "ci_low": -0.01, "ci_high": 0.2},
        },
    }
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "tuned.json").write_text(json.dumps({"n_queries": 1234}))
    return folder


def test_the_examples_table_by_hand(tmp_path: Path) -> None:
    """A row per recipe; the gain without leaks is given only where a query leaks and a clean one is left."""
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
    assert first.startswith("| [a](../examples/a.yaml) | 1,000 | 0.250 | 0.500 | 0.625 | ")


def test_the_results_table_by_hand(tmp_path: Path) -> None:
    """Three digits, systems in the report's order, the delta with its interval and p-value, the verdict below."""
    assert tables.results(write_metrics(tmp_path / "metrics")).splitlines() == [
        "| system | recall@10 | mrr@10 | ndcg@10 |",
        "| --- | ---: | ---: | ---: |",
        "| base | 0.500 | 0.500 | 0.500 |",
        "| tuned | 0.625 | 0.625 | 0.625 |",
        "| tuned minus base | **+0.125** | **+0.125** | **+0.125** |",
        "| its interval | +0.100 to +0.150 | +0.100 to +0.150 | +0.100 to +0.150 |",
        "| its p-value (Holm, 18 comparisons) | p = 0.004 | p = 0.004 | p = 0.004 |",
        "",
        "Better: so it is. Measured on 1,234 test queries. None of them is a near-duplicate of training by words; "
        "234 are close to training in meaning (nearest neighbours of the base encoder), and without these the gain in "
        "recall@10 is +0.100 (-0.010 to +0.200).",
    ]


def test_leaks_stand_below_the_results() -> None:
    """Leaks by words are counted, not denied; where hardly a query is left without leaks, no gain is told."""
    gain = {"n_queries": 700, "delta": 0.1, "ci_low": 0.05, "ci_high": 0.15}
    assert without_leaks({"lexical": {"n_queries": 990}, "any": gain}, 1000) == (
        "10 of them leak by words, 300 by words or meaning (nearest neighbours of the base encoder), and without these "
        "the gain in recall@10 is +0.100 (+0.050 to +0.150)."
    )
    assert without_leaks({"lexical": {"n_queries": 1000}, "any": {"n_queries": 1}}, 1000) == (
        "None of them is a near-duplicate of training by words; 999 are close to training in meaning (nearest "
        "neighbours of the base encoder), and without these too few are left to measure a gain."
    )


def test_a_table_is_put_in_its_place_and_nothing_else_changes() -> None:
    """Text around the markers stays, backslashes are kept, and putting the same text again changes nothing."""
    page = "before\n<!-- diff -->\nold\ntwo lines\n<!-- /diff -->\nafter\n"
    put = tables.put(page, "diff", r"\1 new", "x.md")
    assert put == "before\n<!-- diff -->\n\\1 new\n<!-- /diff -->\nafter\n"
    assert tables.put(put, "diff", between(put, "diff", "x.md"), "x.md") == put
    assert tables.put("<!-- diff -->\n<!-- /diff -->\n", "diff", "x", "x.md") == "<!-- diff -->\nx\n<!-- /diff -->\n"


@pytest.mark.parametrize("page", ["no markers", "<!-- diff -->\nx\n<!-- /diff -->\n" * 2, "<!-- diff -->\nunclosed"])
def test_lost_or_doubled_markers_get_one_line(page: str) -> None:
    """A table is never written to the wrong place."""
    with pytest.raises(BadInput, match=r"docs/x\.md: [02] pairs of markers <!-- diff -->"):
        tables.put(page, "diff", "new", "docs/x.md")


def test_missing_or_malformed_figures_get_one_line(tmp_path: Path) -> None:
    """No traceback before the first pipeline run."""
    with pytest.raises(BadInput, match=r"report\.json: not found; run `make repro` first"):
        tables.results(tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(BadInput, match=r"report\.json: not JSON"):
        tables.results(tmp_path)


def test_without_the_tag_there_is_no_diff_table(tmp_path: Path) -> None:
    """Outside git, or in a clone without the tag, the table stays as it is."""
    assert tables.diff(tmp_path) is None


@pytest.fixture(scope="module")
def other_figures() -> str:
    """Line of `attune same` on a metrics/ that is not as committed, "" of one that is; a fault fails the test."""
    if not subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "metrics"], cwd=ROOT, check=False).returncode:
        return ""
    done = attune(ROOT, "same")
    assert done.returncode != 1, done.stdout
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", tables.TABLES)
def test_generated_tables_are_those_of_the_figures(name: str, other_figures: str) -> None:
    """`make readme` was run after the last run that was committed (for the diff: where the tag is there).

    The run of another class of CPU has other figures than the tables: `attune same` judges it instead. An experiment
    that is not written up yet has other inputs, and is not judged.
    """
    page, make = tables.TABLES[name]
    if name in FROM_METRICS and other_figures:
        if "every verdict the same" not in other_figures:
            pytest.skip(f"metrics/ is not as committed ({other_figures.strip()}); `make readme` before you commit it")
        return
    text = make()
    if text is None:
        pytest.skip("no tag `baseline` here: run `make baseline`")
    assert between(read(page), name, page) == text


def test_readme_and_contributing_are_short() -> None:
    """A README that one reads; everything else is a page of docs/."""
    assert len(README.splitlines()) <= 250
    assert len(read("CONTRIBUTING.md").splitlines()) <= 120


def test_every_page_can_be_reached_from_the_readme() -> None:
    """No page is an orphan."""
    assert {ROOT / page for page in PAGES} <= reachable(ROOT / "README.md")


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_somewhere(page: str) -> None:
    """Links lead to a file or to a heading."""
    assert dead_links(read(page), ROOT / page) == []


def test_every_command_exists() -> None:
    """make targets and attune commands that a page names are defined."""
    pages = "\n".join(map(read, PAGES))
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert commands(README, "make") >= {"repro", "smoke", "test"} and "search" in commands(README, "attune")
    assert commands(pages, "make") - targets == set()
    assert commands(pages, "attune") - known == set()


def test_commands_of_stages_have_the_options_of_the_pipeline() -> None:
    """A stage that a page starts by hand, as on several hosts, gets all of its arguments; README names each stage."""
    stages = YAML(typ="safe").load(read("dvc.yaml"))["stages"]
    wanted = [stage_options(stage.get("do", stage)["cmd"]) for stage in stages.values()]
    assert [set(own) for own in wanted] == [{name} for name in stages]
    own = [stage_options(command) for command in shown() if "-m attune.stages." in command]
    assert [options for options in own if options not in wanted] == [] and len(own) == 2
    assert set(re.findall(r"^\| (\w+)(?:@X)? \| ", README, re.MULTILINE)) >= set(stages)


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_every_parameter_exists(page: str) -> None:
    """Parameters that a page names are in params.yaml or advanced.yaml; the changelog also names old ones."""
    files = [YAML(typ="safe").load(read(name)) for name in ("params.yaml", "advanced.yaml")]
    assert unknown_knobs(read(page), {name for values in files for name in knobs(values)}) == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_file_exists(page: str) -> None:
    """Paths that a page names in code are there."""
    assert missing_files(read(page)) == set()


def test_every_dependency_has_a_reason() -> None:
    """Each entry of pyproject.toml has a comment beside or above it, there or under another extra."""
    text = read("pyproject.toml")
    project = tomllib.loads(text)["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    named = {re.split(r"[><=]", entry)[0] for group in groups for entry in group}
    beside = re.findall(r'^ *(?:\w+ = \[)?"([\w.-]+)[^"]*"[,\]]+  # \S', text, re.MULTILINE)
    above = re.findall(r'^ +#.*\n +"([\w.-]+)', text, re.MULTILINE)
    shared = re.search(r"the sources of these five packages", text)
    assert shared is not None
    assert named - {*beside, *above} == {"pandas"}  # one of the five


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this repository with an environment, and the example's csv in place."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("documents") / "clone"
    git(folder.parent, "clone", "-q", str(ROOT), str(folder))
    git(folder, "checkout", "-q", "-B", "main")
    (folder / ".venv").mkdir()
    (folder / ".venv" / "ready").touch()
    header, row = blocks(README, "csv")[0].split("\n")[:2]
    rows = [row.replace("order", f"order {number}") for number in range(30)]
    (folder / "data" / "own" / "faq.csv").write_text("\n".join([header, *rows]))
    if run(folder, "make baseline").returncode:
        pytest.skip("a shallow clone: no baseline")
    return folder


def run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a folder as a user would after `. .venv/bin/activate`."""
    path = {"PATH": os.pathsep.join([BIN, os.environ.get("PATH", "")]), "PYTHONPATH": "src", "COLUMNS": "200"}
    return subprocess.run(
        shlex.split(command), cwd=folder, env=os.environ | GIT | path, capture_output=True, text=True, check=False
    )


def shown() -> list[str]:
    """Returns the commands of all console blocks but those of the example service, which has its own tests."""
    return sorted({command for page in PAGES if not page.startswith("examples") for command in console(read(page))})


def test_every_command_is_run_or_has_a_reason_not_to_be() -> None:
    """No command of a console block escapes the tests unnoticed, and no pattern here is out of date."""
    patterns = (*RUN, *NOT_RUN)
    assert [command for command in shown() if not any(re.fullmatch(pattern, command) for pattern in patterns)] == []
    assert [pattern for pattern in patterns if not any(re.fullmatch(pattern, command) for command in shown())] == []
    spans = {text.strip("`") for page in PAGES for text in code(read(page))}
    assert set(ALSO_RUN) - {span for span in spans for name in ALSO_RUN if span.startswith(name)} == set()


@pytest.mark.parametrize(
    "command", [*ALSO_RUN, *(command for command in shown() if any(re.fullmatch(pattern, command) for pattern in RUN))]
)
def test_commands_of_the_pages_run(clone: Path, command: str) -> None:
    """Commands that take seconds end well in a fresh clone; the gate may also say no."""
    done = run(clone, command)
    is_judged = command == "attune gate" and "attune gate: " in done.stdout
    assert done.returncode == 0 or (is_judged and done.returncode == 1), done.stdout + done.stderr


@pytest.mark.parametrize("page", ["README.md", "docs/serving.md"])
def test_the_lines_that_a_service_copies_run(
    page: str, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python and shell lines work on a small model; those of serving.md end with a ranking."""
    shutil.copytree(tiny_onnx, tmp_path / "models" / "onnx")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"texts": ["stack arrays", "shortest path"], "ids": ["d0", "d1"]}
    block = blocks(read(page), "python")[0]
    exec(compile(block.replace("index.top(", "hits = index.top("), page, "exec"), names)
    assert names["embedder"].encode_query(["x"]).shape == (1, 32)
    if page == "README.md":
        assert run(tmp_path, "python -m attune.runtime models/onnx").returncode == 0
    else:
        assert sorted(name for name, _ in names["hits"][0]) == ["d0", "d1"]


def test_the_python_of_the_embeddings_api_runs(tmp_path: Path, tiny_onnx: Path) -> None:
    """The client's lines on the demo's page get a vector of the served model."""
    project = finished_pipeline(tmp_path, tiny_onnx, tiny_onnx)
    block = blocks(read("docs/demo.md"), "python")[0]
    with served(project) as address:
        names: dict[str, Any] = {}
        exec(
            block.replace("http://127.0.0.1:8765", address.rstrip("/")).replace("client.emb", "got = client.emb"), names
        )
    assert len(names["got"]) == 32


def test_the_site_has_no_dead_links_and_loads_only_its_own_files(clone: Path) -> None:
    """`make docs` makes a page of each; scripts, styles and pictures are its own; planted dead links stop it."""
    done = run(clone, "make docs")
    assert done.returncode == 0, done.stdout + done.stderr
    site = clone / "scratch" / "site"
    assert {page.replace(".md", ".html").replace("README", "index") for page in PAGES} <= {
        path.relative_to(site).as_posix() for path in site.rglob("*.html")
    }
    assert "matryoshka" in (site / "search" / "search_index.json").read_text().lower()
    loaded = re.compile(
        r'(?:<script[^>]*\ssrc|<link[^>]*\shref|<img[^>]*\ssrc)="?(https?:)?//|@import|url\(["\']?https?:'
    )
    assert [path.name for path in site.rglob("*.html") if loaded.search(path.read_text())] == []
    assert [path.name for path in site.rglob("*.css") if loaded.search(path.read_text())] == []
    dead = ("absent.md", "gate.md#absent")
    (clone / "docs" / "demo.md").write_text(f"{read('docs/demo.md')}\n[a link]({dead[0]}) [another]({dead[1]})\n")
    done = run(clone, "make docs")
    assert done.returncode != 0
    assert [link for link in dead if f"contains a link '{link}'" not in done.stdout + done.stderr] == []


def test_these_tests_can_fail(tmp_path: Path) -> None:
    """A planted command, link, parameter and file are all reported."""
    assert commands("`make gold` and make silver\n```console\n$ attune fly --now\n```", "make") == {"gold"}
    assert commands("make it so\n```console\n$ attune fly --now\n```", "attune") == {"fly"}
    assert console("```console\n$ a \\\n  b  # c\noutput\n```\n   ```console\n   $ d\n   ```\n") == ["a    b", "d"]
    (tmp_path / "b.md").write_text("# There")
    page = "# A page\n[a](#a-page) [b](#no) [c](absent.md) [d](https://x.y) [e](b.md#there) [f](b.md#not)"
    (tmp_path / "a.md").write_text(page)
    assert dead_links(page, tmp_path / "a.md") == ["#no", "absent.md", "b.md#not"]
    (tmp_path / "a.md").write_text("[b](b.md)")
    (tmp_path / "c.md").write_text("")
    assert reachable(tmp_path / "a.md") == {tmp_path / "a.md", tmp_path / "b.md"}
    known = {"train", "train.epochs"}
    assert unknown_knobs("`train.epochs: 0` `train.epoch` `x.y` `train.py`", known) == {"train.epoch"}
    assert missing_files("`tests/absent.py` `python -m bench.readme x` `tests/NAME.py`") == {"tests/absent.py"}
