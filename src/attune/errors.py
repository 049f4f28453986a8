"""The one error a user is meant to see."""

from typing import NoReturn


class BadInput(Exception):
    """Something the user can mend; each argument is one line: what and where, got versus expected, what to do."""

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


SHOWN = 20


class Problems:
    """The problems of one data set: the first 20 are kept word for word, all are counted."""

    def __init__(self) -> None:
        self.n = 0
        self._first: list[str] = []

    def add(self, where: str, what: str) -> None:
        """Notes a problem; `where` is the file and the line or row, `what` says got, expected and what to do."""
        self.n += 1
        if len(self._first) < SHOWN:
            self._first.append(f"{where}: {what}")

    def stop(self, where: str, what: str) -> NoReturn:
        """Notes a problem after which reading cannot go on, and raises them all."""
        self.add(where, what)
        raise self._error()

    def check(self) -> None:
        """Does nothing while there is no problem.

        Raises:
            BadInput: there are problems; a line each, and a last one with their number when there are several.
        """
        if self.n:
            raise self._error()

    def _error(self) -> BadInput:
        total = f"{self.n} problems" + (f"; the first {SHOWN} are shown" if self.n > SHOWN else "")
        return BadInput(*self._first, *([total] if self.n > 1 else []))
