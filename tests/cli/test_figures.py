"""Changed figures and parameters are those of DVC; a file missing on one side is one line and hides nothing else."""

from pathlib import Path
from typing import Any

import pytest
from branches import git
from dvc.repo import Repo

from attune.cli.review.figures import (
    Change,
    changed_figures,
    changed_parameters,
    direction,
    is_beyond_rounding,
)
from attune.cli.review.history import Revision

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
    (tmp_path / TUNED).write_text('{"ndcg@10": 0.5, "n": {"a": 1, "b": 2}}')
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "early")
    git(tmp_path, "tag", "early")
    (tmp_path / RELEASE).write_text('{"n_files": 3}')
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "main")
    (tmp_path / TUNED).write_text('{"ndcg@10": 0.6, "n": {"a": 1, "b": 5}}')
    (tmp_path / "params.yaml").write_text("train: {epochs: 4}\n")
    (tmp_path / "advanced.yaml").write_text("gate: {min_delta: 0.01}\ntrain: {scale: 20.0, patience: 3}\n")
    return tmp_path


def figures(project: Path, revision: str) -> tuple[dict[tuple[str, str], tuple[Any, Any]], list[str]]:
    with Repo(str(project)) as repo:
        changes, unread = changed_figures(Revision(repo, revision, project), project)
    return {(each.file, each.key): (each.old, each.new) for each in changes}, unread


def test_figures_are_those_of_dvc_metrics_diff(project: Path) -> None:
    """The same files, keys and values as DVC's own comparison; what did not change is left out."""
    with Repo(str(project)) as repo:
        diff = repo.metrics.diff("main")["diff"]
    expected = {(path, key): (one["old"], one["new"]) for path, keys in diff.items() for key, one in keys.items()}
    assert figures(project, "main") == (expected, [])
    assert expected == {(TUNED, "ndcg@10"): (0.5, 0.6), (TUNED, "n.b"): (2, 5)}


def test_a_file_that_one_side_lacks_or_that_is_broken_is_one_line(project: Path) -> None:
    """The line names file, side and reason, without a traceback's words; the other files are compared."""
    found, unread = figures(project, "early")
    assert unread == ["metrics/release.json is missing at early"] and found[RELEASE, "n_files"] == (None, 3)
    (project / RELEASE).unlink()
    found, unread = figures(project, "main")
    assert unread == ["metrics/release.json is missing here"] and found[TUNED, "ndcg@10"] == (0.5, 0.6)
    (project / RELEASE).write_text("{\n")
    found, unread = figures(project, "main")
    assert len(unread) == 1 and unread[0].startswith("metrics/release.json cannot be read here (")
    assert "\n" not in unread[0] and "Error(" not in unread[0] and found[TUNED, "ndcg@10"] == (0.5, 0.6)


def test_a_parameter_that_moved_to_another_file_is_one_row_or_none(project: Path) -> None:
    """A revision may have params.yaml only: an unchanged value is no change, a changed one shows both values."""
    with Repo(str(project)) as repo:
        changes, unread = changed_parameters(Revision(repo, "main", project), project)
    rows = {(each.file, each.key): (each.old, each.new) for each in changes}
    assert rows == {("advanced.yaml", "gate.min_delta"): (0.0, 0.01), ("advanced.yaml", "train.patience"): (None, 3)}
    assert unread == ["advanced.yaml is missing at main"]


def test_the_version_of_a_library_is_one_row(project: Path) -> None:
    """In a repository of `attune new` it stands above section attune and in the entry of each stage that tracks it."""
    text = "numpy: &numpy {version}\nattune:\n  split: {{code: {code}, numpy: *numpy}}\n"
    (project / "libraries.yaml").write_text(text.format(version="2.4.6", code="a1"))
    git(project, "add", "libraries.yaml")
    git(project, "commit", "-q", "-m", "before")
    (project / "libraries.yaml").write_text(text.format(version="2.5.0", code="b2"))
    with Repo(str(project)) as repo:
        changes, _ = changed_parameters(Revision(repo, "HEAD", project), project)
    rows = {each.key: (each.old, each.new) for each in changes if each.file == "libraries.yaml"}
    assert rows == {"numpy": ("2.4.6", "2.5.0"), "attune.split.code": ("a1", "b2")}


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("ndcg@10", 1),
        ("train_recall@10", 1),
        ("general_retrieval.ndcg@10", 1),
        ("retention", 1),
        ("general_retrieval.cost", -1),
        ("general_retrieval.detectable_cost", 0),
        ("test_leaks.near_queries", -1),
        ("n_documents", 0),
        ("ci_low_recall@10", 0),
        ("weighted_scores_dev_ndcg@10", 0),
        ("learning_rate", 0),
    ],
)
def test_a_figure_has_a_direction_only_where_one_way_is_better(key: str, expected: int) -> None:
    """Scores rise, costs and leaks fall for the better; counts, bounds and settings do neither."""
    assert direction(key) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [(0.5004, 0.5001, False), (0.5004, 0.5006, True), (3, 4, True), (None, 4, False), (True, False, False)],
)
def test_a_change_below_the_digits_that_are_shown_is_none(old: object, new: object, expected: bool) -> None:
    """Three digits; a figure that one side lacks is no change, as ATT023 names it."""
    assert is_beyond_rounding(Change("metrics/a.json", "ndcg@10", old, new)) is expected
