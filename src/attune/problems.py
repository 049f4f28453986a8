"""Collects what is wrong with a data set, so that a user mends many faults after one look and not one after each."""

from typing import NoReturn

from attune.errors import BadInput

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
