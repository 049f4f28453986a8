"""A checkout with somebody's own data, README and no docs is told from attune's own, and its tests stay green."""

import re
import shutil
from pathlib import Path

import pytest
from checkout import OF_ATTUNES_OWN, is_attunes_own
from shipped_params import PANEL

from attune.stage import all_params

ROOT = Path(__file__).resolve().parents[2]
LIVE = re.compile(r'ROOT / "(metrics|README\.md|params\.yaml|advanced\.yaml|docs)')  # files that a user changes
# What may read them: helpers that copy the pipeline, and tests of its wiring, which hold for any values; a test that
# looks at a figure takes one that is its own.
MAY = {
    *("checkout.py", "miniature.py", "shipped_params.py", "families.py", "conftest.py", "project/test_checkout.py"),
    *("project/test_pipeline.py", "project/test_own_pipeline.py", "cli/test_parameter_keys.py"),
    *("evaluation/test_checks.py", "cli/test_base_command.py"),  # one test each, skipped without attune's pages
    "stages/test_release.py",  # copies whatever figures are there
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
    """Both files of the fixture hold what this checkout ships, in every section."""
    assert all_params(PANEL) == all_params(ROOT / "params.yaml")


def readers_of_live_files(folder: Path) -> set[str]:
    """Returns the test files that read what a user changes, and that run in a user's checkout, too."""
    left_out = tuple(OF_ATTUNES_OWN)
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py")}
    return {
        name
        for name, path in files.items()
        if not name.startswith(left_out) and name not in MAY and LIVE.search(path.read_text(encoding="utf-8"))
    }


def test_tests_of_the_product_read_fixtures() -> None:
    """No test that runs in every checkout reads the live parameters, figures or pages."""
    assert readers_of_live_files(ROOT / "tests") == set()


def test_the_search_for_readers_can_fail(tmp_path: Path) -> None:
    """A planted test that reads the live panel is found, one of attune's own pages is not looked at."""
    for name in ("cli/test_planted.py", "project/test_readme.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('params = load_params(X, "x", ROOT / "params.yaml")\n')
    assert readers_of_live_files(tmp_path) == {"cli/test_planted.py"}
