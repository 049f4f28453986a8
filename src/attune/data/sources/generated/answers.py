"""What an endpoint has answered, kept on disk from one run to the next: each answer is safe once it is put."""

import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from attune.errors import BadInput


class Answers:
    """A key to text store in one SQLite file of a folder; may be used by many threads and several processes."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "answers.sqlite"
        self._lock = Lock()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._store = sqlite3.connect(self._file, timeout=60, isolation_level=None, check_same_thread=False)
            self._store.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")
        except sqlite3.Error as error:
            raise self._damaged(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._store.close()

    def get(self, key: str) -> str | None:
        """The answer, or None where there is none yet."""
        try:
            with self._lock, closing(self._store.execute("SELECT answer FROM answers WHERE key = ?", [key])) as rows:
                row = rows.fetchone()
        except sqlite3.Error as error:
            raise self._damaged(error) from None
        return None if row is None else str(row[0])

    def put(self, key: str, answer: str) -> None:
        """Keeps an answer; on return it is on disk."""
        try:
            with self._lock:
                self._store.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", [key, answer])
        except sqlite3.Error as error:
            raise self._damaged(error) from None

    def _damaged(self, error: sqlite3.Error) -> BadInput:
        return BadInput(f"{self._file}: {error}; free the disk or remove the file, which asks for everything again")
