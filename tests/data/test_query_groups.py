"""Groups of a task's queries are read as written; every fault of a file is one line."""

import gzip
from pathlib import Path

import pytest

from attune.data.query_groups import read_groups, write_groups
from attune.errors import BadInput

HEAD = "query-id\tgroup\n"


def test_groups_are_read_as_written(tmp_path: Path) -> None:
    """In the order asked for; ids and groups with spaces and any letters; groups of other queries do not matter."""
    write_groups({"q 1": "g é", "q2": "g é", "q3": "q3"}, tmp_path)
    assert (tmp_path / "groups.tsv").read_text(encoding="utf-8") == f"{HEAD}q 1\tg é\nq2\tg é\nq3\tq3\n"
    assert read_groups(tmp_path, ["q3", "q 1"]) == ["q3", "g é"]


def test_a_folder_without_the_file_has_no_groups(tmp_path: Path) -> None:
    """None, so that the caller's own rule stands."""
    assert read_groups(tmp_path, ["q"]) is None


def test_the_file_may_be_packed(tmp_path: Path) -> None:
    """As the other files of the folder; but it is there once."""
    (tmp_path / "groups.tsv.gz").write_bytes(gzip.compress(f"{HEAD}q\tg\n".encode()))
    assert read_groups(tmp_path, ["q"]) == ["g"]
    write_groups({"q": "h"}, tmp_path)
    with pytest.raises(BadInput, match=r"got groups\.tsv and groups\.tsv\.gz, expected one of them"):
        read_groups(tmp_path, ["q"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"groups\.tsv:1: the first line is '', expected the header 'query-id\\tgroup'"),
        ("q\tg\n", r"groups\.tsv:1: the first line is 'q\\tg', expected the header"),
        (f"{HEAD}q\n", r"groups\.tsv:2: got 'q', expected a query's id, a tab and its group"),
        (f"{HEAD}q\t \n", r"groups\.tsv:2: got 'q\\t ', expected a query's id"),
        (f"{HEAD}q\tg\th\n", r"groups\.tsv:2: got 'q\\tg\\th', expected a query's id"),
        (f"{HEAD}q\tg\nq\th\n", r"groups\.tsv:3: query-id 'q' is already in another group"),
        (f"{HEAD}p\tg\n", r"groups\.tsv: no group of 1 queries \(first: 'q'\); add their lines"),
    ],
    ids=["empty", "no header", "no group", "blank group", "three cells", "two groups", "missing query"],
)
def test_each_fault_has_its_line(tmp_path: Path, text: str, message: str) -> None:
    """File, line, got, expected and remedy."""
    (tmp_path / "groups.tsv").write_text(text)
    with pytest.raises(BadInput, match=message):
        read_groups(tmp_path, ["q"])
