"""A checkout with somebody's own data, README and no docs is told from attune's own, and its tests stay green."""

import re
import shutil
from pathlib import Path

import miniature
import pytest
from checkout import OF_ATTUNES_OWN, is_attunes_own
from shipped_params import NAMES, PANEL, make_shipped, write_shipped

from attune.stage import all_params

ROOT = Path(__file__).resolve().parents[2]
# reads a file that a user changes, by its name or by a variable
LIVE = re.compile(r'(ROOT|parents\[\d\]|parent\.parent) / "(metrics|README\.md|params\.yaml|advanced\.yaml|docs)')
FILES = r'\([^)]*"(?:params|advanced)\.yaml"[^)]*\)'
BY_VARIABLE = re.compile(rf"for (\w+) in {FILES}:\n.*(?:\n.*)?ROOT / \1\b|ROOT / (\w+)\b.* for \2 in {FILES}")
MAKING = re.compile(r"miniature\.(make|write_params)\(")  # with the parameters of this checkout
# What may read them: helpers that copy the pipeline, and tests of its wiring, which hold for any values; a test that
# looks at a figure takes one that is its own.
MAY = {
    *("checkout.py", "miniature.py", "shipped_params.py", "project/test_checkout.py", "project/test_pipeline.py"),
    *("branches.py", "own_repository.py"),  # copy the pipeline, and then the shipped parameters over it
    # one test each, skipped without attune's pages
    *("evaluation/test_checks.py", "evaluation/test_base_kept.py", "cli/test_base_command.py"),
    *("evaluation/test_page_browser.py",),  # the committed page, where there is one
}


def test_attunes_own_is_told_by_readme_docs_and_bench(tmp_path: Path) -> None:
    """Another title, or a missing folder, makes it somebody's."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "bench").mkdir()
    (tmp_path / "README.md").write_text("# attune\n\nText.\n")
    assert is_attunes_own(tmp_path)
    (tmp_path / "README.md").write_text("# Search in our shop\n")
    assert not is_attunes_own(tmp_path)
    (tmp_path / "README.md").unlink()
    assert not is_attunes_own(tmp_path)
    (tmp_path / "README.md").write_text("# attune\n")
    shutil.rmtree(tmp_path / "docs")
    assert not is_attunes_own(tmp_path)


def test_every_listed_file_exists() -> None:
    """The list of tests of attune's own pages and figures names files that are there."""
    assert [name for name in OF_ATTUNES_OWN if not (ROOT / "tests" / name).exists()] == []


@pytest.mark.skipif(not is_attunes_own(), reason="somebody's own values")
def test_the_fixture_is_complete() -> None:
    """Both files of the fixture are those that this checkout ships; else run: python tests/shipped_params.py"""
    assert [name for name in NAMES if PANEL.with_name(name).read_bytes() != (ROOT / name).read_bytes()] == []


def test_a_pipeline_of_tests_has_the_shipped_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout with a user's values gives tests the same pipeline; `make example` takes the user's."""
    users = tmp_path / "checkout"
    users.mkdir()
    write_shipped(users, {"gate": {"margin": 0.05}, "evaluate": {"champion": "last"}})
    for name in set(miniature.COPIED) - set(NAMES):
        (users / name).parent.mkdir(parents=True, exist_ok=True)
        (users / name).symlink_to(ROOT / name)
    monkeypatch.setattr(miniature, "ROOT", users)
    make_shipped(tmp_path / "tests", {})
    miniature.make(tmp_path / "example")
    shipped, live = (all_params(tmp_path / name / "params.yaml") for name in ("tests", "example"))
    assert (shipped["gate"]["margin"], shipped["evaluate"]["champion"]) == (0.02, "")
    assert (live["gate"]["margin"], live["evaluate"]["champion"]) == (0.05, "last")


def readers_of_live_files(folder: Path) -> set[str]:
    """Returns the test files that read what a user changes, and that run in a user's checkout, too."""
    left_out = tuple(OF_ATTUNES_OWN)
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py")}
    return {
        name
        for name, path in files.items()
        if not name.startswith(left_out) and name not in MAY and is_reader(path.read_text(encoding="utf-8"))
    }


def is_reader(text: str) -> bool:
    """Says if a test file reads what a user changes, or makes a pipeline with the user's parameters."""
    return any(pattern.search(text) for pattern in (LIVE, BY_VARIABLE, MAKING))


def test_tests_of_the_product_read_fixtures() -> None:
    """No test that runs in every checkout reads the live parameters, figures or pages."""
    assert readers_of_live_files(ROOT / "tests") == set()


PLANTED = (
    'params = load_params(X, "x", ROOT / "params.yaml")\n',
    'params = load_params(X, "x", Path(__file__).resolve().parents[2] / "params.yaml")\n',
    'for name in ("params.yaml", "advanced.yaml"):\n    shutil.copy(ROOT / name, tmp_path)\n',
    'texts = [(ROOT / name).read_text() for name in ("params.yaml", "advanced.yaml")]\n',
    "miniature.make(folder, quick)\n",
)


@pytest.mark.parametrize("text", PLANTED)
def test_the_search_for_readers_can_fail(tmp_path: Path, text: str) -> None:
    """A planted test that reads the live panel is found, one of attune's own pages is not looked at."""
    for name in ("cli/test_planted.py", "project/test_readme.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert readers_of_live_files(tmp_path) == {"cli/test_planted.py"}
