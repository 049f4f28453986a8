"""Groups of a retrieval task's queries, in groups.tsv beside its BEIR files: queries of one group are no independent
evidence, so intervals take a group whole.

Stage near_domain writes the file from the split's clusters; a user may put one into a folder of data/tasks.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from attune.data.sources.files.lines import read_lines, shown
from attune.errors import Problems

FILE = "groups.tsv"
_HEADER = "query-id\tgroup"


def write_groups(groups: Mapping[str, str], folder: Path) -> None:
    """Writes the group of each query, in their order."""
    lines = [_HEADER, *("\t".join(row) for row in groups.items())]
    (folder / FILE).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def read_groups(folder: Path, query_ids: Sequence[str]) -> list[str] | None:
    """Returns the group of each query, in their order; None where the folder has no groups.

    Args:
        folder: of the task; the file may be plain, .gz or .zst.
        query_ids: the queries that are scored; groups of others are left out.

    Raises:
        BadInput: the file is malformed, names a query twice, or lacks one of the queries; one problem a line.
    """
    files = [file for ending in ("", ".gz", ".zst") if (file := folder / f"{FILE}{ending}").exists()]
    if not files:
        return None
    problems = Problems()
    if len(files) > 1:
        names = " and ".join(file.name for file in files)
        problems.stop(str(folder), f"got {names}, expected one of them; remove the others")
    groups: dict[str, str] = {}
    lines = read_lines(files[0], problems)
    where, header = next(lines, (f"{files[0]}:1", ""))
    if header != _HEADER:
        problems.stop(where, f"the first line is {shown(header)}, expected the header {shown(_HEADER)}; correct it")
    for where, line in lines:
        query_id, _, group = line.partition("\t")
        if not group.strip() or "\t" in group:
            problems.add(where, f"got {shown(line)}, expected a query's id, a tab and its group; correct the line")
        elif groups.setdefault(query_id, group) != group:
            problems.add(where, f"query-id {shown(query_id)} is already in another group; remove one of the lines")
    lacking = [id_ for id_ in query_ids if id_ not in groups]
    if lacking and not problems.n:
        problems.add(str(files[0]), f"no group of {len(lacking)} queries (first: {shown(lacking[0])}); add their lines")
    problems.check()
    return [groups[id_] for id_ in query_ids]
