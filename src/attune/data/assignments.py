"""The split of each query as git keeps it: small enough for a commit, enough to count queries that moved since one.

DVC keeps the splits themselves, which a clone without its cache lacks. Queries are named by a hash of their text,
because ids may be numbers of rows. Beyond MOST_QUERIES the lowest hashes are a sample that two revisions share. Takes
the standard library alone, because the gate runs where nothing else is installed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from attune.data.text_hash import text_hash

MOST_QUERIES = 20_000  # half a megabyte
HEADER = "query,split"


def assignment_text(queries: Iterable[tuple[str, str]]) -> str:
    """Returns the csv text of (text, split) pairs: hash and split, sorted by hash."""
    rows = sorted({(text_hash(text), split) for text, split in queries})[:MOST_QUERIES]
    return "\n".join([HEADER, *(f"{digest},{split}" for digest, split in rows)]) + "\n"


def read_assignments(text: str) -> dict[str, str]:
    """Returns the split by the query's hash.

    Raises:
        ValueError: the text is not one of `assignment_text`.
    """
    header, *lines = text.splitlines() or [""]
    if header != HEADER:
        raise ValueError(f"begins with {header!r}, expected {HEADER!r}")
    return dict(line.split(",") for line in lines)


def moves(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Counter[tuple[str, str]], int]:
    """Returns the number of queries that moved, by their old and new split, and the number that both sides hold."""
    both = old.keys() & new.keys()
    return Counter((old[query], new[query]) for query in both if old[query] != new[query]), len(both)
