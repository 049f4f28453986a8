"""Errors that a user can mend: one printable line each, and a collector for the many of one data set."""

from typing import NoReturn


class BadInput(Exception):
    """Fault in data, parameters or files; each argument is one line: place, got versus expected, next step."""

    def __str__(self) -> str:
        return "\n".join(map(one_line, self.args))


def one_line(message: object) -> str:
    """Returns a message as one line: white space is a space, other characters that do not print are escaped."""
    return printable(" ".join(str(message).split()))


def printable(text: str) -> str:
    """Returns a text with all characters that do not print as escapes, line feeds included.

    Names of files and texts from data stand in messages. Control characters in them could command a terminal, and
    bidirectional ones reorder the rest of the line.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


SHOWN = 20


class Problems:
    """Collects the problems of one data set: keeps the text of the first 20, counts all."""

    def __init__(self) -> None:
        self.n = 0
        self._first: list[str] = []

    def add(self, where: str, what: str) -> None:
        """Adds a problem; `where` is file and line or row, `what` says got, expected and the next step."""
        self.n += 1
        if len(self._first) < SHOWN:
            self._first.append(f"{where}: {what}")

    def stop(self, where: str, what: str) -> NoReturn:
        """Adds a problem after which reading cannot go on, and raises all of them."""
        self.add(where, what)
        raise self._error()

    def check(self) -> None:
        """Raises all problems, if there are any.

        Raises:
            BadInput: one line per problem, and a last one with their number when there are several.
        """
        if self.n:
            raise self._error()

    def _error(self) -> BadInput:
        total = f"{self.n} problems" + (f"; the first {SHOWN} are shown" if self.n > SHOWN else "")
        return BadInput(*self._first, *([total] if self.n > 1 else []))
