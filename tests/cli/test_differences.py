"""A comment's tables hold what both sides have; a file that one of them lacks is one plain line, and hides nothing."""

import json
from pathlib import Path

import pytest
from branches import git

from attune.cli.review.comment import LIMIT, comment, cut
from attune.cli.review.history import Difference, diff
from attune.errors import BadInput

TUNED, RELEASE = "metrics/tuned.json", "metrics/release.json"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two files of metrics in git, tuned.json changed since; tag `early` lacks the other, though dvc.yaml has both."""
    (tmp_path / "metrics").mkdir()
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    (tmp_path / "dvc.yaml").write_text(f"metrics:\n  - {TUNED}\n  - {RELEASE}\n")
    (tmp_path / "params.yaml").write_text("gate: {}\n")
    (tmp_path / TUNED).write_text('{"ndcg@10": 0.5}')
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "early")
    git(tmp_path, "tag", "early")
    (tmp_path / RELEASE).write_text('{"n_files": 3}')
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "main")
    (tmp_path / TUNED).write_text('{"ndcg@10": 0.6}')
    return tmp_path


def change_of_tuned(found: Difference) -> float:
    return round(float(found.changes[TUNED]["ndcg@10"]["diff"]), 6)


def test_a_file_that_was_missing_at_the_revision_is_one_line(project: Path) -> None:
    found = diff(project, "metrics", "early")
    assert found.unread == ["metrics/release.json is missing at early"]
    assert change_of_tuned(found) == 0.1 and found.changes[RELEASE]["n_files"]["new"] == 3
    assert diff(project, "metrics", "early", TUNED).unread == []


def test_a_file_that_was_deleted_or_is_broken_is_one_line(project: Path) -> None:
    (project / RELEASE).unlink()
    found = diff(project, "metrics", "main")
    assert found.unread == ["metrics/release.json is missing here"] and change_of_tuned(found) == 0.1
    (project / RELEASE).write_text("{\n")
    found = diff(project, "metrics", "main")
    assert len(found.unread) == 1 and found.unread[0].startswith("metrics/release.json cannot be read (")
    assert "\n" not in found.unread[0] and "Error(" not in found.unread[0] and change_of_tuned(found) == 0.1


def test_the_comment_keeps_its_tables_and_says_what_is_missing(project: Path) -> None:
    (project / RELEASE).unlink()
    text = comment(project, "main", "early", "https://host.example/metrics")
    assert text.count("| ndcg@10 | 0.5 | 0.6 | +0.1 |") == 3  # against main, the baseline, and among all figures
    assert "\n- metrics/release.json is missing here\n" in text
    (project / TUNED).unlink()
    text = comment(project, "main", "early", "")
    assert "\nmetrics/tuned.json is missing here\n" in text and "No figure of the tuned encoder changed" not in text


def test_the_comment_links_the_page_where_there_is_one(project: Path) -> None:
    assert "report.html" not in comment(project, "main", "early", "https://host.example/metrics")
    (project / "metrics" / "report.html").write_text("")
    assert "[report.html](https://host.example/metrics/report.html)" in comment(
        project, "main", "early", "https://host.example/metrics"
    )


def test_a_project_that_cannot_be_read_there_is_bad_input(project: Path) -> None:
    (project / "dvc.yaml").write_text("metrics: {\n")
    with pytest.raises(BadInput, match=r"^(dvc metrics diff main|the project cannot be read here): [^\n]*$"):
        diff(project, "metrics", "main")


def test_a_comment_is_cut_at_the_end_of_a_line_and_says_so() -> None:
    row = f"| {'x' * 100} |"
    text = cut("\n".join(["<details><summary>s</summary>", *[row] * 1000, "</details>"]))
    assert len(text) <= LIMIT
    *rows, end, blank, last = text.removesuffix("\n").splitlines()
    assert (end, blank) == ("</details>", "") and last.startswith("This comment was cut")
    assert set(rows[1:]) == {row, ""}
    assert cut(json.dumps("short")) == '"short"'
