"""The bench's way from a csv to a report: the csv, the user's commands, and what counts as the user's file."""

import csv
import json
import sys
from pathlib import Path

import pytest
from branches import git

from attune.errors import BadInput
from bench.parts.first_report import COLUMNS, commands, files_in_git, timed_run, write_pairs


def test_the_csv_has_a_row_per_query(tmp_path: Path) -> None:
    """The first relevant document of each query, as many rows as asked for."""
    (tmp_path / "qrels").mkdir()
    for name, rows in (("corpus", ("d1", "d2")), ("queries", ("q1", "q2", "q3"))):
        lines = [json.dumps({"_id": one, "title": "", "text": f"text of {one}, quoted"}) for one in rows]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    judged = "query-id\tcorpus-id\tscore\nq2\td2\t1\nq1\td2\t1\nq1\td1\t1\nq3\td1\t1\n"
    (tmp_path / "qrels" / "all.tsv").write_text(judged)
    assert write_pairs(tmp_path, 2, tmp_path / "faq.csv") == 2
    with (tmp_path / "faq.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == [column.partition("=")[2] for column in COLUMNS]
    assert rows == [["text of q1, quoted", "text of d1, quoted"], ["text of q2, quoted", "text of d2, quoted"]]


def test_four_commands_lead_to_a_report(tmp_path: Path) -> None:
    """Environment, installation, `attune new` with the csv's columns, and make in the folder that it makes."""
    way = commands(tmp_path / "attune.whl", tmp_path / "faq.csv", COLUMNS)
    assert [command[-1] for _, command in way.values()] == [
        "environment",
        f"{tmp_path / 'attune.whl'}[pipeline]",
        "document=answer",
        "repro",
    ]
    assert way["make repro"][0] == "shop"


def test_a_command_that_fails_ends_the_measurement(tmp_path: Path) -> None:
    """With its folder, its exit code and the end of what it said; one that runs has a cost."""
    assert timed_run([sys.executable, "-c", "pass"], tmp_path, {}).wall > 0
    with pytest.raises(BadInput, match=f"in {tmp_path.name}: exit code 3: no such luck"):
        timed_run([sys.executable, "-c", "import sys; print('no such luck'); sys.exit(3)"], tmp_path, {})


def test_what_an_upgrade_writes_is_not_the_user_s(tmp_path: Path) -> None:
    """dvc.yaml is the package's, params.yaml the user's; a file that git does not know is nobody's."""
    git(tmp_path, "init", "-q")
    for name in ("dvc.yaml", "params.yaml", "scratch.txt"):
        (tmp_path / name).touch()
    git(tmp_path, "add", "dvc.yaml", "params.yaml")
    assert files_in_git(tmp_path) == ({"params.yaml"}, {"dvc.yaml"})
