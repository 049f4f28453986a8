"""The comment's parts: deltas with intervals, the choice, near-domain tasks, and its length."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from branches import git
from shipped_params import PANEL

from attune.cli.review.comment import MAX_CHARACTERS, _to_ship, comment, deltas, near_domain_table, shortened
from attune.cli.review.history import TARGETS
from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.stage import load_params

ROOT = Path(__file__).resolve().parents[2]
LIMITS = load_params(GateParams, "gate", PANEL)
PAIRED = {"recall@10": {"delta": 0.1674, "ci_low": 0.1420, "ci_high": 0.1922}}


def unfolded(text: str) -> list[str]:
    """Returns the lines of a comment that are seen before anything is unfolded."""
    return re.sub(r"(<details><summary>.*?</summary>).*?</details>", r"\1", text, flags=re.DOTALL).strip().splitlines()


def figures(**receipts: dict[str, Any]) -> Facts:
    """Returns the figures of a folder that holds these receipts."""
    return Facts(receipts)


def test_near_domain_tasks_are_a_folded_table() -> None:
    """Base beside tuned; names are text whatever they hold; nothing where the report has no such task."""
    tasks = {"near_as_typed": {"n": 1097, "base": 0.5894, "tuned": 0.549}, "a|b": {"n": 3, "base": 0.1, "tuned": 0.2}}
    lines = near_domain_table(figures(report={"near_domain": tasks})).splitlines()
    assert lines == [
        "<details><summary>2 near-domain tasks</summary>",
        "",
        "| near the domain, nDCG@10 | n | base | tuned |",
        "| --- | --- | --- | --- |",
        "| near as typed | 1,097 | 0.589 | 0.549 |",
        "| a\\|b | 3 | 0.100 | 0.200 |",
        "",
        "</details>",
    ]
    assert near_domain_table(figures(report={"near_domain": {}})) == ""
    assert near_domain_table(figures(report={"verdict": "Better"})) == ""


def test_deltas_are_against_base_and_the_champion_with_intervals() -> None:
    """Base from this commit's report, without any other commit; a row for the champion where there is one."""
    base = "| base | +0.167 (+0.142 to +0.192) |  |  |"
    assert deltas(figures(report={"paired": PAIRED}), LIMITS).splitlines()[2:] == [base]
    champion = {"name": "v1", "paired": {"recall@10": {"delta": -0.01, "ci_low": -0.02, "ci_high": 0.0}}}
    rows = deltas(figures(report={"paired": PAIRED, "champion": champion}), LIMITS).splitlines()[2:]
    assert rows == [base, "| champion v1 | -0.010 (-0.020 to +0.000) |  |  |"]


def test_deltas_leave_out_the_queries_that_the_verdict_leaves_out() -> None:
    """Where test leaks, the row of base is that of the verdict, without the leaking queries."""
    clean = {"recall@10": {"delta": 0.05, "ci_low": -0.01, "ci_high": 0.11}}
    rows = deltas(figures(report={"paired": PAIRED, "paired_without_leaks": clean}), LIMITS).splitlines()[2:]
    assert rows == ["| base | +0.050 (-0.010 to +0.110) |  |  |"]


def test_what_to_ship_is_the_named_choice_else_the_chosen_candidate() -> None:
    """choices.json names it; a report before that file names the candidate of stage merge; nothing else is said."""
    report = {"choice": {"shipped": "step 480"}}
    named = {"named": "tuned_int8", "without_reindex": "adapter"}
    assert _to_ship(figures(report=report, choices=named)) == "Ship: **tuned\\_int8**; without a new index adapter."
    assert _to_ship(figures(report=report, choices={"named": "base", "without_reindex": "base"})) == "Ship: **base**."
    assert _to_ship(figures(report=report)) == "Ships: step 480."
    assert _to_ship(figures(report={})) == ""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A pipeline without a stage, whose figures in git changed since main; the parameters are this project's."""
    (tmp_path / "metrics").mkdir()
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    for name in ("params.yaml", "advanced.yaml"):
        (tmp_path / name).write_text(PANEL.with_name(name).read_text())
    report = {"verdict": "Better: so it is.", "new_in_test": "new queries", "paired": PAIRED}
    (tmp_path / "metrics/report.json").write_text(json.dumps(report))
    (tmp_path / "metrics/tuned.json").write_text('{"ndcg@10": 0.5, "mrr@10": 0.4001, "n_queries": 8}')
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "main")
    (tmp_path / "metrics/tuned.json").write_text('{"ndcg@10": 0.6, "mrr@10": 0.4003, "n_queries": 9}')
    return tmp_path


def test_an_unknown_default_branch_is_said_in_the_comment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reviewer reads why nothing was compared, and what to name."""
    for name in TARGETS:
        monkeypatch.delenv(name, raising=False)
    git(project, "branch", "-m", "one")
    git(project, "branch", "two")
    lines = comment(project, "", "").splitlines()
    assert lines[0] == "## attune: cannot tell whether this model may be merged"
    assert "got one, two, and no origin/HEAD" in lines[2] and "--against BRANCH" in lines[2]


def test_figures_with_a_direction_are_listed_by_stage_and_others_counted(project: Path) -> None:
    """A score that rose is better; what changed within rounding, and a count, are one number."""
    text = comment(project, "main", "")
    assert "\n| tuned | before | here | change |  |\n" in text and "\n| ndcg@10 | 0.5 | 0.6 | +0.1 | better |\n" in text
    assert "2 others changed, without a direction or within rounding." in text
    assert "mrr@10 | 0.4001" not in text and "n\\_queries" not in text


def test_a_comment_in_which_all_fails_has_25_lines_unfolded(project: Path) -> None:
    """Heading, verdict, five failed checks, deltas, and one line per folded section: the rest is folded."""
    text = comment(project, "main", "https://host.example/metrics")
    lines = unfolded(text)
    assert lines[0] == "## attune: this model must not be merged" and len(lines) <= 25, lines
    assert sum(line.startswith("| ATT") for line in lines) == 5 and text.count("| **failed** |") > 5
    assert "[report.md](https://host.example/metrics/report.md)" in text and "report.html" not in text
    (project / "metrics" / "report.html").write_text("")
    assert "[report.html](https://host.example/metrics/report.html)" in comment(
        project, "main", "https://host.example/metrics"
    )


def test_a_comment_is_cut_at_the_end_of_a_line_and_says_so() -> None:
    """Rows stay whole, the folded section is closed, and the last line says that more is missing."""
    row = f"| {'x' * 100} |"
    text = shortened("\n".join(["<details><summary>s</summary>", *[row] * 1000, "</details>"]))
    assert len(text) <= MAX_CHARACTERS
    *rows, end, blank, last = text.removesuffix("\n").splitlines()
    assert (end, blank) == ("</details>", "") and last.startswith("This comment was cut")
    assert set(rows[1:]) == {row, ""}
    assert shortened(json.dumps("short")) == '"short"'
