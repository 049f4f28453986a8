"""Files that are written whole or not at all, and full disks, which end in one line that names the file."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attune.errors import BadInput

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# what libraries that write by themselves say: Rust and C, numpy, torch
_FULL_IN_WORDS = re.compile(
    r"(No space left on device|Disk quota exceeded|File too large)|requested and \d+ written|PytorchStreamWriter failed"
    r"|inline_container.*unexpected pos"
)
_PARTIAL = ".partial"


def partial(path: Path) -> Path:
    """Returns the name of an output while it is being written."""
    return path.with_name(f"{path.name}{_PARTIAL}")


def discard(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields the name under which to write a file, and renames it at the end; an error leaves the old file alone.

    Raises:
        BadInput: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with writing(partial(path)):
            yield partial(path)
        partial(path).replace(path)
    finally:
        discard(partial(path))


@contextmanager
def writing(*paths: Path) -> Iterator[None]:
    """Turns the error of a full disk, which seldom names a file, into one line that does.

    Args:
        paths: files and folders that the block writes. Where the error names no file, it is the one
            written last, or its folder.

    Raises:
        BadInput: no room was left, or a file of a copied folder could not be read.
    """
    try:
        yield
    except BadInput:
        raise
    except shutil.Error as error:  # of copying a folder: a list with each file's error
        source, copy, reason = map(str, error.args[0][0])
        if full := _full(reason):
            raise _no_room(Path(copy), full) from None
        raise BadInput(f"{source}: cannot be copied ({reason}); mend or remove it and run again") from None
    except Exception as error:
        if not (full := _full(error)):
            raise
        named = getattr(error, "filename2", None) or getattr(error, "filename", None)
        raise _no_room(Path(named) if isinstance(named, str) else _last_written(paths), full) from None


def _full(error: object) -> str:
    """Returns how an error says that a disk is full; "" if it says something else."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return os.strerror(error.errno)
    words = _FULL_IN_WORDS.search(str(error))
    return (words[1] or os.strerror(errno.ENOSPC)) if words else ""


def _last_written(paths: tuple[Path, ...]) -> Path:
    """Returns the file that was written last, or its folder where a library has removed the unfinished file."""
    found = [each for path in paths for each in (path, *path.rglob("*")) if each.exists()]
    return max(found, key=lambda each: (each.stat().st_mtime_ns, each.is_file()), default=paths[0])


def _no_room(file: Path, reason: str) -> BadInput:
    shown = Path(*(part.removesuffix(_PARTIAL) for part in file.parts))
    return BadInput(f"{shown}: cannot be written ({reason}); make room on its disk and run again")
