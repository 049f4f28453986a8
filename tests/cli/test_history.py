"""Tables of a comment hold the values of both sides; a file missing on one side is one line and hides nothing else."""

import json
from pathlib import Path

import pytest
from branches import git

from attune.cli.review.comment import MAX_CHARACTERS, comment, shortened
from attune.cli.review.history import DvcDiff, dvc_diff, without_moves
from attune.errors import BadInput

TUNED, RELEASE = "metrics/tuned.json", "metrics/release.json"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two metrics files in git, tuned.json changed since; tag `early` lacks the other, though dvc.yaml lists both.

    A parameter has moved from params.yaml to advanced.yaml since, and another one there is new.
    """
    (tmp_path / "metrics").mkdir()
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    (tmp_path / "dvc.yaml").write_text(f"metrics:\n  - {TUNED}\n  - {RELEASE}\nparams:\n  - advanced.yaml\n")
    (tmp_path / "params.yaml").write_text("gate: {min_delta: 0.0}\ntrain: {scale: 20.0, epochs: 4}\n")
    (tmp_path / TUNED).write_text('{"ndcg@10": 0.5}')
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "early")
    git(tmp_path, "tag", "early")
    (tmp_path / RELEASE).write_text('{"n_files": 3}')
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "main")
    (tmp_path / TUNED).write_text('{"ndcg@10": 0.6}')
    (tmp_path / "params.yaml").write_text("train: {epochs: 4}\n")
    (tmp_path / "advanced.yaml").write_text("gate: {min_delta: 0.01}\ntrain: {scale: 20.0, patience: 3}\n")
    return tmp_path


def change_of_tuned(diff: DvcDiff) -> float:
    return round(float(diff.changes[TUNED]["ndcg@10"]["diff"]), 6)


def test_a_file_that_was_missing_at_the_revision_is_one_line(project: Path) -> None:
    """The other files are compared; a target leaves the missing file out."""
    diff = dvc_diff(project, "metrics", "early")
    assert diff.unread == ["metrics/release.json is missing at early"]
    assert change_of_tuned(diff) == 0.1 and diff.changes[RELEASE]["n_files"]["new"] == 3
    assert dvc_diff(project, "metrics", "early", TUNED).unread == []


def test_a_file_that_was_deleted_or_is_broken_is_one_line(project: Path) -> None:
    """The line names the file and the reason, without a traceback's words; the other files are compared."""
    (project / RELEASE).unlink()
    diff = dvc_diff(project, "metrics", "main")
    assert diff.unread == ["metrics/release.json is missing here"] and change_of_tuned(diff) == 0.1
    (project / RELEASE).write_text("{\n")
    diff = dvc_diff(project, "metrics", "main")
    assert len(diff.unread) == 1 and diff.unread[0].startswith("metrics/release.json cannot be read (")
    assert "\n" not in diff.unread[0] and "Error(" not in diff.unread[0] and change_of_tuned(diff) == 0.1


def test_the_comment_keeps_its_tables_and_says_what_is_missing(project: Path) -> None:
    """The row of tuned.json stands against main, against the baseline and among all figures."""
    (project / RELEASE).unlink()
    text = comment(project, "main", "early", "https://host.example/metrics")
    assert text.count("| ndcg@10 | 0.5 | 0.6 | +0.1 |") == 3
    assert "\n- metrics/release.json is missing here\n" in text
    (project / TUNED).unlink()
    text = comment(project, "main", "early", "")
    assert "\nmetrics/tuned.json is missing here\n" in text and "No figure of the tuned encoder changed" not in text


def test_a_parameter_that_moved_to_another_file_is_one_row_or_none(project: Path) -> None:
    """A revision may have params.yaml only: an unchanged value is no change, a changed one shows both values."""
    rows = {
        (path, key): (change.get("old"), change.get("new"))
        for path, keys in without_moves(dvc_diff(project, "params", "main").changes).items()
        for key, change in keys.items()
    }
    assert rows == {("advanced.yaml", "gate.min_delta"): (0.0, 0.01), ("advanced.yaml", "train.patience"): (None, 3)}
    assert "| advanced.yaml | gate.min\\_delta | 0 | 0.01 |" in comment(project, "main", "early", "")


def test_the_comment_links_the_page_where_there_is_one(project: Path) -> None:
    """report.html is linked only if it is in metrics/."""
    link = "https://host.example/metrics"
    assert "report.html" not in comment(project, "main", "early", link)
    (project / "metrics" / "report.html").write_text("")
    assert f"[report.html]({link}/report.html)" in comment(project, "main", "early", link)


def test_a_project_that_cannot_be_read_there_is_bad_input(project: Path) -> None:
    """A broken dvc.yaml is one line."""
    (project / "dvc.yaml").write_text("metrics: {\n")
    with pytest.raises(BadInput, match=r"^(dvc metrics diff main|the project cannot be read here): [^\n]*$"):
        dvc_diff(project, "metrics", "main")


def test_a_comment_is_cut_at_the_end_of_a_line_and_says_so() -> None:
    """Rows stay whole, the folded section is closed, and the last line says that more is missing."""
    row = f"| {'x' * 100} |"
    text = shortened("\n".join(["<details><summary>s</summary>", *[row] * 1000, "</details>"]))
    assert len(text) <= MAX_CHARACTERS
    *rows, end, blank, last = text.removesuffix("\n").splitlines()
    assert (end, blank) == ("</details>", "") and last.startswith("This comment was cut")
    assert set(rows[1:]) == {row, ""}
    assert shortened(json.dumps("short")) == '"short"'
