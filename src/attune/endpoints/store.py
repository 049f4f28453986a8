"""Answers of endpoints by key, in one SQLite file of a folder: nothing is asked, or paid for, twice."""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from attune.errors import BadInput

AT_ONCE = 500  # keys of one query; SQLite takes 999 in any version


class Answers:
    """Texts or bytes by key, safe for use by several processes.

    Args:
        folder: of the file, which is made where there is none.
        file: its name.
    """

    def __init__(self, folder: Path, file: str = "answers.sqlite") -> None:
        self._file = folder / file
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._store = sqlite3.connect(self._file, timeout=60, isolation_level=None)
            self._store.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")
        except sqlite3.Error as error:
            raise self._damaged(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._store.close()

    def get(self, key: str) -> str | None:
        """Returns the text, or None where there is none yet."""
        found = self.get_all([key])
        return str(found[key]) if key in found else None

    def get_all(self, keys: Sequence[str]) -> dict[str, str | bytes]:
        """Returns the answers that are there, by key."""
        found: dict[str, str | bytes] = {}
        try:
            for start in range(0, len(keys), AT_ONCE):
                part = keys[start : start + AT_ONCE]
                marks = ", ".join("?" * len(part))
                statement = f"SELECT key, answer FROM answers WHERE key IN ({marks})"
                with closing(self._store.execute(statement, part)) as rows:
                    found.update(rows)
        except sqlite3.Error as error:
            raise self._damaged(error) from None
        return found

    def put(self, key: str, answer: str) -> None:
        """Stores a text; on return it is on disk."""
        self.put_all([(key, answer)])

    def put_all(self, answers: Iterable[tuple[str, str | bytes]]) -> None:
        """Stores answers by key, all or none of them; on return they are on disk."""
        try:
            self._store.execute("BEGIN IMMEDIATE")
            self._store.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", answers)
            self._store.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._damaged(error) from None

    def _damaged(self, error: sqlite3.Error) -> BadInput:
        return BadInput(f"{self._file}: {error}; free the disk or remove the file, and with it all answers")
