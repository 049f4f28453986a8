"""Errors that a user can mend: one printable line each, a collector for the many of one data set, and full disks."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn


class BadInput(Exception):
    """Fault in data, parameters or files; each argument is one line: place, got versus expected, next step."""

    def __str__(self) -> str:
        return "\n".join(map(one_line, self.args))


def one_line(message: object) -> str:
    """Returns a message as one line: white space is a space, other characters that do not print are escaped.

    Names of files and texts from data stand in messages. Control characters in them could command a terminal, and
    bidirectional ones reorder the rest of the line.
    """
    text = " ".join(str(message).split())
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


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# libraries that write by themselves put it in words: Rust's and C's own, then numpy's, torch's and SQLite's
_IN_WORDS = re.compile("No space left on device|File too large|Disk quota exceeded")
_OTHER_WORDS = re.compile(
    r"requested and \d+ written|PytorchStreamWriter failed|inline_container.*unexpected pos|database or disk is full"
)


@contextmanager
def naming(*paths: Path) -> Iterator[None]:
    """Turns the error of a full disk, which seldom names a file, into one line that names the file.

    Args:
        paths: files and folders that the block writes; the file written last is the one that found no room, unless the
            error names another. The ending `.partial` of unfinished outputs is left out.

    Raises:
        BadInput: there was no room; or copies of a folder's files failed, of which the first is named.
    """
    try:
        yield
    except BadInput:
        raise
    except shutil.Error as error:
        _, copy, why = error.args[0][0]
        raise _unwritten(Path(copy), _full(why) or str(why).partition(": ")[0]) from None
    except Exception as error:
        if not (reason := _full(error)):
            raise
        named = (getattr(error, "filename2", None) or getattr(error, "filename", None)) or _newest(paths)
        raise _unwritten(Path(named), reason) from None


def _full(error: object) -> str:
    """Returns in which words a disk is full, "" if that is not the error."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return os.strerror(error.errno)
    if found := _IN_WORDS.search(str(error)):
        return found[0]
    return os.strerror(errno.ENOSPC) if _OTHER_WORDS.search(str(error)) else ""


def _newest(paths: tuple[Path, ...]) -> Path:
    files = [file for path in paths for file in (path, *path.rglob("*")) if file.is_file()]
    return max(files, key=lambda file: file.stat().st_mtime_ns, default=paths[0])


def _unwritten(file: Path, reason: str) -> BadInput:
    shown = Path(*(part.removesuffix(".partial") for part in file.parts))
    return BadInput(f"{shown}: cannot be written ({reason}); make room on its disk and run again")
